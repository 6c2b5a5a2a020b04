import type { Protocol } from '../http/codec.ts';
import type { Http1CodecStats } from '../http/h1/http1-options.ts';
import type { Http2CodecStats } from '../http/h2/http2-stats.ts';
import type { Connection } from '../net/connection.ts';
import type { ConnectSpec } from '../net/transport.ts';
import { NO_SOCKET_OPTIONS, type TransportSocketOptions } from '../net/transport-socket.ts';
import type { Scope } from '../stats/store.ts';
import { AlpnPool } from './alpn-pool.ts';
import {
  CELLS_PER_CLUSTER,
  RESOURCE_PRIORITY_NAMES,
  ResourceManager,
  type ResourcePriority,
} from './circuit-breaker.ts';
import { ClusterSockets } from './cluster-sockets.ts';
import type { ClusterSpec } from './cluster-spec.ts';
import {
  BREAKER_REMAINING_STATS,
  BREAKER_STATS,
  type BreakerRemainingStats,
  type BreakerStats,
  CLUSTER_STATS,
  ClusterResponses,
  type ClusterStats,
  SHARED_BREAKER_REMAINING_STATS,
  SHARED_BREAKER_STATS,
  SIZE_STATS,
  type SizeStats,
  TIMEOUT_BUDGET_STATS,
  type TimeoutBudgetStats,
} from './cluster-stats.ts';
import { createHttp1CodecStats, createHttp2CodecStats } from './codec-stats.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { H1Pool } from './h1-pool.ts';
import { H2Pool } from './h2-pool.ts';
import { EdsHealth, type Host, HostHealth } from './host.ts';
import type { HostUpdate } from './host-update.ts';
import type { HttpConnectionPool } from './http-pool.ts';
import type { BalancerEnvironment, LoadBalancer, LoadBalancerContext } from './load-balancer.ts';
import { OriginalDstHosts } from './original-dst.ts';
import type { HttpPool, TcpPool } from './pool.ts';
import { type MembershipObserver, PrioritySet } from './priority-set.ts';
import { RawTcpPool } from './tcp-pool.ts';
import type { UpstreamEnvironment } from './upstream-environment.ts';
import { PoolKind, poolKind, withAlpnFallback } from './upstream-protocol.ts';

/** Requests that were answered without asking a host. Source: Envoy, LoadReportStats. */
export interface DroppedRequests {
  /** By circuit breakers, maintenance mode and `drop_overloads`. */
  total: number;
  /** By `drop_overloads` alone. */
  byOverload: number;
}

interface Breakers {
  readonly open: BreakerStats;
  /** Null: not asked for yet. */
  manager: ResourceManager | null;
}

/** One cluster in one worker: hosts, balancer, pools, breakers and counts. */
export class Cluster implements MembershipObserver {
  readonly spec: ClusterSpec;
  readonly environment: UpstreamEnvironment;
  /** `cluster.<stat name>`. */
  readonly scope: Scope;
  readonly stats: ClusterStats;
  readonly responses: ClusterResponses;
  /** With `track_cluster_stats.timeout_budgets`. */
  readonly timeoutBudgets: TimeoutBudgetStats | null;
  /** With `track_cluster_stats.request_response_sizes`. */
  readonly sizes: SizeStats | null;
  readonly priorities: PrioritySet;
  readonly sockets: ClusterSockets;
  readonly #breakerCells: Int32Array | null;
  readonly #breakers: readonly [Breakers, Breakers];
  #http1Stats: Http1CodecStats | null = null;
  #http2Stats: Http2CodecStats | null = null;
  readonly #maintenanceKey: string;
  readonly #balancerEnvironment: BalancerEnvironment;
  #balancer: LoadBalancer;
  /** Pools of removed hosts, until their last stream has ended. */
  readonly #draining = new Set<ConnectionPool>();
  readonly #originalDst: OriginalDstHosts | null;
  #removed = false;
  #dropOverload = 0;
  /** What load reports call requests that `drop_overloads` turns away. */
  dropCategory = '';
  /** For load reports: requests that no host was asked for since this worker has the cluster. */
  readonly dropped: DroppedRequests = { total: 0, byOverload: 0 };

