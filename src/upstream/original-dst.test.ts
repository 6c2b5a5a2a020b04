import { beforeEach, expect, test } from 'bun:test';
import { FakeTransport } from '../../test/support/fake-transport.ts';
import { FakeUpstream } from '../../test/support/fake-upstream.ts';
import { type FilterStateObject, TextState } from '../base/connection-state.ts';
import { type IpAddress, ipAddress } from '../net/address.ts';
import { Connection } from '../net/connection.ts';
import { ResourcePriority } from './circuit-breaker.ts';
import type { Cluster } from './cluster.ts';
import type { LoadBalancerContext } from './load-balancer.ts';
import { CLUSTER_PROVIDED, type OriginalDstSpec } from './original-dst.ts';

const PLAIN: OriginalDstSpec = { headerName: '', metadataKey: null, portOverride: -1, cleanupIntervalMs: 1000 };
const KEY = { namespace: 'ns', path: ['to'] };

let up: FakeUpstream;
let connection: Connection;

beforeEach(() => {
  up = new FakeUpstream();
  connection = new Connection(up.loop.dispatcher, new FakeTransport(up.loop), true);
});

function clusterOf(spec: Partial<OriginalDstSpec> = {}): Cluster {
  return up.cluster({ originalDst: { ...PLAIN, ...spec }, policy: CLUSTER_PROVIDED, initialHosts: [] }, []);
}

function choose(cluster: Cluster): string | null {
  const context = {
    downstreamConnection: () => connection,
    requestHeaders: () => null,
    overrideHost: () => null,
  } as unknown as LoadBalancerContext;
  return cluster.chooseHost(context)?.address.text ?? null;
}

function restored(address: IpAddress): void {
  connection.localAddress = address;
  connection.localAddressRestored = true;
}

test('the restored address, and none without', () => {
  const cluster = clusterOf();
  expect(choose(cluster)).toBeNull();
  restored(ipAddress('10.1.1.1', 80));
  expect([choose(cluster), choose(cluster)]).toEqual(['10.1.1.1:80', '10.1.1.1:80']);
  expect(cluster.priorities.hostCount).toBe(1);
  expect(choose(clusterOf({ portOverride: 99 }))).toBe('10.1.1.1:99');
});

test('metadata goes before the address, filter state before metadata', () => {
  restored(ipAddress('10.1.1.1', 80));
  connection.ownState().setMetadata('ns', { to: ['10.2.2.2:81', 'other'] });
  expect(choose(clusterOf({ metadataKey: KEY }))).toBe('10.2.2.2:81');
  const state = new TextState('') as FilterStateObject & { address?: IpAddress };
  connection
    .ownState()
    .objects.set(
      'envoy.network.transport_socket.original_dst_address',
      Object.assign(state, { address: ipAddress('10.3.3.3', 82) }),
    );
  expect(choose(clusterOf({ metadataKey: KEY }))).toBe('10.3.3.3:82');
});

test('metadata that is no address is counted, and the restored address is taken', () => {
  restored(ipAddress('10.1.1.1', 80));
  connection.ownState().setMetadata('ns', { to: 'nonsense' });
  expect(choose(clusterOf({ metadataKey: KEY }))).toBe('10.1.1.1:80');
  expect(up.store.valueOf('cluster.up.original_dst_host_invalid')).toBe(1);
});

test('a host leaves at the second clean-up after its last choice, unless it is in use', () => {
  const cluster = clusterOf();
  restored(ipAddress('10.1.1.1', 80));
  choose(cluster);
  const host = cluster.priorities.hostByAddress('10.1.1.1:80')!;
  up.loop.turn(() => {
    cluster.tcpPool(host, ResourcePriority.Default)!.newConnection({ onPoolReady() {}, onPoolFailure() {} });
  });
  up.connector.last.open();
  up.loop.advance(1000);
  up.loop.advance(1000);
  up.loop.advance(1000);
  expect(cluster.priorities.hostCount).toBe(1);
  up.connector.last.closes();
  up.loop.advance(1000);
  expect(cluster.priorities.hostCount).toBe(0);
  choose(cluster);
  up.loop.advance(1000);
  expect(cluster.priorities.hostCount).toBe(1);
  up.loop.advance(1000);
  expect(cluster.priorities.hostCount).toBe(0);
});
