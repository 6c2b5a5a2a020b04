import type { FilterConfigs } from './filter-configs.ts';
import type { HeaderMutations } from './header-mutation.ts';
import type { MetadataStruct } from './stream-view.ts';

/** One of the clusters among which a route divides its requests. */
export class WeightedCluster {
  /** Empty when `clusterHeader` names it. */
  readonly name: string;
  /** Lower case. */
  readonly clusterHeader: string;
  readonly weight: number;
  /** Merged with the route's. */
  readonly metadataMatch: MetadataStruct | null;
  readonly requestMutations: HeaderMutations;
  readonly responseMutations: HeaderMutations;
  readonly filterConfigs: FilterConfigs;
  /** Empty: the host stays. */
  readonly hostRewriteLiteral: string;

  constructor(
    name: string,
    clusterHeader: string,
    weight: number,
    metadataMatch: MetadataStruct | null,
    requestMutations: HeaderMutations,
    responseMutations: HeaderMutations,
    filterConfigs: FilterConfigs,
    hostRewriteLiteral: string,
  ) {
    this.name = name;
    this.clusterHeader = clusterHeader;
    this.weight = weight;
    this.metadataMatch = metadataMatch;
    this.requestMutations = requestMutations;
    this.responseMutations = responseMutations;
    this.filterConfigs = filterConfigs;
    this.hostRewriteLiteral = hostRewriteLiteral;
  }
}

/** How a forwarding route finds its cluster. */
export type ClusterChoice =
  | { readonly kind: 'none' }
  | { readonly kind: 'cluster'; readonly name: string }
  /** Lower-case header; its first value names the cluster, absent: no cluster. */
  | { readonly kind: 'header'; readonly header: string }
  | {
      readonly kind: 'weighted';
      readonly clusters: readonly WeightedCluster[];
      /** Weights of `<prefix>.<cluster>` in the runtime override; empty: never. */
      readonly runtimeKeyPrefix: string;
      /** Lower-case header with the random number; empty: none. */
      readonly randomHeader: string;
      readonly useHashPolicy: boolean;
    };

export const NO_CLUSTER: ClusterChoice = { kind: 'none' };
