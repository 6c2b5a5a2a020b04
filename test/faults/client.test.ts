/** Clients that vanish at every stage, and slow ones. */
import { bootstrap, cluster, http, httpListener, to } from '../differential/configs.ts';
import type { Exchange } from '../differential/exchange.ts';
import { type Case, suite } from '../differential/harness.ts';
import type { RawClient } from '../support/raw-client.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { bystanderCluster, bystanderListener, bystanderUpstream, fault } from './fault-case.ts';

const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED%';
const CHUNK = 'y'.repeat(1000);

/** `/wait` is never answered, `/half` gets half an answer, `/big` half a megabyte; the rest is answered. */
const script = httpUpstream((seen) => {
  if (seen.path === '/wait') return undefined;
  if (seen.path === '/half') return 'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf';
  if (seen.path === '/chunks') return 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n';
  if (seen.path === '/big') return reply(200, CHUNK.repeat(500));
  return reply(200, `${seen.method} ${seen.path} ${seen.body.length}`);
});

/** Stages of a client, each with what must have happened when it goes. */
const stages: Readonly<
  Record<string, { bytes: string; until: (exchange: Exchange, client: RawClient) => Promise<unknown>; lines: number }>
> = {
  'connected only': {
    bytes: '',
    until: (exchange) => exchange.expectStat('http.ingress.downstream_cx_active', 1),
    lines: 0,
  },
  'half a request line': {
    bytes: 'GET /fi',
    until: (exchange) => exchange.expectStat('http.ingress.downstream_rq_active', 1),
    lines: 1,
  },
  'half a head': {
    bytes: 'GET /fine HTTP/1.1\r\nhost: h\r\nx: ',
    until: (exchange) => exchange.expectStat('http.ingress.downstream_rq_active', 1),
    lines: 1,
  },
  'a head without its body': {
    bytes: http('POST /fine', ['content-length: 10']),
    until: (exchange) => exchange.expectStat('cluster.u1.upstream_rq_active', 1),
    lines: 1,
  },
  'half a body': {
    bytes: http('POST /fine', ['content-length: 10'], 'abcde'),
    until: (exchange) =>
      exchange.expect('half a body upstream', () =>
        exchange.upstream('u1').connections.some((connection) => connection.received.includes('abcde')),
      ),
    lines: 1,
  },
  'half a chunk': {
    bytes: http('POST /fine', ['transfer-encoding: chunked'], 'a\r\nabcde'),
    until: (exchange) =>
      exchange.expect('half a chunk upstream', () =>
        exchange.upstream('u1').connections.some((connection) => connection.received.includes('abcde')),
      ),
    lines: 1,
  },
  'the last chunk missing': {
    bytes: http('POST /fine', ['transfer-encoding: chunked'], '5\r\nabcde\r\n'),
    until: (exchange) =>
      exchange.expect('a chunk upstream', () =>
        exchange.upstream('u1').connections.some((connection) => connection.received.includes('abcde')),
      ),
    lines: 1,
  },
  'before the answer': {
    bytes: http('GET /wait'),
    until: (exchange) => exchange.expect('the request upstream', () => exchange.upstream('u1').requests === 1),
    lines: 1,
  },
  'before the answer, with a second request behind': {
    bytes: http('GET /wait') + http('GET /fine'),
    until: (exchange) => exchange.expect('the request upstream', () => exchange.upstream('u1').requests === 1),
    lines: 1,
  },
  'in the middle of the answer': {
    bytes: http('GET /half'),
    until: (_, client) => client.receive('half'),
    lines: 1,
  },
  'in the middle of a chunked answer': {
    bytes: http('GET /chunks'),
    until: (_, client) => client.receive('half'),
    lines: 1,
  },
  'waiting for 100 Continue': {
    bytes: http('POST /fine', ['expect: 100-continue', 'content-length: 4']),
    until: (_, client) => client.receive('100 Continue'),
    lines: 1,
  },
  'behind a whole exchange': {
    bytes: http('GET /fine'),
    until: (exchange, client) => exchange.expectResponse(client),
    lines: 1,
  },
};

const vanishing: Case[] = [];
for (const [stage, { bytes, until, lines }] of Object.entries(stages)) {
  for (const end of ['FIN', 'reset'] as const) {
    // Envoy does not read while a second request waits, and learns of a reset only when it writes.
    if (stage.includes('second request') && end === 'reset') continue;
    vanishing.push(
      fault(`${stage}, then ${end}`, async (exchange, meanwhile) => {
        const client = await exchange.connect();
        client.send(bytes);
        await until(exchange, client);
        await meanwhile();
        if (end === 'FIN') client.end();
        else client.reset();
        await exchange.expectStat('http.ingress.downstream_cx_active', 0);
        exchange.expectLog('access.log', lines);
      }),
    );
  }
}

suite(
  'faults: client',
  {
    config: bootstrap(
      [httpListener({ log: LOG, routes: [to('u1')] }), bystanderListener],
      [cluster('u1'), bystanderCluster],
    ),
    upstreams: { u1: script, good: bystanderUpstream },
    stats: [
      /^http\.ingress\.downstream_(rq|cx_(total|destroy|protocol_error))/,
      /^cluster\.u1\.upstream_(rq|cx_(total|destroy_local|destroy_with|destroy_local_with|protocol_error))/,
    ],
    log: 'access.log',
    upstreamBytes: false,
  },
  [
    ...vanishing,
    fault('64 clients that send a byte at a time', async (exchange, meanwhile) => {
      const text = http('POST /slow', ['content-length: 10'], 'abcdefghij');
      const clients = await Promise.all(Array.from({ length: 64 }, () => exchange.connect()));
      for (let at = 0; at < text.length; at++) {
        for (const client of clients) client.send(text[at] ?? '');
        if (at === 20) await meanwhile();
        await Bun.sleep(1);
      }
      for (const client of clients) await exchange.expectResponse(client);
      exchange.expectLog('access.log', 64);
    }),
    fault(
      '64 clients that read nothing',
      async (exchange, meanwhile) => {
        const clients = await Promise.all(Array.from({ length: 64 }, () => exchange.connect()));
        for (const client of clients) {
          client.pause();
          client.send(http('GET /big'));
        }
        await exchange.expect('64 requests upstream', () => exchange.upstream('u1').requests === 64);
        await meanwhile();
        for (const client of clients) client.resume();
        for (const client of clients) {
          await exchange.expectResponse(client, { timeoutMs: 10_000 });
          exchange.note('answer', String(client.received.length > 500_000));
          client.received = '';
        }
        exchange.expectLog('access.log', 64);
      },
      { stats: [/^http\.ingress\.downstream_rq/, /^cluster\.u1\.upstream_rq/] },
    ),
    fault('64 clients that connect and vanish', async (exchange, meanwhile) => {
      const clients = await Promise.all(Array.from({ length: 64 }, () => exchange.connect()));
      for (const client of clients) client.send(http('GET /wait'));
      await exchange.expectStat('cluster.u1.upstream_rq_active', 64);
      await meanwhile();
      for (const client of clients) client.reset();
      exchange.expectLog('access.log', 64);
    }),
  ],
);
