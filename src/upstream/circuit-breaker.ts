import { Gauge } from '../stats/gauge.ts';
import type { BreakerRemainingStats, BreakerStats } from './cluster-stats.ts';

/** `core.RoutingPriority`. */
export const ResourcePriority = { Default: 0, High: 1 } as const;
export type ResourcePriority = (typeof ResourcePriority)[keyof typeof ResourcePriority];
export const RESOURCE_PRIORITY_NAMES = ['default', 'high'] as const;

/** "Unlimited", as Envoy means it (`max_connection_pools` by default). */
export const UNLIMITED = Number.POSITIVE_INFINITY;

/** The runtime's integers, as this folder reads them: long-lived, values change beneath. */
export interface RuntimeIntegers {
  integer(key: string, fallback: number): number;
}
export const NO_RUNTIME: RuntimeIntegers = { integer: (_key, fallback) => fallback };

/** One entry of `circuit_breakers.thresholds`, defaults filled in. */
export interface CircuitBreakerThresholds {
  /** 1024. */
  readonly maxConnections: number;
  /** 1024. */
  readonly maxPendingRequests: number;
  /** 1024. */
  readonly maxRequests: number;
  /** 3. */
  readonly maxRetries: number;
  /** Unlimited. */
  readonly maxConnectionPools: number;
  readonly trackRemaining: boolean;
  /** Null: `maxRetries` counts. */
  readonly retryBudget: { readonly percent: number; readonly minConcurrency: number } | null;
  /** `per_host_thresholds`: connections to one host; unlimited by default. */
  readonly maxConnectionsPerHost: number;
}

export const DEFAULT_THRESHOLDS: CircuitBreakerThresholds = {
  maxConnections: 1024,
  maxPendingRequests: 1024,
  maxRequests: 1024,
  maxRetries: 3,
  maxConnectionPools: UNLIMITED,
  trackRemaining: false,
  retryBudget: null,
  maxConnectionsPerHost: UNLIMITED,
};

/** Cells of one resource manager in a shared array. */
const Cell = { Connections: 0, PendingRequests: 1, Requests: 2, Retries: 3, ConnectionPools: 4 } as const;
/** Int32 cells that a cluster needs in a shared array: five resources at two priorities. */
export const CELLS_PER_CLUSTER = 10;

/**
 * A counted resource with a limit. Envoy counts over all workers; so do we when the owner gives a cell of a shared array
 * (an atomic add, 10 ns); without one, the count is this worker's own.
 */
export class Resource {
  readonly #limit: number;
  readonly #runtimeKey: string;
  readonly #runtime: RuntimeIntegers;
  readonly #open: Gauge;
  readonly #remaining: Gauge | null;
  readonly #cells: Int32Array | null;
  readonly #cell: number;
  #own = 0;
  /** As last read from the runtime: looked up when a decision is due, not at every count. */
  #max: number;

  constructor(
    limit: number,
    runtimeKey: string,
    runtime: RuntimeIntegers,
    open: Gauge,
    remaining: Gauge | null,
    cells: Int32Array | null,
    cell: number,
  ) {
    this.#limit = limit;
    this.#runtimeKey = runtimeKey;
    this.#runtime = runtime;
    this.#open = open;
    this.#remaining = remaining;
    this.#cells = cells;
    this.#cell = cell;
    this.#max = runtime.integer(runtimeKey, limit);
    this.#publishRemaining(this.count);
  }

  get count(): number {
    return this.#cells === null ? this.#own : Atomics.load(this.#cells, this.#cell);
  }

  get max(): number {
    return this.#runtime.integer(this.#runtimeKey, this.#limit);
  }

  canCreate(): boolean {
    this.#max = this.max;
    return this.count < this.#max;
  }

