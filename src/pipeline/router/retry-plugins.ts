import type { Host } from '../../upstream/host.ts';
import type { PriorityLoads } from '../../upstream/load-balancer.ts';
import type { PrioritySet } from '../../upstream/priority-set.ts';

/** Decides which hosts a retry should avoid. One per request that may be retried. */
export interface RetryHostPredicate {
  shouldSelectAnotherHost(host: Host): boolean;
  /** A host was tried, whatever came of it. */
  onHostAttempted(host: Host): void;
}

/** What an extension of kind `retry-host-predicate` builds, and `RetryExtension.config` holds. */
export interface RetryHostPredicateFactory {
  create(): RetryHostPredicate;
}

/** Moves the load of retries to other priorities. One per request that may be retried. */
export interface RetryPriority {
  /** @returns `loads` itself where nothing changes */
  priorityLoad(priorities: PrioritySet, loads: PriorityLoads): PriorityLoads;
  onHostAttempted(host: Host): void;
}

/** What an extension of kind `retry-priority` builds. */
export interface RetryPriorityFactory {
  create(): RetryPriority;
}
