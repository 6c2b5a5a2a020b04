import type { HeaderMap, RequestHeaders } from '../http/header-map.ts';
import { NO_CLUSTER } from './cluster-choice.ts';
import { FilterConfigs } from './filter-configs.ts';
import { type HeaderMatcher, matchesAllHeaders } from './header-matcher.ts';
import { HeaderMutations } from './header-mutation.ts';
import { RedirectTarget } from './redirect.ts';
import { Route, RouteEntry, type RouteSpec } from './route.ts';
import { RedirectAction } from './route-action.ts';
import { type IndexMemory, RouteIndex } from './route-index.ts';
import { PathMatcher, RouteMatch } from './route-match.ts';
import { type ConfigMetadata, NO_METADATA, type RateLimitPolicy } from './route-policies.ts';
import type { RuntimeReader } from './runtime-fraction.ts';
import type { StreamView } from './stream-view.ts';

export const TlsRequirement = { None: 0, ExternalOnly: 1, All: 2 } as const;
export type TlsRequirement = (typeof TlsRequirement)[keyof typeof TlsRequirement];

/** What holds for a whole table, shared by its virtual hosts. */
export interface TableSettings {
  readonly name: string;
  readonly requestMutations: HeaderMutations;
  readonly responseMutations: HeaderMutations;
  readonly filterConfigs: FilterConfigs;
  readonly metadata: ConfigMetadata;
  readonly mostSpecificHeaderMutationsWins: boolean;
  readonly ignorePathParametersInPathMatching: boolean;
}

/** Requests counted together under a name. */
export class VirtualCluster {
  readonly name: string;
  readonly headers: readonly HeaderMatcher[];

  constructor(name: string, headers: readonly HeaderMatcher[]) {
    this.name = name;
    this.headers = headers;
  }
}

export interface VirtualHostSpec {
  name: string;
  /** As configured: `*`, `*.suffix`, `prefix.*` or a whole name. */
  domains: readonly string[];
  routes: readonly RouteSpec[];
  requireTls: TlsRequirement;
  virtualClusters: readonly VirtualCluster[];
  rateLimits: readonly RateLimitPolicy[];
  requestMutations: HeaderMutations;
  responseMutations: HeaderMutations;
  filterConfigs: FilterConfigs;
  metadata: ConfigMetadata;
  includeRequestAttemptCount: boolean;
  includeAttemptCountInResponse: boolean;
  includeIsTimeoutRetryHeader: boolean;
  /** Bytes; null: as the connection's buffer limit. */
  requestBodyBufferLimit: number | null;
  /** What an earlier version may have left; absent: there was none. */
  index?: IndexMemory;
}

/** Source: envoy.config.route.v3.VirtualHost. */
export class VirtualHost {
  readonly name: string;
  readonly domains: readonly string[];
  readonly settings: TableSettings;
  readonly requireTls: TlsRequirement;
  readonly virtualClusters: readonly VirtualCluster[];
  readonly rateLimits: readonly RateLimitPolicy[];
  readonly requestMutations: HeaderMutations;
  readonly responseMutations: HeaderMutations;
  readonly filterConfigs: FilterConfigs;
  readonly metadata: ConfigMetadata;
  readonly includeRequestAttemptCount: boolean;
  readonly includeAttemptCountInResponse: boolean;
  readonly includeIsTimeoutRetryHeader: boolean;
  readonly requestBodyBufferLimit: number | null;
  readonly entries: readonly RouteEntry[];
  /** Null: nobody has asked yet. Of many virtual hosts few may be asked for before the next version comes. */
  #index: RouteIndex | null = null;
  readonly #indexMemory: IndexMemory;
  readonly #tlsRedirect: Route;

  constructor(spec: VirtualHostSpec, settings: TableSettings, runtime: RuntimeReader) {
    this.name = spec.name;
    this.domains = spec.domains;
    this.settings = settings;
    this.requireTls = spec.requireTls;
    this.virtualClusters = spec.virtualClusters;
    this.rateLimits = spec.rateLimits;
    this.requestMutations = spec.requestMutations;
    this.responseMutations = spec.responseMutations;
    this.filterConfigs = spec.filterConfigs;
    this.metadata = spec.metadata;
    this.includeRequestAttemptCount = spec.includeRequestAttemptCount;
    this.includeAttemptCountInResponse = spec.includeAttemptCountInResponse;
    this.includeIsTimeoutRetryHeader = spec.includeIsTimeoutRetryHeader;
    this.requestBodyBufferLimit = spec.requestBodyBufferLimit;
    this.entries = spec.routes.map((route) => new RouteEntry(route, this, runtime));
    this.#indexMemory = spec.index ?? { last: null };
    this.#tlsRedirect = new Route(TLS_REDIRECT, this, null, '');
  }

  /** The first route that matches; a redirect where TLS is required; null: none (route_not_found). */
  route(headers: RequestHeaders, stream: StreamView): Route | null {
    if (this.requireTls !== TlsRequirement.None && this.#mustRedirectToTls(headers)) return this.#tlsRedirect;
    const index = (this.#index ?? this.#makeIndex()).find(headers, stream);
    return index < 0 ? null : this.entries[index]!.select(headers, stream);
  }

  #makeIndex(): RouteIndex {
    const matches = this.entries.map((entry) => entry.match);
    const index = new RouteIndex(matches, this.settings.ignorePathParametersInPathMatching, this.#indexMemory.last);
    this.#indexMemory.last = index;
    this.#index = index;
    return index;
  }

  #mustRedirectToTls(headers: RequestHeaders): boolean {
    const proto = headers.get('x-forwarded-proto');
    if (proto === null || proto === '' || proto === 'https') return false;
    return this.requireTls === TlsRequirement.All || headers.get('x-envoy-internal') !== 'true';
  }

  /** The first virtual cluster that matches; `other` when there are some and none does; null: there are none. */
  virtualCluster(headers: HeaderMap): VirtualCluster | null {
    if (this.virtualClusters.length === 0) return null;
    for (const cluster of this.virtualClusters) {
      if (matchesAllHeaders(headers, cluster.headers)) return cluster;
    }
    return OTHER_CLUSTER;
  }
}

const OTHER_CLUSTER = new VirtualCluster('other', []);

const TLS_REDIRECT: RouteSpec = {
  name: '',
  match: RouteMatch.ofPath(PathMatcher.prefix('', true)),
  action: new RedirectAction(301, RedirectTarget.toHttps(), true),
  cluster: NO_CLUSTER,
  requestMutations: HeaderMutations.NONE,
  responseMutations: HeaderMutations.NONE,
  filterConfigs: FilterConfigs.NONE,
  metadata: NO_METADATA,
  decorator: null,
  tracing: null,
  statPrefix: '',
  requestBodyBufferLimit: null,
};
