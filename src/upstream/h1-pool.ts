import type { ByteBuffer } from '../base/byte-buffer.ts';
import {
  type BytesMeter,
  type ClientCodec,
  type ClientCodecEvents,
  type CodecStream,
  Protocol,
  type ProtocolError,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../http/codec.ts';
import { Http1ClientCodec } from '../http/h1/client-codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { StreamMetadata } from '../http/stream-metadata.ts';
import { hasToken } from '../http/token-list.ts';
import { CloseType } from '../net/connection.ts';
import { FilterStatus, NetworkFilter } from '../net/filter.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { HttpConnectionPool, type HttpPoolClient } from './http-pool.ts';
import type { PoolWaiter, UpstreamConnectionInfo } from './pool.ts';
import { PoolClient } from './pool-client.ts';

/** A stream's way to the end of the response; `Done` whoever ended it. */
const StreamState = { Open: 0, ResponseEnded: 1, Done: 2 } as const;
type StreamState = (typeof StreamState)[keyof typeof StreamState];

/**
 * What the pool hands out: stands between the codec's stream and its user, so that the end of both messages gives the
 * connection back, and everything else closes it. One small object per request, which its user may hold beyond its end:
 * from then on all calls on it are without effect.
 */
class H1Stream implements RequestEncoder, ResponseDecoder, CodecStream, StreamEvents {
  readonly client: H1Client;
  readonly id = 0;
  readonly #decoder: ResponseDecoder;
  readonly #encoder: RequestEncoder;
  #events: StreamEvents | null = null;
  #pauses = 0;
  #aboveWatermark = 0;
  state: StreamState = StreamState.Open;
  requestEnded = false;
  /** The response says that the connection ends behind it. */
  closeAfter = false;

  constructor(client: H1Client, decoder: ResponseDecoder) {
    this.client = client;
    this.#decoder = decoder;
    this.#encoder = client.codec.newStream(this);
    this.#encoder.stream.setEvents(this);
  }

  // --- RequestEncoder ---

  get stream(): CodecStream {
    return this;
  }

  encodeHeaders(headers: RequestHeaders, end: boolean): string | null {
    if (this.state !== StreamState.Open) return null;
    const error = this.#encoder.encodeHeaders(headers, end);
    if (error === null && end) {
      this.requestEnded = true;
      // The end of a CONNECT is said by the connection's end, as there is no other way (Envoy: codec_impl.cc, endEncode).
      if (headers.method === 'CONNECT') this.client.connection.close(CloseType.FlushWrite);
    }
    return error;
  }

  encodeData(data: ByteBuffer, end: boolean): void {
    if (this.state !== StreamState.Open) {
      data.clear();
      return;
    }
    // A tunnel ends as a whole.
    if (end && !this.client.tunnels) this.requestEnded = true;
    this.#encoder.encodeData(data, end);
  }

  encodeTrailers(trailers: HeaderMap): void {
    if (this.state !== StreamState.Open) return;
    this.requestEnded = true;
    this.#encoder.encodeTrailers(trailers);
  }

  encodeMetadata(metadata: StreamMetadata): void {
    if (this.state === StreamState.Open) this.#encoder.encodeMetadata(metadata);
  }

  enableTcpTunneling(): void {
    if (this.state !== StreamState.Open) return;
    this.client.tunnels = true;
    this.#encoder.enableTcpTunneling();
  }

  // --- CodecStream ---

  get protocol(): Protocol {
    return this.client.codec.protocol;
  }

  get meter(): BytesMeter {
    return this.#encoder.stream.meter;
  }

  setEvents(events: StreamEvents): void {
    this.#events = events;
  }

  /** Closes the connection. The caller is not told of its own reset. */
  reset(_reason: ResetReason): void {
    if (this.state !== StreamState.Open) return;
    this.#events = null;
    this.client.close();
  }

  pauseReads(): void {
    if (this.state !== StreamState.Open) return;
    this.#pauses++;
    this.client.connection.pauseReads();
  }

  resumeReads(): void {
    if (this.#pauses === 0) return;
    this.#pauses--;
    this.client.connection.resumeReads();
  }

  // --- ResponseDecoder ---

  on1xxHeaders(headers: ResponseHeaders): void {
    if (this.state === StreamState.Open) this.#decoder.on1xxHeaders(headers);
  }

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.state !== StreamState.Open) return;
    if (closesConnection(this.client.codec.protocol, headers)) {
      this.closeAfter = true;
      this.client.pool.cluster.stats.upstream_cx_close_notify.inc();
    }
    if (end) this.state = StreamState.ResponseEnded;
    this.#decoder.onHeaders(headers, end);
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.state !== StreamState.Open) return;
    if (end) this.state = StreamState.ResponseEnded;
    this.#decoder.onData(data, end);
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.state !== StreamState.Open) return;
    this.state = StreamState.ResponseEnded;
    this.#decoder.onTrailers(trailers);
  }

  // --- StreamEvents of the codec's stream ---

  onStreamReset(reason: ResetReason, details: string): void {
    this.client.failStream(reason, details);
  }

  onAboveWriteHighWatermark(): void {
    if (this.state !== StreamState.Open) return;
    this.#aboveWatermark++;
    this.#events?.onAboveWriteHighWatermark();
  }

  onBelowWriteLowWatermark(): void {
    if (this.#aboveWatermark === 0) return;
    this.#aboveWatermark--;
    if (this.state === StreamState.Open) this.#events?.onBelowWriteLowWatermark();
  }

  /** Last step. Pauses that its user did not undo must not outlive it. */
  finish(): void {
    this.state = StreamState.Done;
    while (this.#pauses > 0) {
      this.#pauses--;
      this.client.connection.resumeReads();
    }
  }

  /** Last step of a stream that did not get its whole response. */
  fail(reason: ResetReason, details: string): void {
    if (this.state === StreamState.Done) return;
    const events = this.state === StreamState.Open ? this.#events : null;
    this.#events = null;
    this.state = StreamState.Done;
    events?.onStreamReset(reason, details);
  }
}

