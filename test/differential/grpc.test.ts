/** gRPC through the proxy: local replies, timeouts, retries, routes, logs and stats, asked over HTTP/1. */
import { httpUpstream, rawUpstream, reply, type SeenRequest } from '../support/scripted-upstream.ts';
import { cluster, type Fields, fileLog, http, httpFilter, httpProxy, inside, to, trusting, typed } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const withTrailers: Fields = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed(
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      { explicit_http_config: { http_protocol_options: { enable_trailers: true } } },
    ),
  },
};

function grpc(path: string, headers: readonly string[] = [], type = 'application/grpc'): string {
  return http(`POST ${path}`, [`content-type: ${type}`, 'content-length: 0', ...headers]);
}

function grpcInside(path: string, headers: readonly string[] = []): string {
  return inside(`POST ${path}`, ['content-type: application/grpc', 'content-length: 0', ...headers]);
}

function answer(trailers: readonly string[], headers: readonly string[] = []): string {
  const head = ['HTTP/1.1 200 OK', 'content-type: application/grpc', 'transfer-encoding: chunked', ...headers];
  return `${head.join('\r\n')}\r\n\r\n2\r\nok\r\n0\r\n${trailers.map((line) => `${line}\r\n`).join('')}\r\n`;
}

function trailersOnly(status: number | string, message = ''): string {
  return reply(200, '', ['content-type: application/grpc', `grpc-status: ${status}`, `grpc-message: ${message}`]);
}

const LOG =
  '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %GRPC_STATUS% %GRPC_STATUS(CAMEL_STRING)% ' +
  '%GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER% %TRAILER(GRPC-STATUS)% %RESP(GRPC-STATUS)%';

const direct = (path: string, status: number, body = ''): Fields => ({
  match: { prefix: path },
  direct_response: { status, ...(body === '' ? {} : { body: { inline_string: body } }) },
});

const statuses = [200, 204, 301, 400, 401, 403, 404, 408, 413, 429, 499, 500, 501, 502, 503, 504];

suite(
  'gRPC: local replies',
  {
    config: httpProxy(
      {
        log: LOG,
        routes: [
          ...statuses.map((status) => direct(`/direct/${status}`, status, `answer ${status}`)),
          direct('/empty', 503),
          direct('/odd', 403, 'line\nfeed, 100%, caf\u00e9 \u2603 "quoted"\t~'),
          { match: { prefix: '/redirect' }, redirect: { host_redirect: 'elsewhere' } },
          to('refused', '/refused'),
          to('none', '/none'),
          to('empty', '/no-hosts'),
          to('u1', '/timeout', { timeout: '0.05s' }),
          to('u1', '/up'),
        ],
        routeConfig: { validate_clusters: false },
        filters: [httpFilter('fault', 'HTTPFault', { abort: { header_abort: {}, percentage: { numerator: 100 } } })],
      },
      [cluster('u1', undefined, withTrailers), cluster('refused', ['{{refused}}']), cluster('empty', [])],
    ),
    upstreams: {
      u1: httpUpstream((seen) => (seen.path.startsWith('/timeout') ? undefined : answer(['grpc-status: 0']))),
    },
    stats: [
      'http.ingress.downstream_rq_',
      'cluster.u1.upstream_rq_',
      'cluster.refused.upstream_rq_',
      'http.ingress.fault',
    ],
    log: 'access.log',
  },
  [
    ...statuses.map((status) => request(`direct response ${status}`, grpc(`/direct/${status}`))),
    request('a direct response without body', grpc('/empty')),
    request('a message that needs encoding', grpc('/odd')),
    request('HEAD', http('HEAD /odd', ['content-type: application/grpc'])),
    request('GET', http('GET /odd', ['content-type: application/grpc'])),
    request('a redirect', grpc('/redirect')),
    request('no route', grpc('/nowhere')),
    request('no connection', grpc('/refused'), { upstreamBytes: false }),
    request('no cluster', grpc('/none')),
    request('no hosts', grpc('/no-hosts')),
    request('a timeout', grpc('/timeout')),
    request('a fault with an HTTP status', grpc('/up', ['x-envoy-fault-abort-request: 429'])),
    request('a fault with a gRPC status', grpc('/up', ['x-envoy-fault-abort-grpc-request: 5'])),
    ...[
      'application/grpc+proto',
      'application/grpc-web',
      'application/grpc;a=b',
      'application/grpcx',
      'APPLICATION/GRPC',
      'application/grpc+',
    ].map((type) => request(`content type ${type}`, grpc('/odd', [], type))),
    request(
      'two content types',
      http('POST /odd', ['content-type: application/grpc', 'content-type: text/plain', 'content-length: 0']),
    ),
  ],
);

