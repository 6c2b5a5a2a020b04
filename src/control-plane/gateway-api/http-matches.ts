import { RE2JS } from 're2js';
import type { GrpcRoute, HeaderMatch, HttpRouteMatch } from './manifest-types.ts';
import type { Resource } from './resources.ts';

/** What a match asks of a request's path. */
export interface PathMatch {
  readonly kind: 'exact' | 'prefix' | 'regex';
  readonly value: string;
}

/** One match of a rule, as Envoy has it. */
export interface RouteMatch {
  readonly path: PathMatch;
  readonly match: Resource;
  /** What decides its place among the others of a virtual host: the larger figure goes first, from left to right. */
  readonly rank: readonly number[];
}

export type GrpcMatch = NonNullable<NonNullable<GrpcRoute['spec']['rules']>[number]['matches']>[number];

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'];
const PATH = /^\/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$/;

/** Thrown out of a rule that asks for something that is not supported; the message says what. */
export class Unsupported extends Error {
  /** Reason of the condition. */
  readonly reason: string;

  constructor(message: string, reason = 'UnsupportedValue') {
    super(message);
    this.reason = reason;
  }
}

/** A text as a regular expression that matches it alone. */
export function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** A pattern of RE2's syntax: proxies refuse a whole route table for one that is not. */
function pattern(text: string): string {
  try {
    RE2JS.compile(text);
  } catch (error) {
    throw new Unsupported(`regular expression ${text}: ${(error as Error).message}`);
  }
  return text;
}

/** Of several for one name the first counts (Gateway API). */
function firstOfEach(matches: readonly HeaderMatch[] | undefined, key: (name: string) => string): HeaderMatch[] {
  const kept = new Map<string, HeaderMatch>();
  for (const match of matches ?? []) {
    const name = key(match.name);
    if (!kept.has(name)) kept.set(name, { ...match, name });
  }
  return [...kept.values()];
}

function stringMatch({ type, value }: HeaderMatch, what: string): Resource {
  if (type === 'RegularExpression') return { safe_regex: { regex: pattern(value) } };
  if (type !== undefined && type !== 'Exact') throw new Unsupported(`${what} match of type ${type}`);
  return { exact: value };
}

function headerConditions(matches: readonly HeaderMatch[] | undefined): Resource[] {
  return firstOfEach(matches, (name) => name.toLowerCase()).map((each) => ({
    name: each.name,
    string_match: stringMatch(each, 'header'),
  }));
}

function pathFields({ kind, value }: PathMatch): Resource {
  if (kind === 'exact') return { path: value };
  if (kind === 'regex') return { safe_regex: { regex: value } };
  return value === '/' ? { prefix: '/' } : { path_separated_prefix: value };
}

function httpPath(match: HttpRouteMatch): PathMatch {
  const { type = 'PathPrefix', value = '/' } = match.path ?? {};
  if (type === 'RegularExpression') return { kind: 'regex', value: pattern(value) };
  if (type !== 'Exact' && type !== 'PathPrefix') throw new Unsupported(`path match of type ${type}`);
  if (!PATH.test(value) || /\/\/|\/\.\.?(\/|$)|%2f/i.test(value)) throw new Unsupported(`path ${value}`);
  if (type === 'Exact') return { kind: 'exact', value };
  // "When specified, a trailing `/` is ignored."
  return { kind: 'prefix', value: value.replace(/\/+$/, '') || '/' };
}

/** Exact before regular expressions before prefixes, longer before shorter; then method, headers, query (HTTPRouteRule.matches). */
export function httpMatch(match: HttpRouteMatch): RouteMatch {
  const path = httpPath(match);
  const conditions = headerConditions(match.headers);
  const headers = conditions.length;
  const { method } = match;
  if (method !== undefined) {
    // CONNECT has no path to be matched.
    if (!METHODS.includes(method)) throw new Unsupported(`method ${method}`);
    conditions.push({ name: ':method', string_match: { exact: method } });
  }
  const queries = firstOfEach(match.queryParams, (name) => name).map((each) => ({
    name: each.name,
    string_match: stringMatch(each, 'query parameter'),
  }));
  const kind = path.kind === 'exact' ? 2 : path.kind === 'regex' ? 1 : 0;
  return {
    path,
    match: {
      ...pathFields(path),
      ...(conditions.length > 0 ? { headers: conditions } : {}),
      ...(queries.length > 0 ? { query_parameters: queries } : {}),
    },
    rank: [kind, path.value.length, method === undefined ? 0 : 1, headers, queries.length],
  };
}

const SERVICE = /^[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i;
const METHOD = /^[a-z_][a-z_0-9]*$/i;

function grpcPath(service: string, method: string, regex: boolean): PathMatch {
  if (service === '' && method === '') return { kind: 'prefix', value: '/' };
  if (regex) {
    const [one, other] = [service, method].map((each) => (each === '' ? '[^/]+' : `(?:${pattern(each)})`));
    return { kind: 'regex', value: `/${one}/${other}` };
  }
  if (service !== '' && !SERVICE.test(service)) throw new Unsupported(`service ${service}`);
  if (method !== '' && !METHOD.test(method)) throw new Unsupported(`method ${method}`);
  if (service === '') return { kind: 'regex', value: `/[^/]+/${quoted(method)}` };
  return method === '' ? { kind: 'prefix', value: `/${service}` } : { kind: 'exact', value: `/${service}/${method}` };
}

/** Longer services before shorter, then methods, then headers (GRPCRouteRule.matches); what is exact before what is not. */
export function grpcMatch(match: GrpcMatch): RouteMatch {
  const { type = 'Exact', service = '', method = '' } = match.method ?? {};
  if (type !== 'Exact' && type !== 'RegularExpression') throw new Unsupported(`method match of type ${type}`);
  const regex = type === 'RegularExpression';
  const path = grpcPath(service, method, regex);
  const conditions = headerConditions(match.headers);
  const kindOf = (part: string): number => (part === '' ? 0 : regex ? 1 : 2);
  return {
    path,
    match: {
      ...pathFields(path),
      ...(conditions.length > 0 ? { headers: conditions } : {}),
      grpc: {},
    },
    rank: [kindOf(service), service.length, kindOf(method), method.length, conditions.length],
  };
}
