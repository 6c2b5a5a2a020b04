import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { AccessLogType, type LogContext } from '../access-logger.ts';
import type { FilterStream } from '../http-filter.ts';
import { StreamInfo, type UpstreamInfo } from '../stream-info.ts';
import type { RouterConfig } from './router-config.ts';

/** The `upstream_log` entries of one attempt; made only where such logs are configured. */
export class UpstreamLog implements LogContext, TimerTarget {
  readonly stream: StreamInfo;
  readonly requestHeaders: RequestHeaders | null;
  responseHeaders: ResponseHeaders | null = null;
  responseTrailers: HeaderMap | null = null;
  logType: AccessLogType = AccessLogType.UpstreamEnd;
  readonly #config: RouterConfig;
  readonly #dispatcher: Dispatcher;
  #flushTimer: Timer | null = null;

  constructor(config: RouterConfig, parent: FilterStream, upstream: UpstreamInfo) {
    this.#config = config;
    const { dispatcher, info } = parent;
    this.#dispatcher = dispatcher;
    this.requestHeaders = parent.requestHeaders;
    const stream = new StreamInfo(info.connection, dispatcher.wallMs, dispatcher.nowMs, info.stableRandom);
    stream.route = info.route;
    stream.upstream = upstream;
    stream.requestId = info.requestId;
    stream.virtualClusterName = info.virtualClusterName;
    stream.healthCheck = info.healthCheck;
    stream.remoteAddress = info.remoteAddress;
    stream.listener = info.listener;
    stream.headersEndMs = info.headersEndMs;
    stream.lastRxByteMs = info.lastRxByteMs;
    stream.downstreamMeter = info.downstreamMeter;
    this.stream = stream;
    if (config.upstreamLogFlushIntervalMs > 0) {
      this.#flushTimer = dispatcher.timerPool.take(this);
      this.#flushTimer.enable(config.upstreamLogFlushIntervalMs);
    }
  }

  onPoolReady(): void {
    this.stream.protocol = this.stream.upstream!.protocol;
    if (this.#config.logOnUpstreamStream) this.#write(AccessLogType.UpstreamPoolReady);
  }

  /** Keeps a copy: filters change the original. */
  onHeaders(headers: ResponseHeaders): void {
    this.responseHeaders = headers.clone();
    this.stream.responseCode = headers.status;
  }

  onTrailers(trailers: HeaderMap): void {
    this.responseTrailers = trailers.clone();
  }

  onTimer(timer: Timer): void {
    this.#write(AccessLogType.UpstreamPeriodic);
    timer.enable(this.#config.upstreamLogFlushIntervalMs);
  }

  end(bytesReceived: number, bytesSent: number): void {
    if (this.#flushTimer !== null) this.#dispatcher.timerPool.give(this.#flushTimer);
    this.#flushTimer = null;
    const { stream } = this;
    stream.bytesReceived = bytesReceived;
    stream.bytesSent = bytesSent;
    stream.endMs = this.#dispatcher.clock.monotonicMs();
    this.#write(AccessLogType.UpstreamEnd);
  }

  #write(type: AccessLogType): void {
    this.logType = type;
    for (const logger of this.#config.upstreamLoggers) logger.log(this);
  }
}
