import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { FakeTransport } from '../../test/support/fake-transport.ts';
import { FakeUpstream } from '../../test/support/fake-upstream.ts';
import { dataFrame, goAway, headersFrame, rstStream, settings } from '../../test/support/http2-peer.ts';
import { PoolUser } from '../../test/support/pool-user.ts';
import { Protocol, ResetReason } from '../http/codec.ts';
import { http2Options } from '../http/h2/http2-options.ts';
import type { TransportSecurity } from '../net/transport.ts';
import { NO_SOCKET_OPTIONS } from '../net/transport-socket.ts';
import { DEFAULT_THRESHOLDS } from './circuit-breaker.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterSpec } from './cluster-spec.ts';
import type { Host } from './host.ts';
import { PoolFailure } from './pool.ts';
import { ProtocolChoice } from './upstream-protocol.ts';

/** Asks for another stream inside of the event that ends its own. */
class AskingAgain extends PoolUser {
  readonly #next: PoolUser;

  constructor(next: PoolUser) {
    super();
    this.#next = next;
  }

  override onStreamReset(reason: ResetReason): void {
    super.onStreamReset(reason);
    start(this.#next);
  }
}

/** What an upstream of one protocol writes. `n` counts a connection's requests from 0. */
interface Wire {
  readonly name: string;
  readonly fields: Partial<ClusterSpec>;
  /** Sets a fresh transport up. */
  prepare(transport: FakeTransport): void;
  readonly hello: string;
  head(n: number): string;
  body(n: number, text: string, end: boolean): string;
  readonly rubbish: string;
  readonly protocol: Protocol;
}

const latin1 = (bytes: Buffer): string => bytes.latin1Slice();

const HTTP1: Omit<Wire, 'name' | 'fields' | 'prepare'> = {
  hello: '',
  head: () => 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n',
  body: (_n, text) => text,
  rubbish: 'rubbish\r\n\r\n',
  protocol: Protocol.Http11,
};
const HTTP2: Omit<Wire, 'name' | 'fields' | 'prepare'> = {
  hello: latin1(settings()),
  head: (n) => latin1(headersFrame(n * 2 + 1, [':status: 200'], false)),
  body: (n, text, end) => latin1(dataFrame(n * 2 + 1, text, end)),
  rubbish: 'rubbish rubbish rubbish',
  protocol: Protocol.Http2,
};
const alpn = (protocol: string) => (transport: FakeTransport) => {
  transport.security = { alpn: protocol } as TransportSecurity;
};

const wires: readonly Wire[] = [
  { ...HTTP1, name: 'HTTP/1', fields: {}, prepare: () => {} },
  { ...HTTP2, name: 'HTTP/2', fields: { protocol: ProtocolChoice.Http2 }, prepare: () => {} },
  { ...HTTP1, name: 'ALPN, none', fields: { protocol: ProtocolChoice.Auto }, prepare: () => {} },
  { ...HTTP1, name: 'ALPN, http/1.1', fields: { protocol: ProtocolChoice.Auto }, prepare: alpn('http/1.1') },
  { ...HTTP2, name: 'ALPN, h2', fields: { protocol: ProtocolChoice.Auto }, prepare: alpn('h2') },
];

let up: FakeUpstream;
let cluster: Cluster;
let host: Host;
beforeEach(() => {
  up = new FakeUpstream();
});

function use(fields: Partial<ClusterSpec>): void {
  cluster = up.cluster(fields);
  host = cluster.chooseHost(null)!;
}

function start(user = new PoolUser(), downstream: Protocol | null = null): PoolUser {
  up.loop.turn(() => {
    user.pending = cluster.httpPool(host, 0, downstream)!.newStream(user, user);
  });
  return user;
}

/** Every case ends so: closing leaves nothing counted. */
afterEach(() => {
  up.loop.turn(() => cluster.close());
  const { stats } = cluster;
  const gauges = [stats.upstream_cx_active, stats.upstream_rq_active, stats.upstream_rq_pending_active];
  expect(gauges.map((gauge) => gauge.value)).toEqual([0, 0, 0]);
  const { connections, pendingRequests, requests, connectionPools } = cluster.resources(0);
  expect([connections.count, pendingRequests.count, requests.count, connectionPools.count]).toEqual([0, 0, 0, 0]);
  expect([host.stats.cxActive, host.stats.rqActive, host.stats.rqPendingActive]).toEqual([0, 0, 0]);
});

for (const wire of wires) {
  const open = (transport = up.connector.last): void => {
    wire.prepare(transport);
    transport.open();
    if (wire.hello !== '') transport.receive(wire.hello);
  };
  const answer = (n: number, transport = up.connector.last): void => {
    transport.receive(wire.head(n) + wire.body(n, 'okay', true));
  };

  describe(`pool contract: ${wire.name}`, () => {
    for (const warm of [false, true]) {
      /** A stream that is ready, by a new connection or by one that waited. */
      const begin = (fields: Partial<ClusterSpec> = {}, user = new PoolUser()): PoolUser => {
        use({ ...wire.fields, ...fields });
        if (warm) {
          const first = start();
          open();
          answer(0);
          expect(first.log).toEqual(['ready', 'headers 200', 'data okay end']);
        }
        start(user);
        if (!warm) {
          expect(user.log).toEqual([]);
          open();
        }
        expect(user.log).toEqual(['ready']);
        expect(user.info!.priorStreams).toBe(warm ? 1 : 0);
        expect(user.info!.protocol).toBe(wire.protocol);
        return user;
      };
      const n = warm ? 1 : 0;
      const when = warm ? 'at once' : 'later';

      test(`${when}: a whole response`, () => {
        const user = begin();
        answer(n);
        expect(user.log).toEqual(['ready', 'headers 200', 'data okay end']);
        expect(up.connector.transports.length).toBe(1);
        expect(up.connector.last.end).toBe('open');
        expect(cluster.stats.upstream_rq_total.value).toBe(n + 1);
      });

      test(`${when}: the response byte by byte`, () => {
        const user = begin();
        for (const byte of wire.head(n) + wire.body(n, 'okay', true)) up.connector.last.receive(byte);
        expect(user.log.filter((line) => line.startsWith('headers'))).toEqual(['headers 200']);
        expect(user.log.at(-1)).toMatch(/ end$/);
      });

      test(`${when}: the user resets`, () => {
        const user = begin();
        up.loop.turn(() => user.encoder!.stream.reset(ResetReason.LocalReset));
        expect(user.log).toEqual(['ready']);
        expect(cluster.stats.upstream_rq_active.value).toBe(0);
        // A second reset, and late calls, do nothing.
        up.loop.turn(() => user.encoder!.stream.reset(ResetReason.LocalReset));
      });

      test(`${when}: the upstream resets the connection`, () => {
        const user = begin();
        up.connector.last.closes('ECONNRESET');
        expect(user.log).toEqual(['ready', `reset ${ResetReason.ConnectionTermination}`]);
      });

      test(`${when}: rubbish`, () => {
        const user = begin();
        up.connector.last.receive(wire.rubbish);
        expect(user.log).toEqual(['ready', `reset ${ResetReason.ProtocolError}`]);
        expect(up.connector.last.end).toBe('closed');
        expect(cluster.stats.upstream_cx_protocol_error.value).toBe(1);
      });

      for (const fate of ['a reset', 'rubbish', 'the end'] as const) {
        test(`${when}: who hears of ${fate} asks again at once, and gets another connection`, () => {
          const again = new PoolUser();
          const user = begin({}, new AskingAgain(again));
          const first = up.connector.last;
          if (fate === 'a reset') first.closes('ECONNRESET');
          else if (fate === 'rubbish') first.receive(wire.rubbish);
          else first.peerEnds();
          expect(user.log.at(-1)).toMatch(/^reset/);
          expect(again.log).toEqual([]);
          expect(up.connector.transports.length).toBe(2);
          open();
          answer(0);
          expect(again.log).toEqual(['ready', 'headers 200', 'data okay end']);
        });
      }

      test(`${when}: drained with a stream, which ends`, () => {
        const user = begin();
        up.loop.turn(() => cluster.httpPool(host, 0)!.drain());
        expect(up.connector.last.end).toBe('open');
        answer(n);
        expect(user.log.at(-1)).toBe('data okay end');
        expect(up.connector.last.end).toBe('closed');
      });

      test(`${when}: the last request that the connection may carry`, () => {
        const user = begin({ maxRequestsPerConnection: n + 1 });
        answer(n);
        expect(user.log.at(-1)).toBe('data okay end');
        expect(up.connector.last.end).toBe('closed');
        expect(cluster.stats.upstream_cx_max_requests.value).toBe(1);
      });

      test(`${when}: idle for too long`, () => {
        begin({ httpIdleTimeoutMs: 1000 });
        up.loop.advance(2000);
        expect(up.connector.last.end).toBe('open');
        answer(n);
        up.loop.advance(2000);
        expect(up.connector.last.end).toBe('closed');
        expect(cluster.stats.upstream_cx_idle_timeout.value).toBe(1);
      });

      test(`${when}: the connection's time is up`, () => {
        const user = begin({ maxConnectionDurationMs: 1000 });
        up.loop.advance(2000);
        expect(up.connector.last.end).toBe('open');
        answer(n);
        expect(user.log.at(-1)).toBe('data okay end');
        expect(up.connector.last.end).toBe('closed');
      });
    }

    test('a connect failure', () => {
      use(wire.fields);
      const user = start();
      up.connector.last.closes('ECONNREFUSED', 'why');
      expect(user.log).toEqual([`failed ${PoolFailure.RemoteConnectionFailure} why`]);
    });

    test('a connect timeout', () => {
      use({ ...wire.fields, connectTimeoutMs: 100 });
      const user = start();
      up.loop.advance(200);
      expect(user.log).toEqual([`failed ${PoolFailure.Timeout}`]);
    });

    test('no socket', () => {
      use(wire.fields);
      up.connector.broken = true;
      expect(start().log).toEqual([`failed ${PoolFailure.LocalConnectionFailure}`]);
    });

    test('no socket any more for those who wait', () => {
      use({ ...wire.fields, thresholds: [{ ...DEFAULT_THRESHOLDS, maxConnections: 1 }, DEFAULT_THRESHOLDS] });
      const busy = start(new PoolUser());
      open();
      expect(busy.log).toEqual(['ready']);
      // The peer allows one stream at a time.
      if (wire.protocol === Protocol.Http2) up.connector.last.receive(latin1(settings([3, 1])));
      const waiting = start();
      expect(waiting.log).toEqual([]);
      up.connector.broken = true;
      up.connector.last.closes('ECONNRESET');
      expect(waiting.log).toEqual([`failed ${PoolFailure.LocalConnectionFailure}`]);
    });

    test('cancelled while it waits', () => {
      use(wire.fields);
      const user = start();
      up.loop.turn(() => user.pending!.cancel());
      open();
      expect(user.log).toEqual([]);
      expect(cluster.stats.upstream_rq_cancelled.value).toBe(1);
    });

    test('closed while it waits', () => {
      use(wire.fields);
      const user = start();
      up.loop.turn(() => cluster.httpPool(host, 0)!.close());
      expect(user.log.length).toBe(1);
      expect(user.log[0]).toStartWith('failed');
    });

    test('the breaker for requests', () => {
      use({ ...wire.fields, thresholds: [{ ...DEFAULT_THRESHOLDS, maxRequests: 0 }, DEFAULT_THRESHOLDS] });
      const user = start();
      open();
      expect(user.log).toEqual([`failed ${PoolFailure.Overflow}`]);
    });

    test('the breaker for waiters', () => {
      use({ ...wire.fields, thresholds: [{ ...DEFAULT_THRESHOLDS, maxPendingRequests: 0 }, DEFAULT_THRESHOLDS] });
      expect(start().log).toEqual([`failed ${PoolFailure.PendingOverflow}`]);
    });
  });
}

describe('HTTP/2 pool', () => {
  const receive = (...frames: Buffer[]): void => up.connector.last.receive(frames.map(latin1).join(''));

  function two(fields: Partial<ClusterSpec> = {}): [PoolUser, PoolUser] {
    use({ protocol: ProtocolChoice.Http2, ...fields });
    const users: [PoolUser, PoolUser] = [start(), start()];
    up.connector.last.open();
    receive(settings());
    return users;
  }

  test('streams share a connection and end in any order', () => {
    const [one, other] = two();
    expect(up.connector.transports.length).toBe(1);
    receive(headersFrame(3, [':status: 201'], true), headersFrame(1, [':status: 200'], true));
    expect([one.log, other.log]).toEqual([
      ['ready', 'headers 200 end'],
      ['ready', 'headers 201 end'],
    ]);
    expect(cluster.stats.upstream_cx_http2_total.value).toBe(1);
  });

  test('the configured number of streams', () => {
    two({ http2: http2Options({ maxConcurrentStreams: 1 }) });
    expect(up.connector.transports.length).toBe(2);
  });

  test('a peer that allows fewer streams, then more', () => {
    use({ protocol: ProtocolChoice.Http2 });
    const one = start();
    up.connector.last.open();
    receive(settings([3, 1]));
    const other = start();
    expect(one.log).toEqual(['ready']);
    expect(other.log).toEqual([]);
    expect(up.connector.transports.length).toBe(2);
    up.connector.transports[0]!.receive(latin1(settings([3, 5])));
    expect(other.log).toEqual(['ready']);
    expect(other.info!.connection.transport).toBe(up.connector.transports[0]!);
  });

  test('GOAWAY: streams above its last are refused, the others go on, then it closes', () => {
    const [one, other] = two();
    receive(goAway(1, 0));
    expect(other.log).toEqual(['ready', `reset ${ResetReason.RemoteRefusedStreamReset}`]);
    const third = start();
    expect(up.connector.transports.length).toBe(2);
    expect(third.log).toEqual([]);
    const first = up.connector.transports[0]!;
    first.receive(latin1(headersFrame(1, [':status: 200'], true)));
    expect(one.log).toEqual(['ready', 'headers 200 end']);
    expect(first.end).toBe('closed');
    expect(cluster.stats.upstream_cx_close_notify.value).toBe(1);
  });

  test('GOAWAY: who is refused asks again at once, and gets another connection', () => {
    use({ protocol: ProtocolChoice.Http2 });
    const again = new PoolUser();
    const one = start();
    const other = start(new AskingAgain(again));
    up.connector.last.open();
    receive(settings());
    receive(goAway(1, 0));
    expect(other.log).toEqual(['ready', `reset ${ResetReason.RemoteRefusedStreamReset}`]);
    expect(again.log).toEqual([]);
    expect(up.connector.transports.length).toBe(2);
    up.connector.transports[0]!.receive(latin1(headersFrame(1, [':status: 200'], true)));
    expect(one.log).toEqual(['ready', 'headers 200 end']);
  });

  test('GOAWAY on an idle connection', () => {
    const [one] = two();
    receive(headersFrame(1, [':status: 200'], true), headersFrame(3, [':status: 200'], true));
    expect(one.log.at(-1)).toBe('headers 200 end');
    receive(goAway(3, 0));
    expect(up.connector.last.end).toBe('closed');
    expect(cluster.stats.upstream_cx_protocol_error.value).toBe(0);
  });

  test.each([
    [7, ResetReason.RemoteRefusedStreamReset, 0],
    [8, ResetReason.RemoteReset, 1],
    [10, ResetReason.ConnectError, 0],
  ])('RST_STREAM %d ends one stream alone', (code, reason, counted) => {
    const [one, other] = two();
    receive(rstStream(1, code));
    expect(one.log).toEqual(['ready', `reset ${reason}`]);
    expect(cluster.stats.upstream_rq_rx_reset.value).toBe(counted);
    receive(headersFrame(3, [':status: 200'], true));
    expect(other.log).toEqual(['ready', 'headers 200 end']);
    expect(up.connector.last.end).toBe('open');
  });

  test('a response in front of the whole request: the rest is reset', () => {
    use({ protocol: ProtocolChoice.Http2 });
    const user = new PoolUser();
    user.request = 'open';
    start(user);
    up.connector.last.open();
    receive(settings(), headersFrame(1, [':status: 200'], true));
    expect(user.log).toEqual(['ready', 'headers 200 end']);
    expect(cluster.stats.upstream_rq_active.value).toBe(1);
    up.loop.turn(() => user.encoder!.stream.reset(ResetReason.LocalReset));
    expect(cluster.stats.upstream_rq_active.value).toBe(0);
    expect(cluster.stats.upstream_rq_tx_reset.value).toBe(1);
    expect(up.connector.last.end).toBe('open');
  });

  test('pauses that a user leaves behind do not hold the connection', () => {
    const [one, other] = two();
    one.encoder!.stream.pauseReads();
    up.loop.turn(() => one.encoder!.stream.reset(ResetReason.LocalReset));
    receive(headersFrame(3, [':status: 200'], false), dataFrame(3, 'x', true));
    expect(other.log.at(-1)).toBe('data x end');
    expect(up.connector.last.paused).toBe(false);
  });

  test('no answer to PING', () => {
    use({
      protocol: ProtocolChoice.Http2,
      http2: http2Options({ keepaliveIntervalMs: 1000, keepaliveTimeoutMs: 100, keepaliveJitterPercent: 0 }),
    });
    const user = start();
    up.connector.last.open();
    receive(settings());
    up.loop.advance(1001);
    up.loop.advance(101);
    up.loop.advance(1);
    expect(user.log).toEqual(['ready', `reset ${ResetReason.ConnectionTermination}`]);
    expect(up.connector.last.end).toBe('closed');
    expect(cluster.stats.upstream_cx_protocol_error.value).toBe(0);
  });
});

describe('which pool', () => {
  test('the protocol of the downstream', () => {
    use({ protocol: ProtocolChoice.Downstream });
    const one = start(new PoolUser(), Protocol.Http11);
    const two = start(new PoolUser(), Protocol.Http2);
    for (const transport of up.connector.transports) transport.open();
    expect([one.info!.protocol, two.info!.protocol]).toEqual([Protocol.Http11, Protocol.Http2]);
  });

  test('requests with other socket options have connections of their own, which leave no pool behind', () => {
    use({});
    start();
    const user = new PoolUser();
    const options = { ...NO_SOCKET_OPTIONS, serverName: 'x', key: 'x' };
    up.loop.turn(() => cluster.httpPool(host, 0, null, options)!.newStream(user, user));
    expect(up.connector.transports.length).toBe(2);
    expect(host.keyedPools!.size).toBe(1);
    up.connector.last.closes('ECONNREFUSED');
    expect(host.keyedPools!.size).toBe(0);
  });

  test('connection_pool_per_downstream_connection', () => {
    use({ connectionPoolPerDownstreamConnection: true });
    const connection = (id: number) => ({ id }) as never;
    for (const id of [1, 2, 1]) {
      const user = new PoolUser();
      up.loop.turn(() => cluster.httpPool(host, 0, null, NO_SOCKET_OPTIONS, connection(id))!.newStream(user, user));
    }
    expect(host.keyedPools!.size).toBe(2);
  });
});
