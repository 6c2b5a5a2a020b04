/** The rows of dynamic configuration: much of it, and how a change of it comes into force. */
import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { JsonObject } from '@bufbuild/protobuf';
import { AdsServer, encodeResource, TYPES } from './ads-server.ts';
import { benchControlPlanes } from './control-planes.ts';
import { ENDPOINTS_EACH, edsCluster, endpointsOf, farEndpoints } from './dynamic-resources.ts';
import { type PeerName, record } from './measure.ts';
import { freePort, type Peer, PROXY_CORE, scratch, startEnvoy, startNuncio } from './peers.ts';
import { cpuMs, fineCpuMs, median, rssKb } from './process-meter.ts';

const CLUSTERS = 10_000;
const ROUTES = 3000;

const ADS = { ads: {}, resource_api_version: 'V3' };

function manager(routes: JsonObject): JsonObject {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
      stat_prefix: 'ingress',
      codec_type: 'HTTP1',
      ...routes,
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
        },
      ],
    },
  };
}

const STATIC_ROUTES: JsonObject = {
  route_config: {
    validate_clusters: false,
    virtual_hosts: [
      { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'moving' } }] },
    ],
  },
};

const DISCOVERED_ROUTES: JsonObject = { rds: { route_config_name: 'routes', config_source: ADS } };

function listener(port: number, routes: JsonObject): JsonObject {
  return {
    name: 'ingress',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [{ filters: [manager(routes)] }],
  };
}

/** @param flush between two flushes of the stats: what they cost is not the price of a change */
function adsBootstrap(listen: number, adsPort: number, routes: JsonObject, flush = '5s'): JsonObject {
  return {
    node: { id: 'bench', cluster: 'bench' },
    stats_flush_interval: flush,
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'ads' } }],
      },
      cds_config: ADS,
    },
    static_resources: {
      listeners: [listener(listen, routes)],
      clusters: [
        {
          name: 'ads',
          connect_timeout: '5s',
          type: 'STATIC',
          load_assignment: endpointsOf('ads', [['127.0.0.1', adsPort]]),
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: { initial_stream_window_size: 1048576 } },
            },
          },
        },
      ],
    },
  };
}

function fileBootstrap(listen: number, clusters: string): JsonObject {
  return {
    node: { id: 'bench', cluster: 'bench' },
    dynamic_resources: { cds_config: { path_config_source: { path: clusters }, resource_api_version: 'V3' } },
    static_resources: { listeners: [listener(listen, STATIC_ROUTES)] },
  };
}

/** Two upstreams that tell which of them answers. */
class Upstreams {
  readonly a = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('a') });
  readonly b = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('b') });

  stop(): void {
    void this.a.stop(true);
    void this.b.stop(true);
  }
}

interface Dynamic {
  readonly name: PeerName;
  readonly port: number;
  readonly peer: Peer;
  /** CPU ms until it served. */
  readonly cpu: number;
}

/** Starts a proxy and waits until it serves. */
async function launchDynamic(
  name: 'nuncio' | 'envoy',
  label: string,
  config: (listen: number) => JsonObject,
  concurrency: number,
): Promise<Dynamic> {
  const port = await freePort();
  const file = join(scratch, `${label}-${name}.json`);
  writeFileSync(file, JSON.stringify(config(port)));
  const start = name === 'nuncio' ? startNuncio : startEnvoy;
  const peer = await start(file, concurrency, PROXY_CORE);
  const deadline = performance.now() + 120_000;
  while (!(await serves(port))) {
    if (performance.now() > deadline) throw new Error(`${name} does not serve`);
    await Bun.sleep(5);
  }
  return { name, port, peer, cpu: cpuMs(peer.pid) };
}

function serves(port: number): Promise<boolean> {
  const { promise, resolve: done } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1', () => {
    socket.destroy();
    done(true);
  });
  socket.on('error', () => done(false));
  return promise;
}

