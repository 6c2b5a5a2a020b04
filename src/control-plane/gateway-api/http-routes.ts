import type { BackendClusters } from './backend-clusters.ts';
import type { ManifestSet } from './manifest-set.ts';

import type {
  BackendReference,
  GrpcRoute,
  HeaderMatch,
  HeaderModifier,
  HttpRoute,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteRule,
  PathModifier,
} from './manifest-types.ts';
import { type BackendFault, isFault, resolveBackend } from './references.ts';
import type { Resource } from './resources.ts';

/** Named by routes whose backend cannot be used: there is none of that name, and the route says that this is answered by 500. */
const NO_BACKEND = 'invalid-backend';

const REDIRECT_CODES: Readonly<Record<number, string>> = {
  301: 'MOVED_PERMANENTLY',
  302: 'FOUND',
  303: 'SEE_OTHER',
  307: 'TEMPORARY_REDIRECT',
  308: 'PERMANENT_REDIRECT',
};

/** One route of Envoy's with what decides its place among the others of its virtual host. */
export interface RankedRoute {
  readonly route: Resource;
  readonly rank: readonly number[];
}

/** What became of a route object, beside the routes. */
export interface HttpRouteResult {
  readonly routes: readonly RankedRoute[];
  readonly faults: readonly BackendFault[];
  /** What is asked for and not supported. */
  readonly unsupported: readonly string[];
}

/** A text as a regular expression that matches it alone. */
function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** A text as a substitution of RE2, in which a backslash begins a group. */
function substitution(text: string): string {
  return text.replaceAll('\\', '\\\\');
}

function headerMatchers(matches: readonly HeaderMatch[] | undefined, key: (name: string) => string): HeaderMatch[] {
  const seen = new Set<string>();
  const kept: HeaderMatch[] = [];
  // Of several for one name the first counts (Gateway API).
  for (const match of matches ?? []) {
    const name = key(match.name);
    if (!seen.has(name)) kept.push({ ...match, name });
    seen.add(name);
  }
  return kept;
}

function stringMatch({ type, value }: HeaderMatch): Resource {
  return type === 'RegularExpression' ? { safe_regex: { regex: value } } : { exact: value };
}

/** What a match asks of a request's path. */
interface PathMatch {
  readonly kind: 'exact' | 'prefix' | 'regex';
  readonly value: string;
}

function pathFields({ kind, value }: PathMatch): Resource {
  if (kind === 'exact') return { path: value };
  if (kind === 'regex') return { safe_regex: { regex: value } };
  return value === '/' ? { prefix: '/' } : { path_separated_prefix: value };
}

/** Exact before regular expressions before prefixes, longer before shorter; then method, headers, query (Gateway API, HTTPRouteRule.matches). */
function rankOf(path: PathMatch, method: boolean, headers: number, queries: number): number[] {
  const kind = path.kind === 'exact' ? 2 : path.kind === 'regex' ? 1 : 0;
  return [kind, path.value.length, method ? 1 : 0, headers, queries];
}

/** For `sort`: higher ranks first, and what is equal stays in order. */
export function byRank(a: RankedRoute, b: RankedRoute): number {
  for (const [index, value] of a.rank.entries()) {
    const other = b.rank[index] ?? 0;
    if (value !== other) return other - value;
  }
  return 0;
}

function httpPath(match: HttpRouteMatch): PathMatch {
  const value = match.path?.value ?? '/';
  switch (match.path?.type) {
    case 'Exact':
      return { kind: 'exact', value };
    case 'RegularExpression':
      return { kind: 'regex', value };
    default: {
      const trimmed = value.replace(/\/+$/, '');
      return { kind: 'prefix', value: trimmed === '' ? '/' : trimmed };
    }
  }
}

type GrpcMatch = NonNullable<NonNullable<GrpcRoute['spec']['rules']>[number]['matches']>[number];

function grpcPath(match: GrpcMatch): PathMatch {
  const { service, method, type } = match.method ?? {};
  if (service === undefined && method === undefined) return { kind: 'prefix', value: '/' };
  if (type === 'RegularExpression') {
    return { kind: 'regex', value: `/${service ?? '[^/]+'}/${method ?? '[^/]+'}` };
  }
  if (service === undefined) return { kind: 'regex', value: `/[^/]+/${quoted(method!)}` };
  return method === undefined
    ? { kind: 'prefix', value: `/${service}` }
    : { kind: 'exact', value: `/${service}/${method}` };
}

function modifiers(modifier: HeaderModifier | undefined, prefix: 'request' | 'response'): Resource {
  if (modifier === undefined) return {};
  const option = (name: string, value: string, append_action: string): Resource => ({
    header: { key: name, value: value.replaceAll('%', '%%') },
    append_action,
  });
  const add = [
    ...(modifier.set ?? []).map(({ name, value }) => option(name, value, 'OVERWRITE_IF_EXISTS_OR_ADD')),
    ...(modifier.add ?? []).map(({ name, value }) => option(name, value, 'APPEND_IF_EXISTS_OR_ADD')),
  ];
  return {
    ...(add.length > 0 ? { [`${prefix}_headers_to_add`]: add } : {}),
    ...((modifier.remove ?? []).length > 0 ? { [`${prefix}_headers_to_remove`]: modifier.remove } : {}),
  };
}

