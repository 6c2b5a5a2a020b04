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
import { ActiveStream } from './active-stream.ts';
import { ClientCertHeader } from './client-cert-header.ts';
import type { ConnectionManagerConfig } from './connection-manager-config.ts';
import { isUpgrade } from './connection-tokens.ts';
import type { ConnectionContext } from './environment.ts';
import type { HttpFilter } from './http-filter.ts';
import { PrematureResets } from './premature-resets.ts';
import { ResponseFlag } from './response-flag.ts';
import { chargeTracing } from './tracing.ts';

const CYCLE_KEY = 'http.max_requests_per_io_cycle';
const UNLIMITED_REQUESTS = 0xffff_ffff;

/** How far the connection is on its way to being closed. */
const Drain = { None: 0, Draining: 1, Closing: 2 } as const;
type Drain = (typeof Drain)[keyof typeof Drain];

const REMOTE_DISCONNECT = 'downstream_remote_disconnect';

/**
 * The HTTP connection manager of one downstream connection: codec, streams, and the connection's life.
 *
 * (Longer than most files: every way in which a connection may end asks what its streams are about.)
 */
export class HttpConnectionManager
  extends NetworkFilter
  implements ServerCodecEvents, ConnectionEvents, ConnectionStats, CodecTransport, TimerTarget
{
  readonly config: ConnectionManagerConfig;
  readonly context: ConnectionContext;
  connection!: Connection;
  readonly clientCert: ClientCertHeader;
  #codec: ServerCodec | null = null;
  #streams: ActiveStream[] = [];
  #drain: Drain = Drain.None;
  #requests = 0;
  #maxRequestsPerCycle = UNLIMITED_REQUESTS;
  #requestsOfCycle = 0;
  #cycleTimer: Timer | null = null;
  readonly #prematureResets = new PrematureResets();
  /** The message of a stream broke the connection: it was active when that closes. */
  #brokenByStream = false;
  #idleTimer: Timer | null = null;
  #durationTimer: Timer | null = null;
  #drainTimer: Timer | null = null;
  #startMs = 0;
  #closed = false;
  #remoteClosed = false;
  #dispatching = false;
  /** The next response closes the connection: its time is up. */
  #softDrain = false;

  constructor(config: ConnectionManagerConfig, context: ConnectionContext) {
    super();
    this.config = config;
    this.context = context;
    this.clientCert = new ClientCertHeader(config.clientCert, config.clientCertMatcher);
  }

  get bufferLimit(): number {
    return this.context.listener.bufferLimit;
  }

  get protocol(): Protocol | null {
    return this.#codec === null ? null : this.#codec.protocol;
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
    if (connection.isSecure) {
      config.stats.downstreamCxSslTotal.inc();
      config.stats.downstreamCxSslActive.inc();
    }
    // For logs of requests that end with the connection.
    if (config.accessLoggers.length > 0) connection.roundTripMs();
    connection.addEvents(this);
    connection.setStats(this);
    connection.onDelayedCloseTimeout = config.onDelayedCloseTimeout;
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
      this.#maxRequestsPerCycle = this.config.environment.runtime.integer(CYCLE_KEY, UNLIMITED_REQUESTS);
      this.connection.protocol = codec.protocol;
      this.connection.gathersWrites = true;
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
    this.#requestsOfCycle = 0;
    for (;;) {
      const before = data.length;
      this.#brokenByStream = false;
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
    this.#closeIfDone(false);
    return FilterStatus.Stop;
  }

  /** `http.max_requests_per_io_cycle` of the runtime: the others of one read wait their turn. */
  putsRequestOff(): boolean {
    const max = this.#maxRequestsPerCycle;
    if (max === UNLIMITED_REQUESTS) return false;
    if (this.#cycleTimer?.enabled === true) return true;
    if (++this.#requestsOfCycle <= max) return false;
    this.#cycleTimer ??= this.connection.dispatcher.createTimer(this);
    this.#cycleTimer.enable(0);
    return true;
  }

  /** Source: Envoy, ConnectionManagerImpl::onDeferredRequestProcessing. */
  #resumeDeferred(): void {
    this.#requestsOfCycle = 1;
    for (const stream of [...this.#streams]) {
      if (stream.resumeDeferred() && this.putsRequestOff()) return;
    }
  }

  /** Answers where that is possible, and closes. Source: Envoy, handleCodecError and its HTTP/1 codec's sendProtocolError. */
  #onProtocolError(error: ProtocolError): void {
    if (error.flood !== true) this.config.stats.downstreamCxProtocolError.inc();
    const stream = this.#streams.length > 0 ? this.#streams[this.#streams.length - 1]! : null;
    // HTTP/2 has said what it has to say by GOAWAY.
    if (stream !== null && this.#codec!.protocol < Protocol.Http2) {
      stream.codecDetails = error.details;
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
    this.connection.marks |= ResponseFlag.DownstreamProtocolError;
    const http2 = this.#codec!.protocol >= Protocol.Http2;
    const details = http2 ? error.details : `codec_error:${error.message.replaceAll(' ', '_')}`;
    this.#closeConnection(CloseType.FlushWriteAndDelay, ResponseFlag.DownstreamProtocolError, details);
  }

  // --- ServerCodecEvents ---

  onNewStream(encoder: ResponseEncoder): RequestDecoder {
    return this.#newStream(encoder, null);
  }

  #newStream(encoder: ResponseEncoder, earlier: ActiveStream | null): ActiveStream {
    const { stats } = this.config;
    stats.downstreamRqTotal.inc();
    stats.downstreamRqActive.inc();
    if (encoder.stream.protocol >= Protocol.Http2) stats.downstreamRqHttp2Total.inc();
    else stats.downstreamRqHttp1Total.inc();
    this.#idleTimer?.disable();
    this.#requests++;
    const stream = new ActiveStream(this, encoder, earlier);
    const limit = this.config.maxRequestsPerConnection;
    if (limit > 0 && this.#requests >= limit) {
      stats.downstreamCxMaxRequestsReached.inc();
      if (encoder.stream.protocol < Protocol.Http2) {
        stream.closesConnection = true;
        this.#drain = Drain.Closing;
      } else if (this.#drain === Drain.None) {
        this.startDrain();
      }
    }
    this.#streams.push(stream);
    return stream;
  }

  onGoAway(): void {}

  onLastStreamGone(): void {
    if (this.#drain === Drain.Closing) this.#closeIfDone(false);
  }

  onCodecFailure(error: ProtocolError): void {
    // Our own doing, such as a PING without an answer: no fault of the peer's.
    if (error.initiator === 'local') this.connection.close(CloseType.FlushWrite, error.details);
    else this.#onProtocolError(error);
  }

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

  /** Counts a response by its class. Answers to health checks are not counted (Envoy: chargeStats). */
  chargeResponse(stream: ActiveStream, status: number): void {
    const { info } = stream;
    info.responseCode = status;
    const { stats, listenerStats, tracing, tracingStats } = this.config;
    if (tracing !== null) chargeTracing(tracingStats, info);
    if (info.healthCheck) return;
    stats.downstreamRqCompleted.inc();
    listenerStats?.downstreamRqCompleted.inc();
    if (status < 100 || status >= 600) return;
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

  /** Called when a response's headers go out. @returns whether they are to say `connection: close` */
  closesBehind(stream: ActiveStream): boolean {
    const http1 = this.#codec!.protocol < Protocol.Http2;
    const { stats } = this.config;
    if (this.#drain === Drain.None && this.context.drain.drainClose()) {
      // An HTTP/1 client gets the drain timeout to close by itself.
      this.startDrain();
      stats.downstreamCxDrainClose.inc();
    }
    if (this.#softDrain) stream.closesConnection = true;
    if (this.#drain === Drain.None && stream.closesConnection) {
      if (http1) this.#drain = Drain.Closing;
      else this.startDrain();
    }
    if (!stream.requestComplete) {
      if (http1) this.#drain = Drain.Closing;
      stats.downstreamRqResponseBeforeRqComplete.inc();
    }
    return http1 && this.#drain !== Drain.None;
  }

  /** The response is complete, or the stream is given up. Source: Envoy, ConnectionManagerImpl::doEndStream. */
  endStream(stream: ActiveStream): void {
    if (stream.destroyed) return;
    const { protocol } = this.#codec!;
    const { requestComplete } = stream;
    if (requestComplete && stream.responseComplete) {
      this.onStreamGone(stream);
    } else {
      stream.responseComplete = true;
      const reason = resetReasonOf(stream);
      stream.codecStream.reset(reason);
      stream.onReset(reason);
      if (protocol < Protocol.Http2) this.#drain = Drain.Closing;
    }
    // Nothing is left to arrive that a close could destroy; or the close is the end of the body.
    const endsByClose =
      protocol === Protocol.Http10 &&
      (stream.responseHeaders === null || !stream.responseHeaders.has('content-length'));
    this.#closeIfDone(stream.closesConnection && (requestComplete || endsByClose));
  }

  /** A request begins anew, through all filters. @param body null: none */
  recreateStream(stream: ActiveStream, body: ByteBuffer | null): void {
    const headers = stream.requestHeaders!;
    this.onStreamGone(stream);
    if (this.#closed) return;
    const next = this.#newStream(stream.encoder, stream);
    next.closesConnection ||= stream.closesConnection;
    next.onHeaders(headers, body === null);
    if (body !== null) next.onData(body, true);
  }

  /** The codec found a message that is none. If that is the end of the connection, `dispatch` says so next. */
  noteBrokenStream(): void {
    this.#brokenByStream = this.#dispatching;
  }

  /** Takes the stream off the list and ends it. */
  onStreamGone(stream: ActiveStream): void {
    const at = this.#streams.indexOf(stream);
    if (at < 0) return;
    if (this.#streams.length === 1) this.#streams.length = 0;
    else this.#streams.splice(at, 1);
    this.config.stats.downstreamRqActive.dec();
    if (this.#remoteClosed) {
      stream.info.responseCodeDetails = REMOTE_DISCONNECT;
      stream.info.setFlag(ResponseFlag.DownstreamConnectionTermination);
    }
    stream.destroy();
    if (this.#closed) return;
    if (this.#streams.length === 0) this.#idleTimer?.enable(this.config.idleTimeoutMs);
    const { stats, environment } = this.config;
    if (!this.#prematureResets.onStreamEnd(stream.info, environment.runtime) || !this.connection.isOpen) return;
    stats.downstreamRqTooManyPrematureResets.inc();
    this.#closeConnection(CloseType.NoFlush, 0, 'too_many_premature_resets');
  }

  /** @param skipDelay nothing of what the client has yet to read or send can be lost */
  #closeIfDone(skipDelay: boolean): void {
    if (this.#drain !== Drain.Closing || this.#streams.length > 0 || this.#closed) return;
    // The codec is at work on the connection's buffer: `onRead` asks again, with the delay (so does Envoy).
    if (this.#dispatching) return;
    // The ends of responses may wait for the client's window: `onLastStreamGone` asks again (Envoy: wantsToWrite).
    if (this.#codec?.hasStreams === true) return;
    const type = skipDelay ? CloseType.FlushWrite : CloseType.FlushWriteAndDelay;
    this.#closeConnection(type, 0, 'deferred_close_on_drained_connection');
  }

  /** Source: Envoy, ConnectionManagerImpl::doConnectionClose. @param flag bit of ResponseFlag for open streams; 0: none */
  #closeConnection(type: CloseType, flag: number, details: string): void {
    if (this.#closed) return;
    this.#stopTimers();
    if (this.#streams.length > 0 || this.#brokenByStream) {
      this.config.stats.downstreamCxDestroyLocalActiveRq.inc();
      this.config.stats.downstreamCxDestroyActiveRq.inc();
      this.#resetStreams(flag, details);
    }
    // The delayed-close timeout bounds a plain flush too: a client that never reads would hold its connection for ever.
    this.connection.close(type, details, this.config.delayedCloseTimeoutMs);
  }

  #resetStreams(flag: number, details: string): void {
    while (this.#streams.length > 0) {
      const stream = this.#streams[this.#streams.length - 1]!;
      if (details !== '') stream.info.responseCodeDetails = details;
      if (flag !== 0) stream.info.setFlag(flag);
      stream.onReset(ResetReason.ConnectionTermination);
    }
  }

  // --- connection ---

  /** Two-step drain: HTTP/2 gets a notice now and GOAWAY after the drain timeout; HTTP/1 closes with its next answer. */
  startDrain(): void {
    if (this.#drain !== Drain.None) return;
    this.#drain = Drain.Draining;
    this.#codec?.shutdownNotice();
    this.#drainTimer = this.connection.dispatcher.createTimer(this);
    const { drainTimeoutMs, drainTimeoutJitter } = this.config;
    const jitter = drainTimeoutJitter === 0 ? 0 : drainTimeoutJitter * this.connection.dispatcher.random.float();
    this.#drainTimer.enable(drainTimeoutMs * (1 + jitter));
  }

  onTimer(timer: Timer): void {
    const { stats } = this.config;
    if (timer === this.#idleTimer) {
      stats.downstreamCxIdleTimeout.inc();
      if (this.#codec === null) this.#closeConnection(CloseType.FlushWrite, 0, 'on_idle_timeout');
      else if (this.#drain === Drain.None) this.startDrain();
    } else if (timer === this.#durationTimer) {
      stats.downstreamCxMaxDurationReached.inc();
      if (this.#codec === null) {
        this.#closeConnection(CloseType.FlushWrite, ResponseFlag.DurationTimeout, 'duration_timeout');
      } else if (this.#drain === Drain.None) {
        if (this.config.safeMaxConnectionDuration && this.#codec.protocol < Protocol.Http2) {
          stats.downstreamCxHttp1SoftDrain.inc();
          this.#softDrain = true;
        } else {
          this.startDrain();
        }
      }
    } else if (timer === this.#cycleTimer) {
      this.#resumeDeferred();
    } else if (timer === this.#drainTimer) {
      this.#codec?.goAway();
      this.#drain = Drain.Closing;
      this.#closeIfDone(false);
    }
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || this.#closed) return;
    const { stats } = this.config;
    const remote = event === ConnectionEvent.RemoteClose;
    // A request whose first bytes could have been those of HTTP/2 too.
    const { readBuffer } = this.connection;
    if (remote && this.#codec === null && readBuffer.length > 0) this.onRead(readBuffer, true);
    this.#closed = true;
    this.#remoteClosed = remote;
    stats.downstreamCxDestroy.inc();
    if (remote) stats.downstreamCxDestroyRemote.inc();
    else stats.downstreamCxDestroyLocal.inc();
    this.#stopTimers();
    if (this.#streams.length > 0) {
      // Closed by another than this filter: Envoy counts that as the peer's doing.
      stats.downstreamCxDestroyActiveRq.inc();
      stats.downstreamCxDestroyRemoteActiveRq.inc();
      this.#resetStreams(
        ResponseFlag.DownstreamConnectionTermination,
        remote ? REMOTE_DISCONNECT : `downstream_local_disconnect${localCloseSuffix(this.connection)}`,
      );
    }
    stats.downstreamCxActive.dec();
    if (this.#softDrain) stats.downstreamCxHttp1SoftDrain.dec();
    if (this.connection.isSecure) stats.downstreamCxSslActive.dec();
    if (this.#codec !== null) {
      this.#codec.onConnectionClosed();
      if (this.#codec.protocol >= Protocol.Http2) stats.downstreamCxHttp2Active.dec();
      else stats.downstreamCxHttp1Active.dec();
    }
    stats.downstreamCxLengthMs.recordValue(Math.round(this.connection.dispatcher.nowMs - this.#startMs));
  }

  #stopTimers(): void {
    this.#idleTimer?.destroy();
    this.#durationTimer?.destroy();
    this.#drainTimer?.destroy();
    this.#cycleTimer?.destroy();
    this.#idleTimer = null;
    this.#durationTimer = null;
    this.#drainTimer = null;
    this.#cycleTimer = null;
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
    this.#codec?.onOutputChanged();
  }
}

function resetReasonOf(stream: ActiveStream): ResetReason {
  const { info } = stream;
  if (info.hasFlag(ResponseFlag.UpstreamProtocolError)) return ResetReason.ProtocolError;
  const failed = ResponseFlag.UpstreamConnectionFailure | ResponseFlag.UpstreamConnectionTermination;
  const request = stream.requestHeaders;
  // RFC 9113, 8.5: the TCP connection behind a CONNECT failed. An upgrade of HTTP/2 came as a CONNECT (RFC 8441).
  if (info.hasFlag(failed) && request !== null && (request.method === 'CONNECT' || isUpgrade(request))) {
    return ResetReason.ConnectError;
  }
  return ResetReason.LocalReset;
}

function localCloseSuffix(connection: Connection): string {
  return connection.localCloseReason === '' ? '' : `(${connection.localCloseReason})`;
}