suite(
  'gRPC: local replies that are rewritten',
  {
    config: httpProxy({
      log: LOG,
      routes: [direct('/a', 403, 'mapped'), direct('/b', 404, 'kept'), direct('/j', 500, 'json')],
      hcm: {
        local_reply_config: {
          mappers: [
            {
              filter: {
                status_code_filter: { comparison: { op: 'EQ', value: { default_value: 403, runtime_key: 'x' } } },
              },
              status_code: 429,
              body: { inline_string: 'slower' },
              headers_to_add: [{ header: { key: 'x-mapped', value: 'yes' } }],
            },
            {
              filter: {
                status_code_filter: { comparison: { op: 'EQ', value: { default_value: 500, runtime_key: 'x' } } },
              },
              body_format_override: {
                json_format: { text: '%LOCAL_REPLY_BODY%', code: '%RESPONSE_CODE%', grpc: '%GRPC_STATUS%' },
              },
              headers_to_add: [{ header: { key: 'grpc-status', value: '11' } }],
            },
          ],
          body_format: { text_format_source: { inline_string: '<%LOCAL_REPLY_BODY%> %RESPONSE_CODE%\n' } },
        },
      },
    }),
    upstreams: { u1: httpUpstream(() => reply(200)) },
    log: 'access.log',
  },
  [
    request('mapped', grpc('/a')),
    request('formatted', grpc('/b')),
    request('as JSON', grpc('/j')),
    request('no gRPC', http('GET /j')),
  ],
);

/** Tells its headers, and ends as the path says. */
function seenBy(seen: SeenRequest): string {
  const told = ['grpc-timeout', 'x-envoy-expected-rq-timeout-ms', 'te'].map(
    (name) => `x-${name}: ${seen.header(name) ?? '-'}`,
  );
  return answer(['grpc-status: 0'], told);
}

const TIMEOUTS = [
  '1H',
  '2M',
  '30S',
  '2500m',
  '99999999H',
  '999999999m',
  '12',
  'm',
  '-5S',
  '5x',
  '5 S',
  '+5S',
  '1.5S',
  '',
];

for (const [name, action] of Object.entries({
  'max_stream_duration with a maximum and an offset': {
    max_stream_duration: {
      max_stream_duration: '20s',
      grpc_timeout_header_max: '3s',
      grpc_timeout_header_offset: '0.1s',
    },
  },
  'max_stream_duration without a maximum': {
    max_stream_duration: { max_stream_duration: '20s', grpc_timeout_header_max: '0s' },
  },
  'max_stream_duration alone': { max_stream_duration: { max_stream_duration: '20s' } },
  'only the maximum of the header': { max_stream_duration: { grpc_timeout_header_max: '10s' } },
  max_grpc_timeout: { max_grpc_timeout: '5s' },
  'max_grpc_timeout and an offset': { max_grpc_timeout: '5s', grpc_timeout_offset: '0.2s' },
  'max_grpc_timeout of zero': { max_grpc_timeout: '0s', timeout: '7s' },
  'no word of it': { timeout: '7s' },
} as Readonly<Record<string, Fields>>)) {
  suite(
    `gRPC: grpc-timeout: ${name}`,
    {
      config: httpProxy({ log: LOG, routes: [to('u1', '/', action)], hcm: trusting }, [
        cluster('u1', undefined, withTrailers),
      ]),
      upstreams: { u1: httpUpstream(seenBy) },
      log: 'access.log',
    },
    [
      steps(
        'values',
        async (exchange) => {
          for (const value of TIMEOUTS)
            await exchange.request(grpc(`/${encodeURIComponent(value)}`, [`grpc-timeout: ${value}`]));
        },
        { logLines: TIMEOUTS.length },
      ),
      request('none', grpc('/')),
      request('for a request that is no gRPC', http('GET /', ['grpc-timeout: 1S'])),
      request(
        'beside a timeout of Envoy',
        grpcInside('/', ['grpc-timeout: 1S', 'x-envoy-upstream-rq-timeout-ms: 444']),
      ),
      request(
        'beside a timeout per try',
        grpcInside('/', ['grpc-timeout: 1S', 'x-envoy-upstream-rq-per-try-timeout-ms: 333']),
      ),
    ],
  );
}

