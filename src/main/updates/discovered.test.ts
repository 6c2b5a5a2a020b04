import { afterEach, expect, test } from 'bun:test';
import { fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { FakeSubscriptions } from '../../../test/support/fake-subscriptions.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import { ExtensionRegistry } from '../../config/extension-registry.ts';
import { EXTENSIONS } from '../../extensions/index.ts';
import { DemandOutcome } from '../../routing/on-demand.ts';
import { EMPTY_RUNTIME } from '../../routing/runtime-fraction.ts';
import { StatsStore } from '../../stats/store.ts';
import type { ToWorker } from '../../worker/messages.ts';
import type { WorkerHandle } from '../worker-handle.ts';
import { ClusterDemands } from './cluster-demands.ts';
import type { ClusterUpdates } from './cluster-updates.ts';
import { ExtensionUpdates } from './extension-updates.ts';
import { InitTargets } from './init-targets.ts';
import { NeedsKeeper } from './needs.ts';
import { ResourceBuilds } from './resource-builds.ts';
import { RouteUpdates } from './route-updates.ts';
import { ScopeUpdates } from './scope-updates.ts';
import type { SecretUpdates } from './secret-updates.ts';
import type { Subscriptions } from './subscriptions.ts';
import { WorkerOrders } from './worker-orders.ts';

const api = openApiRegistry();
const TYPE = 'type.googleapis.com/envoy.';
const ROUTES = 'envoy.config.route.v3.RouteConfiguration';
const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const EXTENSION = 'envoy.config.core.v3.TypedExtensionConfig';
const HCM = `${TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`;
const DIRECT = `${TYPE}extensions.filters.network.direct_response.v3.Config`;
const ADS = { ads: {}, resource_api_version: 'V3' };

/** Writes down what it is told. */
class NotingWorker {
  readonly told: string[] = [];
  readonly index = 0;
  readonly ready = Promise.resolve();

  send(): void {}

  request(order: Omit<ToWorker, 'id'> & { readonly kind: string }): Promise<unknown> {
    const { kind } = order;
    const more = order as unknown as Record<string, readonly Record<string, unknown>[]>;
    if (kind === 'scopes') {
      const scopes = more.changed!.map(({ name, routes }) => `${name}=${String(routes).split('|')[0]}`);
      this.told.push(`scopes +${scopes.join()} -${more.removed!.join()}`);
    } else {
      const names = more.changed!.map(({ key }) => String(key).split('|').slice(0, 2).join('|'));
      this.told.push(`${kind} +${names.join()} -${more.removed!.map((key) => String(key).split('|')[0]).join()}`);
    }
    return Promise.resolve({ kind: 'done', id: 0 });
  }

  terminate(): void {}
}

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

function setUp() {
  const stats = new StatsStore().root;
  const worker = new NotingWorker();
  const sources = new FakeSubscriptions(api);
  const tls = { staticSecrets: new Map(), refusal: () => null } as unknown as ConstructorParameters<
    typeof ResourceBuilds
  >[3];
  const builds = new ResourceBuilds(api, new ExtensionRegistry(EXTENSIONS), EMPTY_RUNTIME, tls);
  const orders = new WorkerOrders([worker as unknown as WorkerHandle], 10, false, () => null as never, {
    applyHosts: () => {},
    setSecret: () => {},
    removeSecret: () => {},
    onFault: () => {},
  });
  const subscriptions = sources as unknown as Subscriptions;
  const clusterNames = () => new Set<string>();
  const routes = new RouteUpdates(builds, orders, subscriptions, stats, clusterNames);
  const shared = { builds, orders, subscriptions, stats, clusterNames };
  const extensions = new ExtensionUpdates({ ...shared, keeper: () => needs });
  const scopes = new ScopeUpdates({ ...shared, routes });
  const secrets = {} as SecretUpdates;
  const needs: NeedsKeeper = new NeedsKeeper({ routes, scopes, extensions, secrets, drainMs: 10 });
  stops.push(() => {
    extensions.stop();
    scopes.stop();
    routes.stop();
    needs.stop();
  });
  return { worker, sources, builds, extensions, scopes, routes };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(1);
}

const table = (name: string): JsonObject => ({ name, virtual_hosts: [{ name: 'v', domains: ['*'] }] });
const scope = (name: string, key: string, more: JsonObject): JsonObject => ({
  name,
  key: { fragments: [{ string_key: key }] },
  ...more,
});
const ads = { kind: 'ads', initialFetchTimeoutMs: 0 } as const;

test('a discovered connection manager serves once its routes are there; until then the one before does', async () => {
  const { worker, sources, extensions } = setUp();
  const place = {
    key: 'network-filter|n|1',
    kind: 'network-filter',
    name: 'n',
    source: ads,
    warms: true,
    typeNames: [HCM, DIRECT].map((url) => url.slice(url.lastIndexOf('/') + 1)),
    isLast: true,
  } as const;
  const targets = new InitTargets('listener');
  extensions.acquire(place);
  extensions.start(place, targets.add('ECDS n'));
  const router = { name: 'r', typed_config: { '@type': `${TYPE}extensions.filters.http.router.v3.Router` } };
  const manager = {
    '@type': HCM,
    stat_prefix: 'p',
    rds: { route_config_name: 'r', config_source: ADS },
    http_filters: [router],
  };
  expect(await sources.answer('ECDS n', EXTENSION, [{ name: 'n', typed_config: manager }])).toEqual([]);
  expect([targets.isReady, worker.told]).toEqual([false, []]);
  await sources.answer('RDS r', ROUTES, [table('r')]);
  await Bun.sleep(0);
  expect(targets.isReady).toBe(true);
  expect(worker.told.map((told) => told.split('|')[0])).toEqual(['routes +r', 'extensions +network-filter']);
  // Its routes go with it, when the drain time is over.
  await sources.answer('ECDS n', EXTENSION, [{ name: 'n', typed_config: { '@type': DIRECT } }]);
  expect(sources.watchers.has('RDS r')).toBe(true);
  await until(() => !sources.watchers.has('RDS r'));
  extensions.release(place);
  expect(sources.watchers.has('ECDS n')).toBe(false);
});

test('a key stays with its scope until the one that gets it has its table', async () => {
  const { worker, sources, scopes, builds } = setUp();
  const rdsSource = builds.decode(
    'envoy.config.core.v3.ConfigSource',
    toBinary(
      api.message('envoy.config.core.v3.ConfigSource')!,
      fromJson(api.message('envoy.config.core.v3.ConfigSource')!, ADS),
    ),
  );
  const dependency = { key: 's', name: 's', source: ads, rdsSource: rdsSource as never, statPrefix: 'http.p' };
  const targets = new InitTargets('listener');
  scopes.acquire(dependency);
  scopes.start('s', targets.add('SRDS s'));
  await sources.answer('SRDS *', SCOPE, [scope('a', 'k', { route_configuration: table('i') })]);
  expect([targets.isReady, worker.told.at(-1)]).toEqual([true, 'scopes +a=scope -']);
  await sources.answer('SRDS *', SCOPE, [scope('b', 'k', { route_configuration_name: 'r' })], ['a']);
  await Bun.sleep(0);
  expect(worker.told.at(-1)).toBe('scopes +a=scope -');
  await sources.answer('RDS r', ROUTES, [table('r')]);
  await Bun.sleep(0);
  expect(worker.told.filter((told) => told.startsWith('scopes')).at(-1)).toBe('scopes +b=r -a');
  // It is taken back before its table came: nothing waits for it.
  await sources.answer('SRDS *', SCOPE, [scope('b', 'k', { route_configuration_name: 'never' })]);
  await sources.answer('SRDS *', SCOPE, [scope('b', 'k', { route_configuration: table('j') })]);
  await Bun.sleep(0);
  expect(worker.told.filter((told) => told.startsWith('scopes')).at(-1)).toBe('scopes +b=scope -');
  expect([...sources.watchers.keys()]).toEqual(['SRDS *']);
});

test('scopes that name no table, or share a key, are refused', async () => {
  const { sources, scopes } = setUp();
  scopes.acquire({ key: 's', name: 's', source: ads, rdsSource: undefined, statPrefix: 'http.p' });
  scopes.start('s', new InitTargets('listener').add('SRDS s'));
  const details = async (...resources: JsonObject[]) =>
    (await sources.answer('SRDS *', SCOPE, resources)).map((refusal) => refusal.details);
  expect(await details(scope('a', 'k', {}))).toEqual(['a scope needs route_configuration or route_configuration_name']);
  expect(await details(scope('a', 'k', { route_configuration_name: 'r' }))).toEqual([
    'rds_config_source is missing, and the scope has no route_configuration',
  ]);
  const own = { route_configuration: table('i') };
  expect(await details(scope('a', 'k', own), scope('b', 'k', own))).toEqual([
    "Error adding/updating scoped route(s): scope key conflict found, first scope is 'a', second scope is 'b'",
  ]);
  expect(await details(scope('a', 'k', own), scope('b', 'l', own))).toEqual([]);
});

test('what inline scopes brought to workers goes with their source', async () => {
  const { worker, sources, scopes } = setUp();
  scopes.acquire({ key: 's', name: 's', source: ads, rdsSource: undefined, statPrefix: 'http.p' });
  scopes.start('s', new InitTargets('listener').add('SRDS s'));
  await sources.answer('SRDS *', SCOPE, [scope('a', 'k', { route_configuration: table('i') })]);
  expect(worker.told).toEqual(['routes +scope|s -', 'scopes +a=scope -']);
  scopes.release('s');
  await Bun.sleep(0);
  expect(worker.told.slice(2).sort()).toEqual(['routes + -scope', 'scopes + -']);
});

const vhds = { config_source: ADS };
const hostOf = (name: string, domain: string): JsonObject => ({ name, domains: [domain] });
const hosted = (...virtualHosts: JsonObject[]): JsonObject => ({ name: 'r', virtual_hosts: virtualHosts, vhds });

function followHosted() {
  const parts = setUp();
  const targets = new InitTargets('listener');
  parts.routes.acquire({ key: 'r', name: 'r', source: ads, statPrefix: 'http.p' });
  parts.routes.start('r', targets.add('RDS r'));
  return { ...parts, targets };
}

test('a table that its discovered virtual hosts do not fit is refused, and the one before stays', async () => {
  const { worker, sources, routes } = followHosted();
  expect(await sources.answer('RDS r', ROUTES, [hosted()])).toEqual([]);
  expect(await sources.answer('VHDS ', 'envoy.config.route.v3.VirtualHost', [hostOf('r/a', 'a.test')])).toEqual([]);
  expect(worker.told).toHaveLength(2);
  for (const _turn of [1, 2]) {
    const refusals = await sources.answer('RDS r', ROUTES, [hosted(hostOf('own', 'a.test'))]);
    expect(refusals.map(({ details }) => details).join()).toContain('a.test');
  }
  expect(worker.told).toHaveLength(2);
  const [inForce] = [...routes.current()];
  expect(inForce!.message.virtualHosts.map(({ name }) => name)).toEqual(['r/a']);
});

test('a table that goes while workers take it follows no virtual hosts', async () => {
  const { sources, routes } = followHosted();
  const taken = sources.answer('RDS r', ROUTES, [hosted()]);
  routes.release('r');
  await taken;
  expect([...sources.watchers.keys()]).toEqual([]);
});

test('a refusal of an extension is forgotten with the next good answer', async () => {
  const { sources, extensions } = setUp();
  const place = {
    key: 'network-filter|n|1',
    kind: 'network-filter',
    name: 'n',
    source: ads,
    warms: true,
    isLast: true,
    typeNames: [DIRECT.slice(DIRECT.lastIndexOf('/') + 1)],
  } as const;
  extensions.acquire(place);
  extensions.start(place, null);
  const good = [{ name: 'n', typed_config: { '@type': DIRECT } }];
  await sources.answer('ECDS n', EXTENSION, good);
  sources.watchers.get('ECDS n')!.onFailure('rejected', 'bad');
  expect(extensions.refusals()).toEqual([{ name: 'n', details: 'bad' }]);
  await sources.answer('ECDS n', EXTENSION, good);
  expect(extensions.refusals()).toEqual([]);
});

test('a cluster is waited for as long as it is said, and not beyond the end', async () => {
  const { builds, sources } = setUp();
  const clusters = { whenServes: () => () => {}, active: new Map(), warming: new Map() } as unknown as ClusterUpdates;
  const subscriptions = sources as unknown as Subscriptions;
  const demands = new ClusterDemands({ builds, clusters, subscriptions, stats: new StatsStore().root });
  const desc = api.message('envoy.config.core.v3.ConfigSource')!;
  const source = toBinary(desc, fromJson(desc, ADS));
  expect(await demands.ask(source, 'c', 1)).toBe(DemandOutcome.Late);
  const month = 31 * 24 * 3600 * 1000;
  const asked = demands.ask(source, 'c', month);
  expect(await Promise.race([asked, Bun.sleep(20)])).toBeUndefined();
  demands.stop();
  expect(await asked).toBe(DemandOutcome.Missing);
});

test('a worker that cannot take what was discovered (a bug) keeps no listener waiting', async () => {
  const { worker, sources, scopes, extensions } = setUp();
  const place = {
    key: 'network-filter|n|1',
    kind: 'network-filter',
    name: 'n',
    source: ads,
    warms: true,
    isLast: true,
    typeNames: [DIRECT.slice(DIRECT.lastIndexOf('/') + 1)],
  } as const;
  const targets = new InitTargets('listener');
  extensions.acquire(place);
  extensions.start(place, targets.add('ECDS n'));
  scopes.acquire({ key: 's', name: 's', source: ads, rdsSource: undefined, statPrefix: 'http.p' });
  scopes.start('s', targets.add('SRDS s'));
  worker.request = () => Promise.reject(new Error('a bug'));
  await sources.answer('ECDS n', EXTENSION, [{ name: 'n', typed_config: { '@type': DIRECT } }]);
  await sources.answer('SRDS *', SCOPE, [scope('a', 'k', { route_configuration: table('i') })]);
  await Bun.sleep(0);
  expect(targets.unready.map(({ name }) => name)).toEqual([]);
});
