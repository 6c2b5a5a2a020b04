import { describe, expect, test } from 'bun:test';
import { FakeUpstream, hostAddress } from '../../../test/support/fake-upstream.ts';
import type { Cluster } from '../cluster.ts';
import { type ClusterSpec, DEFAULT_LB_SETTINGS } from '../cluster-spec.ts';
import { EdsHealth, HealthFlag, type Host, type HostSpec, hostSpec, type Locality } from '../host.ts';
import type { HostUpdate } from '../host-update.ts';
import type { BalancerPolicy, LoadBalancerContext } from '../load-balancer.ts';
import { HostSet } from '../priority-set.ts';
import { NO_LOCALITY_SETTINGS } from './host-source-balancer.ts';
import { LeastRequestPolicy } from './least-request.ts';
import { computePriorityState } from './priority-loads.ts';
import { RandomPolicy } from './random.ts';
import { RoundRobinPolicy } from './round-robin.ts';

const roundRobin = new RoundRobinPolicy(NO_LOCALITY_SETTINGS, null);
const random = new RandomPolicy(NO_LOCALITY_SETTINGS);
function leastRequest(fullScan: boolean, activeRequestBias = 1): BalancerPolicy {
  return new LeastRequestPolicy({
    choiceCount: 2,
    fullScan,
    activeRequestBias,
    locality: NO_LOCALITY_SETTINGS,
    slowStart: null,
  });
}

function update(priority: number, hosts: readonly HostSpec[], fields: Partial<HostUpdate> = {}): HostUpdate {
  return {
    cluster: 'up',
    priority,
    hosts,
    localityWeights: [],
    overprovisioningFactor: 140,
    weightedPriorityHealth: false,
    ...fields,
  };
}

function specs(from: number, count: number, fields: Partial<HostSpec> = {}): HostSpec[] {
  return Array.from({ length: count }, (_, i) => hostSpec(hostAddress(from + i), fields));
}

function clusterOf(policy: BalancerPolicy, updates: readonly HostUpdate[], fields: Partial<ClusterSpec> = {}): Cluster {
  return new FakeUpstream().cluster({ policy, initialHosts: updates, ...fields });
}

/** How often each host is picked, by address. */
function count(cluster: Cluster, picks: number, context: LoadBalancerContext | null = null): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i < picks; i++) {
    const text = cluster.chooseHost(context)?.address.text ?? 'none';
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return counts;
}

// Every policy keeps these.
for (const [name, policy] of [
  ['round robin', roundRobin],
  ['random', random],
  ['least request', leastRequest(false)],
  ['least request, full scan', leastRequest(true)],
] as const) {
  describe(`balancer: ${name}`, () => {
    test('no hosts', () => {
      const cluster = clusterOf(policy, []);
      expect(cluster.chooseHost(null)).toBe(null);
      expect(cluster.stats.upstream_cx_none_healthy.value).toBe(1);
    });

    test('every host gets about its share', () => {
      const counts = count(clusterOf(policy, [update(0, specs(1, 4))]), 4000);
      expect(counts.size).toBe(4);
      for (const share of counts.values()) {
        expect(share).toBeGreaterThan(850);
        expect(share).toBeLessThan(1150);
      }
    });

    test('unhealthy hosts get nothing, in panic everything', () => {
      const cluster = clusterOf(policy, [update(0, specs(1, 4))]);
      const hosts = [...cluster.priorities.allHosts()];
      hosts[0]!.setFlag(HealthFlag.FailedActiveHc, true);
      expect(count(cluster, 300).has(hosts[0]!.address.text)).toBe(false);
      expect(cluster.stats.membership_healthy.value).toBe(3);
      hosts[1]!.setFlag(HealthFlag.FailedActiveHc, true);
      hosts[2]!.setFlag(HealthFlag.FailedActiveHc, true);
      expect(count(cluster, 300).size).toBe(4);
      expect(cluster.stats.lb_healthy_panic.value).toBe(300);
    });

    test('the next priority takes what the first cannot', () => {
      const cluster = clusterOf(policy, [update(0, specs(1, 4)), update(1, specs(257, 4))]);
      expect([...count(cluster, 500).keys()].every((text) => text.startsWith('10.0.0.'))).toBe(true);
      const hosts = [...cluster.priorities.hostSets[0]!.hosts];
      hosts[0]!.setFlag(HealthFlag.FailedActiveHc, true);
      hosts[1]!.setFlag(HealthFlag.FailedActiveHc, true);
      // 2 of 4 healthy: 70% by the overprovisioning factor of 1.4.
      let second = 0;
      for (const [text, picks] of count(cluster, 4000)) if (text.startsWith('10.0.1.')) second += picks;
      expect(second).toBeGreaterThan(4000 * 0.27);
      expect(second).toBeLessThan(4000 * 0.33);
    });

    test('asks the context for hosts to avoid, gives the last one in the end', () => {
      const cluster = clusterOf(policy, [update(0, specs(1, 2))]);
      const avoided = cluster.priorities.hostSets[0]!.hosts[0]!;
      const picky = contextWith((host) => host === avoided, 20);
      expect(count(cluster, 50, picky).get(avoided.address.text) ?? 0).toBeLessThan(3);
      const never = contextWith(() => true, 3);
      expect(cluster.chooseHost(never)).not.toBe(null);
    });
  });
}

