import { MetadataCriteria } from '../base/metadata-criteria.ts';
import type { RequestHeaders } from '../http/header-map.ts';
import { type ClusterChoice, NO_CLUSTER, type WeightedCluster } from './cluster-choice.ts';
import { type FilterConfigs, ResolvedFilterConfigs } from './filter-configs.ts';
import { HeaderMutationPlan, type HeaderMutations } from './header-mutation.ts';
import { hashRequest } from './request-hash.ts';
import { ActionKind, type RouteAction } from './route-action.ts';
import type { RouteMatch } from './route-match.ts';
import type { ConfigMetadata, Decorator, RouteTracing } from './route-policies.ts';
import type { RuntimeReader } from './runtime-fraction.ts';
import type { MetadataStruct, StreamView } from './stream-view.ts';
import type { VirtualHost } from './virtual-host.ts';

/** What the builder gives of a route. */
export interface RouteSpec {
  name: string;
  match: RouteMatch;
  action: RouteAction;
  cluster: ClusterChoice;
  requestMutations: HeaderMutations;
  responseMutations: HeaderMutations;
  filterConfigs: FilterConfigs;
  metadata: ConfigMetadata;
  /** Null: none. */
  decorator: Decorator | null;
  /** Null: as the connection manager says. */
  tracing: RouteTracing | null;
  /** Empty: no statistics of its own. */
  statPrefix: string;
  /** Bytes kept for retries and mirrors; null: as the virtual host. */
  requestBodyBufferLimit: number | null;
}

/**
 * What a request was routed to, with its cluster chosen. Immutable: a stream keeps it even when the table is replaced.
 * Weighted clusters are routes of their own, made when the table is built.
 */
export class Route {
  readonly name: string;
  readonly match: RouteMatch;
  readonly action: RouteAction;
  readonly virtualHost: VirtualHost;
  /** The chosen cluster; empty when none is named (a cluster header that is absent) or the route does not forward. */
  readonly cluster: string;
  /** Of the cluster's hosts (`envoy.lb`), the weighted cluster's merged in; null: any. */
  readonly metadataMatch: MetadataCriteria | null;
  /** Set on the request before anything else of the route; empty: nothing (`ClusterWeight.host_rewrite_literal`). */
  readonly weightedHostRewrite: string;
  /** Mutations of the weighted cluster alone: they run before `weightedHostRewrite`. */
  readonly weightedRequestMutations: HeaderMutationPlan;
  /** Route, virtual host and table in the order of `most_specific_header_mutations_wins`. */
  readonly requestMutations: HeaderMutationPlan;
  /** The weighted cluster's first, then as `requestMutations`. */
  readonly responseMutations: HeaderMutationPlan;
  readonly filterConfigs: ResolvedFilterConfigs;
  readonly metadata: ConfigMetadata;
  readonly decorator: Decorator | null;
  readonly tracing: RouteTracing | null;
  readonly statPrefix: string;
  /** Bytes; null: as the connection's buffer limit. */
  readonly requestBodyBufferLimit: number | null;

  constructor(spec: RouteSpec, virtualHost: VirtualHost, weighted: WeightedCluster | null, cluster: string) {
    this.name = spec.name;
    this.match = spec.match;
    this.action = spec.action;
    this.virtualHost = virtualHost;
    this.cluster = cluster;
    const own = spec.action.kind === ActionKind.Forward ? spec.action.metadataMatch : null;
    this.metadataMatch = MetadataCriteria.of(mergedMetadata(own, weighted === null ? null : weighted.metadataMatch));
    this.weightedHostRewrite = weighted === null ? '' : weighted.hostRewriteLiteral;
    const settings = virtualHost.settings;
    const order = (table: HeaderMutations, host: HeaderMutations, route: HeaderMutations): HeaderMutations[] =>
      settings.mostSpecificHeaderMutationsWins ? [table, host, route] : [route, host, table];
    this.weightedRequestMutations =
      weighted === null || weighted.requestMutations.isEmpty
        ? HeaderMutationPlan.NONE
        : HeaderMutationPlan.of([weighted.requestMutations]);
    this.requestMutations = HeaderMutationPlan.of(
      order(settings.requestMutations, virtualHost.requestMutations, spec.requestMutations),
    );
    const responseLevels = order(settings.responseMutations, virtualHost.responseMutations, spec.responseMutations);
    this.responseMutations = HeaderMutationPlan.of(
      weighted === null ? responseLevels : [weighted.responseMutations, ...responseLevels],
    );
    const levels = [settings.filterConfigs, virtualHost.filterConfigs, spec.filterConfigs];
    if (weighted !== null) levels.push(weighted.filterConfigs);
    this.filterConfigs = ResolvedFilterConfigs.of(levels);
    this.metadata = spec.metadata;
    this.decorator = spec.decorator;
    this.tracing = spec.tracing;
    this.statPrefix = spec.statPrefix;
    this.requestBodyBufferLimit = spec.requestBodyBufferLimit ?? virtualHost.requestBodyBufferLimit;
  }

  /** The most specific `typed_per_filter_config` of a filter's name; undefined: none. */
  filterConfig(name: string): unknown {
    return this.filterConfigs.get(name);
  }

  /** True or false where a level of the table decides; null: as the filter chain says. */
  filterDisabled(name: string): boolean | null {
    return this.filterConfigs.disabled(name);
  }

