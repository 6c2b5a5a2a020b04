import { beforeEach, describe, expect, test } from 'bun:test';
import { FakeLoop, FakeTransport } from '../../test/support/fake-transport.ts';
import { ByteBuffer } from '../base/byte-buffer.ts';
import { SharedCell } from '../base/shared-table.ts';
import { Counter } from '../stats/counter.ts';
import { Gauge } from '../stats/gauge.ts';
import { ipAddress } from './address.ts';
import { Admission, ConnectionCount, type ConnectionLimits, CountedLimits } from './connection-limits.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from './filter.ts';
import { SingleFilterChain } from './filter-chain-matcher.ts';
import { type ListenerChainConfig, ListenerRuntime, replay } from './listener-chain.ts';
import { ListenerDirectory } from './listener-directory.ts';
import type { SocketRuntime } from './transport.ts';

function getOrMake<V>(map: Map<string, V>, name: string, make: () => V): V {
  let value = map.get(name);
  if (value === undefined) {
    value = make();
    map.set(name, value);
  }
  return value;
}

class Scope {
  readonly counters = new Map<string, Counter>();
  readonly gauges = new Map<string, Gauge>();
  counter(name: string): Counter {
    return getOrMake(this.counters, name, () => new Counter());
  }
  gauge(name: string): Gauge {
    return getOrMake(this.gauges, name, () => new Gauge());
  }
  count(name: string): number {
    return this.counter(name).value;
  }
}

/** Waits for `want` bytes, or as scripted. */
class Peeker extends ListenerFilter {
  readonly maxPeekBytes: number;
  readonly seen: string[] = [];
  readonly decide: (socket: AcceptedSocket, data: ByteBuffer, end: boolean) => PeekStatus;

  constructor(maxPeekBytes: number, decide: (socket: AcceptedSocket, data: ByteBuffer, end: boolean) => PeekStatus) {
    super();
    this.maxPeekBytes = maxPeekBytes;
    this.decide = decide;
  }

  override onPeek(socket: AcceptedSocket, data: ByteBuffer, end: boolean): PeekStatus {
    this.seen.push(end ? `${data.latin1()}$` : data.latin1());
    return this.decide(socket, data, end);
  }
}

const UNLIMITED: ConnectionLimits = { admit: () => Admission.Admitted, release: () => {} };
const nowhere = { originalDestination: () => null } as unknown as SocketRuntime;

let loop: FakeLoop;
let scope: Scope;
let transport: FakeTransport;
let taken: { socket: AcceptedSocket; bytes: string; ended: boolean }[];
let dropped: string[];

function accept(
  filters: ListenerFilter[],
  change: Partial<ListenerChainConfig> = {},
  limits: ConnectionLimits = UNLIMITED,
) {
  const runtime = new ListenerRuntime(
    loop.dispatcher,
    nowhere,
    {
      filters: filters.map((filter) => ({ createFilter: () => filter })),
      timeoutMs: 15_000,
      continueOnTimeout: false,
      discovered: [],
      handOver: null,
      ...change,
    },
    limits,
    scope,
    {
      onConnection(_transport, socket, peeked, ended) {
        taken.push({ socket, bytes: peeked.latin1(), ended });
      },
      onDropped(reason) {
        dropped.push(reason);
      },
    },
  );
  transport = new FakeTransport(loop);
  loop.turn(() => runtime.onAccept(transport));
  return runtime;
}

beforeEach(() => {
  loop = new FakeLoop();
  scope = new Scope();
  taken = [];
  dropped = [];
});

const want = (size: number) => (_: AcceptedSocket, data: ByteBuffer) =>
  data.length >= size ? PeekStatus.Continue : PeekStatus.NeedMore;

