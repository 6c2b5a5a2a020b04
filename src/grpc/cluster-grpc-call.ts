import { ByteBuffer, type WatermarkObserver } from '../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import {
  RESET_REASON_TEXT,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../http/codec.ts';
import {
  decodeGrpcMessage,
  formatGrpcTimeout,
  GrpcStatus,
  grpcStatusIn,
  grpcStatusOfHttp,
  httpStatusOfGrpc,
} from '../http/grpc-headers.ts';
import { type HeaderMap, RequestHeaders, type ResponseHeaders } from '../http/header-map.ts';
import type { Dispatcher, TurnTask } from '../net/dispatcher.ts';
import type { Cluster } from '../upstream/cluster.ts';
import type { Host } from '../upstream/host.ts';
import { type PendingStream, PoolFailure, type PoolWaiter, type UpstreamConnectionInfo } from '../upstream/pool.ts';
import { framePrefix, MessageReader } from './framing.ts';
import type { GrpcCall, GrpcCallHandler, GrpcCallOptions } from './grpc-client.ts';
import type { ClusterLookup, GrpcClientSettings } from './grpc-client-settings.ts';

/** What may be kept for a stream that is not there yet before `send` asks to wait, where the cluster sets no limit; bytes. */
const DEFAULT_WAITING_BYTES = 1_048_576;

