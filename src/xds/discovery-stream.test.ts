import { afterEach, describe, expect, test } from 'bun:test';
import { create, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { openApiRegistry } from '../api/api-registry.ts';
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
  Resource,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { Logger } from '../base/log.ts';
import type { GrpcStreamSupervisor, SupervisedStreamHandler } from '../grpc/grpc-stream-supervisor.ts';
import { StatsStore } from '../stats/store.ts';
import { DiscoveryStream, type DiscoveryStreamSettings } from './discovery-stream.ts';
import { ResourceDecoder } from './resource-decoder.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher } from './resource-source.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, type ResourceType } from './resource-type.ts';
import { SubscriptionStats } from './subscription-stats.ts';

const api = openApiRegistry();
const DISCOVERY = 'envoy.service.discovery.v3';

/** The stream as the engine sees it; tests are the server. */
class FakeStream {
  readonly sent: Uint8Array[] = [];
  readonly handler: SupervisedStreamHandler;
  isOpen = false;
  abandoned = '';
  pauses = 0;

  constructor(handler: SupervisedStreamHandler) {
    this.handler = handler;
  }

  start(): void {
    this.isOpen = true;
    this.handler.onStreamStarted();
  }

  stop(): void {
    this.isOpen = false;
  }

  abandon(_status: number, message: string): void {
    this.abandoned = message;
    this.cut();
    this.start();
  }

  pauseReads(): void {
    this.pauses++;
  }

  resumeReads(): void {
    this.pauses--;
  }

  send(message: Uint8Array): boolean {
    this.sent.push(message);
    return true;
  }

  cut(): void {
    this.isOpen = false;
    this.handler.onStreamEnded(14, 'cut', 1, true);
  }
}

class Recorder implements ResourceWatcher {
  readonly updates: string[] = [];
  readonly failures: string[] = [];
  refuse: (name: string) => boolean = () => false;

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const changed = update.changed.map((resource) => `${resource.name}@${resource.version}`);
    this.updates.push([...changed, ...update.removed.map((name) => `-${name}`)].join(' '));
    return Promise.resolve(
      update.changed.filter(({ name }) => this.refuse(name)).map(({ name }) => ({ name, details: 'no' })),
    );
  }

  onFailure(reason: string, details: string): void {
    this.failures.push(`${reason}:${details}`);
  }
}

const opened: DiscoveryStream[] = [];
afterEach(() => {
  for (const stream of opened.splice(0)) stream.stop();
});

function open(isDelta: boolean, more: Partial<DiscoveryStreamSettings> = {}) {
  const store = new StatsStore();
  let fake: FakeStream | null = null;
  const node = create(api.message('envoy.config.core.v3.Node')!) as DiscoveryStreamSettings['node'];
  node.id = 'me';
  const logger = new Logger('config', 'off', { write: () => {} });
  const stream = new DiscoveryStream(
    (handler) => {
      fake = new FakeStream(handler);
      return fake as unknown as GrpcStreamSupervisor;
    },
    { isDelta, method: '/x/Y', nodeOnFirstMessageOnly: true, rate: null, node, ...more },
    new ResourceDecoder(api, 'warn', () => {}),
    logger,
    store.root,
  );
  opened.push(stream);
  const peer = fake!;
  const watch = (type: ResourceType, names: readonly string[] | null, fetchTimeoutMs = 0) => {
    const recorder = new Recorder();
    const stats = new SubscriptionStats(store.root.createScope(type.short));
    const subscription = stream.watch({ type, names, fetchTimeoutMs }, recorder, stats);
    subscription.start();
    return { recorder, subscription };
  };
  return { peer, watch, store, stat: (name: string) => store.valueOf(name) };
}

