/** Things that happen at a bad moment: local replies in the middle of messages, retries in the middle of bodies, ends on either side. */
import { httpUpstream, rawUpstream, reply } from '../support/scripted-upstream.ts';
import { type Fields, http, httpFilter, httpProxy, inside, to, trusting } from './configs.ts';
import { request, steps, suite } from './harness.ts';
import type { Rewrite } from './normalise.ts';

const rewrite: readonly Rewrite[] = [[/(expected-rq-timeout-ms: )\d+/g, '$1<ms>']];

const LOG =
  '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%';
const stats = ['http.ingress.downstream_rq', 'http.ingress.rq_', 'cluster.u1.upstream_rq', 'cluster.u1.retry_or'];
const quick: Fields = { num_retries: 2, retry_back_off: { base_interval: '0.001s' } };

const fault = httpFilter('fault', 'HTTPFault', {
  abort: { header_abort: {}, percentage: { numerator: 100 } },
  delay: { header_delay: {}, percentage: { numerator: 100 } },
  response_rate_limit: { header_limit: {}, percentage: { numerator: 100 } },
});

suite(
  'local replies before the request has come',
  {
    config: httpProxy({
      log: LOG,
      filters: [fault],
      hcm: trusting,
      routes: [
        { match: { prefix: '/direct' }, direct_response: { status: 200, body: { inline_string: 'said' } } },
        to('u1'),
      ],
    }),
    upstreams: { u1: httpUpstream((seen) => reply(200, `[${seen.body.length}]`)) },
    stats,
    log: 'access.log',
  },
  [
    request('a direct response in the middle of a body', http('POST /direct', ['content-length: 10'], 'abc'), {
      close: true,
    }),
    request('a direct response, then the rest', [http('POST /direct', ['content-length: 10'], 'abc'), '4567890'], {
      close: true,
      clientFate: false,
    }),
    request(
      'a direct response to a whole body, and another request that is not heard',
      http('POST /direct', ['content-length: 3'], 'abc') + http('GET /direct/2'),
      { close: true },
    ),
    request(
      'a direct response to a chunked body without its end',
      http('POST /direct', ['transfer-encoding: chunked'], '3\r\nabc\r\n'),
      { close: true },
    ),
    request(
      'a direct response to a chunked body with trailers',
      http('POST /direct', ['transfer-encoding: chunked'], '3\r\nabc\r\n0\r\nx: y\r\n\r\n'),
      { close: true },
    ),
    request(
      'a direct response to one who waits for 100',
      http('POST /direct', ['expect: 100-continue', 'content-length: 2']),
      {
        close: true,
      },
    ),
    request('HEAD of a direct response', http('HEAD /direct')),
    request(
      'an abort in the middle of a body',
      inside('POST /', ['x-envoy-fault-abort-request: 503', 'content-length: 10'], 'abc'),
      {
        close: true,
      },
    ),
    request(
      'a delayed abort of a whole body, and another request',
      inside(
        'POST /',
        ['x-envoy-fault-abort-request: 503', 'x-envoy-fault-delay-request: 30', 'content-length: 3'],
        'abc',
      ) + http('GET /2'),
      { responses: 2 },
    ),
    request('a delay behind which the body comes', [
      inside('POST /', ['x-envoy-fault-delay-request: 30', 'content-length: 6'], 'abc'),
      'def',
    ]),
    request(
      'a delayed request, and rubbish behind it',
      `${inside('GET /', ['x-envoy-fault-delay-request: 30'])}rubbish\r\n\r\n`,
      { responses: 2, close: true },
    ),
    request(
      'a delayed body, broken in the middle',
      inside('POST /', ['x-envoy-fault-delay-request: 50', 'transfer-encoding: chunked'], '3\r\nabc\r\nzz\r\n'),
      { close: true },
    ),
    steps('a client that half-closes while it is delayed', async (exchange) => {
      const client = await exchange.connect();
      client.send(inside('GET /', ['x-envoy-fault-delay-request: 100']));
      await exchange.expectStat('http.ingress.fault.active_faults', 1);
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

suite(
  'a held local reply and the answer that comes all the same',
  {
    config: httpProxy({
      log: LOG,
      filters: [fault],
      hcm: {
        ...trusting,
        local_reply_config: { body_format: { text_format_source: { inline_string: 'L'.repeat(400) } } },
      },
      routes: [to('u1', '/', { idle_timeout: '0.1s', timeout: '0s' })],
    }),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        await connection.receive('\r\n\r\n');
        await new Promise((resolve) => setTimeout(resolve, 250));
        connection.send(reply(200, 'late'));
      }),
    },
    stats: ['http.ingress.downstream_rq', 'http.ingress.rq_'],
    log: 'access.log',
    fresh: true,
  },
  [
    steps('slowed to 1 KiB a second', async (exchange) => {
      const client = await exchange.connect();
      client.send(inside('GET /', ['x-envoy-fault-throughput-response: 1']));
      await client.receive('\r\n\r\n');
      await exchange.admin('/stats?filter=cluster.u1.upstream_(rq_active|rq_tx_reset|cx_active)');
      await exchange.expectResponse(client);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

suite(
  'retries and bodies',
  {
    config: httpProxy({
      log: LOG,
      listener: { per_connection_buffer_limit_bytes: 1024 },
      routes: [
        to('u1', '/timed', { timeout: '0.3s', retry_policy: { ...quick, retry_on: '5xx', per_try_timeout: '0.05s' } }),
        to('u1', '/', { retry_policy: { ...quick, retry_on: '5xx,reset' } }),
      ],
    }),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        const head = await connection.receive('\r\n\r\n');
        if (head.includes('/timed')) return;
        if (head.includes('/early')) {
          // An answer before the body: to be tried again, with all that has come.
          connection.send('HTTP/1.1 103 Early\r\nlink: x\r\n\r\n');
          connection.send(reply(503, 'no'));
          return;
        }
        if (head.includes('/head')) {
          connection.send('HTTP/1.1 503 No\r\ncontent-length: 7\r\n\r\n');
          await connection.until(() => connection.received.split('\r\n\r\n').length > 2);
          connection.send('HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n');
          return;
        }
        if (head.includes('/half')) {
          if (connection.number % 2 === 1) {
            connection.send(reply(503, 'no'));
            return;
          }
          await connection.receive('abcdef');
          connection.send('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nyes!');
          return;
        }
        connection.reset();
      }),
    },
    stats,
    log: 'access.log',
    fresh: true,
    rewrite,
  },
  [
    request('1xx ends the retries', http('GET /early')),
    request('HEAD is tried again', http('HEAD /head')),
    steps(
      'a body more of which comes after a retry',
      async (exchange) => {
        const client = await exchange.connect();
        client.send(http('POST /half', ['content-length: 6'], 'abc'));
        await exchange.expectStat('cluster.u1.upstream_rq_retry', 1);
        client.send('def');
        await exchange.expectResponse(client);
      },
      { clientFate: false },
    ),
    request('an upstream that always resets', http('POST /reset', ['content-length: 6'], 'abcdef')),
    request(
      'a body over the limit is not tried again',
      http('POST /reset', ['content-length: 3000'], 'x'.repeat(3000)),
      {
        clientFate: false,
      },
    ),
    request('tries that take too long', http('POST /timed', ['content-length: 3'], 'abc')),
  ],
);

const answers: Readonly<Record<string, readonly string[]>> = {
  '/101': ['HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n', reply(200, 'then')],
  '/100s': [
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 102 P\r\n\r\n',
    reply(200, 'then'),
  ],
  '/100-and-gone': ['HTTP/1.1 100 Continue\r\n\r\n', ''],
  '/199': ['HTTP/1.1 199 What\r\n\r\n', reply(200, 'then')],
  '/204': ['HTTP/1.1 204 No\r\n\r\n'],
  '/205': ['HTTP/1.1 205 Reset\r\ncontent-length: 0\r\n\r\n'],
  '/304': ['HTTP/1.1 304 Same\r\ncontent-length: 10\r\n\r\n'],
  '/600': ['HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n'],
  '/999': ['HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n'],
  '/chunked': ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'],
  '/trailers': ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n'],
  '/until-close': ['HTTP/1.1 200 OK\r\n\r\nuntil', ''],
  '/cut-chunk': ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab', ''],
  '/bad-chunk': ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'],
  '/two': [`${reply(200, 'one')}${reply(200, 'two')}`],
  '/cut-head': ['HTTP/1.1 200 OK\r\ncont', ''],
  '/nothing': [''],
};

for (const [name, hcm] of [
  ['odd answers', {}],
  ['odd answers, 1xx passed on', { proxy_100_continue: true }],
] as const)
  suite(
    name,
    {
      config: httpProxy({ log: LOG, routes: [to('u1', '/')], hcm }),
      upstreams: {
        u1: rawUpstream(async (connection) => {
          const head = await connection.receive('\r\n\r\n');
          const path = /^\w+ (\S+)/.exec(head)?.[1] ?? '';
          for (const piece of answers[path] ?? []) {
            if (piece === '') connection.end();
            else connection.send(piece);
          }
        }),
      },
      stats: ['http.ingress.downstream_rq', 'cluster.u1.upstream_rq', 'cluster.u1.upstream_cx_protocol'],
      log: 'access.log',
      fresh: true,
    },
    Object.keys(answers)
      .filter((path) => name === 'odd answers' || path.startsWith('/1'))
      .flatMap((path) => {
        const cut = path.startsWith('/cut-chunk') || path.startsWith('/bad-chunk');
        const options = cut ? { responses: 0, close: true } : path === '/until-close' ? {} : {};
        return [request(`GET ${path}`, http(`GET ${path}`), options), request(`HEAD ${path}`, http(`HEAD ${path}`))];
      }),
  );
