import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { FakeUpstream } from '../../test/support/fake-upstream.ts';
import { PoolUser } from '../../test/support/pool-user.ts';
import { ByteBuffer } from '../base/byte-buffer.ts';
import { ResetReason } from '../http/codec.ts';
import { DEFAULT_THRESHOLDS } from './circuit-breaker.ts';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';
import { PoolFailure } from './pool.ts';

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

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

function start(user = new PoolUser()): PoolUser {
  up.loop.turn(() => {
    user.pending = cluster.httpPool(host, 0)!.newStream(user, user);
  });
  return user;
}

function expectNothingLeft(): void {
  expect(cluster.stats.upstream_cx_active.value).toBe(0);
  expect(cluster.stats.upstream_rq_active.value).toBe(0);
  expect(cluster.stats.upstream_rq_pending_active.value).toBe(0);
  expect(cluster.stats.upstream_cx_rx_bytes_buffered.value).toBe(0);
  expect(cluster.stats.upstream_cx_tx_bytes_buffered.value).toBe(0);
  const { connections, pendingRequests, requests, connectionPools } = cluster.resources(0);
  expect([connections.count, pendingRequests.count, requests.count, connectionPools.count]).toEqual([0, 0, 0, 0]);
  expect([host.stats.cxActive, host.stats.rqActive, host.stats.rqPendingActive]).toEqual([0, 0, 0]);
}

/** Every case ends so: closing leaves nothing counted. */
afterEach(() => {
  up.loop.turn(() => cluster.close());
  expectNothingLeft();
});