/** One call on one stream of a cluster's pool. */
export class ClusterGrpcCall
  implements GrpcCall, PoolWaiter, ResponseDecoder, StreamEvents, TimerTarget, TurnTask, WatermarkObserver
{
  readonly #dispatcher: Dispatcher;
  readonly #settings: GrpcClientSettings;
  readonly #handler: GrpcCallHandler;
  readonly #reader: MessageReader;
  #cluster: Cluster | null = null;
  #host: Host | null = null;
  readonly #headers: RequestHeaders;
  #pending: PendingStream | null = null;
  #encoder: RequestEncoder | null = null;
  /** Messages that wait for the stream; gone once it is there. */
  #waiting: ByteBuffer | null = new ByteBuffer();
  #sendEnded = false;
  #deadline: Timer | null = null;
  /** Monotonic ms; infinite without a deadline. */
  #deadlineMs = Number.POSITIVE_INFINITY;
  #over = false;
  /** Watermarks that are exceeded: of what waits, or of the stream. */
  #fullness = 0;
  /** `send` has answered false: the handler waits for `onReady`. */
  #owesReady = false;
  #readPauses = 0;
  /** Of these, how many the stream knows of. */
  #streamPauses = 0;
  #answered = false;
  /** Headers of the answer, until the handler has been told. */
  #metadata: ResponseHeaders | null = null;
  #ended = false;
  /** The server has said its last: with `endSend` the stream is complete. */
  #remoteEnded = false;
  #status: number = GrpcStatus.Unknown;
  #message = '';
  #trailers: HeaderMap | null = null;
  /** Calls of ours into the stream under way: what it tells meanwhile is handed on at the end of the turn. */
  #depth = 0;
  #deferred = false;
  #delivering = false;

  constructor(
    clusters: ClusterLookup,
    dispatcher: Dispatcher,
    settings: GrpcClientSettings,
    method: string,
    handler: GrpcCallHandler,
    options: GrpcCallOptions,
  ) {
    this.#dispatcher = dispatcher;
    this.#settings = settings;
    this.#handler = handler;
    this.#reader = new MessageReader(options.maxMessageBytes ?? settings.maxMessageBytes);
    const timeoutMs = options.timeoutMs ?? settings.timeoutMs;
    this.#headers = this.#requestHeaders(method, timeoutMs, options);
    if (timeoutMs > 0) {
      this.#deadline = dispatcher.timerPool.take(this);
      this.#deadline.enable(timeoutMs);
      this.#deadlineMs = dispatcher.clock.monotonicMs() + timeoutMs;
    }
    this.#depth++;
    this.#start(clusters);
    this.#depth--;
  }

  get isOver(): boolean {
    return this.#over;
  }

  get isFull(): boolean {
    return this.#fullness > 0;
  }

  #start(clusters: ClusterLookup): void {
    const settings = this.#settings;
    const cluster = clusters.get(settings.cluster);
    if (cluster === null) {
      this.#end(GrpcStatus.Unavailable, `there is no cluster ${settings.cluster}`, null);
      return;
    }
    this.#cluster = cluster;
    const limit = cluster.spec.bufferLimitBytes;
    this.#waiting!.setWatermarks(limit > 0 ? limit : DEFAULT_WAITING_BYTES, this);
    const host = cluster.chooseHost(null);
    const pool = host === null ? null : cluster.httpPool(host, 0);
    if (pool === null) {
      this.#charge(503);
      this.#end(GrpcStatus.Unavailable, 'no healthy upstream', null);
      return;
    }
    this.#host = host;
    const pending = pool.newStream(this, this);
    if (this.#encoder === null && !this.#ended) this.#pending = pending;
  }

  /** Source: Envoy, Grpc::Common::prepareHeaders and AsyncStreamImpl. */
  #requestHeaders(method: string, timeoutMs: number, options: GrpcCallOptions): RequestHeaders {
    const settings = this.#settings;
    const headers = new RequestHeaders();
    headers.method = 'POST';
    headers.path = method;
    headers.authority = settings.authority === '' ? settings.cluster : settings.authority;
    headers.add('te', 'trailers');
    if (timeoutMs > 0) headers.add('grpc-timeout', formatGrpcTimeout(timeoutMs));
    headers.add('content-type', 'application/grpc');
    for (const [name, value] of settings.metadata) headers.add(name, value);
    if (options.metadata !== undefined) for (const [name, value] of options.metadata) headers.add(name, value);
    if (settings.localAddress !== '') {
      headers.set('x-envoy-internal', 'true');
      headers.append('x-forwarded-for', settings.localAddress);
    }
    return headers;
  }

  // --- the caller ---

  send(message: Uint8Array): boolean {
    if (this.#over || this.#ended || this.#sendEnded) return true;
    const prefix = framePrefix(message.length);
    const encoder = this.#encoder;
    if (encoder === null) {
      this.#waiting!.append(prefix);
      this.#waiting!.append(message);
    } else {
      const data = new ByteBuffer();
      data.append(prefix);
      data.append(message);
      this.#depth++;
      encoder.encodeData(data, false);
      this.#depth--;
    }
    if (this.#fullness === 0) return true;
    this.#owesReady = true;
    return false;
  }

  endSend(): void {
    if (this.#over || this.#ended || this.#sendEnded) return;
    this.#sendEnded = true;
    if (this.#encoder === null) return;
    this.#depth++;
    this.#encoder.encodeData(new ByteBuffer(), true);
    this.#depth--;
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#release();
  }

  pauseReads(): void {
    if (this.#over) return;
    this.#readPauses++;
    this.#applyPauses();
  }

  resumeReads(): void {
    if (this.#over || this.#readPauses === 0) return;
    this.#readPauses--;
    this.#applyPauses();
    // What has arrived meanwhile waits here.
    if (this.#readPauses === 0) this.#defer();
  }

  #applyPauses(): void {
    const encoder = this.#encoder;
    if (encoder === null || this.#ended) return;
    this.#depth++;
    for (; this.#streamPauses < this.#readPauses; this.#streamPauses++) encoder.stream.pauseReads();
    for (; this.#streamPauses > this.#readPauses; this.#streamPauses--) encoder.stream.resumeReads();
    this.#depth--;
  }

  // --- PoolWaiter ---

  onPoolReady(encoder: RequestEncoder, _host: Host, info: UpstreamConnectionInfo): void {
    this.#pending = null;
    if (this.#over || this.#ended) {
      encoder.stream.reset(ResetReason.LocalReset);
      return;
    }
    this.#encoder = encoder;
    encoder.stream.setEvents(this);
    const headers = this.#headers;
    headers.scheme = info.connection.security === null ? 'http' : 'https';
    this.#depth++;
    const problem = encoder.encodeHeaders(headers, false);
    if (problem !== null) {
      this.#end(GrpcStatus.Internal, problem, null);
    } else {
      const waiting = this.#waiting!;
      this.#waiting = null;
      if (waiting.length > 0 || this.#sendEnded) encoder.encodeData(waiting, this.#sendEnded);
      this.#applyPauses();
    }
    this.#depth--;
  }

  onPoolFailure(reason: PoolFailure, transportFailureReason: string, _host: Host): void {
    this.#pending = null;
    this.#charge(503);
    const text = RESET_REASON_TEXT[RESET_OF_FAILURE[reason]];
    const cause = transportFailureReason === '' ? '' : `, transport failure reason: ${transportFailureReason}`;
    this.#fail(GrpcStatus.Unavailable, `${NOT_ANSWERED}${text}${cause}`);
  }

  // --- ResponseDecoder ---

  on1xxHeaders(_headers: ResponseHeaders): void {}

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#over || this.#ended) return;
    this.#answered = true;
    this.#charge(headers.status);
    this.#remoteEnded = end;
    const status = end ? grpcStatusIn(headers) : -1;
    if (end && status >= 0) {
      this.#finish(status, headers);
    } else if (headers.status !== 200) {
      this.#fail(grpcStatusOfHttp(headers.status), `the server answered with HTTP status ${headers.status}`);
    } else if (end) {
      this.#finish(-1, headers);
    } else {
      this.#metadata = headers;
      this.#deliverOrDefer();
    }
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.#over || this.#ended) {
      data.clear();
      return;
    }
    this.#remoteEnded = end;
    this.#reader.feed(data);
    if (end) this.#finish(-1, null);
    else this.#deliverOrDefer();
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.#over || this.#ended) return;
    this.#remoteEnded = true;
    this.#finish(grpcStatusIn(trailers), trailers);
  }

  /** The server has ended the call. */
  #finish(status: number, trailers: HeaderMap | null): void {
    if (status < 0) {
      this.#end(GrpcStatus.Unknown, 'the server ended the call without a status', trailers);
    } else {
      this.#end(status, decodeGrpcMessage(trailers!.get('grpc-message') ?? ''), trailers);
    }
  }

  // --- StreamEvents ---

  onStreamReset(reason: ResetReason, details: string): void {
    this.#encoder = null;
    // The server keeps the deadline too, and may be the first to act on it.
    if (this.#dispatcher.clock.monotonicMs() >= this.#deadlineMs) {
      this.#onDeadline();
      return;
    }
    const text = RESET_REASON_TEXT[reason];
    const cause = details === '' ? '' : `, ${details}`;
    if (this.#answered) this.#fail(GrpcStatus.Internal, `${text}${cause}`);
    else this.#fail(GrpcStatus.Unavailable, `${NOT_ANSWERED}${text}${cause}`);
  }

  onAboveWriteHighWatermark(): void {
    this.#fullness++;
  }

  onBelowWriteLowWatermark(): void {
    if (this.#fullness === 0) return;
    this.#fullness--;
    if (this.#fullness === 0 && this.#owesReady) this.#defer();
  }

  /** WatermarkObserver of what waits. */
  onAboveHighWatermark(): void {
    this.onAboveWriteHighWatermark();
  }

  onBelowLowWatermark(): void {
    this.onBelowWriteLowWatermark();
  }

  onTimer(_timer: Timer): void {
    this.#onDeadline();
  }

  #onDeadline(): void {
    if (this.#over || this.#ended) return;
    this.#cluster?.stats.upstream_rq_timeout.inc();
    if (this.#host !== null) this.#host.stats.rqTimeout++;
    // Messages that nobody takes must not hold a deadline up.
    this.#readPauses = 0;
    this.#end(GrpcStatus.DeadlineExceeded, 'the deadline has passed', null);
  }

  // --- to the handler ---

  /** The end is ours: what came in before it is still handed on. */
  #fail(status: GrpcStatus, message: string): void {
    if (this.#over || this.#ended) return;
    this.#end(status, message, null);
  }

  /** From here on nothing is taken from the stream. The handler learns of it behind the messages. */
  #end(status: number, message: string, trailers: HeaderMap | null): void {
    this.#ended = true;
    this.#status = status;
    this.#message = message;
    this.#trailers = trailers;
    const host = this.#host;
    if (host !== null) {
      if (httpStatusOfGrpc(status) < 500) host.stats.rqSuccess++;
      else host.stats.rqError++;
    }
    this.#dropStream();
    this.#deliverOrDefer();
  }

  #charge(httpStatus: number): void {
    const cluster = this.#cluster!;
    cluster.responses.all.charge(httpStatus);
    const own = this.#settings.localAddress === '' ? cluster.responses.external : cluster.responses.internal;
    own.charge(httpStatus);
  }

  #deliverOrDefer(): void {
    if (this.#depth > 0 || !this.#dispatcher.isInTurn) this.#defer();
    else this.#deliver();
  }

  #defer(): void {
    if (this.#deferred) return;
    this.#deferred = true;
    this.#dispatcher.defer(this);
  }

  onTurnEnd(): void {
    this.#deferred = false;
    this.#deliver();
  }

  #deliver(): void {
    if (this.#delivering || this.#over) return;
    this.#delivering = true;
    try {
      this.#handOn();
    } finally {
      this.#delivering = false;
    }
    if (this.#over || !this.#ended || this.#readPauses > 0) return;
    if (this.#status === GrpcStatus.Ok && !this.#reader.isAtBoundary) {
      this.#status = GrpcStatus.Internal;
      this.#message = 'the server ended the call within a message';
    }
    this.#over = true;
    this.#release();
    this.#handler.onStatus(this, this.#status, this.#message, this.#trailers);
  }

  /** What there is, in order; stops where the handler pauses or gives up. */
  #handOn(): void {
    const metadata = this.#metadata;
    if (metadata !== null && this.#readPauses === 0) {
      this.#metadata = null;
      this.#handler.onInitialMetadata(this, metadata);
    }
    const reader = this.#reader;
    while (!this.#over && this.#readPauses === 0) {
      const message = reader.next();
      if (message === null) break;
      this.#handler.onMessage(this, message);
    }
    if (this.#over) return;
    const { problem } = reader;
    if (problem !== null && (!this.#ended || this.#remoteEnded)) {
      const hadEnded = this.#ended;
      this.#ended = true;
      this.#status = problem.status;
      this.#message = problem.message;
      this.#trailers = null;
      if (!hadEnded && this.#host !== null) this.#host.stats.rqError++;
      this.#dropStream();
    }
    if (this.#fullness === 0 && this.#owesReady && !this.#ended) {
      this.#owesReady = false;
      this.#handler.onReady(this);
    }
  }

  /** Lets go of the stream: resets it unless both sides are through with it. */
  #dropStream(): void {
    this.#pending?.cancel();
    this.#pending = null;
    const encoder = this.#encoder;
    this.#encoder = null;
    if (encoder === null) return;
    this.#depth++;
    for (; this.#streamPauses > 0; this.#streamPauses--) encoder.stream.resumeReads();
    if (!this.#remoteEnded || !this.#sendEnded) encoder.stream.reset(ResetReason.LocalReset);
    this.#depth--;
  }

  #release(): void {
    if (this.#deadline !== null) this.#dispatcher.timerPool.give(this.#deadline);
    this.#deadline = null;
    this.#dropStream();
    this.#waiting?.setWatermarks(0, null);
    this.#waiting = null;
    this.#metadata = null;
    this.#reader.clear();
  }
}

const NOT_ANSWERED = 'upstream connect error or disconnect/reset before headers. reset reason: ';

const RESET_OF_FAILURE: Readonly<Record<PoolFailure, ResetReason>> = {
  [PoolFailure.Overflow]: ResetReason.Overflow,
  [PoolFailure.PendingOverflow]: ResetReason.Overflow,
  [PoolFailure.LocalConnectionFailure]: ResetReason.LocalConnectionFailure,
  [PoolFailure.RemoteConnectionFailure]: ResetReason.RemoteConnectionFailure,
  [PoolFailure.Timeout]: ResetReason.ConnectionTimeout,
};
