/** The order of things on main, against workers whose answers the test gives. */
import { afterEach, expect, test } from 'bun:test';
import type { JsonObject } from '@bufbuild/protobuf';
import { discoveredResource, FakeSubscriptions } from '../../../test/support/fake-subscriptions.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import { SystemClock } from '../../base/clock.ts';
import { type Deferred, deferred } from '../../base/deferred.ts';
import { LoggerRegistry } from '../../base/log.ts';
import { SystemRandom } from '../../base/random.ts';
import { ExtensionRegistry } from '../../config/extension-registry.ts';
import { NO_STATIC_SECRETS } from '../../config/secrets/tls-build.ts';
import { EXTENSIONS } from '../../extensions/index.ts';
import { Dispatcher } from '../../net/dispatcher.ts';
import { EMPTY_RUNTIME } from '../../routing/runtime-fraction.ts';
import { StatsStore } from '../../stats/store.ts';
import type { ToWorker } from '../../worker/messages.ts';
import { LISTENER_MANAGER_STATS } from '../server-stats.ts';
import type { WorkerHandle } from '../worker-handle.ts';
import { ClusterUpdates } from './cluster-updates.ts';
import { ExtensionUpdates } from './extension-updates.ts';
import { InitTargets } from './init-targets.ts';
import { ListenerUpdates } from './listener-updates.ts';
import { NeedsKeeper } from './needs.ts';
import { ResourceBuilds } from './resource-builds.ts';
import { RouteUpdates } from './route-updates.ts';
import { ScopeUpdates } from './scope-updates.ts';
import { SecretUpdates } from './secret-updates.ts';
import type { Subscriptions } from './subscriptions.ts';
import { WorkerOrders } from './worker-orders.ts';

const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
const TYPE = 'type.googleapis.com/envoy.';
const ADS = { ads: {}, resource_api_version: 'V3' };

type Reply = Awaited<ReturnType<WorkerHandle['request']>>;

/** Carries orders out as the test says. */
class FakeWorker implements WorkerHandle {
  readonly index: number;
  readonly ready = Promise.resolve();
  readonly told: string[] = [];
  readonly secrets = new Set<string>();
  /** Set: listeners wait for it. */
  gate: Deferred<void> | null = null;
  /** Set: clusters wait for it. */
  clusterGate: Deferred<void> | null = null;
  /** Why no address can be bound; `throw`: the order fails as a whole. */
  fault = '';
  /** Set: the fault is that of this listener alone. */
  faulty = '';

  constructor(index: number) {
    this.index = index;
  }

  send(_message: ToWorker): void {}

  async request(order: Parameters<WorkerHandle['request']>[0]): Promise<Reply> {
    if (order.kind === 'clusters' && this.clusterGate !== null) await this.clusterGate.promise;
    if (order.kind === 'feed') {
      for (const [key, secret] of order.secrets) {
        if (secret === null) this.secrets.delete(key);
        else this.secrets.add(key);
      }
    } else if (order.kind === 'clusters') {
      const names = order.changed.map((bytes) => builds.decode<Cluster>(CLUSTER, bytes));
      this.told.push(
        `clusters ${[...names.map(({ name }) => name), ...order.removed.map((name) => `-${name}`)].join()}`,
      );
    } else if (order.kind === 'listeners') {
      const names = order.changed.map(({ bytes }) => builds.decode<Listener>(LISTENER, bytes));
      const text = [
        ...names.map((each) => `${each.name}/${each.statPrefix}`),
        ...order.removed.map((name) => `-${name}`),
      ];
      if (this.gate !== null) await this.gate.promise;
      if (this.fault === 'throw') throw new Error('cannot build');
      const outcomes = names.map(({ name }) => {
        const error = this.faulty === '' || this.faulty === name ? this.fault : '';
        return { listener: name, addressIndex: 0, address: error === '' ? '127.0.0.1:1' : '', error };
      });
      if (outcomes.every(({ error }) => error === '')) this.told.push(`listeners ${text.join()}`);
      return { kind: 'listening', id: 0, outcomes };
    } else if (order.kind === 'routes') {
      this.told.push(`routes ${order.changed.length} ${order.removed.length}`);
    }
    return { kind: 'done', id: 0 };
  }

