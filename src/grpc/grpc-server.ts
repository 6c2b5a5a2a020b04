import { ByteBuffer } from '../base/byte-buffer.ts';
import { deferred } from '../base/deferred.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import {
  type CodecTransport,
  type ProtocolError,
  type RequestDecoder,
  ResetReason,
  type ResponseEncoder,
  type ServerCodecEvents,
  type StreamEvents,
} from '../http/codec.ts';
import { encodeGrpcMessage, GrpcStatus, isGrpcContentType } from '../http/grpc-headers.ts';
import { type Http2Options, http2Options } from '../http/h2/http2-options.ts';
import { NO_HTTP2_STATS } from '../http/h2/http2-stats.ts';
import { Http2ServerCodec } from '../http/h2/server-codec.ts';
import { HeaderMap, type RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import { CloseType, Connection, ConnectionEvent, type ConnectionEvents } from '../net/connection.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import { FilterStatus, NetworkFilter } from '../net/filter.ts';
import type { Acceptor, Transport, TransportSecurity } from '../net/transport.ts';
import { framePrefix, MessageReader } from './framing.ts';

/** One call that a client has begun, as its service sees it. */
export interface GrpcServerCall {
  readonly headers: RequestHeaders;
  /** `address:port` of the client. */
  readonly peer: string;
  /** Null without TLS. */
  readonly security: TransportSecurity | null;
  /**
   * Sends one message; takes ownership of the bytes.
   * @returns false: what waits to be sent is above the high watermark; it is sent all the same, `onReady` tells of room
   */
  send(message: Uint8Array): boolean;
  /** Ends the call. Afterwards nothing more is told. */
  finish(status: GrpcStatus, message: string): void;
  readonly isFull: boolean;
  readonly isOver: boolean;
  /** The client is kept from sending more once its window is used up; counted, so every pause needs its resume. */
  pauseReads(): void;
  resumeReads(): void;
  /**
   * Counts memory that is kept for the call to what its connection may cost. It is given back with `release`, and with the call's end.
   * @returns false: the connection costs too much already, and nothing was counted
   */
  hold(bytes: number): boolean;
  release(bytes: number): void;
}

/** Hears of one call. */
export interface GrpcServerCallHandler {
  /** One whole message; the bytes are the handler's. */
  onMessage(message: Uint8Array): void;
  /** No further message comes; the call goes on until it is finished. */
  onHalfClose(): void;
  /** Room again, after the call was full. */
  onReady(): void;
  /** The client has given up, or is gone. Last call. */
  onCancelled(): void;
}

/** By full method name. @returns null: UNIMPLEMENTED */
export interface GrpcServices {
  open(method: string, call: GrpcServerCall): GrpcServerCallHandler | null;
}

/** What one connection may cost. */
export interface GrpcServerLimits {
  /** Streams at once; SETTINGS tell the client. */
  readonly maxStreams: number;
  /**
   * Bytes that are kept for one connection: half-sent messages, headers, responses that wait for a client that does not read, and what
   * services count by `hold`. The stream that goes beyond ends; a single response may be larger.
   */
  readonly maxConnectionBytes: number;
  /** How long a message may take to come, from its first byte, the first one from the beginning of its stream, ms. */
  readonly messageTimeoutMs: number;
  /** A client that takes no byte of what waits for it for so long loses its stream, ms. */
  readonly sendTimeoutMs: number;
  /** A connection that has no stream for so long is closed, ms. */
  readonly idleTimeoutMs: number;
}

export const DEFAULT_SERVER_LIMITS: GrpcServerLimits = {
  maxStreams: 1024,
  maxConnectionBytes: 128 * 1024 * 1024,
  messageTimeoutMs: 30_000,
  sendTimeoutMs: 60_000,
  idleTimeoutMs: 300_000,
};

/** Which limit ended a stream. */
export type StreamLimit = 'connection_bytes' | 'message_time' | 'send_time';

export interface GrpcServerOptions {
  readonly dispatcher: Dispatcher;
  readonly services: GrpcServices;
  /** Largest message that is accepted, bytes. */
  readonly maxMessageBytes: number;
  /** Connections above this are closed as they come. */
  readonly maxConnections: number;
  /** Takes TLS off an accepted socket; null: none. The transport that it gives opens when the handshake is done. */
  readonly secure: ((transport: Transport) => Transport) | null;
  /** Told why a connection was not served; absent: nobody. */
  readonly onRejected?: (why: ConnectionRejection) => void;
  /** Told of a message that ended its call: larger than permitted, or no message of gRPC; absent: nobody. */
  readonly onBadMessage?: (status: GrpcStatus) => void;
  /** Absent: the default ones. */
  readonly limits?: GrpcServerLimits;
  /** Told of a limit that ended a call; absent: nobody. */
  readonly onLimit?: (limit: StreamLimit) => void;
}

/** `limit`: there are too many; `handshake`: TLS failed or took too long; `protocol`: it is no HTTP/2; `idle`: it had no stream for too long. */
export type ConnectionRejection = 'limit' | 'handshake' | 'protocol' | 'idle';

/** Bytes that wait for a client before its calls are told to wait: of each connection. */
const BUFFER_LIMIT = 1 << 20;
/** A client that is gone without a word is noticed after this and as much again, ms. */
const KEEPALIVE_MS = 30_000;
/** A TLS handshake takes no longer, ms. */
const HANDSHAKE_MS = 10_000;
/** What a client may send ahead on one stream, and what may wait for it before its call is told to wait. */
const STREAM_WINDOW = 1 << 18;
const CONNECTION_WINDOW = 1 << 20;

/** A gRPC server over our own HTTP/2. Hand it to `SocketRuntime.listen` as the acceptor. */
export class GrpcServer implements Acceptor {
  readonly options: GrpcServerOptions;
  readonly limits: GrpcServerLimits;
  /** Not for users. */
  readonly http2: Http2Options;
  readonly #connections = new Set<ServerConnection>();
  readonly #drained = deferred();
  #draining = false;

  constructor(options: GrpcServerOptions) {
    this.options = options;
    this.limits = options.limits ?? DEFAULT_SERVER_LIMITS;
    this.http2 = http2Options({
      maxConcurrentStreams: this.limits.maxStreams,
      initialStreamWindowSize: STREAM_WINDOW,
      initialConnectionWindowSize: CONNECTION_WINDOW,
      keepaliveIntervalMs: KEEPALIVE_MS,
      keepaliveTimeoutMs: KEEPALIVE_MS,
      streamFlushTimeoutMs: this.limits.sendTimeoutMs,
    });
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  onAccept(raw: Transport): void {
    const { dispatcher, secure, maxConnections, onRejected } = this.options;
    if (this.#connections.size >= maxConnections || this.#draining) {
      if (!this.#draining) onRejected?.('limit');
      raw.close();
      return;
    }
    const transport = secure === null ? raw : secure(raw);
    const connection = new Connection(dispatcher, transport, secure === null);
    const filter = new ServerConnection(this, connection, secure === null);
    this.#connections.add(filter);
    connection.setBufferLimit(BUFFER_LIMIT);
    connection.addEvents(filter);
    connection.addFilter(filter);
    transport.setHandler(connection);
    transport.setNoDelay(true);
    connection.startFilters();
  }

  /** Not for users. */
  forget(connection: ServerConnection): void {
    this.#connections.delete(connection);
    if (this.#draining && this.#connections.size === 0) this.#drained.resolve();
  }

  /**
   * Tells every client to go elsewhere (GOAWAY); calls under way go on, and a connection is closed with its last one. New
   * connections are closed as they come.
   * @returns resolves once no connection is left
   */
  drain(): Promise<void> {
    this.#draining = true;
    for (const connection of [...this.#connections]) connection.goAway();
    if (this.#connections.size === 0) this.#drained.resolve();
    return this.#drained.promise;
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  close(): void {
    for (const connection of [...this.#connections]) connection.close();
  }
}

class ServerConnection extends NetworkFilter implements ServerCodecEvents, ConnectionEvents, TimerTarget {
  readonly server: GrpcServer;
  readonly connection: Connection;
  readonly #codec: Http2ServerCodec;
  /** Of the handshake; null: it is done, or there is none. */
  #handshake: Timer | null = null;
  /** Runs while there is no stream. */
  readonly #idle: Timer;
  /** Bytes that are kept for it. */
  #held = 0;
  #closed = false;

  constructor(server: GrpcServer, connection: Connection, open: boolean) {
    super();
    this.server = server;
    this.connection = connection;
    const { dispatcher } = server.options;
    if (!open) {
      this.#handshake = dispatcher.createTimer(this);
      this.#handshake.enable(HANDSHAKE_MS);
    }
    this.#idle = dispatcher.createTimer(this);
    this.#idle.enable(server.limits.idleTimeoutMs);
    const transport: CodecTransport = connection;
    const { timers, random } = dispatcher;
    this.#codec = new Http2ServerCodec(transport, this, server.http2, NO_HTTP2_STATS, timers, random);
  }

  get isOverBudget(): boolean {
    return this.#held > this.server.limits.maxConnectionBytes;
  }

  hold(bytes: number): void {
    this.#held += bytes;
  }

  override onRead(data: ByteBuffer): FilterStatus {
    const error = this.#codec.dispatch(data);
    if (error !== null) this.onCodecFailure(error);
    return FilterStatus.Stop;
  }

  onTimer(timer: Timer): void {
    if (timer !== this.#idle) {
      this.close();
      return;
    }
    this.server.options.onRejected?.('idle');
    this.#codec.goAway();
    this.connection.close(CloseType.FlushWrite, 'idle');
  }

  onLastStreamGone(): void {
    if (this.server.isDraining) this.connection.close(CloseType.FlushWrite, 'drained');
    else if (!this.#closed) this.#idle.enable(this.server.limits.idleTimeoutMs);
  }

  onNewStream(encoder: ResponseEncoder): RequestDecoder {
    this.#idle.disable();
    return new ServerCall(this, encoder);
  }

  onGoAway(): void {}

  onCodecFailure(_error: ProtocolError): void {
    this.server.options.onRejected?.('protocol');
    this.connection.close(CloseType.FlushWrite, 'codec_error');
  }

  onConnectionEvent(event: ConnectionEvent): void {
    const pending = this.#handshake;
    this.#handshake = null;
    pending?.destroy();
    if (event === ConnectionEvent.Connected) return;
    if (pending !== null) this.server.options.onRejected?.('handshake');
    this.#closed = true;
    this.#idle.destroy();
    this.server.forget(this);
    this.#codec.onConnectionClosed(ResetReason.ConnectionTermination);
  }

  onAboveWriteHighWatermark(): void {
    this.#codec.onUnderlyingAboveWriteHighWatermark();
  }

  onBelowWriteLowWatermark(): void {
    this.#codec.onUnderlyingBelowWriteLowWatermark();
  }

  goAway(): void {
    this.#codec.goAway();
    if (!this.#codec.hasStreams) this.connection.close(CloseType.FlushWrite, 'drained');
  }

  close(): void {
    this.connection.close(CloseType.NoFlush, 'server_closed');
  }
}

class ServerCall implements GrpcServerCall, RequestDecoder, StreamEvents, TimerTarget {
  readonly #connection: ServerConnection;
  readonly #encoder: ResponseEncoder;
  readonly #reader: MessageReader;
  headers!: RequestHeaders;
  #handler: GrpcServerCallHandler | null = null;
  #answered = false;
  #over = false;
  #remoteEnded = false;
  #fullness = 0;
  #pauses = 0;
  /** Bytes that the connection counts for it: of all, of half a message, of responses that wait. */
  #held = 0;
  #arrived = 0;
  #waiting = 0;
  /** Runs until the message under way has come. */
  readonly #arrival: Timer;
  /** Runs while the client takes nothing. */
  #departure: Timer | null = null;
  /** What had gone out when it began. */
  #departed = 0;

  constructor(connection: ServerConnection, encoder: ResponseEncoder) {
    this.#connection = connection;
    this.#encoder = encoder;
    const { options, limits } = connection.server;
    this.#reader = new MessageReader(options.maxMessageBytes);
    this.#arrival = options.dispatcher.createTimer(this);
    this.#arrival.enable(limits.messageTimeoutMs);
    encoder.stream.setEvents(this);
  }

  get peer(): string {
    return this.#connection.connection.remoteAddress.text;
  }

  get security(): TransportSecurity | null {
    return this.#connection.connection.security;
  }

  get isFull(): boolean {
    return this.#fullness > 0;
  }

  get isOver(): boolean {
    return this.#over;
  }

  // --- RequestDecoder ---

  onHeaders(headers: RequestHeaders, end: boolean): void {
    if (this.#over) return;
    this.headers = headers;
    let size = 0;
    for (const text of headers.list) size += text.length;
    if (headers.method !== 'POST' || !isGrpcContentType(headers.get('content-type'))) {
      this.#close();
      const refusal = new ResponseHeaders();
      refusal.status = 415;
      this.#encoder.encodeHeaders(refusal, true);
      // What it is about to send is not wanted.
      if (!end) this.#encoder.stream.reset(ResetReason.LocalReset);
      return;
    }
    this.#remoteEnded = end;
    if (!this.hold(size)) {
      this.#exceed('connection_bytes');
      return;
    }
    this.#handler = this.#connection.server.options.services.open(headers.path ?? '', this);
    if (this.#handler === null) this.finish(GrpcStatus.Unimplemented, `unknown method ${headers.path}`);
    else if (end) this.#onEnd();
  }

  onData(data: ByteBuffer, end: boolean): void {
    // A client that goes on after its call was finished is not listened to, and fills no memory.
    if (this.#over) {
      data.clear();
      return;
    }
    this.#remoteEnded = end;
    this.#reader.feed(data);
    for (;;) {
      const message = this.#over ? null : this.#reader.next();
      if (message === null) break;
      this.#arrival.disable();
      this.#handler?.onMessage(message);
    }
    const { problem } = this.#reader;
    if (problem !== null) {
      this.#connection.server.options.onBadMessage?.(problem.status);
      this.#cancel();
      this.#end(problem.status, problem.message);
    } else if (end) {
      this.#onEnd();
    } else if (!this.#over) this.#countArrived();
  }

  /** Half a message is kept, and waited for, for so long. */
  #countArrived(): void {
    const reader = this.#reader;
    const more = reader.size - this.#arrived;
    this.#arrived = reader.size;
    if (more <= 0) this.release(-more);
    else if (!this.hold(more)) {
      this.#exceed('connection_bytes');
      return;
    }
    this.#awaitRest();
  }

  #awaitRest(): void {
    if (this.#reader.isAtBoundary || this.#pauses > 0) this.#arrival.disable();
    else if (!this.#arrival.enabled) this.#arrival.enable(this.#connection.server.limits.messageTimeoutMs);
  }

  onTrailers(_trailers: HeaderMap): void {
    this.#onEnd();
  }

  #onEnd(): void {
    this.#remoteEnded = true;
    this.#arrival.disable();
    if (!this.#over) this.#handler?.onHalfClose();
  }

  // --- GrpcServerCall ---

  send(message: Uint8Array): boolean {
    if (this.#over) return true;
    if (this.#connection.isOverBudget) {
      this.#exceed('connection_bytes');
      return true;
    }
    if (!this.#answered) {
      this.#answered = true;
      this.#encoder.encodeHeaders(grpcHeaders(), false);
    }
    const data = new ByteBuffer();
    data.append(framePrefix(message.length));
    data.append(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
    this.#encoder.encodeData(data, false);
    if (this.#fullness === 0) return true;
    // Whatever it is: of responses one may be larger than all that is permitted.
    this.#count(message.length);
    this.#waiting += message.length;
    return false;
  }

  finish(status: GrpcStatus, message: string): void {
    this.#handler = null;
    this.#end(status, message);
  }

  #end(status: GrpcStatus, message: string): void {
    if (this.#over) return;
    this.#close();
    const text = encodeGrpcMessage(Buffer.from(message, 'utf8').toString('latin1'));
    if (this.#answered) {
      const trailers = new HeaderMap();
      trailers.add('grpc-status', String(status));
      if (text !== '') trailers.add('grpc-message', text);
      this.#encoder.encodeTrailers(trailers);
    } else {
      const headers = grpcHeaders();
      headers.add('grpc-status', String(status));
      if (text !== '') headers.add('grpc-message', text);
      this.#encoder.encodeHeaders(headers, true);
    }
    // Half a stream would stay open until the client ends it. While data waits for its window, the rest has to wait as well.
    if (!this.#remoteEnded && this.#fullness === 0) this.#encoder.stream.reset(ResetReason.LocalReset);
  }

  pauseReads(): void {
    if (this.#over) return;
    this.#pauses++;
    this.#arrival.disable();
    this.#encoder.stream.pauseReads();
  }

  resumeReads(): void {
    if (this.#over) return;
    this.#pauses--;
    this.#awaitRest();
    this.#encoder.stream.resumeReads();
  }

  hold(bytes: number): boolean {
    this.#count(bytes);
    if (!this.#connection.isOverBudget) return true;
    this.release(bytes);
    return false;
  }

  release(bytes: number): void {
    this.#count(-bytes);
  }

  #count(bytes: number): void {
    if (this.#over) return;
    this.#held += bytes;
    this.#connection.hold(bytes);
  }

  /** Its memory and its timers are given back. */
  #close(): void {
    this.release(this.#held);
    this.#over = true;
    this.#reader.clear();
    this.#arrival.destroy();
    this.#departure?.destroy();
  }

  #exceed(limit: StreamLimit): void {
    this.#connection.server.options.onLimit?.(limit);
    this.#cancel();
    if (limit === 'message_time') this.#end(GrpcStatus.DeadlineExceeded, 'the request does not come');
    else if (limit === 'connection_bytes')
      this.#end(GrpcStatus.ResourceExhausted, 'the connection holds too much memory');
    else {
      // What waits is not wanted: nor would a status be read behind it.
      this.#close();
      this.#encoder.stream.reset(ResetReason.LocalReset);
    }
  }

  onTimer(timer: Timer): void {
    if (timer === this.#arrival) {
      this.#exceed('message_time');
      return;
    }
    const { wireBytesSent } = this.#encoder.stream.meter;
    if (wireBytesSent === this.#departed) {
      this.#exceed('send_time');
      return;
    }
    this.#departed = wireBytesSent;
    timer.enable(this.#connection.server.limits.sendTimeoutMs);
  }

  #cancel(): void {
    const handler = this.#handler;
    this.#handler = null;
    handler?.onCancelled();
  }

  // --- StreamEvents ---

  onStreamReset(): void {
    if (this.#over) return;
    this.#close();
    this.#cancel();
  }

  onAboveWriteHighWatermark(): void {
    this.#fullness++;
    if (this.#fullness > 1 || this.#over) return;
    const { options, limits } = this.#connection.server;
    this.#departed = this.#encoder.stream.meter.wireBytesSent;
    this.#departure ??= options.dispatcher.createTimer(this);
    this.#departure.enable(limits.sendTimeoutMs);
  }

  onBelowWriteLowWatermark(): void {
    this.#fullness--;
    if (this.#fullness > 0 || this.#over) return;
    this.#departure?.disable();
    this.release(this.#waiting);
    this.#waiting = 0;
    this.#handler?.onReady();
  }
}

function grpcHeaders(): ResponseHeaders {
  const headers = new ResponseHeaders();
  headers.status = 200;
  headers.add('content-type', 'application/grpc');
  return headers;
}