/** Source: RFC 9112, 9.3 and 9.6; Envoy also heeds Proxy-Connection. */
function closesConnection(protocol: Protocol, headers: ResponseHeaders): boolean {
  const list = headers.list;
  let keepAlive = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name !== 'connection' && name !== 'proxy-connection') continue;
    const value = list[i + 1]!;
    if (hasToken(value, 'close')) {
      if (name === 'proxy-connection' || protocol !== Protocol.Http10) return true;
    } else if (name === 'connection' && hasToken(value, 'keep-alive')) {
      keepAlive = true;
    }
  }
  return protocol === Protocol.Http10 && !keepAlive;
}

/** Feeds a connection's bytes to its codec. */
class CodecReadFilter extends NetworkFilter {
  readonly #client: H1Client;

  constructor(client: H1Client) {
    super();
    this.#client = client;
  }

  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    this.#client.onRead(data, end);
    return FilterStatus.Stop;
  }
}

/** One HTTP/1 connection. */
export class H1Client extends PoolClient implements HttpPoolClient, ClientCodecEvents, UpstreamConnectionInfo {
  readonly codec: ClientCodec;
  #stream: H1Stream | null = null;
  #dispatching = false;
  #protocolError = false;
  /** Its stream carries a TCP connection. */
  tunnels = false;
  #failure: ResetReason | null = null;
  #failureDetails = '';

  /** @param from whose connection is taken over; null: a new one is made */
  constructor(pool: ConnectionPool, from: PoolClient | null) {
    const { spec } = pool.cluster;
    super(pool, spec.httpIdleTimeoutMs, from);
    this.connection.gathersWrites = true;
    this.codec = new Http1ClientCodec(this.connection, this, spec.http1, pool.cluster.http1Stats);
    this.connection.addFilter(new CodecReadFilter(this));
    pool.cluster.stats.upstream_cx_http1_total.inc();
  }

  /** HTTP/1 neither changes its one stream nor fails outside of `dispatch`. */
  onMaxStreamsChanged(): void {}

  onCodecFailure(_error: ProtocolError): void {
    this.close();
  }

  get protocol(): Protocol {
    return this.codec.protocol;
  }

  get priorStreams(): number {
    return this.streamCount - 1;
  }

  get hasIncompleteStream(): boolean {
    const stream = this.#stream;
    return stream !== null && !(stream.state === StreamState.ResponseEnded && stream.requestEnded);
  }

  /** Begins a stream on a place that was reserved. */
  attach(decoder: ResponseDecoder, waiter: PoolWaiter): void {
    this.disableIdleTimer();
    const stream = new H1Stream(this, decoder);
    this.#stream = stream;
    waiter.onPoolReady(stream, this.pool.host, this);
  }

