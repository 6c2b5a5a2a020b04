import { deferred } from '../base/deferred.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { Scope } from '../stats/store.ts';
import type { ClusterSpec } from '../upstream/cluster-spec.ts';
import type { DnsFamily } from '../upstream/dns-spec.ts';
import type { HostUpdate } from '../upstream/host-update.ts';
import { DnsDiscovery } from './dns/dns-discovery.ts';
import type { DnsAnswer, DnsResolver } from './dns/dns-resolver.ts';
import { NodeDnsResolver } from './dns/node-dns-resolver.ts';
import { DNS_STATS } from './server-stats.ts';

/** Counts what a resolver is asked, by Envoy's names. */
class CountedResolver implements DnsResolver {
  readonly #resolver: DnsResolver;
  readonly #stats: ReturnType<typeof DNS_STATS.create>;

  constructor(resolver: DnsResolver, stats: ReturnType<typeof DNS_STATS.create>) {
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

/** The DNS clusters of the process: one resolver for each list of name servers. */
export class DnsDiscoveries {
  readonly #discoveries: DnsDiscovery[] = [];
  readonly #firstAnswers: Promise<void>[] = [];

  constructor(
    specs: readonly ClusterSpec[],
    dispatcher: Dispatcher,
    stats: Scope,
    onHosts: (update: HostUpdate) => void,
  ) {
    const counters = DNS_STATS.create(stats, 'dns.cares');
    counters.pending_resolutions.set(0);
    const resolvers = new Map<string, DnsResolver>();
    for (const spec of specs) {
      const servers = spec.dns?.resolvers ?? [];
      const key = servers.join(',');
      let resolver = resolvers.get(key);
      if (resolver === undefined) {
        resolver = new CountedResolver(new NodeDnsResolver(servers), counters);
        resolvers.set(key, resolver);
      }
      const { promise, resolve } = deferred<void>();
      if (spec.waitForWarmOnInit) this.#firstAnswers.push(promise);
      this.#discoveries.push(new DnsDiscovery(spec, resolver, dispatcher, stats, { onHosts, onFirstAnswer: resolve }));
    }
  }

  /** Resolves when every cluster that startup waits for has had its first answer. */
  async start(): Promise<void> {
    for (const discovery of this.#discoveries) discovery.start();
    await Promise.all(this.#firstAnswers);
  }

  stop(): void {
    for (const discovery of this.#discoveries) discovery.stop();
  }
}
