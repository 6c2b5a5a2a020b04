import type { RequestHeaders } from '../http/header-map.ts';
import type { FilterConfigs } from './filter-configs.ts';
import type { HeaderMutations } from './header-mutation.ts';
import { portStart } from './host.ts';
import type { Demand } from './on-demand.ts';
import type { Route } from './route.ts';
import type { ConfigMetadata } from './route-policies.ts';
import type { RuntimeReader } from './runtime-fraction.ts';
import type { StreamView } from './stream-view.ts';
import { asciiLowerCase } from './string-matcher.ts';
import { type TableSettings, VirtualHost, type VirtualHostSpec } from './virtual-host.ts';

export interface RouteTableSpec {
  name: string;
  virtualHosts: readonly VirtualHostSpec[];
  requestMutations: HeaderMutations;
  responseMutations: HeaderMutations;
  filterConfigs: FilterConfigs;
  metadata: ConfigMetadata;
  mostSpecificHeaderMutationsWins: boolean;
  ignorePathParametersInPathMatching: boolean;
  ignorePortInHostMatching: boolean;
  /** Lower-case header that is matched instead of the Host; empty: the Host. */
  virtualHostHeader: string;
  /** Lower case; removed from external requests. */
  internalOnlyHeaders: readonly string[];
  /** Virtual hosts that are not there may be fetched on demand. */
  usesVhds: boolean;
}

/** Hosts of one wildcard length. */
interface WildcardLength {
  readonly length: number;
  readonly hosts: Map<string, VirtualHost>;
}

/** What picks a route table for a request: a table itself, or scopes. */
export interface RouteTableChoice {
  /** Null: there is none for it. */
  tableFor(headers: RequestHeaders): RouteTable | null;
  /** What may be fetched for a request that has no route; null: nothing. */
  demandFor(headers: RequestHeaders): Demand | null;
}

/** A compiled route configuration. Source: envoy.config.route.v3.RouteConfiguration. */
export class RouteTable implements TableSettings, RouteTableChoice {
  readonly name: string;
  readonly requestMutations: HeaderMutations;
  readonly responseMutations: HeaderMutations;
  readonly filterConfigs: FilterConfigs;
  readonly metadata: ConfigMetadata;
  readonly mostSpecificHeaderMutationsWins: boolean;
  readonly ignorePathParametersInPathMatching: boolean;
  readonly ignorePortInHostMatching: boolean;
  readonly virtualHostHeader: string;
  readonly internalOnlyHeaders: readonly string[];
  readonly virtualHosts: readonly VirtualHost[];
  readonly usesVhds: boolean;
  /** What main knows a discovered table by; empty: it is not discovered. */
  onDemandKey = '';
  readonly #exact = new Map<string, VirtualHost>();
  /** Longest first. */
  readonly #suffixes: WildcardLength[] = [];
  readonly #prefixes: WildcardLength[] = [];
  #fallback: VirtualHost | null = null;
  readonly #onlyFallback: boolean;

  /** @param spec validated: its domains are unique */
  constructor(spec: RouteTableSpec, runtime: RuntimeReader) {
    this.name = spec.name;
    this.requestMutations = spec.requestMutations;
    this.responseMutations = spec.responseMutations;
    this.filterConfigs = spec.filterConfigs;
    this.metadata = spec.metadata;
    this.mostSpecificHeaderMutationsWins = spec.mostSpecificHeaderMutationsWins;
    this.ignorePathParametersInPathMatching = spec.ignorePathParametersInPathMatching;
    this.ignorePortInHostMatching = spec.ignorePortInHostMatching;
    this.virtualHostHeader = spec.virtualHostHeader;
    this.internalOnlyHeaders = spec.internalOnlyHeaders;
    this.usesVhds = spec.usesVhds;
    this.virtualHosts = spec.virtualHosts.map((host) => new VirtualHost(host, this, runtime));
    for (const host of this.virtualHosts) {
      for (const domain of host.domains) this.#addDomain(asciiLowerCase(domain), host);
    }
    this.#suffixes.sort((a, b) => b.length - a.length);
    this.#prefixes.sort((a, b) => b.length - a.length);
    this.#onlyFallback = this.#exact.size === 0 && this.#suffixes.length === 0 && this.#prefixes.length === 0;
  }

  #addDomain(domain: string, host: VirtualHost): void {
    if (domain === '*') this.#fallback = host;
    else if (domain.startsWith('*')) addWildcard(this.#suffixes, domain.slice(1), host);
    else if (domain.endsWith('*')) addWildcard(this.#prefixes, domain.slice(0, -1), host);
    else this.#exact.set(domain, host);
  }

  tableFor(_headers: RequestHeaders): RouteTable {
    return this;
  }

  demandFor(headers: RequestHeaders): Demand | null {
    const { authority } = headers;
    if (!this.usesVhds || this.onDemandKey === '' || authority === null || authority === '') return null;
    return { kind: 'virtual-host', routes: this.onDemandKey, host: asciiLowerCase(authority) };
  }

  /** Null: no virtual host or no route matches (Envoy's `route_not_found`, 404). */
  route(headers: RequestHeaders, stream: StreamView): Route | null {
    const host = this.#onlyFallback ? this.#fallback : this.virtualHost(headers);
    return host === null ? null : host.route(headers, stream);
  }

  /** Exact name, then the longest suffix wildcard, then the longest prefix wildcard, then `*`. */
  virtualHost(headers: RequestHeaders): VirtualHost | null {
    if (this.#onlyFallback) return this.#fallback;
    const value = this.virtualHostHeader === '' ? headers.authority : headers.get(this.virtualHostHeader);
    if (value === null) return null;
    let name = value;
    if (this.ignorePortInHostMatching) {
      const port = portStart(name);
      if (port >= 0) name = name.slice(0, port);
    }
    name = asciiLowerCase(name);
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    for (const { length, hosts } of this.#suffixes) {
      // A wildcard stands for at least one character.
      if (length >= name.length) continue;
      const host = hosts.get(name.slice(name.length - length));
      if (host !== undefined) return host;
    }
    for (const { length, hosts } of this.#prefixes) {
      if (length >= name.length) continue;
      const host = hosts.get(name.slice(0, length));
      if (host !== undefined) return host;
    }
    return this.#fallback;
  }
}

function addWildcard(lengths: WildcardLength[], text: string, host: VirtualHost): void {
  let entry = lengths.find((each) => each.length === text.length);
  if (entry === undefined) {
    entry = { length: text.length, hosts: new Map() };
    lengths.push(entry);
  }
  entry.hosts.set(text, host);
}
