import { expect, test } from 'bun:test';
import { create, fromBinary } from '@bufbuild/protobuf';
import { openApiRegistry } from '../api/api-registry.ts';
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { StatsStore } from '../stats/store.ts';
import { TypeEngine, Watch } from './delta-engine.ts';
import { ResourceDecoder } from './resource-decoder.ts';
import type { Interest, ResourceUpdate, ResourceWatcher } from './resource-source.ts';
import { CLUSTER_TYPE, type ResourceType, VIRTUAL_HOST_TYPE } from './resource-type.ts';
import { DeltaProtocol, SotwProtocol, type TypeProtocol } from './stream-protocol.ts';
import { SubscriptionStats } from './subscription-stats.ts';

const api = openApiRegistry();
const FACTS = { node: null, nonce: '', refusal: '' };

class Seen implements ResourceWatcher {
  readonly updates: ResourceUpdate[] = [];

  onUpdate(update: ResourceUpdate) {
    this.updates.push(update);
    return Promise.resolve([]);
  }

  onFailure(): void {}
}

function watching(interest: Interest): { watch: Watch; seen: Seen } {
  const seen = new Seen();
  return { watch: new Watch(interest, seen, new SubscriptionStats(new StatsStore().root)), seen };
}

function setUp(type: ResourceType, interests: readonly Interest[]) {
  const engine = new TypeEngine(type, new ResourceDecoder(api, 'reject', () => {}));
  const watches = interests.map(watching);
  for (const { watch } of watches) engine.add(watch);
  return { engine, watches };
}

function asksFor(protocol: TypeProtocol): { subscribe: string[]; unsubscribe: string[] } {
  const desc = api.message('envoy.service.discovery.v3.DeltaDiscoveryRequest')!;
  const request = fromBinary(desc, protocol.request(FACTS)) as DeltaDiscoveryRequest;
  return { subscribe: request.resourceNamesSubscribe, unsubscribe: request.resourceNamesUnsubscribe };
}

const all: Interest = { type: CLUSTER_TYPE, names: null };
const some: Interest = { type: CLUSTER_TYPE, names: [] };

test('delta: names beside all of them', () => {
  const { engine, watches } = setUp(CLUSTER_TYPE, [all, some]);
  const protocol = new DeltaProtocol(api, engine, () => {});
  expect(asksFor(protocol)).toEqual({ subscribe: [], unsubscribe: [] });
  expect(protocol.isBehind).toBe(false);
  engine.want(watches[1]!.watch, ['a']);
  expect(protocol.isBehind).toBe(true);
  expect(asksFor(protocol)).toEqual({ subscribe: ['*', 'a'], unsubscribe: [] });
  engine.want(watches[1]!.watch, ['b']);
  expect(asksFor(protocol)).toEqual({ subscribe: ['b'], unsubscribe: [] });
  // Asked for once more, though the server has heard of it.
  engine.want(watches[1]!.watch, ['a']);
  expect(protocol.isBehind).toBe(true);
  expect(asksFor(protocol)).toEqual({ subscribe: ['a'], unsubscribe: [] });
  expect(protocol.isBehind).toBe(false);
  engine.forget(watches[1]!.watch);
  expect(asksFor(protocol)).toEqual({ subscribe: [], unsubscribe: ['a', 'b'] });
  protocol.reset();
  expect(asksFor(protocol)).toEqual({ subscribe: [], unsubscribe: [] });
});

test('a state of the world: names beside all of them', () => {
  const { engine, watches } = setUp(CLUSTER_TYPE, [all, some]);
  const protocol = new SotwProtocol(api, engine, () => {});
  const desc = api.message('envoy.service.discovery.v3.DiscoveryRequest')!;
  const names = () => (fromBinary(desc, protocol.request(FACTS)) as DiscoveryRequest).resourceNames;
  expect(names()).toEqual([]);
  engine.want(watches[1]!.watch, ['a']);
  expect(names()).toEqual(['*', 'a']);
});

test('a namespace is asked for without a name, and hears of what is missing', async () => {
  const { engine, watches } = setUp(VIRTUAL_HOST_TYPE, [
    { type: VIRTUAL_HOST_TYPE, names: [], namespace: 'r' },
    { type: VIRTUAL_HOST_TYPE, names: [], namespace: 'q' },
  ]);
  const protocol = new DeltaProtocol(api, engine, () => {});
  expect(protocol.isBehind).toBe(true);
  expect(asksFor(protocol)).toEqual({ subscribe: [], unsubscribe: [] });
  engine.want(watches[0]!.watch, ['r/a']);
  expect(asksFor(protocol)).toEqual({ subscribe: ['r/a'], unsubscribe: [] });
  const response = create(api.message('envoy.service.discovery.v3.DeltaDiscoveryResponse')!, {
    resources: [{ name: 'r/a', aliases: ['r/b'], version: '1' }],
    removedResources: ['q/z'],
  }) as DeltaDiscoveryResponse;
  const delta = protocol.translate(response);
  if (typeof delta === 'string') throw new Error(delta);
  await engine.apply(delta, false);
  expect(watches[0]!.seen.updates).toEqual([{ changed: [], removed: [], answered: ['r/a', 'r/b'], version: '' }]);
  expect(watches[1]!.seen.updates).toEqual([{ changed: [], removed: ['q/z'], answered: [], version: '' }]);
});

test('who hears of removals is told by name', async () => {
  const { engine, watches } = setUp(CLUSTER_TYPE, [
    { type: CLUSTER_TYPE, names: ['a'], hearsRemovals: true },
    { type: CLUSTER_TYPE, names: ['a'] },
  ]);
  await engine.apply({ changed: [], removed: ['a', 'b'], version: '2' }, false);
  expect(watches.map(({ seen }) => seen.updates)).toEqual([[{ changed: [], removed: ['a'], version: '2' }], []]);
});

test("whoever was ended by another one's update hears no more", async () => {
  const namespaces = ['r', 's'].map((namespace) => ({ type: VIRTUAL_HOST_TYPE, names: [], namespace }));
  for (const [type, interests] of [
    [CLUSTER_TYPE, [all, all]],
    [VIRTUAL_HOST_TYPE, namespaces],
  ] as const) {
    const { engine, watches } = setUp(type, interests);
    const [first, second] = watches;
    first!.seen.onUpdate = () => {
      engine.forget(second!.watch);
      return Promise.resolve([]);
    };
    await engine.apply({ changed: [], removed: ['r/x', 's/x'], version: '1' }, false);
    expect(second!.seen.updates).toEqual([]);
  }
});
