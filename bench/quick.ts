/** `bun bench/quick.ts [seconds] [rounds] [observed]`: HTTP/1 keep-alive, Nuncio beside Envoy and nginx, CPU per request. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { httpConfig } from './configs.ts';
import {
  freePort,
  LOAD_CORE,
  type Peer,
  PROXY_CORE,
  scratch,
  startEnvoy,
  startNginx,
  startNuncio,
  waitForPort,
  warmUp,
  wrk,
} from './peers.ts';
import { cpuMs, median, rssKb } from './process-meter.ts';

const seconds = Number(process.argv[2] ?? 3);
const rounds = Number(process.argv[3] ?? 3);
const observed = process.argv[4] === 'observed';
const upstreamPort = await freePort();
const body = 'x'.repeat(48);
const upstream = startNginx(
  'upstream',
  `server { listen 127.0.0.1:${upstreamPort} backlog=4096; location / { return 200 "${body}"; } }`,
  LOAD_CORE,
);
await waitForPort(upstreamPort);
const ports: Record<string, number> = {};
const peers: Peer[] = [];
for (const name of ['nuncio', 'envoy', 'nginx']) {
  const listen = await freePort();
  ports[name] = listen;
  const file = join(scratch, `${name}.yaml`);
  writeFileSync(
    file,
    httpConfig({ listen, upstream: upstreamPort, observed: observed ? join(scratch, `${name}.log`) : null, routes: 0 }),
  );
  if (name === 'nuncio') peers.push(startNuncio(file));
  else if (name === 'envoy') peers.push(await startEnvoy(file));
  else {
    peers.push(
      startNginx(
        'proxy',
        `upstream u { server 127.0.0.1:${upstreamPort}; keepalive 128; keepalive_requests 100000000; } server { listen 127.0.0.1:${listen} backlog=4096; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
        PROXY_CORE,
      ),
    );
  }
  await waitForPort(listen);
}
const results: Record<string, number[]> = { nuncio: [], envoy: [], nginx: [] };
for (const peer of peers) await warmUp(ports[peer.name === 'proxy' ? 'nginx' : peer.name]!);
for (let round = 0; round < rounds; round++) {
  for (const peer of peers) {
    const name = peer.name === 'proxy' ? 'nginx' : peer.name;
    const before = cpuMs(peer.pid);
    const load = await wrk(ports[name]!, 64, seconds);
    const used = ((cpuMs(peer.pid) - before) * 1000) / load.requests;
    results[name]!.push(used);
    console.log(name, `${used.toFixed(1)} us/request`, load, `${rssKb(peer.pid)} kB`);
  }
}
const of = (name: string) => median(results[name]!);
console.log(
  `nuncio/envoy ${(of('nuncio') / of('envoy')).toFixed(3)}  nuncio/nginx ${(of('nuncio') / of('nginx')).toFixed(3)}`,
);
for (const peer of peers) await peer.stop();
await upstream.stop();
