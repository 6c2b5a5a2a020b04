import { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { SharedCell } from '../../../base/shared-table.ts';
import type { Timer, TimerTarget } from '../../../base/timer-wheel.ts';
import { TokenBucket } from '../../../base/token-bucket.ts';
import type { RequestHeaders } from '../../../http/header-map.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import { ResponseFlag } from '../../../pipeline/response-flag.ts';
import { matchesAllHeaders } from '../../../routing/header-matcher.ts';
import { ActionKind } from '../../../routing/route-action.ts';
import type { FractionalPercent, RuntimeReader } from '../../../routing/runtime-fraction.ts';
import { defineStats, type StatsFamily } from '../../../stats/stat-group.ts';
import type { Scope } from '../../../stats/store.ts';
import { type FaultSettings, headerNumber, shareOf } from './settings.ts';

const DEFINITION = {
  counters: ['aborts_injected', 'delays_injected', 'faults_overflow', 'response_rl_injected'],
  gauges: ['active_faults'],
} as const;
/** `http.<prefix>.fault.*`. */
export const FAULT_STATS: StatsFamily<typeof DEFINITION> = defineStats(DEFINITION);

/** What the streams of one filter share. */
export interface FaultRuntime {
  readonly stats: ReturnType<typeof FAULT_STATS.create>;
  /** `http.<prefix>`: counters per downstream cluster are made below it. */
  readonly scope: Scope;
  readonly runtime: RuntimeReader;
  /** Faults under way in all workers. */
  readonly active: SharedCell;
}

/** How often a slowed response goes on, ms. Source: Envoy, StreamRateLimiter::DefaultFillInterval. */
const FILL_INTERVAL_MS = 50;
const METADATA_NAMESPACE = 'envoy.filters.http.fault';

/** Delays, aborts, and slows responses down. Source: Envoy, FaultFilter. */
export class FaultFilter extends HttpFilter implements TimerTarget {
  readonly #shared: FaultRuntime;
  #settings: FaultSettings;
  /** `x-envoy-downstream-service-cluster`; null: absent. */
  #downstreamCluster: string | null = null;
  #delayTimer: Timer | null = null;
  #bucket: TokenBucket | null = null;
  #rateTimer: Timer | null = null;
  #active = false;

  constructor(settings: FaultSettings, shared: FaultRuntime) {
    super();
    this.#settings = settings;
    this.#shared = shared;
  }

  override onRequestHeaders(headers: RequestHeaders, _end: boolean): Flow {
    const ofRoute = this.stream.routeConfig() as FaultSettings | undefined;
    if (ofRoute !== undefined) this.#settings = ofRoute;
    const settings = this.#settings;
    if (!this.#matches(settings, headers)) return Flow.Continue;
    this.#downstreamCluster = headers.get('x-envoy-downstream-service-cluster');
    this.#setUpRateLimit(headers);
    const delayMs = this.#delayMs(headers);
    if (delayMs > 0 && this.#begin()) {
      this.#delayTimer = this.stream.dispatcher.timerPool.take(this);
      this.#delayTimer.enable(delayMs);
      this.#count('delays_injected');
      this.stream.info.setFlag(ResponseFlag.DelayInjected);
      this.#leaveMetadata();
      return Flow.Pause;
    }
    return this.#abort(headers) ? Flow.Pause : Flow.Continue;
  }

  #matches(settings: FaultSettings, headers: RequestHeaders): boolean {
    if (settings.upstreamCluster !== '') {
      const { route } = this.stream;
      if (route === null || route.action.kind !== ActionKind.Forward || route.cluster !== settings.upstreamCluster) {
        return false;
      }
    }
    if (settings.downstreamNodes.size > 0) {
      const node = headers.get('x-envoy-downstream-service-node');
      if (node === null || !settings.downstreamNodes.has(node)) return false;
    }
    return settings.headers.length === 0 || matchesAllHeaders(headers, settings.headers);
  }

  /** A key with the downstream cluster in it comes before the common one. */
  #clusterKey(suffix: string): string | null {
    return this.#downstreamCluster === null ? null : `fault.http.${this.#downstreamCluster}.${suffix}`;
  }

  #drawn(key: string, percentage: FractionalPercent): boolean {
    const share = this.#shared.runtime.fractionalPercent(key) ?? percentage;
    return share.includes(this.stream.dispatcher.random.uint32());
  }

  /** 0: no delay. */
  #delayMs(headers: RequestHeaders): number {
    const { delay, delayPercentKey, delayDurationKey } = this.#settings;
    if (delay === null) return 0;
    const key = this.#clusterKey('delay.fixed_delay_percent') ?? delayPercentKey;
    if (!this.#drawn(key, shareOf(delay.share, headers))) return 0;
    const configured = delay.fixedMs ?? headerNumber(headers, 'x-envoy-fault-delay-request');
    if (configured === null) return 0;
    const { runtime } = this.#shared;
    const ms = runtime.integer(delayDurationKey, configured);
    const clusterKey = this.#clusterKey('delay.fixed_duration_ms');
    return Math.floor(clusterKey === null ? ms : runtime.integer(clusterKey, ms));
  }

  /** @returns whether the request was answered */
  #abort(headers: RequestHeaders): boolean {
    const { abort, abortPercentKey, abortHttpStatusKey, abortGrpcStatusKey } = this.#settings;
    if (abort === null) return false;
    const key = this.#clusterKey('abort.abort_percent') ?? abortPercentKey;
    if (!this.#drawn(key, shareOf(abort.share, headers))) return false;
    const { runtime } = this.#shared;
    let http: number | null = abort.kind === 'http' ? abort.status : null;
    let grpc: number | null = abort.kind === 'grpc' ? abort.status : null;
    if (abort.kind === 'header') {
      const asked = headerNumber(headers, 'x-envoy-fault-abort-request');
      http = asked !== null && asked >= 200 && asked < 600 ? asked : null;
      grpc = http === null ? headerNumber(headers, 'x-envoy-fault-abort-grpc-request') : null;
    }
    if (http !== null) http = runtime.integer(this.#clusterKey('abort.http_status') ?? abortHttpStatusKey, http);
    else if (grpc !== null) {
      grpc = runtime.integer(this.#clusterKey('abort.grpc_status') ?? abortGrpcStatusKey, grpc);
    }
    if ((http === null && grpc === null) || !this.#begin()) return false;
    this.#count('aborts_injected');
    this.stream.info.setFlag(ResponseFlag.FaultInjected);
    this.#leaveMetadata();
    this.stream.sendLocalReply({
      status: http ?? 200,
      body: abort.body,
      details: 'fault_filter_abort',
      grpcStatus: http === null ? grpc : null,
      modifyHeaders: null,
    });
    return true;
  }

  /** One stream is one active fault, whatever happens to it. @returns false when there are too many */
  #begin(): boolean {
    if (this.#active) return true;
    const { stats, runtime, active } = this.#shared;
    const { maxActiveFaults, maxActiveFaultsKey } = this.#settings;
    if (active.count() >= runtime.integer(maxActiveFaultsKey, maxActiveFaults)) {
      stats.faults_overflow.inc();
      return false;
    }
    active.add(1);
    stats.active_faults.inc();
    this.#active = true;
    return true;
  }

  #finish(): void {
    if (!this.#active) return;
    this.#active = false;
    this.#shared.active.add(-1);
    this.#shared.stats.active_faults.dec();
  }

  #count(what: 'delays_injected' | 'aborts_injected'): void {
    const cluster = this.#downstreamCluster;
    if (cluster !== null && cluster !== '' && !this.#settings.disableDownstreamClusterStats) {
      this.#shared.scope.counter(`fault.${cluster}.${what}`).inc();
    }
    this.#shared.stats[what].inc();
  }

  #leaveMetadata(): void {
    this.stream.info.setDynamicMetadata(METADATA_NAMESPACE, this.#settings.filterMetadata);
  }

  /** Another has answered while the request was delayed: it is not to be aborted as well. */
  override onLocalReply(): void {
    this.#delayTimer = this.#drop(this.#delayTimer);
  }

  override onDestroy(): void {
    this.#delayTimer = this.#drop(this.#delayTimer);
    this.#rateTimer = this.#drop(this.#rateTimer);
    this.#finish();
  }

  #drop(timer: Timer | null): null {
    if (timer !== null) this.stream.dispatcher.timerPool.give(timer);
    return null;
  }

  onTimer(timer: Timer): void {
    if (timer === this.#rateTimer) {
      this.#goOn();
      return;
    }
    this.#delayTimer = this.#drop(this.#delayTimer);
    const headers = this.stream.requestHeaders;
    if (headers === null || this.#abort(headers)) return;
    if (this.#settings.responseRateLimit === null) this.#finish();
    this.stream.continueRequest();
  }

  // --- slow responses ---

  #setUpRateLimit(headers: RequestHeaders): void {
    const { responseRateLimit, responseRateLimitPercentKey } = this.#settings;
    if (responseRateLimit === null) return;
    if (!this.#drawn(responseRateLimitPercentKey, shareOf(responseRateLimit.share, headers))) return;
    const kbps = responseRateLimit.fixedKbps ?? headerNumber(headers, 'x-envoy-fault-throughput-response');
    if (kbps === null || kbps === 0 || !this.#begin()) return;
    this.#shared.stats.response_rl_injected.inc();
    const bytesPerSecond = kbps * 1024;
    this.#bucket = new TokenBucket(bytesPerSecond, bytesPerSecond, 1000);
    // Not a whole second's bytes at once.
    this.#bucket.reset(this.#nowMs(), (bytesPerSecond * FILL_INTERVAL_MS) / 1000);
  }

  #nowMs(): number {
    return this.stream.dispatcher.nowMs;
  }

  override onResponseData(_data: ByteBuffer, _end: boolean): Flow {
    if (this.#bucket === null) return Flow.Continue;
    this.#rateTimer ??= this.stream.dispatcher.timerPool.take(this);
    if (!this.#rateTimer.enabled) this.#rateTimer.enable(0);
    return Flow.Pause;
  }

  #goOn(): void {
    const held = this.stream.bufferedResponse;
    const bucket = this.#bucket;
    if (held === null || bucket === null) return;
    const size = held.length;
    const allowed = bucket.takeUpTo(this.#nowMs(), size);
    if (allowed === size) {
      // With the end of the message, and trailers, where they are here already.
      this.stream.continueResponse();
      return;
    }
    this.#rateTimer!.enable(FILL_INTERVAL_MS);
    if (allowed === 0) return;
    const part = new ByteBuffer();
    part.moveFrom(held, allowed);
    this.stream.injectResponseData(part);
  }
}
