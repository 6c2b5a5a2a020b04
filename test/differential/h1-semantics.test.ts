/** HTTP/1 beyond framing: keep-alive, versions, 100-continue, upgrades, targets, early ends on either side. */
import { httpUpstream, rawUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, http, httpProxy, to } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const LOG =
  '%REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%';

const echo = httpUpstream((seen) =>
  seen.path === '/hold' ? undefined : reply(200, `${seen.method} ${seen.path} [${seen.body}]`),
);

const stats = ['http.ingress.downstream_', 'cluster.u1.upstream_rq', 'cluster.u1.upstream_cx_destroy'];

suite(
  'versions and keep-alive',
  { config: httpProxy({ log: LOG }), upstreams: { u1: echo }, stats, log: 'access.log' },
  [
    request('HTTP/1.0 is refused by default', 'GET / HTTP/1.0\r\nhost: h\r\n\r\n', { close: true }),
    request('HTTP/1.0 without a host', 'GET / HTTP/1.0\r\n\r\n', { close: true }),
    request('connection: close', http('GET /', ['connection: close']), { close: true }),
    request('connection: Close in mixed case', http('GET /', ['Connection: Close']), { close: true }),
    request('connection: keep-alive', http('GET /', ['connection: keep-alive'])),
    request('connection: keep-alive, close', http('GET /', ['connection: keep-alive, close']), { close: true }),
    request('connection names another header', http('GET /', ['connection: x-gone', 'x-gone: 1', 'x-stays: 2'])),
    request(
      'connection names te and a cookie',
      http('GET /', ['connection: te, cookie', 'te: trailers', 'cookie: a=b']),
    ),
    request('proxy-connection', http('GET /', ['proxy-connection: close'])),
    request('keep-alive header', http('GET /', ['keep-alive: timeout=5'])),
    request('te: trailers', http('GET /', ['te: trailers'])),
    request('te: gzip', http('GET /', ['te: gzip'])),
    request('three requests on one connection', http('GET /1') + http('GET /2') + http('GET /3'), { responses: 3 }),
    request(
      'close in the middle of a pipeline',
      http('GET /1') + http('GET /2', ['connection: close']) + http('GET /3'),
      {
        responses: 2,
        close: true,
      },
    ),
    steps('half-close after a request', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('GET /hold'));
      // The FIN may otherwise come before the upstream connection is up, or after.
      await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    request('half-close in the middle of a head', 'GET / HTTP/1.1\r\nho', {
      halfClose: true,
      responses: 0,
      close: true,
    }),
    steps('half-close in the middle of a body', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('POST /', ['content-length: 10'], 'abc'));
      await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    request('half-close before anything', '', { halfClose: true, responses: 0, close: true }),
    request('absolute target', 'GET http://other.example:8080/path?q=1 HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('absolute https target', 'GET https://other.example/path HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('absolute target without a path', 'GET http://other.example HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('absolute target with a query and no path', 'GET http://other.example?q HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('absolute target without a host header', 'GET http://other.example/ HTTP/1.1\r\n\r\n', { timeoutMs: 1000 }),
    request('absolute target of another scheme', 'GET ftp://other.example/ HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('absolute target with userinfo', 'GET http://u:p@other.example/ HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('OPTIONS *', 'OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('GET *', 'GET * HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('CONNECT without an upgrade config', 'CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n'),
    request('CONNECT with a path', 'CONNECT /x HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('an upgrade that is not configured', http('GET /ws', ['connection: upgrade', 'upgrade: websocket'])),
    request(
      'upgrade: h2c',
      http('GET /h2c', ['connection: upgrade, http2-settings', 'upgrade: h2c', 'http2-settings: AAMAAABkAAQAAP__']),
    ),
    request('upgrade without connection: upgrade', http('GET /ws', ['upgrade: websocket'])),
    request('expect: 100-continue', [http('POST /e', ['expect: 100-continue', 'content-length: 2']), 'ab']),
    request(
      'expect: 100-continue with the body at once',
      http('POST /e', ['expect: 100-continue', 'content-length: 2'], 'ab'),
    ),
    request('expect: something else', http('POST /e', ['expect: 200-maybe', 'content-length: 2'], 'ab')),
    request('TRACE', http('TRACE /t')),
    request('HEAD with a body', http('HEAD /h', ['content-length: 2'], 'ab')),
    request('a chunked POST becomes', http('POST /c', ['transfer-encoding: chunked'], '2\r\nab\r\n0\r\n\r\n')),
    request('cookies in two headers', http('GET /', ['cookie: a=1', 'cookie: b=2'])),
    request('headers with underscores', http('GET /', ['x_under: 1'])),
    request('mixed-case header names', http('GET /', ['X-MiXeD: Value', 'ACCEPT: */*'])),
    request('a host with a port', http('GET /', ['host: example.com:8080'])),
    request('a host in upper case', http('GET /', ['host: EXAMPLE.com'])),
    request('a host with a trailing dot', http('GET /', ['host: example.com.'])),
    request('an IPv6 host', http('GET /', ['host: [::1]:80'])),
    request(
      'hop-by-hop headers of a client',
      http('GET /', ['upgrade-insecure-requests: 1', 'trailer: x', 'proxy-authorization: p']),
    ),
    steps('a client that vanishes before the response', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('POST /', ['content-length: 5'], 'ab'));
      await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
      client.reset();
      await exchange.expectStat('http.ingress.downstream_rq_active', 0);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

suite(
  'HTTP/1.0 accepted',
  {
    config: httpProxy({
      log: LOG,
      hcm: { http_protocol_options: { accept_http_10: true, default_host_for_http_10: 'default.example' } },
    }),
    upstreams: {
      u1: httpUpstream((seen) =>
        seen.path === '/chunked'
          ? 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n'
          : reply(200, 'body'),
      ),
    },
    stats,
    log: 'access.log',
  },
  [
    request('without a host', 'GET / HTTP/1.0\r\n\r\n', { close: true }),
    request('with a host', 'GET / HTTP/1.0\r\nhost: h\r\n\r\n', { close: true }),
    request('with keep-alive', 'GET / HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n'),
    request('with keep-alive, twice', 'GET /1 HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n', {
      responses: 2,
      close: true,
    }),
    request('a chunked response to HTTP/1.0', 'GET /chunked HTTP/1.0\r\n\r\n', { close: true }),
    request('a POST', 'POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nab', { close: true }),
    request('HTTP/1.1 beside it', http('GET /')),
  ],
);

suite(
  'protocol options',
  {
    config: httpProxy({
      log: LOG,
      hcm: {
        http_protocol_options: {
          allow_absolute_url: false,
          enable_trailers: true,
          header_key_format: { proper_case_words: {} },
          allow_chunked_length: true,
          ignore_http_11_upgrade: [{ exact: 'h2c' }],
        },
        common_http_protocol_options: { max_headers_count: 10, headers_with_underscores_action: 'REJECT_REQUEST' },
        max_request_headers_kb: 2,
      },
    }),
    upstreams: {
      u1: httpUpstream((seen) =>
        seen.path === '/trailers'
          ? 'HTTP/1.1 200 OK\r\nx-Some-header: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-trailer: t\r\n\r\n'
          : reply(200, seen.body, ['x-from-up_stream: 1', 'x--double: 2', 'a: 3']),
      ),
    },
    stats: [...stats, 'http1.'],
    log: 'access.log',
  },
  [
    request('proper case of response headers', http('GET /')),
    request('an absolute target that is not allowed', 'GET http://other/p HTTP/1.1\r\nhost: h\r\n\r\n', {
      timeoutMs: 1000,
    }),
    request('trailers of a response', http('GET /trailers')),
    request(
      'trailers of a request',
      http('POST /', ['transfer-encoding: chunked'], '2\r\nab\r\n0\r\nx-t: 1\r\nX-U: 2\r\n\r\n'),
    ),
    request(
      'chunked and a length, allowed',
      http('POST /', ['content-length: 99', 'transfer-encoding: chunked'], '2\r\nab\r\n0\r\n\r\n'),
    ),
    request('an ignored upgrade', http('GET /', ['connection: upgrade', 'upgrade: h2c'])),
    request('an upgrade that is not ignored', http('GET /', ['connection: upgrade', 'upgrade: websocket'])),
    request(
      'ten headers',
      http(
        'GET /',
        Array.from({ length: 9 }, (_, i) => `x-${i}: v`),
      ),
    ),
    request(
      'eleven headers',
      http(
        'GET /',
        Array.from({ length: 10 }, (_, i) => `x-${i}: v`),
      ),
      { close: true },
    ),
    request('an underscore is rejected', http('GET /', ['x_y: 1']), { close: true }),
    request('over 2 KiB of headers', http('GET /', [`x: ${'a'.repeat(2200)}`]), { close: true }),
    request(
      'trailers over the limit',
      http('POST /', ['transfer-encoding: chunked'], `1\r\na\r\n0\r\nx: ${'a'.repeat(3000)}\r\n\r\n`),
      {
        close: true,
      },
    ),
  ],
);

suite(
  'methods and underscores dropped',
  {
    config: httpProxy({
      log: LOG,
      hcm: {
        http_protocol_options: { allow_custom_methods: true },
        common_http_protocol_options: {
          headers_with_underscores_action: 'DROP_HEADER',
          max_requests_per_connection: 2,
        },
        stream_error_on_invalid_http_message: true,
      },
    }),
    upstreams: { u1: echo },
    stats,
    log: 'access.log',
  },
  [
    request('a custom method', http('FOO /custom')),
    request('a lower-case method', http('get /custom')),
    request('a header with an underscore is dropped', http('GET /', ['x_y: 1', 'x-y: 2'])),
    request('at most two requests per connection', http('GET /1') + http('GET /2') + http('GET /3'), {
      responses: 2,
      close: true,
    }),
    request('an invalid message does not end the connection', `${http('GET /1', ['x_y: 1'])}GET / HTTP/1.1\r\n\r\n`, {
      responses: 2,
    }),
  ],
);

suite(
  'upgrades',
  {
    config: httpProxy(
      {
        log: LOG,
        hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'foo', enabled: false }] },
        routes: [
          to('u1', '/off', { upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }] }),
          to('u1', '/foo', { upgrade_configs: [{ upgrade_type: 'foo' }] }),
          {
            match: { connect_matcher: {} },
            route: { cluster: 'tcp', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
          },
          to('u1'),
        ],
      },
      [cluster('u1'), cluster('tcp')],
    ),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        const head = await connection.receive('\r\n\r\n');
        if (head.includes('/refuse')) connection.send(reply(403, 'no'));
        else if (head.includes('/plain-answer')) connection.send(reply(200, 'plain', ['x-a: 1', 'x-a: 2']));
        else if (head.includes('upgrade')) {
          connection.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello');
          await connection.receive('ping');
          connection.send('pong');
          await connection.receive('bye');
          connection.end();
        } else connection.send(reply(200, 'plain'));
      }),
      tcp: rawUpstream(async (connection) => {
        await connection.receive('hello');
        connection.send('tcp says hello');
        await connection.closed();
        connection.end();
      }),
    },
    stats: [...stats, 'http.ingress.downstream_cx_upgrades'],
    log: 'access.log',
    fresh: false,
  },
  [
    steps('a websocket goes through', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('GET /ws', ['Connection: Upgrade', 'Upgrade: WebSocket', 'sec-websocket-key: k']));
      await client.receive('hello');
      client.send('ping');
      await client.receive('pong');
      client.send('bye');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
    steps('bytes right after the upgrade request', async (exchange) => {
      const client = await exchange.connect();
      client.send(`${http('GET /ws', ['connection: upgrade', 'upgrade: websocket'])}ping`);
      await client.receive('pong');
      client.send('bye');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
    request(
      'a websocket that the upstream refuses',
      http('GET /refuse', ['connection: upgrade', 'upgrade: websocket']),
    ),
    request(
      'a websocket that the upstream takes for a plain request',
      http('GET /plain-answer', ['connection: upgrade', 'upgrade: websocket']),
    ),
    request(
      'a websocket where the route turns it off',
      http('GET /off', ['connection: upgrade', 'upgrade: websocket']),
    ),
    request('an upgrade type that is off', http('GET /x', ['connection: upgrade', 'upgrade: foo'])),
    request('an unknown upgrade type', http('GET /x', ['connection: upgrade', 'upgrade: bar'])),
    request('two upgrade types', http('GET /x', ['connection: upgrade', 'upgrade: bar, websocket'])),
    request('no upgrade', http('GET /plain')),
    steps('CONNECT is terminated to TCP', async (exchange) => {
      const client = await exchange.connect();
      client.send('CONNECT some.host:443 HTTP/1.1\r\nhost: some.host:443\r\n\r\n');
      await client.response();
      client.send('hello');
      await client.receive('tcp says hello');
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    request('a CONNECT target without a port', 'CONNECT some.host HTTP/1.1\r\nhost: some.host\r\n\r\n', {
      timeoutMs: 1000,
      responses: 1,
    }),
  ],
);

suite(
  'ends and resets',
  {
    config: httpProxy({ log: LOG }),
    upstreams: {
      u1: httpUpstream(async (seen, connection) => {
        switch (seen.path) {
          case '/reset':
            connection.reset();
            return undefined;
          case '/fin':
            connection.end();
            return undefined;
          case '/reset-mid-body':
            connection.send('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart');
            await Bun.sleep(30);
            connection.reset();
            return undefined;
          case '/fin-mid-body':
            connection.send('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart');
            await Bun.sleep(30);
            connection.end();
            return undefined;
          case '/reset-after-response':
            connection.send(reply(200, 'whole'));
            await Bun.sleep(30);
            connection.reset();
            return undefined;
          case '/big':
            return reply(200, 'b'.repeat(3_000_000));
          case '/never-whole':
            // Whatever the buffers on the way hold, the answer is not complete when the client goes.
            connection.send(`HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n${'b'.repeat(3_000_000)}`);
            return undefined;
          default:
            return reply(200, `[${seen.body.length}]`);
        }
      }),
    },
    stats: [
      'http.ingress.downstream_rq',
      'cluster.u1.upstream_rq',
      'cluster.u1.upstream_cx_destroy',
      'cluster.u1.upstream_cx_connect',
    ],
    log: 'access.log',
  },
  [
    request('the upstream resets before a response', http('GET /reset')),
    request('the upstream closes before a response', http('GET /fin')),
    request('the upstream resets in the body', http('GET /reset-mid-body'), { close: true, clientFate: false }),
    request('the upstream closes in the body', http('GET /fin-mid-body'), { close: true, clientFate: false }),
    request('the upstream resets after the response', http('GET /reset-after-response')),
    request('a new connection after the old one was lost', http('GET /fine')),
    request('a response of 3 MB', http('GET /big')),
    request('a request of 3 MB', http('POST /up', ['content-length: 3000000'], 'u'.repeat(3_000_000))),
    steps(
      'a client that resets in the middle of a response',
      async (exchange) => {
        const client = await exchange.connect();
        client.send(http('GET /never-whole'));
        await client.receive('bbbb');
        client.reset();
        await exchange.expectStat('http.ingress.downstream_rq_active', 0);
        exchange.expectLog('access.log', 1);
      },
      {
        upstreamBytes: false,
        rewrite: [
          [/ \d+$/gm, ' <bytes>'],
          [/^b+.*$/gm, '<body>'],
        ],
        stats: ['http.ingress.downstream_rq'],
      },
    ),
  ],
);

suite(
  'early responses',
  {
    config: httpProxy({ log: LOG }),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        const head = await connection.receive('\r\n\r\n');
        connection.send(head.includes('/close') ? reply(413, 'too much', ['connection: close']) : reply(200, 'early'));
        if (head.includes('/close')) connection.end();
      }),
    },
    stats: ['http.ingress.downstream_', 'cluster.u1.upstream_rq', 'cluster.u1.upstream_cx_destroy'],
    log: 'access.log',
    fresh: true,
  },
  [
    request('a response before the body has come', http('POST /early', ['content-length: 10'], 'abc'), {
      close: true,
      clientFate: false,
    }),
    request('a response with close before the body has come', http('POST /close', ['content-length: 10'], 'abc'), {
      close: true,
      clientFate: false,
    }),
    request(
      'an early response to a chunked request',
      http('POST /early', ['transfer-encoding: chunked'], '3\r\nabc\r\n'),
      {
        close: true,
        clientFate: false,
      },
    ),
  ],
);
