/** The HTTP filters: buffer, fault, header_mutation, cors, local_ratelimit, health_check, and their per-route settings. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpFilter, httpProxy, inside, to, trusting, typed } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const upstream = httpUpstream((seen) =>
  reply(
    200,
    `[${seen.body}]`,
    seen.path === '/degraded' ? ['x-envoy-degraded: true'] : ['x-up: 1', 'x-multi: a', 'x-multi: b'],
  ),
);

const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%';
const stats = [
  'http.ingress.downstream_rq',
  'http.ingress.fault.',
  'http.ingress.cors.',
  'http.ingress.buffer.',
  'rl.',
  'http_local_rate_limiter',
  'http.ingress.rq_direct',
  /^.*\.http_local_rate_limit\./,
  'cluster.u1.upstream_rq_total',
  'vhost.',
];

const perRoute = (name: string, message: string, fields: Fields): Fields => ({
  typed_per_filter_config: {
    [`envoy.filters.http.${name}`]: typed(`envoy.extensions.filters.http.${name}.v3.${message}`, fields),
  },
});

const disabled = (name: string): Fields => ({
  typed_per_filter_config: {
    [`envoy.filters.http.${name}`]: typed('envoy.config.route.v3.FilterConfig', { disabled: true }),
  },
});

suite(
  'buffer',
  {
    config: httpProxy({
      log: LOG,
      filters: [httpFilter('buffer', 'Buffer', { max_request_bytes: 10 })],
      routes: [
        to('u1', '/off', {}, perRoute('buffer', 'BufferPerRoute', { disabled: true })),
        to('u1', '/big', {}, perRoute('buffer', 'BufferPerRoute', { buffer: { max_request_bytes: 20 } })),
        to('u1'),
      ],
    }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    request('a small body', http('POST /', ['content-length: 5'], 'hello')),
    request('a small body in pieces', [http('POST /', ['content-length: 5'], 'he'), 'l', 'lo']),
    request(
      'a chunked body gets a length',
      http('POST /', ['transfer-encoding: chunked'], '3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'),
    ),
    request('a body that is too big', http('POST /', ['content-length: 11'], 'hello world')),
    request(
      'a chunked body that is too big',
      http('POST /', ['transfer-encoding: chunked'], 'b\r\nhello world\r\n0\r\n\r\n'),
      { clientFate: false },
    ),
    request('a bigger limit on the route', http('POST /big', ['content-length: 11'], 'hello world')),
    request('turned off on the route', http('POST /off', ['content-length: 11'], 'hello world')),
    request('no body', http('GET /')),
    request('a body of exactly the limit', http('POST /', ['content-length: 10'], '0123456789')),
  ],
);

const always = { numerator: 100, denominator: 'HUNDRED' };

suite(
  'fault',
  {
    config: httpProxy({
      log: LOG,
      hcm: trusting,
      filters: [
        httpFilter('fault', 'HTTPFault', {
          headers: [{ name: 'x-never', present_match: true }],
          abort: { http_status: 500, percentage: always },
        }),
      ],
      routes: [
        to('u1', '/abort', {}, perRoute('fault', 'HTTPFault', { abort: { http_status: 418, percentage: always } })),
        to('u1', '/grpc', {}, perRoute('fault', 'HTTPFault', { abort: { grpc_status: 14, percentage: always } })),
        to('u1', '/delay', {}, perRoute('fault', 'HTTPFault', { delay: { fixed_delay: '0.05s', percentage: always } })),
        to(
          'u1',
          '/both',
          {},
          perRoute('fault', 'HTTPFault', {
            delay: { fixed_delay: '0.02s', percentage: always },
            abort: { http_status: 503, percentage: always },
          }),
        ),
        to(
          'u1',
          '/never',
          {},
          perRoute('fault', 'HTTPFault', {
            abort: { http_status: 418, percentage: { numerator: 0, denominator: 'HUNDRED' } },
          }),
        ),
        to(
          'u1',
          '/header',
          {},
          perRoute('fault', 'HTTPFault', {
            abort: { header_abort: {}, percentage: always },
            delay: { header_delay: {}, percentage: always },
          }),
        ),
        to(
          'u1',
          '/cluster',
          {},
          perRoute('fault', 'HTTPFault', { abort: { http_status: 418, percentage: always }, upstream_cluster: 'u2' }),
        ),
        to(
          'u1',
          '/nodes',
          {},
          perRoute('fault', 'HTTPFault', { abort: { http_status: 418, percentage: always }, downstream_nodes: ['n1'] }),
        ),
        to('u1', '/off', {}, disabled('fault')),
        to('u1'),
      ],
    }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    request('headers do not match', http('GET /')),
    request('headers match', http('GET /', ['x-never: 1'])),
    request('an abort', http('GET /abort')),
    request('an abort of a POST', http('POST /abort', ['content-length: 3'], 'abc')),
    request('an abort as gRPC', http('POST /grpc', ['content-type: application/grpc', 'content-length: 0'])),
    request('an abort with a gRPC status, not gRPC', http('GET /grpc')),
    request('a delay', http('GET /delay')),
    request('a delay of a body', http('POST /delay', ['content-length: 3'], 'abc')),
    request('a delay, then an abort', http('GET /both')),
    request('zero percent', http('GET /never')),
    request('an abort asked for by header', inside('GET /header', ['x-envoy-fault-abort-request: 429'])),
    request('an abort asked for by a bad header', inside('GET /header', ['x-envoy-fault-abort-request: 42'])),
    request('a gRPC abort asked for by header', inside('GET /header', ['x-envoy-fault-abort-grpc-request: 5'])),
    request('a delay asked for by header', inside('GET /header', ['x-envoy-fault-delay-request: 20'])),
    request('an abort asked for from outside', http('GET /header', ['x-envoy-fault-abort-request: 429'])),
    request('another cluster', http('GET /cluster')),
    request('another node', http('GET /nodes')),
    request('the node', inside('GET /nodes', ['x-envoy-downstream-service-node: n1'])),
    request('turned off on the route', http('GET /off', ['x-never: 1'])),
    steps('a client that leaves during a delay', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('GET /delay'));
      await exchange.expect(
        'the fault',
        async () => (await exchange.stat('http.ingress.fault.active_faults')) === 1,
        500,
      );
      client.reset();
      await exchange.expectStat('http.ingress.fault.active_faults', 0);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

const mutation = (key: string, value: string, append_action: string): Fields => ({
  append: { header: { key, value }, append_action },
});

suite(
  'header mutation',
  {
    config: httpProxy({
      filters: [
        httpFilter('header_mutation', 'HeaderMutation', {
          mutations: {
            request_mutations: [
              mutation('x-a', 'filter', 'APPEND_IF_EXISTS_OR_ADD'),
              { remove: 'x-gone' },
              mutation('x-path', '%REQ(:PATH)%', 'OVERWRITE_IF_EXISTS_OR_ADD'),
            ],
            response_mutations: [
              mutation('x-up', 'filter', 'OVERWRITE_IF_EXISTS'),
              mutation('x-new', '%RESPONSE_CODE%', 'ADD_IF_ABSENT'),
              { remove: 'x-multi' },
            ],
            query_parameter_mutations: [{ append: { record: { key: 'added', value: '1' } } }, { remove: 'secret' }],
          },
        }),
      ],
      routes: [
        to(
          'u1',
          '/route',
          {},
          perRoute('header_mutation', 'HeaderMutationPerRoute', {
            mutations: {
              request_mutations: [mutation('x-a', 'route', 'APPEND_IF_EXISTS_OR_ADD')],
              response_mutations: [{ append: { header: { key: 'x-route', value: 'yes' } } }],
            },
          }),
        ),
        { match: { prefix: '/direct' }, direct_response: { status: 200 } },
        to('u1'),
      ],
    }),
    upstreams: { u1: upstream },
  },
  [
    request('the filter', http('GET /p', ['x-a: client', 'x-gone: 1'])),
    request('the filter and the route', http('GET /route', ['x-a: client'])),
    request('a local reply', http('GET /direct')),
    request('query parameters', http('GET /p?a=1&secret=2&b=3&secret=4')),
    request('query parameters, none there', http('GET /p')),
  ],
);

const corsPolicy: Fields = {
  allow_origin_string_match: [{ exact: 'https://good.example' }, { suffix: '.trusted.example' }],
  allow_methods: 'GET, POST',
  allow_headers: 'x-custom',
  expose_headers: 'x-up',
  max_age: '600',
  allow_credentials: true,
};
const preflight = (path: string, origin: string, more: readonly string[] = []): string =>
  http(`OPTIONS ${path}`, [`origin: ${origin}`, 'access-control-request-method: POST', ...more]);

suite(
  'cors',
  {
    config: httpProxy({
      log: LOG,
      filters: [httpFilter('cors', 'Cors')],
      virtualHosts: [
        {
          name: 'v',
          domains: ['*'],
          ...perRoute('cors', 'CorsPolicy', corsPolicy),
          routes: [
            to(
              'u1',
              '/any',
              {},
              perRoute('cors', 'CorsPolicy', { allow_origin_string_match: [{ safe_regex: { regex: '.*' } }] }),
            ),
            to(
              'u1',
              '/off',
              {},
              perRoute('cors', 'CorsPolicy', {
                ...corsPolicy,
                filter_enabled: { default_value: { numerator: 0, denominator: 'HUNDRED' } },
              }),
            ),
            to(
              'u1',
              '/shadow',
              {},
              perRoute('cors', 'CorsPolicy', {
                ...corsPolicy,
                filter_enabled: { default_value: { numerator: 0, denominator: 'HUNDRED' } },
                shadow_enabled: { default_value: always },
              }),
            ),
            to(
              'u1',
              '/private',
              {},
              perRoute('cors', 'CorsPolicy', { ...corsPolicy, allow_private_network_access: true }),
            ),
            to(
              'u1',
              '/strict',
              {},
              perRoute('cors', 'CorsPolicy', { ...corsPolicy, forward_not_matching_preflights: false }),
            ),
            to('u1'),
          ],
        },
      ],
    }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    request('no origin', http('GET /')),
    request('a good origin', http('GET /', ['origin: https://good.example'])),
    request('a trusted origin', http('GET /', ['origin: https://a.trusted.example'])),
    request('a bad origin', http('GET /', ['origin: https://bad.example'])),
    request('a preflight of a good origin', preflight('/', 'https://good.example')),
    request('a preflight of a bad origin', preflight('/', 'https://bad.example')),
    request('a preflight of a bad origin, strict', preflight('/strict', 'https://bad.example')),
    request('OPTIONS without a request method', http('OPTIONS /', ['origin: https://good.example'])),
    request(
      'a preflight with headers',
      preflight('/', 'https://good.example', ['access-control-request-headers: x-custom']),
    ),
    request(
      'a preflight of a private network',
      preflight('/private', 'https://good.example', ['access-control-request-private-network: true']),
    ),
    request('any origin', http('GET /any', ['origin: https://bad.example'])),
    request('a preflight of any origin', preflight('/any', 'https://bad.example')),
    request('turned off', preflight('/off', 'https://good.example')),
    request('in the shadow', http('GET /shadow', ['origin: https://good.example'])),
  ],
);

const bucket = (max_tokens: number): Fields => ({
  token_bucket: { max_tokens, tokens_per_fill: 1, fill_interval: '3600s' },
});
const enabled: Fields = { filter_enabled: { default_value: always }, filter_enforced: { default_value: always } };

suite(
  'local rate limit',
  {
    config: httpProxy({
      log: LOG,
      filters: [httpFilter('local_ratelimit', 'LocalRateLimit', { stat_prefix: 'rl' })],
      routes: [
        to(
          'u1',
          '/one',
          {},
          perRoute('local_ratelimit', 'LocalRateLimit', { stat_prefix: 'rl', ...bucket(1), ...enabled }),
        ),
        to(
          'u1',
          '/shadow',
          {},
          perRoute('local_ratelimit', 'LocalRateLimit', {
            stat_prefix: 'rl',
            ...bucket(1),
            filter_enabled: { default_value: always },
          }),
        ),
        to(
          'u1',
          '/status',
          {},
          perRoute('local_ratelimit', 'LocalRateLimit', {
            stat_prefix: 'rl',
            ...bucket(1),
            ...enabled,
            status: { code: 503 },
            response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes' } }],
            request_headers_to_add_when_not_enforced: [{ header: { key: 'x-seen', value: 'limit' } }],
          }),
        ),
        to(
          'u1',
          '/headers',
          {},
          perRoute('local_ratelimit', 'LocalRateLimit', {
            stat_prefix: 'rl',
            ...bucket(2),
            ...enabled,
            enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
          }),
        ),
        to(
          'u1',
          '/grpc',
          {},
          perRoute('local_ratelimit', 'LocalRateLimit', {
            stat_prefix: 'rl',
            ...bucket(1),
            ...enabled,
            rate_limited_as_resource_exhausted: true,
          }),
        ),
        {
          ...to(
            'u1',
            '/descriptor',
            { rate_limits: [{ actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }] }] },
            perRoute('local_ratelimit', 'LocalRateLimit', {
              stat_prefix: 'rl',
              ...bucket(10),
              ...enabled,
              descriptors: [{ entries: [{ key: 'user', value: 'bob' }], ...bucket(1) }],
            }),
          ),
        },
        to('u1'),
      ],
    }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
    rewrite: [[/^(x-ratelimit-reset: )\d+$/gm, '$1<seconds>']],
    fresh: true,
  },
  [
    request('the second is limited', http('GET /one') + http('GET /one'), { responses: 2 }),
    request('the second is counted only', http('GET /shadow') + http('GET /shadow'), { responses: 2 }),
    request('another status and headers', http('GET /status') + http('GET /status'), { responses: 2 }),
    request('x-ratelimit headers', http('GET /headers') + http('GET /headers') + http('GET /headers'), {
      responses: 3,
    }),
    request('gRPC', http('POST /grpc', ['content-type: application/grpc', 'content-length: 0']).repeat(2), {
      responses: 2,
    }),
    steps('a descriptor', async (exchange) => {
      for (const user of ['bob', 'bob', 'eve']) await exchange.request(http('GET /descriptor', [`x-user: ${user}`]));
      exchange.expectLog('access.log', 3);
    }),
    request('not configured on the route', http('GET /').repeat(2), { responses: 2 }),
  ],
);

suite(
  'health check',
  {
    config: httpProxy(
      {
        log: LOG,
        filters: [
          httpFilter('health_check', 'HealthCheck', {
            pass_through_mode: false,
            headers: [{ name: ':path', string_match: { exact: '/hc' } }],
          }),
          httpFilter('health_check', 'HealthCheck', {
            pass_through_mode: true,
            cache_time: '60s',
            headers: [{ name: ':path', string_match: { exact: '/cached' } }],
          }),
          {
            ...httpFilter('health_check', 'HealthCheck', {
              pass_through_mode: false,
              headers: [{ name: ':path', string_match: { exact: '/min' } }],
              cluster_min_healthy_percentages: { u1: { value: 50 }, none: { value: 50 } },
            }),
            name: 'min',
          },
          {
            ...httpFilter('health_check', 'HealthCheck', {
              pass_through_mode: false,
              headers: [{ name: ':path', string_match: { exact: '/min-bad' } }],
              cluster_min_healthy_percentages: { missing: { value: 50 } },
            }),
            name: 'min-bad',
          },
        ],
        routes: [to('u1')],
      },
      [cluster('u1'), { name: 'none', type: 'STATIC', load_assignment: { cluster_name: 'none' } }],
    ),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
    fresh: true,
  },
  [
    request('the check', http('GET /hc')),
    request('a HEAD of the check', http('HEAD /hc')),
    request('another path', http('GET /hc2')),
    request('a POST with a body', http('POST /hc', ['content-length: 3'], 'abc')),
    request('passed through once, then cached', http('GET /cached') + http('GET /cached'), { responses: 2 }),
    request('enough healthy hosts, and a cluster without any', http('GET /min')),
    request('a cluster that is missing', http('GET /min-bad')),
    steps('after /healthcheck/fail', async (exchange) => {
      await exchange.admin('/healthcheck/fail', { method: 'POST' });
      await exchange.request(http('GET /hc'));
      await exchange.request(http('GET /other'));
      await exchange.admin('/healthcheck/ok', { method: 'POST' });
      await exchange.request(http('GET /hc'));
      exchange.expectLog('access.log', 3);
    }),
  ],
);

suite(
  'filters that are disabled',
  {
    config: httpProxy({
      filters: [
        { ...httpFilter('fault', 'HTTPFault', { abort: { http_status: 418, percentage: always } }), disabled: true },
        { ...httpFilter('buffer', 'Buffer', { max_request_bytes: 2 }), name: 'small-buffer' },
        { name: 'not.there', is_optional: true, typed_config: typed('google.protobuf.StringValue', { value: 'x' }) },
      ].slice(0, 2) as Fields[],
      routes: [
        to(
          'u1',
          '/on',
          {},
          {
            typed_per_filter_config: {
              'envoy.filters.http.fault': typed('envoy.config.route.v3.FilterConfig', {
                config: typed('envoy.extensions.filters.http.fault.v3.HTTPFault', {
                  abort: { http_status: 419, percentage: always },
                }),
              }),
            },
          },
        ),
        to(
          'u1',
          '/no-buffer',
          {},
          {
            typed_per_filter_config: {
              'small-buffer': typed('envoy.config.route.v3.FilterConfig', { disabled: true }),
            },
          },
        ),
        to('u1'),
      ],
    }),
    upstreams: { u1: upstream },
  },
  [
    request('disabled by default', http('GET /')),
    request('enabled by the route', http('GET /on')),
    request('a filter under a name of its own', http('POST /', ['content-length: 3'], 'abc')),
    request('turned off by its own name', http('POST /no-buffer', ['content-length: 3'], 'abc')),
  ],
);
