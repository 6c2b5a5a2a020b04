import { type RequestHeaders, ResponseHeaders } from '../../../http/header-map.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import { type CorsPolicy, ROUTE_CORS_KEY } from '../../../routing/cors-policy.ts';
import { ActionKind } from '../../../routing/route-action.ts';
import { defineStats, type StatsFamily } from '../../../stats/stat-group.ts';

const DEFINITION = { counters: ['origin_invalid', 'origin_valid'] } as const;
/** `http.<prefix>.cors.*`. */
export const CORS_STATS: StatsFamily<typeof DEFINITION> = defineStats(DEFINITION);
export type CorsStats = ReturnType<typeof CORS_STATS.create>;

/** 53 random bits, as fractions are asked with. */
const RANDOM_RANGE = 0x20_0000_0000_0000;

/** Cross-origin requests: preflights are answered, responses get their headers. Source: Envoy, CorsFilter. */
export class CorsFilter extends HttpFilter {
  readonly #stats: CorsStats;
  /** Most specific first. */
  #policies: readonly CorsPolicy[] = [];
  /** The allowed origin of a cross-origin request; empty: leave the response alone. */
  #origin = '';
  #isCorsRequest = false;

  constructor(stats: CorsStats) {
    super();
    this.#stats = stats;
  }

  override onRequestHeaders(headers: RequestHeaders, _end: boolean): Flow {
    const { route } = this.stream;
    if (route === null || route.action.kind !== ActionKind.Forward || route.filterConfigs.isEmpty) return Flow.Continue;
    let policies = this.stream.routeConfigs() as readonly CorsPolicy[];
    if (policies.length === 0) policies = route.filterConfigs.all(ROUTE_CORS_KEY) as readonly CorsPolicy[];
    if (policies.length === 0) return Flow.Continue;
    this.#policies = policies.length === 1 ? policies : [...policies].reverse();
    const most = this.#policies[0]!;
    const { random } = this.stream.dispatcher;
    const enabled = most.enabled === null || most.enabled.enabled(Math.floor(random.float() * RANDOM_RANGE));
    if (!enabled) {
      const shadow = most.shadowEnabled;
      if (shadow === null || !shadow.enabled(Math.floor(random.float() * RANDOM_RANGE))) return Flow.Continue;
    }
    const origin = headers.getJoined('origin');
    if (origin === null || origin === '') return Flow.Continue;
    const allowed = this.#allows(origin);
    if (allowed) {
      this.#stats.origin_valid.inc();
      this.#origin = origin;
    } else {
      this.#stats.origin_invalid.inc();
    }
    if (!enabled) return Flow.Continue;
    this.#isCorsRequest = true;
    if (headers.method !== 'OPTIONS') return Flow.Continue;
    const requestMethod = headers.getJoined('access-control-request-method');
    if (requestMethod === null || requestMethod === '') return Flow.Continue;
    if (!allowed && (this.#flag('forwardNotMatchingPreflights') ?? true)) return Flow.Continue;
    this.#answerPreflight(headers, allowed ? origin : null, requestMethod);
    return Flow.Pause;
  }

  #answerPreflight(headers: RequestHeaders, origin: string | null, requestMethod: string): void {
    const response = ResponseHeaders.of(200);
    if (origin !== null) response.set('access-control-allow-origin', origin);
    if (this.#flag('allowCredentials') === true) response.set('access-control-allow-credentials', 'true');
    const methods = this.#text('allowMethods');
    if (methods !== '') response.set('access-control-allow-methods', methods === '*' ? requestMethod : methods);
    const names = this.#text('allowHeaders');
    if (names !== '') {
      const asked = names === '*' ? (headers.getJoined('access-control-request-headers') ?? '') : names;
      response.set('access-control-allow-headers', asked);
    }
    const maxAge = this.#text('maxAge');
    if (maxAge !== '') response.set('access-control-max-age', maxAge);
    if (
      this.#flag('allowPrivateNetworkAccess') === true &&
      headers.getJoined('access-control-request-private-network') === 'true'
    ) {
      response.set('access-control-allow-private-network', 'true');
    }
    this.stream.info.responseCodeDetails = 'cors_response';
    this.stream.encodeHeaders(response, true);
  }

  override onResponseHeaders(headers: ResponseHeaders, _end: boolean): Flow {
    if (!this.#isCorsRequest || this.#origin === '') return Flow.Continue;
    headers.set('access-control-allow-origin', this.#origin);
    if (this.#flag('allowCredentials') === true) headers.set('access-control-allow-credentials', 'true');
    const expose = this.#text('exposeHeaders');
    if (expose !== '') headers.set('access-control-expose-headers', expose);
    return Flow.Continue;
  }

  #allows(origin: string): boolean {
    for (const policy of this.#policies) {
      if (policy.allowOrigins.length === 0) continue;
      return policy.allowOrigins.some((matcher) => matcher.matches('*') || matcher.matches(origin));
    }
    return false;
  }

  #text(name: 'allowMethods' | 'allowHeaders' | 'exposeHeaders' | 'maxAge'): string {
    for (const policy of this.#policies) if (policy[name] !== '') return policy[name];
    return '';
  }

  #flag(name: 'allowCredentials' | 'allowPrivateNetworkAccess' | 'forwardNotMatchingPreflights'): boolean | null {
    for (const policy of this.#policies) if (policy[name] !== null) return policy[name];
    return null;
  }
}
