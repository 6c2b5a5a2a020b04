import { afterEach, expect, test } from 'bun:test';
import { create } from '@bufbuild/protobuf';
import { openApiRegistry } from '../api/api-registry.ts';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';
import { Logger } from '../base/log.ts';
import { SystemRandom } from '../base/random.ts';
import { StatsStore } from '../stats/store.ts';
import { ResourceDecoder } from './resource-decoder.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from './resource-source.ts';
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  type ResourceType,
  ROUTE_TYPE,
  RUNTIME_TYPE,
  SCOPE_TYPE,
  SECRET_TYPE,
} from './resource-type.ts';
import { type RestClient, type RestHandler, RestSource } from './rest-source.ts';
import { SubscriptionStats } from './subscription-stats.ts';

const api = openApiRegistry();
const opened: Subscription[] = [];
afterEach(() => {
  for (const subscription of opened.splice(0)) subscription.stop();
});

/** The test is the server. */
class FakeClient implements RestClient {
  readonly asked: { path: string; json: Record<string, unknown> }[] = [];
  cancelled = 0;
  #handler: RestHandler | null = null;
  #waiting: { count: number; go: () => void }[] = [];

  post(path: string, json: string, handler: RestHandler): { cancel(): void } {
    this.asked.push({ path, json: JSON.parse(json) });
    this.#handler = handler;
    for (const waiting of this.#waiting) if (this.asked.length >= waiting.count) waiting.go();
    return { cancel: () => this.cancelled++ };
  }

  until(count: number): Promise<void> {
    if (this.asked.length >= count) return Promise.resolve();
    return new Promise((go) => this.#waiting.push({ count, go }));
  }

  answer(status: number, body: unknown = ''): void {
    this.#handler!.onAnswer(status, typeof body === 'string' ? body : JSON.stringify(body));
  }

  fail(): void {
    this.#handler!.onFailure('reset');
  }
}

class Recorder implements ResourceWatcher {
  readonly seen: string[] = [];
  refused: readonly ResourceRefusal[] = [];

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    this.seen.push([...update.changed.map(({ name }) => name), ...update.removed.map((name) => `-${name}`)].join(' '));
    return Promise.resolve(this.refused);
  }

  onFailure(reason: string, _details: string): void {
    this.seen.push(reason);
  }
}

function watch(type: ResourceType = CLUSTER_TYPE, names: readonly string[] | null = null, fetchTimeoutMs = 0) {
  const client = new FakeClient();
  const store = new StatsStore();
  const recorder = new Recorder();
  const logger = new Logger('config', 'off', { write: () => {} });
  const node = create(api.message('envoy.config.core.v3.Node')!) as Node;
  node.id = 'me';
  const decoder = new ResourceDecoder(api, 'warn', () => {});
  const source = new RestSource(client, { refreshMs: 1, node }, decoder, logger, new SystemRandom());
  const stats = new SubscriptionStats(store.root.createScope('s'));
  const subscription = source.watch({ type, names, fetchTimeoutMs }, recorder, stats);
  opened.push(subscription);
  const stat = (name: string) => store.valueOf(`s.${name}`);
  return { client, recorder, subscription, stat };
}

function clusters(version: string, ...names: string[]): object {
  const resources = names.map((name) => ({ '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', name }));
  return { version_info: version, resources };
}

test('asks again and again, tells the last version, and makes a change of what it hears', async () => {
  const { client, recorder, subscription, stat } = watch();
  subscription.start();
  expect(client.asked).toEqual([
    {
      path: '/v3/discovery:clusters',
      json: { node: { id: 'me' }, type_url: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' },
    },
  ]);
  client.answer(200, clusters('1', 'a', 'b'));
  await client.until(2);
  expect(client.asked[1]!.json.version_info).toBe('1');
  client.answer(200, clusters('2', 'b'));
  await client.until(3);
  client.answer(304);
  await client.until(4);
  expect(recorder.seen).toEqual(['a b', 'b -a']);
  expect(['update_attempt', 'update_success', 'update_failure', 'update_rejected'].map(stat)).toEqual([4, 2, 0, 0]);
});

test('failures and refusals are told apart, and do not end it', async () => {
  const { client, recorder, subscription, stat } = watch();
  subscription.start();
  client.answer(200, clusters('1', 'a'));
  await client.until(2);
  client.fail();
  await client.until(3);
  client.answer(500, clusters('2', 'b'));
  await client.until(4);
  client.answer(200, '{"version_info": ');
  await client.until(5);
  recorder.refused = [{ name: 'c', details: 'no' }];
  client.answer(200, clusters('3', 'c'));
  await client.until(6);
  expect(client.asked[5]!.json.version_info).toBe('1');
  expect(recorder.seen).toEqual(['a', 'connection', 'connection', 'rejected', 'c -a', 'rejected']);
  expect(['update_success', 'update_failure', 'update_rejected'].map(stat)).toEqual([1, 2, 2]);
});

test('a first answer that is late, and none after the end', async () => {
  const { client, recorder, subscription, stat } = watch(ENDPOINT_TYPE, ['z', 'a'], 5);
  subscription.start();
  expect(client.asked[0]!.json.resource_names).toEqual(['a', 'z']);
  await Bun.sleep(20);
  expect([recorder.seen, stat('init_fetch_timeout')]).toEqual([['timeout'], 1]);
  subscription.stop();
  expect(client.cancelled).toBe(1);
  await Bun.sleep(5);
  expect(client.asked.length).toBe(1);
});

test('every type has its path', () => {
  const paths = new Map([
    [CLUSTER_TYPE, 'clusters'],
    [ENDPOINT_TYPE, 'endpoints'],
    [LISTENER_TYPE, 'listeners'],
    [ROUTE_TYPE, 'routes'],
    [SCOPE_TYPE, 'scoped-routes'],
    [SECRET_TYPE, 'secrets'],
    [EXTENSION_TYPE, 'extension_configs'],
    [RUNTIME_TYPE, 'runtime'],
  ]);
  for (const [type, path] of paths) expect(type.restPath).toBe(`/v3/discovery:${path}`);
});