// One suite, run with a connection that has to be made first and with one that waits in the pool.
for (const warm of [false, true]) {
  describe(warm ? 'HTTP/1 pool, ready at once' : 'HTTP/1 pool, ready later', () => {
    function begin(fields: Parameters<FakeUpstream['cluster']>[0] = {}, user = new PoolUser()): PoolUser {
      use(fields);
      if (warm) {
        const first = start();
        up.connector.last.open();
        up.connector.last.receive(OK);
        expect(first.log).toEqual(['ready', 'headers 200', 'data ok end']);
      }
      start(user);
      if (warm) {
        expect(user.pending).toBe(null);
      } else {
        expect(user.pending).not.toBe(null);
        expect(user.log).toEqual([]);
        up.connector.last.open();
      }
      expect(user.log).toEqual(['ready']);
      expect(user.info!.priorStreams).toBe(warm ? 1 : 0);
      return user;
    }

    test('a whole exchange gives the connection back', () => {
      const user = begin();
      expect(up.connector.last.sent.endsWith('GET / HTTP/1.1\r\nhost: a\r\n\r\n')).toBe(true);
      expect(cluster.stats.upstream_rq_active.value).toBe(1);
      up.connector.last.receive(OK);
      expect(user.log).toEqual(['ready', 'headers 200', 'data ok end']);
      expect(cluster.stats.upstream_rq_active.value).toBe(0);
      expect(cluster.stats.upstream_cx_active.value).toBe(1);
      const next = start();
      expect(next.log).toEqual(['ready']);
      expect(up.connector.transports.length).toBe(1);
    });

    test('one byte at a time', () => {
      const user = begin();
      for (const byte of OK) up.connector.last.receive(byte);
      expect(user.log).toEqual(['ready', 'headers 200', 'data o', 'data k end']);
      expect(cluster.stats.upstream_cx_active.value).toBe(1);
    });

    test('a held stream without effect after its end', () => {
      const user = begin();
      up.connector.last.receive(OK);
      const sent = up.connector.last.sent;
      user.encoder!.stream.reset(ResetReason.LocalReset);
      user.encoder!.stream.pauseReads();
      user.encoder!.encodeData(ByteBuffer.from('late'), true);
      expect(up.connector.last.sent).toBe(sent);
      expect(up.connector.last.end).toBe('open');
      expect(up.connector.last.paused).toBe(false);
    });

    test('a reset by the user closes the connection and is not echoed', () => {
      const user = begin();
      up.loop.turn(() => user.encoder!.stream.reset(ResetReason.LocalReset));
      expect(user.log).toEqual(['ready']);
      expect(up.connector.last.end).toBe('closed');
      expect(cluster.stats.upstream_cx_destroy_local_with_active_rq.value).toBe(1);
      expectNothingLeft();
    });

    test('an upstream that goes away before the response', () => {
      const user = begin();
      up.connector.last.peerEnds();
      expect(user.log).toEqual(['ready', `reset ${ResetReason.ConnectionTermination}`]);
      expect(cluster.stats.upstream_cx_destroy_remote_with_active_rq.value).toBe(1);
      expect(cluster.stats.upstream_cx_protocol_error.value).toBe(0);
      expectNothingLeft();
    });

    test('an upstream that resets before the response', () => {
      const user = begin();
      up.connector.last.closes('ECONNRESET');
      expect(user.log).toEqual(['ready', `reset ${ResetReason.ConnectionTermination}`]);
      expectNothingLeft();
    });

    test('a response cut short is a protocol error, as in Envoy', () => {
      const user = begin();
      up.connector.last.receive('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc');
      up.connector.last.peerEnds();
      expect(user.log).toEqual(['ready', 'headers 200', 'data abc', `reset ${ResetReason.ProtocolError}`]);
      expect(cluster.stats.upstream_cx_protocol_error.value).toBe(1);
      expect(cluster.stats.upstream_cx_destroy_remote_with_active_rq.value).toBe(1);
    });

    test('a body until the close ends by FIN and, as in Envoy, by RST', () => {
      for (const code of [null, 'ECONNRESET']) {
        if (code !== null) up = new FakeUpstream();
        const user = begin();
        up.connector.last.receive('HTTP/1.1 200 OK\r\n\r\nabc');
        if (code === null) up.connector.last.peerEnds();
        else up.connector.last.closes(code);
        expect(user.log).toEqual(['ready', 'headers 200', 'data abc', 'data  end']);
        expect(cluster.stats.upstream_cx_destroy_remote.value).toBe(1);
        expect(cluster.stats.upstream_cx_destroy_with_active_rq.value).toBe(0);
        expectNothingLeft();
      }
    });

    test('garbage', () => {
      const user = begin();
      up.connector.last.receive('garbage\r\n\r\n');
      expect(user.log).toEqual(['ready', `reset ${ResetReason.ProtocolError}`]);
      expect(cluster.stats.upstream_cx_protocol_error.value).toBe(1);
      expect(cluster.stats.upstream_cx_destroy_local_with_active_rq.value).toBe(1);
      expectNothingLeft();
    });

    test('connection: close', () => {
      const user = begin();
      up.connector.last.receive('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
      expect(user.log).toEqual(['ready', 'headers 200 end']);
      expect(cluster.stats.upstream_cx_close_notify.value).toBe(1);
      expect(up.connector.last.end).toBe('closed');
      expectNothingLeft();
    });

    test('bytes behind the response', () => {
      const user = begin();
      up.connector.last.receive(`${OK}EXTRA`);
      expect(user.log).toEqual(['ready', 'headers 200', 'data ok end']);
      expect(cluster.stats.upstream_cx_protocol_error.value).toBe(1);
      expectNothingLeft();
    });

    test('a response before the end of the request closes the connection', () => {
      const user = new PoolUser();
      user.request = 'nothing';
      begin({}, user);
      up.loop.turn(() => user.send(false));
      up.connector.last.receive(OK);
      expect(user.log).toEqual(['ready', 'headers 200', 'data ok end']);
      expect(up.connector.last.end).toBe('closed');
      expect(cluster.stats.upstream_cx_destroy_local_with_active_rq.value).toBe(1);
      up.loop.turn(() => user.encoder!.encodeData(ByteBuffer.from('late'), true));
      expectNothingLeft();
    });

    test('reads paused by the user: the end waits behind the data', () => {
      const user = begin();
      up.connector.last.receive('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab');
      up.loop.turn(() => user.encoder!.stream.pauseReads());
      expect(up.connector.last.paused).toBe(true);
      up.connector.last.receive('cd');
      up.connector.last.peerEnds();
      expect(user.log).toEqual(['ready', 'headers 200', 'data ab']);
      up.loop.turn(() => user.encoder!.stream.resumeReads());
      expect(user.log).toEqual(['ready', 'headers 200', 'data ab', 'data cd end']);
      expectNothingLeft();
    });

    test('max_requests: counted as an overflow of active requests', () => {
      const thresholds = { ...DEFAULT_THRESHOLDS, maxRequests: 1 };
      begin({ thresholds: [thresholds, DEFAULT_THRESHOLDS] });
      const second = start();
      if (second.pending !== null) up.connector.last.open();
      expect(second.log).toEqual([`failed ${PoolFailure.Overflow}`]);
      expect(cluster.stats.upstream_rq_active_overflow.value).toBe(1);
      expect(cluster.stats.upstream_rq_pending_overflow.value).toBe(0);
    });

    test('max_connection_duration closes an idle connection, lets a busy one end', () => {
      const user = begin({ maxConnectionDurationMs: 1000 });
      up.loop.advance(1001);
      expect(cluster.stats.upstream_cx_max_duration_reached.value).toBe(1);
      expect(up.connector.last.end).toBe('open');
      up.connector.last.receive(OK);
      expect(user.log).toEqual(['ready', 'headers 200', 'data ok end']);
      expect(up.connector.last.end).toBe('closed');
      expectNothingLeft();
    });

    test('drain: the active stream ends, then the connection', () => {
      const user = begin();
      const pool = cluster.httpPool(host, 0)!;
      up.loop.turn(() => pool.drain());
      expect(up.connector.last.end).toBe('open');
      const late = start();
      expect(late.log).toEqual([`failed ${PoolFailure.LocalConnectionFailure}`]);
      up.connector.last.receive(OK);
      expect(user.log).toEqual(['ready', 'headers 200', 'data ok end']);
      expect(up.connector.last.end).toBe('closed');
      expect(pool.isIdle).toBe(true);
      expectNothingLeft();
    });
  });
}

describe('HTTP/1 pool', () => {
  test('connect refused fails everybody who waits', () => {
    use();
    const users = [start(), start()];
    up.connector.transports[0]!.closes('ECONNREFUSED', 'why');
    expect(users.map((user) => user.log)).toEqual([
      [`failed ${PoolFailure.RemoteConnectionFailure} why`],
      [`failed ${PoolFailure.RemoteConnectionFailure} why`],
    ]);
    expect(cluster.stats.upstream_cx_connect_fail.value).toBe(1);
    expect(cluster.stats.upstream_rq_pending_failure_eject.value).toBe(2);
    expect(cluster.stats.upstream_cx_destroy_remote.value).toBe(1);
  });

  test('connect timeout', () => {
    use({ connectTimeoutMs: 250 });
    const user = start();
    up.loop.advance(249);
    expect(user.log).toEqual([]);
    up.loop.advance(2);
    expect(user.log).toEqual([`failed ${PoolFailure.Timeout}`]);
    expect(cluster.stats.upstream_cx_connect_timeout.value).toBe(1);
    expect(cluster.stats.upstream_cx_connect_fail.value).toBe(1);
    expectNothingLeft();
  });

  test('no socket to be had', () => {
    use();
    up.connector.broken = true;
    const user = start();
    expect(user.log).toEqual([`failed ${PoolFailure.LocalConnectionFailure}`]);
    expect(user.pending).toBe(null);
    expectNothingLeft();
  });

  test('a waiter may ask again from within its failure', () => {
    use();
    const again = new PoolUser();
    const user = new PoolUser();
    user.onPoolFailure = () => {
      again.pending = cluster.httpPool(host, 0)!.newStream(again, again);
    };
    start(user);
    up.connector.transports[0]!.closes('ECONNREFUSED');
    expect(up.connector.transports.length).toBe(2);
    up.connector.transports[1]!.open();
    expect(again.log).toEqual(['ready']);
  });

  test('cancel: the waiter hears nothing, the connection comes up and waits', () => {
    use();
    const user = start();
    user.pending!.cancel();
    up.connector.last.open();
    expect(user.log).toEqual([]);
    expect(cluster.stats.upstream_rq_cancelled.value).toBe(1);
    expect(cluster.stats.upstream_cx_active.value).toBe(1);
    expect(start().log).toEqual(['ready']);
    expect(up.connector.transports.length).toBe(1);
  });

  test('waiters are served in order, idle connections last in first out', () => {
    use();
    const first = start();
    const second = start();
    expect(up.connector.transports.length).toBe(2);
    up.connector.transports[1]!.open();
    expect([first.log, second.log]).toEqual([['ready'], []]);
    up.connector.transports[0]!.open();
    expect(second.log).toEqual(['ready']);
    up.connector.transports[0]!.receive(OK);
    up.connector.transports[1]!.receive(OK);
    const third = start();
    expect(third.info!.connection.transport).toBe(up.connector.transports[1]!);
  });

  test('max_connections: waiters queue, one connection is always allowed', () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, maxConnections: 1 };
    use({ thresholds: [thresholds, DEFAULT_THRESHOLDS] });
    const first = start();
    expect(cluster.stats.upstream_cx_overflow.value).toBe(0);
    const second = start();
    expect(up.connector.transports.length).toBe(1);
    expect(cluster.stats.upstream_cx_overflow.value).toBe(1);
    up.connector.last.open();
    up.connector.last.receive(OK);
    expect(first.log.at(-1)).toBe('data ok end');
    expect(second.log).toEqual(['ready']);
  });

  test('max_pending_requests', () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, maxPendingRequests: 1 };
    use({ thresholds: [thresholds, DEFAULT_THRESHOLDS] });
    start();
    const second = start();
    expect(second.log).toEqual([`failed ${PoolFailure.PendingOverflow}`]);
    expect(cluster.stats.upstream_rq_pending_overflow.value).toBe(1);
  });

  test('max_connection_pools', () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, maxConnectionPools: 1 };
    cluster = up.cluster({ thresholds: [thresholds, thresholds] });
    host = cluster.chooseHost(null)!;
    start();
    expect(cluster.httpPool(host, 1)).not.toBe(null); // another priority has breakers of its own
    expect(cluster.tcpPool(host, 0)).toBe(null);
    expect(cluster.stats.upstream_cx_pool_overflow.value).toBe(1);
  });

  test('max_requests_per_connection', () => {
    use({ maxRequestsPerConnection: 1 });
    start();
    up.connector.last.open();
    up.connector.last.receive(OK);
    expect(up.connector.last.end).toBe('closed');
    expect(cluster.stats.upstream_cx_max_requests.value).toBe(1);
    expectNothingLeft();
  });

  test('idle timeout', () => {
    use({ httpIdleTimeoutMs: 1000 });
    start();
    up.connector.last.open();
    up.loop.advance(1500); // busy: no timeout
    up.connector.last.receive(OK);
    up.loop.advance(999);
    expect(up.connector.last.end).toBe('open');
    up.loop.advance(2);
    expect(up.connector.last.end).toBe('closed');
    expect(cluster.stats.upstream_cx_idle_timeout.value).toBe(1);
    expectNothingLeft();
  });

  test('what an idle upstream may say', () => {
    for (const [bytes, errors] of [
      ['HTTP/1.1 200 OK\r\n', 1],
      ['HTTP/1.1 408 Request Timeout\r\n', 0],
    ] as const) {
      up = new FakeUpstream();
      use();
      start();
      up.connector.last.open();
      up.connector.last.receive(OK);
      up.connector.last.receive(bytes);
      expect(up.connector.last.end).toBe('closed');
      expect(cluster.stats.upstream_cx_protocol_error.value).toBe(errors);
      expectNothingLeft();
    }
  });

  test('FIN while idle', () => {
    use();
    start();
    up.connector.last.open();
    up.connector.last.receive(OK);
    up.connector.last.peerEnds();
    expect(cluster.stats.upstream_cx_destroy_remote.value).toBe(1);
    expect(cluster.stats.upstream_cx_destroy_with_active_rq.value).toBe(0);
    expectNothingLeft();
  });

  test('preconnecting', () => {
    use({ perUpstreamPreconnectRatio: 2 });
    start();
    expect(up.connector.transports.length).toBe(2);
  });

  test('closing the pool fails who waits', () => {
    use();
    const user = start();
    up.loop.turn(() => cluster.close());
    expect(user.log).toEqual([`failed ${PoolFailure.LocalConnectionFailure}`]);
    expectNothingLeft();
  });

  test('a removed host lets its streams end; a host that stays keeps its pool', () => {
    use();
    const user = start();
    up.connector.last.open();
    up.loop.turn(() =>
      cluster.applyHosts({
        cluster: 'up',
        priority: 0,
        hosts: [],
        localityWeights: [],
        overprovisioningFactor: 140,
        weightedPriorityHealth: false,
      }),
    );
    expect(cluster.chooseHost(null)).toBe(null);
    expect(cluster.stats.upstream_cx_none_healthy.value).toBe(1);
    expect(up.connector.last.end).toBe('open');
    up.connector.last.receive(OK);
    expect(user.log.at(-1)).toBe('data ok end');
    expect(up.connector.last.end).toBe('closed');
    expectNothingLeft();
  });
});
