/** WebSocket through the proxy, over HTTP/1 and HTTP/2 on either side: Autobahn's cases against a server that is not ours. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { cluster, type Fields, http2Cluster } from '../differential/configs.ts';
import { envoy, RunningProxy } from './proxy.ts';
import { openOverHttp1, openOverHttp2, type Tunnel } from './tunnel.ts';
import { describeFrames, type WebSocketCase, webSocketCases } from './websocket-cases.ts';

const PATIENCE_MS = 5000;

const hcm: Fields = {
  upgrade_configs: [{ upgrade_type: 'websocket' }],
  http2_protocol_options: { allow_connect: true },
};

/** An echo server on Bun's WebSocket implementation (uWebSockets). */
function startEchoServer(): { port: number; stop: () => void } {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: (request, self) => (self.upgrade(request) ? undefined : new Response('no WebSocket', { status: 400 })),
    websocket: {
      perMessageDeflate: false,
      message: (socket, message) => void socket.send(message),
    },
  });
  return { port: server.port ?? 0, stop: () => void server.stop(true) };
}

async function runCase(
  open: (port: number) => Promise<Tunnel>,
  port: number,
  { pieces }: WebSocketCase,
): Promise<string[]> {
  const tunnel = await open(port);
  for (const [index, piece] of pieces.entries()) {
    // Pieces shall arrive apart; nothing is to be awaited. Of many small ones a few suffice.
    if (index > 0 && index < 4) await Bun.sleep(1);
    tunnel.send(piece);
  }
  const { bytes, ended } = await tunnel.finish(PATIENCE_MS);
  return [...describeFrames(bytes), ended ? 'ended' : 'open'];
}

let server: { port: number; stop: () => void };
let far: RunningProxy;
let plain: RunningProxy;
let tunnelled: RunningProxy;
const direct = new Map<string, string[]>();
beforeAll(async () => {
  server = startEchoServer();
  for (const each of webSocketCases) direct.set(each.id, await runCase(openOverHttp1, server.port, each));
  plain = await RunningProxy.start({ hcm }, [cluster('u1')], { u1: server.port });
  far = await RunningProxy.start({ hcm }, [cluster('u1')], { u1: server.port }, envoy());
  tunnelled = await RunningProxy.start({ hcm }, [http2Cluster('u1', { allow_connect: true })], { u1: far.port });
}, 60_000);
afterAll(async () => {
  await tunnelled?.stop();
  await far?.stop();
  await plain?.stop();
  server?.stop();
});

test('all cases of the groups are here', () => {
  expect(webSocketCases.length).toBe(87);
  expect(new Set(webSocketCases.map(({ id }) => id)).size).toBe(87);
});

test('the server by itself answers as it must', () => {
  for (const { id, expected } of webSocketCases) {
    if (expected !== null) expect([id, direct.get(id)]).toEqual([id, [...expected, 'ended']]);
  }
});

for (const [name, open, proxy] of [
  ['HTTP/1 to HTTP/1', openOverHttp1, (): RunningProxy => plain],
  ['HTTP/2 to HTTP/1', openOverHttp2, (): RunningProxy => plain],
  ['HTTP/1 to HTTP/2 (Envoy)', openOverHttp1, (): RunningProxy => tunnelled],
  ['HTTP/2 to HTTP/2 (Envoy)', openOverHttp2, (): RunningProxy => tunnelled],
] as const) {
  describe(name, () => {
    for (const each of webSocketCases) {
      test(`case ${each.id}`, async () => {
        expect(await runCase(open, proxy().port, each)).toEqual(direct.get(each.id) ?? []);
      });
    }

    test('nothing is held when all is over', async () => {
      for (let round = 0; round < 100 && (await proxy().stat('cluster.u1.upstream_rq_active')) > 0; round++)
        await Bun.sleep(10);
      expect(await proxy().stat('cluster.u1.upstream_rq_active')).toBe(0);
      expect(await proxy().stat('http.ingress.downstream_rq_active')).toBe(0);
    });
  });
}
