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
import { Http2ClientCodec } from '../http/h2/client-codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { StreamMetadata } from '../http/stream-metadata.ts';
import { FilterStatus, NetworkFilter } from '../net/filter.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { HttpConnectionPool, type HttpPoolClient } from './http-pool.ts';
import type { PoolWaiter, UpstreamConnectionInfo } from './pool.ts';
import { ClientState, PoolClient } from './pool-client.ts';

/**
 * What the pool hands out: stands between the codec's stream and its user, to see the end of both messages. Its user may hold
 * it beyond its end: from then on all calls on it are without effect.
 */
class H2Stream implements RequestEncoder, ResponseDecoder, CodecStream, StreamEvents {
  readonly #client: H2Client;
  readonly #decoder: ResponseDecoder;
  readonly #encoder: RequestEncoder;
  readonly #codecStream: CodecStream;
  #events: StreamEvents | null = null;
  #requestEnded = false;
  #responseEnded = false;
  #done = false;
  #pauses = 0;
  /** Place in the client's list. */
  index = 0;

  constructor(client: H2Client, codec: ClientCodec, decoder: ResponseDecoder) {
    this.#client = client;
    this.#decoder = decoder;
    this.#encoder = codec.newStream(this);
    this.#codecStream = this.#encoder.stream;
    this.#codecStream.setEvents(this);
  }

  // --- RequestEncoder ---

  get stream(): CodecStream {
    return this;
  }

