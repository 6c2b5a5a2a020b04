/** Header mutations at four levels, and the values that format strings give. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpProxy, to } from './configs.ts';
import { request, suite } from './harness.ts';

const add = (key: string, value: string, append_action?: string, more: object = {}): object => ({
  header: { key, value },
  ...(append_action === undefined ? {} : { append_action }),
  ...more,
});

const upstream = httpUpstream((seen) =>
  reply(200, seen.path, [
    'x-up: from-upstream',
    'x-remove: 1',
    'x-dup: 1',
    'X-Dup: 2',
    'x-b-1: v',
    'server: upstream/1.0',
  ]),
);

const ACTIONS = ['APPEND_IF_EXISTS_OR_ADD', 'ADD_IF_ABSENT', 'OVERWRITE_IF_EXISTS_OR_ADD', 'OVERWRITE_IF_EXISTS'];

const levels = (level: string): Fields => ({
  request_headers_to_add: [
    add('x-order', level),
    add(`x-${level}`, 'req'),
    add('x-over', level, 'OVERWRITE_IF_EXISTS_OR_ADD'),
  ],
  request_headers_to_remove: [`x-remove-${level}`],
  response_headers_to_add: [
    add('x-order', level),
    add(`x-${level}`, 'resp'),
    add('x-over', level, 'OVERWRITE_IF_EXISTS_OR_ADD'),
  ],
  response_headers_to_remove: [`x-b-${level}`, 'x-remove'],
});

const fourLevels = (wins: boolean): object =>
  httpProxy({
    routeConfig: { ...levels('config'), most_specific_header_mutations_wins: wins },
    virtualHosts: [
      {
        name: 'v',
        domains: ['*'],
        ...levels('vhost'),
        routes: [
          {
            match: { prefix: '/w' },
            route: { weighted_clusters: { clusters: [{ name: 'u1', weight: 1, ...levels('weighted') }] } },
            ...levels('route'),
          },
          { match: { prefix: '/d' }, direct_response: { status: 200 }, ...levels('route') },
          { match: { prefix: '/r' }, redirect: { host_redirect: 'other' }, ...levels('route') },
          to('u1', '/', {}, levels('route')),
        ],
      },
    ],
  });

for (const wins of [false, true]) {
  suite(
    `four levels, most specific ${wins ? 'wins' : 'first'}`,
    { config: fourLevels(wins), upstreams: { u1: upstream } },
    [
      request(
        'a route',
        http('GET /a', ['x-over: client', 'x-remove-route: 1', 'x-remove-vhost: 1', 'x-remove-config: 1']),
      ),
      request('a weighted cluster', http('GET /w', ['x-over: client', 'x-remove-weighted: 1'])),
      request('a direct response', http('GET /d')),
      request('a redirect', http('GET /r')),
    ],
  );
}

suite(
  'append actions',
  {
    config: httpProxy({
      routes: [
        ...ACTIONS.map((action) =>
          to(
            'u1',
            `/${action}`,
            {},
            {
              request_headers_to_add: [add('x-there', 'new', action), add('x-not-there', 'new', action)],
              response_headers_to_add: [
                add('x-up', 'new', action),
                add('x-dup', 'new', action),
                add('x-nowhere', 'new', action),
              ],
            },
          ),
        ),
        to(
          'u1',
          '/empty',
          {},
          {
            request_headers_to_add: [
              add('x-kept', '', undefined, { keep_empty_value: true }),
              add('x-dropped', ''),
              add('x-dropped-too', '%REQ(x-none)%'),
            ],
          },
        ),
        to(
          'u1',
          '/legacy',
          {},
          {
            request_headers_to_add: [{ header: { key: 'x-there', value: 'new' }, append: false }],
            response_headers_to_add: [{ header: { key: 'x-up', value: 'new' }, append: true }],
          },
        ),
        to('u1', '/case', {}, { request_headers_to_add: [add('X-CaSe', 'V')], response_headers_to_remove: ['X-Up'] }),
      ].map((route) => route),
    }),
    upstreams: { u1: upstream },
  },
  [
    ...ACTIONS.map((action) => request(action, http(`GET /${action}`, ['x-there: old']))),
    request('empty values', http('GET /empty')),
    request('the old append field', http('GET /legacy', ['x-there: old'])),
    request('upper case in the configuration', http('GET /case')),
  ],
);

const FORMATS = [
  '%REQ(X-A)%',
  '%REQ(X-A?X-B)%',
  '%REQ(X-NONE?X-B)%',
  '%REQ(X-NONE):5%',
  '%REQ(X-LONG):5%',
  '%REQ(:PATH)%',
  '%REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:SCHEME)%',
  '%PROTOCOL%',
  '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
  '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%',
  '%DOWNSTREAM_LOCAL_ADDRESS%',
  '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%',
  '%DOWNSTREAM_REMOTE_ADDRESS%',
  '%UPSTREAM_CLUSTER%',
  '%UPSTREAM_CLUSTER_RAW%',
  '%UPSTREAM_HOST%',
  '%UPSTREAM_REMOTE_ADDRESS%',
  '%ROUTE_NAME%',
  '%VIRTUAL_CLUSTER_NAME%',
  '%RESPONSE_CODE%',
  '%RESPONSE_FLAGS%',
  '%RESPONSE_CODE_DETAILS%',
  '%RESP(X-UP)%',
  '%REQUESTED_SERVER_NAME%',
  '%HOSTNAME%',
  '100%% sure',
  'plain',
  '%ENVIRONMENT(NUNCIO_TEST)%',
  '%ENVIRONMENT(NUNCIO_NONE)%',
  '%DYNAMIC_METADATA(a:b)%',
  '%FILTER_STATE(none)%',
  '%START_TIME(%Y)%',
  '%DOWNSTREAM_PEER_SUBJECT%',
  '%CONNECTION_TERMINATION_DETAILS%',
  '%QUERY_PARAM(q)%',
  '%QUERY_PARAM(q):1%',
  '%PATH(NQ)%',
  '%PATH(WQ:ORIG)%',
  '%COALESCE({"operators": ["REQUESTED_SERVER_NAME", {"command": "REQ", "param": "x-a"}]})%',
  '%LISTENER_NAME%',
  '%FILTER_CHAIN_NAME%',
  '%STREAM_ID%',
  '%ACCESS_LOG_TYPE%',
];

suite(
  'format strings in headers',
  {
    config: httpProxy({
      routes: [
        {
          ...to(
            'u1',
            '/',
            {},
            {
              request_headers_to_add: FORMATS.map((format, index) => add(`x-f${index}`, format)),
              response_headers_to_add: FORMATS.map((format, index) => add(`x-f${index}`, format)),
            },
          ),
          name: 'the-route',
        },
      ],
    }),
    upstreams: { u1: upstream },
    env: { NUNCIO_TEST: 'from the environment' },
  },
  [
    request('with everything there', http('GET /p/a?q=query&r=2', ['x-a: A', 'x-b: B', 'x-long: longer than five'])),
    request('with little there', http('GET /')),
  ],
);

suite(
  'x-forwarded and friends, not at the edge',
  { config: httpProxy({ hcm: { xff_num_trusted_hops: 0 } }), upstreams: { u1: upstream } },
  [
    request('none sent', http('GET /')),
    request('x-forwarded-for kept', http('GET /', ['x-forwarded-for: 1.2.3.4'])),
    request('x-forwarded-for of an internal address', http('GET /', ['x-forwarded-for: 10.0.0.1'])),
    request('x-forwarded-proto kept', http('GET /', ['x-forwarded-proto: https'])),
    request('x-forwarded-proto of rubbish', http('GET /', ['x-forwarded-proto: gopher'])),
    request(
      'x-envoy headers of an external client',
      http('GET /', [
        'x-forwarded-for: 1.2.3.4',
        'x-envoy-retry-on: 5xx',
        'x-envoy-upstream-rq-timeout-ms: 50',
        'x-envoy-internal: true',
      ]),
    ),
    request('x-request-id of the client', http('GET /', ['x-request-id: mine'])),
    request('x-envoy-internal from the client', http('GET /', ['x-envoy-internal: true'])),
    request('x-envoy-expected-rq-timeout-ms from the client', http('GET /', ['x-envoy-expected-rq-timeout-ms: 7'])),
    request(
      'x-envoy-original-path from the client',
      http('GET /', ['x-envoy-original-path: /x', 'x-envoy-original-host: y']),
    ),
    request('server header of the upstream is overwritten', http('GET /')),
  ],
);

const EDGE_HEADERS = [
  [],
  ['x-forwarded-for: 1.2.3.4'],
  ['x-forwarded-for: 1.2.3.4, 10.0.0.1'],
  ['x-forwarded-for: rubbish'],
  ['x-forwarded-proto: https'],
  ['x-forwarded-host: x', 'x-forwarded-port: 99'],
  ['x-envoy-external-address: 9.9.9.9'],
  ['x-envoy-internal: true'],
  ['x-request-id: mine'],
  ['x-envoy-retry-on: 5xx', 'x-envoy-max-retries: 3', 'x-envoy-upstream-rq-timeout-ms: 900'],
  ['x-envoy-decorator-operation: op', 'x-envoy-downstream-service-cluster: c', 'x-envoy-downstream-service-node: n'],
  ['x-forwarded-client-cert: By=x'],
];

const edges: Readonly<Record<string, Fields>> = {
  edge: { use_remote_address: true, internal_address_config: { cidr_ranges: [] } },
  'edge, loopback is internal': {
    use_remote_address: true,
    internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] },
  },
  'edge with one trusted hop': {
    use_remote_address: true,
    xff_num_trusted_hops: 1,
    internal_address_config: { cidr_ranges: [] },
  },
  'edge that skips xff': {
    use_remote_address: true,
    skip_xff_append: true,
    internal_address_config: { cidr_ranges: [] },
  },
  'inside with one trusted hop': { xff_num_trusted_hops: 1 },
  'edge with request id kept': {
    use_remote_address: true,
    preserve_external_request_id: true,
    always_set_request_id_in_response: true,
    internal_address_config: { cidr_ranges: [] },
  },
  'no request id': { generate_request_id: false },
  'with port, via and agent': {
    use_remote_address: true,
    append_x_forwarded_port: true,
    via: 'nuncio',
    add_user_agent: true,
    internal_address_config: { cidr_ranges: [] },
  },
};

for (const [name, hcm] of Object.entries(edges)) {
  suite(
    `addresses: ${name}`,
    {
      config: httpProxy({
        hcm,
        log: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%',
      }),
      upstreams: { u1: upstream },
      log: 'access.log',
    },
    EDGE_HEADERS.map((headers) =>
      request(headers.length === 0 ? 'nothing sent' : headers.join(', '), http('GET /', headers)),
    ),
  );
}

suite(
  'x-envoy headers suppressed',
  {
    config: httpProxy({
      router: { suppress_envoy_headers: true },
      routes: [to('u1', '/', { prefix_rewrite: '/new', timeout: '2s' }, { response_headers_to_add: [] })],
    }),
    upstreams: { u1: upstream },
  },
  [
    request('a GET', http('GET /old')),
    request('with x-envoy headers', http('GET /old', ['x-envoy-max-retries: 1', 'x-envoy-original-path: /x'])),
  ],
);

suite(
  'attempt counts',
  {
    config: httpProxy(
      {
        virtualHosts: [
          {
            name: 'v',
            domains: ['*'],
            include_request_attempt_count: true,
            include_attempt_count_in_response: true,
            routes: [to('u1'), { match: { prefix: '/d' }, direct_response: { status: 200 } }],
          },
        ],
      },
      [cluster('u1')],
    ),
    upstreams: { u1: upstream },
  },
  [
    request('one attempt', http('GET /')),
    request('a client that lies', http('GET /', ['x-envoy-attempt-count: 9'])),
    request('a direct response', http('GET /d')),
  ],
);

suite(
  'the count of attempts in the response, and what routes do to headers',
  {
    config: httpProxy({
      virtualHosts: [
        {
          name: 'all',
          domains: ['*'],
          include_attempt_count_in_response: true,
          response_headers_to_remove: ['x-envoy-attempt-count'],
          response_headers_to_add: [{ header: { key: 'x-seen', value: '[%RESP(x-envoy-attempt-count)%]' } }],
          routes: [{ match: { prefix: '/local' }, direct_response: { status: 200 } }, to('u1')],
        },
      ],
    }),
    upstreams: { u1: httpUpstream(() => reply(200, 'x', ['x-envoy-attempt-count: 7'])) },
  },
  [request('of the upstream', http('GET /')), request('of our own', http('GET /local'))],
);
