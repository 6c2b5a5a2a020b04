/** Upstreams that fail at every stage of a request. */
import { bootstrap, cluster, http, httpListener, tcpListener, tcpProxy, to } from '../differential/configs.ts';
import type { Exchange } from '../differential/exchange.ts';
import { type Case, suite } from '../differential/harness.ts';
import { rawUpstream, reply, type UpstreamConnection } from '../support/scripted-upstream.ts';
import { bystanderCluster, bystanderListener, bystanderUpstream, fault } from './fault-case.ts';

const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED%';

/** Ways to end a connection, or not to. */
const ends: Readonly<Record<string, (connection: UpstreamConnection) => void>> = {
  FIN: (connection) => connection.end(),
  reset: (connection) => connection.reset(),
  silence: () => {},
};

/** Sends what must arrive before an end: a reset would overtake it. */
async function sendThen(connection: UpstreamConnection, bytes: string, end: string): Promise<void> {
  connection.send(bytes);
  if (bytes !== '' && end === 'reset') await Bun.sleep(30);
  ends[end]?.(connection);
}

const ok = 'HTTP/1.1 200 OK\r\n';
/** What comes of an answer before its end. */
const partial: Readonly<Record<string, string>> = {
  nothing: '',
  'a piece of the status line': 'HTTP/1',
  'half a head': `${ok}content-le`,
  'a head without its end': `${ok}content-length: 4\r\n`,
  'a head without its body': `${ok}content-length: 4\r\n\r\n`,
  'half a body': `${ok}content-length: 4\r\n\r\nab`,
  'half a chunk': `${ok}transfer-encoding: chunked\r\n\r\n4\r\nab`,
  'a chunk without the last one': `${ok}transfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n`,
  'a body until the end': `${ok}\r\nabcd`,
  'a 100 alone': 'HTTP/1.1 100 Continue\r\n\r\n',
  'half a 103': 'HTTP/1.1 103 Early Hints\r\nlink: <',
};

/** Paths say what the upstream is to do: `/answer/<part>/<end>`, or one of the stages before an answer. */
const script = rawUpstream(async (connection) => {
  for (;;) {
    await connection.until(() => connection.received.includes('\r\n\r\n'), 30_000);
    const [, path = ''] = connection.received.split(' ', 2);
    const [, kind = '', part = '', end = ''] = path.split('/');
    if (kind === 'head') return ends[end]?.(connection);
    if (kind === 'body') {
      await connection.until(() => connection.received.includes('half'), 10_000);
      return ends[end]?.(connection);
    }
    const next = await connection.nextRequest();
    if (next === null) return connection.end();
    if (kind === 'answer') await sendThen(connection, partial[decodeURIComponent(part)] ?? '', end);
    else if (kind === 'early') connection.send(reply(413, 'too much', ['connection: close']));
    else connection.send(reply(200, 'fine'));
    connection.received = '';
    if (kind === 'answer') return;
  }
});

const stats = [
  'http.ingress.downstream_rq',
  // Which of the connection's ends comes first is the kernel's affair.
  /^cluster\.(u1|refused|closing)\.upstream_(rq|cx_(total|connect_fail|connect_timeout|protocol_error|none_healthy|overflow))/,
];

async function ask(exchange: Exchange, path: string): Promise<void> {
  const client = await exchange.connect();
  client.send(http(`GET ${path}`));
  const complete = (): boolean => client.received.includes('\r\n\r\n');
  await client.until(complete);
  exchange.expectLog('access.log', 1);
}

const answers: Case[] = [];
for (const part of Object.keys(partial)) {
  for (const end of Object.keys(ends)) {
    if (part === 'a body until the end' && end === 'silence') continue;
    const path = `/answer/${encodeURIComponent(part)}/${end}`;
    answers.push(
      fault(`${part}, then ${end}`, async (exchange, meanwhile) => {
        const client = await exchange.connect();
        client.send(http(`GET ${path}`));
        await exchange.expect('the upstream to be asked', () => exchange.upstream('u1').connections.length > 0);
        await meanwhile();
        await exchange.expectResponse(client);
        if (client.received.startsWith('HTTP/1.1 200') && part !== 'a body until the end') {
          await exchange.expectClose(client);
        }
        exchange.expectLog('access.log', 1);
      }),
    );
  }
}

