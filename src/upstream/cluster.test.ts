import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { FakeUpstream, hostAddress, hostUpdate, roundRobin } from '../../test/support/fake-upstream.ts';
import { MergedStore } from '../stats/merged-store.ts';
import { CELLS_PER_CLUSTER, DEFAULT_THRESHOLDS } from './circuit-breaker.ts';
import { Cluster } from './cluster.ts';
import { ClusterManager } from './cluster-manager.ts';
import { clusterSpec } from './cluster-spec.ts';
import { hostSpec } from './host.ts';

describe('Cluster', () => {
  test('announces the stats of a real Envoy 1.40, none missing and none more', () => {
    const up = new FakeUpstream();
    const tracked = { ...DEFAULT_THRESHOLDS, trackRemaining: true };
    new Cluster(clusterSpec('plain', roundRobin()), up.environment);
    new Cluster(
      clusterSpec('tracked', roundRobin(), { statName: 'tr.acked', thresholds: [tracked, tracked] }),
      up.environment,
    );
    const merged = new MergedStore();
    merged.apply(0, up.store.takeDelta());
    const names = [...merged.counters.keys(), ...merged.gauges.keys(), ...merged.histograms.keys()].sort();
    const recorded = readFileSync(new URL('testdata/envoy-1.40-cluster-stats.txt', import.meta.url), 'utf8');
    expect(names).toEqual(recorded.trim().split('\n').sort());
  });

  test('response codes by group', () => {
    const up = new FakeUpstream();
    const cluster = up.cluster();
    cluster.responses.all.charge(200);
    cluster.responses.all.charge(204);
    cluster.responses.external.charge(503);
    const merged = new MergedStore();
    merged.apply(0, up.store.takeDelta());
    const value = (name: string) => merged.counters.get(`cluster.up.${name}`)?.value;
    expect([value('upstream_rq_completed'), value('upstream_rq_2xx'), value('upstream_rq_204')]).toEqual([2, 2, 1]);
    expect([value('external.upstream_rq_completed'), value('external.upstream_rq_5xx')]).toEqual([1, 1]);
    expect(value('external.upstream_rq_503')).toBe(1);
  });

  test('hosts keep their identity across updates', () => {
    const up = new FakeUpstream();
    const cluster = up.cluster({}, [hostSpec(hostAddress(1)), hostSpec(hostAddress(2))]);
    const [first, second] = [...cluster.priorities.allHosts()];
    cluster.applyHosts(hostUpdate('up', 0, [hostSpec(hostAddress(2), { weight: 5 }), hostSpec(hostAddress(3))]));
    const [a, b] = [...cluster.priorities.allHosts()];
    expect(a).toBe(second!);
    expect(a!.weight).toBe(5);
    expect(b).not.toBe(first!);
    expect(cluster.stats.membership_change.value).toBe(2);
    expect(cluster.stats.membership_total.value).toBe(2);
    cluster.applyHosts(hostUpdate('up', 0, [hostSpec(hostAddress(2), { weight: 5 }), hostSpec(hostAddress(3))]));
    expect(cluster.stats.membership_change.value).toBe(2);
  });

  test('a logical host keeps its identity while its address changes', () => {
    const cluster = new FakeUpstream().cluster({}, [hostSpec(hostAddress(1), { identity: 'a.test:80' })]);
    const host = cluster.chooseHost(null)!;
    cluster.applyHosts(hostUpdate('up', 0, [hostSpec(hostAddress(2), { identity: 'a.test:80' })]));
    expect(cluster.chooseHost(null)).toBe(host);
    expect(cluster.connectSpec(host).address).toEqual(hostAddress(2));
    expect(cluster.priorities.hostByAddress(hostAddress(2).text)).toBe(host);
  });

  test('retry budget', () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, retryBudget: { percent: 20, minConcurrency: 2 } };
    const { requests, retries, pendingRequests } = new FakeUpstream()
      .cluster({ thresholds: [thresholds, thresholds] })
      .resources(0);
    expect(retries.max).toBe(2);
    for (let i = 0; i < 10; i++) requests.inc();
    for (let i = 0; i < 5; i++) pendingRequests.inc();
    expect(retries.max).toBe(3);
    for (let i = 0; i < 3; i++) retries.inc();
    expect(retries.canCreate()).toBe(false);
    requests.inc();
    for (let i = 0; i < 4; i++) requests.inc();
    expect(retries.canCreate()).toBe(true);
  });

  test('breakers open and close, with what remains', () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, maxRequests: 2, trackRemaining: true };
    const up = new FakeUpstream();
    const cluster = up.cluster({ thresholds: [thresholds, thresholds] });
    const { requests } = cluster.resources(0);
    const merged = new MergedStore();
    const gauges = (): (number | undefined)[] => {
      merged.apply(0, up.store.takeDelta());
      return ['rq_open', 'remaining_rq'].map(
        (name) => merged.gauges.get(`cluster.up.circuit_breakers.default.${name}`)?.value,
      );
    };
    expect(gauges()).toEqual([0, 2]);
    requests.inc();
    expect(requests.canCreate()).toBe(true);
    requests.inc();
    expect(requests.canCreate()).toBe(false);
    expect(gauges()).toEqual([1, 0]);
    expect(cluster.resources(1).requests.canCreate()).toBe(true);
    requests.dec();
    expect(requests.canCreate()).toBe(true);
    expect(gauges()).toEqual([0, 1]);
  });

  test('workers can share their counts', () => {
    const cells = new Int32Array(new SharedArrayBuffer(4 * CELLS_PER_CLUSTER));
    const thresholds = { ...DEFAULT_THRESHOLDS, maxConnections: 2 };
    const spec = clusterSpec('up', roundRobin(), { thresholds: [thresholds, thresholds] });
    const [one, two] = [0, 1].map(
      () => new Cluster(spec, { ...new FakeUpstream().environment, sharedCells: () => cells }),
    );
    one!.resources(0).connections.inc();
    two!.resources(0).connections.inc();
    expect([one!.resources(0).connections.canCreate(), two!.resources(0).connections.canCreate()]).toEqual([
      false,
      false,
    ]);
    expect(one!.resources(1).connections.canCreate()).toBe(true);
    two!.resources(0).connections.dec();
    expect(one!.resources(0).connections.canCreate()).toBe(true);
  });

  test.each([true, false])('as many are taken as there are, and not one more (counts are shared: %p)', (shared) => {
    const cells = shared ? new Int32Array(new SharedArrayBuffer(4 * CELLS_PER_CLUSTER)) : null;
    const thresholds = { ...DEFAULT_THRESHOLDS, maxRequests: 2 };
    const spec = clusterSpec('up', roundRobin(), { thresholds: [thresholds, thresholds] });
    const first = new Cluster(spec, { ...new FakeUpstream().environment, sharedCells: () => cells });
    const second = shared ? new Cluster(spec, { ...new FakeUpstream().environment, sharedCells: () => cells }) : first;
    const [one, two] = [first, second].map((cluster) => cluster.resources(0).requests);
    expect([one!.take(), two!.take(), one!.take(), two!.take()]).toEqual([true, true, false, false]);
    expect(two!.count).toBe(2);
    one!.dec();
    expect([two!.take(), one!.take()]).toEqual([true, false]);
  });

  test('gauges of shared counts are brought up to date before they are reported', () => {
    const cells = new Int32Array(new SharedArrayBuffer(4 * CELLS_PER_CLUSTER));
    const thresholds = { ...DEFAULT_THRESHOLDS, maxConnections: 2, trackRemaining: true };
    const spec = clusterSpec('up', roundRobin(), { thresholds: [thresholds, thresholds] });
    const workers = [0, 1].map(() => {
      const fake = new FakeUpstream();
      const cluster = new Cluster(spec, { ...fake.environment, sharedCells: () => cells });
      const value = (name: string) => fake.store.valueOf(`cluster.up.circuit_breakers.default.${name}`);
      return { resources: cluster.resources(0), gauges: () => [value('cx_open'), value('remaining_cx')] };
    });
    const [one, two] = workers;
    one!.resources.connections.inc();
    two!.resources.connections.inc();
    expect(two!.gauges()).toEqual([1, 0]);
    expect(one!.gauges()).toEqual([0, 1]);
    one!.resources.refreshGauges();
    expect(one!.gauges()).toEqual([1, 0]);
  });
});

describe('ClusterManager', () => {
  test('adds, replaces, removes', () => {
    const up = new FakeUpstream();
    const manager = new ClusterManager(up.environment);
    expect(manager.get('a')).toBe(null);
    const first = manager.set(
      clusterSpec('a', roundRobin(), { initialHosts: [hostUpdate('a', 0, [hostSpec(hostAddress(1))])] }),
    );
    expect(manager.get('a')).toBe(first);
    const second = manager.set(clusterSpec('a', roundRobin()));
    expect(manager.get('a')).toBe(second);
    expect(manager.applyHosts(hostUpdate('a', 0, [hostSpec(hostAddress(2))]))).toBe(true);
    expect(second.chooseHost(null)!.address).toEqual(hostAddress(2));
    expect(manager.remove('a')).toBe(true);
    expect(manager.remove('a')).toBe(false);
    expect(manager.applyHosts(hostUpdate('a', 0, []))).toBe(false);
    const merged = new MergedStore();
    merged.apply(0, up.store.takeDelta());
    // The stats of clusters that are gone are gone with them.
    expect([...merged.counters.keys()].filter((name) => name.startsWith('cluster.a.'))).toEqual([]);
  });
});
