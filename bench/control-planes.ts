/** Control planes: `nuncio pilot` beside go-control-plane, the library that most others are built on. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { join, resolve } from 'node:path';
import { fromBinary, fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { GoControlPlane } from '../test/counterparts/go-control-plane.ts';
import { installCounterparts } from '../tools/counterparts.ts';
import { GrpcMessages, grpcFrame, TYPES } from './ads-server.ts';
import { edsCluster, endpointsOf, farEndpoints } from './dynamic-resources.ts';
import { record } from './measure.ts';
import { freePort, PROXY_CORE, scratch, startScript, waitForPort } from './peers.ts';
import { cpuMs, median, rssKb } from './process-meter.ts';

const CLIENTS = 1000;
const SERVED_CLUSTERS = 100;

/** One idle proxy as the control plane sees it. */
class XdsClient {
  readonly #session: ClientHttp2Session;
  readonly #stream: ClientHttp2Stream;
  readonly #messages = new GrpcMessages();
  readonly #request: (json: JsonObject) => Buffer;
  readonly #nonceOf: (message: Uint8Array) => { readonly typeUrl: string; readonly nonce: string };
  /** Told of each answer about endpoints. */
  onEndpoints: () => void = () => {};

  constructor(port: number, index: number, codec: XdsCodec) {
    this.#request = codec.request;
    this.#nonceOf = codec.response;
    this.#session = connectHttp2(`http://127.0.0.1:${port}`);
    this.#session.on('error', () => {});
    this.#stream = this.#session.request({
      ':method': 'POST',
      ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    this.#stream.on('error', () => {});
    this.#stream.on('data', (part: Buffer) => {
      for (const message of this.#messages.feed(part)) this.#onAnswer(message);
    });
    this.#stream.write(this.#request({ node: { id: `client-${index}` }, type_url: TYPES.cluster }));
    const names = Array.from({ length: SERVED_CLUSTERS }, (_, i) => `cluster-${i}`);
    this.#stream.write(this.#request({ type_url: TYPES.endpoints, resource_names_subscribe: names }));
  }

  #onAnswer(message: Uint8Array): void {
    const { typeUrl, nonce } = this.#nonceOf(message);
    this.#stream.write(this.#request({ type_url: typeUrl, response_nonce: nonce }));
    if (typeUrl === TYPES.endpoints) this.onEndpoints();
  }

  stop(): void {
    this.#session.destroy();
  }
}

interface XdsCodec {
  readonly request: (json: JsonObject) => Buffer;
  readonly response: (message: Uint8Array) => { readonly typeUrl: string; readonly nonce: string };
}

async function xdsCodec(): Promise<XdsCodec> {
  const { openApiRegistry } = await import('../src/api/api-registry.ts');
  const api = openApiRegistry();
  const request = api.message('envoy.service.discovery.v3.DeltaDiscoveryRequest')!;
  const response = api.message('envoy.service.discovery.v3.DeltaDiscoveryResponse')!;
  return {
    request: (json) => grpcFrame(toBinary(request, fromJson(request, json, { registry: api.registry }))),
    response: (message) => fromBinary(response, message) as unknown as { typeUrl: string; nonce: string },
  };
}

/** Clients that have all that there is. */
async function joined(port: number, count: number, codec: XdsCodec): Promise<XdsClient[]> {
  const clients: XdsClient[] = [];
  while (clients.length < count) {
    const batch = Array.from({ length: Math.min(50, count - clients.length) }, (_, i) => {
      const { promise, resolve: done } = Promise.withResolvers<void>();
      const client = new XdsClient(port, clients.length + i, codec);
      client.onEndpoints = done;
      return { client, promise };
    });
    for (const { client, promise } of batch) {
      await promise;
      clients.push(client);
    }
  }
  return clients;
}

/** A control plane that serves one group of clients. */
interface ControlPlane {
  readonly pid: number;
  readonly port: number;
  /** Changes one of the endpoints. */
  change(port: number): void;
  stop(): Promise<void>;
}

const typed = (type: string, json: JsonObject): JsonObject => ({ '@type': type, ...json });
const CLUSTERS = Array.from({ length: SERVED_CLUSTERS }, (_, i) => typed(TYPES.cluster, edsCluster(`cluster-${i}`)));

