/** One gRPC stream for a long time: HTTP/2 over TLS on both sides, as many messages as an hour brings. */

import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { http2Cluster } from '../differential/configs.ts';
import { ServerProgram } from './programs.ts';
import { nuncio, pemPath, RunningProxy, upstreamTls } from './proxy.ts';

const MESSAGES = 1_000_000;
const PEER = join(import.meta.dir, 'streaming-peer.mjs');

test('a million messages each way on one stream: none is lost, memory stays', async () => {
  const server = await ServerProgram.start((port) => [
    'node',
    PEER,
    'server',
    String(port),
    pemPath('server-ec.key'),
    pemPath('server-ec.pem'),
  ]);
  const proxy = await RunningProxy.start(
    { routes: [{ match: { prefix: '/' }, route: { cluster: 'u1', timeout: '0s' } }] },
    [http2Cluster('u1', {}, { transport_socket: upstreamTls })],
    { u1: server.port },
    nuncio,
    true,
  );
  try {
    const client = Bun.spawn(['node', PEER, 'client', String(proxy.port), pemPath('root.pem'), String(MESSAGES)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
      killSignal: 'SIGKILL',
    });
    const resident: number[] = [];
    let output = '';
    for await (const chunk of client.stdout) {
      output += Buffer.from(chunk).toString();
      resident.push(proxy.residentBytes());
    }
    const errors = await new Response(client.stderr).text();
    expect(await client.exited, errors).toBe(0);
    expect(output).toEndWith(`${MESSAGES} messages, status 0\n`);
    // Behind the first half the heap has its size.
    const settled = Math.max(...resident.slice(0, Math.ceil(resident.length / 2)));
    const last = resident.at(-1)!;
    expect(last - settled, resident.map((bytes) => Math.round(bytes / 1e6)).join(' ')).toBeLessThan(24 * 1024 * 1024);
    expect(await proxy.stat('http.ingress.downstream_rq_total')).toBe(1);
    for (const gauge of [
      'http.ingress.downstream_rq_active',
      'cluster.u1.upstream_rq_active',
      ...['streams_active', 'pending_send_bytes', 'outbound_frames_active', 'outbound_control_frames_active'].flatMap(
        (name) => [`http2.${name}`, `cluster.u1.http2.${name}`],
      ),
    ]) {
      expect([gauge, await proxy.stat(gauge)]).toEqual([gauge, 0]);
    }
  } finally {
    await proxy.stop();
    await server.stop();
  }
}, 90_000);
