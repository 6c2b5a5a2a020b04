/** Our own gRPC client, over our own pools, against grpc-go's interop server. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom, SystemRandom } from '../../src/base/random.ts';
import { ClusterGrpcClient, grpcClientSettings } from '../../src/grpc/cluster-grpc-client.ts';
import type { GrpcCall, GrpcCallHandler, GrpcCallOptions } from '../../src/grpc/grpc-client.ts';
import { GrpcStreamSupervisor } from '../../src/grpc/grpc-stream-supervisor.ts';
import { GrpcStatus } from '../../src/http/grpc-headers.ts';
import type { HeaderMap, ResponseHeaders } from '../../src/http/header-map.ts';
import { ipAddress } from '../../src/net/address.ts';
import { BunRuntime } from '../../src/net/bun/bun-runtime.ts';
import { Dispatcher } from '../../src/net/dispatcher.ts';
import { NO_SECRETS, NO_TLS } from '../../src/net/transport-socket.ts';
import { StatsStore } from '../../src/stats/store.ts';
import { NO_RUNTIME } from '../../src/upstream/circuit-breaker.ts';
import { ClusterManager } from '../../src/upstream/cluster-manager.ts';
import { clusterSpec } from '../../src/upstream/cluster-spec.ts';
import { hostSpec } from '../../src/upstream/host.ts';
import { ProtocolChoice } from '../../src/upstream/upstream-protocol.ts';
import { counterparts } from '../../tools/counterparts.ts';
import { hostUpdate, roundRobin } from '../support/fake-upstream.ts';
import { ServerProgram } from './programs.ts';

const SERVICE = '/grpc.testing.TestService/';

// --- the little of protobuf that the interop messages need ---

function varint(value: number): number[] {
  const out: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  out.push(value);
  return out;
}

function number(field: number, value: number): Buffer {
  return Buffer.from([...varint(field * 8), ...varint(value)]);
}

function bytes(field: number, value: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(value.length)]), value]);
}

/** SimpleRequest or StreamingOutputCallRequest. */
function ask(sizes: readonly number[], payload = 0, streaming = true): Uint8Array {
  const wanted = sizes.map((size) => (streaming ? bytes(2, number(1, size)) : number(2, size)));
  return Buffer.concat([...wanted, bytes(3, bytes(2, Buffer.alloc(payload)))]);
}

// --- a world of our own ---

class Recorder implements GrpcCallHandler {
  readonly sizes: number[] = [];
  metadata: ResponseHeaders | null = null;
  trailers: HeaderMap | null = null;
  status = -1;
  message = '';
  readies = 0;
  onEach: ((call: GrpcCall) => void) | null = null;
  readonly #over = Promise.withResolvers<void>();

  onInitialMetadata(_call: GrpcCall, metadata: ResponseHeaders): void {
    this.metadata = metadata;
  }

  onMessage(call: GrpcCall, message: Uint8Array): void {
    this.sizes.push(message.length);
    this.onEach?.(call);
  }

  onReady(): void {
    this.readies++;
    this.onRoom?.();
  }

  onRoom: (() => void) | null = null;

  onStatus(_call: GrpcCall, status: number, message: string, trailers: HeaderMap | null): void {
    this.status = status;
    this.message = message;
    this.trailers = trailers;
    this.#over.resolve();
  }

  get over(): Promise<void> {
    return this.#over.promise;
  }
}

let server: ServerProgram;
let dispatcher: Dispatcher;
let clusters: ClusterManager;
let client: ClusterGrpcClient;

