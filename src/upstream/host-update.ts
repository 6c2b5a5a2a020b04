import type { HostSpec, Locality } from './host.ts';

export interface LocalityWeight {
  readonly locality: Locality;
  /** 0: takes no load under locality-weighted balancing. */
  readonly weight: number;
}

/**
 * The whole membership of one priority of one cluster, as main posts it to workers (structured clone). Hosts that were there
 * before (same address) keep their identity, counts and pools.
 */
export interface HostUpdate {
  readonly cluster: string;
  readonly priority: number;
  readonly hosts: readonly HostSpec[];
  /** Empty: the endpoints name no localities' weights. */
  readonly localityWeights: readonly LocalityWeight[];
  /** Percent, 140 by default. */
  readonly overprovisioningFactor: number;
  readonly weightedPriorityHealth: boolean;
  /** Share of requests that are turned away, 0-1, of the whole cluster; absent: as before. */
  readonly dropOverload?: number;
  /** What load reports call those; goes with `dropOverload`. */
  readonly dropCategory?: string;
}
