import { describe, expect, test } from 'bun:test';
import { FakeUpstream, hostAddress } from '../../../test/support/fake-upstream.ts';
import { MetadataCriteria } from '../../base/metadata-criteria.ts';
import type { Cluster } from '../cluster.ts';
import { HealthFlag, type HostSpec, hostSpec, type Locality } from '../host.ts';
import type { HostUpdate } from '../host-update.ts';
import type { LoadBalancerContext } from '../load-balancer.ts';
import { NO_LOCALITY_SETTINGS } from './host-source-balancer.ts';
import { RoundRobinPolicy } from './round-robin.ts';
import { SubsetFallback, SubsetPolicy, type SubsetSelector, type SubsetSettings } from './subset-balancer.ts';

const roundRobin = new RoundRobinPolicy(NO_LOCALITY_SETTINGS, null);
const selector = (keys: string[], fields: Partial<SubsetSelector> = {}): SubsetSelector => ({
  keys,
  singleHost: false,
  fallback: SubsetFallback.NotDefined,
  fallbackKeys: new Set(),
  ...fields,
});
const settings = (fields: Partial<SubsetSettings>): SubsetSettings => ({
  fallback: SubsetFallback.NoFallback,
  defaultSubset: {},
  selectors: [selector(['v'])],
  localityWeightAware: false,
  scaleLocalityWeight: false,
  panicModeAny: false,
  listAsAny: false,
  allowRedundantKeys: false,
  fallbackList: false,
  ...fields,
});
const host = (number: number, lb: Record<string, unknown>, fields: Partial<HostSpec> = {}): HostSpec =>
  hostSpec(hostAddress(number), { metadata: { 'envoy.lb': lb }, ...fields });
const update = (hosts: readonly HostSpec[], fields: Partial<HostUpdate> = {}): HostUpdate => ({
  cluster: 'up',
  priority: 0,
  hosts,
  localityWeights: [],
  overprovisioningFactor: 140,
  weightedPriorityHealth: false,
  ...fields,
});
const cluster = (policy: SubsetPolicy, first: HostUpdate): Cluster =>
  new FakeUpstream().cluster({ policy, initialHosts: [first] });
const asks = (lb: ConstructorParameters<typeof MetadataCriteria>[0]): LoadBalancerContext => ({
  hashKey: () => null,
  metadataMatch: () => new MetadataCriteria(lb),
  downstreamConnection: () => null,
  requestHeaders: () => null,
  shouldSelectAnotherHost: () => false,
  hostSelectionRetryCount: 1,
  priorityLoad: (_priorities, loads) => loads,
  overrideHost: () => null,
});
const picks = (of: Cluster, context: LoadBalancerContext, count: number): Map<string, number> => {
  const counts = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    const text = of.chooseHost(context)?.address.text ?? 'none';
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return counts;
};
const text = (number: number): string => hostAddress(number).text;

