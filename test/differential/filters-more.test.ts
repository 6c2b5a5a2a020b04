/** The HTTP filters, further: what filters.test.ts leaves out of their fields, original IP detection, early header mutation. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpFilter, httpProxy, inside, to, trusting, typed } from './configs.ts';
import { accepted, refused, request, steps, suite, validateSuite } from './harness.ts';

const upstream = httpUpstream((seen) => {
  if (seen.path === '/slow-body') return reply(200, 'x'.repeat(400));
  if (seen.path === '/degraded') return reply(200, '', ['x-envoy-degraded: true']);
  if (seen.path === '/down') return reply(503, 'no');
  return reply(200, `[${seen.body}]`, ['x-up: 1', 'X-Multi: a', 'x-multi: b', 'cache-control: no-store']);
});
const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%';
const always = { numerator: 100, denominator: 'HUNDRED' };
const never = { numerator: 0, denominator: 'HUNDRED' };

const perRoute = (name: string, message: string, fields: Fields): Fields => ({
  typed_per_filter_config: {
    [`envoy.filters.http.${name}`]: typed(`envoy.extensions.filters.http.${name}.v3.${message}`, fields),
  },
});
const fault = (fields: Fields): Fields => perRoute('fault', 'HTTPFault', fields);

suite(
  'fault, further',
  {
    config: httpProxy(
      {
        log: `${LOG} %DYNAMIC_METADATA(envoy.filters.http.fault)%`,
        hcm: trusting,
        filters: [httpFilter('fault', 'HTTPFault')],
        routes: [
          to(
            'u1',
            '/body',
            {},
            fault({ abort: { http_status: 400, percentage: always, response_body: 'on purpose' } }),
          ),
          to(
            'u1',
            '/meta',
            {},
            fault({ abort: { http_status: 400, percentage: always }, filter_metadata: { why: 'test' } }),
          ),
          to(
            'u1',
            '/meta-none',
            {},
            fault({ abort: { http_status: 400, percentage: never }, filter_metadata: { why: 'test' } }),
          ),
          to('u1', '/share', {}, fault({ abort: { header_abort: {}, percentage: { numerator: 50 } } })),
          to('u1', '/full', {}, fault({ abort: { http_status: 400, percentage: always }, max_active_faults: 0 })),
          to(
            'u1',
            '/quiet',
            {},
            fault({ abort: { http_status: 400, percentage: always }, disable_downstream_cluster_stats: true }),
          ),
          to(
            'u1',
            '/slow',
            { prefix_rewrite: '/slow-body' },
            fault({ response_rate_limit: { fixed_limit: { limit_kbps: 1 }, percentage: always } }),
          ),
          to('u1', '/rate', {}, fault({ response_rate_limit: { header_limit: {}, percentage: always } })),
          to(
            'u1',
            '/key',
            {},
            fault({
              abort: { http_status: 400, percentage: never },
              abort_percent_runtime: 'my.abort',
              abort_http_status_runtime: 'my.status',
            }),
          ),
          to('u1', '/delay-key', {}, fault({ delay: { fixed_delay: '5s', percentage: always } })),
          to('u1', '/cluster', {}, fault({ abort: { http_status: 418, percentage: always }, upstream_cluster: 'u1' })),
          to('u1', '/grpc', {}, fault({ abort: { grpc_status: 7, percentage: always, response_body: 'no é' } })),
          to('u1'),
        ],
      },
      [cluster('u1')],
      {
        layered_runtime: {
          layers: [
            {
              name: 'static',
              static_layer: {
                'my.abort': 100,
                'my.status': 444,
                'fault.http.delay.fixed_duration_ms': 10,
                'fault.http.c1.abort.http_status': 445,
              },
            },
          ],
        },
      },
    ),
    upstreams: { u1: upstream },
    stats: ['http.ingress.fault.', 'http.ingress.downstream_rq'],
    log: 'access.log',
  },
  [
    request('a body of its own', http('GET /body')),
    request('a HEAD', http('HEAD /body')),
    request('metadata', http('GET /meta')),
    request('metadata without a fault', http('GET /meta-none')),
    request('a share of nothing by header', [
      inside('GET /share', ['x-envoy-fault-abort-request: 429', 'x-envoy-fault-abort-request-percentage: 0']),
    ]),
    request('too many faults', http('GET /full')),
    request('counted by the downstream cluster', inside('GET /body', ['x-envoy-downstream-service-cluster: c9'])),
    request('not counted by it', inside('GET /quiet', ['x-envoy-downstream-service-cluster: c9'])),
    request('a status from the runtime by cluster', inside('GET /body', ['x-envoy-downstream-service-cluster: c1'])),
    request('a slow response', http('GET /slow')),
    request('a slow HEAD', http('HEAD /slow')),
    request('a rate by header', inside('GET /rate', ['x-envoy-fault-throughput-response: 10'])),
    request('a rate of nothing by header', inside('GET /rate', ['x-envoy-fault-throughput-response: 0'])),
    request('no rate', inside('GET /rate')),
    request('share and status from the runtime', http('GET /key')),
    request('a duration from the runtime', http('GET /delay-key')),
    request('the cluster', http('GET /cluster')),
    request('gRPC with a body', http('POST /grpc', ['content-type: application/grpc', 'content-length: 0'])),
  ],
);

const append = (key: string, value: string, append_action?: string, more: Fields = {}): Fields => ({
  append: { header: { key, value }, ...(append_action === undefined ? {} : { append_action }), ...more },
});
const query = (key: string, value: string, action?: string): Fields => ({
  append: { record: { key, value }, ...(action === undefined ? {} : { action }) },
});
const mutate = (mutations: Fields): Fields => perRoute('header_mutation', 'HeaderMutationPerRoute', { mutations });
const levels = (wins: boolean): Fields =>
  httpProxy({
    filters: [
      httpFilter('header_mutation', 'HeaderMutation', {
        mutations: { request_mutations: [append('x-level', 'filter')] },
        most_specific_header_mutations_wins: wins,
      }),
    ],
    routeConfig: mutate({
      request_mutations: [append('x-level', 'table'), append('x-one', 'table', 'OVERWRITE_IF_EXISTS_OR_ADD')],
      response_mutations: [append('x-one', 'table', 'OVERWRITE_IF_EXISTS_OR_ADD')],
    }),
    virtualHosts: [
      {
        name: 'v',
        domains: ['*'],
        ...mutate({
          request_mutations: [append('x-level', 'host'), append('x-one', 'host', 'OVERWRITE_IF_EXISTS_OR_ADD')],
          response_mutations: [append('x-one', 'host', 'OVERWRITE_IF_EXISTS_OR_ADD')],
        }),
        routes: [
          to(
            'u1',
            '/route',
            {},
            mutate({
              request_mutations: [append('x-level', 'route'), append('x-one', 'route', 'OVERWRITE_IF_EXISTS_OR_ADD')],
              response_mutations: [append('x-one', 'route', 'OVERWRITE_IF_EXISTS_OR_ADD')],
            }),
          ),
          to('u1'),
        ],
      },
    ],
  });

for (const wins of [false, true]) {
  suite(
    `header mutation by levels, ${wins ? 'most' : 'least'} specific last`,
    { config: levels(wins), upstreams: { u1: upstream } },
    [request('the route', http('GET /route')), request('the virtual host', http('GET /'))],
  );
}

suite(
  'header mutation, further',
  {
    config: httpProxy({
      log: '%REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(:METHOD)%',
      filters: [httpFilter('header_mutation', 'HeaderMutation')],
      routes: [
        to(
          'u1',
          '/match',
          {},
          mutate({ request_mutations: [{ remove_on_match: { key_matcher: { prefix: 'x-a' } } }] }),
        ),
        to(
          'u1',
          '/match-response',
          {},
          mutate({
            response_mutations: [{ remove_on_match: { key_matcher: { contains: 'mul', ignore_case: true } } }],
          }),
        ),
        to(
          'u1',
          '/list',
          {},
          mutate({ response_mutations: [append('cache-control', 'private'), append('x-up', '2')] }),
        ),
        to(
          'u1',
          '/actions',
          {},
          mutate({
            request_mutations: [
              append('x-a', '1', 'ADD_IF_ABSENT'),
              append('x-new', '1', 'ADD_IF_ABSENT'),
              append('x-gone', '1', 'OVERWRITE_IF_EXISTS'),
              append('x-b', '%REQ(x-a)%', 'OVERWRITE_IF_EXISTS'),
              { remove: 'x-c' },
              append('x-c', 'again'),
            ],
          }),
        ),
        to(
          'u1',
          '/empty',
          {},
          mutate({
            request_mutations: [
              append('x-none', '%REQ(x-not-there)%'),
              append('x-kept', '%REQ(x-not-there)%', 'APPEND_IF_EXISTS_OR_ADD', { keep_empty_value: true }),
            ],
          }),
        ),
        to(
          'u1',
          '/query',
          {},
          mutate({
            query_parameter_mutations: [
              query('a', 'appended'),
              query('b', 'absent', 'ADD_IF_ABSENT'),
              query('c', 'over', 'OVERWRITE_IF_EXISTS'),
              query('d', '%REQ(x-value)%', 'OVERWRITE_IF_EXISTS_OR_ADD'),
            ],
          }),
        ),
        to('u1', '/remove', {}, mutate({ query_parameter_mutations: [{ remove: 'a' }] })),
        to(
          'u1',
          '/trailers',
          {},
          mutate({
            request_trailers_mutations: [append('x-t', 'added'), { remove: 'x-r' }],
            response_trailers_mutations: [append('x-t', 'added')],
          }),
        ),
        to('u1'),
      ],
      hcm: { http_protocol_options: { enable_trailers: true } },
    }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [
    request('removed by match', http('GET /match', ['x-a: 1', 'x-abc: 2', 'x-b: 3'])),
    request('removed from the response by match', http('GET /match-response')),
    request('a list header', http('GET /list')),
    request('all actions', http('GET /actions', ['x-a: client', 'x-b: client', 'x-c: client'])),
    request('empty values', http('GET /empty')),
    request('query parameters', http('GET /query?z=1&a=first&c=x&c=y&d=old', ['x-value: v w/&=ü'])),
    request('no query', http('GET /query', ['x-value: 1'])),
    request('odd queries', http('GET /query?&&x&=y&%41=%2f%zz+1&a', ['x-value: 1'])),
    request('the only one removed', http('GET /remove?a=1')),
    request('one removed', http('GET /remove?a=1&b=2&a=3&B=%2F')),
    request('an escape that Envoy lets end the request line', http('GET /remove?b=1%20HTTP/1.0%0d%0a')),
    request('names with escapes', http('GET /remove?%61=1&%62=2', [])),
    request(
      'trailers',
      http('POST /trailers', ['transfer-encoding: chunked'], '3\r\nabc\r\n0\r\nx-r: 1\r\nx-s: 2\r\n\r\n'),
    ),
  ],
);

const corsHost: Fields = {
  allow_origin_string_match: [{ exact: 'https://host.example' }],
  allow_methods: '*',
  allow_headers: '*',
  expose_headers: 'x-host',
  max_age: '60',
};
const preflight = (path: string, origin: string, more: readonly string[] = []): string =>
  http(`OPTIONS ${path}`, [`origin: ${origin}`, 'access-control-request-method: PATCH', ...more]);

suite(
  'cors, further',
  {
    config: httpProxy({
      log: LOG,
      filters: [httpFilter('cors', 'Cors')],
      virtualHosts: [
        {
          name: 'old',
          domains: ['old'],
          cors: corsHost,
          routes: [
            to('u1', '/route', {
              cors: { allow_origin_string_match: [{ exact: 'https://route.example' }], allow_credentials: true },
            }),
            to('u1', '/off', { cors: { filter_enabled: { default_value: never } } }),
            { match: { prefix: '/direct' }, direct_response: { status: 200 } },
            to('u1'),
          ],
        },
        {
          name: 'new',
          domains: ['*'],
          ...perRoute('cors', 'CorsPolicy', corsHost),
          routes: [
            to('u1', '/merge', {}, perRoute('cors', 'CorsPolicy', { max_age: '5', allow_credentials: false })),
            to(
              'u1',
              '/star',
              {},
              perRoute('cors', 'CorsPolicy', { allow_origin_string_match: [{ exact: '*' }], allow_credentials: true }),
            ),
            to('u1'),
          ],
        },
      ],
    }),
    upstreams: { u1: upstream },
    stats: ['http.ingress.cors.', 'http.ingress.downstream_rq'],
    log: 'access.log',
  },
  [
    request('the old field of the host', preflight('/', 'https://host.example', ['host: old'])),
    request('the old field of the route', preflight('/route', 'https://route.example', ['host: old'])),
    request(
      'the route hides the origins of the host',
      http('GET /route', ['host: old', 'origin: https://host.example']),
    ),
    request('off by the old field', preflight('/off', 'https://host.example', ['host: old'])),
    request('a direct response', http('GET /direct', ['host: old', 'origin: https://host.example'])),
    request('levels merge', preflight('/merge', 'https://host.example', ['access-control-request-headers: a, b'])),
    request('levels merge in responses', http('GET /merge', ['origin: https://host.example'])),
    request('a star', preflight('/star', 'https://any.example')),
    request('a star in responses', http('GET /star', ['origin: https://any.example'])),
    request('an empty origin', http('GET /', ['origin: '])),
    request('two origins', http('GET /', ['origin: https://host.example', 'origin: https://b.example'])),
    request('a preflight with a body', [
      http(
        'OPTIONS /',
        ['origin: https://host.example', 'access-control-request-method: PUT', 'content-length: 3'],
        'abc',
      ),
    ]),
    request('no headers were asked for', preflight('/', 'https://host.example')),
  ],
);

const bucket = (max_tokens: number, more: Fields = {}): Fields => ({
  token_bucket: { max_tokens, tokens_per_fill: 1, fill_interval: '3600s', ...more },
});
const enabled: Fields = { filter_enabled: { default_value: always }, filter_enforced: { default_value: always } };
const limit = (fields: Fields): Fields =>
  perRoute('local_ratelimit', 'LocalRateLimit', { stat_prefix: 'rl', ...enabled, ...fields });
const byUser = { actions: [{ request_headers: { header_name: 'x-user', descriptor_key: 'user' } }] };
const entry = (key: string, value = ''): Fields => (value === '' ? { key } : { key, value });

const several = (name: string, texts: readonly string[]) =>
  steps(name, async (exchange) => {
    for (const text of texts) await exchange.request(text);
    exchange.expectLog('access.log', texts.length);
  });

suite(
  'local rate limit, further',
  {
    config: httpProxy({
      log: LOG,
      filters: [httpFilter('local_ratelimit', 'LocalRateLimit', { stat_prefix: 'rl' })],
      virtualHosts: [
        {
          name: 'v',
          domains: ['*'],
          rate_limits: [{ actions: [{ generic_key: { descriptor_value: 'host' } }] }],
          routes: [
            to('u1', '/connection', {}, limit({ ...bucket(1), local_rate_limit_per_downstream_connection: true })),
            to('u1', '/nothing', {}, limit(bucket(0))),
            to('u1', '/low-status', {}, limit({ ...bucket(1), status: { code: 200 } })),
            to('u1', '/off', {}, limit({ ...bucket(1), filter_enabled: { default_value: never } })),
            to(
              'u1',
              '/retry',
              {},
              limit({
                ...bucket(1),
                enable_retry_after_header: true,
                response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes' } }],
              }),
            ),
            to('u1', '/grpc', {}, limit(bucket(1))),
            to(
              'u1',
              '/shadow',
              { rate_limits: [byUser] },
              limit({
                ...bucket(9),
                descriptors: [{ entries: [entry('user', 'bob')], ...bucket(1), shadow_mode: true }],
              }),
            ),
            to(
              'u1',
              '/only-own',
              { rate_limits: [byUser] },
              limit({
                ...bucket(1),
                always_consume_default_token_bucket: false,
                enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
                descriptors: [{ entries: [entry('user', 'bob')], ...bucket(2) }],
              }),
            ),
            to(
              'u1',
              '/wildcard',
              { rate_limits: [byUser] },
              limit({ ...bucket(99), descriptors: [{ entries: [entry('user')], ...bucket(1) }] }),
            ),
            to(
              'u1',
              '/host-limits',
              {},
              limit({ ...bucket(9), descriptors: [{ entries: [entry('generic_key', 'host')], ...bucket(1) }] }),
            ),
            to(
              'u1',
              '/ignored-host-limits',
              {},
              limit({
                ...bucket(9),
                vh_rate_limits: 'IGNORE',
                descriptors: [{ entries: [entry('generic_key', 'host')], ...bucket(1) }],
              }),
            ),
            to(
              'u1',
              '/own-limits',
              {},
              limit({
                ...bucket(9),
                rate_limits: [
                  {
                    actions: [
                      { query_parameters: { query_parameter_name: 'q', descriptor_key: 'q' } },
                      { remote_address: {} },
                    ],
                  },
                ],
                descriptors: [{ entries: [entry('q', 'one'), entry('remote_address', '127.0.0.1')], ...bucket(1) }],
              }),
            ),
            to(
              'u1',
              '/hits',
              { rate_limits: [{ ...byUser, hits_addend: { number: 2 } }] },
              limit({
                ...bucket(9),
                enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
                descriptors: [{ entries: [entry('user', 'bob')], ...bucket(5) }],
              }),
            ),
            to(
              'u1',
              '/own-hits',
              {},
              limit({
                ...bucket(9),
                enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
                rate_limits: [{ ...byUser, hits_addend: { number: 2 } }],
                descriptors: [{ entries: [entry('user', 'bob')], ...bucket(5) }],
              }),
            ),
            to(
              'u1',
              '/stage',
              { rate_limits: [{ ...byUser, stage: 3 }] },
              limit({ ...bucket(9), stage: 3, descriptors: [{ entries: [entry('user', 'bob')], ...bucket(1) }] }),
            ),
            to('u1', '/refill', {}, limit(bucket(1, { tokens_per_fill: 100, fill_interval: '0.05s' }))),
            to('u1'),
          ],
        },
      ],
    }),
    upstreams: { u1: upstream },
    stats: [/^rl\./],
    log: 'access.log',
    fresh: true,
  },
  [
    steps('per connection', async (exchange) => {
      const client = await exchange.connect();
      for (let i = 0; i < 2; i++) {
        client.send(http('GET /connection'));
        await exchange.expectResponse(client);
      }
      await exchange.request(http('GET /connection'));
      exchange.expectLog('access.log', 3);
    }),
    several('a bucket of nothing', [http('GET /nothing')]),
    several('a status below 400', [http('GET /low-status'), http('GET /low-status')]),
    several('off', [http('GET /off'), http('GET /off')]),
    several('retry-after', [http('GET /retry'), http('GET /retry')]),
    several('gRPC', Array(2).fill(http('POST /grpc', ['content-type: application/grpc', 'content-length: 0']))),
    several('a HEAD', [http('HEAD /low-status'), http('HEAD /low-status')]),
    several('shadow mode', Array(3).fill(http('GET /shadow', ['x-user: bob']))),
    several('only the bucket of the descriptor', Array(3).fill(http('GET /only-own', ['x-user: bob']))),
    several('no descriptor matches', Array(2).fill(http('GET /only-own', ['x-user: eve']))),
    several(
      'any value',
      ['a', 'b', 'a'].map((user) => http('GET /wildcard', [`x-user: ${user}`])),
    ),
    several('limits of the virtual host', Array(2).fill(http('GET /host-limits'))),
    several('limits of the virtual host ignored', Array(2).fill(http('GET /ignored-host-limits'))),
    several('limits of the filter', [
      http('GET /own-limits?q=one'),
      http('GET /own-limits?q=one'),
      http('GET /own-limits?q=two'),
    ]),
    several('several hits', Array(3).fill(http('GET /hits', ['x-user: bob']))),
    several('several hits of the filter', Array(3).fill(http('GET /own-hits', ['x-user: bob']))),
    several('a stage', Array(2).fill(http('GET /stage', ['x-user: bob']))),
    several('no header, no descriptor', Array(2).fill(http('GET /stage'))),
    steps('tokens come back', async (exchange) => {
      await exchange.request(http('GET /refill'));
      await Bun.sleep(80);
      await exchange.request(http('GET /refill'));
      exchange.expectLog('access.log', 2);
    }),
  ],
);

suite(
  'health check, further',
  {
    config: httpProxy(
      {
        log: LOG,
        filters: [
          httpFilter('health_check', 'HealthCheck', {
            pass_through_mode: true,
            headers: [{ name: ':path', string_match: { prefix: '/pass' } }],
          }),
          {
            ...httpFilter('health_check', 'HealthCheck', {
              pass_through_mode: true,
              cache_time: '3600s',
              headers: [{ name: ':path', string_match: { suffix: 'd' } }],
            }),
            name: 'cache',
          },
          {
            ...httpFilter('health_check', 'HealthCheck', {
              pass_through_mode: false,
              headers: [{ name: ':path', string_match: { exact: '/zero' } }],
              cluster_min_healthy_percentages: { none: { value: 0 }, u1: { value: 100 } },
            }),
            name: 'zero',
          },
          {
            ...httpFilter('health_check', 'HealthCheck', {
              pass_through_mode: false,
              headers: [{ name: ':path', string_match: { exact: '/all' } }],
            }),
            name: 'all',
          },
        ],
        routes: [to('u1')],
      },
      [cluster('u1'), { name: 'none', type: 'STATIC', load_assignment: { cluster_name: 'none' } }],
    ),
    upstreams: { u1: upstream },
    stats: ['http.ingress.downstream_rq', 'cluster.u1.upstream_rq_total'],
    log: 'access.log',
    fresh: true,
  },
  [
    request('passed through', http('GET /pass')),
    several('degraded, then cached', [http('GET /degraded'), http('GET /degraded')]),
    request('zero percent of nothing', http('GET /zero')),
    request('a chunked body', http('POST /all', ['transfer-encoding: chunked'], '3\r\nabc\r\n0\r\n\r\n')),
    request('a body in pieces', [http('POST /all', ['content-length: 6'], 'abc'), 'def']),
    steps('passed through after /healthcheck/fail', async (exchange) => {
      await exchange.admin('/healthcheck/fail', { method: 'POST' });
      await exchange.request(http('GET /pass'));
      exchange.expectLog('access.log', 1);
    }),
  ],
);

const detection = (name: string, message: string, fields: Fields): Fields => ({
  name: `envoy.http.original_ip_detection.${name}`,
  typed_config: typed(`envoy.extensions.http.original_ip_detection.${name}.v3.${message}`, fields),
});
const detecting = (hcm: Fields): Fields =>
  httpProxy({
    log: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%',
    hcm: { ...trusting, ...hcm },
  });
const xff = (...addresses: readonly string[]): string =>
  http(
    'GET /',
    addresses.map((each) => `x-forwarded-for: ${each}`),
  );

for (const [name, fields] of [
  ['none', {}],
  ['a hop', { xff_num_trusted_hops: 1 }],
  ['appending', { skip_xff_append: false }],
  [
    'trusted proxies',
    {
      xff_trusted_cidrs: {
        cidrs: [
          { address_prefix: '127.0.0.0', prefix_len: 8 },
          { address_prefix: '10.9.0.0', prefix_len: 16 },
        ],
      },
    },
  ],
  ['other proxies', { xff_trusted_cidrs: { cidrs: [{ address_prefix: '192.0.2.0', prefix_len: 24 }] } }],
] as readonly (readonly [string, Fields])[]) {
  suite(
    `xff detection, ${name}`,
    {
      config: detecting({ original_ip_detection_extensions: [detection('xff', 'XffConfig', fields)] }),
      upstreams: { u1: upstream },
      stats: ['http.ingress.downstream_rq'],
      log: 'access.log',
    },
    [
      request('none', http('GET /')),
      request('one', xff('10.0.0.1')),
      request('two', xff('10.0.0.1, 10.0.0.2')),
      request('two lines', xff('10.0.0.1', '10.0.0.2')),
      request('proxies of ours', xff('10.0.0.1, 10.9.0.2, 10.9.0.3')),
      request('only proxies of ours', xff('10.9.0.2, 10.9.0.3')),
      request('one proxy of ours', xff('10.9.0.2')),
      request('rubbish', xff('rubbish, 10.9.0.2')),
      request('IPv6', xff('2001:db8::1')),
    ],
  );
}

suite(
  'custom header detection',
  {
    config: detecting({
      original_ip_detection_extensions: [
        detection('custom_header', 'CustomHeaderConfig', {
          header_name: 'x-client-ip',
          allow_extension_to_set_address_as_trusted: true,
          reject_with_status: { code: 401 },
        }),
      ],
    }),
    upstreams: { u1: upstream },
    stats: ['http.ingress.downstream_rq'],
    log: 'access.log',
  },
  [
    request('there', http('GET /', ['x-client-ip: 10.0.0.9'])),
    request('with a port', http('GET /', ['x-client-ip: 10.0.0.9:80'])),
    request('IPv6', http('GET /', ['x-client-ip: 2001:db8::1'])),
    request('not there', http('GET /')),
    request('rubbish', http('GET /', ['x-client-ip: me'])),
    request('two', http('GET /', ['x-client-ip: 10.0.0.9', 'x-client-ip: 10.0.0.8'])),
  ],
);

suite(
  'custom header, not trusted',
  {
    config: detecting({
      original_ip_detection_extensions: [
        detection('custom_header', 'CustomHeaderConfig', { header_name: 'x-client-ip' }),
      ],
    }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [
    request('there', http('GET /', ['x-client-ip: 10.0.0.9'])),
    request('not there', http('GET /', ['x-forwarded-for: 10.0.0.1'])),
  ],
);

suite(
  'custom header, then xff',
  {
    config: detecting({
      original_ip_detection_extensions: [
        detection('custom_header', 'CustomHeaderConfig', { header_name: 'x-client-ip' }),
        detection('xff', 'XffConfig', {}),
      ],
    }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [
    request('the first', http('GET /', ['x-client-ip: 10.0.0.9', 'x-forwarded-for: 10.0.0.1'])),
    request('the second', http('GET /', ['x-forwarded-for: 10.0.0.1'])),
  ],
);

suite(
  'early header mutation',
  {
    config: httpProxy({
      log: LOG,
      hcm: {
        ...trusting,
        early_header_mutation_extensions: [
          {
            name: 'envoy.http.early_header_mutation.header_mutation',
            typed_config: typed('envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation', {
              mutations: [
                { remove: 'x-forwarded-for' },
                append('x-early', '%REQ(:PATH)%'),
                append('x-seen', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'),
              ],
            }),
          },
        ],
      },
      routes: [
        {
          match: { prefix: '/', headers: [{ name: 'x-early', string_match: { exact: '/early' } }] },
          direct_response: { status: 202 },
        },
        to('u1'),
      ],
    }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [
    request('matched by what was added', http('GET /early')),
    request('removed before it is read', inside('GET /', ['x-early: 1'])),
  ],
);

const withFilter = (filter: Fields, routes: readonly Fields[] = [to('u1')]): Fields =>
  httpProxy({ filters: [filter], routes }, [cluster('u1', ['{{refused}}'])]);

const mutating = (request_mutations: readonly Fields[]): Fields =>
  withFilter(httpFilter('header_mutation', 'HeaderMutation', { mutations: { request_mutations } }));

validateSuite('filters', [
  refused('buffer without a limit', withFilter(httpFilter('buffer', 'Buffer'))),
  refused('buffer of nothing', withFilter(httpFilter('buffer', 'Buffer', { max_request_bytes: 0 }))),
  refused(
    'buffer per route without anything',
    withFilter(httpFilter('buffer', 'Buffer', { max_request_bytes: 1 }), [
      to('u1', '/', {}, perRoute('buffer', 'BufferPerRoute', {})),
    ]),
  ),
  refused('fault: delay of nothing', withFilter(httpFilter('fault', 'HTTPFault', { delay: { fixed_delay: '0s' } }))),
  refused(
    'fault: abort without a status',
    withFilter(httpFilter('fault', 'HTTPFault', { abort: { percentage: always } })),
  ),
  refused(
    'fault: a slow status',
    withFilter(httpFilter('fault', 'HTTPFault', { abort: { http_status: 100, percentage: always } })),
  ),
  refused('rate limit: no stat prefix', withFilter(httpFilter('local_ratelimit', 'LocalRateLimit'))),
  refused(
    'rate limit: fills too fast',
    withFilter(
      httpFilter('local_ratelimit', 'LocalRateLimit', { stat_prefix: 'x', ...bucket(1, { fill_interval: '0.01s' }) }),
    ),
  ),
  refused(
    'rate limit: a route without a bucket',
    withFilter(httpFilter('local_ratelimit', 'LocalRateLimit', { stat_prefix: 'x' }), [to('u1', '/', {}, limit({}))]),
  ),
  refused(
    'rate limit: a descriptor twice',
    withFilter(
      httpFilter('local_ratelimit', 'LocalRateLimit', {
        stat_prefix: 'x',
        ...bucket(9),
        descriptors: Array(2).fill({ entries: [entry('a', 'b')], ...bucket(1) }),
      }),
    ),
  ),
  refused(
    'health check: a cache without passing through',
    withFilter(httpFilter('health_check', 'HealthCheck', { pass_through_mode: false, cache_time: '1s' })),
  ),
  refused('health check: no mode', withFilter(httpFilter('health_check', 'HealthCheck'))),
  refused(
    'header mutation: nothing',
    withFilter(httpFilter('header_mutation', 'HeaderMutation', { mutations: { request_mutations: [{}] } })),
  ),
  refused('header mutation: authority', mutating([append(':authority', 'x')])),
  refused('header mutation: host', mutating([append('host', 'x')])),
  accepted('header mutation: host removed', mutating([{ remove: 'host' }])),
  accepted('header mutation: path removed', mutating([{ remove: ':path' }])),
  refused(
    'header mutation: a bad format',
    withFilter(
      httpFilter('header_mutation', 'HeaderMutation', { mutations: { request_mutations: [append('a', '%NO%')] } }),
    ),
  ),
  refused(
    'header mutation: a parameter that is no text',
    withFilter(
      httpFilter('header_mutation', 'HeaderMutation', {
        mutations: { query_parameter_mutations: [{ append: { record: { key: 'a', value: 1 } } }] },
      }),
    ),
  ),
  refused(
    'header mutation: a parameter without a change',
    withFilter(httpFilter('header_mutation', 'HeaderMutation', { mutations: { query_parameter_mutations: [{}] } })),
  ),
  refused(
    'xff detection: hops and proxies',
    detecting({
      original_ip_detection_extensions: [
        detection('xff', 'XffConfig', {
          xff_num_trusted_hops: 1,
          xff_trusted_cidrs: { cidrs: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
        }),
      ],
    }),
  ),
]);
