import { ByteBuffer, type WatermarkObserver } from '../../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import {
  Protocol,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../../http/codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { HeldMetadata, type StreamMetadata } from '../../http/stream-metadata.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import { type PendingStream, PoolFailure, type PoolWaiter, type UpstreamConnectionInfo } from '../../upstream/pool.ts';
import { ResponseFlag } from '../response-flag.ts';
import { UpstreamInfo } from '../stream-info.ts';
import type { Span } from '../trace/span.ts';
import { tagGrpcResponse, tagReset } from '../trace/stream-trace.ts';
import { flagOfReset } from './reset-flags.ts';
import type { RouterFilter } from './router-filter.ts';
import type { UpstreamLog } from './upstream-log.ts';

/** What the request's body waits for, beside a connection. */
const Hold = {
  Nothing: 0,
  /** A CONNECT's payload, until a 2xx. */
  Connect: 1,
  /** Until a 101; any other answer fails the handshake. */
  WebSocket: 2,
} as const;
type Hold = (typeof Hold)[keyof typeof Hold];

/** Makes the stream of an attempt: an HTTP pool's, or a raw connection's (CONNECT that ends here). */
export interface StreamSource {
  newStream(decoder: ResponseDecoder, waiter: PoolWaiter): PendingStream | null;
}

/**
 * One attempt: waits for a stream of the host's pool, sends the request, and hands the answer to the router.
 *
 * (Longer than most files: one small state, and the many calls of pool, codec, connection and timers that change it.)
 */
export class UpstreamRequest implements ResponseDecoder, PoolWaiter, StreamEvents, TimerTarget, WatermarkObserver {
  readonly #router: RouterFilter;
  readonly cluster: Cluster;
  readonly host: Host;
  readonly info: UpstreamInfo;
  readonly #startMs: number;
  readonly #raw: boolean;
  #hold: Hold = Hold.Nothing;
  /** The upstream has agreed to an upgrade or a CONNECT. */
  #isTunnel = false;
  #pending: PendingStream | null = null;
  #encoder: RequestEncoder | null = null;
  #headers: RequestHeaders | null = null;
  #headersEnd = false;
  /** Body that arrived before the stream was ready; made when there is some. */
  #waiting: ByteBuffer | null = null;
  #waitingEnd = false;
  #waitingTrailers: HeaderMap | null = null;
  #over = false;
  /** 1xx headers have gone on. */
  #informed = false;
  /** Final response headers have not come yet. */
  awaitingHeaders = true;
  /** A gRPC answer whose success is known with its trailers. */
  grpcDeferred = false;
  canary = false;
  /** Timers of the attempt begin when the whole request is here. */
  #timersOnRequestEnd = false;
  #perTryTimer: Timer | null = null;
  #perTryIdleTimer: Timer | null = null;
  #maxDurationTimer: Timer | null = null;
  #sourcePauses = 0;
  /** Full response sinks; reads are paused for them once the response has begun. */
  #sinkPauses = 0;
  #readPauses = 0;
  #budgetRecorded = true;
  #bytesSent = 0;
  #bytesReceived = 0;
  #responseHeadersSize = -1;
  #responseHeadersCount = 0;
  #log: UpstreamLog | null = null;
  /** Came before the headers of the answer: of an attempt that is given up nothing may be passed on. */
  #metadata: HeldMetadata | null = null;
  /** Of this attempt; null: it has none. */
  #span: Span | null = null;
  #status = 0;
  #flags = 0;

  /** @param raw the stream is a raw connection: there is no upstream protocol */
  constructor(router: RouterFilter, cluster: Cluster, host: Host, raw: boolean, earlier: UpstreamInfo | null) {
    this.#router = router;
    this.cluster = cluster;
    this.host = host;
    this.#raw = raw;
    this.#startMs = router.stream.dispatcher.nowMs;
    // The first attempt takes what the stream has already.
    const known = router.stream.info.upstream;
    const info = known !== null && earlier === null ? known : new UpstreamInfo();
    info.setCluster(cluster.spec);
    info.host = host;
    info.attemptCount = router.attemptCount;
    if (earlier !== null) {
      info.earlierHosts = earlier.hostsAttempted;
      info.earlierConnectionIds = earlier.connectionIdsAttempted;
    }
    this.info = info;
    router.stream.info.upstream = info;
    if (cluster.timeoutBudgets !== null) this.#budgetRecorded = false;
    this.#log = router.createUpstreamLog(info);
    const { trace } = router.stream;
    if (trace !== null) {
      this.#span = trace.startAttempt(
        cluster,
        router.requestHeadersSent,
        router.attemptCount,
        router.config.startsChildSpan,
        router.stream.dispatcher.wallMs,
      );
    }
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** Both messages are complete: nothing is left to reset. */
  get isComplete(): boolean {
    return this.info.lastByteSentMs >= 0 && this.info.lastByteReceivedMs >= 0;
  }

