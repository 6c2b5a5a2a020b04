import { Resolver } from 'node:dns/promises';
import { ipVersion } from '../../net/ip-version.ts';
import { DnsFamily } from '../../upstream/dns-spec.ts';
import type { DnsAddress, DnsAnswer, DnsResolver } from './dns-resolver.ts';
import { SystemNames } from './system-names.ts';

type Version = 4 | 6;

/** A name that is not there, or has no address of this kind: an answer. Everything else is a failure. */
const EMPTY_CODES = new Set(['ENOTFOUND', 'ENODATA']);

/** Which kinds to ask for; for a list of two, the second only when the first gave nothing. */
const ORDER: Readonly<Record<DnsFamily, readonly Version[]>> = {
  [DnsFamily.Auto]: [6, 4],
  [DnsFamily.V4Only]: [4],
  [DnsFamily.V6Only]: [6],
  [DnsFamily.V4Preferred]: [4, 6],
  [DnsFamily.All]: [4, 6],
};

/**
 * The resolver that Envoy's c-ares one stands for: literal addresses, the hosts file, then name servers with the search
 * domains of resolv.conf; with TTLs.
 */
export class NodeDnsResolver implements DnsResolver {
  readonly #resolver: Resolver;
  readonly #names: SystemNames;

  /** @param servers `ip:port`; empty: those of the system */
  constructor(servers: readonly string[] = [], names: SystemNames = new SystemNames()) {
    this.#resolver = new Resolver();
    if (servers.length > 0) this.#resolver.setServers([...servers]);
    this.#names = names;
  }

  async resolve(name: string, family: DnsFamily): Promise<DnsAnswer> {
    const known = ipVersion(name) !== 0 ? [name] : this.#names.lookup(name);
    if (known !== null) return { completed: true, addresses: pick(known, family) };
    const versions = ORDER[family];
    if (family === DnsFamily.All) {
      const [v4, v6] = await Promise.all([this.#ask(name, 4), this.#ask(name, 6)]);
      if (v4.completed && v6.completed) return { completed: true, addresses: [...v4.addresses, ...v6.addresses] };
      if (v4.completed && v4.addresses.length > 0) return v4;
      if (v6.completed && v6.addresses.length > 0) return v6;
      return v4.completed ? v6 : v4;
    }
    let answer = await this.#ask(name, versions[0]!);
    const second = versions[1];
    if (second !== undefined && !(answer.completed && answer.addresses.length > 0)) {
      answer = await this.#ask(name, second);
    }
    return answer;
  }

  async #ask(name: string, version: Version): Promise<DnsAnswer> {
    let failure: string | null = null;
    for (const candidate of this.#names.candidates(name)) {
      try {
        const records =
          version === 4
            ? await this.#resolver.resolve4(candidate, { ttl: true })
            : await this.#resolver.resolve6(candidate, { ttl: true });
        if (records.length === 0) continue;
        return { completed: true, addresses: records.map(({ address, ttl }) => ({ ip: address, ttlSeconds: ttl })) };
      } catch (error) {
        const code = (error as { code?: string }).code ?? String(error);
        if (!EMPTY_CODES.has(code)) failure ??= code;
      }
    }
    return failure === null ? { completed: true, addresses: [] } : { completed: false, reason: failure };
  }
}

function pick(ips: readonly string[], family: DnsFamily): DnsAddress[] {
  const of = (version: Version): string[] => ips.filter((ip) => ipVersion(ip) === version);
  let chosen: string[];
  if (family === DnsFamily.All) {
    chosen = [...of(4), ...of(6)];
  } else {
    const [first, second] = ORDER[family];
    chosen = of(first!);
    if (chosen.length === 0 && second !== undefined) chosen = of(second);
  }
  return chosen.map((ip) => ({ ip, ttlSeconds: 0 }));
}
