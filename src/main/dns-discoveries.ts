import type { Dispatcher } from '../net/dispatcher.ts';
import type { Scope } from '../stats/store.ts';
import type { ClusterFacts } from '../upstream/cluster-spec.ts';
import type { DnsFamily } from '../upstream/dns-spec.ts';
import { DnsDiscovery, type DnsDiscoveryEvents } from './dns/dns-discovery.ts';
import type { DnsAnswer, DnsResolver } from './dns/dns-resolver.ts';
import { NodeDnsResolver } from './dns/node-dns-resolver.ts';
import { DNS_STATS } from './server-stats.ts';

type DnsStats = ReturnType<typeof DNS_STATS.create>;

/** Counts what a resolver is asked, by Envoy's names. */
class CountedResolver implements DnsResolver {
  readonly #resolver: DnsResolver;
  readonly #stats: DnsStats;

  constructor(resolver: DnsResolver, stats: DnsStats) {
    this.#resolver = resolver;
    this.#stats = stats;
  }

  async resolve(name: string, family: DnsFamily): Promise<DnsAnswer> {
    const stats = this.#stats;
    stats.resolve_total.inc();
    stats.pending_resolutions.inc();
    const answer = await this.#resolver.resolve(name, family);
    stats.pending_resolutions.dec();
    if (!answer.completed) stats.get_addr_failure.inc();
    else if (answer.addresses.length === 0) stats.not_found.inc();
    return answer;
  }
}

/** Makes the discoveries of DNS clusters: one resolver for each list of name servers. */
export class DnsDiscoveries {
  readonly #dispatcher: Dispatcher;
  readonly #scope: Scope;
  readonly #resolvers = new Map<string, DnsResolver>();
  /** With the first cluster that needs names. */
  #stats: DnsStats | null = null;

  constructor(dispatcher: Dispatcher, stats: Scope) {
    this.#dispatcher = dispatcher;
    this.#scope = stats;
  }

  create(spec: Pick<ClusterFacts, 'name' | 'statName' | 'dns'>, events: DnsDiscoveryEvents): DnsDiscovery {
    const servers = spec.dns?.resolvers ?? [];
    const key = servers.join(',');
    let resolver = this.#resolvers.get(key);
    if (resolver === undefined) {
      resolver = new CountedResolver(new NodeDnsResolver(servers), this.#counters());
      this.#resolvers.set(key, resolver);
    }
    return new DnsDiscovery(spec, resolver, this.#dispatcher, this.#scope, events);
  }

  #counters(): DnsStats {
    if (this.#stats === null) {
      this.#stats = DNS_STATS.create(this.#scope, 'dns.cares');
      this.#stats.pending_resolutions.set(0);
    }
    return this.#stats;
  }
}