function contextWith(avoid: (host: Host) => boolean, retries: number): LoadBalancerContext {
  return {
    hashKey: () => null,
    metadataMatch: () => null,
    downstreamConnection: () => null,
    requestHeaders: () => null,
    shouldSelectAnotherHost: avoid,
    hostSelectionRetryCount: retries,
    priorityLoad: (_priorities, loads) => loads,
    overrideHost: () => null,
  };
}

describe('balancers by themselves', () => {
  test('round robin takes turns, also across an update', () => {
    const cluster = clusterOf(roundRobin, [update(0, specs(1, 3))]);
    const first = [0, 1, 2, 3, 4, 5].map(() => cluster.chooseHost(null)!.address.text);
    expect(new Set(first.slice(0, 3)).size).toBe(3);
    expect(first.slice(3)).toEqual(first.slice(0, 3));
    cluster.applyHosts(update(0, specs(1, 3)));
    expect(cluster.chooseHost(null)!.address.text).toBe(first[0]!);
  });

  test('weights', () => {
    const hosts = [1, 2, 5].map((weight, i) => hostSpec(hostAddress(i), { weight }));
    const counts = count(clusterOf(roundRobin, [update(0, hosts)]), 800);
    expect([...counts.values()].sort((a, b) => a - b)).toEqual([100, 200, 500]);
    // Random does not know them.
    const flat = count(clusterOf(random, [update(0, hosts)]), 3000);
    for (const share of flat.values()) expect(Math.abs(share - 1000)).toBeLessThan(150);
  });

  test('least request avoids the busy', () => {
    for (const fullScan of [false, true]) {
      const cluster = clusterOf(leastRequest(fullScan), [update(0, specs(1, 2))]);
      const busy = cluster.priorities.hostSets[0]!.hosts[0]!;
      busy.stats.rqActive = 5;
      const share = count(cluster, 400).get(busy.address.text) ?? 0;
      // Both samples fall on the busy one with chance 1/4.
      if (fullScan) expect(share).toBe(0);
      else expect(Math.abs(share - 100)).toBeLessThan(40);
    }
  });

  test('least request by weight and load', () => {
    const hosts = [hostSpec(hostAddress(1), { weight: 2 }), hostSpec(hostAddress(2), { weight: 1 })];
    for (const [bias, low, high] of [
      [1, 90, 130],
      [0, 380, 420],
    ] as const) {
      const cluster = clusterOf(leastRequest(false, bias), [update(0, hosts)]);
      cluster.priorities.hostSets[0]!.hosts[0]!.stats.rqActive = 9; // weight 2 / 10 against 1, unless the bias is 0
      const share = count(cluster, 600).get(hostAddress(1).text) ?? 0;
      expect(share).toBeGreaterThan(low);
      expect(share).toBeLessThan(high);
    }
  });

  test('localities by weight', () => {
    const zone = (name: string): Locality => ({ region: '', zone: name, subZone: '' });
    const policy = new RoundRobinPolicy({ localityWeighted: true, failTrafficOnPanic: false }, null);
    const hosts = [
      ...specs(1, 2, { locality: zone('a') }),
      ...specs(11, 2, { locality: zone('b') }),
      ...specs(21, 2, { locality: zone('c') }),
    ];
    const weights = [
      { locality: zone('a'), weight: 1 },
      { locality: zone('b'), weight: 3 },
      { locality: zone('c'), weight: 0 },
    ];
    const cluster = clusterOf(policy, [update(0, hosts, { localityWeights: weights })]);
    const counts = count(cluster, 800);
    expect([...counts.entries()].sort()).toEqual([
      ['10.0.0.11:80', 300],
      ['10.0.0.12:80', 300],
      ['10.0.0.1:80', 100],
      ['10.0.0.2:80', 100],
    ]);
    // Half of b gone: its weight falls to 3 x 0.7.
    cluster.priorities.hostSets[0]!.hosts[2]!.setFlag(HealthFlag.FailedActiveHc, true);
    const left = count(cluster, 3100).get('10.0.0.12:80')!;
    expect(Math.abs(left - 2100)).toBeLessThan(5);
  });

  test('fail_traffic_on_panic', () => {
    const policy = new RoundRobinPolicy({ localityWeighted: false, failTrafficOnPanic: true }, null);
    const cluster = clusterOf(policy, [update(0, specs(1, 1, { edsHealth: EdsHealth.Unhealthy }))]);
    expect(cluster.chooseHost(null)).toBe(null);
    expect(cluster.stats.lb_healthy_panic.value).toBe(1);
  });

  test('panic turned off', () => {
    const lb = { ...DEFAULT_LB_SETTINGS, healthyPanicThreshold: 0 };
    const cluster = clusterOf(roundRobin, [update(0, specs(1, 1, { edsHealth: EdsHealth.Unhealthy }))], { lb });
    expect(cluster.chooseHost(null)).toBe(null);
    expect(cluster.stats.lb_healthy_panic.value).toBe(0);
  });

  test('slow start', () => {
    const policy = new RoundRobinPolicy(NO_LOCALITY_SETTINGS, { windowMs: 10_000, aggression: 1, minWeight: 0.1 });
    const up = new FakeUpstream();
    const cluster = up.cluster({ policy, initialHosts: [update(0, specs(1, 1))] });
    up.loop.advance(20_000);
    up.loop.turn(() => cluster.applyHosts(update(0, specs(1, 2))));
    const fresh = count(cluster, 1100).get(hostAddress(2).text)!;
    expect(Math.abs(fresh - 100)).toBeLessThan(5);
    up.loop.advance(20_000);
    up.loop.turn(() => {});
    count(cluster, 100); // the old schedule runs out
    expect(Math.abs(count(cluster, 1000).get(hostAddress(2).text)! - 500)).toBeLessThan(30);
  });

  test('a forced host', () => {
    const cluster = clusterOf(roundRobin, [update(0, specs(1, 3))]);
    const want = hostAddress(2).text;
    let strict = false;
    let address = want;
    const context = { ...contextWith(() => false, 0), overrideHost: () => ({ address, strict }) };
    expect([...count(cluster, 10, context).keys()]).toEqual([want]);
    cluster.priorities.hostByAddress(want)!.setFlag(HealthFlag.FailedActiveHc, true);
    expect(count(cluster, 10, context).has(want)).toBe(false);
    strict = true;
    address = 'nobody';
    expect(cluster.chooseHost(context)).toBe(null);
  });
});