/** Lets what is queued happen. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

function decode<M>(name: string, bytes: Uint8Array | undefined): M {
  return fromBinary(api.message(`${DISCOVERY}.${name}`)!, bytes!) as M;
}

function any(typeName: string, fields: object): Any {
  const desc = api.message(typeName)!;
  const message = Object.assign(create(desc), fields) as Message;
  return {
    $typeName: 'google.protobuf.Any',
    typeUrl: `type.googleapis.com/${typeName}`,
    value: toBinary(desc, message),
  };
}

const cluster = (name: string): Any => any(CLUSTER_TYPE.typeName, { name });
const assignment = (name: string): Any => any(ENDPOINT_TYPE.typeName, { clusterName: name });

function wrapped(name: string, version: string, resource: Any | undefined, ttlMs = 0): Resource {
  const wrapper = create(api.message(`${DISCOVERY}.Resource`)!) as Resource;
  wrapper.name = name;
  wrapper.version = version;
  if (resource !== undefined) wrapper.resource = resource;
  if (ttlMs > 0) {
    wrapper.ttl = { $typeName: 'google.protobuf.Duration', seconds: 0n, nanos: ttlMs * 1e6 };
  }
  return wrapper;
}

function whole(type: ResourceType, version: string, nonce: string, resources: readonly Any[]): Uint8Array {
  const desc = api.message(`${DISCOVERY}.DiscoveryResponse`)!;
  const response = create(desc) as DiscoveryResponse;
  Object.assign(response, { versionInfo: version, nonce, typeUrl: type.typeUrl, resources });
  return toBinary(desc, response);
}

function change(type: ResourceType, nonce: string, resources: readonly Resource[], removed: string[] = []): Uint8Array {
  const desc = api.message(`${DISCOVERY}.DeltaDiscoveryResponse`)!;
  const response = create(desc) as DeltaDiscoveryResponse;
  Object.assign(response, {
    nonce,
    typeUrl: type.typeUrl,
    resources,
    removedResources: removed,
    systemVersionInfo: 's',
  });
  return toBinary(desc, response);
}

describe('state of the world', () => {
  const last = (peer: FakeStream): DiscoveryRequest => decode('DiscoveryRequest', peer.sent.at(-1));

  test('a wildcard: asked, taken, acknowledged; what is missing later is removed', async () => {
    const { peer, watch, stat } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    expect(last(peer)).toMatchObject({ typeUrl: CLUSTER_TYPE.typeUrl, resourceNames: [], versionInfo: '' });
    expect(last(peer).node?.id).toBe('me');
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n1', [cluster('a'), cluster('b')]));
    await settle();
    expect(last(peer)).toMatchObject({ versionInfo: '1', responseNonce: 'n1' });
    expect(last(peer).node).toBeUndefined();
    peer.handler.onMessage(whole(CLUSTER_TYPE, '2', 'n2', [cluster('b')]));
    await settle();
    expect(recorder.updates).toEqual(['a@1 b@1', 'b@2 -a']);
    expect(stat('CDS.update_success')).toBe(2);
    expect(stat('control_plane.connected_state')).toBe(1);
  });

  test('a refusal keeps the version, names the reason, and loses nothing that was taken', async () => {
    const { peer, watch, stat } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n1', [cluster('a')]));
    await settle();
    recorder.refuse = (name) => name === 'bad';
    peer.handler.onMessage(whole(CLUSTER_TYPE, '2', 'n2', [cluster('c'), cluster('bad')]));
    await settle();
    const nack = last(peer);
    expect(nack).toMatchObject({ versionInfo: '1', responseNonce: 'n2' });
    expect(nack.errorDetail?.message).toContain('bad: no');
    peer.handler.onMessage(whole(CLUSTER_TYPE, '3', 'n3', []));
    await settle();
    // What the refused answer brought is known, and goes with the rest.
    expect(recorder.updates.at(-1)?.split(' ').sort()).toEqual(['-bad', '-c']);
    expect(stat('CDS.update_rejected')).toBe(1);
  });

  test('a field that breaks a rule refuses the whole answer', async () => {
    const { peer, watch } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n1', [cluster('a'), cluster('')]));
    await settle();
    expect(recorder.updates).toEqual([]);
    expect(last(peer).errorDetail?.message).toContain('name');
  });

  test('names are asked for together; who comes later is told what is there', async () => {
    const { peer, watch } = open(false);
    watch(ENDPOINT_TYPE, ['a']);
    const second = watch(ENDPOINT_TYPE, ['b']);
    await settle();
    expect(peer.sent).toHaveLength(1);
    expect(last(peer).resourceNames).toEqual(['a', 'b']);
    peer.handler.onMessage(whole(ENDPOINT_TYPE, '1', 'n1', [assignment('a'), assignment('b')]));
    await settle();
    expect(second.recorder.updates).toEqual(['b@1']);
    const third = watch(ENDPOINT_TYPE, ['b']);
    await settle();
    expect(third.recorder.updates).toEqual(['b@1']);
    second.subscription.stop();
    third.subscription.stop();
    await settle();
    expect(last(peer)).toMatchObject({ resourceNames: ['a'], responseNonce: 'n1' });
  });

  test('after a cut everything is asked for again, at the version that was taken', async () => {
    const { peer, watch, stat } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n1', [cluster('a')]));
    await settle();
    peer.cut();
    expect(stat('control_plane.connected_state')).toBe(0);
    expect(recorder.failures).toEqual(['connection:cut']);
    peer.start();
    await settle();
    expect(last(peer)).toMatchObject({ versionInfo: '1', responseNonce: '' });
    expect(last(peer).node?.id).toBe('me');
  });

  test('what an old stream brought is not acknowledged on a new one', async () => {
    const { peer, watch } = open(false);
    watch(CLUSTER_TYPE, null);
    await settle();
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'old', [cluster('a')]));
    peer.cut();
    peer.start();
    await settle();
    expect(peer.sent.map((bytes) => decode<DiscoveryRequest>('DiscoveryRequest', bytes).responseNonce)).not.toContain(
      'old',
    );
  });

  test('a lying server: unknown types, garbage, foreign resources', async () => {
    const { peer, watch } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    peer.handler.onMessage(whole(ENDPOINT_TYPE, '1', 'n1', [assignment('a')]));
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n1', [assignment('a')]));
    await settle();
    expect(last(peer).errorDetail?.message).toContain('ClusterLoadAssignment');
    peer.handler.onMessage(new Uint8Array([0xff, 0xff, 0xff]));
    expect(peer.abandoned).toContain('cannot be read');
    expect(recorder.updates).toEqual([]);
  });

  test('rubbish of any kind never throws', async () => {
    const { peer, watch } = open(false);
    watch(CLUSTER_TYPE, null);
    const good = whole(CLUSTER_TYPE, '1', 'n', [cluster('a'), cluster('b')]);
    let seed = 7;
    const random = (bound: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % bound;
    };
    for (let i = 0; i < 300; i++) {
      const bytes = Uint8Array.from(good);
      for (let n = 0; n <= random(4); n++) bytes[random(bytes.length)] = random(256);
      peer.handler.onMessage(bytes.subarray(0, random(bytes.length + 1)));
      await settle();
    }
    peer.handler.onMessage(whole(CLUSTER_TYPE, 'end', 'last', [cluster('z')]));
    await settle();
    expect(last(peer)).toMatchObject({ versionInfo: 'end', responseNonce: 'last' });
  });

  test('a watcher that throws is a refusal: the server hears of it and may go on', async () => {
    const { peer, watch } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    const { onUpdate } = recorder;
    recorder.onUpdate = () => Promise.reject(new Error('worker 1 has ended'));
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n1', [cluster('a')]));
    await settle();
    expect(last(peer)).toMatchObject({ versionInfo: '', responseNonce: 'n1' });
    expect(last(peer).errorDetail?.message).toContain('worker 1 has ended');
    recorder.onUpdate = onUpdate;
    peer.handler.onMessage(whole(CLUSTER_TYPE, '2', 'n2', [cluster('a')]));
    await settle();
    expect(last(peer)).toMatchObject({ versionInfo: '2', responseNonce: 'n2' });
  });

  test('a server that says more than can be applied is asked to wait', async () => {
    const { peer, watch } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const taken: string[] = [];
    recorder.onUpdate = async (update) => {
      await gate;
      taken.push(update.version);
      return [];
    };
    for (let i = 0; i < 16; i++) peer.handler.onMessage(whole(CLUSTER_TYPE, `${i}`, `n${i}`, [cluster('a')]));
    expect(peer.pauses).toBe(1);
    release();
    await settle();
    await Bun.sleep(1);
    expect(peer.pauses).toBe(0);
    expect(taken).toHaveLength(16);
    expect(last(peer)).toMatchObject({ versionInfo: '15', responseNonce: 'n15' });
  });

  test('a resource that lives for longer than the runtime can wait does not go at once', async () => {
    const { peer, watch } = open(true);
    const { recorder } = watch(CLUSTER_TYPE, null);
    const long = wrapped('a', '1', cluster('a'));
    long.ttl = { $typeName: 'google.protobuf.Duration', seconds: 30n * 86_400n, nanos: 0 };
    peer.handler.onMessage(change(CLUSTER_TYPE, 'n1', [long]));
    await Bun.sleep(10);
    expect(recorder.updates).toEqual(['a@1']);
  });

  test('heartbeats prolong a resource, and say nothing of others', async () => {
    const { peer, watch } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    const pack = (resource: Resource): Any => ({
      $typeName: 'google.protobuf.Any',
      typeUrl: `type.googleapis.com/${DISCOVERY}.Resource`,
      value: toBinary(api.message(`${DISCOVERY}.Resource`)!, resource),
    });
    const seen = (): string[] => recorder.updates.filter((update) => update !== '');
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n1', [cluster('a'), pack(wrapped('b', '1', cluster('b'), 60))]));
    await Bun.sleep(30);
    peer.handler.onMessage(whole(CLUSTER_TYPE, '1', 'n2', [pack(wrapped('b', '1', undefined, 60))]));
    await Bun.sleep(40);
    expect(seen()).toEqual(['a@1 b@1']);
    // What the last state of the world held is known still.
    peer.handler.onMessage(whole(CLUSTER_TYPE, '2', 'n3', [pack(wrapped('b', '1', cluster('b'), 60))]));
    await settle();
    expect(seen()).toEqual(['a@1 b@1', 'b@1 -a']);
    await Bun.sleep(100);
    expect(seen()).toEqual(['a@1 b@1', 'b@1 -a', '-b']);
  });

  test('nothing comes in time: the watcher goes on, once', async () => {
    const { watch, stat } = open(false);
    const { recorder } = watch(CLUSTER_TYPE, null, 5);
    await Bun.sleep(20);
    expect(recorder.failures).toEqual(['timeout:']);
    expect(stat('CDS.init_fetch_timeout')).toBe(1);
  });

  test('requests above the rate wait', async () => {
    const { peer, watch, stat } = open(false, { rate: { maxTokens: 1, fillRate: 200 } });
    watch(CLUSTER_TYPE, null);
    watch(ENDPOINT_TYPE, ['a']);
    await settle();
    expect(peer.sent).toHaveLength(1);
    expect(stat('control_plane.pending_requests')).toBe(1);
    await Bun.sleep(30);
    expect(peer.sent).toHaveLength(2);
    expect(stat('control_plane.rate_limit_enforced')).toBeGreaterThanOrEqual(1);
    expect(stat('control_plane.pending_requests')).toBe(0);
  });
});

describe('delta', () => {
  const last = (peer: FakeStream): DeltaDiscoveryRequest => decode('DeltaDiscoveryRequest', peer.sent.at(-1));

  test('changes and removals; versions of the next stream are those that were taken', async () => {
    const { peer, watch } = open(true);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    expect(last(peer)).toMatchObject({ resourceNamesSubscribe: [], initialResourceVersions: {} });
    recorder.refuse = (name) => name === 'bad';
    peer.handler.onMessage(
      change(CLUSTER_TYPE, 'n1', [
        wrapped('a', '1', cluster('a')),
        wrapped('b', '2', cluster('b')),
        wrapped('bad', '3', cluster('bad')),
      ]),
    );
    await settle();
    expect(last(peer)).toMatchObject({ responseNonce: 'n1' });
    expect(last(peer).errorDetail?.message).toContain('bad: no');
    peer.handler.onMessage(change(CLUSTER_TYPE, 'n2', [], ['b']));
    await settle();
    expect(last(peer).errorDetail).toBeUndefined();
    expect(recorder.updates).toEqual(['a@1 b@2 bad@3', '-b']);
    peer.cut();
    peer.start();
    await settle();
    expect(last(peer).initialResourceVersions).toEqual({ a: '1' });
  });

  test('names come and go by difference', async () => {
    const { peer, watch } = open(true);
    const first = watch(ENDPOINT_TYPE, ['a']);
    await settle();
    expect(last(peer).resourceNamesSubscribe).toEqual(['a']);
    watch(ENDPOINT_TYPE, ['b']);
    await settle();
    expect(last(peer).resourceNamesSubscribe).toEqual(['b']);
    first.subscription.stop();
    await settle();
    expect(last(peer)).toMatchObject({ resourceNamesSubscribe: [], resourceNamesUnsubscribe: ['a'] });
  });

  test('names that nobody asked for are not kept', async () => {
    const { peer, watch } = open(true);
    watch(ENDPOINT_TYPE, ['a']);
    await settle();
    peer.handler.onMessage(
      change(ENDPOINT_TYPE, 'n1', [wrapped('a', '1', assignment('a')), wrapped('foreign', '1', assignment('foreign'))]),
    );
    await settle();
    peer.cut();
    peer.start();
    await settle();
    expect(last(peer).initialResourceVersions).toEqual({ a: '1' });
  });

  test('a name that was dropped while there was no stream is not held any more', async () => {
    const { peer, watch } = open(true);
    watch(ENDPOINT_TYPE, ['a']);
    const dropped = watch(ENDPOINT_TYPE, ['b']);
    await settle();
    peer.handler.onMessage(
      change(ENDPOINT_TYPE, 'n1', [wrapped('a', '1', assignment('a')), wrapped('b', '1', assignment('b'))]),
    );
    await settle();
    peer.cut();
    dropped.subscription.stop();
    peer.start();
    await settle();
    expect(last(peer).initialResourceVersions).toEqual({ a: '1' });
  });

  test('a name that is dropped and wanted again before the server hears of it is there at once', async () => {
    for (const isDelta of [false, true]) {
      const { peer, watch } = open(isDelta);
      const first = watch(ENDPOINT_TYPE, ['a']);
      await settle();
      const answer = isDelta
        ? change(ENDPOINT_TYPE, 'n1', [wrapped('a', '1', assignment('a'))])
        : whole(ENDPOINT_TYPE, '1', 'n1', [assignment('a')]);
      peer.handler.onMessage(answer);
      await settle();
      first.subscription.stop();
      const second = watch(ENDPOINT_TYPE, ['a']);
      await settle();
      expect(second.recorder.updates).toEqual(['a@1']);
    }
  });

  test('one name twice is refused', async () => {
    const { peer, watch } = open(true);
    watch(CLUSTER_TYPE, null);
    await settle();
    peer.handler.onMessage(change(CLUSTER_TYPE, 'n1', [wrapped('a', '1', cluster('a'))], ['a']));
    await settle();
    expect(last(peer).errorDetail?.message).toContain('duplicate name a');
  });

  test('a resource whose time is over is removed; heartbeats prolong it', async () => {
    const { peer, watch } = open(true);
    const { recorder } = watch(CLUSTER_TYPE, null);
    await settle();
    peer.handler.onMessage(change(CLUSTER_TYPE, 'n1', [wrapped('a', '1', cluster('a'), 30)]));
    await Bun.sleep(20);
    peer.handler.onMessage(change(CLUSTER_TYPE, 'n2', [wrapped('a', '1', undefined, 30)]));
    await Bun.sleep(20);
    expect(recorder.updates.filter((update) => update !== '')).toEqual(['a@1']);
    await Bun.sleep(30);
    expect(recorder.updates.filter((update) => update !== '')).toEqual(['a@1', '-a']);
  });
});