  terminate(): void {}
}

const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const LISTENER = 'envoy.config.listener.v3.Listener';
const builds = new ResourceBuilds(api, extensions, EMPTY_RUNTIME, {
  staticSecrets: NO_STATIC_SECRETS,
  refusal: () => null,
});

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

function setUp(workerCount = 2) {
  const stats = new StatsStore().root;
  const workers = Array.from({ length: workerCount }, (_, index) => new FakeWorker(index));
  const loggers = new LoggerRegistry({ write: () => {} }, 'off');
  const subscriptions = new FakeSubscriptions(api);
  const orders = new WorkerOrders(workers, 20, false, (bytes) => builds.decode(CLUSTER, bytes), {
    applyHosts: () => {},
    setSecret: () => {},
    removeSecret: () => {},
    onFault: (error) => {
      throw error;
    },
  });
  const shared = { stats, loggers, builds, subscriptions: subscriptions as unknown as Subscriptions, orders };
  const secrets = new SecretUpdates({
    ...shared,
    api,
    logger: loggers.get('misc'),
    faultOf: () => '',
    send: (key, secret) => orders.secret(key, secret),
    remove: (key) => orders.removeSecret(key),
  });
  const init = new InitTargets('server');
  const clusterInit = new InitTargets('clusters');
  const clusters = new ClusterUpdates({
    ...shared,
    dispatcher: new Dispatcher(new SystemClock(), new SystemRandom()),
    secrets,
    init: clusterInit,
    onCount: () => {},
    onReload: () => {},
  });
  const routes = new RouteUpdates(builds, orders, shared.subscriptions, stats, () => clusters.names());
  const clusterNames = () => clusters.names();
  const extensions = new ExtensionUpdates({ ...shared, clusterNames, keeper: () => needs });
  const scopes = new ScopeUpdates({ ...shared, routes, clusterNames });
  const needs: NeedsKeeper = new NeedsKeeper({ routes, scopes, extensions, secrets, drainMs: 20 });
  const listeners = new ListenerUpdates({
    ...shared,
    listenerType: api.message(LISTENER)!,
    stats: LISTENER_MANAGER_STATS.create(stats, 'listener_manager'),
    needs,
    workerCount,
    init,
    clusterNames,
    bindFault: (_spec, address) => (address.text === '127.0.0.1:2' ? 'Address already in use' : ''),
  });
  stops.push(() => {
    listeners.stop();
    clusters.stop();
    secrets.stop();
    routes.stop();
    extensions.stop();
    needs.stop();
  });
  const lds = (changed: readonly JsonObject[], removed: readonly string[] = []) =>
    listeners.apply({ changed: changed.map((json) => discoveredResource(api, LISTENER, json)), removed, version: '1' });
  const cds = (changed: readonly JsonObject[], removed: readonly string[] = []) =>
    clusters.apply({ changed: changed.map((json) => discoveredResource(api, CLUSTER, json)), removed, version: '1' });
  return { workers, subscriptions, secrets, init, clusterInit, clusters, listeners, lds, cds };
}

function listener(mark: string, more: JsonObject = {}, chain: JsonObject = {}): JsonObject {
  return {
    name: 'l',
    stat_prefix: mark,
    address: { socket_address: { address: '127.0.0.1', port_value: 1 } },
    filter_chains: [
      {
        filters: [
          {
            name: 'hcm',
            typed_config: {
              '@type': `${TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: 'x',
              rds: { route_config_name: 'r', config_source: ADS },
              http_filters: [
                { name: 'router', typed_config: { '@type': `${TYPE}extensions.filters.http.router.v3.Router` } },
              ],
            },
          },
        ],
        ...chain,
      },
    ],
    ...more,
  };
}

const ROUTES = 'envoy.config.route.v3.RouteConfiguration';
const answerRoutes = ({ subscriptions }: ReturnType<typeof setUp>) =>
  subscriptions.answer('RDS r', ROUTES, [{ name: 'r' }]);

const TLS: JsonObject = {
  transport_socket: {
    name: 'tls',
    typed_config: {
      '@type': `${TYPE}extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
      common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'cert', sds_config: ADS }] },
    },
  },
};
const UPSTREAM_TLS: JsonObject = {
  transport_socket: {
    name: 'tls',
    typed_config: {
      '@type': `${TYPE}extensions.transport_sockets.tls.v3.UpstreamTlsContext`,
      common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'cert', sds_config: ADS }] },
    },
  },
};
const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
const CERTIFICATE: JsonObject = {
  name: 'cert',
  tls_certificate: { certificate_chain: { inline_string: 'c' }, private_key: { inline_string: 'k' } },
};