beforeAll(async () => {
  const { interopServer } = counterparts();
  server = await ServerProgram.start((port) => [interopServer, `--port=${port}`, '--use_tls=false']);
  dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  clusters = new ClusterManager({
    dispatcher,
    stats: new StatsStore().root,
    runtime: NO_RUNTIME,
    sockets: {
      runtime: new BunRuntime(dispatcher),
      services: { dispatcher, tls: NO_TLS, secrets: NO_SECRETS },
    },
    sharedCells: () => null,
  });
  addCluster('up', server.port);
  client = new ClusterGrpcClient(clusters, dispatcher, grpcClientSettings('up', { localAddress: '192.0.2.1' }));
});
afterAll(async () => {
  clusters?.close();
  dispatcher?.timers.stop();
  await server?.stop();
});

function addCluster(name: string, port: number): void {
  const initialHosts = [hostUpdate(name, 0, [hostSpec(ipAddress('127.0.0.1', port))])];
  clusters.set(clusterSpec(name, roundRobin(), { initialHosts, protocol: ProtocolChoice.Http2 }));
}

function open(method: string, options?: GrpcCallOptions): { call: GrpcCall; heard: Recorder } {
  const heard = new Recorder();
  return { call: client.open(SERVICE + method, heard, options), heard };
}

