import { expect, test } from 'bun:test';
import { FakeUpstream, hostAddress } from '../../test/support/fake-upstream.ts';
import type { Connection } from '../net/connection.ts';
import type { Cluster } from './cluster.ts';
import { hostSpec } from './host.ts';
import type { PoolFailure, TcpPoolWaiter } from './pool.ts';

class Waiter implements TcpPoolWaiter {
  connection: Connection | null = null;
  failures: PoolFailure[] = [];

  onPoolReady(connection: Connection): void {
    this.connection = connection;
  }

  onPoolFailure(reason: PoolFailure): void {
    this.failures.push(reason);
  }
}

function begin(): { up: FakeUpstream; cluster: Cluster; waiter: Waiter } {
  const up = new FakeUpstream();
  const spec = hostSpec(hostAddress(1), { additionalAddresses: [hostAddress(2), hostAddress(3)] });
  const cluster = up.cluster({}, [spec]);
  const waiter = new Waiter();
  up.loop.turn(() => cluster.tcpPool(cluster.chooseHost(null)!, 0)!.newConnection(waiter));
  return { up, cluster, waiter };
}

test('a failure brings the next address at once, all failures one failure', () => {
  const { up, cluster, waiter } = begin();
  const { transports } = up.connector;
  expect(transports.length).toBe(1);
  transports[0]!.closes('ECONNREFUSED');
  expect(transports.map((transport) => transport.remoteAddress.text)).toEqual(['10.0.0.1:80', '10.0.0.2:80']);
  transports[1]!.closes('ECONNREFUSED');
  expect(waiter.failures).toEqual([]);
  transports[2]!.closes('ECONNREFUSED');
  expect(waiter.failures.length).toBe(1);
  expect(cluster.stats.upstream_cx_total.value).toBe(1);
  expect(cluster.stats.upstream_cx_connect_fail.value).toBe(1);
  expect(cluster.stats.upstream_cx_active.value).toBe(0);
});

test('silence brings the next address after 300 ms; the first to open wins, the others are reset', () => {
  const { up, waiter } = begin();
  const { transports } = up.connector;
  up.loop.advance(299);
  expect(transports.length).toBe(1);
  up.loop.advance(2);
  expect(transports.length).toBe(2);
  transports[1]!.open();
  expect(waiter.connection!.transport.remoteAddress.text).toBe('10.0.0.2:80');
  expect(transports[0]!.end).toBe('reset');
  transports[0]!.closes();
  up.loop.advance(1000);
  expect(transports.length).toBe(2);
  up.loop.turn(() => {
    waiter.connection!.close(1);
  });
  expect(transports[1]!.end).toBe('closed');
});

test('giving up stops every attempt', () => {
  const { up, cluster, waiter } = begin();
  up.loop.advance(301);
  up.loop.turn(() => cluster.close());
  expect(waiter.failures.length).toBe(1);
  expect(up.connector.transports.map((transport) => transport.end)).toEqual(['reset', 'reset']);
  for (const transport of up.connector.transports) transport.closes('ECONNRESET');
  expect(waiter.failures.length).toBe(1);
});
