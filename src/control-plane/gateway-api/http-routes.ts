import type { BackendClusters, BackendUse } from './backend-clusters.ts';
import { durationMs, protoDuration } from './durations.ts';
import {
  CORS_FILTER,
  corsPolicy,
  type Entrance,
  modifierFields,
  redirectFields,
  rewriteFields,
} from './http-filters.ts';
import { type GrpcMatch, grpcMatch, httpMatch, type PathMatch, type RouteMatch, Unsupported } from './http-matches.ts';
import { keyOf } from './manifest-set.ts';
import type {
  BackendReference,
  GrpcRoute,
  HttpRoute,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteRule,
} from './manifest-types.ts';
import { isFault } from './references.ts';
import type { Resource } from './resources.ts';

/** Named by routes whose backend cannot be used: there is none of that name, and the route says how that is answered. */
export const NO_BACKEND = 'invalid-backend';

/** One route of Envoy's with what decides its place among the others of its virtual host. */
export interface RankedRoute {
  readonly route: Resource;
  readonly rank: readonly number[];
}

/** Why a rule is not done as it says. */
export interface RuleFault {
  /** From 0. */
  readonly rule: number;
  readonly reason: string;
  readonly message: string;
}

/** Filters of a rule, by what may be there more than once. */
const REPEATABLE = ['RequestMirror', 'ExtensionRef'];
const GRPC_FILTERS = ['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror'];

/** For `sort`: higher ranks first, and what is equal stays in order. */
export function byRank(a: RankedRoute, b: RankedRoute): number {
  for (const [index, value] of a.rank.entries()) {
    const other = b.rank[index] ?? 0;
    if (value !== other) return other - value;
  }
  return 0;
}

function matchesOf(route: HttpRoute | GrpcRoute, rule: HttpRouteRule): RouteMatch[] {
  const matches = rule.matches ?? [];
  const list = matches.length === 0 ? [{}] : matches;
  return route.kind === 'GRPCRoute'
    ? list.map((each) => grpcMatch(each as GrpcMatch))
    : list.map((each) => httpMatch(each as HttpRouteMatch));
}

/** The filters of a rule by type. @throws Unsupported when they cannot be together */
function checkFilters(filters: readonly HttpRouteFilter[], grpc: boolean): void {
  const types = filters.map(({ type }) => type);
  for (const type of types) {
    if (grpc && !GRPC_FILTERS.includes(type)) throw new Unsupported(`filter ${type}`);
    if (!REPEATABLE.includes(type) && types.indexOf(type) !== types.lastIndexOf(type)) {
      throw new Unsupported(`filter ${type} is there twice`, 'IncompatibleFilters');
    }
  }
  for (const other of ['URLRewrite', 'RequestMirror']) {
    if (types.includes('RequestRedirect') && types.includes(other)) {
      throw new Unsupported(`filters RequestRedirect and ${other} together`, 'IncompatibleFilters');
    }
  }
}

function timeoutMs(text: string | undefined, what: string): number | null {
  if (text === undefined) return null;
  const ms = durationMs(text);
  if (ms === null) throw new Unsupported(`${what} ${text}`);
  return ms;
}

/** Fields of a route action for the timeouts and retries of a rule. */
function patience(rule: HttpRouteRule, grpc: boolean): Resource {
  const whole = timeoutMs(rule.timeouts?.request, 'timeout');
  const attempt = timeoutMs(rule.timeouts?.backendRequest, 'timeout');
  if (whole !== null && whole > 0 && attempt !== null && attempt > whole) {
    throw new Unsupported('timeouts.backendRequest is longer than timeouts.request');
  }
  const { retry } = rule;
  if (retry?.backoff !== undefined) {
    // Envoy waits for a random time below what it is told, never a time at least.
    throw new Unsupported('retry.backoff');
  }
  if (retry !== undefined && retry.attempts !== 0) {
    const codes = retry.codes ?? [];
    return {
      timeout: protoDuration(whole ?? 0),
      retry_policy: {
        retry_on: [
          'connect-failure',
          'refused-stream',
          'reset',
          ...(codes.length > 0 ? ['retriable-status-codes'] : []),
        ].join(','),
        ...(codes.length > 0 ? { retriable_status_codes: codes } : {}),
        ...(retry.attempts === undefined ? {} : { num_retries: retry.attempts }),
        ...(attempt === null || attempt === 0 ? {} : { per_try_timeout: protoDuration(attempt) }),
      },
    };
  }
  const given = [whole, attempt].filter((each) => each !== null && each > 0) as number[];
  if (given.length > 0) return { timeout: protoDuration(Math.min(...given)) };
  // Streams of gRPC go on for as long as they like.
  return whole !== null || grpc ? { timeout: '0s' } : {};
}