suite(
  'faults: upstream',
  {
    config: bootstrap(
      [
        httpListener({
          log: LOG,
          routes: [
            to('refused', '/refused'),
            to('u1', '/slow-body', { timeout: '0s', idle_timeout: '0.4s' }),
            to('u1', '/', { timeout: '0.4s' }),
          ],
        }),
        bystanderListener,
      ],
      [cluster('u1'), cluster('refused', ['{{refused}}']), bystanderCluster],
    ),
    upstreams: { u1: script, good: bystanderUpstream },
    stats,
    log: 'access.log',
    // The upstream's own view of a connection that it has reset says nothing.
    upstreamBytes: false,
  },
  [
    fault('refuses', async (exchange) => ask(exchange, '/refused')),
    fault(
      'refuses 20 at once',
      async (exchange, meanwhile) => {
        const clients = await Promise.all(Array.from({ length: 20 }, () => exchange.connect()));
        for (const client of clients) client.send(http('GET /refused'));
        await meanwhile();
        for (const client of clients) await exchange.expectResponse(client);
        exchange.expectLog('access.log', 20);
      },
      // How many connections 20 requests try depends on which come in one turn.
      { stats: ['http.ingress.downstream_rq', /^cluster\.refused\.upstream_rq/] },
    ),
    ...Object.keys(ends).map((end) =>
      fault(`${end} behind the head`, async (exchange) => ask(exchange, `/head/x/${end}`)),
    ),
    ...Object.keys(ends).map((end) =>
      fault(
        `${end} in the middle of the request's body`,
        async (exchange, meanwhile) => {
          const client = await exchange.connect();
          client.send(http(`POST /body/x/${end}`, ['content-length: 100'], 'half'));
          await exchange.expect('half a body upstream', () =>
            exchange.upstream('u1').connections.some((connection) => connection.received.includes('half')),
          );
          await meanwhile();
          // Without the whole request Envoy's route timeout does not run; the client gives up.
          if (end === 'silence') return client.reset();
          await exchange.expectResponse(client);
          exchange.expectLog('access.log', 1);
        },
        end === 'silence' ? { logLines: 1 } : {},
      ),
    ),
    fault('answers early and closes', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('POST /early', ['content-length: 4'], 'abcd'));
      await exchange.expectResponse(client);
      exchange.expectLog('access.log', 1);
    }),
    fault('closes a pooled connection', async (exchange) => {
      await ask(exchange, '/fine');
      for (const connection of exchange.upstream('u1').connections) connection.end();
      await exchange.expectStat('cluster.u1.upstream_cx_active', 0);
      await ask(exchange, '/fine');
    }),
    fault('resets a pooled connection', async (exchange) => {
      await ask(exchange, '/fine');
      for (const connection of exchange.upstream('u1').connections) connection.reset();
      await exchange.expectStat('cluster.u1.upstream_cx_active', 0);
      await ask(exchange, '/fine');
    }),
    fault('talks on a pooled connection', async (exchange) => {
      await ask(exchange, '/fine');
      for (const connection of exchange.upstream('u1').connections) connection.send(reply(200, 'unasked'));
      await exchange.expectStat('cluster.u1.upstream_cx_active', 0);
      await ask(exchange, '/fine');
    }),
    ...answers,
  ],
);

const big = 'x'.repeat(1 << 20);

/** Takes nothing until told by a connection of its own; sends much where it is asked for it. */
const heavy = rawUpstream(async (connection) => {
  await connection.until(() => connection.received.includes('\r\n\r\n'), 30_000);
  if (connection.received.startsWith('GET /much')) {
    connection.send(`${ok}content-length: ${8 * big.length}\r\n\r\n`);
    for (let i = 0; i < 8; i++) connection.send(big);
    return;
  }
  connection.pause();
  await Bun.sleep(150);
  connection.resume();
  const next = await connection.nextRequest();
  if (next !== null) connection.send(reply(200, `took ${next.text.length - next.bodyStart}`));
});

