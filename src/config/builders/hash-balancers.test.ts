import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../test/support/build-messages.ts';
import { FakeUpstream } from '../../../test/support/fake-upstream.ts';
import type { Cluster as ClusterMessage } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import { xxHash64 } from '../../base/xxhash64.ts';
import { Cluster } from '../../upstream/cluster.ts';
import { HealthFlag } from '../../upstream/host.ts';
import type { LoadBalancerContext } from '../../upstream/load-balancer.ts';
import { buildCluster } from './cluster.ts';

/** Four hosts with weights 1, 2, 3, 1, as the real Envoy had them. */
const HOSTS = `
load_assignment:
  cluster_name: c
  endpoints:
  - lb_endpoints:
    - { load_balancing_weight: 1, endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 19800 } } } }
    - { load_balancing_weight: 2, endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 19801 } } } }
    - { load_balancing_weight: 3, endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 19802 } } } }
    - { load_balancing_weight: 1, endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 19803 } } } }
`;

class Key implements LoadBalancerContext {
  key = '';
  hostSelectionRetryCount = 0;
  avoid = -1;
  hashKey = () => xxHash64(this.key);
  metadataMatch = () => null;
  downstreamConnection = () => null;
  requestHeaders = () => null;
  shouldSelectAnotherHost: LoadBalancerContext['shouldSelectAnotherHost'] = (host) =>
    host.address.kind === 'ip' && host.address.port === 19800 + this.avoid;
  priorityLoad: LoadBalancerContext['priorityLoad'] = (_priorities, loads) => loads;
  overrideHost = () => null;
}

function clusterOf(yaml: string, hosts = HOSTS): Cluster {
  const on = new TestBuild();
  const spec = buildCluster(
    on.context,
    on.message<ClusterMessage>('envoy.config.cluster.v3.Cluster', `name: c\n${yaml}${hosts}`),
  );
  expect(on.errors).toEqual([]);
  return new Cluster(spec!, new FakeUpstream().environment);
}

/** Hosts of the keys key-1 to key-40, by their last digit. */
function picks(cluster: Cluster, context = new Key()): string {
  let out = '';
  for (let i = 1; i <= 40; i++) {
    context.key = `key-${i}`;
    const address = cluster.chooseHost(context)!.address;
    out += address.kind === 'ip' ? address.port - 19800 : '?';
  }
  return out;
}

/** What the real Envoy 1.40 picked for these keys (header hash policy). */
const RECORDED: [yaml: string, picks: string, gauges: Record<string, number>][] = [
  [
    'lb_policy: RING_HASH',
    '1111233021322013012212222113232321111112',
    { 'ring_hash_lb.size': 1029, 'ring_hash_lb.min_hashes_per_host': 147, 'ring_hash_lb.max_hashes_per_host': 441 },
  ],
  [
    'lb_policy: RING_HASH\nring_hash_lb_config: { minimum_ring_size: 10, maximum_ring_size: 20 }',
    '3211032223222233211113313232023112311332',
    { 'ring_hash_lb.size': 14, 'ring_hash_lb.min_hashes_per_host': 2, 'ring_hash_lb.max_hashes_per_host': 6 },
  ],
  [
    'lb_policy: MAGLEV',
    '3031321312202212220022222202102113132212',
    { 'maglev_lb.min_entries_per_host': 9362, 'maglev_lb.max_entries_per_host': 28087 },
  ],
  [
    'lb_policy: MAGLEV\nmaglev_lb_config: { table_size: 101 }',
    '0131022022221221200320202020202122222220',
    { 'maglev_lb.min_entries_per_host': 15, 'maglev_lb.max_entries_per_host': 42 },
  ],
];

describe('consistent hashing', () => {
  for (const [yaml, expected, gauges] of RECORDED) {
    test(`as Envoy: ${yaml.replace(/\n/g, ', ')}`, () => {
      const cluster = clusterOf(`${yaml}\n`);
      expect(picks(cluster)).toBe(expected);
      for (const [name, value] of Object.entries(gauges))
        expect([name, cluster.scope.gauge(name).value]).toEqual([name, value]);
    });

    test(`a lost host moves few keys but its own: ${yaml.replace(/\n/g, ', ')}`, () => {
      const cluster = clusterOf(`${yaml}\n`);
      [...cluster.priorities.allHosts()][3]!.setFlag(HealthFlag.FailedActiveHc, true);
      const now = picks(cluster);
      expect(now).not.toContain('3');
      let moved = 0;
      for (let i = 0; i < 40; i++) if (expected[i] !== '3' && expected[i] !== now[i]) moved++;
      expect(moved).toBeLessThanOrEqual(yaml.includes('MAGLEV') ? 12 : 8);
    });

    test(`the order of the endpoints does not matter: ${yaml.replace(/\n/g, ', ')}`, () => {
      const lines = HOSTS.trimEnd().split('\n');
      const reversed = [...lines.slice(0, 5), ...lines.slice(5).reverse()].join('\n');
      expect(picks(clusterOf(`${yaml}\n`, reversed))).toBe(expected);
    });

    test(`a retry goes elsewhere: ${yaml.replace(/\n/g, ', ')}`, () => {
      const context = new Key();
      context.avoid = 2;
      context.hostSelectionRetryCount = 50;
      expect(picks(clusterOf(`${yaml}\n`), context)).not.toContain('2');
    });
  }

  test('without a key any host', () => {
    const cluster = clusterOf('lb_policy: MAGLEV\n');
    const seen = new Set<string>();
    for (let i = 0; i < 200; i++) seen.add(cluster.chooseHost(null)!.address.text);
    expect(seen.size).toBe(4);
  });

  test('refused', () => {
    const on = new TestBuild();
    for (const yaml of [
      'lb_policy: RING_HASH\nring_hash_lb_config: { minimum_ring_size: 100, maximum_ring_size: 10 }',
      'lb_policy: RING_HASH\nring_hash_lb_config: { hash_function: MURMUR_HASH_2 }',
      'lb_policy: MAGLEV\nmaglev_lb_config: { table_size: 100 }',
      'lb_policy: MAGLEV\ncommon_lb_config: { consistent_hashing_lb_config: { use_hostname_for_hashing: true } }',
    ]) {
      expect(
        buildCluster(on.context, on.message<ClusterMessage>('envoy.config.cluster.v3.Cluster', `name: c\n${yaml}`)),
      ).toBe(null);
    }
    expect(on.errors).toEqual([
      'ring_hash_lb_config.minimum_ring_size: ring hash: minimum_ring_size (100) > maximum_ring_size (10)',
      'ring_hash_lb_config.hash_function: MURMUR_HASH_2 is not supported yet',
      'maglev_lb_config.table_size: The table size of maglev must be prime number',
      "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing: Cannot use hostname for consistent hashing loadbalancing for cluster of type: 'envoy.cluster.static'",
    ]);
  });
});
