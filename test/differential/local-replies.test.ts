/** What the proxy says by itself, and `local_reply_config`. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpProxy, to } from './configs.ts';
import { type Case, request, suite } from './harness.ts';

const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %LOCAL_REPLY_BODY%';

const upstream = httpUpstream((seen, connection) => {
  if (seen.path === '/reset') {
    connection.reset();
    return undefined;
  }
  if (seen.path === '/503') return reply(503, 'from the upstream');
  return reply(200, 'fine');
});

const routes: readonly Fields[] = [
  to('refused', '/refused'),
  to('missing', '/missing'),
  { match: { prefix: '/direct' }, direct_response: { status: 403, body: { inline_string: 'go away' } } },
  { match: { path: '/created' }, direct_response: { status: 201, body: { inline_string: 'made' } } },
  { match: { path: '/bytes' }, direct_response: { status: 200, body: { inline_bytes: '//79' } } },
  { match: { path: '/text' }, direct_response: { status: 200, body: { inline_string: 'Grüße' } } },
  { match: { path: '/moved' }, direct_response: { status: 302 } },
  { match: { path: '/unchanged' }, direct_response: { status: 304 } },
  { match: { prefix: '/redirect' }, redirect: { host_redirect: 'x' } },
  { match: { path: '/reset' }, route: { cluster: 'u1' } },
  { match: { path: '/503' }, route: { cluster: 'u1' } },
  to('u1', '/upstream'),
];

const clusters = [cluster('u1'), cluster('refused', ['{{refused}}'])];

const cases: readonly Case[] = [
  ...[
    '/refused',
    '/direct',
    '/created?a=b',
    '/bytes',
    '/text',
    '/moved',
    '/unchanged',
    '/redirect',
    '/reset',
    '/503',
    '/upstream',
    '/no-route',
  ].map((path) => request(`GET ${path}`, http(`GET ${path}`))),
  request('HEAD /refused', http('HEAD /refused')),
  request('HEAD /no-route', http('HEAD /no-route')),
  request('gRPC to a refused host', http('POST /refused', ['content-type: application/grpc', 'content-length: 0'])),
  request('gRPC without a route', http('POST /no-route', ['content-type: application/grpc', 'content-length: 0'])),
  request(
    'gRPC to a direct response',
    http('POST /direct', ['content-type: application/grpc+proto', 'content-length: 0']),
  ),
  request('rubbish', 'rubbish\r\n\r\n', { close: true }),
  request('a request without a host', 'GET /x HTTP/1.1\r\n\r\n', { close: true }),
  request(
    'a request with too many headers',
    http(
      'GET /x',
      Array.from({ length: 101 }, (_, i) => `x-${i}: v`),
    ),
    { close: true },
  ),
];

const validClusters = (route: Fields): boolean => JSON.stringify(route).includes('"missing"') === false;

const configurations: Readonly<Record<string, Fields>> = {
  none: {},
  'a body for all': {
    local_reply_config: {
      body_format: { text_format_source: { inline_string: '%RESPONSE_CODE% %LOCAL_REPLY_BODY% %REQ(:path)%\n' } },
    },
  },
  'JSON for all': {
    local_reply_config: {
      body_format: {
        json_format: {
          code: '%RESPONSE_CODE%',
          message: '%LOCAL_REPLY_BODY%',
          path: '%REQ(:path)%',
          nested: { flags: '%RESPONSE_FLAGS%', list: ['a', '%PROTOCOL%'] },
        },
      },
    },
  },
  'a content type': {
    local_reply_config: {
      body_format: {
        text_format_source: { inline_string: '<h1>%LOCAL_REPLY_BODY%</h1>' },
        content_type: 'text/html; charset=UTF-8',
      },
    },
  },
  mappers: {
    local_reply_config: {
      mappers: [
        {
          filter: {
            status_code_filter: { comparison: { op: 'EQ', value: { default_value: 503, runtime_key: 'none' } } },
          },
          status_code: 599,
          body: { inline_string: 'mapped to 599' },
          headers_to_add: [{ header: { key: 'x-mapped', value: '%RESPONSE_CODE%' } }],
        },
        {
          filter: { response_flag_filter: { flags: ['NR'] } },
          status_code: 410,
          body_format_override: { json_format: { was: '%LOCAL_REPLY_BODY%', code: '%RESPONSE_CODE%' } },
        },
        {
          filter: { header_filter: { header: { name: ':path', string_match: { prefix: '/direct' } } } },
          body: { inline_string: 'other words' },
          headers_to_add: [
            { header: { key: 'content-type', value: 'text/x-own' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
          ],
        },
      ],
      body_format: { text_format_source: { inline_string: '[%LOCAL_REPLY_BODY%]' } },
    },
  },
};

for (const [name, hcm] of Object.entries(configurations)) {
  suite(
    `local replies: ${name}`,
    {
      config: httpProxy({ hcm, routes: routes.filter(validClusters), log: LOG }, clusters),
      upstreams: { u1: upstream },
      stats: [
        'http.ingress.downstream_rq',
        'http.ingress.no_',
        'cluster.u1.upstream_rq',
        'cluster.refused.upstream_rq',
      ],
      log: 'access.log',
    },
    cases,
  );
}

suite(
  'clusters that do not exist',
  {
    config: httpProxy({ routes, routeConfig: { validate_clusters: false }, log: LOG }, clusters),
    upstreams: { u1: upstream },
    stats: ['http.ingress.'],
    log: 'access.log',
  },
  [
    request('a route to none', http('GET /missing')),
    request('gRPC to none', http('POST /missing', ['content-type: application/grpc', 'content-length: 0'])),
  ],
);