suite(
  'faults: one side is slow',
  {
    config: bootstrap(
      [httpListener({ log: LOG, routes: [to('u1')] }), bystanderListener],
      [cluster('u1', undefined, { per_connection_buffer_limit_bytes: 32_768 }), bystanderCluster],
    ),
    upstreams: { u1: heavy, good: bystanderUpstream },
    stats: ['http.ingress.downstream_rq', /^cluster\.u1\.upstream_rq/],
    log: 'access.log',
    upstreamBytes: false,
  },
  [
    fault('the upstream does not read 8 MB for a while', async (exchange, meanwhile) => {
      const client = await exchange.connect();
      client.send(http('POST /up', [`content-length: ${8 * big.length}`]));
      for (let i = 0; i < 8; i++) client.send(big);
      await meanwhile();
      await exchange.expectResponse(client, { timeoutMs: 15_000 });
      exchange.expectLog('access.log', 1);
    }),
    fault('the client does not read 8 MB for a while', async (exchange, meanwhile) => {
      const client = await exchange.connect();
      client.send(http('GET /much'));
      await client.receive('\r\n\r\n');
      client.pause();
      await meanwhile();
      const { body } = await exchange.proxy.admin('/stats?filter=buffered');
      const most = Math.max(...[...body.matchAll(/_buffered: (\d+)/g)].map((match) => Number(match[1])));
      // Backpressure: what waits is bounded by the buffers' limits (a megabyte downstream), not by the answer.
      exchange.note('buffered', most < 2_500_000 ? 'bounded' : String(most));
      client.resume();
      const whole = await client.until(() => client.received.length >= 8 * big.length, 15_000);
      exchange.note('whole', String(whole));
      client.received = client.received.slice(0, client.received.indexOf('\r\n\r\n') + 4);
      exchange.expectLog('access.log', 1);
    }),
    fault(
      'the client goes away while 8 MB wait for it',
      async (exchange, meanwhile) => {
        const client = await exchange.connect();
        client.send(http('GET /much'));
        await client.receive('\r\n\r\n');
        client.pause();
        await meanwhile();
        client.reset();
        client.received = '';
        exchange.expectLog('access.log', 1);
      },
      { rewrite: [[/^(\/much.*) \d+$/gm, '$1 n']] },
    ),
  ],
);

/** Waits for the first byte; `r` is answered by a reset, `f` by FIN, `h` by half an answer and a reset. */
const tcpScript = rawUpstream(async (connection) => {
  await connection.until(() => connection.received.length > 0, 30_000);
  const word = connection.received[0];
  if (word === 'h') await sendThen(connection, 'half', 'reset');
  else if (word === 'r') connection.reset();
  else if (word === 'f') connection.end();
  await connection.closed(30_000);
  connection.end();
});

suite(
  'faults: tcp upstream',
  {
    config: bootstrap(
      [
        tcpListener([tcpProxy({ cluster: 'u1' })]),
        tcpListener([tcpProxy({ cluster: 'refused', stat_prefix: 'refused' })], { name: 'r' }),
        bystanderListener,
      ],
      [cluster('u1'), cluster('refused', ['{{refused}}']), bystanderCluster],
    ),
    upstreams: { u1: tcpScript, good: bystanderUpstream },
    stats: [
      /^tcp\.(tcp|refused)\.(downstream_cx_total|downstream_cx_no_route|max_down)/,
      /^cluster\.(u1|refused)\.upstream_cx_(total|connect_fail|none_healthy|overflow)/,
    ],
    upstreamBytes: false,
  },
  [
    fault('refuses', async (exchange) => {
      const client = await exchange.connect('r');
      client.send('x');
      await exchange.expectClose(client);
    }),
    ...(['r', 'f', 'h'] as const).map((word) =>
      fault(
        `answers by ${{ r: 'a reset', f: 'FIN', h: 'half an answer and a reset' }[word]}`,
        async (exchange, meanwhile) => {
          const client = await exchange.connect();
          client.send(word);
          await exchange.expectClose(client);
          await meanwhile();
        },
      ),
    ),
    fault('is silent; the client resets', async (exchange, meanwhile) => {
      const client = await exchange.connect();
      client.send('s');
      await exchange.expectStat('cluster.u1.upstream_cx_active', 1);
      await meanwhile();
      client.reset();
      await exchange.expectStat('cluster.u1.upstream_cx_active', 0);
    }),
    fault('is silent; the client half-closes, then resets', async (exchange) => {
      const client = await exchange.connect();
      client.send('s');
      await exchange.expectStat('cluster.u1.upstream_cx_active', 1);
      client.end();
      await exchange.expect('FIN upstream', () => exchange.upstream('u1').connections.every((c) => c.fate === 'fin'));
    }),
  ],
);
