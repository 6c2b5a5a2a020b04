/** The rows of the foundation: HTTP/1, TCP, routes, idle connections, memory, workers, latency, start. */
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { httpConfig, tcpConfig } from './configs.ts';
import { holdConnections } from './idle-connections.ts';
import { cpuPerRequest, launch, type PeerName, type Running, record, rounds, seconds, stopAll } from './measure.ts';
import { openLoop } from './open-loop.ts';
import {
  freePort,
  LOAD_CORE,
  PROXY_CORE,
  scratch,
  startEnvoy,
  startNginx,
  startNuncio,
  startTwice,
  waitForPort,
  warmUp,
  wrk,
} from './peers.ts';
import { cpuMs, median, rssKb } from './process-meter.ts';

async function benchHttp(upstream: number): Promise<void> {
  const peers = [
    await launch('nuncio', 'http', (listen) => httpConfig({ listen, upstream, observed: null, routes: 0 }), upstream),
    await launch('envoy', 'http', (listen) => httpConfig({ listen, upstream, observed: null, routes: 0 }), upstream),
    await launch('nginx', 'http', () => '', upstream),
  ];
  const used = await cpuPerRequest(peers);
  const [nuncio, envoy, nginx] = peers.map((each) => used.get(each)!) as [number, number, number];
  record({
    work: 'HTTP/1 keep-alive to HTTP/1',
    unit: 'CPU µs per request',
    values: { nuncio, envoy, nginx },
    target: 'at most 0.45 of Envoy and 1.3 of nginx',
    reached: nuncio <= 0.45 * envoy && nuncio <= 1.3 * nginx,
  });
  await stopAll(peers);
}

async function benchObserved(upstream: number): Promise<void> {
  const peers: Running[] = [];
  for (const name of ['nuncio', 'envoy'] as const) {
    const log = join(scratch, `observed-${name}.log`);
    peers.push(
      await launch(name, 'observed', (listen) => httpConfig({ listen, upstream, observed: log, routes: 0 }), upstream),
    );
  }
  const used = await cpuPerRequest(peers);
  const [nuncio, envoy] = peers.map((each) => used.get(each)!) as [number, number];
  record({
    work: 'the same with request id, access log to a file and 5 header rules',
    unit: 'CPU µs per request',
    values: { nuncio, envoy },
    target: 'at most 0.5 of Envoy',
    reached: nuncio <= 0.5 * envoy,
  });
  await stopAll(peers);
}

async function benchRoutes(upstream: number): Promise<void> {
  for (const name of ['nuncio', 'envoy'] as const) {
    const peers = [
      await launch(
        name,
        'route-one',
        (listen) => httpConfig({ listen, upstream, observed: null, routes: 0 }),
        upstream,
      ),
      await launch(
        name,
        'route-many',
        (listen) => httpConfig({ listen, upstream, observed: null, routes: 1999 }),
        upstream,
      ),
    ];
    const used = await cpuPerRequest(peers);
    const ratio = used.get(peers[1]!)! / used.get(peers[0]!)!;
    record({
      work: `2,000 prefix routes, the last one matches, against one route (${name})`,
      unit: 'ratio of CPU per request',
      values: { [name]: ratio },
      target: name === 'nuncio' ? 'at most 1.15' : 'for comparison',
      reached: name === 'envoy' || ratio <= 1.15,
    });
    await stopAll(peers);
  }
}

/** Downloads `bytes` through a relay and waits for the end. */
async function download(port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let received = 0;
  await Bun.connect({
    hostname: '127.0.0.1',
    port,
    socket: {
      open: (socket) => {
        socket.write('GET /large HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n');
      },
      data: (_socket, chunk) => {
        received += chunk.length;
      },
      close: () => resolve(received),
      error: (_socket, error) => reject(error),
    },
  });
  return promise;
}

async function benchRelay(): Promise<void> {
  const megabytes = 256;
  const root = join(scratch, 'files');
  await Bun.write(join(root, 'large'), new Uint8Array(megabytes * 1024 * 1024));
  const upstream = await freePort();
  const files = startNginx('files', `server { listen 127.0.0.1:${upstream}; root ${root}; sendfile on; }`, LOAD_CORE);
  await waitForPort(upstream);
  const peers = [
    await launch('nuncio', 'relay', (listen) => tcpConfig(listen, upstream), upstream),
    await launch('envoy', 'relay', (listen) => tcpConfig(listen, upstream), upstream),
  ];
  const samples = new Map<Running, number[]>(peers.map((each) => [each, []]));
  for (const each of peers) await download(each.port);
  for (let round = 0; round < rounds; round++) {
    for (const each of peers) {
      const before = cpuMs(each.peer.pid);
      let bytes = 0;
      for (let i = 0; i < 4; i++) bytes += await download(each.port);
      if (bytes < 4 * megabytes * 1024 * 1024) throw new Error(`${each.name}: ${bytes} bytes`);
      samples.get(each)!.push((cpuMs(each.peer.pid) - before) / 1000 / (bytes / 1e9));
    }
  }
  const [nuncio, envoy] = peers.map((each) => median(samples.get(each)!)) as [number, number];
  record({
    work: 'TCP relay',
    unit: 'CPU seconds per GB',
    values: { nuncio, envoy },
    target: 'at most 1.3 of Envoy',
    reached: nuncio <= 1.3 * envoy,
  });
  await stopAll(peers);
  await files.stop();
}

