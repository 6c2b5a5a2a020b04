/** Virtual hosts, route matches, route actions. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, http, httpProxy, to } from './configs.ts';
import { request, suite } from './harness.ts';

const LOG =
  '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %ROUTE_NAME% %UPSTREAM_CLUSTER%';

const stats = [
  'http.ingress.no_route',
  'http.ingress.no_cluster',
  'http.ingress.rq_',
  'http.ingress.downstream_rq',
  'cluster.u1.upstream_rq_total',
];

const upstream = httpUpstream((seen) =>
  reply(200, `${seen.path} host=${seen.header('host')} to=${seen.header('x-to')}`),
);

/** A route that says its name in the upstream request. */
function named(name: string, match: object, action: object = { cluster: 'u1' }): Record<string, unknown> {
  return {
    name,
    match,
    route: action,
    request_headers_to_add: [{ header: { key: 'x-to', value: name } }],
  };
}

function answer(status: number, body?: string): object {
  return { status, ...(body === undefined ? {} : { body: { inline_string: body } }) };
}

const get = (path: string, headers: readonly string[] = []): ReturnType<typeof request> =>
  request(`GET ${path}${headers.length > 0 ? ` with ${headers.join(', ')}` : ''}`, http(`GET ${path}`, headers));

const vhost = (name: string, domains: readonly string[], more: object = {}): Record<string, unknown> => ({
  name,
  domains,
  routes: [named(name, { prefix: '/' })],
  ...more,
});

