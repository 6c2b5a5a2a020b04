/** The router filter: upgrades, early and broken answers, its headers and its statistics. */
import { httpUpstream, rawUpstream, reply, shoutingUpstream } from '../support/scripted-upstream.ts';
import { cluster, type Fields, fileLog, http, httpListener, httpProxy, inside, to, trusting } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const LOG =
  '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% ' +
  '%UPSTREAM_REQUEST_ATTEMPT_COUNT% %VIRTUAL_CLUSTER_NAME% %BYTES_RECEIVED% %BYTES_SENT%';

const stats = [
  /^cluster\.(u1|dead|empty|auto)\.(?!.*(_bytes_|_ms|_time|upstream_cx_length|upstream_rq_per_cx))/,
  'http.ingress.rq_',
  'http.ingress.no_',
  'http.ingress.downstream_rq_',
  /^vhost\./,
];

/** Answers by the path: what `X-Answer` style names say. */
const upstream = httpUpstream((seen, connection) => {
  const path = seen.path.split('?')[0] ?? '';
  switch (path.slice(path.lastIndexOf('/') + 1)) {
    case 'continue':
      connection.send('HTTP/1.1 100 Continue\r\n\r\n');
      return reply(200, 'after 100');
    case 'hints':
      connection.send('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n');
      return reply(200, 'after 103');
    case 'odd-1xx':
      connection.send('HTTP/1.1 104 Odd\r\n\r\n');
      return reply(200, 'after 104');
    case 'trailers':
      return 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n';
    case 'cut':
      connection.send('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf');
      connection.end();
      return undefined;
    case 'cut-reset':
      connection.send('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf');
      return Bun.sleep(30).then(() => {
        connection.reset();
        return undefined;
      });
    case 'garbage':
      return 'RUBBISH\r\n\r\n';
    case 'canary':
      return reply(200, 'c', ['x-envoy-upstream-canary: true']);
    case 'overloaded':
      return reply(503, 'o', ['x-envoy-overloaded: true']);
    case 'limited':
      return reply(503, 'o', ['x-envoy-ratelimited: true']);
    case 'fail':
      return reply(500, 'f');
    case 'details':
      return reply(200, 'd', [
        'server: upstream',
        'x-envoy-upstream-service-time: 7',
        'x-envoy-immediate-health-check-fail: 1',
      ]);
    case 'grpc':
      return 'HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n';
    default:
      return reply(200, `[${seen.body}]`);
  }
});

const once = { retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: { base_interval: '0.001s' } } };

const router = (name: string, fields: Fields, route: Fields = {}): Fields =>
  httpListener({ name, log: LOG, hcm: trusting, router: fields, routes: [to('u1', '/', route)] });

