import type { Counter } from '../stats/counter.ts';
import { type Histogram, HistogramUnit } from '../stats/histogram.ts';
import { defineStats } from '../stats/stat-group.ts';
import type { Scope } from '../stats/store.ts';

/**
 * `cluster.<name>.*`, announced when the cluster is made, as Envoy does. Source: its cluster statistics documentation and the
 * list of a running 1.40. `upstream_rq_<code>` and the like, which come with traffic, are in {@link ResponseStats}.
 */
export const CLUSTER_STATS = defineStats({
  counters: [
    'assignment_stale',
    'assignment_timeout_received',
    'assignment_use_cached',
    'bind_errors',
    'default.total_match_count',
    'lb_healthy_panic',
    'lb_local_cluster_not_ok',
    'lb_recalculate_zone_structures',
    'lb_subsets_created',
    'lb_subsets_fallback',
    'lb_subsets_fallback_panic',
    'lb_subsets_removed',
    'lb_subsets_selected',
    'lb_zone_cluster_too_small',
    'lb_zone_no_capacity_left',
    'lb_zone_routing_all_directly',
    'lb_zone_routing_cross_zone',
    'lb_zone_routing_sampled',
    'membership_change',
    'original_dst_host_invalid',
    'retry_or_shadow_abandoned',
    'update_attempt',
    'update_empty',
    'update_failure',
    'update_no_rebuild',
    'update_success',
    'upstream_cx_close_notify',
    'upstream_cx_connect_attempts_exceeded',
    'upstream_cx_connect_fail',
    'upstream_cx_connect_timeout',
    'upstream_cx_connect_with_0_rtt',
    'upstream_cx_destroy',
    'upstream_cx_destroy_local',
    'upstream_cx_destroy_local_with_active_rq',
    'upstream_cx_destroy_remote',
    'upstream_cx_destroy_remote_with_active_rq',
    'upstream_cx_destroy_with_active_rq',
    'upstream_cx_http1_total',
    'upstream_cx_http2_total',
    'upstream_cx_http3_total',
    'upstream_cx_idle_timeout',
    'upstream_cx_max_duration_reached',
    'upstream_cx_max_requests',
    'upstream_cx_none_healthy',
    'upstream_cx_overflow',
    'upstream_cx_pool_overflow',
    'upstream_cx_preconnect_skipped',
    'upstream_cx_protocol_error',
    'upstream_cx_rx_bytes_total',
    'upstream_cx_total',
    'upstream_cx_tx_bytes_total',
    'upstream_flow_control_backed_up_total',
    'upstream_flow_control_drained_total',
    'upstream_flow_control_paused_reading_total',
    'upstream_flow_control_resumed_reading_total',
    'upstream_http3_broken',
    'upstream_internal_redirect_failed_total',
    'upstream_internal_redirect_succeeded_total',
    'upstream_rq_0rtt',
    'upstream_rq_active_overflow',
    'upstream_rq_cancelled',
    'upstream_rq_completed',
    'upstream_rq_maintenance_mode',
    'upstream_rq_max_duration_reached',
    'upstream_rq_pending_failure_eject',
    'upstream_rq_pending_overflow',
    'upstream_rq_pending_total',
    'upstream_rq_per_try_idle_timeout',
    'upstream_rq_per_try_timeout',
    'upstream_rq_retry',
    'upstream_rq_retry_backoff_exponential',
    'upstream_rq_retry_backoff_ratelimited',
    'upstream_rq_retry_limit_exceeded',
    'upstream_rq_retry_overflow',
    'upstream_rq_retry_success',
    'upstream_rq_rx_reset',
    'upstream_rq_rx_reset_no_error',
    'upstream_rq_timeout',
    'upstream_rq_total',
    'upstream_rq_tx_reset',
  ],
  gauges: [
    'upstream_cx_active',
    'upstream_cx_rx_bytes_buffered',
    'upstream_cx_tx_bytes_buffered',
    'upstream_queue_overloaded',
    'upstream_rq_active',
    'upstream_rq_pending_active',
    'lb_subsets_active',
  ],
  neverImportGauges: [
    'max_host_weight',
    'membership_degraded',
    'membership_excluded',
    'membership_healthy',
    'membership_total',
    'version',
    'warming_state',
  ],
  histograms: {
    upstream_cx_connect_ms: HistogramUnit.Milliseconds,
    upstream_cx_length_ms: HistogramUnit.Milliseconds,
    upstream_rq_per_cx: HistogramUnit.Unspecified,
  },
} as const);
export type ClusterStats = ReturnType<typeof CLUSTER_STATS.create>;

const OPEN_GAUGES = ['cx_open', 'cx_pool_open', 'rq_open', 'rq_pending_open', 'rq_retry_open'] as const;
const REMAINING_GAUGES = [
  'remaining_cx',
  'remaining_cx_pools',
  'remaining_pending',
  'remaining_retries',
  'remaining_rq',
] as const;
/** `circuit_breakers.<priority>.*`, each worker for itself. */
export const BREAKER_STATS = defineStats({ gauges: OPEN_GAUGES } as const);
/** The same with `track_remaining`. */
export const BREAKER_REMAINING_STATS = defineStats({ gauges: REMAINING_GAUGES } as const);
/** With counts that all workers share, every worker tells the whole truth: sums would be wrong. */
export const SHARED_BREAKER_STATS = defineStats({ neverImportGauges: OPEN_GAUGES } as const);
export const SHARED_BREAKER_REMAINING_STATS = defineStats({ neverImportGauges: REMAINING_GAUGES } as const);
export type BreakerStats = ReturnType<typeof BREAKER_STATS.create>;
export type BreakerRemainingStats = ReturnType<typeof BREAKER_REMAINING_STATS.create>;