describe('ListenerRuntime', () => {
  test('without filters the connection is there at once', () => {
    accept([]);
    expect(taken.length).toBe(1);
    expect(taken[0]!.socket.detectedTransportProtocol).toBe('raw_buffer');
    expect(taken[0]!.socket.remoteAddress).toBe(transport.remoteAddress);
    expect(scope.gauge('downstream_pre_cx_active').value).toBe(0);
  });

  test('filters see everything received so far, one after the other, byte by byte', () => {
    const first = new Peeker(100, want(2));
    const second = new Peeker(100, want(4));
    const runtime = accept([first, second]);
    expect(runtime.pendingCount).toBe(1);
    expect(scope.gauge('downstream_pre_cx_active').value).toBe(1);
    for (const byte of 'abcd') transport.receive(byte);
    expect(first.seen).toEqual(['a', 'ab']);
    expect(second.seen).toEqual(['ab', 'abc', 'abcd']);
    expect(taken.map((each) => each.bytes)).toEqual(['abcd']);
    expect(scope.gauge('downstream_pre_cx_active').value).toBe(0);
    loop.advance(60_000);
    expect(scope.count('downstream_pre_cx_timeout')).toBe(0);
  });

  test('a filter consumes its part and changes the facts', () => {
    const proxy = new Peeker(100, (socket, data) => {
      if (data.length < 3) return PeekStatus.NeedMore;
      data.drain(3);
      socket.requestedServerName = 'x.y';
      socket.detectedTransportProtocol = 'tls';
      return PeekStatus.Continue;
    });
    accept([proxy]);
    transport.receive('PRX');
    expect(taken[0]).toMatchObject({ bytes: '', ended: false });
    expect(taken[0]!.socket.requestedServerName).toBe('x.y');
    expect(taken[0]!.socket.detectedTransportProtocol).toBe('tls');
  });

  test('a filter that cannot tell within its bytes is passed', () => {
    const picky = new Peeker(4, () => PeekStatus.NeedMore);
    accept([picky]);
    transport.receive('abc');
    expect(taken).toEqual([]);
    transport.receive('d');
    expect(taken[0]!.bytes).toBe('abcd');
  });

  test('a filter refuses', () => {
    accept([new Peeker(10, () => PeekStatus.Close)]);
    transport.receive('x');
    expect(transport.end).toBe('reset');
    expect(dropped).toEqual(['filter']);
    expect(taken).toEqual([]);
  });

  test('filters that do not peek run at once', () => {
    class Marker extends ListenerFilter {
      readonly maxPeekBytes = 0;
      override onAccept(socket: AcceptedSocket): PeekStatus {
        socket.ja3 = 'marked';
        return PeekStatus.Continue;
      }
    }
    accept([new Marker()]);
    expect(taken[0]!.socket.ja3).toBe('marked');
  });

  test('the timeout closes, or lets pass when configured', () => {
    accept([new Peeker(10, want(10))]);
    transport.receive('abc');
    loop.advance(14_999);
    expect(dropped).toEqual([]);
    loop.advance(1);
    expect(dropped).toEqual(['timeout']);
    expect(transport.end).toBe('reset');
    expect(scope.count('downstream_pre_cx_timeout')).toBe(1);
    accept([new Peeker(10, want(10))], { continueOnTimeout: true, timeoutMs: 100 });
    transport.receive('abc');
    loop.advance(100);
    expect(taken.map((each) => each.bytes)).toEqual(['abc']);
    expect(scope.count('downstream_pre_cx_timeout')).toBe(2);
    expect(scope.gauge('downstream_pre_cx_active').value).toBe(0);
  });

  test('a timeout of zero waits for ever', () => {
    const runtime = accept([new Peeker(10, want(10))], { timeoutMs: 0 });
    loop.advance(10_000_000);
    expect(runtime.pendingCount).toBe(1);
    loop.turn(() => runtime.closePending());
    expect(dropped).toEqual(['listener_closed']);
    expect(runtime.pendingCount).toBe(0);
  });

  test('the peer ends without a byte, or before there are enough', () => {
    accept([new Peeker(10, want(10))]);
    transport.peerEnds();
    accept([new Peeker(10, want(10))]);
    transport.receive('abc');
    transport.peerEnds();
    expect(dropped).toEqual(['remote_close', 'remote_close']);
    expect(scope.count('downstream_listener_filter_remote_close')).toBe(2);
  });

  test('a filter decides at the end, and the connection learns of it', () => {
    accept([new Peeker(10, (_, __, end) => (end ? PeekStatus.Continue : PeekStatus.NeedMore))]);
    transport.receive('abc');
    transport.peerEnds();
    expect(taken[0]).toMatchObject({ bytes: 'abc', ended: true });
  });

  test('a reset while filters wait', () => {
    accept([new Peeker(10, want(10))]);
    transport.closes('ECONNRESET');
    expect(dropped).toEqual(['error']);
    expect(scope.count('downstream_listener_filter_error')).toBe(1);
    expect(scope.gauge('downstream_pre_cx_active').value).toBe(0);
  });

  test('a throwing filter costs its connection only', () => {
    const bugs: unknown[] = [];
    loop.dispatcher.onBug = (error) => bugs.push(error);
    accept([
      new Peeker(10, () => {
        throw new Error('oops');
      }),
    ]);
    transport.receive('x');
    expect(bugs.length).toBe(1);
    expect(dropped).toEqual(['error']);
    expect(transport.end).toBe('reset');
  });

  test('a peer that sends on is held back, and let go at the end', () => {
    accept([new Peeker(1_000_000, want(100_000))]);
    transport.receive('x'.repeat(70_000));
    expect(transport.paused).toBe(true);
    loop.advance(15_000);
    expect(dropped).toEqual(['timeout']);
    accept([new Peeker(1_000_000, want(100_000))], { continueOnTimeout: true });
    transport.receive('x'.repeat(70_000));
    loop.advance(15_000);
    expect(transport.paused).toBe(false);
    expect(taken[0]!.bytes.length).toBe(70_000);
  });

  test('limits: global before listener, each with its counter, paid back when dropped', () => {
    const listener = new ConnectionCount(SharedCell.private(), () => 1);
    const global = new ConnectionCount(SharedCell.private(), () => 2);
    const limits = new CountedLimits(listener, global);
    accept([], {}, limits);
    expect(taken.length).toBe(1);
    accept([], {}, limits);
    expect(scope.count('downstream_cx_overflow')).toBe(1);
    expect(transport.end).toBe('closed');
    expect(dropped).toEqual(['refused']);
    expect([listener.value, global.value]).toEqual([1, 1]);
    global.tryAdd();
    accept([], {}, limits);
    expect(scope.count('downstream_global_cx_overflow')).toBe(1);
    global.remove();
    limits.release();
    accept([new Peeker(10, want(10))], {}, limits);
    expect(listener.value).toBe(1);
    transport.closes('ECONNRESET');
    expect([listener.value, global.value]).toEqual([0, 0]);
  });

  test('replay gives bytes, then the end', () => {
    const heard: string[] = [];
    const handler = {
      onOpen: () => {},
      onDrain: () => {},
      onClosed: () => {},
      onBytes: (bytes: Buffer) => heard.push(bytes.toString()),
      onPeerEnd: () => heard.push('$'),
    };
    replay(handler, ByteBuffer.from('abc'), true);
    replay(handler, new ByteBuffer(), false);
    expect(heard).toEqual(['abc', '$']);
  });

  test('one chain matches everything', () => {
    accept([]);
    expect(new SingleFilterChain('only').findChain(taken[0]!.socket)).toBe('only');
    expect(new SingleFilterChain<string>(null).findChain(taken[0]!.socket)).toBeNull();
  });

  test('a connection whose receiver throws is closed', () => {
    const bugs: unknown[] = [];
    loop.dispatcher.onBug = (error) => bugs.push(error);
    const receiver = {
      onConnection(): void {
        throw new Error('oops');
      },
    };
    const config = { filters: [], discovered: [], timeoutMs: 0, continueOnTimeout: false, handOver: null };
    const runtime = new ListenerRuntime(loop.dispatcher, nowhere, config, UNLIMITED, scope, receiver);
    transport = new FakeTransport(loop);
    loop.turn(() => runtime.onAccept(transport));
    expect(transport.end).toBe('closed');
    expect(bugs.length).toBe(1);
  });
});

