import type { HostSpec } from './host.ts';
import type { LocalityWeight } from './host-update.ts';

/** `dns_lookup_family`. AUTO: IPv6 addresses, and IPv4 ones only when there are none; V4_PREFERRED the other way round. */
export const DnsFamily = { Auto: 0, V4Only: 1, V6Only: 2, V4Preferred: 3, All: 4 } as const;
export type DnsFamily = (typeof DnsFamily)[keyof typeof DnsFamily];

/** One name to resolve: each of its addresses becomes a host after `template`. */
export interface DnsTarget {
  readonly name: string;
  readonly port: number;
  /** Everything of the host but its address. */
  readonly template: HostSpec;
}

/** What a DNS cluster resolves, and how often. All times in ms. */
export interface DnsSpec {
  /** LOGICAL_DNS: the first address is the cluster's only host. */
  readonly logical: boolean;
  readonly family: DnsFamily;
  /** 5000 by default. */
  readonly refreshMs: number;
  /** Backoff after failures: between base and max with full jitter; both equal `refreshMs` when not configured. */
  readonly failureBaseMs: number;
  readonly failureMaxMs: number;
  /** Added at random to every refresh, 0 by default. */
  readonly jitterMs: number;
  readonly respectTtl: boolean;
  /** A TTL below it counts as this. */
  readonly minRefreshMs: number;
  /** `ip:port` of name servers; empty: the system's. */
  readonly resolvers: readonly string[];
  readonly targets: readonly DnsTarget[];
  /** By priority. */
  readonly localityWeights: readonly (readonly LocalityWeight[])[];
  readonly overprovisioningFactor: number;
  readonly weightedPriorityHealth: boolean;
  /** See HostUpdate. */
  readonly dropOverload: number;
  readonly dropCategory: string;
}