  /** Takes one if one is left, which `canCreate` and `inc` tell apart: exact over all workers. */
  take(): boolean {
    const max = this.max;
    this.#max = max;
    if (this.#cells === null) {
      if (this.#own >= max) return false;
      this.#own++;
    } else if (Atomics.add(this.#cells, this.#cell, 1) >= max) {
      Atomics.sub(this.#cells, this.#cell, 1);
      return false;
    }
    this.#publish();
    return true;
  }

  inc(): void {
    if (this.#cells === null) this.#own++;
    else Atomics.add(this.#cells, this.#cell, 1);
    this.#publish();
  }

  dec(): void {
    if (this.#cells === null) this.#own--;
    else Atomics.sub(this.#cells, this.#cell, 1);
    this.#publish();
  }

  /** Other workers may have moved a shared count since this one last did. */
  refresh(): void {
    if (this.#cells === null) return;
    if (this.#open.used) this.#publish();
    else this.#publishRemaining(this.count);
  }

  /** As in Envoy the gauges count as used from the first use of the resource on. */
  #publish(): void {
    const count = this.count;
    this.#open.set(count >= this.#max ? 1 : 0);
    this.#publishRemaining(count);
  }

  #publishRemaining(count: number): void {
    if (this.#remaining === null) return;
    const max = this.#max;
    // Envoy's "unlimited" is 2^64 - 1, which is -1 in a gauge (see `gaugeText`).
    if (max === UNLIMITED) this.#remaining.set(-1 - count);
    else this.#remaining.set(max > count ? max - count : 0);
  }
}

/** Retries: limited by a number, or by a share of the active requests (`retry_budget`). */
export class RetryResource {
  readonly #plain: Resource;
  readonly #budget: CircuitBreakerThresholds['retryBudget'];
  readonly #requests: Resource;
  readonly #pending: Resource;
  readonly #runtime: RuntimeIntegers;
  readonly #runtimePrefix: string;

  constructor(
    plain: Resource,
    budget: CircuitBreakerThresholds['retryBudget'],
    requests: Resource,
    pending: Resource,
    runtime: RuntimeIntegers,
    runtimePrefix: string,
  ) {
    this.#plain = plain;
    this.#budget = budget;
    this.#requests = requests;
    this.#pending = pending;
    this.#runtime = runtime;
    this.#runtimePrefix = runtimePrefix;
  }

  get count(): number {
    return this.#plain.count;
  }

  get max(): number {
    const budget = this.#budget;
    if (budget === null) return this.#plain.max;
    const percent = this.#runtime.integer(`${this.#runtimePrefix}retry_budget.budget_percent`, budget.percent);
    const floor = this.#runtime.integer(
      `${this.#runtimePrefix}retry_budget.min_retry_concurrency`,
      budget.minConcurrency,
    );
    return Math.max(Math.floor((percent / 100) * (this.#requests.count + this.#pending.count)), floor);
  }

  canCreate(): boolean {
    return this.#plain.count < this.max;
  }

  inc(): void {
    this.#plain.inc();
  }

  dec(): void {
    this.#plain.dec();
  }

  refresh(): void {
    this.#plain.refresh();
  }
}

/** The circuit breakers of one cluster at one routing priority. */
export class ResourceManager {
  readonly connections: Resource;
  readonly pendingRequests: Resource;
  readonly requests: Resource;
  readonly retries: RetryResource;
  readonly connectionPools: Resource;
  readonly maxConnectionsPerHost: number;

  /**
   * @param remaining with `track_remaining`, else null
   * @param runtimePrefix `circuit_breakers.<cluster>.<default|high>.`
   * @param cells shared counts, or null
   * @param firstCell where this priority's five cells begin
   */
  constructor(
    limits: CircuitBreakerThresholds,
    gauges: BreakerStats,
    remaining: BreakerRemainingStats | null,
    runtime: RuntimeIntegers,
    runtimePrefix: string,
    cells: Int32Array | null,
    firstCell: number,
  ) {
    const resource = (limit: number, key: string, open: Gauge, left: Gauge | null, cell: number): Resource =>
      new Resource(limit, runtimePrefix + key, runtime, open, left, cells, firstCell + cell);
    this.connections = resource(
      limits.maxConnections,
      'max_connections',
      gauges.cx_open,
      remaining?.remaining_cx ?? null,
      Cell.Connections,
    );
    this.pendingRequests = resource(
      limits.maxPendingRequests,
      'max_pending_requests',
      gauges.rq_pending_open,
      remaining?.remaining_pending ?? null,
      Cell.PendingRequests,
    );
    this.requests = resource(
      limits.maxRequests,
      'max_requests',
      gauges.rq_open,
      remaining?.remaining_rq ?? null,
      Cell.Requests,
    );
    this.connectionPools = resource(
      limits.maxConnectionPools,
      'max_connection_pools',
      gauges.cx_pool_open,
      remaining?.remaining_cx_pools ?? null,
      Cell.ConnectionPools,
    );
    // With a budget the number of retries has no gauge of its own: the limit moves with every request.
    const plain = resource(
      limits.maxRetries,
      'max_retries',
      limits.retryBudget === null ? gauges.rq_retry_open : new Gauge(),
      limits.retryBudget === null ? (remaining?.remaining_retries ?? null) : null,
      Cell.Retries,
    );
    this.retries = new RetryResource(
      plain,
      limits.retryBudget,
      this.requests,
      this.pendingRequests,
      runtime,
      runtimePrefix,
    );
    this.maxConnectionsPerHost = limits.maxConnectionsPerHost;
  }

  /** Brings the gauges up to date with the counts that all workers share, before they are reported. */
  refreshGauges(): void {
    this.connections.refresh();
    this.pendingRequests.refresh();
    this.requests.refresh();
    this.retries.refresh();
    this.connectionPools.refresh();
  }
}
