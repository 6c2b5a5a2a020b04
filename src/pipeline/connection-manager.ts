import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import {
  type CodecTransport,
  Protocol,
  type ProtocolError,
  type RequestDecoder,
  ResetReason,
  type ResponseEncoder,
  type ServerCodec,
  type ServerCodecEvents,
} from '../http/codec.ts';
import { reasonPhrase } from '../http/h1/reason-phrases.ts';
import {
  CloseType,
  type Connection,
  ConnectionEvent,
  type ConnectionEvents,
  type ConnectionStats,
} from '../net/connection.ts';
import { FilterStatus, NetworkFilter } from '../net/filter.ts';
import type { RouteTable } from '../routing/route-table.ts';
import { ActiveStream } from './active-stream.ts';
import type { ConnectionManagerConfig } from './connection-manager-config.ts';
import type { ConnectionContext } from './environment.ts';
import type { HttpFilter } from './http-filter.ts';
import { ResponseFlag } from './response-flag.ts';

/** How far the connection is on its way to being closed. */
const Drain = { None: 0, Draining: 1, Closing: 2 } as const;
type Drain = (typeof Drain)[keyof typeof Drain];

/** The HTTP connection manager of one downstream connection: codec, streams, and the connection's life. */
export class HttpConnectionManager
  extends NetworkFilter
  implements ServerCodecEvents, ConnectionEvents, ConnectionStats, CodecTransport, TimerTarget
{
  readonly config: ConnectionManagerConfig;
  readonly context: ConnectionContext;
  connection!: Connection;
  #codec: ServerCodec | null = null;
  #streams: ActiveStream[] = [];
  #drain: Drain = Drain.None;
  #requests = 0;
  #idleTimer: Timer | null = null;
  #durationTimer: Timer | null = null;
  #drainTimer: Timer | null = null;
  #startMs = 0;
  #closed = false;
  #dispatching = false;

  constructor(config: ConnectionManagerConfig, context: ConnectionContext) {
    super();
    this.config = config;
    this.context = context;
  }

  get bufferLimit(): number {
    return this.context.listener.bufferLimit;
  }

  get protocol(): Protocol | null {
    return this.#codec === null ? null : this.#codec.protocol;
  }

  routeTable(): RouteTable | null {
    return this.config.routes.current();
  }

  /** Which hooks `filter`'s class overrides. Kept per class: the prototype is asked once. */
  hooks(filter: HttpFilter, hooksOf: (filter: HttpFilter) => number): number {
    const known = this.config.hooksByClass.get(filter.constructor);
    if (known !== undefined) return known;
    const hooks = hooksOf(filter);
    this.config.hooksByClass.set(filter.constructor, hooks);
    return hooks;
  }

  override onNewConnection(): FilterStatus {
    const connection = this.callbacks.connection;
    this.connection = connection;
    const { config } = this;
    const dispatcher = connection.dispatcher;
    this.#startMs = dispatcher.nowMs;
    config.stats.downstreamCxTotal.inc();
    config.stats.downstreamCxActive.inc();
    if (connection.security !== null) {
      config.stats.downstreamCxSslTotal.inc();
      config.stats.downstreamCxSslActive.inc();
    }
    connection.addEvents(this);
    connection.setStats(this);
    connection.onDelayedCloseTimeout = this.#countDelayedClose;
    if (config.idleTimeoutMs > 0) {
      this.#idleTimer = dispatcher.createTimer(this);
      this.#idleTimer.enable(config.idleTimeoutMs);
    }
    if (config.maxConnectionDurationMs > 0) {
      this.#durationTimer = dispatcher.createTimer(this);
      const jitter = config.maxConnectionDurationJitter * dispatcher.random.float();
      this.#durationTimer.enable(config.maxConnectionDurationMs * (1 + jitter));
    }
    return FilterStatus.Continue;
  }

  get #countDelayedClose(): () => void {
    const counter = this.config.stats.downstreamCxDelayedCloseTimeout;
    return () => counter.inc();
  }

  override onRead(data: ByteBuffer, _end: boolean): FilterStatus {
    if (this.#closed) {
      data.clear();
      return FilterStatus.Stop;
    }
    let codec = this.#codec;
    if (codec === null) {
      codec = this.config.createCodec(this.connection, this, this);
      if (codec === null) return FilterStatus.Stop;
      this.#codec = codec;
      const { stats } = this.config;
      if (codec.protocol >= Protocol.Http2) {
        stats.downstreamCxHttp2Total.inc();
        stats.downstreamCxHttp2Active.inc();
      } else {
        stats.downstreamCxHttp1Total.inc();
        stats.downstreamCxHttp1Active.inc();
      }
    }
    this.#dispatching = true;
    for (;;) {
      const before = data.length;
      const error = codec.dispatch(data);
      if (error !== null) {
        this.#dispatching = false;
        this.#onProtocolError(error);
        return FilterStatus.Stop;
      }
      // HTTP/1 pauses behind each message; go on when it was answered at once.
      if (data.length === 0 || data.length === before || this.#streams.length > 0 || !this.connection.isOpen) break;
      if (this.#drain === Drain.Closing) break;
    }
    this.#dispatching = false;
    this.#closeIfDone();
    return FilterStatus.Stop;
  }

  #onProtocolError(error: ProtocolError): void {
    const { stats } = this.config;
    stats.downstreamCxProtocolError.inc();
    const stream = this.#streams.length > 0 ? this.#streams[this.#streams.length - 1]! : null;
    if (stream !== null) {
      stream.info.setFlag(ResponseFlag.DownstreamProtocolError);
      if (error.details !== '') stream.info.responseCodeDetails = error.details;
      this.#drain = Drain.Closing;
      if (error.status > 0 && !stream.responseStarted) {
        stream.sendLocalReply({
          status: error.status,
          body: reasonPhrase(error.status),
          details: error.details,
          grpcStatus: null,
          modifyHeaders: null,
        });
      }
    }
    this.connection.terminationDetails = error.details;
    this.#abandonStreams(ResponseFlag.DownstreamProtocolError, error.details);
    this.#close(CloseType.FlushWriteAndDelay, error.details);
  }

  // --- ServerCodecEvents ---

  onNewStream(encoder: ResponseEncoder): RequestDecoder {
    const { stats } = this.config;
    stats.downstreamRqTotal.inc();
    stats.downstreamRqActive.inc();
    if (encoder.stream.protocol >= Protocol.Http2) stats.downstreamRqHttp2Total.inc();
    else stats.downstreamRqHttp1Total.inc();
    this.#idleTimer?.disable();
    this.#requests++;
    const limit = this.config.maxRequestsPerConnection;
    if (limit > 0 && this.#requests >= limit && this.#drain === Drain.None) {
      stats.downstreamCxMaxRequestsReached.inc();
      this.#drain = Drain.Closing;
    }
    const stream = new ActiveStream(this, encoder);
    this.#streams.push(stream);
    return stream;
  }

  onGoAway(): void {}

  // --- CodecTransport ---

  get output(): ByteBuffer {
    return this.connection.output;
  }

  written(): void {
    this.connection.written();
  }

  pauseReads(): void {
    this.connection.pauseReads();
  }

  resumeReads(): void {
    this.connection.resumeReads();
  }

  // --- streams ---

  /** Counts a response by its class. Health-check answers are not counted (Envoy: chargeStats). */
  chargeResponse(stream: ActiveStream, status: number): void {
    if (stream.info.healthCheck) return;
    const { stats, listenerStats } = this.config;
    stats.downstreamRqCompleted.inc();
    listenerStats?.downstreamRqCompleted.inc();
    if (status < 200) {
      stats.downstreamRq1xx.inc();
      listenerStats?.downstreamRq1xx.inc();
    } else if (status < 300) {
      stats.downstreamRq2xx.inc();
      listenerStats?.downstreamRq2xx.inc();
    } else if (status < 400) {
      stats.downstreamRq3xx.inc();
      listenerStats?.downstreamRq3xx.inc();
    } else if (status < 500) {
      stats.downstreamRq4xx.inc();
      listenerStats?.downstreamRq4xx.inc();
    } else {
      stats.downstreamRq5xx.inc();
      listenerStats?.downstreamRq5xx.inc();
    }
  }

  /** Decides whether this response closes the connection; called when its headers go out. */
  shouldClose(stream: ActiveStream): boolean {
    const http1 = this.#codec!.protocol < Protocol.Http2;
    const { stats } = this.config;
    if (this.#drain === Drain.None && this.context.drain.drainClose()) {
      stats.downstreamCxDrainClose.inc();
      if (http1) this.#drain = Drain.Closing;
      else this.startDrain();
    }
    if (http1) {
      if (stream.sawConnectionClose) this.#drain = Drain.Closing;
      if (!stream.requestComplete) this.#drain = Drain.Closing;
    }
    if (!stream.requestComplete) stats.downstreamRqResponseBeforeRqComplete.inc();
    return http1 && this.#drain !== Drain.None;
  }

  /** Both sides are done, or the response is and the request is given up. */
  endStream(stream: ActiveStream): void {
    if (stream.destroyed) return;
    const finished = stream.responseComplete && stream.requestComplete;
    if (!finished) {
      stream.codecStream.reset(ResetReason.LocalReset);
      // Envoy's codec tells the stream of our own reset too.
      this.config.stats.downstreamRqRxReset.inc();
      if (this.#codec!.protocol < Protocol.Http2) this.#drain = Drain.Closing;
    }
    this.onStreamGone(stream);
    // Only a client that asked for the close, and has nothing more to send, needs no time to read the answer.
    this.#closeIfDone(stream.requestComplete && stream.sawConnectionClose);
  }

  /** Takes the stream off the list and ends it. */
  onStreamGone(stream: ActiveStream): void {
    const at = this.#streams.indexOf(stream);
    if (at < 0) return;
    if (this.#streams.length === 1) this.#streams.length = 0;
    else this.#streams.splice(at, 1);
    const { stats } = this.config;
    stats.downstreamRqActive.dec();
    stream.destroy();
    if (!stream.info.healthCheck) stats.downstreamRqTime.recordValue(stream.info.endMs - stream.info.startMs);
    if (this.#streams.length === 0 && !this.#closed) {
      this.#idleTimer?.enable(this.config.idleTimeoutMs);
    }
  }

  #closeIfDone(skipDelay = false): void {
    if (this.#drain !== Drain.Closing || this.#streams.length > 0 || this.#closed || this.#dispatching) return;
    this.#close(skipDelay ? CloseType.FlushWrite : CloseType.FlushWriteAndDelay, '');
  }

  #close(type: CloseType, reason: string): void {
    if (this.#closed) return;
    this.connection.close(type, reason, type === CloseType.FlushWriteAndDelay ? this.config.delayedCloseTimeoutMs : 0);
  }

  #abandonStreams(flag: number, details: string): void {
    while (this.#streams.length > 0) {
      const stream = this.#streams[this.#streams.length - 1]!;
      if (flag !== 0) stream.info.setFlag(flag);
      if (details !== '') stream.info.responseCodeDetails = details;
      this.config.stats.downstreamRqRxReset.inc();
      stream.onConnectionGone();
    }
  }

  // --- connection ---

  /** Two-step drain: HTTP/2 gets a notice now and GOAWAY after the drain timeout; HTTP/1 closes with its next answer. */
  startDrain(): void {
    if (this.#drain !== Drain.None) return;
    this.#drain = Drain.Draining;
    this.#codec?.shutdownNotice();
    this.#drainTimer = this.connection.dispatcher.createTimer(this);
    this.#drainTimer.enable(this.config.drainTimeoutMs);
  }

  onTimer(timer: Timer): void {
    const { stats } = this.config;
    if (timer === this.#idleTimer) {
      stats.downstreamCxIdleTimeout.inc();
      if (this.#codec === null) this.#close(CloseType.FlushWrite, 'on_idle_timeout');
      else if (this.#drain === Drain.None) this.startDrain();
      if (this.#codec !== null && this.#codec.protocol < Protocol.Http2 && this.#streams.length === 0) {
        this.#close(CloseType.FlushWrite, 'on_idle_timeout');
      }
    } else if (timer === this.#durationTimer) {
      stats.downstreamCxMaxDurationReached.inc();
      if (this.#codec === null) this.#close(CloseType.FlushWrite, 'on_connection_duration_timeout');
      else if (this.#drain === Drain.None) {
        this.startDrain();
        if (this.#codec.protocol < Protocol.Http2 && this.#streams.length === 0) {
          this.#close(CloseType.FlushWriteAndDelay, 'on_connection_duration_timeout');
        }
      }
    } else if (timer === this.#drainTimer) {
      this.#codec?.goAway();
      this.#drain = Drain.Closing;
      this.#closeIfDone();
    }
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || this.#closed) return;
    this.#closed = true;
    const { stats } = this.config;
    const remote = event === ConnectionEvent.RemoteClose;
    stats.downstreamCxDestroy.inc();
    if (remote) stats.downstreamCxDestroyRemote.inc();
    else stats.downstreamCxDestroyLocal.inc();
    if (this.#streams.length > 0) {
      stats.downstreamCxDestroyActiveRq.inc();
      if (remote) stats.downstreamCxDestroyRemoteActiveRq.inc();
      else stats.downstreamCxDestroyLocalActiveRq.inc();
      this.#abandonStreams(
        remote ? ResponseFlag.DownstreamConnectionTermination : 0,
        remote ? 'downstream_remote_disconnect' : `downstream_local_disconnect${localCloseSuffix(this.connection)}`,
      );
    }
    stats.downstreamCxActive.dec();
    if (this.connection.security !== null) stats.downstreamCxSslActive.dec();
    if (this.#codec !== null) {
      if (this.#codec.protocol >= Protocol.Http2) stats.downstreamCxHttp2Active.dec();
      else stats.downstreamCxHttp1Active.dec();
    }
    stats.downstreamCxLengthMs.recordValue(this.connection.dispatcher.nowMs - this.#startMs);
    this.#idleTimer?.destroy();
    this.#durationTimer?.destroy();
    this.#drainTimer?.destroy();
  }

  onAboveWriteHighWatermark(): void {
    this.#codec?.onUnderlyingAboveWriteHighWatermark();
  }

  onBelowWriteLowWatermark(): void {
    this.#codec?.onUnderlyingBelowWriteLowWatermark();
  }

  // --- ConnectionStats ---

  onBytesReceived(count: number): void {
    this.config.stats.downstreamCxRxBytesTotal.add(count);
  }

  onBytesSent(count: number): void {
    this.config.stats.downstreamCxTxBytesTotal.add(count);
  }

  onReadBufferedChange(delta: number): void {
    this.config.stats.downstreamCxRxBytesBuffered.add(delta);
  }

  onWriteBufferedChange(delta: number): void {
    this.config.stats.downstreamCxTxBytesBuffered.add(delta);
  }
}

function localCloseSuffix(connection: Connection): string {
  return connection.localCloseReason === '' ? '' : `(${connection.localCloseReason})`;
}
