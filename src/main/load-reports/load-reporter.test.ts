import { afterEach, expect, test } from 'bun:test';
import { create, fromBinary, fromJson, type JsonObject, toBinary, toJson } from '@bufbuild/protobuf';
import { FakeLoop } from '../../../test/support/fake-transport.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import { Logger } from '../../base/log.ts';
import type { GrpcCall, GrpcCallHandler } from '../../grpc/grpc-client.ts';
import { ipAddress } from '../../net/address.ts';
import { StatsStore } from '../../stats/store.ts';
import type { ClusterLoad, HostLoad } from '../../worker/load-counts.ts';
import { LoadReporter } from './load-reporter.ts';

const api = openApiRegistry();
const LRS = 'envoy.service.load_stats.v3';
const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

class FakeCall {
  readonly handler: GrpcCallHandler;
  readonly sent: JsonObject[] = [];
  isOver = false;
  isFull = false;
  cancelled = false;

  constructor(handler: GrpcCallHandler) {
    this.handler = handler;
  }

  send(bytes: Uint8Array): boolean {
    const desc = api.message(`${LRS}.LoadStatsRequest`)!;
    this.sent.push(toJson(desc, fromBinary(desc, bytes), { useProtoFieldName: true }) as JsonObject);
    return true;
  }

  cancel(): void {
    this.cancelled = true;
    this.isOver = true;
  }

  says(json: JsonObject): void {
    const desc = api.message(`${LRS}.LoadStatsResponse`)!;
    this.handler.onMessage(this as unknown as GrpcCall, toBinary(desc, fromJson(desc, json)));
  }

  ends(status: number): void {
    this.isOver = true;
    this.handler.onStatus(this as unknown as GrpcCall, status, '', null);
  }
}

function host(more: Partial<HostLoad> = {}): HostLoad {
  return {
    priority: 0,
    locality: { region: '', zone: 'z', subZone: '' },
    address: ipAddress('10.0.0.1', 80),
    succeeded: 1,
    failed: 0,
    issued: 1,
    active: 0,
    metrics: new Map(),
    ...more,
  };
}

const load = (cluster: string, hosts: HostLoad[] = [], dropped = 0, byOverload = 0): ClusterLoad => ({
  cluster,
  hosts,
  dropped,
  droppedByOverload: byOverload,
  dropCategory: 'd',
});

function start() {
  const loop = new FakeLoop();
  const store = new StatsStore();
  const calls: FakeCall[] = [];
  const collected: string[][] = [];
  const loads: { of: (names: readonly string[]) => ClusterLoad[][] } = {
    of: (names) => [names.map((name) => load(name))],
  };
  const clusters = new Map([
    ['a', { spec: { serviceName: '' } }],
    ['b', { spec: { serviceName: 'sb' } }],
  ]);
  const reporter = new LoadReporter({
    client: {
      open: (_method, handler) => {
        const call = new FakeCall(handler);
        calls.push(call);
        return call as unknown as GrpcCall;
      },
    },
    api,
    dispatcher: loop.dispatcher,
    logger: new Logger('upstream', 'off', { write: () => {} }),
    stats: store.root,
    node: create(api.message('envoy.config.core.v3.Node')!) as Node,
    clusters,
    collect: (names) => {
      collected.push([...names]);
      return Promise.resolve(loads.of(names));
    },
  });
  reporter.start();
  stops.push(() => reporter.stop());
  const advance = async (ms: number): Promise<void> => {
    loop.advance(ms);
    await Bun.sleep(0);
  };
  const stat = (name: string) => store.valueOf(`load_reporter.${name}`);
  return { reporter, calls, collected, loads, clusters, advance, stat };
}