  onRead(data: ByteBuffer, end: boolean): void {
    if (this.#stream === null) {
      this.#onIdleRead(data, end);
      return;
    }
    this.#dispatching = true;
    let error = data.length > 0 ? this.codec.dispatch(data) : null;
    if (end) {
      // The end of a tunnel is data to its user; that the connection is then closed is our doing.
      this.remoteEnded = !this.tunnels;
      if (error === null && !this.connection.isClosed) error = this.#endOfPeer();
    }
    this.#dispatching = false;
    if (this.connection.isClosed) return;
    const stream = this.#stream;
    if (error !== null && stream?.state !== StreamState.ResponseEnded) {
      this.#protocolError = true;
      this.pool.cluster.stats.upstream_cx_protocol_error.inc();
      this.close();
      return;
    }
    if (stream?.state === StreamState.ResponseEnded) this.#onResponseEnded(stream, data.length > 0 || error !== null);
    else if (end) this.close();
  }

  /**
   * The upstream's end, FIN or not: it may end a body that runs until the close, or cut a response.
   * @returns null too when nothing of the response had come: `connection termination`, no fault of protocol (as Envoy)
   */
  #endOfPeer(): ProtocolError | null {
    const stream = this.#stream;
    if (stream === null || stream.state !== StreamState.Open) return null;
    const nothingCame = stream.meter.wireBytesReceived === 0;
    const error = this.codec.onPeerEnd();
    return nothingCame ? null : error;
  }

  /** Nobody has asked for anything: bytes are a fault of the upstream, an end is its right. */
  #onIdleRead(data: ByteBuffer, end: boolean): void {
    if (data.length > 0) {
      // 408 is how some servers say that an idle connection took too long: no fault (Envoy: codec_client.cc).
      if (!isRequestTimeout(data)) this.pool.cluster.stats.upstream_cx_protocol_error.inc();
      data.clear();
      this.close();
    } else if (end) {
      this.remoteEnded = true;
      this.close();
    }
  }

  #onResponseEnded(stream: H1Stream, excess: boolean): void {
    const mustClose = !stream.requestEnded || stream.closeAfter || this.codec.mustClose || this.remoteEnded;
    if (excess && stream.requestEnded && !stream.closeAfter && !this.remoteEnded)
      this.pool.cluster.stats.upstream_cx_protocol_error.inc();
    if (mustClose || excess) {
      this.close();
      return;
    }
    this.#stream = null;
    stream.finish();
    this.pool.onStreamEnded(this);
    this.enableIdleTimer();
    this.pool.release(this);
  }

  /** The codec gave up on its stream. */
  failStream(reason: ResetReason, details: string): void {
    if (this.connection.isClosed) return;
    this.#failure = reason;
    this.#failureDetails = details;
    if (this.#dispatching) return; // `dispatch` tells us the same by what it returns
    this.close();
  }

  protected override beforeRemoteClose(): void {
    // An end by reset: a body that runs until the close ends here all the same, as in Envoy.
    if (this.remoteEnded) return;
    this.remoteEnded = true;
    this.#dispatching = true;
    const error = this.#endOfPeer();
    this.#dispatching = false;
    if (error === null) return;
    this.#protocolError = true;
    this.pool.cluster.stats.upstream_cx_protocol_error.inc();
  }

  protected onDisconnected(): void {
    const stream = this.#stream;
    if (stream === null) return;
    this.#stream = null;
    this.pool.onStreamEnded(this);
    // Envoy gives no detail beyond the reason here: `upstream_reset_before_response_started{protocol_error}`.
    if (this.#protocolError) stream.fail(ResetReason.ProtocolError, '');
    else stream.fail(this.#failure ?? ResetReason.ConnectionTermination, this.#failureDetails);
  }

  override onAboveWriteHighWatermark(): void {
    this.codec.onUnderlyingAboveWriteHighWatermark();
  }

  override onBelowWriteLowWatermark(): void {
    this.codec.onUnderlyingBelowWriteLowWatermark();
  }

  onGoAway(): void {}
  onStreamsChanged(): void {}
}

function isRequestTimeout(data: ByteBuffer): boolean {
  const head = 'HTTP/1.';
  for (let i = 0; i < head.length; i++) if (data.byteAt(i) !== head.charCodeAt(i)) return false;
  return data.byteAt(8) === 0x20 && data.byteAt(9) === 0x34 && data.byteAt(10) === 0x30 && data.byteAt(11) === 0x38;
}

/** HTTP/1 connections to one host at one priority. */
export class H1Pool extends HttpConnectionPool {
  protected createClient(): PoolClient {
    return new H1Client(this, null);
  }
}
