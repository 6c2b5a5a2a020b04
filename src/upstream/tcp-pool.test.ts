import { afterEach, beforeEach, expect, test } from 'bun:test';
import { FakeUpstream, hostAddress } from '../../test/support/fake-upstream.ts';
import { ByteBuffer } from '../base/byte-buffer.ts';
import { CloseType, type Connection } from '../net/connection.ts';
import { DEFAULT_THRESHOLDS } from './circuit-breaker.ts';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';
import { type PendingStream, PoolFailure, type TcpPoolWaiter } from './pool.ts';

class Waiter implements TcpPoolWaiter {
  connection: Connection | null = null;
  readonly log: string[] = [];
  pending: PendingStream | null = null;

  onPoolReady(connection: Connection): void {
    this.connection = connection;
    this.log.push('ready');
  }

  onPoolFailure(reason: PoolFailure): void {
    this.log.push(`failed ${reason}`);
  }
}

let up: FakeUpstream;
let cluster: Cluster;
let host: Host;
beforeEach(() => {
  up = new FakeUpstream();
});

function use(fields: Parameters<FakeUpstream['cluster']>[0] = {}): void {
  cluster = up.cluster(fields);
  host = cluster.chooseHost(null)!;
}

function start(): Waiter {
  const waiter = new Waiter();
  up.loop.turn(() => {
    waiter.pending = cluster.tcpPool(host, 0)!.newConnection(waiter);
  });
  return waiter;
}

function expectNothingLeft(): void {
  expect(cluster.stats.upstream_cx_active.value).toBe(0);
  expect(cluster.stats.upstream_rq_active.value).toBe(0);
  expect(cluster.stats.upstream_rq_pending_active.value).toBe(0);
  const { connections, pendingRequests, requests, connectionPools } = cluster.resources(0);
  expect([connections.count, pendingRequests.count, requests.count, connectionPools.count]).toEqual([0, 0, 0, 0]);
}

afterEach(() => {
  up.loop.turn(() => cluster.close());
  expectNothingLeft();
});

test('a connection is the waiter’s until it closes', () => {
  use();
  const waiter = start();
  expect(waiter.log).toEqual([]);
  up.connector.last.open();
  expect(waiter.log).toEqual(['ready']);
  expect(cluster.stats.upstream_rq_total.value).toBe(1);
  up.loop.turn(() => waiter.connection!.write(ByteBuffer.from('hello'), false));
  expect(up.connector.last.sent).toBe('hello');
  expect(cluster.stats.upstream_cx_tx_bytes_total.value).toBe(5);
  start();
  expect(up.connector.transports.length).toBe(2);
  up.loop.turn(() => waiter.connection!.close(CloseType.NoFlush));
  expect(cluster.stats.upstream_cx_destroy_local_with_active_rq.value).toBe(1);
});

test('the upstream resets', () => {
  use();
  const waiter = start();
  up.connector.last.open();
  up.connector.last.closes('ECONNRESET');
  expect(waiter.connection!.isClosed).toBe(true);
  expect(cluster.stats.upstream_cx_destroy_remote_with_active_rq.value).toBe(1);
  expectNothingLeft();
});

test('refused, and timed out', () => {
  use({ connectTimeoutMs: 100 });
  const refused = start();
  up.connector.last.closes('ECONNREFUSED');
  expect(refused.log).toEqual([`failed ${PoolFailure.RemoteConnectionFailure}`]);
  const late = start();
  up.loop.advance(101);
  expect(late.log).toEqual([`failed ${PoolFailure.Timeout}`]);
  expectNothingLeft();
});

test('cancel closes a connection that nobody else waits for', () => {
  use();
  const one = start();
  const two = start();
  expect(up.connector.transports.length).toBe(2);
  up.loop.turn(() => one.pending!.cancel());
  expect(up.connector.transports.map((transport) => transport.end)).toEqual(['open', 'closed']);
  expect([one.log, two.log]).toEqual([[], []]);
  up.connector.transports[0]!.open();
  expect([one.log, two.log]).toEqual([[], ['ready']]);
});

test('limits', () => {
  const thresholds = { ...DEFAULT_THRESHOLDS, maxConnections: 1, maxPendingRequests: 1 };
  use({ thresholds: [thresholds, DEFAULT_THRESHOLDS] });
  const one = start();
  up.connector.last.open();
  const two = start();
  const three = start();
  expect(up.connector.transports.length).toBe(1);
  expect(cluster.stats.upstream_cx_overflow.value).toBe(1);
  expect([two.log, three.log]).toEqual([[], [`failed ${PoolFailure.PendingOverflow}`]]);
  up.loop.turn(() => one.connection!.close(CloseType.NoFlush));
  up.connector.last.open();
  expect(two.log).toEqual(['ready']);
});

test('drain: a connection in use lives on', () => {
  use();
  const waiter = start();
  up.connector.last.open();
  const pool = cluster.tcpPool(host, 0)!;
  up.loop.turn(() => pool.drain());
  expect(waiter.connection!.isOpen).toBe(true);
  expect(pool.isIdle).toBe(false);
  up.connector.last.closes();
  expect(pool.isIdle).toBe(true);
});

test('a source address that cannot be bound', () => {
  use({ bind: { sourceV4: hostAddress(200), sourceV6: null } });
  const waiter = start();
  expect(up.connector.specs[0]!.bindAddress).toEqual(hostAddress(200));
  const transport = up.connector.last;
  transport.gone = true;
  up.loop.turn(() => transport.handler!.onClosed({ code: 'EADDRNOTAVAIL', message: '', local: true }));
  expect(waiter.log).toEqual([`failed ${PoolFailure.LocalConnectionFailure}`]);
  expect(cluster.stats.bind_errors.value).toBe(1);
});