/** How the path of a request is replaced, for a match by `path`. */
function rewriteFields(modifier: PathModifier, path: PathMatch): Resource {
  if (modifier.type === 'ReplaceFullPath') {
    const full = modifier.replaceFullPath ?? '/';
    return { regex_rewrite: { pattern: { regex: '^/.*$' }, substitution: substitution(full) } };
  }
  const replacement = (modifier.replacePrefixMatch ?? '/').replace(/\/+$/, '');
  // Of `/prefix/rest`, `/rest` remains; of `/prefix`, `/`.
  if (replacement === '' && path.kind === 'prefix' && path.value !== '/') {
    return { regex_rewrite: { pattern: { regex: `^${quoted(path.value)}/*` }, substitution: '/' } };
  }
  if (path.value === '/') return { prefix_rewrite: `${replacement}/` };
  return { prefix_rewrite: replacement === '' ? '/' : replacement };
}

function redirectFields(filter: NonNullable<HttpRouteFilter['requestRedirect']>, path: PathMatch): Resource {
  const fields: Record<string, unknown> = {
    response_code: REDIRECT_CODES[filter.statusCode ?? 302] ?? 'FOUND',
  };
  if (filter.scheme !== undefined) fields.scheme_redirect = filter.scheme;
  if (filter.hostname !== undefined) fields.host_redirect = filter.hostname;
  if (filter.port !== undefined) fields.port_redirect = filter.port;
  if (filter.path?.type === 'ReplaceFullPath') fields.path_redirect = filter.path.replaceFullPath ?? '/';
  else if (filter.path !== undefined) Object.assign(fields, rewriteFields(filter.path, path));
  return fields;
}

/** A duration of the Gateway API (`1h2m3s4ms`, GEP-2257) as proto3 JSON has it; null: it is none. */
export function protoDuration(text: string): string | null {
  const parts = [...text.matchAll(/(\d{1,5})(h|ms|m|s)/g)];
  if (parts.length === 0 || parts.map(([all]) => all).join('') !== text) return null;
  const unit: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
  const ms = parts.reduce((sum, [, count, name]) => sum + Number(count) * unit[name!]!, 0);
  return `${ms / 1000}s`;
}

/** Translates the HTTPRoutes and GRPCRoutes. One per translation. */
export class HttpRouteTranslator {
  readonly #set: ManifestSet;
  readonly #clusters: BackendClusters;

  constructor(set: ManifestSet, clusters: BackendClusters) {
    this.#set = set;
    this.#clusters = clusters;
  }

  translate(route: HttpRoute | GrpcRoute): HttpRouteResult {
    const routes: RankedRoute[] = [];
    const faults: BackendFault[] = [];
    const unsupported: string[] = [];
    const grpc = route.kind === 'GRPCRoute';
    for (const [ruleIndex, rule] of (route.spec.rules ?? []).entries()) {
      const { matches } = rule as { matches?: readonly (HttpRouteMatch & GrpcMatch)[] };
      const list = matches === undefined || matches.length === 0 ? [{}] : matches;
      for (const [matchIndex, match] of list.entries()) {
        const path = grpc ? grpcPath(match as GrpcMatch) : httpPath(match as HttpRouteMatch);
        const headers = headerMatchers(match.headers, (name) => name.toLowerCase());
        const queries = grpc ? [] : headerMatchers((match as HttpRouteMatch).queryParams, (name) => name);
        const method = grpc ? undefined : (match as HttpRouteMatch).method;
        const conditions = headers.map((each) => ({ name: each.name, string_match: stringMatch(each) }));
        if (method !== undefined) conditions.push({ name: ':method', string_match: { exact: method } });
        const name = `${route.metadata.namespace ?? 'default'}/${route.metadata.name}/${ruleIndex}/${matchIndex}`;
        const action = this.#action(route, rule as HttpRouteRule, path, faults, unsupported);
        routes.push({
          route: {
            name,
            match: {
              ...pathFields(path),
              ...(conditions.length > 0 ? { headers: conditions } : {}),
              ...(queries.length > 0
                ? { query_parameters: queries.map((each) => ({ name: each.name, string_match: stringMatch(each) })) }
                : {}),
              ...(grpc ? { grpc: {} } : {}),
            },
            ...action,
          },
          rank: rankOf(path, method !== undefined, headers.length, queries.length),
        });
      }
    }
    return { routes, faults, unsupported };
  }

