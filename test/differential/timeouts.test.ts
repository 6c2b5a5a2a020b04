/** Every timeout, short enough to be waited for. */
import { httpUpstream, rawUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpProxy, inside, to, trusting } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const LOG = '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_SENT%';

const stats = [
  'http.ingress.downstream_rq',
  'http.ingress.downstream_cx_idle',
  'http.ingress.downstream_cx_max',
  'http.ingress.downstream_cx_drain',
  'http.ingress.downstream_cx_delayed',
  'cluster.u1.upstream_rq',
  'cluster.u1.upstream_cx_idle',
  'cluster.u1.upstream_cx_max',
  'cluster.u1.upstream_cx_connect',
];

/** Answers at once, slowly, partly or never, by the path. */
const upstream = httpUpstream(async (seen, connection) => {
  if (seen.path.startsWith('/never')) return undefined;
  if (seen.path.startsWith('/slow')) {
    await Bun.sleep(150);
    return reply(200, 'slow');
  }
  if (seen.path.startsWith('/partly')) {
    connection.send('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf');
    return undefined;
  }
  if (seen.path.startsWith('/dribble')) {
    connection.send('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n');
    for (const letter of 'abcde') {
      await Bun.sleep(60);
      connection.send(letter);
    }
    return undefined;
  }
  return reply(200, 'quick');
});