  encodeHeaders(headers: RequestHeaders, end: boolean): string | null {
    if (this.#done) return null;
    const error = this.#encoder.encodeHeaders(headers, end);
    if (error === null && end) this.#onRequestEnd();
    return error;
  }

  encodeData(data: ByteBuffer, end: boolean): void {
    if (this.#done) {
      data.clear();
      return;
    }
    this.#encoder.encodeData(data, end);
    if (end) this.#onRequestEnd();
  }

  encodeTrailers(trailers: HeaderMap): void {
    if (this.#done) return;
    this.#encoder.encodeTrailers(trailers);
    this.#onRequestEnd();
  }

  encodeMetadata(metadata: StreamMetadata): void {
    if (!this.#done) this.#encoder.encodeMetadata(metadata);
  }

  enableTcpTunneling(): void {
    if (!this.#done) this.#encoder.enableTcpTunneling();
  }

  #onRequestEnd(): void {
    this.#requestEnded = true;
    if (this.#responseEnded) this.#finish();
  }

  // --- CodecStream ---

  get id(): number {
    return this.#codecStream.id;
  }

  get protocol(): Protocol {
    return Protocol.Http2;
  }

  get meter(): BytesMeter {
    return this.#codecStream.meter;
  }

  setEvents(events: StreamEvents): void {
    this.#events = events;
  }

  /** The caller is not told of its own reset. */
  reset(reason: ResetReason): void {
    if (this.#done) return;
    this.#events = null;
    this.#client.countReset(reason);
    this.#codecStream.reset(reason);
    this.#finish();
  }

  pauseReads(): void {
    if (this.#done) return;
    this.#pauses++;
    this.#codecStream.pauseReads();
  }

  resumeReads(): void {
    if (this.#pauses === 0) return;
    this.#pauses--;
    this.#codecStream.resumeReads();
  }

  // --- ResponseDecoder ---

  on1xxHeaders(headers: ResponseHeaders): void {
    if (!this.#done) this.#decoder.on1xxHeaders(headers);
  }

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#done) return;
    this.#decoder.onHeaders(headers, end);
    if (end) this.#onResponseEnd();
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.#done) {
      data.clear();
      return;
    }
    this.#decoder.onData(data, end);
    if (end) this.#onResponseEnd();
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.#done) return;
    this.#decoder.onTrailers(trailers);
    this.#onResponseEnd();
  }

  onMetadata(metadata: StreamMetadata): void {
    if (!this.#done) this.#decoder.onMetadata?.(metadata);
  }

  #onResponseEnd(): void {
    this.#responseEnded = true;
    if (this.#requestEnded) this.#finish();
  }

  // --- StreamEvents of the codec's stream ---

  /** What the codec says of it beside the reason is left out, as in Envoy. */
  onStreamReset(reason: ResetReason, _details: string): void {
    if (this.#done) return;
    this.#client.countReset(reason);
    this.fail(reason, '');
  }

  onAboveWriteHighWatermark(): void {
    if (!this.#done) this.#events?.onAboveWriteHighWatermark();
  }

  onBelowWriteLowWatermark(): void {
    if (!this.#done) this.#events?.onBelowWriteLowWatermark();
  }

  /** Ends it with its user told. */
  fail(reason: ResetReason, details: string): void {
    if (this.#done) return;
    const events = this.#events;
    this.#events = null;
    this.#finish();
    events?.onStreamReset(reason, details);
  }

  /** Pauses that its user did not undo must not outlive it. */
  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    while (this.#pauses > 0) {
      this.#pauses--;
      this.#codecStream.resumeReads();
    }
    this.#client.onStreamDone(this);
  }
}

/** Feeds a connection's bytes to its codec. */
class CodecReadFilter extends NetworkFilter {
  readonly #client: H2Client;

  constructor(client: H2Client) {
    super();
    this.#client = client;
  }

  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    this.#client.onRead(data, end);
    return FilterStatus.Stop;
  }
}

/** One HTTP/2 connection. Source: Envoy, MultiplexedActiveClientBase and CodecClient. */
export class H2Client extends PoolClient implements HttpPoolClient, ClientCodecEvents {
  /** Made when the connection is up: its preface must not go out before. */
  #codec: Http2ClientCodec | null = null;
  readonly #streams: H2Stream[] = [];
  #dispatching = false;
  #protocolError = false;
  /** No stream has outlived the peer's GOAWAY. */
  #idleAtGoAway = false;
  /** GOAWAY came with what is being read. */
  #goAwayNow = false;

  /** @param from whose connection is taken over; null: a new one is made */
  constructor(pool: ConnectionPool, from: PoolClient | null) {
    super(pool, pool.cluster.spec.httpIdleTimeoutMs, from);
    this.streamLimit = pool.cluster.spec.http2.maxConcurrentStreams;
    pool.cluster.stats.upstream_cx_http2_total.inc();
  }

  protected override onConnected(): boolean {
    const { cluster, environment } = this.pool;
    const { dispatcher } = environment;
    this.connection.gathersWrites = true;
    this.#codec = new Http2ClientCodec(
      this.connection,
      this,
      cluster.spec.http2,
      cluster.http2Stats,
      dispatcher.timers,
      dispatcher.random,
    );
    this.connection.addFilter(new CodecReadFilter(this));
    return true;
  }

  get hasIncompleteStream(): boolean {
    return this.#streams.length > 0;
  }

  attach(decoder: ResponseDecoder, waiter: PoolWaiter): void {
    this.disableIdleTimer();
    const priorStreams = this.streamCount - 1;
    const stream = new H2Stream(this, this.#codec!, decoder);
    stream.index = this.#streams.length;
    this.#streams.push(stream);
    const info: UpstreamConnectionInfo = { connection: this.connection, protocol: Protocol.Http2, priorStreams };
    waiter.onPoolReady(stream, this.pool.host, info);
  }

  onRead(data: ByteBuffer, end: boolean): void {
    this.#dispatching = true;
    const error = data.length > 0 ? this.#codec!.dispatch(data) : null;
    this.#dispatching = false;
    this.#goAwayNow = false;
    if (this.connection.isClosed) return;
    if (error !== null) {
      this.#onProtocolError();
      return;
    }
    if (end) {
      this.remoteEnded = true;
      this.close();
    } else if (this.state === ClientState.Draining && this.activeStreams === 0) {
      // Envoy closes under the hands of its codec, which takes that for an error.
      if (!this.#idleAtGoAway) this.pool.cluster.stats.upstream_cx_protocol_error.inc();
      this.close();
    }
  }

  #onProtocolError(): void {
    this.#protocolError = true;
    this.pool.cluster.stats.upstream_cx_protocol_error.inc();
    // Whoever is told now may ask for another stream at once: not on this connection.
    if (this.state !== ClientState.Closed) this.pool.setState(this, ClientState.Draining);
    // The connection closes without active streams, to Envoy's counters.
    this.#failStreams();
    this.close();
  }

  onCodecFailure(error: ProtocolError): void {
    if (this.connection.isClosed) return;
    // Our own doing, such as a PING without an answer.
    if (error.initiator === 'local') this.close();
    else this.#onProtocolError();
  }

  onGoAway(): void {
    if (this.state === ClientState.Closed) return;
    this.pool.cluster.stats.upstream_cx_close_notify.inc();
    if (this.state === ClientState.Draining) return;
    this.#idleAtGoAway = this.activeStreams === 0;
    this.#goAwayNow = this.#dispatching;
    if (this.activeStreams > 0 || this.#dispatching) this.pool.setState(this, ClientState.Draining);
    else this.close();
  }

  onMaxStreamsChanged(): void {
    this.streamLimit = Math.min(this.#codec!.maxStreams, this.pool.cluster.spec.http2.maxConcurrentStreams);
    if (this.state !== ClientState.Closed) this.pool.onStreamLimitChanged(this);
  }

  onStreamsChanged(): void {}

  /** Source: Envoy, MultiplexedActiveClientBase::onStreamReset. */
  countReset(reason: ResetReason): void {
    const { stats } = this.pool.cluster;
    switch (reason) {
      case ResetReason.ConnectionTermination:
      case ResetReason.LocalConnectionFailure:
      case ResetReason.RemoteConnectionFailure:
      case ResetReason.ConnectionTimeout:
        stats.upstream_rq_pending_failure_eject.inc();
        break;
      case ResetReason.LocalReset:
      case ResetReason.ProtocolError:
      case ResetReason.OverloadManager:
        stats.upstream_rq_tx_reset.inc();
        break;
      case ResetReason.RemoteReset:
        stats.upstream_rq_rx_reset.inc();
        break;
      case ResetReason.RemoteRefusedStreamReset:
        if (this.#goAwayNow && this.activeStreams === 1) this.#idleAtGoAway = true;
        break;
    }
  }

  /** The stream has ended, in whatever way. */
  onStreamDone(stream: H2Stream): void {
    const last = this.#streams.pop()!;
    if (last !== stream) {
      last.index = stream.index;
      this.#streams[stream.index] = last;
    }
    this.pool.onStreamEnded(this);
    if (this.state === ClientState.Closed) return;
    if (this.activeStreams === 0) {
      this.enableIdleTimer();
      // The codec is at work on the connection's buffer: `onRead` closes.
      if (this.state === ClientState.Draining && this.#dispatching) return;
    }
    this.pool.release(this);
  }

  protected onDisconnected(): void {
    this.#failStreams();
  }

  #failStreams(): void {
    const reason = this.#protocolError ? ResetReason.ProtocolError : ResetReason.ConnectionTermination;
    this.#codec?.onConnectionClosed(reason);
    // Those whose headers have not been sent are unknown to the codec.
    while (this.#streams.length > 0) {
      const stream = this.#streams[this.#streams.length - 1]!;
      this.countReset(reason);
      stream.fail(reason, '');
    }
  }

  override onWriteBufferedChange(delta: number): void {
    super.onWriteBufferedChange(delta);
    this.#codec?.onOutputChanged();
  }

  override onAboveWriteHighWatermark(): void {
    this.#codec?.onUnderlyingAboveWriteHighWatermark();
  }

  override onBelowWriteLowWatermark(): void {
    this.#codec?.onUnderlyingBelowWriteLowWatermark();
  }
}

/** HTTP/2 connections to one host at one priority. */
export class H2Pool extends HttpConnectionPool {
  protected createClient(): PoolClient {
    return new H2Client(this, null);
  }
}
