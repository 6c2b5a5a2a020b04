/** Retry policies, their headers, priorities, circuit breakers. */
import { httpUpstream, rawUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpProxy, inside, to, trusting } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%';

const stats = ['cluster.u1.upstream_rq', 'cluster.u1.retry', 'http.ingress.downstream_rq'];

/** `/503x2/...`: the first two answers are 503, then 200. `/resetx1`: the first is a reset. */
const flaky = httpUpstream((seen, connection) => {
  const [, what = '', times = '0'] = /^\/(\w+?)x(\d+)/.exec(seen.path) ?? [];
  if (seen.number > Number(times)) return reply(200, `answer ${seen.number} [${seen.body}]`);
  switch (what) {
    case 'reset':
      connection.reset();
      return undefined;
    case 'close':
      connection.end();
      return undefined;
    case 'never':
      return undefined;
    case 'header':
      return reply(200, 'has a header', ['x-retry-me: yes']);
    case 'after':
      return reply(429, 'later', ['retry-after: 1', 'x-reset: 1']);
    case 'grpc':
      return 'HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n';
    default:
      return reply(Number(what), `failed ${seen.number}`);
  }
});

const quick = { retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' } };

const policy = (retry_on: string, more: Fields = {}): Fields => ({
  retry_policy: { retry_on, num_retries: 2, ...quick, ...more },
});

/** One route for each policy, by the query. */
const policies: Readonly<Record<string, Fields>> = {
  '5xx': policy('5xx'),
  gateway: policy('gateway-error'),
  reset: policy('reset'),
  'reset-before': policy('reset-before-request'),
  connect: policy('connect-failure'),
  '4xx': policy('retriable-4xx'),
  codes: policy('retriable-status-codes', { retriable_status_codes: [404, 418] }),
  headers: policy('retriable-headers', { retriable_headers: [{ name: 'x-retry-me', present_match: true }] }),
  refused: policy('refused-stream'),
  limited: policy('envoy-ratelimited'),
  grpc: policy('unavailable,cancelled'),
  several: policy('connect-failure,reset,retriable-4xx'),
  only: policy('5xx', { retriable_request_headers: [{ name: ':method', string_match: { exact: 'GET' } }] }),
  none: { retry_policy: { num_retries: 2, ...quick } },
  once: { retry_policy: { retry_on: '5xx', ...quick } },
  'backed-off': policy('5xx,retriable-4xx,retriable-status-codes', {
    retriable_status_codes: [429],
    rate_limited_retry_back_off: { reset_headers: [{ name: 'x-none', format: 'SECONDS' }], max_interval: '0.1s' },
  }),
  plain: {},
};

suite(
  'retries',
  {
    config: httpProxy({
      log: LOG,
      hcm: trusting,
      virtualHosts: [
        {
          name: 'v',
          domains: ['*'],
          include_request_attempt_count: true,
          include_attempt_count_in_response: true,
          routes: Object.entries(policies).map(([name, action]) => ({
            match: { prefix: '/', query_parameters: [{ name: 'p', string_match: { exact: name } }] },
            route: { cluster: 'u1', ...action },
          })),
        },
      ],
    }),
    upstreams: { u1: flaky },
    stats,
    log: 'access.log',
    rewrite: [[/^(x-envoy-expected-rq-timeout-ms: )1[45]\d\d\d$/gm, '$1<about 15000>']],
  },
  [
    ...[
      '/200x0?p=5xx',
      '/503x1?p=5xx',
      '/503x2?p=5xx',
      '/503x3?p=5xx',
      '/500x1?p=5xx',
      '/404x1?p=5xx',
      '/resetx1?p=5xx',
      '/closex1?p=5xx',
      '/resetx9?p=5xx',
      '/500x1?p=gateway',
      '/502x1?p=gateway',
      '/504x1?p=gateway',
      '/resetx1?p=gateway',
      '/resetx1?p=reset',
      '/503x1?p=reset',
      '/resetx1?p=reset-before',
      '/resetx1?p=connect',
      '/503x1?p=connect',
      '/409x1?p=4xx',
      '/404x1?p=4xx',
      '/404x1?p=codes',
      '/418x2?p=codes',
      '/503x1?p=codes',
      '/headerx1?p=headers',
      '/503x1?p=headers',
      '/resetx1?p=refused',
      '/429x1?p=limited',
      '/grpcx1?p=grpc',
      '/409x1?p=several',
      '/resetx1?p=several',
      '/503x1?p=none',
      '/503x2?p=once',
      '/503x1?p=plain',
      '/429x1?p=backed-off',
    ].map((path) => request(path, http(`GET ${path}`))),
    request('POST with a body', http('POST /503x1?p=5xx', ['content-length: 4'], 'body')),
    request('POST where only GET may be retried', http('POST /503x1?p=only', ['content-length: 4'], 'body')),
    request('GET where only GET may be retried', http('GET /503x1?p=only')),
    request('a chunked POST', http('POST /503x1?p=5xx', ['transfer-encoding: chunked'], '4\r\nbody\r\n0\r\n\r\n')),
    request(
      'a body over the buffer limit is not retried',
      http('POST /503x1?p=5xx', ['content-length: 2000000'], 'b'.repeat(2_000_000)),
    ),
    request('x-envoy-retry-on', inside('GET /503x1?p=plain', ['x-envoy-retry-on: 5xx'])),
    request(
      'x-envoy-retry-on and x-envoy-max-retries',
      inside('GET /503x3?p=plain', ['x-envoy-retry-on: 5xx', 'x-envoy-max-retries: 3']),
    ),
    request('x-envoy-max-retries of zero', inside('GET /503x1?p=5xx', ['x-envoy-max-retries: 0'])),
    request('x-envoy-max-retries that is no number', inside('GET /503x3?p=5xx', ['x-envoy-max-retries: many'])),
    request(
      'x-envoy-retriable-status-codes',
      inside('GET /418x1?p=plain', [
        'x-envoy-retry-on: retriable-status-codes',
        'x-envoy-retriable-status-codes: 418,404',
      ]),
    ),
    request(
      'x-envoy-retriable-header-names',
      inside('GET /headerx1?p=plain', [
        'x-envoy-retry-on: retriable-headers',
        'x-envoy-retriable-header-names: x-retry-me',
      ]),
    ),
    request('x-envoy-retry-grpc-on', inside('GET /grpcx1?p=plain', ['x-envoy-retry-grpc-on: unavailable'])),
    request('x-envoy-retry-on of an unknown kind', inside('GET /503x1?p=plain', ['x-envoy-retry-on: 5yy'])),
    request('headers add to the policy', inside('GET /409x1?p=5xx', ['x-envoy-retry-on: retriable-4xx'])),
  ],
);

suite(
  'hosts of retries',
  {
    config: httpProxy(
      {
        log: LOG,
        routes: [
          to('half', '/half', {
            retry_policy: {
              retry_on: 'connect-failure',
              num_retries: 1,
              host_selection_retry_max_attempts: 5,
              retry_host_predicate: [
                {
                  name: 'envoy.retry_host_predicates.previous_hosts',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
                  },
                },
              ],
              ...quick,
            },
          }),
          to('refused', '/refused', { retry_policy: { retry_on: 'connect-failure', num_retries: 1, ...quick } }),
          to('empty', '/empty'),
          to('priorities', '/priorities'),
        ],
      },
      [
        cluster('half', ['{{refused}}', '{{upstream:u1}}']),
        cluster('refused', ['{{refused}}']),
        { name: 'empty', type: 'STATIC', load_assignment: { cluster_name: 'empty' } },
        {
          name: 'priorities',
          type: 'STATIC',
          load_assignment: {
            cluster_name: 'priorities',
            endpoints: [
              { priority: 1, lb_endpoints: [{ endpoint: { address: '{{upstream:u1}}' } }] },
              { priority: 0, lb_endpoints: [{ endpoint: { address: '{{upstream:u1}}' }, health_status: 'UNHEALTHY' }] },
            ],
          },
        },
      ],
    ),
    upstreams: { u1: flaky },
    stats: [
      'cluster.refused.upstream_',
      'cluster.empty.',
      'cluster.priorities.upstream_rq',
      'cluster.priorities.lb_',
      'http.ingress.downstream_rq',
    ],
    log: 'access.log',
    rewrite: [
      [/^(x-envoy-expected-rq-timeout-ms: )1[45]\d\d\d$/gm, '$1<about 15000>'],
      [/ 200 via_upstream - \d$/gm, ' 200 via_upstream - <attempts>'],
    ],
  },
  [
    request('a refused host, then another', http('GET /half')),
    request('all hosts are refused', http('GET /refused')),
    request('a cluster without hosts', http('GET /empty')),
    request('a lower priority takes over', http('GET /priorities')),
  ],
);

