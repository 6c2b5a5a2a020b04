import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import {
  Protocol,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../../http/codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { MirrorPolicy } from '../../routing/route-policies.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import type { PendingStream, PoolFailure, PoolWaiter, UpstreamConnectionInfo } from '../../upstream/pool.ts';
import type { FilterStream } from '../http-filter.ts';
import type { Span } from '../trace/span.ts';
import { type StreamTrace, tagGrpcResponse } from '../trace/stream-trace.ts';
import { flagOfReset } from './reset-flags.ts';
import type { ChargedRequest } from './response-charging.ts';
import type { RouterFilter } from './router-filter.ts';
import { resetReasonOf } from './upstream-request.ts';

/** `h` → `h-shadow`, `h:1` → `h-shadow:1`. Source: Envoy, ShadowWriterImpl. */
function shadowHost(host: string): string {
  const colon = host.indexOf(':');
  return colon < 0 ? `${host}-shadow` : `${host.slice(0, colon)}-shadow${host.slice(colon)}`;
}

/**
 * A copy of a request, sent to another cluster beside the real one: nobody waits for its answer, which is dropped. The request's body is
 * copied to it as it comes. Once the whole request is here it lives on by itself, whatever becomes of the original, until its answer, its
 * failure or the route's timeout. Source: Envoy, request_mirror_policies; router.cc, async_client_impl.cc.
 *
 * Bounds: what waits for a connection is at most the stream's buffer limit, more ends the copy; an upstream that does not read
 * holds the client as the real one does.
 */
export class MirrorRequest implements PoolWaiter, ResponseDecoder, StreamEvents, TimerTarget, ChargedRequest {
  readonly #router: RouterFilter;
  readonly #stream: FilterStream;
  readonly #headers: RequestHeaders;
  readonly #timeoutMs: number;
  readonly #waitingLimit: number;
  readonly cluster: Cluster;
  readonly internal = true;
  readonly virtualCluster = null;
  readonly routeGroup = null;
  readonly altStatName = '';
  readonly withoutCodes = false;
  #host: Host | null = null;
  #pending: PendingStream | null = null;
  #encoder: RequestEncoder | null = null;
  #headersEnd = false;
  #waiting: ByteBuffer | null = null;
  #waitingTrailers: HeaderMap | null = null;
  #requestEnd = false;
  #requestEndMs = -1;
  #responseEnded = false;
  #answered = false;
  #over = false;
  #timer: Timer | null = null;
  #sourcePauses = 0;
  /** Outlives the request's own. */
  readonly #trace: StreamTrace | null;
  #span: Span | null = null;
  #status = 0;
  #flags = 0;

  private constructor(
    router: RouterFilter,
    cluster: Cluster,
    headers: RequestHeaders,
    timeoutMs: number,
    traceSampled: boolean | null,
  ) {
    this.#router = router;
    this.#stream = router.stream;
    this.cluster = cluster;
    this.#headers = headers;
    this.#timeoutMs = timeoutMs;
    this.#waitingLimit = router.stream.requestBufferLimit;
    const { trace } = router.stream;
    this.#trace = trace;
    if (trace !== null) {
      this.#span = trace.startAsync('mirror', headers, traceSampled, router.stream.dispatcher.wallMs);
    }
  }

  /**
   * Begins the copies that the route's policies ask for.
   * @param headers as they go to the real upstream
   * @returns those that want the body; null: none
   */
  static startAll(
    router: RouterFilter,
    policies: readonly MirrorPolicy[],
    headers: RequestHeaders,
    timeoutMs: number,
    end: boolean,
  ): MirrorRequest[] | null {
    // Source: Envoy: CONNECT is not mirrored.
    if (headers.method === 'CONNECT') return null;
    let started: MirrorRequest[] | null = null;
    for (const policy of policies) {
      if (!policy.fraction.enabled(router.stream.info.stableRandom)) continue;
      const name = policy.cluster === '' ? (headers.get(policy.clusterHeader) ?? '') : policy.cluster;
      const cluster = name === '' ? null : router.environment.clusters.get(name);
      if (cluster === null) continue;
      const copy = copyOf(router, policy, headers);
      const mirror = new MirrorRequest(router, cluster, copy, timeoutMs, policy.traceSampled);
      mirror.#start(end);
      if (mirror.#over || end) continue;
      started ??= [];
      started.push(mirror);
    }
    return started;
  }

  #start(end: boolean): void {
    const { cluster } = this;
    this.#router.config.charging.asyncClient.rq_total.inc();
    if (cluster.inMaintenance) {
      cluster.stats.upstream_rq_maintenance_mode.inc();
      this.#fail(503);
      return;
    }
    const host = cluster.chooseHost(null);
    const pool = host === null ? null : cluster.httpPool(host, 0, this.#stream.info.protocol);
    if (pool === null) {
      this.#fail(503);
      return;
    }
    this.#host = host;
    this.#headersEnd = end;
    if (end) this.#onRequestEnd();
    const pending = pool.newStream(this, this);
    if (!this.#over) this.#pending = pending;
  }

  /** @param data copied */
  sendData(data: ByteBuffer, end: boolean): void {
    if (this.#over) return;
    const copy = new ByteBuffer();
    copy.append(data.toBytes());
    if (end) this.#onRequestEnd();
    if (this.#encoder !== null) {
      this.#encoder.encodeData(copy, end);
      this.#closeIfDone();
      return;
    }
    this.#waiting ??= new ByteBuffer();
    this.#waiting.moveFrom(copy);
    if (this.#waitingLimit > 0 && this.#waiting.length > this.#waitingLimit) this.#fail(507);
  }

  sendTrailers(trailers: HeaderMap): void {
    if (this.#over) return;
    this.#onRequestEnd();
    const copy = trailers.clone();
    if (this.#encoder === null) {
      this.#waitingTrailers = copy;
      return;
    }
    this.#encoder.encodeTrailers(copy);
    this.#closeIfDone();
  }

  #onRequestEnd(): void {
    this.#requestEnd = true;
    this.#requestEndMs = this.#stream.dispatcher.nowMs;
    if (this.#timeoutMs <= 0) return;
    this.#timer = this.#stream.dispatcher.timerPool.take(this);
    this.#timer.enable(this.#timeoutMs);
  }

  /** The original is gone: a copy that did not get its whole request goes too. */
  onOriginalGone(): void {
    if (!this.#requestEnd) this.#end();
  }

  // --- PoolWaiter ---

  onPoolReady(encoder: RequestEncoder, host: Host, _info: UpstreamConnectionInfo): void {
    this.#pending = null;
    if (this.#over) {
      encoder.stream.reset(ResetReason.LocalReset);
      return;
    }
    this.#encoder = encoder;
    this.#host = host;
    encoder.stream.setEvents(this);
    if (encoder.encodeHeaders(this.#headers, this.#headersEnd) !== null) {
      this.#end();
      return;
    }
    const waiting = this.#waiting;
    this.#waiting = null;
    const trailers = this.#waitingTrailers;
    const end = this.#requestEnd && trailers === null;
    if (!this.#over && !this.#headersEnd && (waiting !== null || end)) {
      encoder.encodeData(waiting ?? new ByteBuffer(), end);
    }
    if (!this.#over && trailers !== null) encoder.encodeTrailers(trailers);
  }

  onPoolFailure(failure: PoolFailure, _transportFailureReason: string, host: Host): void {
    this.#pending = null;
    this.#flags |= flagOfReset(resetReasonOf(failure));
    this.#host = host;
    this.#fail(503);
  }

  // --- ResponseDecoder: counted and dropped ---

  on1xxHeaders(_headers: ResponseHeaders): void {}

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#over) return;
    this.#answered = true;
    this.#status = headers.status;
    if (this.#span?.sampled) tagGrpcResponse(this.#span, headers);
    this.#charge(headers.status);
    if (headers.status < 500) this.#host!.stats.rqSuccess++;
    if (end) this.#onResponseEnd();
  }

  onData(data: ByteBuffer, end: boolean): void {
    data.clear();
    if (end && !this.#over) this.#onResponseEnd();
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.#over) return;
    if (this.#span?.sampled) tagGrpcResponse(this.#span, trailers);
    this.#onResponseEnd();
  }

  #onResponseEnd(): void {
    this.#responseEnded = true;
    const { config } = this.#router;
    if (config.dynamicStats && this.#requestEndMs >= 0) {
      config.charging.chargeTime(
        this,
        Math.floor(this.#stream.dispatcher.nowMs - this.#requestEndMs),
        false,
        this.#host,
      );
    }
    this.#end();
  }

  // --- ends ---

  onStreamReset(reason: ResetReason, _details: string): void {
    this.#encoder = null;
    this.#flags |= flagOfReset(reason);
    if (this.#answered) this.#end();
    else this.#fail(503);
  }

  onTimer(_timer: Timer): void {
    this.cluster.stats.upstream_rq_timeout.inc();
    if (this.#host !== null) this.#host.stats.rqTimeout++;
    if (this.#answered) this.#end();
    else this.#fail(504);
  }

  #charge(status: number): void {
    const { config } = this.#router;
    if (!config.dynamicStats) return;
    config.charging.chargeStatus(this, status, false, this.#host);
    if (this.#host !== null && status >= 500) this.#host.stats.rqError++;
  }

  /** Where the original would have been answered by us. */
  #fail(status: number): void {
    if (this.#over) return;
    this.#status = status;
    this.#charge(status);
    this.#end();
  }

  #closeIfDone(): void {
    if (this.#requestEnd && this.#responseEnded) this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#pending?.cancel();
    this.#pending = null;
    const encoder = this.#encoder;
    this.#encoder = null;
    if (encoder !== null && !(this.#requestEnd && this.#responseEnded)) encoder.stream.reset(ResetReason.LocalReset);
    this.#waiting?.clear();
    if (this.#timer !== null) this.#stream.dispatcher.timerPool.give(this.#timer);
    this.#timer = null;
    while (this.#sourcePauses > 0) this.onBelowWriteLowWatermark();
    const span = this.#span;
    if (span === null) return;
    this.#span = null;
    // To Envoy's client all requests are of that version.
    const outcome = { status: this.#status, flags: this.#flags, protocol: Protocol.Http11 };
    this.#trace!.finishAsync(span, this.cluster, this.#host, outcome);
  }

  // --- backpressure: of the copy upon the client ---

  onAboveWriteHighWatermark(): void {
    this.#sourcePauses++;
    this.#stream.pauseRequest();
  }

  onBelowWriteLowWatermark(): void {
    if (this.#sourcePauses === 0) return;
    this.#sourcePauses--;
    this.#stream.resumeRequest();
  }
}

/** What the copy says: its own host, the policy's changes, and that it comes from inside. */
function copyOf(router: RouterFilter, policy: MirrorPolicy, headers: RequestHeaders): RequestHeaders {
  const copy = headers.clone();
  if (!policy.requestMutations.isEmpty) policy.requestMutations.apply(copy, router.formatContext(null));
  if (policy.hostRewriteLiteral !== '') copy.authority = policy.hostRewriteLiteral;
  else if (policy.appendShadowSuffix && copy.authority !== null) copy.authority = shadowHost(copy.authority);
  copy.set('x-envoy-internal', 'true');
  copy.append('x-forwarded-for', router.environment.local.address);
  return copy;
}
