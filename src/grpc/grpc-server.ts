import type { ByteBuffer } from '../base/byte-buffer.ts';
import { deferred } from '../base/deferred.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import {
  type CodecTransport,
  type ProtocolError,
  type RequestDecoder,
  ResetReason,
  type ResponseEncoder,
  type ServerCodecEvents,
} from '../http/codec.ts';
import type { GrpcStatus } from '../http/grpc-headers.ts';
import { type Http2Options, http2Options } from '../http/h2/http2-options.ts';
import { NO_HTTP2_STATS } from '../http/h2/http2-stats.ts';
import { Http2ServerCodec } from '../http/h2/server-codec.ts';
import { CloseType, Connection, ConnectionEvent, type ConnectionEvents } from '../net/connection.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import { FilterStatus, NetworkFilter } from '../net/filter.ts';
import type { Acceptor, Transport, TransportSecurity } from '../net/transport.ts';
import {
  type CallHost,
  DEFAULT_SERVER_LIMITS,
  type GrpcServerLimits,
  type GrpcServices,
  ServerCall,
  type StreamLimit,
} from './grpc-server-call.ts';

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

class ServerConnection extends NetworkFilter implements ServerCodecEvents, ConnectionEvents, TimerTarget, CallHost {
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

  count(bytes: number): void {
    this.#held += bytes;
  }

  get dispatcher(): Dispatcher {
    return this.server.options.dispatcher;
  }

  get services(): GrpcServices {
    return this.server.options.services;
  }

  get limits(): GrpcServerLimits {
    return this.server.limits;
  }

  get maxMessageBytes(): number {
    return this.server.options.maxMessageBytes;
  }

  get peer(): string {
    return this.connection.remoteAddress.text;
  }

  get security(): TransportSecurity | null {
    return this.connection.security;
  }

  onLimit(limit: StreamLimit): void {
    this.server.options.onLimit?.(limit);
  }

  onBadMessage(status: GrpcStatus): void {
    this.server.options.onBadMessage?.(status);
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