describe('our gRPC client and grpc-go', () => {
  test('an empty unary call', async () => {
    const { call, heard } = open('EmptyCall');
    call.send(new Uint8Array());
    call.endSend();
    await heard.over;
    expect([heard.status, heard.sizes]).toEqual([GrpcStatus.Ok, [0]]);
  });

  test('large messages both ways', async () => {
    const { call, heard } = open('UnaryCall');
    call.send(ask([3_000_000], 2_000_000, false));
    call.endSend();
    await heard.over;
    expect(heard.status).toBe(GrpcStatus.Ok);
    expect(heard.sizes[0]!).toBeGreaterThan(3_000_000);
  });

  test('metadata and trailers', async () => {
    const { call, heard } = open('UnaryCall', {
      metadata: [
        ['x-grpc-test-echo-initial', 'hello'],
        ['x-grpc-test-echo-trailing-bin', Buffer.from([1, 2, 250]).toString('base64')],
      ],
    });
    call.send(ask([10], 10, false));
    call.endSend();
    await heard.over;
    expect(heard.metadata!.get('x-grpc-test-echo-initial')).toBe('hello');
    expect(Buffer.from(heard.trailers!.get('x-grpc-test-echo-trailing-bin')!, 'base64')).toEqual(
      Buffer.from([1, 2, 250]),
    );
  });

  test('a status with a message of many letters', async () => {
    const words = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
    const { call, heard } = open('UnaryCall');
    call.send(bytes(7, Buffer.concat([number(1, 2), bytes(2, Buffer.from(words))])));
    call.endSend();
    await heard.over;
    expect([heard.status, heard.message]).toEqual([2, words]);
  });

  test('a method that is not there', async () => {
    const { call, heard } = open('Nothing');
    call.send(new Uint8Array());
    call.endSend();
    await heard.over;
    expect(heard.status).toBe(GrpcStatus.Unimplemented);
  });

  test('client streaming', async () => {
    const { call, heard } = open('StreamingInputCall');
    for (const size of [27182, 8, 1828, 45904]) call.send(bytes(1, bytes(2, Buffer.alloc(size))));
    call.endSend();
    await heard.over;
    // StreamingInputCallResponse {aggregated_payload_size: 74922}
    expect([heard.status, heard.sizes]).toEqual([GrpcStatus.Ok, [number(1, 74_922).length]]);
  });

  test('server streaming, with pauses', async () => {
    const { call, heard } = open('StreamingOutputCall');
    heard.onEach = () => {
      call.pauseReads();
      setTimeout(() => call.resumeReads(), 1);
    };
    call.send(ask(Array.from({ length: 40 }, () => 50_000)));
    call.endSend();
    await heard.over;
    expect([heard.status, heard.sizes.length]).toEqual([GrpcStatus.Ok, 40]);
  });

  test('two-way streaming of many messages', async () => {
    const { call, heard } = open('FullDuplexCall');
    const random = new SeededRandom(5);
    let left = 500;
    const next = (): void => {
      if (left-- > 0) call.send(ask([random.below(4000)], random.below(4000)));
      else call.endSend();
    };
    heard.onEach = next;
    next();
    await heard.over;
    expect([heard.status, heard.sizes.length]).toEqual([GrpcStatus.Ok, 500]);
  });

  test('sending waits for room and goes on', async () => {
    const { call, heard } = open('StreamingInputCall');
    const message = bytes(1, bytes(2, Buffer.alloc(60_000)));
    let left = 400;
    const pump = (): void => {
      while (left > 0) {
        left--;
        if (!call.send(Buffer.from(message))) return;
      }
      call.endSend();
    };
    heard.onRoom = pump;
    pump();
    await heard.over;
    expect(heard.status).toBe(GrpcStatus.Ok);
    expect(heard.readies).toBeGreaterThan(0);
    expect(heard.sizes).toEqual([number(1, 400 * 60_000).length]);
  });

  test('a deadline', async () => {
    const { call, heard } = open('FullDuplexCall', { timeoutMs: 20 });
    call.send(ask([1]));
    await heard.over;
    expect(heard.status).toBe(GrpcStatus.DeadlineExceeded);
    expect(call.isOver).toBe(true);
  });

  test('a message beyond the bound', async () => {
    const { call, heard } = open('UnaryCall', { maxMessageBytes: 1000 });
    call.send(ask([2000], 0, false));
    call.endSend();
    await heard.over;
    expect(heard.status).toBe(GrpcStatus.ResourceExhausted);
  });

  test('cancelled calls leave nothing behind', async () => {
    for (let i = 0; i < 20; i++) {
      const { call } = open('FullDuplexCall');
      call.send(ask([10]));
      if (i % 2 === 0) await Bun.sleep(0);
      call.cancel();
    }
    const { call, heard } = open('EmptyCall');
    call.send(new Uint8Array());
    call.endSend();
    await heard.over;
    expect(clusters.get('up')!.stats.upstream_rq_active.value).toBe(0);
  });

  test('nobody listens', async () => {
    addCluster('none', 1);
    const heard = new Recorder();
    new ClusterGrpcClient(clusters, dispatcher, grpcClientSettings('none')).open(`${SERVICE}EmptyCall`, heard);
    await heard.over;
    expect(heard.status).toBe(GrpcStatus.Unavailable);
    expect(heard.message).toStartWith('upstream connect error or disconnect/reset before headers. reset reason: ');
  });

  test('a supervised stream comes back when its server does', async () => {
    const { interopServer } = counterparts();
    let port = 0;
    const first = await ServerProgram.start((free) => {
      port = free;
      return [interopServer, `--port=${free}`, '--use_tls=false'];
    });
    addCluster('restarts', port);
    const events: string[] = [];
    let changed = Promise.withResolvers<void>();
    const note = (what: string): void => {
      events.push(what);
      changed.resolve();
      changed = Promise.withResolvers();
    };
    const until = async (what: string, count: number): Promise<void> => {
      while (events.filter((event) => event === what).length < count) await changed.promise;
    };
    const own = new ClusterGrpcClient(clusters, dispatcher, grpcClientSettings('restarts'));
    const supervisor = new GrpcStreamSupervisor(
      own,
      dispatcher,
      `${SERVICE}FullDuplexCall`,
      {
        onStreamStarted: () => void supervisor.send(ask([10])),
        onInitialMetadata: () => {},
        onMessage: () => note('message'),
        onReady: () => {},
        onStreamEnded: () => note('ended'),
      },
      { baseMs: 10, maxMs: 50 },
    );
    supervisor.start();
    await until('message', 1);
    await first.stop();
    await until('ended', 2);
    const again = Bun.spawn([interopServer, `--port=${port}`, '--use_tls=false'], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    await until('message', 2);
    supervisor.stop();
    again.kill('SIGKILL');
    await again.exited;
  });
});