/** What a rule asks that is not done, without regard to where it is attached; null: nothing. */
function ruleFault(route: HttpRoute | GrpcRoute, rule: HttpRouteRule, index: number): RuleFault | null {
  try {
    checkRule(route, rule);
    return null;
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error;
    return { rule: index, reason: error.reason, message: error.message };
  }
}

function checkRule(route: HttpRoute | GrpcRoute, rule: HttpRouteRule): void {
  const grpc = route.kind === 'GRPCRoute';
  for (const { path } of matchesOf(route, rule)) filterFields(rule, grpc, path, { port: 80, secure: false });
  if (rule.sessionPersistence !== undefined) throw new Unsupported('sessionPersistence');
  patience(rule, grpc);
  for (const reference of rule.backendRefs ?? []) backendFields(reference, grpc);
}

/** The faults of a route's rules. */
export function ruleFaults(route: HttpRoute | GrpcRoute): RuleFault[] {
  return rulesOf(route).flatMap((rule, index) => ruleFault(route, rule, index) ?? []);
}

/** An HTTPRoute without rules has one that matches everything (its default); a GRPCRoute has none. */
export function rulesOf(route: HttpRoute | GrpcRoute): readonly HttpRouteRule[] {
  return (route.spec.rules as readonly HttpRouteRule[] | undefined) ?? (route.kind === 'HTTPRoute' ? [{}] : []);
}

/** What the filters of a rule come to. */
interface FilterFields {
  /** Of the route. */
  readonly route: Resource;
  /** Of its action. */
  readonly action: Resource;
  readonly redirect: Resource | null;
  readonly mirrors: readonly NonNullable<HttpRouteFilter['requestMirror']>[];
}

function filterFields(rule: HttpRouteRule, grpc: boolean, path: PathMatch, entrance: Entrance): FilterFields {
  const filters = rule.filters ?? [];
  checkFilters(filters, grpc);
  const route: Record<string, unknown> = {};
  const action: Record<string, unknown> = {};
  const mirrors: NonNullable<HttpRouteFilter['requestMirror']>[] = [];
  let redirect: Resource | null = null;
  const missing = (filter: HttpRouteFilter): never => {
    throw new Unsupported(`filter ${filter.type} without its settings`);
  };
  for (const filter of filters) {
    switch (filter.type) {
      case 'RequestHeaderModifier':
        Object.assign(route, modifierFields(filter.requestHeaderModifier ?? missing(filter), 'request'));
        break;
      case 'ResponseHeaderModifier':
        Object.assign(route, modifierFields(filter.responseHeaderModifier ?? missing(filter), 'response'));
        break;
      case 'RequestRedirect':
        redirect = redirectFields(filter.requestRedirect ?? missing(filter), path, entrance);
        break;
      case 'URLRewrite':
        Object.assign(action, rewriteFields(filter.urlRewrite ?? missing(filter), path));
        break;
      case 'RequestMirror': {
        const mirror = filter.requestMirror ?? missing(filter);
        if (mirror.percent !== undefined && mirror.fraction !== undefined) {
          throw new Unsupported('requestMirror with percent and fraction');
        }
        mirrors.push(mirror);
        break;
      }
      case 'CORS':
        route.typed_per_filter_config = { [CORS_FILTER]: corsPolicy(filter.cors ?? missing(filter)) };
        break;
      default:
        throw new Unsupported(`filter ${filter.type}`);
    }
  }
  if (redirect !== null && (rule.backendRefs ?? []).length > 0) {
    throw new Unsupported('filter RequestRedirect with backendRefs', 'IncompatibleFilters');
  }
  return { route, action, redirect, mirrors };
}

/** Fields of a weighted cluster for the filters of a backend. */
function backendFields({ filters = [] }: BackendReference, grpc: boolean): Resource {
  checkFilters(filters, grpc);
  const fields: Record<string, unknown> = {};
  for (const filter of filters) {
    switch (filter.type) {
      case 'RequestHeaderModifier':
        Object.assign(fields, modifierFields(filter.requestHeaderModifier, 'request'));
        break;
      case 'ResponseHeaderModifier':
        Object.assign(fields, modifierFields(filter.responseHeaderModifier, 'response'));
        break;
      case 'URLRewrite':
        if (filter.urlRewrite?.path !== undefined) throw new Unsupported('a path in filter URLRewrite of a backend');
        if (filter.urlRewrite?.hostname !== undefined) fields.host_rewrite_literal = filter.urlRewrite.hostname;
        break;
      default:
        throw new Unsupported(`filter ${filter.type} of a backend`);
    }
  }
  return fields;
}