test('reports of all workers are added up, by priority and locality', async () => {
  const { calls, loads, advance, collected } = start();
  await Bun.sleep(0);
  const [call] = calls;
  expect(call!.sent).toEqual([{ node: { client_features: ['envoy.lrs.supports_send_all_clusters'] } }]);
  call!.says({ clusters: ['b', 'missing'], load_reporting_interval: '2s', report_endpoint_granularity: true });
  // What was before the question is not reported.
  expect(collected).toEqual([['b', 'missing']]);
  loads.of = () => [
    [load('b', [host(), host({ priority: 1, failed: 2, succeeded: 0 })], 3, 1)],
    [load('b', [host({ active: 4 }), host({ address: ipAddress('10.0.0.2', 80) })], 1, 1)],
  ];
  await advance(2000);
  const [stats] = call!.sent[1]!.cluster_stats as JsonObject[];
  const counts = (ok: number, active: number, failed: number, issued: number) => ({
    ...(ok === 0 ? {} : { total_successful_requests: String(ok) }),
    ...(active === 0 ? {} : { total_requests_in_progress: String(active) }),
    ...(failed === 0 ? {} : { total_error_requests: String(failed) }),
    total_issued_requests: String(issued),
  });
  const at = (address: string) => ({ address: { socket_address: { address, port_value: 80 } } });
  expect(stats).toEqual({
    cluster_name: 'b',
    cluster_service_name: 'sb',
    total_dropped_requests: '4',
    dropped_requests: [{ category: 'd', dropped_count: '2' }],
    load_report_interval: '2s',
    upstream_locality_stats: [
      {
        locality: { zone: 'z' },
        ...counts(3, 4, 0, 3),
        upstream_endpoint_stats: [
          { ...at('10.0.0.1'), ...counts(2, 4, 0, 2) },
          { ...at('10.0.0.2'), ...counts(1, 0, 0, 1) },
        ],
      },
      {
        locality: { zone: 'z' },
        priority: 1,
        ...counts(0, 0, 2, 1),
        upstream_endpoint_stats: [{ ...at('10.0.0.1'), ...counts(0, 0, 2, 1) }],
      },
    ],
  });
});

test('a stream that ends is opened again after five seconds, and goes on where it was', async () => {
  const { calls, advance, stat, clusters } = start();
  calls[0]!.says({ send_all_clusters: true, load_reporting_interval: '1s' });
  calls[0]!.ends(14);
  await advance(4999);
  expect(calls.length).toBe(1);
  await advance(1);
  expect(calls.length).toBe(2);
  const names = (call: FakeCall, index: number) =>
    ((call.sent[index]!.cluster_stats ?? []) as JsonObject[]).map(({ cluster_name }) => cluster_name);
  expect(names(calls[1]!, 0)).toEqual(['a', 'b']);
  clusters.set('c', { spec: { serviceName: '' } });
  clusters.delete('a');
  await advance(1000);
  expect(names(calls[1]!, 1)).toEqual(['b']);
  await advance(1000);
  expect(names(calls[1]!, 2)).toEqual(['b', 'c']);
  calls[1]!.ends(0);
  await advance(5000);
  expect(calls.length).toBe(3);
  expect(['requests', 'responses', 'errors', 'retries'].map(stat)).toEqual([1, 5, 1, 2]);
});

test('a server that does not read is not sent more, and loses nothing', async () => {
  const { calls, advance, collected } = start();
  const [call] = calls;
  call!.says({ clusters: ['a'], load_reporting_interval: '1s' });
  const before = collected.length;
  call!.isFull = true;
  for (let i = 0; i < 100; i++) await advance(1000);
  expect([call!.sent.length, collected.length]).toEqual([1, before]);
  call!.isFull = false;
  await advance(1000);
  expect((call!.sent[1]!.cluster_stats as JsonObject[])[0]!.load_report_interval).toBe('101s');
});

test('bytes that are no answer end the stream; nothing comes after the end', async () => {
  const { calls, advance, stat, reporter } = start();
  calls[0]!.handler.onMessage(calls[0]! as unknown as GrpcCall, new Uint8Array([255]));
  expect([calls[0]!.cancelled, stat('errors')]).toEqual([true, 1]);
  await advance(5000);
  reporter.stop();
  expect(calls[1]!.cancelled).toBe(true);
  await advance(60_000);
  expect(calls.length).toBe(2);
});

test('a worker that fails once ends no reports', async () => {
  const { calls, loads, advance } = start();
  await Bun.sleep(0);
  calls[0]!.says({ send_all_clusters: true, load_reporting_interval: '1s' });
  const { of } = loads;
  loads.of = () => {
    throw new Error('a worker failed');
  };
  await advance(1000);
  expect(calls[0]!.sent).toHaveLength(1);
  loads.of = of;
  await advance(1000);
  expect(calls[0]!.sent).toHaveLength(2);
});