/** A listener that serves. */
async function serving() {
  const all = setUp();
  await all.listeners.start();
  await all.lds([listener('one')]);
  await answerRoutes(all);
  await Bun.sleep(0);
  expect(all.workers[1]!.told).toContain('listeners l/one');
  return all;
}

test('an update while another is being opened waits for its turn, and is in force in the end', async () => {
  const { workers, listeners, lds, subscriptions } = await serving();
  const gate = deferred<void>();
  workers[1]!.gate = gate;
  const second = lds([listener('two')]);
  const third = lds([listener('three')]);
  await Bun.sleep(0);
  gate.resolve();
  expect(await Promise.all([second, third])).toEqual([[], []]);
  expect(listeners.active.get('l')!.spec.scope.prefix).toContain('three');
  expect(listeners.warming.size).toBe(0);
  for (const worker of workers) expect(worker.told.at(-1)).toBe('listeners l/three');
  await Bun.sleep(40);
  // The routes of the one that serves are still followed.
  expect([...subscriptions.watchers.keys()]).toEqual(['RDS r']);
  expect(workers[0]!.told).not.toContain('routes 0 1');
});

test('a listener without a name is another one with every state of the world, and goes with it', async () => {
  const all = setUp();
  await all.listeners.start();
  const [worker] = all.workers;
  worker!.told.length = 0;
  const { name: _name, ...bare } = { ...listener('one'), filter_chains: [{}] } as JsonObject;
  expect(await all.lds([bare])).toEqual([]);
  const [first] = [...all.listeners.active.keys()];
  expect(first).toMatch(/^[0-9a-f-]{36}$/);
  expect(worker!.told).toEqual([`listeners ${first}/one`]);
  // The same address: the old one must be gone by then.
  expect(await all.lds([bare])).toEqual([]);
  const [second] = [...all.listeners.active.keys()];
  expect(second).not.toBe(first);
  expect(worker!.told.slice(1)).toEqual([`listeners -${first}`, `listeners ${second}/one`]);
  expect(await all.lds([], [''])).toEqual([]);
  expect(all.listeners.active.size).toBe(0);
  expect(worker!.told.at(-1)).toBe(`listeners -${second}`);
});

test('one worker that cannot open a new listener leaves it open in none', async () => {
  const all = setUp();
  await all.listeners.start();
  all.workers[0]!.told.length = 0;
  for (const fault of ['Address already in use', 'throw']) {
    all.workers[1]!.fault = fault;
    const refusals = await all.lds([{ ...listener('one'), filter_chains: [{}] }]);
    expect(refusals).toHaveLength(1);
    expect(all.workers[0]!.told.splice(0)).toEqual(['listeners l/one', 'listeners -l']);
    expect(all.listeners.active.size + all.listeners.warming.size).toBe(0);
  }
});

test('one worker that cannot open another version makes all go back', async () => {
  const { workers, listeners, lds } = await serving();
  workers[1]!.fault = 'Address already in use';
  const refusals = await lds([listener('two')]);
  expect(refusals).toEqual([{ name: 'l', details: 'Address already in use' }]);
  expect(workers[0]!.told.slice(-2)).toEqual(['listeners l/two', 'listeners l/one']);
  expect(workers[1]!.told.at(-1)).toBe('listeners l/one');
  expect(listeners.active.get('l')!.spec.scope.prefix).toContain('one');
});

const at = (port: number): JsonObject => ({ address: { socket_address: { address: '127.0.0.1', port_value: port } } });

test('a listener whose address cannot be had is refused when it comes, not when it has warmed', async () => {
  for (const started of [false, true]) {
    const all = setUp();
    if (started) await all.listeners.start();
    const refusals = await all.lds([listener('one', at(2)), { ...listener('two', at(3)), name: 'm' }]);
    expect(refusals).toEqual([{ name: 'l', details: 'Address already in use' }]);
    expect([...all.listeners.active.keys(), ...all.listeners.warming.keys()]).toEqual(['m']);
  }
});

