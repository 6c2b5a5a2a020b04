/** HTTP/2 on either side: detection, translation to and from HTTP/1, headers, ends of streams and connections. */
import {
  dataFrame,
  FrameType,
  frame,
  goAway,
  type Http2Client,
  headersFrame,
  http2Upstream,
  respond2,
  rstStream,
} from '../support/http2-peer.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, http2Cluster, http2Options, httpProxy, protocolOptions, to } from './configs.ts';
import type { Exchange } from './exchange.ts';
import { type Case, type CaseOptions, request, steps, suite } from './harness.ts';

const LOG =
  '%REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:PATH)% %PROTOCOL% %UPSTREAM_PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%';

const h2cluster = (name = 'u1', options: Fields = {}, more: Fields = {}): Fields => http2Cluster(name, options, more);

/** A case of one request on an HTTP/2 connection. */
function h2(
  name: string,
  start: string,
  fields: readonly string[] = [],
  body: string | null = null,
  options: CaseOptions & { closes?: boolean } = {},
): Case {
  return steps(
    name,
    async (exchange) => {
      const client = await exchange.http2();
      await client.settled();
      const id = client.request(start, fields, body);
      if (options.closes === true) await exchange.expectClose(client.pipe as never);
      else await exchange.expectOver(client, id);
    },
    options,
  );
}

/** Retries come a little later. */
const REWRITE: readonly (readonly [RegExp, string])[] = [[/^(x-envoy-expected-rq-timeout-ms: )\d+$/gm, '$1<ms>']];

const stats = [
  'http.ingress.downstream_rq',
  /^http\.ingress\.downstream_cx_(?!.*bytes)/,
  /^http2\.(?!pending|outbound|.*connections|.*deferred)/,
  /^cluster\.u\d\.upstream_(rq|cx)_(?!.*bytes)/,
  /^cluster\.u\d\.http2\.(?!pending|outbound|.*connections|.*deferred)/,
];

const echo = httpUpstream((seen) => {
  if (seen.path === '/none') return reply(204);
  if (seen.path === '/hold') return undefined;
  if (seen.path === '/trailers') {
    return 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n';
  }
  if (seen.path === '/hop') {
    return reply(200, 'x', ['connection: x-mine', 'x-mine: 1', 'keep-alive: timeout=5', 'proxy-connection: close']);
  }
  if (seen.path === '/early') return `HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n${reply(200, 'x')}`;
  if (seen.path === '/cut') return 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc';
  if (seen.path === '/cookies') return reply(200, 'x', ['set-cookie: a=1', 'set-cookie: b=2']);
  return reply(200, seen.method === 'HEAD' ? '' : `${seen.method} ${seen.path} [${seen.body}]`, ['x-from: u1']);
});

suite(
  'what heads are without HPACK',
  {
    config: httpProxy(
      {
        log: ['DOWNSTREAM', 'UPSTREAM']
          .flatMap((side) => ['RECEIVED', 'SENT'].map((way) => `%${side}_DECOMPRESSED_HEADER_BYTES_${way}%`))
          .join(' '),
        // Durations have more or fewer digits.
        router: { suppress_envoy_headers: true },
      },
      [h2cluster()],
    ),
    upstreams: { u1: http2Upstream({ respond: (seen, peer) => respond2(peer, seen.id, 200, '', ['x-b: 2']) }) },
    log: 'access.log',
  },
  [
    h2('GET', 'GET /a?b=c'),
    // The tables of HPACK know by now what is sent: it counts as much as the first time.
    steps('twice on one connection', async (exchange) => {
      const client = await exchange.http2();
      await exchange.expectOver(client, client.request('GET /', ['x-a: 1']));
      await exchange.expectOver(client, client.request('GET /', ['x-a: 1']));
      exchange.expectLog('access.log', 2);
    }),
  ],
);