describe('subsets', () => {
  test('come and go with the hosts, and are counted', () => {
    const up = cluster(new SubsetPolicy(settings({}), roundRobin), update([host(1, { v: '1' }), host(2, { v: '2' })]));
    const { stats } = up;
    expect([stats.lb_subsets_active.value, stats.lb_subsets_created.value]).toEqual([2, 2]);
    expect(up.chooseHost(asks({ v: '2' }))?.address.text).toBe(text(2));
    up.applyHosts(update([host(1, { v: '1' }), host(3, { v: '3' })]));
    expect(up.chooseHost(asks({ v: '2' }))).toBe(null);
    expect(up.chooseHost(asks({ v: '3' }))?.address.text).toBe(text(3));
    expect([stats.lb_subsets_active.value, stats.lb_subsets_created.value, stats.lb_subsets_removed.value]).toEqual([
      2, 3, 1,
    ]);
    expect(stats.lb_subsets_selected.value).toBe(2);
  });

  test('take turns within a subset, also across an update; health counts per subset', () => {
    const hosts = [host(1, { v: '1' }), host(2, { v: '1' }), host(3, { v: '1' }), host(4, { v: '2' })];
    const up = cluster(new SubsetPolicy(settings({}), roundRobin), update(hosts));
    const first = [0, 1, 2].map(() => up.chooseHost(asks({ v: '1' }))!.address.text);
    expect(new Set(first).size).toBe(3);
    up.applyHosts(update(hosts));
    expect(up.chooseHost(asks({ v: '1' }))!.address.text).toBe(first[0]!);
    up.priorities.hostSets[0]!.hosts[1]!.setFlag(HealthFlag.FailedActiveHc, true);
    expect(picks(up, asks({ v: '1' }), 30).get(text(2))).toBe(undefined);
  });

  test('a host whose metadata changes moves', () => {
    const up = cluster(new SubsetPolicy(settings({}), roundRobin), update([host(1, { v: '1' })]));
    up.applyHosts(update([host(1, { v: '2' })]));
    expect(up.chooseHost(asks({ v: '1' }))).toBe(null);
    expect(up.chooseHost(asks({ v: '2' }))?.address.text).toBe(text(1));
  });

  test('values are compared with their types, objects whatever the order of their members', () => {
    const up = cluster(
      new SubsetPolicy(settings({}), roundRobin),
      update([host(1, { v: 1 }), host(2, { v: '1' }), host(3, { v: { b: 1, a: [true, null] } })]),
    );
    expect(up.chooseHost(asks({ v: 1 }))?.address.text).toBe(text(1));
    expect(up.chooseHost(asks({ v: '1' }))?.address.text).toBe(text(2));
    expect(up.chooseHost(asks({ v: { a: [true, null], b: 1 } }))?.address.text).toBe(text(3));
  });

  test('panic mode, and its count', () => {
    const up = cluster(
      new SubsetPolicy(
        settings({ fallback: SubsetFallback.DefaultSubset, defaultSubset: { v: 'x' }, panicModeAny: true }),
        roundRobin,
      ),
      update([host(1, { v: '1' })]),
    );
    expect(up.chooseHost(asks({ v: '2' }))?.address.text).toBe(text(1));
    expect(up.stats.lb_subsets_fallback_panic.value).toBe(1);
  });

  test('several hosts where one is said to be alone', () => {
    const up = cluster(
      new SubsetPolicy(settings({ selectors: [selector(['v'], { singleHost: true })] }), roundRobin),
      update([host(1, { v: '1' }), host(2, { v: '1' }), host(3, { v: '2' })]),
    );
    expect([...picks(up, asks({ v: '1' }), 10).keys()]).toEqual([text(1)]);
    expect(up.scope.gauge('lb_subsets_single_host_per_subset_duplicate').value).toBe(1);
  });

  test('weights of localities: none, as they are, scaled by what the subset leaves of them', () => {
    const zone = (name: string): Locality => ({ region: '', zone: name, subZone: '' });
    const [a, b] = [zone('a'), zone('b')];
    // Of zone a half of the hosts are in the subset, of zone b all.
    const hosts = update(
      [
        host(1, { v: '1' }, { locality: a }),
        host(2, { v: '2' }, { locality: a }),
        host(3, { v: '1' }, { locality: b }),
      ],
      {
        localityWeights: [
          { locality: a, weight: 50 },
          { locality: b, weight: 50 },
        ],
      },
    );
    const weighted = new RoundRobinPolicy({ localityWeighted: true, failTrafficOnPanic: false }, null);
    const share = (fields: Partial<SubsetSettings>): number =>
      picks(cluster(new SubsetPolicy(settings(fields), weighted), hosts), asks({ v: '1' }), 300).get(text(1))!;
    expect(share({})).toBe(150);
    expect(share({ localityWeightAware: true })).toBe(150);
    expect(share({ localityWeightAware: true, scaleLocalityWeight: true })).toBe(100);
  });
});