  constructor(spec: ClusterSpec, environment: UpstreamEnvironment) {
    // The hosts live on in `priorities`: of many thousands the configuration's form need not be kept beside them.
    this.spec = spec.initialHosts.length === 0 ? spec : { ...spec, initialHosts: [] };
    this.environment = environment;
    this.scope = environment.stats.createScope(`cluster.${spec.statName}`);
    this.stats = CLUSTER_STATS.create(this.scope);
    // It comes here warm.
    this.stats.warming_state.set(0);
    this.#maintenanceKey = `upstream.maintenance_mode.${spec.name}`;
    this.responses = new ClusterResponses(this.scope);
    this.timeoutBudgets = spec.trackTimeoutBudgets ? TIMEOUT_BUDGET_STATS.create(this.scope) : null;
    this.sizes = spec.trackRequestResponseSizes ? SIZE_STATS.create(this.scope) : null;
    this.#breakerCells = environment.sharedCells(spec.name);
    this.#breakers = [this.#announceBreakers(0), this.#announceBreakers(1)];
    this.sockets = new ClusterSockets(spec, environment, this.scope);
    this.priorities = new PrioritySet(spec.name);
    const dispatcher = environment.dispatcher;
    this.#balancerEnvironment = {
      random: dispatcher.random,
      stats: this.stats,
      scope: this.scope,
      runtime: environment.runtime,
      healthyPanicThreshold: spec.lb.healthyPanicThreshold,
      nowMs: () => dispatcher.nowMs,
    };
    this.#balancer = spec.policy.build(this.priorities, this.#balancerEnvironment, null);
    this.priorities.observe(this);
    this.priorities.batch(() => {
      for (const update of spec.initialHosts) this.applyHosts(update);
    });
    this.#originalDst =
      spec.originalDst === null
        ? null
        : new OriginalDstHosts(spec.originalDst, {
            name: spec.name,
            priorities: this.priorities,
            stats: this.stats,
            dispatcher,
            isInUse: (host) => poolsOf(host).some((pool) => !pool.isIdle),
          });
  }

  get name(): string {
    return this.spec.name;
  }

  /** `http1.*`, announced with the first connection, as Envoy does. */
  get http1Stats(): Http1CodecStats {
    this.#http1Stats ??= createHttp1CodecStats(this.scope);
    return this.#http1Stats;
  }

  /** `http2.*`, likewise. */
  get http2Stats(): Http2CodecStats {
    this.#http2Stats ??= createHttp2CodecStats(this.scope);
    return this.#http2Stats;
  }

  /** Drawn anew at each call: the runtime's `upstream.maintenance_mode.<cluster>` percent of requests are turned away. */
  get inMaintenance(): boolean {
    const percent = this.environment.runtime.integer(this.#maintenanceKey, 0);
    return percent > 0 && this.environment.dispatcher.random.uint32() % 100 < percent;
  }

  /** The stats are there from the start, what counts is made when it is first asked for: most of many clusters are idle. */
  #announceBreakers(priority: ResourcePriority): Breakers {
    const prefix = `circuit_breakers.${RESOURCE_PRIORITY_NAMES[priority]}`;
    const shared = this.#breakerCells !== null;
    const open = (shared ? SHARED_BREAKER_STATS : BREAKER_STATS).create(this.scope, prefix);
    if (!this.spec.thresholds[priority].trackRemaining) return { open, manager: null };
    // What remains is said before anything is used.
    const remaining = shared ? SHARED_BREAKER_REMAINING_STATS : BREAKER_REMAINING_STATS;
    return { open, manager: this.#createResources(priority, open, remaining.create(this.scope, prefix)) };
  }

  #createResources(
    priority: ResourcePriority,
    open: BreakerStats,
    remaining: BreakerRemainingStats | null,
  ): ResourceManager {
    return new ResourceManager(
      this.spec.thresholds[priority],
      open,
      remaining,
      this.environment.runtime,
      `circuit_breakers.${this.spec.name}.${RESOURCE_PRIORITY_NAMES[priority]}.`,
      this.#breakerCells,
      (priority * CELLS_PER_CLUSTER) / 2,
    );
  }

  /** The circuit breakers of one routing priority. */
  resources(priority: ResourcePriority): ResourceManager {
    const breakers = this.#breakers[priority];
    breakers.manager ??= this.#createResources(priority, breakers.open, null);
    return breakers.manager;
  }

  /** See ResourceManager.refreshGauges. */
  refreshGauges(): void {
    for (const { manager } of this.#breakers) manager?.refreshGauges();
  }

  // --- hosts ---

  /** `drop_overloads`: share of requests that are to be turned away, 0-1. */
  get dropOverload(): number {
    return this.#dropOverload;
  }

  /** Takes a new membership of one priority. */
  applyHosts(update: HostUpdate): void {
    if (update.dropOverload !== undefined) {
      this.#dropOverload = update.dropOverload;
      this.dropCategory = update.dropCategory ?? '';
    }
    this.priorities.update(
      update.priority,
      update.hosts,
      update.localityWeights,
      update.overprovisioningFactor,
      update.weightedPriorityHealth,
      this.environment.dispatcher.nowMs,
    );
  }

  onMembershipChange(_priorities: PrioritySet, added: readonly Host[], removed: readonly Host[]): void {
    const stats = this.stats;
    if (added.length > 0 || removed.length > 0) stats.membership_change.inc();
    stats['default.total_match_count'].add(added.length);
    let total = 0;
    let healthy = 0;
    let degraded = 0;
    let excluded = 0;
    for (const set of this.priorities.hostSets) {
      total += set.hosts.length;
      healthy += set.healthyHosts.length;
      degraded += set.degradedHosts.length;
      excluded += set.excludedHosts.length;
    }
    stats.membership_total.set(total);
    stats.membership_healthy.set(healthy);
    stats.membership_degraded.set(degraded);
    stats.membership_excluded.set(excluded);
    this.#balancer = this.spec.policy.build(this.priorities, this.#balancerEnvironment, this.#balancer);
    for (const host of removed) this.#drainHost(host);
    if (this.spec.lb.closeConnectionsOnHostSetChange && (added.length > 0 || removed.length > 0)) {
      for (const pool of this.#pools()) pool.drainConnections();
    }
  }

  /** The pools of a host that has left end with their last streams. */
  #drainHost(host: Host): void {
    for (const pool of poolsOf(host)) {
      this.#draining.add(pool);
      pool.onDrained = () => this.#draining.delete(pool);
      pool.drain();
    }
  }

  *#pools(): IterableIterator<ConnectionPool> {
    for (const host of this.priorities.allHosts()) yield* poolsOf(host);
  }

  /**
   * Picks a host.
   * @returns null when there is none: `upstream_cx_none_healthy` is counted here
   */
  chooseHost(context: LoadBalancerContext | null): Host | null {
    const forced = context?.overrideHost() ?? null;
    if (forced !== null) {
      const host = this.priorities.hostByAddress(forced.address);
      if (host !== null && this.#mayBeForced(host)) return host;
      if (forced.strict) return this.#noHost();
    }
    const host =
      this.#originalDst === null ? this.#balancer.chooseHost(context) : this.#originalDst.chooseHost(context);
    return host ?? this.#noHost();
  }

  #noHost(): null {
    this.stats.upstream_cx_none_healthy.inc();
    return null;
  }

  /** Source: Envoy, HostUtility::selectOverrideHost with `override_host_status`. */
  #mayBeForced(host: Host): boolean {
    const allowed = this.spec.lb.overrideHostStatuses;
    if (allowed.length === 0) return false;
    if (host.edsHealth === EdsHealth.Draining || host.edsHealth === EdsHealth.Timeout) {
      return allowed.includes(host.edsHealth);
    }
    switch (host.health) {
      case HostHealth.Unhealthy:
        return allowed.includes(EdsHealth.Unhealthy);
      case HostHealth.Degraded:
        return allowed.includes(EdsHealth.Degraded);
      default:
        return allowed.includes(EdsHealth.Healthy) || allowed.includes(EdsHealth.Unknown);
    }
  }

  // --- pools ---

  /**
   * @param downstream protocol of the request, for clusters that follow it
   * @param options of the request for the connection's socket
   * @param connection the downstream's, for clusters that keep connections apart by it
   * @returns null when the breaker for pools is open: answered like a missing host
   */
  httpPool(
    host: Host,
    priority: ResourcePriority,
    downstream: Protocol | null = null,
    options: TransportSocketOptions = NO_SOCKET_OPTIONS,
    connection: Connection | null = null,
  ): HttpPool | null {
    const kind = poolKind(this.spec.protocol, downstream);
    const apart = connection !== null && this.spec.connectionPoolPerDownstreamConnection;
    const slot = kind * 2 + priority;
    let pool: ConnectionPool | null;
    if (options.key === '' && !apart) {
      host.httpPools ??= [null, null, null, null, null, null];
      pool = host.httpPools[slot] as ConnectionPool | null;
      if (pool === null) {
        pool = this.#newHttpPool(host, priority, kind, options);
        host.httpPools[slot] = pool as HttpConnectionPool;
      }
    } else {
      const key = `${slot}|${apart ? connection.id : ''}|${options.key}`;
      pool = this.#keyedPool(host, key) ?? this.#keep(host, key, this.#newHttpPool(host, priority, kind, options));
    }
    return this.#admit(pool) ? (pool as HttpConnectionPool) : null;
  }

  #newHttpPool(
    host: Host,
    priority: ResourcePriority,
    kind: PoolKind,
    options: TransportSocketOptions,
  ): HttpConnectionPool {
    const wrapped = withAlpnFallback(options, kind);
    const pool =
      kind === PoolKind.Http1
        ? new H1Pool(this, host, priority, wrapped)
        : kind === PoolKind.Http2
          ? new H2Pool(this, host, priority, wrapped)
          : new AlpnPool(this, host, priority, wrapped);
    if (this.#removed) pool.close();
    return pool;
  }

  /** As {@link httpPool}, for raw connections. */
  tcpPool(
    host: Host,
    priority: ResourcePriority,
    options: TransportSocketOptions = NO_SOCKET_OPTIONS,
    connection: Connection | null = null,
  ): TcpPool | null {
    const apart = connection !== null && this.spec.connectionPoolPerDownstreamConnection;
    let pool: RawTcpPool | null;
    if (options.key === '' && !apart) {
      host.tcpPools ??= [null, null];
      pool = host.tcpPools[priority] as RawTcpPool | null;
      if (pool === null) {
        pool = this.#newTcpPool(host, priority, options);
        host.tcpPools[priority] = pool;
      }
    } else {
      const key = `tcp${priority}|${apart ? connection.id : ''}|${options.key}`;
      const known = this.#keyedPool(host, key) as RawTcpPool | null;
      pool = known ?? this.#keep(host, key, this.#newTcpPool(host, priority, options));
    }
    return this.#admit(pool) ? pool : null;
  }

  #newTcpPool(host: Host, priority: ResourcePriority, options: TransportSocketOptions): RawTcpPool {
    const pool = new RawTcpPool(this, host, priority, options);
    if (this.#removed) pool.close();
    return pool;
  }

  #keyedPool(host: Host, key: string): ConnectionPool | null {
    return (host.keyedPools?.get(key) as unknown as ConnectionPool | undefined) ?? null;
  }

  /** There may be any number of keys: their pools go as soon as they are empty. */
  #keep<P extends ConnectionPool>(host: Host, key: string, pool: P): P {
    host.keyedPools ??= new Map();
    host.keyedPools.set(key, pool as ConnectionPool as unknown as HttpPool);
    pool.onIdle = () => {
      if (this.#keyedPool(host, key) === pool) host.keyedPools?.delete(key);
    };
    return pool;
  }

  /** Pools count against the breaker while they have connections or waiters. */
  #admit(pool: ConnectionPool): boolean {
    if (!pool.isIdle || this.resources(pool.priority).connectionPools.canCreate()) return true;
    this.stats.upstream_cx_pool_overflow.inc();
    return false;
  }

  /** How to reach `host` from here. */
  connectSpec(host: Host): ConnectSpec {
    const bind = this.spec.bind;
    const version = host.address.kind === 'ip' ? host.address.version : 0;
    const source = bind === null || version === 0 ? null : version === 4 ? bind.sourceV4 : bind.sourceV6;
    return {
      address: host.address,
      bindAddress: source,
      socketOptions: this.spec.socketOptions,
    };
  }

  // --- end of life ---

  /** Active streams may end; no new ones. The manager calls it when the cluster is removed or replaced. */
  drain(): void {
    this.#removed = true;
    this.#originalDst?.close();
    for (const host of this.priorities.allHosts()) this.#drainHost(host);
    if (this.#draining.size === 0) this.#release();
    else for (const pool of this.#draining) this.#closeScopeAfter(pool);
  }

  #closeScopeAfter(pool: ConnectionPool): void {
    pool.onDrained = () => {
      this.#draining.delete(pool);
      if (this.#draining.size === 0) this.#release();
    };
  }

  #release(): void {
    this.sockets.release();
    this.scope.close();
  }

  /** Closes every connection now. */
  close(): void {
    this.#removed = true;
    this.#originalDst?.close();
    for (const pool of [...this.#pools()]) pool.close();
    for (const pool of [...this.#draining]) pool.close();
  }
}

/** `keyedPools` holds both kinds. */
function poolsOf(host: Host): ConnectionPool[] {
  const pools: ConnectionPool[] = [];
  for (const pool of host.httpPools ?? []) if (pool !== null) pools.push(pool as HttpConnectionPool);
  for (const pool of host.tcpPools ?? []) if (pool !== null) pools.push(pool as RawTcpPool);
  if (host.keyedPools !== null)
    for (const pool of host.keyedPools.values()) pools.push(pool as unknown as ConnectionPool);
  return pools;
}
