import type { HeaderMap } from '../http/header-map.ts';
import type { Connection } from '../net/connection.ts';
import type { Host } from './host.ts';
import type { PrioritySet } from './priority-set.ts';

/** What a balancer may know of the request (or connection) that it places. One long-lived object per stream. */
export interface LoadBalancerContext {
  /** 64-bit hash by the route's hash policy; null: none. */
  hashKey(): bigint | null;
  /** `envoy.lb` criteria of the route, for subsets; null: none. */
  metadataMatch(): ReadonlyMap<string, unknown> | null;
  downstreamConnection(): Connection | null;
  requestHeaders(): HeaderMap | null;
  /** Retry: false asks for another host, up to `hostSelectionRetryCount` times. */
  shouldSelectAnotherHost(host: Host): boolean;
  readonly hostSelectionRetryCount: number;
  /** Priorities as a retry plugin changed them: load per priority in percent; null: as they are. */
  priorityLoad(healthy: readonly number[], degraded: readonly number[]): readonly number[] | null;
  /** Host forced by address (stateful session); null: none. */
  overrideHost(): { readonly address: string; readonly strict: boolean } | null;
}

/** Picks hosts. Immutable with regard to membership: replaced when hosts change. Must not allocate per pick. */
export interface LoadBalancer {
  /** @returns null when there is no host to give */
  chooseHost(context: LoadBalancerContext | null): Host | null;
}

/** A balancing policy with its configuration. */
export interface BalancerPolicy {
  readonly name: string;
  /** Builds a balancer for the present hosts; `previous` hands over what should survive (rotation position). */
  build(hosts: PrioritySet, previous: LoadBalancer | null): LoadBalancer;
}