async function benchLarge(source: 'ads' | 'file', server: AdsServer): Promise<void> {
  const cpu: Partial<Record<PeerName, number>> = {};
  const memory: Partial<Record<PeerName, number>> = {};
  const clusters = join(scratch, 'clusters.json');
  if (source === 'file') {
    const resources = Array.from({ length: CLUSTERS }, (_, i) => ({
      '@type': TYPES.cluster,
      name: `cluster-${i}`,
      type: 'STATIC',
      connect_timeout: '2s',
      load_assignment: endpointsOf(`cluster-${i}`, farEndpoints(i)),
    }));
    writeFileSync(clusters, JSON.stringify({ version_info: '1', resources }));
  }
  for (const name of ['nuncio', 'envoy'] as const) {
    const config = (listen: number): JsonObject =>
      source === 'ads' ? adsBootstrap(listen, server.port, STATIC_ROUTES) : fileBootstrap(listen, clusters);
    const running = await launchDynamic(name, `many-${source}`, config, 1);
    cpu[name] = running.cpu / 1000;
    // Behind the first flushes of the stats, every five seconds.
    await Bun.sleep(12_000);
    memory[name] = rssKb(running.peer.pid) / 1024;
    await running.peer.stop();
  }
  const what = `${CLUSTERS} clusters with ${CLUSTERS * ENDPOINTS_EACH} endpoints from ${source === 'ads' ? 'ADS (EDS)' : 'a file'}`;
  const target = 'at most that of Envoy';
  record({ work: what, unit: 'CPU s to first ready', values: cpu, target, reached: cpu.nuncio! <= cpu.envoy! });
  record({ work: what, unit: 'MB resident', values: memory, target, reached: memory.nuncio! <= memory.envoy! });
}

/** One connection that asks again as soon as it is answered. */
class Watcher {
  /** When the last answer of the former upstream came. */
  lastOldMs = 0;
  expected = 'a';
  /** Whether the last answer was as expected. */
  isNew = false;
  last = 'nothing';
  readonly #socket: Socket;
  readonly #request: string;
  #stopped = false;

  constructor(port: number, path: string) {
    this.#request = `GET ${path} HTTP/1.1\r\nhost: bench\r\n\r\n`;
    this.#socket = connect(port, '127.0.0.1', () => this.#ask());
    this.#socket.on('data', (bytes: Buffer) => this.#onAnswer(bytes));
    this.#socket.on('error', () => {});
  }

  #ask(): void {
    // Not as fast as it can: what is measured is the update.
    if (!this.#stopped) setTimeout(() => this.#socket.write(this.#request), 4);
  }

  #onAnswer(bytes: Buffer): void {
    this.last = bytes.toString('latin1');
    this.isNew = this.last.endsWith(this.expected);
    if (!this.isNew) this.lastOldMs = performance.now();
    this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    this.#socket.destroy();
  }
}

const WATCHERS = 16;
const CHANGES = 20;

/** Ms from the push until no connection is answered by the former upstream any more, of many pushes. */
async function timesInForce(port: number, path: string, push: (to: 'a' | 'b') => void): Promise<number[]> {
  const watchers = Array.from({ length: WATCHERS }, () => new Watcher(port, path));
  const settle = async (): Promise<void> => {
    const deadline = performance.now() + 10_000;
    while (!watchers.every((each) => each.isNew)) {
      if (performance.now() > deadline)
        throw new Error(
          `a change did not come into force on ${path} of port ${port}: ${watchers.filter((each) => !each.isNew).length} of ${WATCHERS} are answered by ${watchers[0]!.last}`,
        );
      await Bun.sleep(2);
    }
  };
  const times: number[] = [];
  await settle();
  for (let i = 0; i < CHANGES; i++) {
    const to = i % 2 === 0 ? 'b' : 'a';
    for (const each of watchers) {
      each.isNew = false;
      each.expected = to;
    }
    const begin = performance.now();
    push(to);
    await settle();
    await Bun.sleep(50);
    times.push(Math.max(0, ...watchers.map((each) => each.lastOldMs - begin)));
  }
  for (const each of watchers) each.stop();
  return times;
}

/**
 * CPU ms of one change, without traffic; what the process uses anyway is taken off. The median of several rounds: a large collection,
 * which may come long after the start, falls into one of them.
 */
async function cpuPerChange(pid: number, push: (to: 'a' | 'b') => Promise<void>): Promise<number> {
  const changes = 200;
  const pairs = 5;
  const run = async (change: boolean): Promise<number> => {
    const before = fineCpuMs(pid);
    for (let i = 0; i < changes; i++) {
      if (change) await push(i % 2 === 0 ? 'b' : 'a');
      await Bun.sleep(10);
    }
    return fineCpuMs(pid) - before;
  };
  await run(true);
  const each: number[] = [];
  for (let i = 0; i < pairs; i++) {
    const idle = await run(false);
    each.push(((await run(true)) - idle) / changes);
  }
  return Math.max(0, median(each));
}