/** Translates the HTTPRoutes and GRPCRoutes of one gateway. */
export class HttpRouteTranslator {
  readonly #clusters: BackendClusters;
  /** Whether some route has a policy of its own for the CORS filter. */
  usesCors = false;

  constructor(clusters: BackendClusters) {
    this.#clusters = clusters;
  }

  translate(route: HttpRoute | GrpcRoute, entrance: Entrance): RankedRoute[] {
    const grpc = route.kind === 'GRPCRoute';
    return rulesOf(route).flatMap((rule, ruleIndex) => {
      const broken = ruleFault(route, rule, ruleIndex) !== null;
      let matches: RouteMatch[];
      try {
        matches = matchesOf(route, rule);
      } catch (error) {
        // What it would match cannot be said.
        if (error instanceof Unsupported) return [];
        throw error;
      }
      return matches.map(({ match, path, rank }, matchIndex) => ({
        route: {
          name: `${keyOf(route)}/${rule.name ?? ruleIndex}/${matchIndex}`,
          match,
          // A request that should have been changed must not go on unchanged.
          ...(broken ? unavailable(grpc) : this.#action(route, rule, path, entrance)),
        },
        rank,
      }));
    });
  }

  #action(route: HttpRoute | GrpcRoute, rule: HttpRouteRule, path: PathMatch, entrance: Entrance): Resource {
    const grpc = route.kind === 'GRPCRoute';
    const filters = filterFields(rule, grpc, path, entrance);
    if (filters.route.typed_per_filter_config !== undefined) this.usesCors = true;
    if (filters.redirect !== null) return { ...filters.route, redirect: filters.redirect };
    const use = grpc ? 'http2' : 'http';
    const backends = this.#backends(route, rule.backendRefs ?? [], use);
    const mirrors = filters.mirrors.flatMap((mirror) => this.#mirror(route, mirror, use) ?? []);
    if (backends === null) return { ...filters.route, ...unavailable(grpc) };
    return {
      ...filters.route,
      route: {
        ...filters.action,
        ...backends,
        ...patience(rule, grpc),
        ...(mirrors.length > 0 ? { request_mirror_policies: mirrors } : {}),
      },
    };
  }

  /** @returns fields of a route action; null when nothing would ever be served */
  #backends(route: HttpRoute | GrpcRoute, references: readonly BackendReference[], use: BackendUse): Resource | null {
    const grpc = use === 'http2';
    const weighted: { readonly name: string; readonly weight: number; readonly more: Resource }[] = [];
    for (const reference of references) {
      const resolved = this.#clusters.resolve(route, reference);
      const weight = reference.weight ?? 1;
      if (weight === 0) continue;
      if (isFault(resolved)) weighted.push({ name: NO_BACKEND, weight, more: {} });
      else
        weighted.push({ name: this.#clusters.clusterOf(resolved, use), weight, more: backendFields(reference, grpc) });
    }
    const [only] = weighted;
    if (only === undefined || weighted.every(({ name }) => name === NO_BACKEND)) return null;
    if (weighted.length === 1 && Object.keys(only.more).length === 0) return { cluster: only.name };
    return {
      weighted_clusters: { clusters: weighted.map(({ name, weight, more }) => ({ name, weight, ...more })) },
      // By default it is 503, which is UNAVAILABLE for gRPC, as it should be.
      ...(!grpc && weighted.some(({ name }) => name === NO_BACKEND)
        ? { cluster_not_found_response_code: 'INTERNAL_SERVER_ERROR' }
        : {}),
    };
  }

  /** @returns null: the backend cannot be used, and is left out */
  #mirror(
    route: HttpRoute | GrpcRoute,
    { backendRef, percent, fraction }: NonNullable<HttpRouteFilter['requestMirror']>,
    use: BackendUse,
  ): Resource | null {
    const resolved = this.#clusters.resolve(route, backendRef);
    if (isFault(resolved)) return null;
    const share =
      percent ?? (fraction === undefined ? 100 : (100 * fraction.numerator) / (fraction.denominator ?? 100));
    return {
      cluster: this.#clusters.clusterOf(resolved, use),
      disable_shadow_host_suffix_append: true,
      runtime_fraction: {
        default_value: { numerator: Math.round(Math.min(share, 100) * 10_000), denominator: 'MILLION' },
      },
    };
  }
}

/** The answer where nothing can be served: 500, and for gRPC UNAVAILABLE (Gateway API, backendRefs). */
function unavailable(grpc: boolean): Resource {
  return { direct_response: { status: grpc ? 503 : 500 } };
}