describe('priority loads', () => {
  /** Figures of Envoy's documentation: healthy percent of each priority → load. */
  const cases: [healthy: number[], loads: number[], panic?: number][] = [
    [
      [100, 100],
      [100, 0],
    ],
    [
      [72, 72],
      [100, 0],
    ],
    [
      [71, 71],
      [99, 1],
    ],
    [
      [50, 50],
      [70, 30],
    ],
    [
      [25, 100],
      [35, 65],
    ],
    [
      [25, 25],
      [50, 50],
    ],
    [
      [0, 0, 0],
      [34, 33, 33],
    ],
    [[20, 20, 10], [40, 40, 20], 0],
    [
      [20, 20, 10],
      [34, 33, 33],
    ],
  ];
  for (const [healthy, loads, panic = 50] of cases) {
    test(`${healthy.join(' ')}, panic below ${panic}`, () => {
      const sets = healthy.map((percent, priority) => {
        const set = new HostSet(priority);
        const cluster = clusterOf(roundRobin, [update(0, specs(1, 100))]);
        const hosts = [...cluster.priorities.allHosts()];
        for (let i = percent; i < 100; i++) hosts[i]!.setFlag(HealthFlag.FailedActiveHc, true);
        set.set(hosts, [], 140, false);
        return set;
      });
      expect(computePriorityState(sets, panic).loads.healthy).toEqual(loads);
    });
  }

  test('degraded hosts come after all healthy ones', () => {
    const make = (healthy: number, degraded: number): HostSet => {
      const set = new HostSet(0);
      const cluster = clusterOf(roundRobin, [update(0, specs(1, 100))]);
      const hosts = [...cluster.priorities.allHosts()];
      for (let i = healthy; i < healthy + degraded; i++) hosts[i]!.setFlag(HealthFlag.DegradedActiveHc, true);
      for (let i = healthy + degraded; i < 100; i++) hosts[i]!.setFlag(HealthFlag.FailedActiveHc, true);
      set.set(hosts, [], 140, false);
      return set;
    };
    expect(computePriorityState([make(25, 75), make(0, 0)], 50).loads).toEqual({ healthy: [35, 0], degraded: [65, 0] });
    expect(computePriorityState([make(5, 25), make(5, 60)], 50).loads).toEqual({ healthy: [7, 7], degraded: [35, 51] });
  });
});