async function benchIdle(upstream: number): Promise<void> {
  const count = 3000;
  const values: Partial<Record<PeerName, number>> = {};
  const base: Partial<Record<PeerName, number>> = {};
  for (const name of ['nuncio', 'envoy', 'nginx'] as const) {
    const running = await launch(
      name,
      'idle',
      (listen) => httpConfig({ listen, upstream, observed: null, routes: 0 }),
      upstream,
    );
    base[name] = rssKb(running.peer.pid) / 1024;
    // What a first burst allocates and keeps is not the price of a connection.
    for (const socket of await holdConnections(500, 200, () => connect(running.port, '127.0.0.1'))) socket.destroy();
    await Bun.sleep(1000);
    const before = rssKb(running.peer.pid);
    const sockets = await holdConnections(count, 200, () => connect(running.port, '127.0.0.1'));
    await Bun.sleep(1500);
    values[name] = (rssKb(running.peer.pid) - before) / count;
    for (const socket of sockets) socket.destroy();
    await running.peer.stop();
  }
  record({
    work: `idle HTTP/1 connection (${count} of them, after one request each)`,
    unit: 'kB of resident memory',
    values,
    target: 'at most 6 kB',
    reached: values.nuncio! <= 6,
  });
  record({
    work: 'base memory, one worker',
    unit: 'MB of resident memory',
    values: base,
    target: 'under 100 MB',
    reached: base.nuncio! < 100,
  });
}

/**
 * What two workers of one process lose to each other: against two processes that share nothing, on the same two cores, under the same
 * load, which has to have its part of those cores. Against one worker with a core to itself the machine would be measured as well:
 * cores that share their caches, and load that takes turns with the proxy.
 */
async function benchWorkers(upstream: number): Promise<void> {
  const config = (listen: number): string => httpConfig({ listen, upstream, observed: null, routes: 0 });
  const cores = `${PROXY_CORE},${LOAD_CORE}`;
  const one = await launch('nuncio', 'workers-1', config, upstream);
  const two = await launch('nuncio', 'workers-2', config, upstream, 2, cores);
  const port = await freePort();
  const file = join(scratch, 'workers-apart.yaml');
  writeFileSync(file, config(port));
  const apart: Running = { name: 'nuncio', port, peer: startTwice(file, cores) };
  await waitForPort(port);
  const used = await cpuPerRequest([one, two, apart]);
  const ratio = (2 * used.get(apart)!) / used.get(two)!;
  const ofOne = ((2 * used.get(one)!) / used.get(two)!).toFixed(2);
  record({
    work: `two workers against two processes of one worker, which count as 2 (against one worker with a core without load: ${ofOne})`,
    unit: 'ratio',
    values: { nuncio: ratio },
    target: 'at least 1.8',
    reached: ratio >= 1.8,
  });
  await stopAll([one, two, apart]);
}

async function benchLatency(upstream: number): Promise<void> {
  const peers = [
    await launch(
      'nuncio',
      'latency',
      (listen) => httpConfig({ listen, upstream, observed: null, routes: 0 }),
      upstream,
    ),
    await launch('envoy', 'latency', (listen) => httpConfig({ listen, upstream, observed: null, routes: 0 }), upstream),
  ];
  // The rate that both can bear: 60 % of what the slower of the two reaches when it is pushed.
  let slowest = Number.POSITIVE_INFINITY;
  for (const each of peers) {
    await warmUp(each.port);
    slowest = Math.min(slowest, (await wrk(each.port, 64, 3)).requests / 3);
  }
  const rate = Math.floor(slowest * 0.6);
  const samples = new Map<Running, number[]>(peers.map((each) => [each, []]));
  for (let round = 0; round < rounds; round++) {
    for (const each of peers) {
      const result = await openLoop(each.port, rate, seconds);
      if (result.errors > 0) throw new Error(`${each.name}: ${result.errors} errors`);
      samples.get(each)!.push(result.p99);
    }
  }
  const [nuncio, envoy] = peers.map((each) => median(samples.get(each)!)) as [number, number];
  record({
    work: `p99 latency at a fixed rate (60 % of the slower one's most: ${rate}/s)`,
    unit: 'ms',
    values: { nuncio, envoy },
    target: "no worse than Envoy's",
    reached: nuncio <= envoy,
  });
  await stopAll(peers);
}

async function benchStart(upstream: number): Promise<void> {
  const values: Partial<Record<PeerName, number>> = {};
  for (const name of ['nuncio', 'envoy'] as const) {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const port = await freePort();
      const file = join(scratch, `start-${name}.yaml`);
      writeFileSync(file, httpConfig({ listen: port, upstream, observed: null, routes: 0 }));
      const begin = performance.now();
      const peer = name === 'nuncio' ? startNuncio(file) : await startEnvoy(file);
      for (;;) {
        const answered = await fetch(`http://127.0.0.1:${port}/`).then(
          (response) => response.status === 200,
          () => false,
        );
        if (answered) break;
        await Bun.sleep(1);
      }
      times.push(performance.now() - begin);
      await peer.stop();
    }
    values[name] = median(times);
  }
  record({
    work: 'from exec to the first answered request',
    unit: 'ms',
    values,
    target: 'under 250 ms',
    reached: values.nuncio! < 250,
  });
}

/** By name. @param upstreamPort answers 48 bytes */
export function foundationRows(upstreamPort: number): readonly (readonly [string, () => Promise<void>])[] {
  return [
    ['http', () => benchHttp(upstreamPort)],
    ['observed', () => benchObserved(upstreamPort)],
    ['routes', () => benchRoutes(upstreamPort)],
    ['relay', benchRelay],
    ['idle', () => benchIdle(upstreamPort)],
    ['workers', () => benchWorkers(upstreamPort)],
    ['latency', () => benchLatency(upstreamPort)],
    ['start', () => benchStart(upstreamPort)],
  ];
}
