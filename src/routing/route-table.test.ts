import { expect, test } from 'bun:test';
import { forwardAction as forward } from '../../test/support/forward-action.ts';
import { StubStreamView } from '../../test/support/stub-stream-view.ts';
import { xxHash64 } from '../base/xxhash64.ts';
import { RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import { type ClusterChoice, NO_CLUSTER, WeightedCluster } from './cluster-choice.ts';
import { FilterConfigs } from './filter-configs.ts';
import { AppendAction, HeaderMutation, HeaderMutations } from './header-mutation.ts';
import { finalizeRequest } from './host-rewrite.ts';
import { Regex } from './regex.ts';
import type { RouteSpec } from './route.ts';
import { ActionKind, type ForwardActionFields } from './route-action.ts';
import { PathMatcher, RouteMatch } from './route-match.ts';
import { NO_METADATA, RegexSubstitution } from './route-policies.ts';
import { RouteTable, type RouteTableSpec } from './route-table.ts';
import { EMPTY_RUNTIME } from './runtime-fraction.ts';
import { ConstantFormatter, type FormatContext } from './stream-view.ts';
import { TlsRequirement, type VirtualHostSpec } from './virtual-host.ts';

function route(prefix: string, cluster: ClusterChoice | string, more: Partial<RouteSpec> = {}): RouteSpec {
  return {
    name: '',
    match: RouteMatch.ofPath(PathMatcher.prefix(prefix)),
    action: forward(),
    cluster: typeof cluster === 'string' ? { kind: 'cluster', name: cluster } : cluster,
    requestMutations: HeaderMutations.NONE,
    responseMutations: HeaderMutations.NONE,
    filterConfigs: FilterConfigs.NONE,
    metadata: NO_METADATA,
    decorator: null,
    tracing: null,
    statPrefix: '',
    requestBodyBufferLimit: null,
    ...more,
  };
}

function host(domains: string[], routes: RouteSpec[], more: Partial<VirtualHostSpec> = {}): VirtualHostSpec {
  return {
    name: domains[0]!,
    domains,
    routes,
    requireTls: TlsRequirement.None,
    virtualClusters: [],
    rateLimits: [],
    requestMutations: HeaderMutations.NONE,
    responseMutations: HeaderMutations.NONE,
    filterConfigs: FilterConfigs.NONE,
    metadata: NO_METADATA,
    includeRequestAttemptCount: false,
    includeAttemptCountInResponse: false,
    includeIsTimeoutRetryHeader: false,
    requestBodyBufferLimit: null,
    ...more,
  };
}

function table(hosts: VirtualHostSpec[], more: Partial<RouteTableSpec> = {}): RouteTable {
  return new RouteTable(
    {
      name: 'rc',
      virtualHosts: hosts,
      requestMutations: HeaderMutations.NONE,
      responseMutations: HeaderMutations.NONE,
      filterConfigs: FilterConfigs.NONE,
      metadata: NO_METADATA,
      mostSpecificHeaderMutationsWins: false,
      ignorePathParametersInPathMatching: false,
      ignorePortInHostMatching: false,
      virtualHostHeader: '',
      usesVhds: false,
      internalOnlyHeaders: [],
      ...more,
    },
    EMPTY_RUNTIME,
  );
}

function request(authority: string | null, path = '/'): RequestHeaders {
  const headers = new RequestHeaders();
  headers.method = 'GET';
  headers.scheme = 'http';
  headers.authority = authority;
  headers.path = path;
  headers.add('x-forwarded-proto', 'http');
  return headers;
}

function contextOf(headers: RequestHeaders): FormatContext {
  return { stream, requestHeaders: headers, responseHeaders: null, responseTrailers: null };
}

const stream = new StubStreamView();

function add(value: string, name = 'x-l', action: AppendAction = AppendAction.AppendIfExistsOrAdd): HeaderMutations {
  return new HeaderMutations([], [new HeaderMutation(name, new ConstantFormatter(value), action, false)]);
}

test('virtual hosts: exact, longest suffix, longest prefix, any; without regard to case', () => {
  const names = ['a.com', '*.a.com', '*-b.a.com', 'www.*', 'www.x.*', '*'];
  const hosts = table(names.map((name) => host([name], [route('/', name)])));
  const clusterOf = (authority: string | null): string | undefined => hosts.route(request(authority), stream)?.cluster;
  expect(clusterOf('A.COM')).toBe('a.com');
  expect(clusterOf('q.a.com')).toBe('*.a.com');
  expect(clusterOf('z-b.a.com')).toBe('*-b.a.com');
  expect(clusterOf('-b.a.com')).toBe('*.a.com');
  expect(clusterOf('.a.com')).toBe('*');
  expect(clusterOf('www.x.org')).toBe('www.x.*');
  expect(clusterOf('www.org')).toBe('www.*');
  expect(clusterOf('www.a.com')).toBe('*.a.com');
  expect(clusterOf('a.com:80')).toBe('*');
  expect(clusterOf(null)).toBeUndefined();
  const withoutPort = table([host(['a.com'], [route('/', 'x')])], { ignorePortInHostMatching: true });
  expect(withoutPort.route(request('a.com:80'), stream)?.cluster).toBe('x');
  const byHeader = table([host(['a.com'], [route('/', 'x')])], { virtualHostHeader: 'x-host' });
  const asked = request('other');
  asked.add('x-host', 'a.com');
  expect(byHeader.route(asked, stream)?.cluster).toBe('x');
});

test('require_tls redirects, for external requests only where it says so', () => {
  const all = table([host(['*'], [route('/', 'c')], { requireTls: TlsRequirement.All })]);
  const found = all.route(request('a.com:80', '/p?q'), stream)!;
  if (found.action.kind !== ActionKind.Redirect) throw new Error('no redirect');
  expect([found.action.status, found.action.forTls]).toEqual([301, true]);
  const headers = request('a.com:80', '/p?q');
  expect(found.action.target.url(headers, found.match.path, contextOf(headers))).toBe('https://a.com/p?q');
  const external = table([host(['*'], [route('/', 'c')], { requireTls: TlsRequirement.ExternalOnly })]);
  const internal = request('a');
  internal.set('x-envoy-internal', 'true');
  expect(external.route(internal, stream)?.cluster).toBe('c');
  expect(external.route(request('a'), stream)?.action.kind).toBe(ActionKind.Redirect);
  const secure = request('a');
  secure.set('x-forwarded-proto', 'https');
  expect(all.route(secure, stream)?.cluster).toBe('c');
});

function weighted(name: string, weight: number, clusterHeader = ''): WeightedCluster {
  const own = add(`w-${name}`);
  return new WeightedCluster(
    name,
    clusterHeader,
    weight,
    null,
    own,
    HeaderMutations.NONE,
    FilterConfigs.NONE,
    `h-${name}`,
  );
}

test('weighted clusters by the random of the stream, by header, by hash', () => {
  const choice: ClusterChoice = {
    kind: 'weighted',
    clusters: [weighted('a', 10), weighted('b', 0), weighted('c', 30)],
    runtimeKeyPrefix: '',
    randomHeader: 'x-random',
    useHashPolicy: false,
  };
  const routes = table([host(['*'], [route('/', choice)])]);
  const pick = (random: number, header?: string): string => {
    const view = new StubStreamView();
    view.stableRandom = random;
    const headers = request('a');
    if (header !== undefined) headers.add('x-random', header);
    return routes.route(headers, view)!.cluster;
  };
  expect([0, 9, 10, 39, 40].map((random) => pick(random))).toEqual(['a', 'a', 'c', 'c', 'a']);
  expect(pick(0, '39')).toBe('c');
  expect(pick(0, '18446744073709551615')).toBe('c');
  expect(pick(0, 'x')).toBe('a');
  const hashed = table([
    host(
      ['*'],
      [
        route(
          '/',
          { ...choice, randomHeader: '', useHashPolicy: true },
          {
            action: forward({ hashPolicies: [{ kind: 'header', terminal: false, name: 'x-user', rewrite: null }] }),
          },
        ),
      ],
    ),
  ]);
  const headers = request('a');
  headers.add('x-user', 'u1');
  expect(hashed.route(headers, stream)!.cluster).toBe(xxHash64('u1') % 40n < 10n ? 'a' : 'c');
});

test('a cluster named by a header', () => {
  const routes = table([host(['*'], [route('/', { kind: 'header', header: 'x-cl' })])]);
  const headers = request('a');
  expect(routes.route(headers, stream)!.cluster).toBe('');
  headers.add('x-cl', 'd');
  headers.add('x-cl', 'e');
  expect(routes.route(headers, stream)!.cluster).toBe('d');
});

/** Orders recorded from Envoy 1.40. */
test.each([
  [false, ['w-c', 'r', 'v', 't']],
  [true, ['w-c', 't', 'v', 'r']],
])('header levels with most_specific_header_mutations_wins %p', (mostSpecific, expected) => {
  const choice: ClusterChoice = {
    kind: 'weighted',
    clusters: [weighted('c', 1)],
    runtimeKeyPrefix: '',
    randomHeader: '',
    useHashPolicy: false,
  };
  const routes = table(
    [host(['*'], [route('/', choice, { requestMutations: add('r') })], { requestMutations: add('v') })],
    { requestMutations: add('t'), mostSpecificHeaderMutationsWins: mostSpecific },
  );
  const headers = request('a.com');
  const found = routes.route(headers, stream)!;
  finalizeRequest(found, headers, contextOf(headers), true);
  expect(headers.getAll('x-l')).toEqual(expected);
  expect([headers.authority, headers.has('x-envoy-original-host')]).toEqual(['h-c', false]);
});

test('mutations of one level: removals, then overwrites, then additions, each from the headers before', () => {
  const { AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExistsOrAdd, OverwriteIfExists } = AppendAction;
  const each = (name: string, value: string, action: AppendAction): HeaderMutation =>
    new HeaderMutation(name, new ConstantFormatter(value), action, false);
  const level = new HeaderMutations(
    ['x-gone'],
    [
      each('x-a', '1', AddIfAbsent),
      each('x-a', '2', AddIfAbsent),
      each('x-b', '2', AppendIfExistsOrAdd),
      each('x-b', '3', OverwriteIfExistsOrAdd),
      each('x-none', '4', OverwriteIfExists),
      each('x-empty', '', AppendIfExistsOrAdd),
    ],
  );
  const headers = request('a.com');
  headers.list = ['x-gone', '1', 'x-b', '0'];
  level.apply(headers, contextOf(headers));
  expect(headers.list).toEqual(['x-b', '3', 'x-a', '1', 'x-a', '2', 'x-b', '2']);
});

test('a header that Envoy holds as a list grows, another gets a line', () => {
  const headers = request('a');
  headers.list = ['user-agent', 'x', 'x-foo', 'x', 'vary', 'x'];
  for (const name of ['user-agent', 'x-foo', 'vary']) add('y', name).apply(headers, contextOf(headers));
  expect(headers.list).toEqual(['user-agent', 'x,y', 'x-foo', 'x', 'vary', 'x', 'x-foo', 'y', 'vary', 'y']);
  const response = ResponseHeaders.of(200);
  response.list = ['vary', 'x', 'set-cookie', 'x'];
  for (const name of ['vary', 'set-cookie']) add('y', name).apply(response, contextOf(headers));
  expect(response.list).toEqual(['vary', 'x,y', 'set-cookie', 'x', 'set-cookie', 'y']);
});

test('per-filter configuration: the most specific wins; a level can switch filters off and on', () => {
  const of = (value: string): FilterConfigs => new FilterConfigs(new Map([['f', value]]), new Map([['f', false]]));
  const off = new FilterConfigs(new Map(), new Map([['g', true]]));
  const routes = table(
    [host(['*'], [route('/r', 'c', { filterConfigs: of('route') }), route('/', 'c')], { filterConfigs: of('host') })],
    {
      filterConfigs: off,
    },
  );
  const specific = routes.route(request('a', '/r'), stream)!;
  expect([specific.filterConfig('f'), specific.filterConfigs.all('f')]).toEqual(['route', ['host', 'route']]);
  const general = routes.route(request('a'), stream)!;
  expect([
    general.filterConfig('f'),
    general.filterDisabled('g'),
    general.filterDisabled('f'),
    general.filterDisabled('h'),
  ]).toEqual(['host', true, false, null]);
});

test('rewrites of path and host as Envoy', () => {
  const rewritten = (path: string, match: PathMatcher, fields: Partial<ForwardActionFields>): (string | null)[] => {
    const routes = table([
      host(['*'], [route('/', 'c', { match: RouteMatch.ofPath(match), action: forward(fields) })]),
    ]);
    const headers = request('h.com', path);
    headers.add('x-h', 'n.com');
    finalizeRequest(routes.route(headers, stream)!, headers, contextOf(headers), true);
    return [
      headers.path,
      headers.get('x-envoy-original-path'),
      headers.authority,
      headers.get('x-envoy-original-host'),
      headers.get('x-forwarded-host'),
    ];
  };
  const prefix = { pathRewrite: { kind: 'prefix', replacement: '/z' } } as const;
  expect(rewritten('/EX?q=1', PathMatcher.exact('/ex', false), prefix).slice(0, 2)).toEqual(['/z?q=1', '/EX?q=1']);
  expect(rewritten('/sep/a?b', PathMatcher.separatedPrefix('/sep'), prefix)[0]).toBe('/z/a?b');
  expect(rewritten('/rezz?a=b', PathMatcher.regex(Regex.of('/re[a-z]*')), prefix)[0]).toBe('/z?a=b');
  const big = { pathRewrite: { kind: 'regex', substitution: new RegexSubstitution(Regex.of('a*'), '<\\0>') } } as const;
  expect(rewritten('/bigaab?aa', PathMatcher.prefix('/'), big)[0]).toBe('<>/<>b<>i<>g<aa>b<>?aa');
  const empty = { pathRewrite: { kind: 'format', formatter: new ConstantFormatter('') } } as const;
  expect(rewritten('/empty/x?a', PathMatcher.prefix('/'), empty).slice(0, 2)).toEqual(['/empty/x?a', null]);
  const literal = { hostRewrite: { kind: 'literal', host: 'z' }, appendXForwardedHost: true } as const;
  expect(rewritten('/', PathMatcher.prefix('/'), literal).slice(2)).toEqual(['z', 'h.com', 'h.com']);
  const header = { hostRewrite: { kind: 'header', header: 'x-h' } } as const;
  expect(rewritten('/', PathMatcher.prefix('/'), header)[2]).toBe('n.com');
  const byPath = {
    hostRewrite: { kind: 'path-regex', substitution: new RegexSubstitution(Regex.of('^/hpr/(.+)/.*$'), '\\1') },
  } as const;
  expect(rewritten('/hpr/abc/d', PathMatcher.prefix('/'), byPath)[2]).toBe('abc');
});

test('xxHash64', () => {
  expect(xxHash64('').toString(16)).toBe('ef46db3751d8e999');
  expect(xxHash64('a').toString(16)).toBe('d24ec4f1a98c6e5b');
  expect(xxHash64('abc').toString(16)).toBe('44bc2cf5ad770999');
  expect(xxHash64('Nobody inspects the spammish repetition').toString(16)).toBe('fbcea83c8a378bf1');
});

test('a route without a cluster choice', () => {
  expect(table([host(['*'], [route('/', NO_CLUSTER)])]).route(request('a'), stream)!.cluster).toBe('');
  expect(table([host(['*'], [route('/x', 'c')])]).route(request('a'), stream)).toBeNull();
});