suite(
  'http2 to http1',
  {
    config: httpProxy({ log: LOG, hcm: { proxy_100_continue: true } }, [
      cluster(
        'u1',
        undefined,
        protocolOptions({ explicit_http_config: { http_protocol_options: { enable_trailers: true } } }),
      ),
    ]),
    upstreams: { u1: echo },
    stats,
    log: 'access.log',
  },
  [
    h2('GET', 'GET /a?b=c'),
    h2('HEAD', 'HEAD /'),
    h2('POST with a length', 'POST /', ['content-length: 3'], 'abc'),
    h2('POST without a length', 'POST /', [], 'abc'),
    h2('cookie crumbs', 'GET /', ['cookie: a=1', 'x-between: 1', 'cookie: b=2', 'cookie: c=3']),
    h2('te: trailers', 'GET /', ['te: trailers']),
    h2('te: gzip', 'GET /', ['te: gzip'], null, { closes: true }),
    h2('a header twice', 'GET /', ['x-a: 1', 'x-a: 2', 'accept: a', 'accept: b']),
    h2('a host header beside the authority', 'GET /', ['host: other']),
    h2('scheme https', 'GET /', [':scheme: https']),
    h2('x-forwarded-proto', 'GET /', ['x-forwarded-proto: https']),
    h2('an empty header value', 'GET /', ['x-empty:']),
    h2('expect: 100-continue', 'POST /', ['expect: 100-continue', 'content-length: 3'], 'abc'),
    h2('no content', 'GET /none'),
    h2('trailers of the response', 'GET /trailers', ['te: trailers']),
    h2('hop-by-hop headers of the response', 'GET /hop'),
    h2('early hints', 'GET /early'),
    h2('several cookies of the response', 'GET /cookies'),
    h2('OPTIONS *', 'OPTIONS *'),
    h2('an absolute path', 'GET http://h/x', [], null, { closes: true }),
    h2('CONNECT is not allowed', 'CONNECT'),
    h2('no authority', 'GET /', [], null),
    steps('trailers of the request', async (exchange) => {
      const client = await exchange.http2();
      const id = client.request('POST /', [], 'abc', false);
      client.send(headersFrame(id, ['x-trailer: 1'], true));
      await exchange.expectOver(client, id);
    }),
    steps('two at once', async (exchange) => {
      const client = await exchange.http2();
      const held = client.request('GET /hold');
      const id = client.request('GET /second');
      await exchange.expectOver(client, id);
      client.send(rstStream(held, 8));
      await exchange.expectStat('http.ingress.downstream_rq_active', 0);
      exchange.expectLog('access.log', 2);
    }),
    ...[0, 1, 2, 5, 7, 8, 11].map((code) =>
      steps(`a reset by the client, code ${code}`, async (exchange) => {
        const client = await exchange.http2();
        const id = client.request('GET /hold');
        await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
        client.send(rstStream(id, code));
        await exchange.expectStat('http.ingress.downstream_rq_active', 0);
      }),
    ),
    steps('the client leaves', async (exchange) => {
      const client = await exchange.http2();
      client.request('GET /hold');
      await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
      client.pipe.end();
      await exchange.expectStat('http.ingress.downstream_rq_active', 0);
    }),
    steps('a response that is cut', async (exchange) => {
      const client = await exchange.http2();
      const id = client.request('GET /cut');
      await client.until(() => client.stream(id).body === 'abc');
      for (const connection of exchange.upstream('u1').connections) connection.end();
      await exchange.expectOver(client, id);
    }),
    steps('GOAWAY of the client', async (exchange) => {
      const client = await exchange.http2();
      const id = client.request('GET /');
      client.send(goAway(0, 0));
      await exchange.expectOver(client, id);
    }),
    steps('PING', async (exchange) => {
      const client = await exchange.http2();
      client.send(frame(FrameType.Ping, 0, 0, '12345678'));
      await client.until(() => client.connectionFrames.some((each) => each.startsWith('PING ACK')));
      exchange.expectLog('access.log', 0);
    }),
    request('HTTP/1 on the same listener', http('GET /')),
    steps('a preface that is wrong behind its first line', async (exchange) => {
      const client = await exchange.connect();
      client.send('PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 0);
    }),
    steps('rubbish behind the preface', async (exchange) => {
      const client = await exchange.http2();
      client.send('rubbish rubbish rubbish');
      await exchange.expectClose(client.pipe as never);
      exchange.expectLog('access.log', 0);
    }),
    steps('DATA on an idle stream', async (exchange) => {
      const client = await exchange.http2();
      client.send(dataFrame(1, 'x', true));
      await exchange.expectClose(client.pipe as never);
      exchange.expectLog('access.log', 0);
    }),
    steps('an upper-case header name closes', async (exchange) => {
      const client = await exchange.http2();
      await client.settled();
      client.request('GET /', ['X-Upper: 1']);
      await exchange.expectClose(client.pipe as never);
    }),
    steps('a connection header closes', async (exchange) => {
      const client = await exchange.http2();
      await client.settled();
      client.request('GET /', ['connection: close']);
      await exchange.expectClose(client.pipe as never);
    }),
  ],
);

suite(
  'http2 stream errors',
  {
    config: httpProxy({
      log: LOG,
      hcm: {
        http2_protocol_options: { override_stream_error_on_invalid_http_message: true },
        max_request_headers_kb: 2,
      },
    }),
    upstreams: { u1: echo },
    stats,
    log: 'access.log',
  },
  [
    h2('an upper-case header name', 'GET /', ['X-Upper: 1']),
    h2('a connection header', 'GET /', ['connection: close']),
    h2('transfer-encoding', 'GET /', ['transfer-encoding: chunked']),
    steps('a length that does not fit', async (exchange) => {
      const client = await exchange.http2();
      const id = client.request('POST /', ['content-length: 5'], null, false);
      await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
      client.send(dataFrame(id, 'abc', true));
      await exchange.expectOver(client, id);
    }),
    h2('headers that are too large', 'GET /', [`x-large: ${'a'.repeat(3000)}`]),
    h2(
      'too many headers',
      'GET /',
      Array.from({ length: 120 }, (_, i) => `x-${i}: 1`),
    ),
    h2('no path', 'GET'),
    h2('a control character in a value', 'GET /', ['x-a: a\x01b']),
    h2('underscores', 'GET /', ['x_a: 1']),
  ],
);

const h2echo = http2Upstream({
  onHead: (seen, peer) => {
    if (seen.path === '/refuse' && seen.number === 1) {
      peer.send(rstStream(seen.id, 7));
      return true;
    }
    const code = /^\/reset(\d+)$/.exec(seen.path)?.[1];
    if (code !== undefined) {
      peer.send(rstStream(seen.id, Number(code)));
      return true;
    }
    return undefined;
  },
  respond: (seen, peer, connection) => {
    if (seen.path === '/hold') return;
    if (seen.path === '/trailers') {
      peer.send(headersFrame(seen.id, [':status: 200'], false), dataFrame(seen.id, 'abc', false));
      peer.send(headersFrame(seen.id, ['x-t: 1'], true));
    } else if (seen.path === '/early') {
      peer.send(headersFrame(seen.id, [':status: 103', 'link: </a>'], false));
      respond2(peer, seen.id, 200, 'x');
    } else if (seen.path === '/late-reset') {
      peer.send(
        headersFrame(seen.id, [':status: 200'], false),
        dataFrame(seen.id, 'abc', false),
        rstStream(seen.id, 2),
      );
    } else if (seen.path === '/goaway') {
      peer.send(goAway(seen.id, 0));
      respond2(peer, seen.id, 200, 'bye');
    } else if (seen.path === '/goaway-before') {
      if (seen.number === 1) peer.send(goAway(0, 0));
      else respond2(peer, seen.id, 200, 'again');
    } else if (seen.path === '/cut') {
      peer.send(headersFrame(seen.id, [':status: 200'], false), dataFrame(seen.id, 'abc', false));
      connection.end();
    } else if (seen.path === '/close') {
      connection.end();
    } else if (seen.path === '/rubbish') {
      peer.send('rubbish rubbish rubbish');
    } else if (seen.path === '/hop') {
      respond2(peer, seen.id, 200, 'x', ['x-a: 1', 'x-a: 2', 'set-cookie: a=1', 'set-cookie: b=2']);
    } else {
      const text =
        seen.path === '/' && seen.method === 'HEAD' ? '' : `${seen.method} ${seen.path} [${seen.stream.body}]`;
      respond2(peer, seen.id, 200, text, ['x-from: u1']);
    }
  },
});

const fourWays: readonly Case[] = [
  request('h1: GET', http('GET /a?b=c')),
  request('h1: HEAD', http('HEAD /')),
  request('h1: HEAD that is answered by a body', http('HEAD /body')),
  request('h1: POST with a length', http('POST /', ['content-length: 3'], 'abc')),
  request('h1: POST in chunks', http('POST /', ['transfer-encoding: chunked'], '3\r\nabc\r\n0\r\n\r\n')),
  request(
    'h1: hop-by-hop headers',
    http('GET /', [
      'connection: x-mine, keep-alive',
      'x-mine: 1',
      'keep-alive: 5',
      'te: trailers, gzip',
      'proxy-connection: keep-alive',
    ]),
  ),
  request('h1: cookies', http('GET /', ['cookie: a=1; b=2', 'cookie: c=3'])),
  request(
    'h1: te and upgrade to h2c',
    http('GET /', ['connection: upgrade, http2-settings', 'upgrade: h2c', 'http2-settings: AAMAAABkAAQAAP__']),
  ),
  request('h1: trailers of the response', http('GET /trailers', ['te: trailers'])),
  request('h1: early hints', http('GET /early')),
  request('h1: headers of the response', http('GET /hop')),
  request('h1: two requests use one connection', [http('GET /1'), http('GET /2')], { responses: 2 }),
  ...[0, 1, 2, 5, 7, 8, 11].map((code) =>
    request(`h1: reset by the upstream, code ${code}`, http(`GET /reset${code}`)),
  ),
  request('h1: a reset behind headers', http('GET /late-reset'), { close: true }),
  request('h1: GOAWAY and an answer', http('GET /goaway')),
  request('h1: the upstream closes', http('GET /close')),
  request('h1: rubbish of the upstream', http('GET /rubbish')),
  h2('h2: GET', 'GET /a'),
  h2('h2: POST', 'POST /', [], 'abc'),
  h2('h2: trailers of the response', 'GET /trailers', ['te: trailers']),
  h2('h2: early hints', 'GET /early'),
  h2('h2: a refused stream', 'GET /reset7'),
  ...[0, 1, 2, 8].map((code) => h2(`h2: reset by the upstream, code ${code}`, `GET /reset${code}`)),
  h2('h2: a reset behind headers', 'GET /late-reset'),
  h2('h2: the upstream closes', 'GET /close'),
  h2('h2: a response that is cut', 'GET /cut'),
  h2('h2: GOAWAY in front of the stream', 'GET /goaway-before'),
  steps('h2: a reset by the client reaches the upstream', async (exchange) => {
    const client = await exchange.http2();
    const id = client.request('GET /hold');
    await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
    client.send(rstStream(id, 8));
    await exchange.expectStat('cluster.u1.upstream_rq_active', 0);
  }),
  steps('h2: many streams share one connection', async (exchange) => {
    const client = await exchange.http2();
    const first = client.request('GET /0');
    await exchange.expectOver(client, first);
    const ids = [1, 2, 3, 4, 5].map((n) => client.request(`GET /${n}`));
    for (const id of ids) await exchange.expectOver(client, id);
    exchange.expectLog('access.log', 6);
  }),
];

suite(
  'to http2 upstreams',
  {
    config: httpProxy({ log: LOG, hcm: { proxy_100_continue: true } }, [h2cluster()]),
    upstreams: { u1: h2echo },
    stats,
    log: 'access.log',
  },
  fourWays,
);

suite(
  'retries to http2 upstreams',
  {
    config: httpProxy(
      {
        log: LOG,
        routes: [
          to('u1', '/', {
            retry_policy: {
              retry_on: 'refused-stream,reset',
              num_retries: 1,
              retry_back_off: { base_interval: '0.001s' },
            },
          }),
        ],
      },
      [h2cluster()],
    ),
    upstreams: { u1: h2echo },
    stats,
    log: 'access.log',
    rewrite: REWRITE,
  },
  [
    request('a refused stream', http('GET /refuse')),
    request('a reset', http('GET /reset2')),
    request('GOAWAY in front of the stream', http('GET /goaway-before')),
    request('the upstream closes', http('GET /close')),
  ],
);

suite(
  'max_concurrent_streams of the peer',
  {
    config: httpProxy({ log: LOG }, [h2cluster()]),
    upstreams: {
      u1: http2Upstream({
        settings: [[3, 1]],
        respond: (seen, peer) => {
          if (seen.path !== '/hold') respond2(peer, seen.id, 200, seen.path);
        },
      }),
    },
    stats,
    log: 'access.log',
  },
  [
    steps('a second stream takes a second connection', async (exchange: Exchange) => {
      const client: Http2Client = await exchange.http2();
      const first = client.request('GET /first');
      await exchange.expectOver(client, first);
      const held = client.request('GET /hold');
      await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
      const id = client.request('GET /second');
      await exchange.expectOver(client, id);
      client.send(rstStream(held, 8));
      await exchange.expectStat('cluster.u1.upstream_rq_active', 0);
      exchange.expectLog('access.log', 3);
    }),
  ],
);

const big = 'x'.repeat(200_000);

suite(
  'http2 on both sides',
  {
    config: httpProxy(
      {
        log: LOG,
        hcm: { use_remote_address: true, via: 'me', strip_any_host_port: true },
        routes: [
          to('u3', '/refused'),
          to('u4', '/breaker'),
          to('u1', '/try', {
            retry_policy: {
              retry_on: '5xx',
              num_retries: 2,
              per_try_timeout: '0.1s',
              retry_back_off: { base_interval: '0.001s' },
            },
          }),
          to('u1', '/retry', {
            retry_policy: { retry_on: '5xx', num_retries: 1, retry_back_off: { base_interval: '0.001s' } },
          }),
          to('u1', '/rewrite', { prefix_rewrite: '/there', host_rewrite_literal: 'other' }),
          to('u1'),
        ],
      },
      [
        h2cluster(),
        cluster('u3', ['{{refused}}'], http2Options()),
        cluster('u4', ['{{upstream:u1}}'], {
          ...http2Options(),
          circuit_breakers: { thresholds: [{ max_requests: 1 }] },
        }),
      ],
    ),
    upstreams: {
      u1: http2Upstream({
        respond: (seen, peer) => {
          if (seen.path === '/big') respond2(peer, seen.id, 200, big.slice(0, 16_000));
          else if (seen.path === '/length') respond2(peer, seen.id, 200, String(seen.stream.body.length));
          else if (seen.path === '/many') {
            peer.send(headersFrame(seen.id, [':status: 200'], false));
            for (let i = 0; i < 20; i++) peer.send(dataFrame(seen.id, 'y'.repeat(10_000), i === 19));
          } else if (seen.path.startsWith('/retry') && seen.number === 1) respond2(peer, seen.id, 503, 'no');
          else if (seen.path.startsWith('/bad')) peer.send(headersFrame(seen.id, ['x-no-status: 1'], true));
          else if (seen.path === '/204') respond2(peer, seen.id, 204);
          else if (seen.path === '/304') respond2(peer, seen.id, 304, '', ['content-length: 10']);
          else if (seen.path === '/connection') respond2(peer, seen.id, 200, 'x', ['connection: close']);
          else if (seen.path !== '/hold' && !seen.path.startsWith('/try') && !seen.path.startsWith('/breaker')) {
            respond2(peer, seen.id, 200, `${seen.method} ${seen.path} [${seen.stream.body}]`);
          }
        },
      }),
    },
    stats,
    log: 'access.log',
    rewrite: REWRITE,
  },
  [
    h2('use_remote_address', 'GET /a', ['x-forwarded-for: 1.2.3.4', 'x-forwarded-proto: https']),
    h2('scheme https at the edge', 'GET /a', [':scheme: https']),
    h2('a port in the authority', 'GET /a', [':authority: h:8080']),
    h2('a rewrite', 'GET /rewrite/a?b'),
    h2('a retry with a body', 'POST /retry', [], 'abc'),
    h2('a refused connection', 'GET /refused'),
    h2('timeouts of tries', 'GET /try', [], null, { logLines: 1 }),
    h2('a body upwards', 'POST /length', [], big.slice(0, 16_000)),
    h2('a body downwards', 'GET /big'),
    h2('a long body downwards', 'GET /many'),
    h2('a response without a status', 'GET /bad'),
    h2('a response with a connection header', 'GET /connection', [], null, { upstreamBytes: false }),
    h2('204', 'GET /204'),
    h2('304 with a length', 'GET /304'),
    h2('HEAD', 'HEAD /a'),
    steps(
      'a long body upwards in pieces',
      async (exchange) => {
        const client = await exchange.http2();
        await client.settled();
        const id = client.request('POST /length', [], null, false);
        for (let i = 0; i < 12; i++) client.send(dataFrame(id, big.slice(0, 16_000), i === 11));
        await exchange.expectOver(client, id);
      },
      { rewrite: [[/\[x{1000,}.*\]/g, '[x...]']] },
    ),
    steps('a client with a small window', async (exchange) => {
      const client = await exchange.http2('a', [[4, 100]]);
      const id = client.request('GET /many');
      await exchange.expectOver(client, id);
    }),
    steps('the breaker for requests', async (exchange) => {
      const client = await exchange.http2();
      const held = client.request('GET /breaker');
      await exchange.expectStat('cluster.u4.upstream_rq_active', 1);
      await exchange.expectOver(client, client.request('GET /breaker'));
      client.send(rstStream(held, 8));
      await exchange.expectStat('cluster.u4.upstream_rq_active', 0);
      exchange.expectLog('access.log', 2);
    }),
  ],
);

suite(
  'http2 drains',
  {
    config: httpProxy({ log: LOG, hcm: { drain_timeout: '0.1s' } }),
    upstreams: { u1: echo },
    stats,
    log: 'access.log',
    flags: ['--drain-strategy', 'immediate'],
    fresh: true,
  },
  [
    steps('by the admin server', async (exchange) => {
      const client = await exchange.http2();
      await exchange.expectOver(client, client.request('GET /1'));
      await exchange.admin('/drain_listeners?graceful&skip_exit', { method: 'POST', record: 'status' });
      await exchange.expectOver(client, client.request('GET /2'));
      await exchange.expectClose(client.pipe as never);
      exchange.expectLog('access.log', 2);
    }),
    steps('by a failed health check', async (exchange) => {
      const client = await exchange.http2();
      await exchange.expectOver(client, client.request('GET /1'));
      await exchange.admin('/healthcheck/fail', { method: 'POST', record: 'status' });
      await exchange.expectOver(client, client.request('GET /2'));
      await exchange.expectClose(client.pipe as never);
      exchange.expectLog('access.log', 2);
    }),
  ],
);