async function benchEndpointChange(server: AdsServer, upstreams: Upstreams): Promise<void> {
  const cpu: Partial<Record<PeerName, number>> = {};
  const time: Partial<Record<PeerName, number>> = {};
  const set = (to: 'a' | 'b'): void => {
    server.set(TYPES.endpoints, 'moving', endpointsOf('moving', [['127.0.0.1', upstreams[to].port!]]));
  };
  const push = (to: 'a' | 'b'): Promise<void> => {
    set(to);
    return server.push(TYPES.endpoints, 'moving');
  };
  for (const name of ['nuncio', 'envoy'] as const) {
    set('a');
    const running = await launchDynamic(
      name,
      'moving',
      (listen) => adsBootstrap(listen, server.port, STATIC_ROUTES, '299s'),
      2,
    );
    await Bun.sleep(1000);
    time[name] = median(await timesInForce(running.port, '/', (to) => void push(to)));
    cpu[name] = await cpuPerChange(running.peer.pid, push);
    await running.peer.stop();
  }
  const work = `one endpoint of ${CLUSTERS * ENDPOINTS_EACH} changes, two workers`;
  record({ work, unit: 'CPU ms of the proxy', values: cpu, target: 'at most 2', reached: cpu.nuncio! <= 2 });
  record({
    work,
    unit: 'ms until all workers go by it',
    values: time,
    target: 'at most 20',
    reached: time.nuncio! <= 20,
  });
}

function routesTo(cluster: string): JsonObject {
  const others = Array.from({ length: ROUTES - 1 }, (_, i) => ({
    match: { prefix: `/route-${i}/` },
    route: { cluster: `cluster-${i}` },
  }));
  const routes = [...others, { match: { prefix: '/' }, route: { cluster } }];
  return { name: 'routes', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] };
}

async function benchRouteChange(server: AdsServer, upstreams: Upstreams): Promise<void> {
  const time: Partial<Record<PeerName, number>> = {};
  for (const to of ['a', 'b'] as const) {
    const name = `fixed-${to}`;
    server.set(TYPES.cluster, name, edsCluster(name));
    server.set(TYPES.endpoints, name, endpointsOf(name, [['127.0.0.1', upstreams[to].port!]]));
  }
  const tables = {
    a: encodeResource(TYPES.routes, routesTo('fixed-a')),
    b: encodeResource(TYPES.routes, routesTo('fixed-b')),
  };
  const list = new Map<string, Uint8Array>();
  server.resources.set(TYPES.routes, list);
  for (const name of ['nuncio', 'envoy'] as const) {
    list.set('routes', tables.a);
    const config = (listen: number): JsonObject => adsBootstrap(listen, server.port, DISCOVERED_ROUTES, '299s');
    const running = await launchDynamic(name, 'routes', config, 2);
    await Bun.sleep(1000);
    const push = (to: 'a' | 'b'): void => {
      list.set('routes', tables[to]);
      void server.push(TYPES.routes, 'routes');
    };
    time[name] = median(await timesInForce(running.port, '/', push));
    await running.peer.stop();
  }
  record({
    work: `one route of ${ROUTES} changes, two workers`,
    unit: 'ms until all traffic goes by it',
    values: time,
    target: 'under 30',
    reached: time.nuncio! < 30,
  });
}

/** By name. */
export function dynamicRows(): readonly (readonly [string, () => Promise<void>])[] {
  const withServer = async (run: (server: AdsServer, upstreams: Upstreams) => Promise<void>): Promise<void> => {
    const server = await AdsServer.start();
    const upstreams = new Upstreams();
    for (let i = 0; i < CLUSTERS; i++) {
      const name = i === 0 ? 'moving' : `cluster-${i}`;
      server.set(TYPES.cluster, name, edsCluster(name));
      server.set(TYPES.endpoints, name, endpointsOf(name, farEndpoints(i)));
    }
    try {
      await run(server, upstreams);
      if (server.refusals.length > 0) throw new Error(`refused: ${server.refusals[0]}`);
    } finally {
      server.stop();
      upstreams.stop();
    }
  };
  return [
    ['many-clusters', () => withServer((server) => benchLarge('ads', server))],
    ['many-clusters-file', () => withServer((server) => benchLarge('file', server))],
    ['endpoint-change', () => withServer(benchEndpointChange)],
    ['route-change', () => withServer(benchRouteChange)],
    ['pilot', benchControlPlanes],
  ];
}
