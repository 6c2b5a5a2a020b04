/** Access logs: operators, formats, filters, files. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, fileLog, http, httpProxy, to, typed } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const upstream = httpUpstream(async (seen, connection) => {
  if (seen.path === '/reset') {
    connection.reset();
    return undefined;
  }
  if (seen.path === '/500') return reply(500, 'bad');
  if (seen.path === '/grpc')
    return 'HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n';
  if (seen.path === '/trailers')
    return 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-t: trailer\r\n\r\n';
  if (seen.path === '/slow') await Bun.sleep(60);
  return reply(200, `hello ${seen.path}`, ['x-up: "quoted"\\back', 'x-long: 0123456789']);
});

const OPERATORS = [
  '%REQ(:METHOD)%',
  '%REQ(X-NONE)%',
  '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  '%REQ(X-QUOTE)%',
  '%REQ(X-LONG):4%',
  '%RESP(X-UP)%',
  '%RESP(X-LONG):4%',
  '%RESP(CONTENT-TYPE?X-UP)%',
  '%TRAILER(X-T)%',
  '%PROTOCOL%',
  '%UPSTREAM_PROTOCOL%',
  '%RESPONSE_CODE%',
  '%RESPONSE_CODE_DETAILS%',
  '%RESPONSE_FLAGS%',
  '%RESPONSE_FLAGS_LONG%',
  '%BYTES_RECEIVED%',
  '%BYTES_SENT%',
  '%UPSTREAM_CLUSTER%',
  '%UPSTREAM_HOST%',
  '%UPSTREAM_HOST_NAME%',
  '%UPSTREAM_HOST_NAME_WITHOUT_PORT%',
  '%UPSTREAM_LOCAL_ADDRESS%',
  '%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%',
  '%UPSTREAM_REMOTE_ADDRESS%',
  '%UPSTREAM_REMOTE_PORT%',
  '%UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  '%UPSTREAM_HOSTS_ATTEMPTED%',
  '%DOWNSTREAM_LOCAL_ADDRESS%',
  '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%',
  '%DOWNSTREAM_REMOTE_ADDRESS%',
  '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
  '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%',
  '%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%',
  '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%',
  '%DOWNSTREAM_DETECTED_CLOSE_TYPE%',
  '%UPSTREAM_DETECTED_CLOSE_TYPE%',
  '%REQUESTED_SERVER_NAME%',
  '%ROUTE_NAME%',
  '%VIRTUAL_CLUSTER_NAME%',
  '%FILTER_CHAIN_NAME%',
  '%LISTENER_NAME%',
  '%ACCESS_LOG_TYPE%',
  '%LOCAL_REPLY_BODY%',
  '%CONNECTION_TERMINATION_DETAILS%',
  '%GRPC_STATUS%',
  '%GRPC_STATUS(SNAKE_STRING)%',
  '%GRPC_STATUS_NUMBER%',
  '%STREAM_ID%',
  '%UNIQUE_ID%',
  '%TRACE_ID%',
  '%HOSTNAME%',
  '%ENVIRONMENT(NUNCIO_TEST)%',
  '%DYNAMIC_METADATA(a)%',
  '%CLUSTER_METADATA(a:b)%',
  '%UPSTREAM_METADATA(a:b)%',
  '%METADATA(ROUTE:a:b)%',
  '%FILTER_STATE(x)%',
  '%QUERY_PARAM(q)%',
  '%QUERY_PARAMS(ORIG)%',
  '%PATH%',
  '%PATH(NQ)%',
  '%PATH(WQ:ORIG)%',
  '%START_TIME(%Y)%',
  '%EMIT_TIME(%Y)%',
  '%REQUEST_HEADERS_BYTES%',
  '%RESPONSE_HEADERS_BYTES%',
  '%RESPONSE_TRAILERS_BYTES%',
  '%DOWNSTREAM_WIRE_BYTES_RECEIVED%',
  '%UPSTREAM_WIRE_BYTES_RECEIVED%',
  '%DOWNSTREAM_HEADER_BYTES_RECEIVED%',
  '%UPSTREAM_HEADER_BYTES_RECEIVED%',
  '%CUSTOM_FLAGS%',
  '%DOWNSTREAM_TLS_VERSION%',
  '%DOWNSTREAM_PEER_SUBJECT%',
];

const routes: readonly Fields[] = [
  {
    name: 'rewritten',
    ...to('u1', '/old', { prefix_rewrite: '/new' }),
    metadata: { filter_metadata: { a: { b: 'route metadata' } } },
  },
  { name: 'direct', match: { prefix: '/direct' }, direct_response: { status: 403, body: { inline_string: 'denied' } } },
  to('refused', '/refused'),
  to('u1', '/reset'),
  to('u1', '/', {}, { name: 'all' }),
];

const clusters = [cluster('u1'), cluster('refused', ['{{refused}}'])];

const requests = [
  request('a GET', http('GET /x?q=1&r=2', ['x-quote: a "b" \\c', 'x-long: 0123456789'])),
  request('a POST', http('POST /x', ['content-length: 5'], 'hello')),
  request('a rewritten path', http('GET /old/x?q=1')),
  request('a direct response', http('GET /direct')),
  request('a refused upstream', http('GET /refused')),
  request('a reset upstream', http('GET /reset')),
  request('a 500', http('GET /500')),
  request('gRPC', http('POST /grpc', ['content-type: application/grpc', 'content-length: 0'])),
  request('trailers', http('GET /trailers')),
  request('rubbish', 'rubbish\r\n\r\n', { close: true }),
];

const operatorsText = OPERATORS.map((operator) => `${operator.replace(/%/g, '')} = ${operator}`).join('\n');
const lines = OPERATORS.length;

suite(
  'operators in text',
  {
    config: httpProxy({ log: operatorsText, routes }, clusters),
    upstreams: { u1: upstream },
    env: { NUNCIO_TEST: 'from the environment' },
    log: 'access.log',
    // The id is random; the header bytes hold the digits of durations.
    rewrite: [[/^(.*BYTES(_SENT|_RECEIVED)? = ).*$/gm, '$1<n>']],
  },
  requests.map((one) => ({ ...one, options: { ...one.options, logLines: lines } })),
);

suite(
  'operators in JSON',
  {
    config: httpProxy(
      {
        routes,
        hcm: {
          access_log: [
            {
              name: 'envoy.access_loggers.file',
              typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
                path: '{{tmp}}/access.log',
                log_format: {
                  json_format: {
                    method: '%REQ(:METHOD)%',
                    code: '%RESPONSE_CODE%',
                    sent: '%BYTES_SENT%',
                    none: '%REQ(X-NONE)%',
                    quoted: '%REQ(X-QUOTE)%',
                    mixed: 'code %RESPONSE_CODE% flags %RESPONSE_FLAGS%',
                    nested: {
                      flags: '%RESPONSE_FLAGS%',
                      list: ['%PROTOCOL%', 7, true, null, 'text'],
                      deeper: { route: '%ROUTE_NAME%' },
                    },
                    number: 1.5,
                    boolean: false,
                    metadata: '%METADATA(ROUTE:a)%',
                    zeta: 'last',
                    alpha: 'first',
                  },
                },
              }),
            },
          ],
        },
      },
      clusters,
    ),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  requests,
);

suite(
  'the default format',
  {
    config: httpProxy(
      {
        routes,
        hcm: {
          access_log: [
            {
              name: 'envoy.access_loggers.file',
              typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
                path: '{{tmp}}/access.log',
              }),
            },
          ],
        },
      },
      clusters,
    ),
    upstreams: { u1: upstream },
    log: 'access.log',
    // Durations and the upstream service time.
    rewrite: [[/^(\[.*?\] ".*?" \d+ \S+ \d+ \d+) \d+ (\d+|-)/gm, '$1 <ms> <ms>']],
  },
  requests,
);

suite(
  'omitted empty values',
  {
    config: httpProxy(
      {
        routes,
        hcm: {
          access_log: [
            {
              name: 'envoy.access_loggers.file',
              typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
                path: '{{tmp}}/access.log',
                log_format: {
                  json_format: {
                    none: '%REQ(X-NONE)%',
                    some: '%REQ(:METHOD)%',
                    mixed: 'a%REQ(X-NONE)%b',
                    in: { none: '%REQ(X-NONE)%' },
                  },
                  omit_empty_values: true,
                },
              }),
            },
            fileLog('[%REQ(X-NONE)%] [%REQ(X-NONE)%%REQ(:METHOD)%]'),
          ],
        },
      },
      clusters,
    ),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [request('a GET', http('GET /'), { logLines: 2 })],
);

const filters: Readonly<Record<string, Fields>> = {
  'status GE 400': {
    status_code_filter: { comparison: { op: 'GE', value: { default_value: 400, runtime_key: 'x' } } },
  },
  'status EQ 200': {
    status_code_filter: { comparison: { op: 'EQ', value: { default_value: 200, runtime_key: 'x' } } },
  },
  'status LE 399': {
    status_code_filter: { comparison: { op: 'LE', value: { default_value: 399, runtime_key: 'x' } } },
  },
  'duration GE 50': { duration_filter: { comparison: { op: 'GE', value: { default_value: 50, runtime_key: 'x' } } } },
  'not health check': { not_health_check_filter: {} },
  traceable: { traceable_filter: {} },
  'header present': { header_filter: { header: { name: 'x-log', present_match: true } } },
  'flags any': { response_flag_filter: {} },
  'flags UF': { response_flag_filter: { flags: ['UF', 'NR'] } },
  grpc: { grpc_status_filter: { statuses: ['NOT_FOUND'] } },
  'grpc excluded': { grpc_status_filter: { statuses: ['NOT_FOUND'], exclude: true } },
  and: {
    and_filter: {
      filters: [
        { status_code_filter: { comparison: { op: 'GE', value: { default_value: 500, runtime_key: 'x' } } } },
        { header_filter: { header: { name: 'x-log', present_match: true } } },
      ],
    },
  },
  or: {
    or_filter: {
      filters: [
        { status_code_filter: { comparison: { op: 'GE', value: { default_value: 500, runtime_key: 'x' } } } },
        { header_filter: { header: { name: 'x-log', present_match: true } } },
      ],
    },
  },
  never: { runtime_filter: { runtime_key: 'none', percent_sampled: { numerator: 0, denominator: 'HUNDRED' } } },
  always: { runtime_filter: { runtime_key: 'none', percent_sampled: { numerator: 100, denominator: 'HUNDRED' } } },
  type: { log_type_filter: { types: ['DownstreamEnd'] } },
  'type excluded': { log_type_filter: { types: ['DownstreamEnd'], exclude: true } },
};

suite(
  'filters',
  {
    // One logger for each filter and one without, all to one file: its line says that the others have been written.
    config: httpProxy(
      {
        routes,
        hcm: {
          access_log: [
            ...Object.entries(filters).map(([name, filter]) => fileLog(`${name}: logged`, 'filtered.log', { filter })),
            fileLog('done', 'filtered.log'),
            fileLog('done'),
          ],
        },
      },
      clusters,
    ),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  ['GET /x', 'GET /500', 'GET /direct', 'GET /refused', 'GET /slow', 'POST /grpc'].flatMap((line) =>
    [[], ['x-log: 1']].map((headers) =>
      steps(`${line} ${headers.join()}`, async (exchange) => {
        const before = exchange.side.file('filtered.log');
        await exchange.request(
          http(
            line,
            line.startsWith('POST') ? ['content-type: application/grpc', 'content-length: 0', ...headers] : headers,
          ),
        );
        const news = (): string => exchange.side.file('filtered.log').slice(before.length);
        await exchange.expect('the line without a filter', () => news().endsWith('done\n'));
        exchange.note('filtered', news());
        exchange.expectLog('access.log', 1);
      }),
    ),
  ),
);

suite(
  'files',
  {
    config: httpProxy({ log: '%REQ(:PATH)%', routes }, clusters),
    upstreams: { u1: upstream },
    log: 'access.log',
    fresh: true,
  },
  [
    steps(
      'SIGUSR1 opens the file anew',
      async (exchange) => {
        const { rename } = await import('node:fs/promises');
        await exchange.request(http('GET /before'));
        await exchange.expect('the first line', () => exchange.side.file('access.log') !== '');
        await rename(`${exchange.side.tmp}/access.log`, `${exchange.side.tmp}/rotated.log`);
        exchange.proxy.signal('SIGUSR1');
        await exchange.expect('a new file', async () => {
          await exchange.proxy.admin('/ready');
          return Bun.file(`${exchange.side.tmp}/access.log`).exists();
        });
        await exchange.request(http('GET /after'));
        await exchange.expect('the second line', () => exchange.side.file('access.log') !== '');
        exchange.note('rotated.log', exchange.side.file('rotated.log'));
        exchange.note('access.log', exchange.side.file('access.log'));
      },
      { log: 'nothing.log', logLines: 0 },
    ),
    steps(
      'what is buffered is written on exit',
      async (exchange) => {
        await exchange.request(http('GET /last'));
        exchange.proxy.signal('SIGTERM');
        exchange.note('exit', String(await exchange.proxy.exited()));
        exchange.note('access.log', exchange.side.file('access.log'));
      },
      { log: 'nothing.log', logLines: 0, clientFate: false },
    ),
  ],
);
