import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import type { ProtocolError, RequestDecoder, ResponseEncoder, ServerCodecEvents } from '../../http/codec.ts';
import { http1Options, NO_HTTP1_STATS } from '../../http/h1/http1-options.ts';
import { Http1ServerCodec } from '../../http/h1/server-codec.ts';
import { type RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { CloseType, Connection, ConnectionEvent, type ConnectionEvents } from '../../net/connection.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { FilterStatus, NetworkFilter } from '../../net/filter.ts';
import type { Acceptor, Transport } from '../../net/transport.ts';

/** One answer. */
export interface DebugPage {
  /** Of HTTP; absent: 200. */
  readonly status?: number;
  readonly contentType: string;
  readonly body: string;
}

/** Pages by path; each is made when it is asked for. */
export type DebugPages = Readonly<Record<string, (query: URLSearchParams) => DebugPage>>;

const OPTIONS = http1Options();
const MAX_CONNECTIONS = 100;
const BUFFER_LIMIT = 1 << 20;
/** A connection that says nothing for so long is closed, ms. */
const IDLE_MS = 300_000;

/** Serves pages to people and scrapers over HTTP/1.1. It asks nobody who they are: it belongs on the loopback. */
export class DebugServer implements Acceptor {
  /** Not for users. */
  readonly dispatcher: Dispatcher;
  readonly pages: DebugPages;
  readonly #connections = new Set<DebugConnection>();

  constructor(dispatcher: Dispatcher, pages: DebugPages) {
    this.dispatcher = dispatcher;
    this.pages = pages;
  }

  onAccept(transport: Transport): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      transport.close();
      return;
    }
    const connection = new Connection(this.dispatcher, transport, true);
    const filter = new DebugConnection(this, connection);
    this.#connections.add(filter);
    connection.setBufferLimit(BUFFER_LIMIT);
    connection.addEvents(filter);
    connection.addFilter(filter);
    transport.setHandler(connection);
    transport.setNoDelay(true);
    connection.startFilters();
  }

  forget(connection: DebugConnection): void {
    this.#connections.delete(connection);
  }

  close(): void {
    for (const each of [...this.#connections]) each.connection.close(CloseType.NoFlush, 'server_closed');
  }
}

class DebugConnection extends NetworkFilter implements ServerCodecEvents, ConnectionEvents, TimerTarget {
  readonly server: DebugServer;
  readonly connection: Connection;
  readonly #codec: Http1ServerCodec;
  readonly #idle: Timer;

  constructor(server: DebugServer, connection: Connection) {
    super();
    this.server = server;
    this.connection = connection;
    this.#codec = new Http1ServerCodec(connection, this, OPTIONS, NO_HTTP1_STATS);
    this.#idle = server.dispatcher.createTimer(this);
    this.#idle.enable(IDLE_MS);
  }

  onTimer(): void {
    this.connection.close(CloseType.NoFlush, 'idle');
  }

  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    this.#idle.enable(IDLE_MS);
    const error = this.#codec.dispatch(data) ?? (end ? this.#codec.onPeerEnd() : null);
    if (error !== null) this.onCodecFailure(error);
    return FilterStatus.Stop;
  }

  onNewStream(encoder: ResponseEncoder): RequestDecoder {
    return new DebugRequest(this, encoder);
  }

  onGoAway(): void {}
  onLastStreamGone(): void {}

  onCodecFailure(_error: ProtocolError): void {
    this.connection.close(CloseType.FlushWrite, 'codec_error');
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) return;
    this.#idle.destroy();
    this.server.forget(this);
    this.#codec.onConnectionClosed();
  }

  onAboveWriteHighWatermark(): void {
    this.#codec.onUnderlyingAboveWriteHighWatermark();
  }

  onBelowWriteLowWatermark(): void {
    this.#codec.onUnderlyingBelowWriteLowWatermark();
  }
}

/** Answered once it has come to its end: a body says nothing here. */
class DebugRequest implements RequestDecoder {
  readonly #connection: DebugConnection;
  readonly #encoder: ResponseEncoder;
  #headers!: RequestHeaders;

  constructor(connection: DebugConnection, encoder: ResponseEncoder) {
    this.#connection = connection;
    this.#encoder = encoder;
    encoder.stream.setEvents({
      onStreamReset() {},
      onAboveWriteHighWatermark() {},
      onBelowWriteLowWatermark() {},
    });
  }

  onHeaders(headers: RequestHeaders, end: boolean): void {
    this.#headers = headers;
    if (end) this.#answer();
  }

  onData(data: ByteBuffer, end: boolean): void {
    data.clear();
    if (end) this.#answer();
  }

  onTrailers(): void {
    this.#answer();
  }

  #answer(): void {
    const { method, path } = this.#headers;
    const [name = '', query = ''] = (path ?? '').split('?');
    const { pages } = this.#connection.server;
    const page = Object.hasOwn(pages, name) ? pages[name] : undefined;
    if (method !== 'GET' && method !== 'HEAD') this.#send(405, { contentType: 'text/plain', body: 'GET alone\n' });
    else if (page !== undefined) {
      const made = page(new URLSearchParams(query));
      this.#send(made.status ?? 200, made);
    } else this.#send(404, { contentType: 'text/plain', body: `${Object.keys(pages).join('\n')}\n` });
  }

  #send(status: number, { contentType, body }: DebugPage): void {
    const bytes = Buffer.from(body, 'utf8');
    const headers = new ResponseHeaders();
    headers.status = status;
    headers.add('content-type', contentType);
    headers.add('content-length', String(bytes.length));
    headers.add('cache-control', 'no-store');
    // A page of another origin must not read it by way of a browser.
    headers.add('x-content-type-options', 'nosniff');
    const isWhole = this.#headers.method === 'HEAD' || bytes.length === 0;
    this.#encoder.encodeHeaders(headers, isWhole);
    if (isWhole) return;
    const data = new ByteBuffer();
    data.append(bytes);
    this.#encoder.encodeData(data, true);
  }
}
