import { ByteBuffer } from '../../base/byte-buffer.ts';
import {
  BytesMeter,
  type CodecStream,
  Protocol,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../../http/codec.ts';
import { type HeaderMap, type RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { CloseType, type Connection, ConnectionEvent, type ConnectionEvents } from '../../net/connection.ts';
import { FilterStatus, NetworkFilter } from '../../net/filter.ts';
import type { Host } from '../../upstream/host.ts';
import type {
  PendingStream,
  PoolFailure,
  PoolWaiter,
  TcpLease,
  TcpPool,
  TcpPoolWaiter,
  UpstreamConnectionInfo,
} from '../../upstream/pool.ts';

/** A CONNECT (or POST) that ends here: its payload goes over a raw connection (`connect_config`). */
export class TcpTunnelSource {
  readonly #pool: TcpPool;
  readonly #prelude: Buffer | null;

  /** @param prelude sent in front of the payload (a PROXY protocol header); null: nothing */
  constructor(pool: TcpPool, prelude: Buffer | null) {
    this.#pool = pool;
    this.#prelude = prelude;
  }

  newStream(decoder: ResponseDecoder, waiter: PoolWaiter): PendingStream | null {
    return this.#pool.newConnection(new TunnelWaiter(decoder, waiter, this.#prelude));
  }
}

class TunnelWaiter implements TcpPoolWaiter {
  readonly #decoder: ResponseDecoder;
  readonly #waiter: PoolWaiter;
  readonly #prelude: Buffer | null;

  constructor(decoder: ResponseDecoder, waiter: PoolWaiter, prelude: Buffer | null) {
    this.#decoder = decoder;
    this.#waiter = waiter;
    this.#prelude = prelude;
  }

  onPoolReady(connection: Connection, host: Host, lease: TcpLease): void {
    const tunnel = new TcpTunnel(connection, lease, this.#decoder, this.#prelude);
    connection.addEvents(tunnel);
    connection.addFilter(new TunnelReads(tunnel));
    this.#waiter.onPoolReady(tunnel, host, tunnel);
  }

  onPoolFailure(reason: PoolFailure, transportFailureReason: string, host: Host): void {
    this.#waiter.onPoolFailure(reason, transportFailureReason, host);
  }
}

class TunnelReads extends NetworkFilter {
  readonly #tunnel: TcpTunnel;

  constructor(tunnel: TcpTunnel) {
    super();
    this.#tunnel = tunnel;
  }

  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    this.#tunnel.onRead(data, end);
    return FilterStatus.Stop;
  }
}

/** A raw upstream connection that looks like a stream. Source: Envoy, extensions/upstreams/http/tcp. */
class TcpTunnel implements RequestEncoder, CodecStream, ConnectionEvents, UpstreamConnectionInfo {
  readonly id = 0;
  readonly protocol = Protocol.Http11;
  readonly priorStreams = 0;
  readonly meter = new BytesMeter();
  readonly connection: Connection;
  readonly #lease: TcpLease;
  readonly #decoder: ResponseDecoder;
  readonly #prelude: Buffer | null;
  #requestEnded = false;
  #events: StreamEvents | null = null;
  #over = false;
  #responseEnded = false;

  constructor(connection: Connection, lease: TcpLease, decoder: ResponseDecoder, prelude: Buffer | null) {
    this.connection = connection;
    this.#lease = lease;
    this.#decoder = decoder;
    this.#prelude = prelude;
  }

  get stream(): CodecStream {
    return this;
  }

  setEvents(events: StreamEvents): void {
    this.#events = events;
  }

  /** The client hears 200 at once: the connection is there. */
  encodeHeaders(_headers: RequestHeaders, end: boolean): string | null {
    if (end) this.#requestEnded = true;
    const prelude = this.#prelude;
    if (prelude !== null || end) {
      this.connection.write(prelude === null ? new ByteBuffer() : ByteBuffer.from(prelude), end);
    }
    this.#decoder.onHeaders(ResponseHeaders.of(200), false);
    return null;
  }

  encodeData(data: ByteBuffer, end: boolean): void {
    this.meter.wireBytesSent += data.length;
    this.connection.write(data, end);
    if (end) this.#onRequestEnd();
  }

  #onRequestEnd(): void {
    this.#requestEnded = true;
    if (this.#responseEnded) this.#lease.release();
  }

  /** There is no way to say it. */
  encodeMetadata(): void {}

  encodeTrailers(_trailers: HeaderMap): void {
    this.connection.write(new ByteBuffer(), true);
    this.#onRequestEnd();
  }

  enableTcpTunneling(): void {}

  pauseReads(): void {
    this.connection.pauseReads();
  }

  resumeReads(): void {
    if (!this.connection.isClosed) this.connection.resumeReads();
  }

  reset(_reason: ResetReason): void {
    this.#over = true;
    this.#events = null;
    this.connection.close(CloseType.NoFlush);
  }

  onRead(data: ByteBuffer, end: boolean): void {
    if (this.#over || this.#responseEnded) {
      data.clear();
      return;
    }
    this.meter.wireBytesReceived += data.length;
    this.#responseEnded = end;
    this.#decoder.onData(data, end);
    if (end && this.#requestEnded) this.#lease.release();
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected || this.#over) return;
    this.#over = true;
    const events = this.#events;
    this.#events = null;
    events?.onStreamReset(ResetReason.ConnectionTermination, '');
  }

  onAboveWriteHighWatermark(): void {
    this.#events?.onAboveWriteHighWatermark();
  }

  onBelowWriteLowWatermark(): void {
    this.#events?.onBelowWriteLowWatermark();
  }
}