describe('handing over', () => {
  class Restoring extends ListenerFilter {
    readonly maxPeekBytes = 100;
    override onPeek(socket: AcceptedSocket): PeekStatus {
      socket.localAddress = ipAddress('10.1.1.1', 80);
      socket.localAddressRestored = true;
      socket.detectedTransportProtocol = 'tls';
      return PeekStatus.Continue;
    }
  }

  /** The second listener, with what it got. */
  function second(directory: ListenerDirectory, address = ipAddress('10.1.1.1', 80)): string[] {
    const got: string[] = [];
    const runtime = new ListenerRuntime(
      loop.dispatcher,
      nowhere,
      { filters: [], discovered: [], timeoutMs: 0, continueOnTimeout: false, handOver: directory },
      UNLIMITED,
      scope,
      {
        onConnection: (_transport, socket, peeked) =>
          got.push(`${socket.localAddress.text} ${socket.detectedTransportProtocol} ${peeked.latin1()}`),
      },
    );
    directory.add(address, runtime);
    return got;
  }

  test.each([
    ['the very address', ipAddress('10.1.1.1', 80)],
    ['all addresses with its port', ipAddress('0.0.0.0', 80)],
  ])('to the listener of %s, with what was read', (_name, address) => {
    const directory = new ListenerDirectory();
    const got = second(directory, address);
    accept([new Restoring()], { handOver: directory });
    transport.receive('hello');
    expect(got).toEqual(['10.1.1.1:80 tls hello']);
    expect(taken).toEqual([]);
  });

  test('it stays where no listener has the address', () => {
    const directory = new ListenerDirectory();
    const got = second(directory, ipAddress('10.1.1.1', 81));
    accept([new Restoring()], { handOver: directory });
    transport.receive('hello');
    expect([got.length, taken.length]).toEqual([0, 1]);
  });
});