  /** The same route with the cluster that a header names. */
  withCluster(cluster: string): Route {
    const copy = Object.create(Route.prototype) as { -readonly [K in keyof Route]: Route[K] };
    copy.name = this.name;
    copy.match = this.match;
    copy.action = this.action;
    copy.virtualHost = this.virtualHost;
    copy.cluster = cluster;
    copy.metadataMatch = this.metadataMatch;
    copy.weightedHostRewrite = this.weightedHostRewrite;
    copy.weightedRequestMutations = this.weightedRequestMutations;
    copy.requestMutations = this.requestMutations;
    copy.responseMutations = this.responseMutations;
    copy.filterConfigs = this.filterConfigs;
    copy.metadata = this.metadata;
    copy.decorator = this.decorator;
    copy.tracing = this.tracing;
    copy.statPrefix = this.statPrefix;
    copy.requestBodyBufferLimit = this.requestBodyBufferLimit;
    return copy as Route;
  }
}

/** A route of the table with all its variants: what the index holds. Variants are made when the first request comes: tables are large. */
export class RouteEntry {
  readonly match: RouteMatch;
  readonly #spec: RouteSpec;
  readonly #virtualHost: VirtualHost;
  /** The only variant, where the cluster does not depend on the request; null otherwise, and before the first request. */
  #fixed: Route | null = null;
  readonly #choice: ClusterChoice;
  /** Null before the first request. */
  #variants: readonly Route[] | null = null;
  #totalWeight = 0;
  readonly #runtime: RuntimeReader;

  constructor(spec: RouteSpec, virtualHost: VirtualHost, runtime: RuntimeReader) {
    this.match = spec.match;
    this.#spec = spec;
    this.#virtualHost = virtualHost;
    this.#choice = spec.action.kind === ActionKind.Forward ? spec.cluster : NO_CLUSTER;
    this.#runtime = runtime;
  }

  #makeVariants(): readonly Route[] {
    const choice = this.#choice;
    const spec = this.#spec;
    let variants: readonly Route[];
    if (choice.kind === 'weighted') {
      variants = choice.clusters.map((each) => new Route(spec, this.#virtualHost, each, each.name));
      this.#totalWeight = choice.clusters.reduce((total, each) => total + each.weight, 0);
    } else {
      const only = new Route(spec, this.#virtualHost, null, choice.kind === 'cluster' ? choice.name : '');
      variants = [only];
      if (choice.kind !== 'header') this.#fixed = only;
    }
    this.#variants = variants;
    return variants;
  }

  /** Picks the cluster. Null: weights that add up to nothing. */
  select(headers: RequestHeaders, stream: StreamView): Route | null {
    if (this.#fixed !== null) return this.#fixed;
    const variants = this.#variants ?? this.#makeVariants();
    const choice = this.#choice;
    if (choice.kind === 'weighted') return this.#selectWeighted(variants, headers, stream);
    return choice.kind === 'header' ? variants[0]!.withCluster(headers.lookup(choice.header) ?? '') : variants[0]!;
  }

  #selectWeighted(variants: readonly Route[], headers: RequestHeaders, stream: StreamView): Route | null {
    const choice = this.#choice;
    if (choice.kind !== 'weighted') return null;
    const weights = choice.runtimeKeyPrefix === '' ? null : this.#runtimeWeights(choice.runtimeKeyPrefix);
    const total = weights === null ? this.#totalWeight : weights.reduce((sum, weight) => sum + weight, 0);
    if (total === 0) return null;
    let selected = choice.randomHeader === '' ? -1 : randomOfHeader(headers, choice.randomHeader, total);
    if (selected < 0 && choice.useHashPolicy) selected = hashModulo(variants[0]!, headers, stream, total);
    if (selected < 0) selected = stream.stableRandom % total;
    let end = 0;
    const clusters = choice.clusters;
    for (let i = 0; i < clusters.length; i++) {
      end += weights === null ? clusters[i]!.weight : weights[i]!;
      if (selected >= end) continue;
      const variant = variants[i]!;
      const header = clusters[i]!.clusterHeader;
      return header === '' ? variant : variant.withCluster(headers.lookup(header) ?? '');
    }
    return null;
  }

  #runtimeWeights(prefix: string): number[] {
    const choice = this.#choice;
    if (choice.kind !== 'weighted') return [];
    return choice.clusters.map((each) => this.#runtime.integer(`${prefix}.${each.name}`, each.weight));
  }
}

/** -1: no policy gives a hash. */
function hashModulo({ action }: Route, headers: RequestHeaders, stream: StreamView, total: number): number {
  const hash = action.kind === ActionKind.Forward ? hashRequest(action.hashPolicies, headers, stream) : null;
  return hash === null ? -1 : Number(hash % BigInt(total));
}

/** The header's unsigned 64-bit number modulo `total`; -1 unless there is exactly one valid value. */
function randomOfHeader(headers: RequestHeaders, name: string, total: number): number {
  const values = headers.getAll(name);
  if (values.length !== 1) return -1;
  const text = values[0]!.trim();
  if (!/^\+?[0-9]{1,20}$/.test(text)) return -1;
  const value = BigInt(text.replace('+', ''));
  return value >= 2n ** 64n ? -1 : Number(value % BigInt(total));
}

function mergedMetadata(parent: MetadataStruct | null, child: MetadataStruct | null): MetadataStruct | null {
  if (parent === null) return child;
  return child === null ? parent : { ...parent, ...child };
}