suite(
  'virtual hosts',
  {
    config: httpProxy({
      log: LOG,
      virtualHosts: [
        vhost('exact', ['exact.example', 'with.port:8080']),
        vhost('suffix', ['*.example.com']),
        vhost('longer suffix', ['*.sub.example.com']),
        vhost('dash suffix', ['*-bar.foo.com']),
        vhost('prefix', ['www.*']),
        vhost('longer prefix', ['www.foo.*']),
        vhost('tls only', ['tls.example'], { require_tls: 'ALL' }),
        vhost('external tls only', ['etls.example'], { require_tls: 'EXTERNAL_ONLY' }),
        { name: 'empty', domains: ['empty.example'] },
      ],
    }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    'exact.example',
    'EXACT.Example',
    'exact.example:80',
    'with.port:8080',
    'with.port',
    'a.example.com',
    'example.com',
    '.example.com',
    'a.sub.example.com',
    'x-bar.foo.com',
    '-bar.foo.com',
    'www.anything',
    'www.foo.org',
    'www.',
    'www.example.com',
    'nobody.org',
    'tls.example',
    'tls.example:8080',
    'etls.example',
    'empty.example',
  ].map((host) => request(`host ${host}`, http('GET /p?q=1', [`host: ${host}`]))),
);

suite(
  'route matches',
  {
    config: httpProxy({
      log: LOG,
      routes: [
        named('path', { path: '/exact' }),
        named('path-nocase', { path: '/NoCase', case_sensitive: false }),
        named('prefix-slash', { prefix: '/dir/' }),
        named('prefix', { prefix: '/pre' }),
        named('separated', { path_separated_prefix: '/sep' }),
        named('regex', { safe_regex: { regex: '/r/[0-9]+' } }),
        named('template', {
          path_match_policy: {
            name: 'envoy.path.match.uri_template.uri_template_matcher',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
              path_template: '/t/{a}/x/{b=**}',
            },
          },
        }),
        named('header-exact', { prefix: '/h', headers: [{ name: 'x-h', string_match: { exact: 'v' } }] }),
        named('header-prefix', { prefix: '/h', headers: [{ name: 'x-h', string_match: { prefix: 'pre' } }] }),
        named('header-suffix', {
          prefix: '/h',
          headers: [{ name: 'x-h', string_match: { suffix: 'SUF', ignore_case: true } }],
        }),
        named('header-contains', { prefix: '/h', headers: [{ name: 'x-h', string_match: { contains: 'mid' } }] }),
        named('header-regex', {
          prefix: '/h',
          headers: [{ name: 'x-h', string_match: { safe_regex: { regex: 'a+b' } } }],
        }),
        named('header-range', { prefix: '/h', headers: [{ name: 'x-n', range_match: { start: -5, end: 10 } }] }),
        named('header-present', { prefix: '/h', headers: [{ name: 'x-p', present_match: true }] }),
        named('header-absent', { prefix: '/h/absent', headers: [{ name: 'x-a', present_match: false }] }),
        named('header-inverted', {
          prefix: '/h/inv',
          headers: [{ name: 'x-i', string_match: { exact: 'v' }, invert_match: true }],
        }),
        named('header-missing-as-empty', {
          prefix: '/h/empty',
          headers: [{ name: 'x-e', string_match: { exact: '' }, treat_missing_header_as_empty: true }],
        }),
        named('method', { prefix: '/m', headers: [{ name: ':method', string_match: { exact: 'POST' } }] }),
        named('authority', { prefix: '/m', headers: [{ name: ':authority', string_match: { exact: 'special' } }] }),
        named('query-exact', { prefix: '/q', query_parameters: [{ name: 'a', string_match: { exact: '1' } }] }),
        named('query-present', { prefix: '/q', query_parameters: [{ name: 'b', present_match: true }] }),
        named('query-regex', {
          prefix: '/q',
          query_parameters: [{ name: 'c', string_match: { safe_regex: { regex: '[0-9]+' } } }],
        }),
        named('cookie', { prefix: '/c', cookies: [{ name: 'session', string_match: { exact: 'abc' } }] }),
        named('grpc', { prefix: '/g', grpc: {} }),
        named('never', { prefix: '/f', runtime_fraction: { default_value: { numerator: 0, denominator: 'HUNDRED' } } }),
        named('always', {
          prefix: '/f',
          runtime_fraction: { default_value: { numerator: 100, denominator: 'HUNDRED' } },
        }),
      ],
    }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    ...[
      '/exact',
      '/exact?q=1',
      '/exact/',
      '/EXACT',
      '/nocase',
      '/NOCASE?x',
      '/dir/a',
      '/dir',
      '/pre',
      '/prefix',
      '/sep',
      '/sep/',
      '/sep/x',
      '/separated',
      '/sep?x',
      '/r/123',
      '/r/123/more',
      '/r/123?q=/r/9',
      '/r/',
      '/t/1/x/2/3',
      '/t/1/y/2',
      '/t//x/2',
      '/h',
      '/h/absent',
      '/h/inv',
      '/h/empty',
      '/q?a=1',
      '/q?a=2',
      '/q?a=1&a=2',
      '/q?a=2&a=1',
      '/q?b',
      '/q?b=',
      '/q?bb=1',
      '/q?c=12',
      '/q?c=12x',
      '/q?%61=1',
      '/q?a=%31',
      '/q?a=1#f',
      '/f',
      '/m',
      '/nothing/at/all',
      '/',
    ].map((path) => get(path)),
    get('/h', ['x-h: v']),
    get('/h', ['x-h: v', 'x-h: w']),
    get('/h', ['x-h: V']),
    get('/h', ['x-h: prefix']),
    get('/h', ['x-h: some-suf']),
    get('/h', ['x-h: amidst']),
    get('/h', ['x-h: aab']),
    get('/h', ['x-h: aabb']),
    get('/h', ['x-n: -5']),
    get('/h', ['x-n: 10']),
    get('/h', ['x-n: 9.5']),
    get('/h', ['x-p: ']),
    get('/h/absent', ['x-a: 1']),
    get('/h/inv', ['x-i: v']),
    get('/h/inv', ['x-i: w']),
    get('/h/empty', ['x-e: full']),
    request('POST /m', http('POST /m', ['content-length: 0'])),
    get('/m', ['host: special']),
    get('/c', ['cookie: session=abc']),
    get('/c', ['cookie: a=b; session=abc; c=d']),
    get('/c', ['cookie: session="abc"']),
    get('/c', ['cookie: xsession=abc']),
    get('/g', ['content-type: application/grpc']),
    get('/g', ['content-type: application/grpc+proto']),
    get('/g', ['content-type: application/grpcx']),
  ],
);

suite(
  'route actions',
  {
    config: httpProxy(
      {
        log: LOG,
        routes: [
          named('prefix-rewrite', { prefix: '/pr/' }, { cluster: 'u1', prefix_rewrite: '/new/' }),
          named('prefix-rewrite-path', { path: '/exactly' }, { cluster: 'u1', prefix_rewrite: '/other' }),
          named('prefix-rewrite-root', { prefix: '/strip' }, { cluster: 'u1', prefix_rewrite: '/' }),
          named(
            'regex-rewrite',
            { prefix: '/rx/' },
            { cluster: 'u1', regex_rewrite: { pattern: { regex: '^/rx/([^/]+)(/.*)$' }, substitution: '\\2/of/\\1' } },
          ),
          named(
            'host-literal',
            { prefix: '/hl' },
            { cluster: 'u1', host_rewrite_literal: 'rewritten.example', append_x_forwarded_host: true },
          ),
          named('host-header', { prefix: '/hh' }, { cluster: 'u1', host_rewrite_header: 'x-host' }),
          named(
            'host-regex',
            { prefix: '/hr' },
            { cluster: 'u1', host_rewrite_path_regex: { pattern: { regex: '^/hr/(.+)$' }, substitution: '\\1' } },
          ),
          named('auto-host', { prefix: '/auto' }, { cluster: 'u1', auto_host_rewrite: true }),
          named('cluster-header', { prefix: '/ch' }, { cluster_header: 'x-cluster' }),
          named(
            'no-cluster-503',
            { prefix: '/nc5' },
            { cluster_header: 'x-none', cluster_not_found_response_code: 'SERVICE_UNAVAILABLE' },
          ),
          named(
            'no-cluster-404',
            { prefix: '/nc4' },
            { cluster_header: 'x-none', cluster_not_found_response_code: 'NOT_FOUND' },
          ),
          named(
            'no-cluster-500',
            { prefix: '/nc0' },
            { cluster_header: 'x-none', cluster_not_found_response_code: 'INTERNAL_SERVER_ERROR' },
          ),
          named(
            'weighted',
            { prefix: '/w' },
            {
              weighted_clusters: {
                clusters: [
                  { name: 'u1', weight: 0 },
                  {
                    name: 'u2',
                    weight: 5,
                    request_headers_to_add: [{ header: { key: 'x-w', value: 'u2' } }],
                    response_headers_to_remove: ['x-gone'],
                  },
                ],
              },
            },
          ),
          { name: 'redirect-host', match: { prefix: '/red/host' }, redirect: { host_redirect: 'new.example' } },
          {
            name: 'redirect-path',
            match: { prefix: '/red/path' },
            redirect: { path_redirect: '/there', strip_query: true },
          },
          { name: 'redirect-path-query', match: { prefix: '/red/query' }, redirect: { path_redirect: '/there?x=1' } },
          {
            name: 'redirect-prefix',
            match: { prefix: '/red/prefix' },
            redirect: { prefix_rewrite: '/p2', response_code: 'FOUND' },
          },
          {
            name: 'redirect-https',
            match: { prefix: '/red/https' },
            redirect: { https_redirect: true, response_code: 'TEMPORARY_REDIRECT' },
          },
          {
            name: 'redirect-scheme',
            match: { prefix: '/red/scheme' },
            redirect: { scheme_redirect: 'ftp', port_redirect: 21, response_code: 'PERMANENT_REDIRECT' },
          },
          {
            name: 'redirect-port',
            match: { prefix: '/red/port' },
            redirect: { port_redirect: 8443, response_code: 'SEE_OTHER' },
          },
          {
            name: 'redirect-regex',
            match: { prefix: '/red/regex' },
            redirect: { regex_rewrite: { pattern: { regex: '/red/regex/(.*)' }, substitution: '/\\1/gone' } },
          },
          { name: 'direct', match: { prefix: '/d/200' }, direct_response: answer(200, 'hello') },
          { name: 'direct-empty', match: { prefix: '/d/404' }, direct_response: answer(404) },
          { name: 'direct-204', match: { prefix: '/d/204' }, direct_response: answer(204) },
          { name: 'direct-599', match: { prefix: '/d/599' }, direct_response: answer(599, 'odd') },
          {
            name: 'direct-headers',
            match: { prefix: '/d/h' },
            direct_response: answer(200, '{}'),
            response_headers_to_add: [
              {
                header: { key: 'content-type', value: 'application/json' },
                append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
              },
            ],
          },
          {
            name: 'direct-file',
            match: { prefix: '/d/file' },
            direct_response: { status: 200, body: { filename: '{{tmp}}/body.txt' } },
          },
          { name: 'nonforwarding', match: { prefix: '/nf' }, non_forwarding_action: {} },
          to('u1'),
        ],
      },
      [cluster('u1'), cluster('u2')],
    ),
    prepare: async (tmp) => {
      await Bun.write(`${tmp}/body.txt`, 'from a file\n');
    },
    upstreams: { u1: upstream, u2: httpUpstream((seen) => reply(200, `u2 ${seen.path}`, ['x-gone: 1', 'x-here: 2'])) },
    stats,
    log: 'access.log',
  },
  [
    ...[
      '/pr/a/b?c=d',
      '/pr/',
      '/exactly?q',
      '/strip/me',
      '/strip',
      '/stripped',
      '/strip?q=1',
      '/rx/one/two/three?q=/rx/a/b',
      '/rx/nothing',
      '/hl',
      '/hh',
      '/hr/from-path?q=1',
      '/auto',
      '/ch',
      '/nc5',
      '/nc4',
      '/nc0',
      '/w',
      '/red/host/x?q=1',
      '/red/path/x?q=1',
      '/red/query/x?q=1',
      '/red/prefix/x?q=1',
      '/red/https/x?q=1',
      '/red/scheme/x',
      '/red/port/x',
      '/red/regex/abc?q=1',
      '/d/200',
      '/d/404',
      '/d/204',
      '/d/599',
      '/d/h',
      '/d/file',
    ].map((path) => get(path)),
    get('/hh', ['x-host: picked.example']),
    get('/ch', ['x-cluster: u2']),
    get('/ch', ['x-cluster: missing']),
    get('/nc4', ['x-none: missing']),
    get('/nc0', ['x-none: missing']),
    get('/nc5', ['x-none: missing']),
    get('/red/host/x', ['host: old.example:8080']),
    get('/red/https/x', ['host: old.example:80']),
    get('/red/https/x', ['host: old.example:8080']),
    get('/red/https/x', ['x-forwarded-proto: https']),
    get('/red/port/x', ['host: [::1]:99']),
    get('/red/port/x', ['host: old.example:1']),
    request('HEAD of a direct response', http('HEAD /d/200')),
    request('HEAD of a redirect', http('HEAD /red/path')),
    request('POST with a body to a direct response', http('POST /d/200', ['content-length: 3'], 'abc')),
    request('a body that is still coming, to a direct response', http('POST /d/200', ['content-length: 30'], 'abc'), {
      close: true,
      clientFate: false,
    }),
    request('a direct response in a pipeline', http('GET /d/200') + http('GET /pr/x') + http('GET /d/404'), {
      responses: 3,
    }),
  ],
);

const strict = httpProxy({
  log: LOG,
  hcm: {
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD',
  },
  routes: [named('admin', { prefix: '/admin' }), named('rest', { prefix: '/' })],
});

const PATHS = [
  '/a/./b',
  '/a/../admin',
  '/a/b/../../admin/x',
  '/../../x',
  '/a//b///c',
  '//admin',
  '/a%2fb',
  '/a%2Fb%5cc',
  '/%61dmin',
  '/a%2e%2e/b',
  '/a/%2e%2e/admin',
  '/a/..%2fadmin',
  '/%7euser/%7Efoo',
  '/a%zz',
  '/a%',
  '/a%0',
  '/a%00b',
  '/a?b=/../c',
  '/a/..',
  '/a/.',
  '/.',
  '/..',
  '/a/...',
  '/a;b/../c',
  '/a\\b\\..\\c',
  '/a#/../b',
  '/%E4%BD%A0',
];

suite(
  'path normalisation',
  { config: strict, upstreams: { u1: upstream }, stats, log: 'access.log' },
  PATHS.map((path) => get(path)),
);

suite(
  'escaped slashes',
  {
    config: {
      static_resources: {
        listeners: ['KEEP_UNCHANGED', 'REJECT_REQUEST', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD'].map((action) =>
          listenerFor(action),
        ),
        clusters: [cluster('u1')],
      },
    },
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  ['KEEP_UNCHANGED', 'REJECT_REQUEST', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD'].flatMap((action) =>
    ['/a%2fb/../c?x=%2f', '/a%5Cb', '/a//b', '/plain'].map((path) =>
      request(`${action} ${path}`, http(`GET ${path}`), { listener: action }),
    ),
  ),
);

function listenerFor(action: string): unknown {
  const log = '%REQ(:PATH)% %RESPONSE_CODE_DETAILS%';
  const config = httpProxy({ name: action, log, hcm: { path_with_escaped_slashes_action: action } }) as {
    static_resources: { listeners: unknown[] };
  };
  return config.static_resources.listeners[0];
}
