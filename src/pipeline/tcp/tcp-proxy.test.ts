import { expect, test } from 'bun:test';
import { FakeTransport } from '../../../test/support/fake-transport.ts';
import { FakeUpstream } from '../../../test/support/fake-upstream.ts';
import { Connection } from '../../net/connection.ts';
import type { ConnectionContext } from '../environment.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { TCP_PROXY_STATS, type TcpProxyConfig } from './tcp-proxy-config.ts';

/** A client of a proxy to one host. */
function proxied(maxConnectAttempts: number): { up: FakeUpstream; client: FakeTransport; connect: () => void } {
  const up = new FakeUpstream();
  const cluster = up.cluster();
  const config: TcpProxyConfig = {
    stats: TCP_PROXY_STATS.create(up.store.root, 'tcp.t'),
    cluster: 'up',
    weightedClusters: [],
    metadataMatch: null,
    totalWeight: 0,
    idleTimeoutMs: 1000,
    maxConnectAttempts,
    backoff: null,
    maxConnectionDurationMs: 5000,
    maxConnectionDurationJitter: 0,
    hashBySourceIp: false,
    accessLoggers: [],
    accessLogFlushIntervalMs: 0,
    accessLogOnConnected: false,
    accessLogOnStart: false,
    connectMode: 0,
    maxEarlyDataBytes: null,
    checkDrainClose: false,
    proxyProtocolTlvs: [],
    tlvMergePolicy: 0,
    onDemand: null,
    tunnel: null,
  };
  const context = {
    environment: { clusters: { get: () => cluster } },
    listener: { name: 'l', scope: up.store.root, direction: 'unspecified', bufferLimit: 1024, logBy() {} },
  } as unknown as ConnectionContext;
  const client = new FakeTransport(up.loop);
  const connection = new Connection(up.loop.dispatcher, client, true);
  client.setHandler(connection);
  connection.addFilter(new TcpProxy(config, context));
  return { up, client, connect: () => up.loop.turn(() => connection.startFilters()) };
}

test('an attempt that fails at once does not hide the one behind it: the client goes, so does the wait', () => {
  const { up, client, connect } = proxied(2);
  const { connector } = up;
  const open = connector.connect.bind(connector);
  let calls = 0;
  connector.connect = (...given) => {
    if (++calls === 1) throw new Error('EMFILE');
    return open(...given);
  };
  connect();
  expect(calls).toBe(2);
  expect(up.store.valueOf('cluster.up.upstream_rq_pending_active')).toBe(1);
  client.closes();
  expect(up.store.valueOf('cluster.up.upstream_rq_pending_active')).toBe(0);
  expect(up.store.valueOf('cluster.up.upstream_cx_active')).toBe(0);
});
