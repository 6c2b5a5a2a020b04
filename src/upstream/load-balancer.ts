import type { FilterStateObject, MetadataStruct } from '../base/connection-state.ts';
import type { MetadataCriteria } from '../base/metadata-criteria.ts';
import type { Random } from '../base/random.ts';
import type { HeaderMap } from '../http/header-map.ts';
import type { Connection } from '../net/connection.ts';
import type { Scope } from '../stats/store.ts';
import type { RuntimeIntegers } from './circuit-breaker.ts';
import type { ClusterStats } from './cluster-stats.ts';
import type { Host } from './host.ts';
import type { PrioritySet } from './priority-set.ts';

/** Load per priority in percent; all of both lists together make 100. */
export interface PriorityLoads {
  readonly healthy: readonly number[];
  readonly degraded: readonly number[];
}

/** What filters leave with a request or connection, as balancers see it. */
export interface StreamState {
  dynamicMetadata(namespace: string): MetadataStruct | null;
  filterState(key: string): FilterStateObject | null;
}

/** What a balancer may know of the request (or connection) that it places. One long-lived object per stream. */
export interface LoadBalancerContext {
  /** 64-bit hash by the route's hash policy; null: none. */
  hashKey(): bigint | null;
  /** `envoy.lb` criteria of the route, for subsets; null: none. */
  metadataMatch(): MetadataCriteria | null;
  downstreamConnection(): Connection | null;
  requestHeaders(): HeaderMap | null;
  /** What filters left for this request; absent: nothing. */
  streamState?(): StreamState | null;
  /** Retry: true asks for another host than this, up to `hostSelectionRetryCount` times. */
  shouldSelectAnotherHost(host: Host): boolean;
  readonly hostSelectionRetryCount: number;
  /** Priorities as a retry plugin changes them; `loads` itself: as they are. */
  priorityLoad(priorities: PrioritySet, loads: PriorityLoads): PriorityLoads;
  /** Host forced by address (stateful session); null: none. */
  overrideHost(): { readonly address: string; readonly strict: boolean } | null;
}

/** Picks hosts. Immutable with regard to membership: replaced when hosts change. Must not allocate per pick. */
export interface LoadBalancer {
  /** @returns null when there is no host to give */
  chooseHost(context: LoadBalancerContext | null): Host | null;
}

/** What a balancer gets from its cluster and worker. */
export interface BalancerEnvironment {
  readonly random: Random;
  readonly stats: ClusterStats;
  /** `cluster.<name>`, for what a policy counts besides. */
  readonly scope: Scope;
  readonly runtime: RuntimeIntegers;
  /** `common_lb_config.healthy_panic_threshold`, percent. */
  readonly healthyPanicThreshold: number;
  /** Monotonic ms. */
  nowMs(): number;
}

/** A balancing policy with its configuration. */
export interface BalancerPolicy {
  readonly name: string;
  /** Builds a balancer for the present hosts; `previous` hands over what should survive (rotation position). */
  build(hosts: PrioritySet, environment: BalancerEnvironment, previous: LoadBalancer | null): LoadBalancer;
}