function endpoints(port: number): JsonObject[] {
  return Array.from({ length: SERVED_CLUSTERS }, (_, i) =>
    typed(TYPES.endpoints, endpointsOf(`cluster-${i}`, i === 0 ? [['127.0.0.1', port]] : farEndpoints(i))),
  );
}

async function startPilot(): Promise<ControlPlane> {
  const root = join(scratch, 'pilot');
  mkdirSync(root, { recursive: true });
  const change = (port: number): void =>
    writeFileSync(join(root, 'endpoints.json'), JSON.stringify({ resources: endpoints(port) }));
  writeFileSync(join(root, 'clusters.json'), JSON.stringify({ resources: CLUSTERS }));
  change(1000);
  const port = await freePort();
  const command = ['pilot', '--listen', `127.0.0.1:${port}`, '--resources', root];
  const peer = startScript('pilot', [resolve('src/cli/main.ts'), ...command], PROXY_CORE);
  await waitForPort(port);
  return { pid: peer.pid, port, change, stop: () => peer.stop() };
}

async function startGoControlPlane(): Promise<ControlPlane> {
  await installCounterparts();
  const plane = await GoControlPlane.start('-quiet', '-one-group');
  const set = (port: number): Promise<void> =>
    plane.set('all', {
      [TYPES.cluster]: { version: '1', resources: CLUSTERS },
      [TYPES.endpoints]: { version: String(port), resources: endpoints(port) },
    });
  await set(1000);
  return { pid: plane.pid, port: plane.port, change: (port) => void set(port), stop: () => plane.stop() };
}

interface Measured {
  readonly kbPerClient: number;
  readonly cpuSeconds: number;
  /** Until everybody has a change. */
  readonly pushMs: number;
}

async function measure(plane: ControlPlane, codec: XdsCodec): Promise<Measured> {
  const { pid, port } = plane;
  // What a first burst allocates and keeps is not the price of a client.
  const early = await joined(port, 100, codec);
  for (const each of early) each.stop();
  await Bun.sleep(1000);
  const before = rssKb(pid);
  const clients = await joined(port, CLIENTS, codec);
  await Bun.sleep(2000);
  const kbPerClient = (rssKb(pid) - before) / CLIENTS;
  const used: number[] = [];
  const took: number[] = [];
  for (let round = 0; round < 5; round++) {
    const { promise, resolve: done } = Promise.withResolvers<void>();
    let left = CLIENTS;
    for (const client of clients) {
      client.onEndpoints = () => {
        left--;
        if (left === 0) done();
      };
    }
    const start = cpuMs(pid);
    const begin = performance.now();
    plane.change(1001 + round);
    await promise;
    took.push(performance.now() - begin);
    await Bun.sleep(500);
    used.push((cpuMs(pid) - start) / 1000);
  }
  for (const client of clients) client.stop();
  await plane.stop();
  return { kbPerClient, cpuSeconds: median(used), pushMs: median(took) };
}

/** Both in one run, one after the other: what they use is counted in CPU time. */
export async function benchControlPlanes(): Promise<void> {
  const codec = await xdsCodec();
  const ours = await measure(await startPilot(), codec);
  const theirs = await measure(await startGoControlPlane(), codec);
  const after = ({ pushMs }: Measured): string => `all have it after ${pushMs.toFixed(0)} ms`;
  record({
    work: `nuncio pilot: one change to ${CLIENTS} clients (${after(ours)}; go-control-plane ${theirs.cpuSeconds.toFixed(2)}, ${after(theirs)})`,
    unit: 'CPU s of the control plane',
    values: { nuncio: ours.cpuSeconds },
    target: 'under 1',
    reached: ours.cpuSeconds < 1,
  });
  record({
    work: `nuncio pilot: an idle client with ${SERVED_CLUSTERS} clusters and their endpoints, by delta (go-control-plane ${theirs.kbPerClient.toFixed(1)})`,
    unit: 'kB of resident memory',
    values: { nuncio: ours.kbPerClient },
    target: 'under 60',
    reached: ours.kbPerClient < 60,
  });
}