suite(
  'gRPC: deadlines that pass',
  {
    config: httpProxy(
      {
        log: LOG,
        routes: [
          to('u1', '/duration', { max_stream_duration: { grpc_timeout_header_max: '1s' } }),
          to('u1', '/old', { max_grpc_timeout: '1s' }),
          to('u1', '/fixed', { max_stream_duration: { max_stream_duration: '0.06s' } }),
        ],
      },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        for (;;) {
          const seen = await connection.nextRequest();
          if (seen === null) return;
          if (seen.text.includes('/begun'))
            connection.send(
              'HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n',
            );
        }
      }),
    },
    stats: ['cluster.u1.upstream_rq_', 'http.ingress.downstream_rq_'],
    log: 'access.log',
  },
  [
    request('by max_stream_duration', grpc('/duration', ['grpc-timeout: 60m'])),
    request('by less than a millisecond', grpc('/duration', ['grpc-timeout: 1500u']), {
      upstreamBytes: false,
      stats: [],
    }),
    request('by a deadline of nothing', grpc('/duration', ['grpc-timeout: 0S']), { upstreamBytes: false, stats: [] }),
    request('by max_grpc_timeout', grpc('/old', ['grpc-timeout: 60m'])),
    request('by a fixed duration', grpc('/fixed')),
    request('within the answer', grpc('/duration/begun', ['grpc-timeout: 60m']), {
      close: true,
      responses: 0,
      logLines: 1,
      clientFate: false,
    }),
  ],
);

const WORDS = 'cancelled,deadline-exceeded,internal,resource-exhausted,unavailable';

const retryCases = [...Array.from({ length: 17 }, (_, status) => String(status)), '014', '17', 'x', ''];