suite(
  'circuit breakers',
  {
    config: httpProxy(
      {
        log: `${LOG} %UPSTREAM_HOST% %UPSTREAM_HOSTS_ATTEMPTED%`,
        routes: [
          to('requests', '/requests'),
          to('pending', '/pending'),
          to('retries', '/503x1', policy('5xx', { num_retries: 1 })),
          to('none', '/none'),
        ],
      },
      [
        cluster('requests', ['{{upstream:u1}}'], {
          circuit_breakers: { thresholds: [{ max_requests: 1, track_remaining: true }] },
        }),
        cluster('pending', ['{{upstream:u1}}'], {
          circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 1 }] },
        }),
        cluster('retries', ['{{upstream:u2}}'], { circuit_breakers: { thresholds: [{ max_retries: 0 }] } }),
        cluster('none', ['{{upstream:u1}}'], {
          circuit_breakers: { thresholds: [{ max_connections: 0, max_pending_requests: 0, max_requests: 0 }] },
        }),
      ],
    ),
    upstreams: {
      // The first request waits until a later one says so.
      u1: rawUpstream(async (connection) => {
        for (;;) {
          const next = await connection.nextRequest();
          if (next === null) return;
          if (next.text.includes('/hold')) await connection.until(() => connection.received.includes('never'), 400);
          connection.send(reply(200, 'released'));
        }
      }),
      u2: flaky,
    },
    stats: [
      /^cluster\.(requests|pending|retries|none)\.(upstream_rq|upstream_cx_(total|overflow|pool)|circuit_breakers)/,
      'http.ingress.downstream_rq',
    ],
    log: 'access.log',
  },
  [
    steps('the second request of one', async (exchange) => {
      const first = await exchange.connect();
      first.send(http('GET /requests/hold'));
      await exchange.expectStat('cluster.requests.upstream_rq_active', 1);
      await exchange.admin('/stats?filter=cluster.requests.circuit_breakers.default&usedonly');
      await exchange.request(http('GET /requests/second'));
      await exchange.expectResponse(first);
      exchange.expectLog('access.log', 2);
    }),
    steps('the third request where one may wait', async (exchange) => {
      const first = await exchange.connect();
      first.send(http('GET /pending/hold'));
      await exchange.expectStat('cluster.pending.upstream_rq_active', 1);
      const second = await exchange.connect();
      second.send(http('GET /pending/waits'));
      await exchange.expectStat('cluster.pending.upstream_rq_pending_active', 1);
      await exchange.request(http('GET /pending/too-many'));
      await exchange.expectResponse(first);
      await exchange.expectResponse(second);
      exchange.expectLog('access.log', 3);
    }),
    request('no retry is allowed', http('GET /503x1?retries')),
    request('nothing is allowed', http('GET /none')),
  ],
);
