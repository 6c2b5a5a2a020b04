/**
 * `bun bench/micro/request-path.ts [observed] [routes]`: the whole way of a request, from bytes to bytes, over sockets in memory: what of an
 * HTTP/1 request is ours and not the kernel's. CPU time, so that a busy machine disturbs it little.
 */
import { openApiRegistry } from '../../src/api/api-registry.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { ExtensionRegistry } from '../../src/config/extension-registry.ts';
import { EXTENSIONS } from '../../src/extensions/index.ts';
import { loadBootstrap } from '../../src/main/load-bootstrap.ts';
import { type Address, ipAddress } from '../../src/net/address.ts';
import type { Dispatcher } from '../../src/net/dispatcher.ts';
import type {
  Acceptor,
  ConnectSpec,
  ListeningSocket,
  ListenSpec,
  SocketRuntime,
  Transport,
  TransportHandler,
} from '../../src/net/transport.ts';
import { NO_TLS } from '../../src/net/transport-socket.ts';
import { Worker } from '../../src/worker/worker.ts';
import { httpConfig } from '../configs.ts';

class MemoryTransport implements Transport {
  readonly fd = -1;
  readonly security = null;
  readonly localAddress: Address = ipAddress('127.0.0.1', 1);
  readonly remoteAddress: Address = ipAddress('127.0.0.1', 2);
  handler: TransportHandler | null = null;
  taken = 0;

  setHandler(handler: TransportHandler): void {
    this.handler = handler;
  }

  write(_bytes: Buffer, start: number, end: number): number {
    this.taken += end - start;
    return end - start;
  }

  pause(): void {}
  resume(): void {}
  endWrites(): void {}
  close(): void {}
  reset(): void {}
  setNoDelay(): void {}
  setKeepAlive(): void {}
}

class MemorySockets implements SocketRuntime {
  readonly features = { socketOptions: true, reusePort: true, originalDestination: false };
  readonly dispatcher: Dispatcher;
  acceptor: Acceptor | null = null;
  readonly upstreams: MemoryTransport[] = [];

  constructor(dispatcher: Dispatcher) {
    this.dispatcher = dispatcher;
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    this.acceptor = acceptor;
    return { address: spec.address, close: () => {} };
  }

  connect(_spec: ConnectSpec, handler: TransportHandler): Transport {
    const transport = new MemoryTransport();
    transport.handler = handler;
    this.upstreams.push(transport);
    return transport;
  }

  originalDestination(): Address | null {
    return null;
  }
}

const CONNECTIONS = 64;
const observed = process.argv.includes('observed') ? '/dev/null' : null;
const routes = process.argv.includes('routes') ? 1999 : 0;
const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
const content = httpConfig({ listen: 10000, upstream: 9999, observed, routes });
const loaded = loadBootstrap([{ name: 'bench', format: 'yaml', content }], api, extensions, 'reject', {
  statsTags: [],
});
if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
const { plan } = loaded.value;
const made: MemorySockets[] = [];
const logSink = { write: (_level: unknown, _logger: string, message: string) => console.error(message) };
const worker = new Worker(
  {
    index: 0,
    workerCount: 1,
    local: { nodeId: '', clusterName: '', zone: '', address: null },
    logLevel: 'error',
    componentLevels: [],
    fileFlushIntervalMs: 10_000,
    fileFlushMinBytes: 64 * 1024,
    runtime: new Map(),
    sharedMemory: null,
    disabledExtensions: [],
    internalBufferBytes: 1024 * 1024,
    defaultTracer: null,
  } as unknown as ConstructorParameters<typeof Worker>[0],
  {
    api,
    extensions,
    clock: new SystemClock(),
    random: new SystemRandom(),
    logSink,
    createSockets: (dispatcher) => {
      const sockets = new MemorySockets(dispatcher);
      made.push(sockets);
      return sockets;
    },
    createTls: () => NO_TLS,
    post: (message) => {
      if (message.kind === 'bug') throw new Error(message.message);
    },
  },
);
worker.handle({
  kind: 'clusters',
  id: 1,
  changed: plan.clusters.map((each) => each.bytes),
  removed: [],
  hosts: [],
  breakerCells: {},
});
worker.handle({
  kind: 'listeners',
  id: 2,
  changed: plan.listeners.map(({ bytes }) => ({ bytes, inPlace: false })),
  removed: [],
  drainMs: 0,
  immediate: true,
  ports: {},
});
const sockets = made.find((each) => each.acceptor !== null)!;
const { dispatcher } = sockets;

function turn(work: () => void): void {
  dispatcher.enter();
  work();
  dispatcher.leave();
}

const clients: MemoryTransport[] = [];
for (let i = 0; i < CONNECTIONS; i++) {
  const client = new MemoryTransport();
  clients.push(client);
  turn(() => sockets.acceptor!.onAccept(client));
}
const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: 127.0.0.1:10000\r\n\r\n');
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 19:00:00 GMT\r\nContent-Type: application/octet-stream\r\nContent-Length: 48\r\nConnection: keep-alive\r\n\r\n${'x'.repeat(48)}`,
);

function ask(client: MemoryTransport): void {
  dispatcher.enter();
  client.handler!.onBytes(Buffer.from(REQUEST));
  dispatcher.leave();
}

function answer(upstream: MemoryTransport): void {
  dispatcher.enter();
  upstream.handler!.onBytes(Buffer.from(RESPONSE));
  dispatcher.leave();
}

for (const client of clients) ask(client);
for (const upstream of sockets.upstreams) turn(() => upstream.handler!.onOpen());
for (const upstream of sockets.upstreams) answer(upstream);

/** One request per connection, then the answers. */
function round(): void {
  for (let i = 0; i < CONNECTIONS; i++) ask(clients[i]!);
  const { upstreams } = sockets;
  for (let i = 0; i < upstreams.length; i++) {
    if (upstreams[i]!.taken === 0) continue;
    upstreams[i]!.taken = 0;
    answer(upstreams[i]!);
  }
}

for (const upstream of sockets.upstreams) upstream.taken = 0;
async function measure(requests: number): Promise<number> {
  const begin = process.cpuUsage();
  for (let done = 0; done < requests; done += CONNECTIONS) {
    round();
    // Timers and the collector get their turn as they do between events.
    if (done % (CONNECTIONS * 64) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const used = process.cpuUsage(begin);
  return (used.user + used.system) / requests;
}

const before = clients[0]!.taken;
await measure(200_000);
const answered = clients[0]!.taken - before;
if (answered < 1000) throw new Error(`no answers: ${answered}`);
const samples: number[] = [];
for (let i = 0; i < 7; i++) samples.push(await measure(100_000));
samples.sort((a, b) => a - b);
console.log(
  `${samples[3]!.toFixed(2)} µs per request (median of 7; least ${samples[0]!.toFixed(2)}), ${sockets.upstreams.length} upstream connections`,
);
process.exit();