  #action(
    route: HttpRoute | GrpcRoute,
    rule: HttpRouteRule,
    path: PathMatch,
    faults: BackendFault[],
    unsupported: string[],
  ): Resource {
    const fields: Record<string, unknown> = {};
    const routeAction: Record<string, unknown> = {};
    const mirrors: Resource[] = [];
    let redirect: Resource | null = null;
    for (const filter of rule.filters ?? []) {
      switch (filter.type) {
        case 'RequestHeaderModifier':
          Object.assign(fields, modifiers(filter.requestHeaderModifier, 'request'));
          break;
        case 'ResponseHeaderModifier':
          Object.assign(fields, modifiers(filter.responseHeaderModifier, 'response'));
          break;
        case 'RequestRedirect':
          redirect = redirectFields(filter.requestRedirect ?? {}, path);
          break;
        case 'URLRewrite':
          if (filter.urlRewrite?.hostname !== undefined) routeAction.host_rewrite_literal = filter.urlRewrite.hostname;
          if (filter.urlRewrite?.path !== undefined)
            Object.assign(routeAction, rewriteFields(filter.urlRewrite.path, path));
          break;
        case 'RequestMirror': {
          const mirror = this.#mirror(route, filter, faults);
          if (mirror !== null) mirrors.push(mirror);
          break;
        }
        default:
          unsupported.push(`filter ${filter.type}`);
          // A request that should have been changed must not go on unchanged.
          return { direct_response: { status: 500 } };
      }
    }
    if (redirect !== null) return { ...fields, redirect };
    const backends = this.#backends(route, rule.backendRefs ?? [], faults);
    if (backends === null) return { ...fields, direct_response: { status: 500 } };
    Object.assign(routeAction, backends, this.#timeouts(rule, route.kind === 'GRPCRoute'));
    if (mirrors.length > 0) routeAction.request_mirror_policies = mirrors;
    return { ...fields, route: routeAction };
  }

  /** @returns fields of a route action; null when nothing would ever be served */
  #backends(
    route: HttpRoute | GrpcRoute,
    references: readonly BackendReference[],
    faults: BackendFault[],
  ): Resource | null {
    const weighted: { readonly name: string; readonly weight: number; readonly more: Resource }[] = [];
    for (const reference of references) {
      const resolved = resolveBackend(this.#set, route, reference);
      const weight = reference.weight ?? 1;
      if (isFault(resolved)) {
        faults.push(resolved);
        weighted.push({ name: NO_BACKEND, weight, more: {} });
        continue;
      }
      const more: Record<string, unknown> = {};
      for (const filter of reference.filters ?? []) {
        Object.assign(more, modifiers(filter.requestHeaderModifier, 'request'));
        Object.assign(more, modifiers(filter.responseHeaderModifier, 'response'));
      }
      weighted.push({ name: this.#clusters.clusterOf(resolved, route.kind === 'GRPCRoute'), weight, more });
    }
    const total = weighted.reduce((sum, each) => sum + each.weight, 0);
    const served = weighted.filter((each) => each.weight > 0);
    if (total === 0 || served.every((each) => each.name === NO_BACKEND)) return null;
    const only = served[0]!;
    if (served.length === 1 && Object.keys(only.more).length === 0) return { cluster: only.name };
    return {
      weighted_clusters: { clusters: served.map(({ name, weight, more }) => ({ name, weight, ...more })) },
      ...(served.some((each) => each.name === NO_BACKEND)
        ? { cluster_not_found_response_code: 'INTERNAL_SERVER_ERROR' }
        : {}),
    };
  }

  #mirror(route: HttpRoute | GrpcRoute, { requestMirror }: HttpRouteFilter, faults: BackendFault[]): Resource | null {
    if (requestMirror === undefined) return null;
    const resolved = resolveBackend(this.#set, route, requestMirror.backendRef);
    if (isFault(resolved)) {
      faults.push(resolved);
      return null;
    }
    const { percent, fraction } = requestMirror;
    const numerator =
      percent ?? (fraction === undefined ? 100 : (100 * fraction.numerator) / (fraction.denominator ?? 100));
    return {
      cluster: this.#clusters.clusterOf(resolved, route.kind === 'GRPCRoute'),
      disable_shadow_host_suffix_append: true,
      runtime_fraction: {
        default_value: { numerator: Math.round(numerator * 10_000), denominator: 'MILLION' },
      },
    };
  }

  #timeouts(rule: HttpRouteRule, grpc: boolean): Resource {
    const whole = rule.timeouts?.request === undefined ? null : protoDuration(rule.timeouts.request);
    const attempt = rule.timeouts?.backendRequest === undefined ? null : protoDuration(rule.timeouts.backendRequest);
    const shortest = [whole, attempt]
      .filter((each) => each !== null && each !== '0s')
      .sort((a, b) => parseFloat(a!) - parseFloat(b!))[0];
    if (shortest !== undefined) return { timeout: shortest };
    // Streams of gRPC go on for as long as they like.
    return whole !== null || grpc ? { timeout: '0s' } : {};
  }
}

/** The routes of one virtual host. @param results of route objects in order of age */
export function sortRoutes(results: readonly HttpRouteResult[]): Resource[] {
  return results
    .flatMap((result) => result.routes)
    .sort(byRank)
    .map((each) => each.route);
}
