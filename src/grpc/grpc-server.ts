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
import { http2Options } from '../http/h2/http2-options.ts';
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
}

/** `limit`: there are too many; `handshake`: TLS failed or took too long; `protocol`: it is no HTTP/2. */
export type ConnectionRejection = 'limit' | 'handshake' | 'protocol';

/** Bytes that wait for a client before its calls are told to wait: of each connection. */
const BUFFER_LIMIT = 1 << 20;
/** A client that is gone without a word is noticed after this and as much again, ms. */
const KEEPALIVE_MS = 30_000;
/** A TLS handshake takes no longer, ms. */
const HANDSHAKE_MS = 10_000;
const OPTIONS = http2Options({
  maxConcurrentStreams: 1024,
  keepaliveIntervalMs: KEEPALIVE_MS,
  keepaliveTimeoutMs: KEEPALIVE_MS,
});

/** A gRPC server over our own HTTP/2. Hand it to `SocketRuntime.listen` as the acceptor. */
export class GrpcServer implements Acceptor {
  readonly options: GrpcServerOptions;
  readonly #connections = new Set<ServerConnection>();
  readonly #drained = deferred();
  #draining = false;

  constructor(options: GrpcServerOptions) {
    this.options = options;
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

  constructor(server: GrpcServer, connection: Connection, open: boolean) {
    super();
    this.server = server;
    this.connection = connection;
    const { dispatcher } = server.options;
    if (!open) {
      this.#handshake = dispatcher.createTimer(this);
      this.#handshake.enable(HANDSHAKE_MS);
    }
    const transport: CodecTransport = connection;
    this.#codec = new Http2ServerCodec(transport, this, OPTIONS, NO_HTTP2_STATS, dispatcher.timers, dispatcher.random);
  }

  override onRead(data: ByteBuffer): FilterStatus {
    const error = this.#codec.dispatch(data);
    if (error !== null) this.onCodecFailure(error);
    return FilterStatus.Stop;
  }

  onTimer(): void {
    this.close();
  }

  onLastStreamGone(): void {
    if (this.server.isDraining) this.connection.close(CloseType.FlushWrite, 'drained');
  }

  onNewStream(encoder: ResponseEncoder): RequestDecoder {
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

class ServerCall implements GrpcServerCall, RequestDecoder, StreamEvents {
  readonly #connection: ServerConnection;
  readonly #encoder: ResponseEncoder;
  readonly #reader: MessageReader;
  headers!: RequestHeaders;
  #handler: GrpcServerCallHandler | null = null;
  #answered = false;
  #over = false;
  #remoteEnded = false;
  #fullness = 0;

  constructor(connection: ServerConnection, encoder: ResponseEncoder) {
    this.#connection = connection;
    this.#encoder = encoder;
    this.#reader = new MessageReader(connection.server.options.maxMessageBytes);
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
    this.headers = headers;
    if (headers.method !== 'POST' || !isGrpcContentType(headers.get('content-type'))) {
      this.#over = true;
      const refusal = new ResponseHeaders();
      refusal.status = 415;
      this.#encoder.encodeHeaders(refusal, true);
      // What it is about to send is not wanted.
      if (!end) this.#encoder.stream.reset(ResetReason.LocalReset);
      return;
    }
    this.#remoteEnded = end;
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
      this.#handler?.onMessage(message);
    }
    const { problem } = this.#reader;
    if (problem !== null) {
      this.#connection.server.options.onBadMessage?.(problem.status);
      this.#cancel();
      this.#end(problem.status, problem.message);
    } else if (end) {
      this.#onEnd();
    }
  }

  onTrailers(_trailers: HeaderMap): void {
    this.#onEnd();
  }

  #onEnd(): void {
    this.#remoteEnded = true;
    if (!this.#over) this.#handler?.onHalfClose();
  }

  // --- GrpcServerCall ---

  send(message: Uint8Array): boolean {
    if (this.#over) return true;
    if (!this.#answered) {
      this.#answered = true;
      this.#encoder.encodeHeaders(grpcHeaders(), false);
    }
    const data = new ByteBuffer();
    data.append(framePrefix(message.length));
    data.append(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
    this.#encoder.encodeData(data, false);
    return this.#fullness === 0;
  }

  finish(status: GrpcStatus, message: string): void {
    this.#handler = null;
    this.#end(status, message);
  }

  #end(status: GrpcStatus, message: string): void {
    if (this.#over) return;
    this.#over = true;
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
    if (!this.#over) this.#encoder.stream.pauseReads();
  }

  resumeReads(): void {
    if (!this.#over) this.#encoder.stream.resumeReads();
  }

  #cancel(): void {
    const handler = this.#handler;
    this.#handler = null;
    handler?.onCancelled();
  }

  // --- StreamEvents ---

  onStreamReset(): void {
    if (this.#over) return;
    this.#over = true;
    this.#reader.clear();
    this.#cancel();
  }

  onAboveWriteHighWatermark(): void {
    this.#fullness++;
  }

  onBelowWriteLowWatermark(): void {
    this.#fullness--;
    if (this.#fullness === 0 && !this.#over) this.#handler?.onReady();
  }
}

function grpcHeaders(): ResponseHeaders {
  const headers = new ResponseHeaders();
  headers.status = 200;
  headers.add('content-type', 'application/grpc');
  return headers;
}