test('a discovered listener whose address is lost until the start ends nothing', async () => {
  const all = setUp();
  await all.lds([listener('one'), { ...listener('two', at(3)), name: 'm' }]);
  all.workers[1]!.fault = 'Address already in use';
  all.workers[1]!.faulty = 'l';
  await all.listeners.start();
  expect([...all.listeners.active.keys()]).toEqual(['m']);
  expect(all.listeners.errors.get('l')?.details).toBe('Address already in use');
  for (const worker of all.workers) expect(worker.told.at(-1)).toBe('listeners m/two');
});

test('a listener that is replaced before the start is not waited for', async () => {
  const all = setUp();
  await all.lds([listener('one')]);
  let went = false;
  all.init.whenReady(() => {
    went = true;
  });
  await all.lds([{ ...listener('two'), filter_chains: [{}] }]);
  expect(went).toBe(true);
});

test('a cluster that is replaced or removed while it warms at the start is not waited for', async () => {
  for (const next of [[{ name: 'c' }], []]) {
    const all = setUp();
    await all.cds([{ name: 'c', type: 'EDS', eds_cluster_config: { eds_config: ADS } }]);
    let went = false;
    all.clusterInit.whenReady(() => {
      went = true;
    });
    expect(went).toBe(false);
    await all.cds(next, next.length === 0 ? ['c'] : []);
    expect(went).toBe(true);
    expect(all.subscriptions.watchers.size).toBe(0);
  }
});

test('a listener waits for its secrets, and lets go of them', async () => {
  const { workers, listeners, lds, subscriptions } = await serving();
  await lds([listener('two', {}, TLS)]);
  expect(listeners.warming.has('l')).toBe(true);
  expect(listeners.warming.get('l')!.targets.unready.map(({ name }) => name)).toEqual(['SdsApi cert']);
  await subscriptions.answer('SDS cert', SECRET, [CERTIFICATE]);
  await Bun.sleep(0);
  expect(listeners.warming.size).toBe(0);
  for (const worker of workers) expect([worker.secrets.size, worker.told.at(-1)]).toEqual([1, 'listeners l/two']);
  await lds([listener('three')]);
  await Bun.sleep(40);
  for (const worker of workers) expect(worker.secrets.size).toBe(0);
  expect([...subscriptions.watchers.keys()]).toEqual(['RDS r']);
});

test('a refused listener follows no secret', async () => {
  const { lds, subscriptions } = await serving();
  const refusals = await lds([listener('two', {}, { ...TLS, filters: [{ name: 'what' }] })]);
  expect(refusals).toHaveLength(1);
  expect([...subscriptions.watchers.keys()]).toEqual(['RDS r']);
});

test('a cluster waits for its secrets, and lets go of them', async () => {
  const all = setUp();
  all.clusters.onStarted();
  await all.cds([{ name: 'c', ...UPSTREAM_TLS }]);
  expect([all.clusters.warming.size, all.clusters.active.size]).toEqual([1, 0]);
  await all.subscriptions.answer('SDS cert', SECRET, [CERTIFICATE]);
  await Bun.sleep(5);
  expect([all.clusters.warming.size, all.clusters.active.size]).toEqual([0, 1]);
  for (const worker of all.workers) expect([worker.secrets.size, worker.told]).toEqual([1, ['clusters c']]);
  // Another one that needs it as well has it at once, and it stays for that one.
  await all.cds([{ name: 'd', ...UPSTREAM_TLS }]);
  await all.cds([], ['c']);
  expect(all.workers[0]!.secrets.size).toBe(1);
  await all.cds([], ['d']);
  for (const worker of all.workers) expect(worker.secrets.size).toBe(0);
  expect(all.subscriptions.watchers.size).toBe(0);
});

