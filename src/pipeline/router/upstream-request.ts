import { ByteBuffer } from '../../base/byte-buffer.ts';
import { type RequestEncoder, ResetReason, type ResponseDecoder, type StreamEvents } from '../../http/codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import { type PendingStream, PoolFailure, type PoolWaiter, type UpstreamConnectionInfo } from '../../upstream/pool.ts';
import type { RouterFilter } from './router-filter.ts';

/** One attempt: waits for a stream of the host's pool, sends the request, and hands the answer to the router. */
export class UpstreamRequest implements ResponseDecoder, PoolWaiter, StreamEvents {
  readonly #router: RouterFilter;
  readonly #cluster: Cluster;
  readonly host: Host;
  #pending: PendingStream | null = null;
  #encoder: RequestEncoder | null = null;
  #headers: RequestHeaders | null = null;
  #headersEnd = false;
  /** Body that arrived before the stream was ready. */
  readonly #waiting = new ByteBuffer();
  #waitingEnd = false;
  #waitingTrailers: HeaderMap | null = null;
  #over = false;
  #sourcePauses = 0;
  #readPauses = 0;
  #responseEnded = false;

  constructor(router: RouterFilter, cluster: Cluster, host: Host) {
    this.#router = router;
    this.#cluster = cluster;
    this.host = host;
  }

  start(headers: RequestHeaders, end: boolean): void {
    this.#headers = headers;
    this.#headersEnd = end;
    const upstream = this.#router.stream.info.upstream!;
    upstream.host = this.host;
    upstream.hostsAttempted.push(this.host);
    this.#waiting.setWatermarks(this.#router.stream.requestBufferLimit, {
      onAboveHighWatermark: () => this.onAboveWriteHighWatermark(),
      onBelowLowWatermark: () => this.onBelowWriteLowWatermark(),
    });
    const pool = this.#cluster.httpPool(this.host, this.#router.routingPriority);
    this.#pending = pool.newStream(this, this);
  }

  sendData(data: ByteBuffer, end: boolean): void {
    if (this.#over) {
      data.clear();
      return;
    }
    if (this.#encoder === null) {
      this.#waiting.moveFrom(data);
      this.#waitingEnd = end;
      return;
    }
    this.#encoder.encodeData(data, end);
    if (end) this.#markSent();
  }

  sendTrailers(trailers: HeaderMap): void {
    if (this.#over) return;
    if (this.#encoder === null) {
      this.#waitingTrailers = trailers;
      return;
    }
    this.#encoder.encodeTrailers(trailers);
    this.#markSent();
  }

  #markSent(): void {
    this.#router.stream.info.upstream!.lastByteSentMs = this.#router.stream.dispatcher.clock.monotonicMs();
  }

  /** The router is done with it: pending streams are cancelled, running ones reset. */
  abandon(): void {
    if (this.#over) return;
    this.#over = true;
    this.#releaseSource();
    this.#pending?.cancel();
    this.#pending = null;
    const encoder = this.#encoder;
    this.#encoder = null;
    if (encoder !== null && !(this.#responseEnded && this.#router.requestEnded))
      encoder.stream.reset(ResetReason.LocalReset);
  }

  // --- PoolWaiter ---

  onPoolReady(encoder: RequestEncoder, _host: Host, info: UpstreamConnectionInfo): void {
    this.#pending = null;
    this.#encoder = encoder;
    encoder.stream.setEvents(this);
    const { stream } = this.#router;
    const now = stream.dispatcher.nowMs;
    const upstream = stream.info.upstream!;
    upstream.connection = info.connection;
    upstream.protocol = info.protocol;
    upstream.meter = encoder.stream.meter;
    upstream.poolReadyMs = now;
    upstream.firstByteSentMs = now;
    upstream.connectionIdsAttempted.push(info.connection.id);
    for (let i = 0; i < this.#readPauses; i++) encoder.stream.pauseReads();
    const problem = encoder.encodeHeaders(this.#headers!, this.#headersEnd);
    if (problem !== null) {
      this.#fail(ResetReason.ProtocolError, problem);
      return;
    }
    if (this.#headersEnd) {
      this.#markSent();
      return;
    }
    if (this.#waiting.length > 0 || this.#waitingEnd) {
      encoder.encodeData(this.#waiting, this.#waitingEnd && this.#waitingTrailers === null);
      if (this.#waitingEnd) this.#markSent();
    }
    if (this.#waitingTrailers !== null) {
      encoder.encodeTrailers(this.#waitingTrailers);
      this.#markSent();
    }
  }

  onPoolFailure(reason: PoolFailure, transportFailureReason: string, _host: Host): void {
    this.#pending = null;
    this.#router.stream.info.upstream!.transportFailureReason = transportFailureReason;
    this.#fail(resetReasonOf(reason), transportFailureReason);
  }

  #fail(reason: ResetReason, transportFailure: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#releaseSource();
    this.#router.onUpstreamReset(this, reason, transportFailure);
  }

  // --- ResponseDecoder ---

  on1xxHeaders(headers: ResponseHeaders): void {
    if (!this.#over) this.#router.onUpstream1xx(headers);
  }

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#over) return;
    const upstream = this.#router.stream.info.upstream!;
    upstream.firstByteReceivedMs = this.#router.stream.dispatcher.nowMs;
    if (end) this.#markReceived();
    this.#router.onUpstreamHeaders(this, headers, end);
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.#over) return;
    if (end) this.#markReceived();
    this.#router.onUpstreamData(this, data, end);
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.#over) return;
    this.#markReceived();
    this.#router.onUpstreamTrailers(this, trailers);
  }

  #markReceived(): void {
    this.#responseEnded = true;
    this.#router.stream.info.upstream!.lastByteReceivedMs = this.#router.stream.dispatcher.nowMs;
  }

  // --- StreamEvents ---

  onStreamReset(reason: ResetReason, details: string): void {
    this.#encoder = null;
    this.#fail(reason, details);
  }

  onAboveWriteHighWatermark(): void {
    this.#sourcePauses++;
    this.#router.stream.pauseRequest();
  }

  onBelowWriteLowWatermark(): void {
    if (this.#sourcePauses === 0) return;
    this.#sourcePauses--;
    this.#router.stream.resumeRequest();
  }

  #releaseSource(): void {
    this.#waiting.setWatermarks(0, null);
    this.#waiting.clear();
    while (this.#sourcePauses > 0) {
      this.#sourcePauses--;
      this.#router.stream.resumeRequest();
    }
  }

  pauseReads(): void {
    this.#readPauses++;
    this.#encoder?.stream.pauseReads();
  }

  resumeReads(): void {
    if (this.#readPauses === 0) return;
    this.#readPauses--;
    this.#encoder?.stream.resumeReads();
  }
}

function resetReasonOf(reason: PoolFailure): ResetReason {
  switch (reason) {
    case PoolFailure.Overflow:
      return ResetReason.Overflow;
    case PoolFailure.Timeout:
      return ResetReason.ConnectionTimeout;
    case PoolFailure.LocalConnectionFailure:
      return ResetReason.LocalConnectionFailure;
    default:
      return ResetReason.RemoteConnectionFailure;
  }
}
