/** Edges of the connection manager: addresses, request ids, methods, upgrades, ends of connections. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, fileLog, http, httpListener, httpProxy, to, typed } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const LOG =
  '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%';
const upstream = httpUpstream((seen) => reply(200, `${seen.method} ${seen.path}`));
const stats = ['http.ingress.downstream'];
const UUID = 'x-request-id: 01234567-89ab-9def-8123-456789abcdef';

suite(
  'x-forwarded-for values',
  {
    config: httpProxy({ log: LOG, hcm: { internal_address_config: { cidr_ranges: [] } } }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [
    '1.2.3.4:5',
    '[1::2]:5',
    '1::2',
    '1.2.3.4, 10.0.0.1',
    '10.0.0.1',
    '127.0.0.2',
    '127.0.0.1',
    '172.16.0.1',
    '172.32.0.1',
    'fd00::1',
    'fc00::1',
    '1.2.3.4,',
    ',1.2.3.4',
    ' 1.2.3.4 ',
    '1.2.3',
    '01.2.3.4',
    '1.2.3.4%1',
    '::ffff:1.2.3.4',
    '',
  ].map((value) => request(`'${value}'`, http('GET /', [`x-forwarded-for: ${value}`]))),
);

suite(
  'two trusted hops',
  {
    config: httpProxy({ log: LOG, hcm: { xff_num_trusted_hops: 2 } }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  ['1.1.1.1', '1.1.1.1, 2.2.2.2', '1.1.1.1, 2.2.2.2, 3.3.3.3', '1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4', ',,1.1.1.1'].map(
    (value) => request(`'${value}'`, http('GET /', [`x-forwarded-for: ${value}`])),
  ),
);

const edge = (hcm: Fields, name: string) =>
  suite(
    `request ids: ${name}`,
    {
      config: httpProxy({
        hcm,
        log: '%REQ(X-REQUEST-ID)%',
        routes: [
          to('u1', '/', {}, { request_headers_to_add: [{ header: { key: 'x-stream', value: '%STREAM_ID%' } }] }),
        ],
      }),
      upstreams: { u1: upstream },
      rewrite: [[/01234567-89ab-(.)def-8123-456789abcdef/g, "the client's with $1"]],
    },
    [
      request('none', http('GET /')),
      request('a UUID', http('GET /', [UUID])),
      request('empty', http('GET /', ['x-request-id:'])),
      request('short', http('GET /', ['x-request-id: mine'])),
      request('two', http('GET /', ['x-request-id: one', 'x-request-id: two'])),
    ],
  );
edge({ use_remote_address: true }, 'at the edge');
edge({ use_remote_address: true, preserve_external_request_id: true }, 'kept at the edge');
edge({ preserve_external_request_id: true }, 'inside');
edge(
  {
    use_remote_address: true,
    preserve_external_request_id: true,
    request_id_extension: {
      typed_config: typed('envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig', { pack_trace_reason: false }),
    },
  },
  'kept without the trace reason',
);
edge({ generate_request_id: false }, 'not generated');

suite(
  'addresses as IPv6',
  {
    config: httpProxy({
      log: LOG,
      hcm: { use_remote_address: true, represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true },
    }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [request('IPv4', http('GET /')), request('with x-forwarded-for', http('GET /', ['x-forwarded-for: 1.2.3.4']))],
);

suite('methods and hosts', { config: httpProxy({ log: LOG }), upstreams: { u1: upstream }, stats, log: 'access.log' }, [
  request('QUERY', http('QUERY / HTTP/1.1')),
  request('QUERY with a content type', http('QUERY /', ['content-type: text/plain', 'content-length: 1'], 'x')),
  request('PATCH', http('PATCH /')),
  request('TRACE', http('TRACE /')),
  request('PURGE', http('PURGE /')),
  request('OPTIONS *', http('OPTIONS *')),
  request('two hosts', 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n'),
  request('an empty host', 'GET / HTTP/1.1\r\nhost:\r\n\r\n'),
  request('a host in the target and in the header', 'GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n'),
  request('a referer without a host', http('GET /', ['referer: http:///x'])),
  request('a relative referer', http('GET /', ['referer: /x'])),
  request('two referers', http('GET /', ['referer: http://a/', 'referer: http://b/'])),
  request('a referer of another scheme', http('GET /', ['referer: ftp://a/'])),
  ...[
    '/x:y',
    'x?y:z',
    '"q"',
    'http://a:65536/',
    'http://u:p@a/',
    'http://[::1]:80',
    'a:b',
    'h_p://a',
    'http://a/<',
  ].map((value) => request(`referer ${value}`, http('GET /', [`referer: ${value}`]))),
  request('a referer with a fragment', http('GET /', ['referer: https://a/b?c#d'])),
  request('te: trailers, gzip', http('GET /', ['te: trailers, gzip'])),
  request('te: gzip', http('GET /', ['te: gzip'])),
  request('expect of another kind', http('GET /', ['expect: 200-ok'])),
  request('connection names a header', http('GET /', ['connection: x-mine', 'x-mine: 1'])),
  request('connection: close, twice asked', http('GET /', ['connection: close', 'connection: close']), { close: true }),
  request('connection: keep-alive, close', http('GET /', ['connection: keep-alive, close']), { close: true }),
  request('proxy-connection: close', http('GET /', ['proxy-connection: close']), { close: true }),
]);

suite(
  'upgrade configurations',
  {
    config: httpProxy({
      log: LOG,
      hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'off', enabled: false }] },
      routes: [
        to('u1', '/no', { upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }] }),
        to('u1', '/off', { upgrade_configs: [{ upgrade_type: 'off' }] }),
        to('u1', '/other', { upgrade_configs: [{ upgrade_type: 'other' }] }),
        { match: { prefix: '/direct' }, direct_response: { status: 200 } },
        to('u1'),
      ],
    }),
    upstreams: { u1: upstream },
    stats: [/^http\.ingress\.downstream_(rq|cx_upgrades)/],
    log: 'access.log',
  },
  [
    ['/', 'websocket'],
    ['/', 'WebSocket'],
    ['/', 'off'],
    ['/', 'unknown'],
    ['/no', 'websocket'],
    ['/off', 'off'],
    ['/other', 'other'],
    ['/direct', 'websocket'],
    ['/direct', 'unknown'],
  ].map(([path, type]) =>
    request(`${type} to ${path}`, http(`GET ${path}`, ['connection: upgrade', `upgrade: ${type}`]), {
      clientFate: false,
      upstreamBytes: false,
    }),
  ),
);

const headersToAdd: Fields = {
  response_headers_to_add: [{ header: { key: 'x-route', value: 'yes' } }],
};
suite(
  'route headers on replies of the proxy',
  {
    config: httpProxy(
      { log: LOG, routes: [to('refused', '/', {}, headersToAdd)] },
      [cluster('refused', ['{{refused}}'])],
      {},
    ),
    log: 'access.log',
  },
  [request('a refused host', http('GET /'))],
);

suite(
  'lifetimes',
  {
    config: bootstrap(
      [
        httpListener({
          hcm: {
            drain_timeout: '0.05s',
            common_http_protocol_options: { max_connection_duration: '0.15s' },
            http1_safe_max_connection_duration: true,
          },
        }),
        httpListener({ name: 'three', hcm: { common_http_protocol_options: { max_requests_per_connection: 3 } } }),
        httpListener({
          name: 'flushed',
          log: '%ACCESS_LOG_TYPE% %RESPONSE_CODE%',
          hcm: { access_log_options: { flush_access_log_on_new_request: true } },
        }),
        httpListener({
          name: 'logged',
          listener: { access_log: [fileLog('%RESPONSE_FLAGS% %RESPONSE_CODE% %BYTES_RECEIVED%', 'listener.log')] },
        }),
      ],
      [cluster('u1')],
    ),
    upstreams: { u1: upstream },
    stats: [/^http\.ingress\.downstream_cx_(http1_soft|max|destroy|drain|delayed)/],
  },
  [
    steps('a soft end of a connection', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('GET /1'));
      await exchange.expectResponse(client);
      await exchange.expectStat('http.ingress.downstream_cx_max_duration_reached', 1);
      client.send(http('GET /2'));
      await exchange.expectResponse(client);
      await exchange.expectClose(client);
    }),
    steps('three requests and no more', async (exchange) => {
      const client = await exchange.connect('three');
      for (const path of ['/1', '/2', '/3']) {
        client.send(http(`GET ${path}`));
        await exchange.expectResponse(client);
      }
      await exchange.expectClose(client);
    }),
    request('an entry at the start and one at the end', http('GET /'), {
      listener: 'flushed',
      log: 'access.log',
      logLines: 2,
    }),
    request('a protocol error in the log of the listener', 'rubbish\r\n\r\n', {
      listener: 'logged',
      log: 'listener.log',
      close: true,
    }),
    request('a connection in the log of the listener', http('GET /', ['connection: close']), {
      listener: 'logged',
      log: 'listener.log',
      close: true,
    }),
  ],
);