/** `track_cluster_stats.timeout_budgets`. */
export const TIMEOUT_BUDGET_STATS = defineStats({
  histograms: {
    upstream_rq_timeout_budget_percent_used: HistogramUnit.Unspecified,
    upstream_rq_timeout_budget_per_try_percent_used: HistogramUnit.Unspecified,
  },
} as const);
export type TimeoutBudgetStats = ReturnType<typeof TIMEOUT_BUDGET_STATS.create>;

/** `track_cluster_stats.request_response_sizes`. */
export const SIZE_STATS = defineStats({
  histograms: {
    upstream_rq_headers_size: HistogramUnit.Bytes,
    upstream_rq_headers_count: HistogramUnit.Unspecified,
    upstream_rq_body_size: HistogramUnit.Bytes,
    upstream_rs_headers_size: HistogramUnit.Bytes,
    upstream_rs_headers_count: HistogramUnit.Unspecified,
    upstream_rs_body_size: HistogramUnit.Bytes,
  },
} as const);
export type SizeStats = ReturnType<typeof SIZE_STATS.create>;

/**
 * Counts of responses under one prefix: `upstream_rq_completed`, `upstream_rq_2xx`, `upstream_rq_200` and the time histogram.
 * Made when first charged, as Envoy does; afterwards a charge is an array read.
 */
export class ResponseStats {
  readonly #scope: Scope;
  readonly #prefix: string;
  #completed: Counter | null = null;
  readonly #groups: (Counter | null)[] = [null, null, null, null, null, null];
  readonly #codes: (Counter | undefined)[] = [];
  #time: Histogram | null = null;

  /** @param prefix empty, or such as `external.` */
  constructor(scope: Scope, prefix: string) {
    this.#scope = scope;
    this.#prefix = prefix;
  }

  charge(status: number): void {
    this.#completed ??= this.#scope.counter(`${this.#prefix}upstream_rq_completed`);
    this.#completed.value++;
    const group = Math.floor(status / 100);
    if (group >= 1 && group <= 5) {
      let counter = this.#groups[group];
      if (counter === null || counter === undefined) {
        counter = this.#scope.counter(`${this.#prefix}upstream_rq_${group}xx`);
        this.#groups[group] = counter;
      }
      counter.value++;
    }
    this.chargeCode(status);
  }

  /** `upstream_rq_completed` alone: what is counted of a response whose status shall not be. */
  chargeCompleted(): void {
    this.#completed ??= this.#scope.counter(`${this.#prefix}upstream_rq_completed`);
    this.#completed.value++;
  }

  /** `upstream_rq_<code>` alone (Envoy: chargeBasicResponseStat, for retried answers). */
  chargeCode(status: number): void {
    // One slot for all that is no status: the peer chooses the number, and may choose many.
    const code = status >= 100 && status < 600 ? status : 0;
    let counter = this.#codes[code];
    if (counter === undefined) {
      counter = this.#scope.counter(`${this.#prefix}upstream_rq_${code === 0 ? 'unknown' : code}`);
      this.#codes[code] = counter;
    }
    counter.value++;
  }

  /** `upstream_rq_time`, in ms. */
  recordTime(ms: number): void {
    this.#time ??= this.#scope.histogram(`${this.#prefix}upstream_rq_time`, HistogramUnit.Milliseconds);
    this.#time.recordValue(ms);
  }
}

/** The places where Envoy counts a response; each is made when first asked for. */
export class ClusterResponses {
  readonly #scope: Scope;
  #all: ResponseStats | null = null;
  #internal: ResponseStats | null = null;
  #external: ResponseStats | null = null;
  #canary: ResponseStats | null = null;
  #retry: ResponseStats | null = null;
  #named: Map<string, ResponseStats> | null = null;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  /** Every one. */
  get all(): ResponseStats {
    this.#all ??= new ResponseStats(this.#scope, '');
    return this.#all;
  }

  /** `internal.`: the request had `x-envoy-internal: true`. */
  get internal(): ResponseStats {
    this.#internal ??= new ResponseStats(this.#scope, 'internal.');
    return this.#internal;
  }

  /** `external.`: all others. */
  get external(): ResponseStats {
    this.#external ??= new ResponseStats(this.#scope, 'external.');
    return this.#external;
  }

  /** `canary.`: by a canary host, or answered with `x-envoy-upstream-canary: true`. */
  get canary(): ResponseStats {
    this.#canary ??= new ResponseStats(this.#scope, 'canary.');
    return this.#canary;
  }

  /** `retry.`: answers that were not sent on but retried. */
  get retry(): ResponseStats {
    this.#retry ??= new ResponseStats(this.#scope, 'retry.');
    return this.#retry;
  }

  /** @param prefix with its dot: of zones, and of `x-envoy-upstream-alt-stat-name` */
  named(prefix: string): ResponseStats {
    this.#named ??= new Map();
    let stats = this.#named.get(prefix);
    if (stats === undefined) {
      stats = new ResponseStats(this.#scope, prefix);
      this.#named.set(prefix, stats);
    }
    return stats;
  }
}