  get requestStarted(): boolean {
    return this.info.firstByteSentMs >= 0;
  }

  get log(): UpstreamLog | null {
    return this.#log;
  }

  // --- request, from the router ---

  start(source: StreamSource, headers: RequestHeaders, end: boolean): void {
    this.#headers = headers;
    this.#headersEnd = end;
    if (headers.method === 'CONNECT') {
      this.#hold = Hold.Connect;
    } else if (isWebSocketUpgrade(headers)) {
      this.#hold = Hold.WebSocket;
      this.startTimers();
      this.#router.startTimeoutForUpgrade();
    }
    this.info.poolStartMs = this.#router.stream.dispatcher.nowMs;
    const pending = source.newStream(this, this);
    if (!this.#over) this.#pending = pending;
  }

  sendData(data: ByteBuffer, end: boolean): void {
    if (this.#over) {
      data.clear();
      return;
    }
    const encoder = this.#encoder;
    if (encoder === null || this.#hold !== Hold.Nothing) {
      this.#keep(data);
      this.#waitingEnd = end;
      return;
    }
    this.#bytesSent += data.length;
    encoder.encodeData(data, end);
    if (end) this.#markSent();
  }

  sendTrailers(trailers: HeaderMap): void {
    if (this.#over) return;
    if (this.#encoder === null || this.#hold !== Hold.Nothing) {
      this.#waitingTrailers = trailers;
      return;
    }
    this.#encoder.encodeTrailers(trailers);
    this.#markSent();
  }

  #keep(data: ByteBuffer): void {
    let waiting = this.#waiting;
    if (waiting === null) {
      waiting = new ByteBuffer();
      waiting.setWatermarks(this.#router.stream.requestBufferLimit, this);
      this.#waiting = waiting;
    }
    waiting.moveFrom(data);
  }

  #sendWaiting(): void {
    const encoder = this.#encoder;
    if (encoder === null || this.#hold !== Hold.Nothing) return;
    const waiting = this.#waiting;
    const end = this.#waitingEnd && this.#waitingTrailers === null;
    if (waiting !== null && (waiting.length > 0 || end)) {
      this.#bytesSent += waiting.length;
      encoder.encodeData(waiting, end);
      if (end && !this.#over) this.#markSent();
    }
    if (this.#waitingTrailers !== null && !this.#over) {
      encoder.encodeTrailers(this.#waitingTrailers);
      this.#markSent();
    }
  }

  #markSent(): void {
    this.info.lastByteSentMs = this.#router.stream.dispatcher.nowMs;
  }

  /** The whole request has come from the client. */
  onRequestEnd(): void {
    if (this.#timersOnRequestEnd && !this.#over) this.startTimers();
  }

  // --- ends ---

  /** The router is done with it: pending streams are cancelled, running ones reset. */
  abandon(): void {
    if (this.#over) return;
    this.#over = true;
    this.#router.stream.setMetadataSink(null);
    this.#pending?.cancel();
    this.#pending = null;
    const encoder = this.#encoder;
    this.#encoder = null;
    if (this.#span !== null && !this.isComplete) this.#span.setTag('canceled', 'true');
    if (encoder !== null && !this.isComplete) encoder.stream.reset(ResetReason.LocalReset);
    this.#cleanUp();
  }

  #fail(reason: ResetReason, transportFailure: string): void {
    if (this.#over) return;
    this.#over = true;
    this.awaitingHeaders = false;
    this.#pending = null;
    this.#encoder = null;
    this.#log?.stream.setFlag(flagOfReset(reason));
    this.#flags |= flagOfReset(reason);
    if (this.#span !== null) tagReset(this.#span, reason);
    // Before the router begins another attempt.
    this.#router.stream.setMetadataSink(null);
    this.#router.onUpstreamReset(this, reason, transportFailure);
    this.#cleanUp();
  }

  #cleanUp(): void {
    const { dispatcher } = this.#router.stream;
    this.#dropTimers();
    if (this.#maxDurationTimer !== null) dispatcher.timerPool.give(this.#maxDurationTimer);
    this.#maxDurationTimer = null;
    const { cluster } = this;
    if (!this.#budgetRecorded) {
      this.#budgetRecorded = true;
      cluster.timeoutBudgets!.upstream_rq_timeout_budget_per_try_percent_used.recordValue(
        percentOf(dispatcher.nowMs - this.#startMs, this.#router.timeouts.perTryMs),
      );
    }
    if (cluster.sizes !== null) this.#recordSizes();
    if (this.#span !== null) this.#finishSpan(this.#span);
    this.#log?.end(this.#bytesReceived, this.#bytesSent);
    this.#log = null;
    this.#waiting?.setWatermarks(0, null);
    this.#waiting?.clear();
    while (this.#sourcePauses > 0) this.onBelowWriteLowWatermark();
  }

  #finishSpan(span: Span): void {
    this.#span = null;
    const outcome = { status: this.#status, flags: this.#flags, protocol: this.info.protocol };
    this.#router.stream.trace?.finishAttempt(span, this.cluster, this.host, this.info, outcome);
  }

  #recordSizes(): void {
    const sizes = this.cluster.sizes!;
    const headers = this.#headers;
    if (headers !== null) {
      sizes.upstream_rq_headers_size.recordValue(headers.byteSize());
      sizes.upstream_rq_headers_count.recordValue(headers.size + pseudoHeaders(headers));
    }
    sizes.upstream_rq_body_size.recordValue(this.#bytesSent);
    if (this.#responseHeadersSize < 0) return;
    sizes.upstream_rs_headers_size.recordValue(this.#responseHeadersSize);
    sizes.upstream_rs_headers_count.recordValue(this.#responseHeadersCount);
    sizes.upstream_rs_body_size.recordValue(this.#bytesReceived);
  }

  /** The global timeout came first: this try's share of its own is not recorded. */
  skipTimeoutBudget(): void {
    this.#budgetRecorded = true;
  }

  // --- PoolWaiter ---

  onPoolReady(encoder: RequestEncoder, host: Host, info: UpstreamConnectionInfo): void {
    this.#pending = null;
    if (this.#over) {
      encoder.stream.reset(ResetReason.LocalReset);
      return;
    }
    const router = this.#router;
    const { stream } = router;
    this.#encoder = encoder;
    encoder.stream.setEvents(this);
    const now = stream.dispatcher.nowMs;
    const upstream = this.info;
    upstream.connection = info.connection;
    upstream.connectStartMs = info.connection.startMs;
    upstream.connectEndMs = info.priorStreams === 0 ? now : info.connection.startMs;
    upstream.protocol = this.#raw ? null : info.protocol;
    upstream.meter = encoder.stream.meter;
    upstream.poolReadyMs = now;
    if (this.#raw) this.#hold = Hold.Nothing;
    router.onPoolReady(this, host);
    if (router.requestEnded && this.#perTryTimer === null) this.startTimers();
    else this.#timersOnRequestEnd = true;
    stream.setResponseWatermarks(router);
    const maxMs = router.maxStreamDurationMs >= 0 ? router.maxStreamDurationMs : this.cluster.spec.maxStreamDurationMs;
    if (maxMs > 0) {
      this.#maxDurationTimer = stream.dispatcher.timerPool.take(this);
      this.#maxDurationTimer.enable(maxMs);
    }
    this.#log?.onPoolReady();
    upstream.firstByteSentMs = now;
    const problem = encoder.encodeHeaders(this.#headers!, this.#headersEnd);
    if (problem !== null) {
      router.onUnsendableHeaders(problem);
      return;
    }
    if (this.#over) return;
    if (!this.#headersEnd) stream.setMetadataSink(encoder);
    if (this.#headersEnd) this.#markSent();
    else this.#sendWaiting();
  }

  onPoolFailure(reason: PoolFailure, transportFailureReason: string, host: Host): void {
    this.#pending = null;
    this.info.transportFailureReason = transportFailureReason;
    if (reason === PoolFailure.PendingOverflow) this.info.host = null;
    else this.#router.onHostAttempted(host);
    this.#fail(resetReasonOf(reason), transportFailureReason);
  }

  // --- ResponseDecoder ---

  on1xxHeaders(headers: ResponseHeaders): void {
    // Others than these are dropped (Envoy: HeaderUtility::isSpecial1xx).
    const { status } = headers;
    if (this.#over || this.#informed || status < 100 || status > 104 || status === 101) return;
    // One for each attempt, as Envoy's filter chain takes no more (UpstreamCodecFilter::CodecBridge).
    this.#informed = true;
    this.#measureHeaders(headers);
    this.#router.onUpstream1xx(this, headers);
    this.#applySinkPauses();
  }

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#over) return;
    const router = this.#router;
    this.info.firstByteReceivedMs = router.stream.dispatcher.nowMs;
    this.#touch();
    if (this.#hold !== Hold.Nothing && !this.#releaseHold(headers.status)) {
      if (end) this.#markReceived();
      this.#router.onHandshakeFailed(headers);
      return;
    }
    if (end) this.#markReceived();
    this.#measureHeaders(headers);
    this.awaitingHeaders = false;
    this.#status = headers.status;
    if (this.#span?.sampled) tagGrpcResponse(this.#span, headers);
    this.#log?.onHeaders(headers);
    router.onUpstreamHeaders(this, headers, end);
    if (this.#metadata !== null && !this.#over) this.#metadata.passTo(router.stream);
    if (!this.#over) this.#applySinkPauses();
  }

  /**
   * The body goes on where the upstream agreed; where it refused, its answer is an answer like any other.
   * @returns false: it took the WebSocket handshake for a plain request
   */
  #releaseHold(status: number): boolean {
    if (this.#hold === Hold.Connect) {
      if (status !== 200) return true;
    } else {
      if (status !== 101) return status < 200 || status >= 300;
      this.#router.stopTimeoutForUpgrade();
      this.#dropTimers();
    }
    this.#hold = Hold.Nothing;
    this.#isTunnel = true;
    this.#sendWaiting();
    return true;
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.#over) return;
    if (this.info.firstBodyByteReceivedMs < 0) this.info.firstBodyByteReceivedMs = this.#router.stream.dispatcher.nowMs;
    this.#touch();
    this.#bytesReceived += data.length;
    if (end && this.#isTunnel && this.info.protocol !== null && this.info.protocol < Protocol.Http2) {
      this.#onTunnelEnd(data);
      return;
    }
    if (end) this.#markReceived();
    this.#router.onUpstreamData(this, data, end);
  }

  /** HTTP/1 has no half-close: the upstream's FIN ends a tunnel as a reset does (so counted by Envoy). */
  #onTunnelEnd(data: ByteBuffer): void {
    if (data.length > 0) this.#router.onUpstreamData(this, data, false);
    this.#fail(ResetReason.ConnectionTermination, '');
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.#over) return;
    this.#markReceived();
    this.#log?.onTrailers(trailers);
    if (this.#span?.sampled) tagGrpcResponse(this.#span, trailers);
    this.#router.onUpstreamTrailers(this, trailers);
  }

  onMetadata(metadata: StreamMetadata): void {
    if (this.#over) return;
    if (!this.awaitingHeaders) {
      this.#router.stream.encodeMetadata(metadata);
      return;
    }
    this.#metadata ??= new HeldMetadata();
    if (!this.#metadata.add(metadata)) this.#fail(ResetReason.Overflow, '');
  }

  #markReceived(): void {
    this.info.lastByteReceivedMs = this.#router.stream.dispatcher.nowMs;
  }

  #measureHeaders(headers: ResponseHeaders): void {
    if (this.cluster.sizes === null) return;
    this.#responseHeadersSize = headers.byteSize();
    this.#responseHeadersCount = headers.size + 1;
  }

  // --- timers ---

  /** Begins the timeouts of the attempt. */
  startTimers(): void {
    const { timeouts, stream } = this.#router;
    if (timeouts.perTryMs > 0 && this.#perTryTimer === null) {
      this.#perTryTimer = stream.dispatcher.timerPool.take(this);
      this.#perTryTimer.enable(timeouts.perTryMs);
    }
    if (timeouts.perTryIdleMs > 0 && this.#perTryIdleTimer === null) {
      this.#perTryIdleTimer = stream.dispatcher.timerPool.take(this);
      this.#perTryIdleTimer.enable(timeouts.perTryIdleMs);
    }
  }

  #touch(): void {
    if (this.#perTryIdleTimer !== null) this.#perTryIdleTimer.enable(this.#router.timeouts.perTryIdleMs);
  }

  #dropTimers(): void {
    const pool = this.#router.stream.dispatcher.timerPool;
    if (this.#perTryTimer !== null) pool.give(this.#perTryTimer);
    if (this.#perTryIdleTimer !== null) pool.give(this.#perTryIdleTimer);
    this.#perTryTimer = null;
    this.#perTryIdleTimer = null;
  }

  onTimer(timer: Timer): void {
    if (this.#over) return;
    const router = this.#router;
    if (timer === this.#perTryTimer) {
      this.#dropTimers();
      // A response under way may go on up to the global timeout.
      if (router.responseStarted) return;
      this.#log?.stream.setFlag(ResponseFlag.UpstreamRequestTimeout);
      this.#flags |= ResponseFlag.UpstreamRequestTimeout;
      router.onPerTryTimeout(this, false);
    } else if (timer === this.#perTryIdleTimer) {
      this.#dropTimers();
      this.#log?.stream.setFlag(ResponseFlag.StreamIdleTimeout);
      this.#flags |= ResponseFlag.StreamIdleTimeout;
      router.onPerTryTimeout(this, true);
    } else if (timer === this.#maxDurationTimer) {
      this.cluster.stats.upstream_rq_max_duration_reached.inc();
      router.onMaxStreamDuration(this);
    }
  }

  // --- StreamEvents ---

  onStreamReset(reason: ResetReason, details: string): void {
    this.#encoder = null;
    this.#fail(reason, details);
  }

  onAboveWriteHighWatermark(): void {
    this.#sourcePauses++;
    this.cluster.stats.upstream_flow_control_backed_up_total.inc();
    this.#router.stream.pauseRequest();
  }

  onBelowWriteLowWatermark(): void {
    if (this.#sourcePauses === 0) return;
    this.#sourcePauses--;
    this.cluster.stats.upstream_flow_control_drained_total.inc();
    this.#router.stream.resumeRequest();
  }

  /** WatermarkObserver of what waits here. */
  onAboveHighWatermark(): void {
    this.onAboveWriteHighWatermark();
  }

  onBelowLowWatermark(): void {
    this.onBelowWriteLowWatermark();
  }

  // --- backpressure of the response ---

  /** The sink is full. Before the response has begun reads go on, so that a retry can still be decided. */
  pauseReads(): void {
    this.#sinkPauses++;
    if (this.#router.responseStarted) this.#applySinkPauses();
  }

  resumeReads(): void {
    if (this.#sinkPauses === 0) return;
    this.#sinkPauses--;
    if (this.#readPauses <= this.#sinkPauses) return;
    this.#readPauses--;
    this.cluster.stats.upstream_flow_control_resumed_reading_total.inc();
    this.#encoder?.stream.resumeReads();
  }

  #applySinkPauses(): void {
    const encoder = this.#encoder;
    if (encoder === null) return;
    while (this.#readPauses < this.#sinkPauses) {
      this.#readPauses++;
      this.cluster.stats.upstream_flow_control_paused_reading_total.inc();
      encoder.stream.pauseReads();
    }
  }
}

/** Per cent of a timeout that was used; of none, nothing. Source: Envoy, FilterUtility::percentageOfTimeout. */
export function percentOf(elapsedMs: number, timeoutMs: number): number {
  return timeoutMs === 0 ? 0 : Math.floor((Math.floor(elapsedMs) * 100) / timeoutMs);
}

function pseudoHeaders(headers: RequestHeaders): number {
  let count = 0;
  if (headers.method !== '') count++;
  if (headers.scheme !== '') count++;
  if (headers.authority !== null) count++;
  if (headers.path !== null) count++;
  if (headers.protocol !== null) count++;
  return count;
}

function isWebSocketUpgrade(headers: RequestHeaders): boolean {
  const upgrade = headers.get('upgrade');
  if (upgrade === null || upgrade.toLowerCase() !== 'websocket') return false;
  const connection = headers.get('connection');
  if (connection === null) return false;
  for (const part of connection.split(',')) if (part.trim().toLowerCase() === 'upgrade') return true;
  return false;
}

/** What a request that got no stream was reset by. */
export function resetReasonOf(reason: PoolFailure): ResetReason {
  switch (reason) {
    case PoolFailure.Overflow:
    case PoolFailure.PendingOverflow:
      return ResetReason.Overflow;
    case PoolFailure.Timeout:
      return ResetReason.ConnectionTimeout;
    case PoolFailure.LocalConnectionFailure:
      return ResetReason.LocalConnectionFailure;
    default:
      return ResetReason.RemoteConnectionFailure;
  }
}