suite(
  'route timeouts',
  {
    config: httpProxy({
      log: LOG,
      hcm: trusting,
      routes: [
        to('u1', '/never/short', { timeout: '0.1s' }),
        to('u1', '/never/idle', { timeout: '0s', idle_timeout: '0.1s' }),
        to('u1', '/partly/short', { timeout: '0.1s' }),
        to('u1', '/partly/idle', { timeout: '0s', idle_timeout: '0.1s' }),
        to('u1', '/dribble/idle', { timeout: '0s', idle_timeout: '0.15s' }),
        to('u1', '/dribble/short', { timeout: '0.15s' }),
        to('u1', '/slow/off', { timeout: '0s' }),
        to('u1', '/never/stream', { timeout: '0s', max_stream_duration: { max_stream_duration: '0.1s' } }),
        to('u1', '/never/grpc', {
          timeout: '0s',
          max_stream_duration: { max_stream_duration: '5s', grpc_timeout_header_max: '0s' },
        }),
        to('u1', '/never/per-try', {
          timeout: '2s',
          retry_policy: { per_try_timeout: '0.1s', num_retries: 0, retry_on: '5xx' },
        }),
        to('u1', '/never/per-try-retried', {
          timeout: '2s',
          retry_policy: {
            per_try_timeout: '0.1s',
            num_retries: 1,
            retry_on: '5xx',
            retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' },
          },
        }),
        to('u1', '/never/per-try-idle', {
          timeout: '2s',
          retry_policy: { per_try_idle_timeout: '0.1s', num_retries: 0, retry_on: '5xx' },
        }),
        to('u1', '/'),
      ],
    }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    request('no answer within the timeout', http('GET /never/short')),
    request('no answer within the idle timeout', http('GET /never/idle')),
    request('half an answer within the timeout', http('GET /partly/short'), { close: true, clientFate: false }),
    request('half an answer within the idle timeout', http('GET /partly/idle'), { close: true, clientFate: false }),
    request('a slow body keeps the idle timeout off', http('GET /dribble/idle')),
    request('a slow body does not keep the timeout off', http('GET /dribble/short'), {
      close: true,
      clientFate: false,
      rewrite: [
        [/\n[a-e]*\n\[/g, '\n<letters>\n['],
        [/(-|UT) \d+$/gm, '$1 <bytes>'],
        [/\n[a-e]+$/gm, '\n<letters>'],
      ],
    }),
    request('a timeout of zero is none', http('GET /slow/off')),
    request('no answer within the stream duration', http('GET /never/stream')),
    request(
      'grpc-timeout',
      http('POST /never/grpc', ['content-type: application/grpc', 'grpc-timeout: 100m', 'content-length: 0']),
      { close: false },
    ),
    request('no answer within the try', http('GET /never/per-try')),
    request('no answer within two tries', http('GET /never/per-try-retried'), {
      rewrite: [[/^(x-envoy-expected-rq-timeout-ms: )\d+$/gm, '$1<ms>']],
    }),
    request('no answer within the idle time of a try', http('GET /never/per-try-idle')),
    request('the timeout comes from the header', inside('GET /never', ['x-envoy-upstream-rq-timeout-ms: 100'])),
    request(
      'the timeout of a try comes from the header',
      inside('GET /never', ['x-envoy-upstream-rq-per-try-timeout-ms: 100']),
    ),
    request(
      'a timeout of a try longer than the timeout',
      inside('GET /never', ['x-envoy-upstream-rq-timeout-ms: 100', 'x-envoy-upstream-rq-per-try-timeout-ms: 500']),
    ),
    request('a header that is no number', inside('GET /quick', ['x-envoy-upstream-rq-timeout-ms: soon'])),
    request('a header of a negative number', inside('GET /quick', ['x-envoy-upstream-rq-timeout-ms: -1'])),
    request(
      '204 instead of 504',
      inside('GET /never', ['x-envoy-upstream-rq-timeout-ms: 100', 'x-envoy-upstream-rq-timeout-alt-response: 1']),
    ),
    request('the timeout begins when the request is complete', [
      inside('POST /slow', ['content-length: 2', 'x-envoy-upstream-rq-timeout-ms: 400'], 'a'),
      'b',
    ]),
  ],
);

suite(
  'connection manager timeouts',
  {
    config: {
      static_resources: {
        listeners: Object.entries({
          headers: { request_headers_timeout: '0.1s' },
          request: { request_timeout: '0.1s' },
          'stream-idle': { stream_idle_timeout: '0.1s' },
          idle: { common_http_protocol_options: { idle_timeout: '0.1s' }, drain_timeout: '0.05s' },
          duration: { common_http_protocol_options: { max_connection_duration: '0.1s' }, drain_timeout: '0.05s' },
          'stream-duration': { common_http_protocol_options: { max_stream_duration: '0.1s' } },
          'delayed-off': { delayed_close_timeout: '0s' },
          delayed: { delayed_close_timeout: '0.2s' },
        }).map(
          ([name, hcm]) =>
            (
              httpProxy({
                name,
                hcm,
                log: LOG,
                routes: [to('u1', '/never', { timeout: '0s' }), to('u1', '/partly', { timeout: '0s' }), to('u1')],
              }) as { static_resources: { listeners: object[] } }
            ).static_resources.listeners[0],
        ),
        clusters: [cluster('u1')],
      },
    },
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    request('half a head', 'GET / HTTP/1.1\r\nho', { listener: 'headers', close: true }),
    request('half a head of a second request', `${http('GET /quick')}GET / HTTP/1.1\r\n`, {
      listener: 'headers',
      responses: 2,
      close: true,
    }),
    request('a head in time, a body that is not', http('POST /quick', ['content-length: 2'], 'a'), {
      listener: 'headers',
      responses: 0,
      logLines: 1,
    }),
    request('nothing sent', '', { listener: 'headers', responses: 0 }),
    request('half a body', http('POST /quick', ['content-length: 2'], 'a'), {
      listener: 'request',
      close: true,
      clientFate: false,
    }),
    request('half a head and the request timeout', 'GET / HTTP/1.1\r\nho', { listener: 'request', close: true }),
    request('a slow answer and the request timeout', http('GET /slow'), { listener: 'request' }),
    request('no answer and the stream idle timeout', http('GET /never'), { listener: 'stream-idle' }),
    request('half an answer and the stream idle timeout', http('GET /partly'), {
      listener: 'stream-idle',
      close: true,
      clientFate: false,
    }),
    request('half a head and the stream idle timeout', 'GET / HTTP/1.1\r\nho', {
      listener: 'stream-idle',
      close: true,
    }),
    request('half a body and the stream idle timeout', http('POST /quick', ['content-length: 2'], 'a'), {
      listener: 'stream-idle',
      close: true,
      clientFate: false,
    }),
    request('an idle connection', '', { listener: 'idle', responses: 0, close: true }),
    request('an idle connection after a request', http('GET /quick'), { listener: 'idle', close: true }),
    request('a slow answer is not idle', http('GET /slow'), { listener: 'idle', close: true }),
    request('an idle connection and its duration', '', { listener: 'duration', responses: 0, close: true }),
    request('a connection with a request and its duration', http('GET /slow'), { listener: 'duration', close: true }),
    request('no answer and the stream duration', http('GET /never'), { listener: 'stream-duration' }),
    request('half an answer and the stream duration', http('GET /partly'), {
      listener: 'stream-duration',
      close: true,
      clientFate: false,
    }),
    request('a refused request without delayed close', 'rubbish\r\n\r\n', { listener: 'delayed-off', close: true }),
    request('a refused request with delayed close', 'rubbish\r\n\r\n', { listener: 'delayed', close: true }),
    steps('delayed close ends when the client does', async (exchange) => {
      const client = await exchange.connect('delayed');
      client.send('rubbish\r\n\r\n');
      await exchange.expectResponse(client);
      client.end();
      await exchange.expectStat('http.ingress.downstream_cx_active', 0);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

const options = (common: Fields): Fields => ({
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      common_http_protocol_options: common,
      explicit_http_config: { http_protocol_options: {} },
    },
  },
});

suite(
  'upstream timeouts',
  {
    config: httpProxy(
      {
        log: LOG,
        routes: [
          to('refused', '/refused'),
          to('idle', '/idle'),
          to('age', '/age'),
          to('unroutable', '/unroutable', { timeout: '3s' }),
        ],
      },
      [
        cluster('refused', ['{{refused}}']),
        cluster('idle', ['{{upstream:u1}}'], options({ idle_timeout: '0.1s' })),
        cluster('age', ['{{upstream:u1}}'], options({ max_connection_duration: '0.1s' })),
        {
          name: 'unroutable',
          type: 'STATIC',
          connect_timeout: '0.1s',
          load_assignment: {
            cluster_name: 'unroutable',
            // TEST-NET-1: nobody answers; or the machine has no route to it, and both proxies see the same.
            endpoints: [
              {
                lb_endpoints: [{ endpoint: { address: { socket_address: { address: '192.0.2.1', port_value: 9 } } } }],
              },
            ],
          },
        },
      ],
    ),
    upstreams: { u1: upstream },
    stats: [
      'http.ingress.downstream_rq',
      'cluster.refused.upstream_',
      'cluster.idle.upstream_cx',
      'cluster.age.upstream_cx',
    ],
    log: 'access.log',
  },
  [
    request('a refused connection', http('GET /refused')),
    steps('an idle pooled connection is closed', async (exchange) => {
      await exchange.request(http('GET /idle'));
      await exchange.expectStat('cluster.idle.upstream_cx_active', 0);
      exchange.expectLog('access.log', 1);
    }),
    steps('an old pooled connection is closed', async (exchange) => {
      await exchange.request(http('GET /age'));
      await exchange.expectStat('cluster.age.upstream_cx_active', 0);
      exchange.expectLog('access.log', 1);
    }),
    request('a connection that nobody accepts', http('GET /unroutable')),
  ],
);

const LARGE = 32 * 1024 * 1024;

suite(
  'clients that do not read',
  {
    config: httpProxy({ listener: { per_connection_buffer_limit_bytes: LARGE } }, [
      cluster('u1', ['{{upstream:u1}}'], { per_connection_buffer_limit_bytes: LARGE }),
    ]),
    upstreams: { u1: httpUpstream(() => reply(200, 'x'.repeat(16 * 1024 * 1024))) },
    stats: ['http.ingress.downstream_cx_delayed', 'http.ingress.downstream_cx_active'],
  },
  [
    steps(
      'the flush in front of a close takes no longer than the delayed close timeout without progress',
      async (exchange) => {
        const client = await exchange.connect('a');
        client.pause();
        client.send(http('GET /', ['connection: close']));
        await exchange.expectStat('http.ingress.downstream_cx_delayed_close_timeout', 1);
        await exchange.expectStat('http.ingress.downstream_cx_active', 0);
      },
      { clientFate: false, upstreamBytes: false },
    ),
  ],
);

suite(
  'stalled upstream connections',
  {
    config: httpProxy({ log: LOG, routes: [to('u1', '/', { timeout: '0.15s' })] }),
    upstreams: {
      u1: rawUpstream((connection) => {
        connection.pause();
      }),
    },
    stats,
    log: 'access.log',
  },
  [
    request('an upstream that reads nothing', http('POST /stall', ['content-length: 100'], 'x'.repeat(100)), {
      upstreamBytes: false,
    }),
  ],
);