suite(
  'gRPC: retries by status',
  {
    config: httpProxy(
      {
        log: `${LOG} %UPSTREAM_REQUEST_ATTEMPT_COUNT%`,
        routes: [
          to('u1', '/', {
            timeout: '0s',
            retry_policy: { retry_on: WORDS, num_retries: 1, retry_back_off: { base_interval: '0.001s' } },
          }),
        ],
      },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams: {
      u1: httpUpstream((seen) =>
        seen.path.includes('/trailers')
          ? answer([`grpc-status: ${seen.path.split('/')[1]}`])
          : trailersOnly(seen.path.slice(1), 'again'),
      ),
    },
    stats: [
      'cluster.u1.upstream_rq_retry',
      'cluster.u1.retry.',
      'cluster.u1.upstream_rq_2',
      'cluster.u1.upstream_rq_total',
    ],
    log: 'access.log',
  },
  [
    ...retryCases.map((status) => request(`status ${status}`, grpc(`/${status}`))),
    request('in the trailers it is too late', grpc('/14/trailers')),
    request('a request that is no gRPC', http('GET /14')),
  ],
);

suite(
  'gRPC: retries by headers',
  {
    config: httpProxy(
      { log: `${LOG} %UPSTREAM_REQUEST_ATTEMPT_COUNT%`, hcm: trusting, routes: [to('u1', '/', { timeout: '0s' })] },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams: { u1: httpUpstream((seen) => trailersOnly(seen.path.slice(1), 'again')) },
    stats: ['cluster.u1.upstream_rq_retry', 'cluster.u1.upstream_rq_total'],
    log: 'access.log',
  },
  [
    request('x-envoy-retry-grpc-on', grpcInside('/14', ['x-envoy-retry-grpc-on: unavailable'])),
    request('several words', grpcInside('/1', ['x-envoy-retry-grpc-on: unavailable, cancelled'])),
    request('another status', grpcInside('/1', ['x-envoy-retry-grpc-on: unavailable'])),
    request('an unknown word', grpcInside('/14', ['x-envoy-retry-grpc-on: whatever'])),
    request('gRPC words in x-envoy-retry-on', grpcInside('/14', ['x-envoy-retry-on: unavailable'])),
    request('with a number', grpcInside('/14', ['x-envoy-retry-grpc-on: unavailable', 'x-envoy-max-retries: 3'])),
    request('from outside', grpc('/14', ['x-envoy-retry-grpc-on: unavailable'])),
  ],
);

suite(
  'gRPC: routes, host stats and suppressed codes',
  {
    config: httpProxy(
      {
        log: LOG,
        routes: [
          {
            ...to('u1', '/'),
            match: { prefix: '/', grpc: {} },
            name: 'grpc',
            response_headers_to_add: [{ header: { key: 'x-route', value: 'grpc' } }],
          },
          to('u1', '/', {}, { response_headers_to_add: [{ header: { key: 'x-route', value: 'other' } }] }),
        ],
        router: { suppress_grpc_request_failure_code_stats: true },
      },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams: {
      u1: httpUpstream((seen) =>
        seen.path === '/500'
          ? reply(500)
          : seen.path.startsWith('/only')
            ? trailersOnly(seen.path.slice(5))
            : answer([`grpc-status: ${seen.path.slice(1)}`]),
      ),
    },
    stats: ['cluster.u1.upstream_rq_', 'cluster.u1.external.'],
    log: 'access.log',
  },
  [
    ...['application/grpc', 'application/grpc+json', 'application/grpc-web', 'text/plain', 'application/grpc;x'].map(
      (type) => request(`route for ${type}`, grpc('/0', [], type)),
    ),
    ...['0', '1', '4', '13', '16', '17', '-1'].map((status) =>
      steps(
        `counts of the host for status ${status}`,
        async (exchange) => {
          await exchange.request(grpc(`/${status}`));
          await exchange.request(grpc(`/only/${status}`));
          await exchange.admin('/clusters', { pick: /rq_(success|error|total)/ });
        },
        { logLines: 2 },
      ),
    ),
    steps(
      'counts of the host for an HTTP status',
      async (exchange) => {
        await exchange.request(grpc('/500'));
        await exchange.admin('/clusters', { pick: /rq_(success|error|total)/ });
      },
      { logLines: 1 },
    ),
  ],
);

const statusFilter = (statuses: readonly string[], exclude = false): Fields => ({
  filter: { grpc_status_filter: { statuses, exclude } },
});

suite(
  'gRPC: the access log filter by status',
  {
    config: httpProxy(
      {
        routes: [direct('/direct', 403, 'no'), to('u1')],
        hcm: {
          access_log: [
            fileLog(`all ${LOG}`, 'access.log'),
            fileLog('good %REQ(:PATH)%', 'access.log', statusFilter(['OK'])),
            fileLog('bad %REQ(:PATH)%', 'access.log', statusFilter(['UNAVAILABLE', 'PERMISSION_DENIED', 'UNKNOWN'])),
            fileLog('others %REQ(:PATH)%', 'access.log', statusFilter(['OK'], true)),
          ],
        },
      },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams: {
      u1: httpUpstream((seen) =>
        seen.path === '/plain'
          ? reply(503)
          : seen.path === '/word'
            ? answer(['grpc-status: word'])
            : seen.path === '/none'
              ? answer([])
              : seen.path === '/both'
                ? answer(['grpc-status: 14'], ['grpc-status: 0'])
                : answer([`grpc-status: ${seen.path.slice(1)}`]),
      ),
    },
    log: 'access.log',
  },
  ['0', '2', '7', '14', '16', '17', '99', '-1', '014', 'plain', 'word', 'none', 'both', 'direct'].flatMap((path) => [
    steps(`${path}, gRPC`, async (exchange) => void (await exchange.request(grpc(`/${path}`))), { logLines: 2 }),
    steps(`${path}, no gRPC`, async (exchange) => void (await exchange.request(http(`GET /${path}`))), { logLines: 2 }),
  ]),
);