test('endpoints that come while a cluster waits for its secret: the last ones count', async () => {
  const all = setUp();
  all.clusters.onStarted();
  await all.cds([{ name: 'c', type: 'EDS', eds_cluster_config: { eds_config: ADS }, ...UPSTREAM_TLS }]);
  const answer = (port: number) =>
    all.subscriptions.answer('EDS c', 'envoy.config.endpoint.v3.ClusterLoadAssignment', [
      {
        cluster_name: 'c',
        endpoints: [
          { lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } }] },
        ],
      },
    ]);
  for (let port = 1; port < 50; port++) await answer(port);
  const entry = all.clusters.warming.get('c')!;
  expect(entry.hosts.size).toBe(1);
  expect(entry.hosts.get(0)!.hosts.map(({ address }) => address.text)).toEqual(['127.0.0.1:49']);
});

test('refusals of ever new names do not fill the memory', async () => {
  const all = setUp();
  all.clusters.onStarted();
  for (let round = 0; round < 12; round++) {
    await all.cds(
      Array.from({ length: 100 }, (_, i) => ({ name: `bad-${round}-${i}`, lb_policy: 'CLUSTER_PROVIDED' })),
    );
  }
  expect(all.clusters.active.size).toBe(0);
  expect(all.clusters.errors.size).toBe(1000);
  expect(all.clusters.errors.has('bad-11-99')).toBe(true);
});

test('a blocked worker is not sent order upon order: clusters that are warm are gathered', async () => {
  const all = setUp(1);
  all.clusters.onStarted();
  const [worker] = all.workers;
  const gate = deferred<void>();
  worker!.clusterGate = gate;
  let orders = 0;
  const request = worker!.request.bind(worker);
  worker!.request = (order) => {
    if (order.kind === 'clusters') orders++;
    return request(order);
  };
  for (let round = 1; round <= 50; round++) {
    const json = { name: 'c', type: 'EDS', eds_cluster_config: { eds_config: ADS }, connect_timeout: `${round}s` };
    await all.cds([json]);
    await all.subscriptions.answer('EDS c', 'envoy.config.endpoint.v3.ClusterLoadAssignment', [{ cluster_name: 'c' }]);
    await Bun.sleep(0);
  }
  expect(orders).toBe(1);
  gate.resolve();
  worker!.clusterGate = null;
  await Bun.sleep(5);
  expect(orders).toBe(2);
  expect(builds.clusterFrom(all.clusters.active.get('c')!.bytes).connectTimeoutMs).toBe(50_000);
});

test('a cluster serves when workers have it, not when a version of it was passed over or is gone', async () => {
  const { workers, clusters, subscriptions, cds } = setUp(1);
  clusters.onStarted();
  const eds = (mark: string): JsonObject => ({
    ...{ name: 'c', type: 'EDS', alt_stat_name: mark },
    eds_cluster_config: { eds_config: ADS },
  });
  const served: string[] = [];
  clusters.whenServes('c', () => served.push('c'));
  await cds([eds('one')]);
  await subscriptions.answer('EDS c', 'envoy.config.endpoint.v3.ClusterLoadAssignment', [{ cluster_name: 'c' }]);
  // It is warm; before its turn comes, another version is there that is not.
  await cds([eds('two')]);
  await new Promise((resolve) => setImmediate(resolve));
  await Bun.sleep(0);
  expect(workers[0]!.told).toEqual([]);
  expect(served).toEqual([]);
  await subscriptions.answer('EDS c', 'envoy.config.endpoint.v3.ClusterLoadAssignment', [{ cluster_name: 'c' }]);
  await new Promise((resolve) => setImmediate(resolve));
  await Bun.sleep(0);
  expect([workers[0]!.told, served]).toEqual([['clusters c'], ['c']]);
  // Removed while workers are being given it: it does not serve.
  const fixed = { name: 'd', type: 'STATIC', load_assignment: { cluster_name: 'd' } };
  workers[0]!.clusterGate = deferred();
  const adding = cds([fixed]);
  const removing = cds([], ['d']);
  workers[0]!.clusterGate.resolve();
  await Promise.all([adding, removing]);
  workers[0]!.clusterGate = deferred();
  const again = cds([fixed]);
  let serves = false;
  clusters.whenServes('d', () => {
    serves = true;
  });
  expect(serves).toBe(false);
  workers[0]!.clusterGate.resolve();
  await again;
  expect(serves).toBe(true);
});