suite(
  'router',
  {
    config: {
      static_resources: {
        listeners: [
          httpListener({
            log: LOG,
            hcm: trusting,
            routeConfig: { validate_clusters: false },
            virtualHosts: [
              {
                name: 'v.h',
                domains: ['*'],
                include_attempt_count_in_response: true,
                include_is_timeout_retry_header: true,
                virtual_clusters: [
                  { name: 'vc', headers: [{ name: ':path', string_match: { prefix: '/vc' } }] },
                  { name: 'posts', headers: [{ name: ':method', string_match: { exact: 'POST' } }] },
                ],
                routes: [
                  to('u1', '/stat/', once, { stat_prefix: 'the_route' }),
                  to('u1', '/vc/', once),
                  to('empty', '/empty'),
                  to('missing', '/missing'),
                  to('missing', '/missing404', { cluster_not_found_response_code: 'NOT_FOUND' }),
                  to('dead', '/dead'),
                  to('u1', '/maintenance'),
                  to('auto', '/auto', { auto_host_rewrite: true }),
                  { match: { prefix: '/redirect' }, redirect: { host_redirect: 'there', response_code: 'FOUND' } },
                  { match: { prefix: '/direct' }, direct_response: { status: 418, body: { inline_string: 'tea' } } },
                  { match: { prefix: '/bare' }, direct_response: { status: 204 } },
                  { match: { prefix: '/absent' }, non_forwarding_action: {} },
                  to('u1', '/retried', once),
                  to('u1', '/tries', {
                    timeout: '1s',
                    retry_policy: {
                      retry_on: '5xx',
                      num_retries: 1,
                      per_try_timeout: '0.05s',
                      retry_back_off: { base_interval: '0.001s' },
                    },
                  }),
                  to('u1'),
                ].map((route) => route),
              },
            ],
          }),
          router('quiet', { suppress_envoy_headers: true }, { prefix_rewrite: '/new/', host_rewrite_literal: 'other' }),
          router('strict', {
            strict_check_headers: [
              'x-envoy-upstream-rq-timeout-ms',
              'x-envoy-upstream-rq-per-try-timeout-ms',
              'x-envoy-max-retries',
              'x-envoy-retry-on',
              'x-envoy-retry-grpc-on',
            ],
          }),
          router('respectful', { respect_expected_rq_timeout: true }),
          router('static', { dynamic_stats: false }),
          router('grpcless', { suppress_grpc_request_failure_code_stats: true }),
          router(
            'logging',
            {
              upstream_log: [
                fileLog(
                  'upstream %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %ACCESS_LOG_TYPE% %PROTOCOL%',
                  'access.log',
                ),
              ],
            },
            once,
          ),
        ],
        clusters: [
          cluster('u1'),
          cluster('dead', ['{{refused}}']),
          { name: 'empty', type: 'STATIC', load_assignment: { cluster_name: 'empty' } },
          {
            name: 'auto',
            type: 'STATIC',
            load_assignment: {
              cluster_name: 'auto',
              endpoints: [{ lb_endpoints: [{ endpoint: { hostname: 'named.example', address: '{{upstream:u1}}' } }] }],
            },
          },
        ],
      },
    },
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
    rewrite: [[/^(x-envoy-expected-rq-timeout-ms: )1[45]\d\d\d$/gm, '$1<about 15000>']],
  },
  [
    request('100-continue', http('POST /continue', ['expect: 100-continue', 'content-length: 2'], 'ab')),
    request('early hints', http('GET /hints')),
    request('an odd 1xx', http('GET /odd-1xx')),
    request('response trailers', http('GET /trailers')),
    request('request trailers', http('POST /x', ['transfer-encoding: chunked'], '1\r\na\r\n0\r\nx-t: 1\r\n\r\n')),
    request('a response cut by FIN', http('GET /cut'), { close: true, clientFate: false }),
    request('a response cut by a reset', http('GET /cut-reset'), { close: true, clientFate: false }),
    request('garbage', http('GET /garbage')),
    request('garbage is retried', http('GET /retried/garbage')),
    request('a canary', http('GET /canary')),
    request('an internal request', inside('GET /x')),
    request('an overloaded upstream is retried', http('GET /retried/overloaded')),
    request('a limited upstream is not retried', http('GET /retried/limited')),
    request('a failure that stays', http('GET /retried/fail')),
    request('headers of the upstream', http('GET /details')),
    request('a virtual cluster', http('GET /vc/x')),
    request('a retried virtual cluster', http('GET /vc/fail')),
    request('the second virtual cluster', http('POST /x', ['content-length: 0'])),
    request('a route with a stat prefix', http('GET /stat/x')),
    request('a retried route with a stat prefix', http('GET /stat/fail')),
    request('an alternative stat name', inside('GET /x', ['x-envoy-upstream-alt-stat-name: other'])),
    request('an alternative stat name of a canary', inside('GET /canary', ['x-envoy-upstream-alt-stat-name: other'])),
    request('a cluster without hosts', http('GET /empty')),
    request('a cluster that is not there', http('GET /missing')),
    request('a cluster that is not there, 404', http('GET /missing404')),
    request('a refused connection', http('GET /dead')),
    request('a redirect', http('GET /redirect?q=1')),
    request('a direct response', http('GET /direct')),
    request('a direct response without a body', http('GET /bare')),
    request('a route that does not forward', http('GET /absent')),
    request('the name of the host', http('GET /auto')),
    request('gRPC', http('POST /grpc', ['content-type: application/grpc', 'content-length: 0'])),
    request('gRPC without an answer', http('POST /dead', ['content-type: application/grpc', 'content-length: 0'])),
    request('suppressed headers', inside('GET /x'), { listener: 'quiet' }),
    request('strict: all well', inside('GET /x', ['x-envoy-max-retries: 3', 'x-envoy-retry-on: 5xx,reset']), {
      listener: 'strict',
    }),
    request('strict: no number', inside('GET /x', ['x-envoy-max-retries: many']), { listener: 'strict', close: true }),
    request('strict: unknown retry kind', inside('GET /x', ['x-envoy-retry-on: 5xx,never']), {
      listener: 'strict',
      close: true,
    }),
    request('strict: unknown grpc kind', inside('GET /x', ['x-envoy-retry-grpc-on: never']), {
      listener: 'strict',
      close: true,
    }),
    request('strict: no timeout', inside('GET /x', ['x-envoy-upstream-rq-timeout-ms: 1s']), {
      listener: 'strict',
      close: true,
    }),
    request('respected timeout', inside('GET /x', ['x-envoy-expected-rq-timeout-ms: 500']), { listener: 'respectful' }),
    request(
      'respected before the other',
      inside('GET /x', ['x-envoy-expected-rq-timeout-ms: 500', 'x-envoy-upstream-rq-timeout-ms: 700']),
      { listener: 'respectful' },
    ),
    request('no dynamic stats', http('GET /x'), { listener: 'static' }),
    request('no grpc codes', http('POST /grpc', ['content-type: application/grpc', 'content-length: 0']), {
      listener: 'grpcless',
    }),
    request('an upstream log', http('GET /x'), { listener: 'logging', logLines: 2 }),
    request('an upstream log of two attempts', http('GET /fail'), { listener: 'logging', logLines: 3 }),
    steps('an answer before the request is complete', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('POST /early', ['content-length: 5'], 'ab'));
      await Bun.sleep(30);
      client.send('cde');
      await exchange.expectResponse(client);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

/** Accepts an upgrade, or not, by the path; then echoes in upper case. */
const upgrading = rawUpstream(async (connection) => {
  const head = await connection.nextRequest();
  if (head === null) return;
  if (head.text.includes('/refuse')) {
    connection.send(reply(426, 'no', ['x-why: not']));
    return;
  }
  if (head.text.includes('/plain')) {
    connection.send(reply(200, 'plain'));
    return;
  }
  if (head.text.startsWith('CONNECT')) connection.send('HTTP/1.1 200 OK\r\n\r\n');
  else connection.send('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
  let seen = connection.received.length;
  while (await connection.until(() => connection.received.length > seen, 5000)) {
    connection.send(connection.received.slice(seen).toUpperCase());
    const ends = connection.received.slice(seen).includes('bye');
    seen = connection.received.length;
    if (ends) {
      connection.end();
      return;
    }
  }
});

const websocket = (path: string): string => http(`GET ${path}`, ['connection: upgrade', 'upgrade: websocket']);

/** Reads the tunnel as well as the response. */
suite(
  'upgrades',
  {
    config: httpProxy({
      log: LOG,
      hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }] },
      routes: [
        { match: { connect_matcher: {} }, route: { cluster: 'u1' } },
        to('u1', '/off', { upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }] }),
        to('u1'),
      ],
    }),
    upstreams: { u1: upgrading },
    stats: ['http.ingress.downstream_rq_', 'http.ingress.downstream_cx_upgrades', /^cluster\.u1\.upstream_rq_\w*$/],
    log: 'access.log',
  },
  [
    steps('a websocket, the upstream ends', async (exchange) => {
      const client = await exchange.connect();
      client.send(websocket('/ws'));
      await client.receive('101 Switching');
      client.send('hello');
      await client.receive('HELLO');
      client.send('bye');
      await client.receive('BYE');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('a websocket, the client ends', async (exchange) => {
      const client = await exchange.connect();
      client.send(websocket('/ws'));
      await client.receive('101 Switching');
      client.send('hello');
      await client.receive('HELLO');
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    request('a refused websocket', websocket('/refuse')),
    request('a websocket answered by 200', websocket('/plain')),
    request('a websocket where the route forbids it', websocket('/off')),
    request('an unknown upgrade', http('GET /x', ['connection: upgrade', 'upgrade: other'])),
    steps('CONNECT', async (exchange) => {
      const client = await exchange.connect();
      client.send('CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n');
      await client.receive('200 OK');
      client.send('hello');
      await client.receive('HELLO');
      client.send('bye');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

const rawTalker = shoutingUpstream('hello\n');

const CONNECT = 'CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n';

suite(
  'CONNECT that ends here',
  {
    config: httpProxy(
      {
        log: LOG,
        hcm: { upgrade_configs: [{ upgrade_type: 'CONNECT' }] },
        routes: [
          {
            match: { connect_matcher: {}, headers: [{ name: 'x-to', string_match: { exact: 'dead' } }] },
            route: { cluster: 'dead', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
          },
          {
            match: { connect_matcher: {} },
            route: { cluster: 'u1', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
          },
        ],
      },
      [cluster('u1'), cluster('dead', ['{{refused}}'])],
    ),
    upstreams: { u1: rawTalker },
    stats: [
      'http.ingress.downstream_rq_',
      'http.ingress.downstream_cx_upgrades',
      /^cluster\.u1\.upstream_(rq_\w*|cx_total)$/,
    ],
    log: 'access.log',
  },
  [
    steps('bytes both ways, the upstream ends', async (exchange) => {
      const client = await exchange.connect();
      client.send(CONNECT);
      await client.receive('hello');
      client.send('abc');
      await client.receive('ABC');
      client.send('bye');
      await client.receive('BYE');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('the client ends', async (exchange) => {
      const client = await exchange.connect();
      client.send(CONNECT);
      await client.receive('hello');
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps(
      'the upstream resets',
      async (exchange) => {
        const client = await exchange.connect();
        client.send(CONNECT);
        await client.receive('hello');
        client.send('rst');
        await exchange.expectClose(client);
        exchange.expectLog('access.log', 1);
      },
      { clientFate: false },
    ),
    request('a refused connection', 'CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\nx-to: dead\r\n\r\n'),
  ],
);

suite(
  'bodies',
  {
    config: httpProxy({ log: LOG, routes: [to('u1', '/retried', once), to('u1')] }),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        await connection.until(() => connection.received.includes('\r\n\r\n'), 5000);
        if (connection.received.includes('/early')) {
          connection.send(reply(403, 'no need'));
          return;
        }
        if (connection.received.includes('/drop')) {
          connection.reset();
          return;
        }
        if (connection.received.includes('/large')) {
          connection.send(reply(200, 'y'.repeat(3_000_000)));
          return;
        }
        await connection.nextRequest();
        connection.send(reply(200, `${connection.received.length > 1_000_000}`));
      }),
    },
    stats: ['http.ingress.downstream_rq_', /^cluster\.u1\.upstream_rq_\w*$/, 'cluster.u1.retry_or'],
    log: 'access.log',
  },
  [
    request('a large request', http('POST /x', ['content-length: 3000000'], 'x'.repeat(3_000_000)), {
      upstreamBytes: false,
    }),
    request('a large response', http('GET /large')),
    request('an answer before the body', http('POST /early', ['content-length: 10'], 'abc'), { clientFate: false }),
    request('a reset before the body is complete', http('POST /drop', ['content-length: 10'], 'abc'), {
      clientFate: false,
    }),
    request('a retried reset before the body is complete', http('POST /retried/drop', ['content-length: 10'], 'abc'), {
      clientFate: false,
      rewrite: [[/^(x-envoy-expected-rq-timeout-ms: )1[45]\d\d\d$/gm, '$1<about 15000>']],
    }),
  ],
);

suite(
  'runtime of the router',
  {
    config: {
      layered_runtime: {
        layers: [
          {
            name: 'static',
            static_layer: {
              'upstream.maintenance_mode.shut': 100,
              'upstream.use_retry': 0,
              'upstream.base_retry_backoff_ms': 1,
            },
          },
        ],
      },
      ...httpProxy({ log: LOG, routes: [to('shut', '/shut'), to('u1', '/', once)] }, [
        cluster('u1'),
        cluster('shut', ['{{upstream:u1}}']),
      ]),
    },
    upstreams: { u1: upstream },
    stats: ['http.ingress.downstream_rq_', /^cluster\.(u1|shut)\.(external\.)?upstream_rq_\w*$/],
    log: 'access.log',
  },
  [request('maintenance', http('GET /shut')), request('retries are switched off', http('GET /fail'))],
);
