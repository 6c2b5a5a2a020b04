import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../base/clock.ts';
import { SystemRandom } from '../base/random.ts';
import { type Address, ipAddress, pipeAddress } from './address.ts';
import { Dispatcher } from './dispatcher.ts';
import type {
  ConnectSpec,
  ListeningSocket,
  ListenSpec,
  SocketRuntime,
  Transport,
  TransportError,
  TransportHandler,
} from './transport.ts';

/** The part of a test runner that the suite needs, so that it runs under bun:test and node:test alike. */
export type RegisterTest = (name: string, body: () => Promise<void>) => void;

/** What an implementation is known not to do, each with its reason in the implementation's documentation. */
export interface ContractGaps {
  /** A reset is noticed only once reading resumes. */
  readonly resetUnseenWhilePaused?: boolean;
  /** The peer sees a reset as the end. */
  readonly resetIsEnd?: boolean;
  /** The local address of an outgoing connection cannot be chosen, or its failure is not told apart. */
  readonly bindErrorNotLocal?: boolean;
  /** A failed listen throws, but its code is a guess. */
  readonly listenErrorsAlike?: boolean;
}

/** Notes what it hears; the test awaits it. */
export class Peer implements TransportHandler {
  readonly dispatcher: Dispatcher;
  readonly events: string[] = [];
  readonly chunks: Buffer[] = [];
  received = 0;
  error: TransportError | null = null;
  transport!: Transport;
  onData: (() => void) | null = null;
  #waiting: { done: () => boolean; resolve: () => void }[] = [];

  constructor(dispatcher: Dispatcher) {
    this.dispatcher = dispatcher;
  }

  #note(event: string): void {
    assert.ok(this.dispatcher.isInTurn, `${event} outside of a turn`);
    assert.ok(!this.events.includes('closed'), `${event} after the last call`);
    this.events.push(event);
    this.#wake();
  }

  #wake(): void {
    this.#waiting = this.#waiting.filter((wait) => {
      if (!wait.done()) return true;
      wait.resolve();
      return false;
    });
  }

  until(done: () => boolean, what: string): Promise<void> {
    if (done()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what}; heard: ${this.events.join(' ')}`)), 4000);
      this.#waiting.push({
        done,
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
  }

  hears(event: string): Promise<void> {
    return this.until(() => this.events.includes(event), `never heard ${event}`);
  }

  gets(bytes: number): Promise<void> {
    return this.until(() => this.received >= bytes, `never got ${bytes} bytes`);
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString('latin1');
  }

  send(text: string): void {
    const bytes = Buffer.from(text, 'latin1');
    assert.equal(this.transport.write(bytes, 0, bytes.length), bytes.length);
  }

  onOpen(): void {
    this.#note('open');
  }
  onBytes(bytes: Buffer): void {
    assert.ok(!this.events.includes('end'), 'bytes after the end');
    this.chunks.push(bytes);
    this.received += bytes.length;
    if (this.events.at(-1) !== 'bytes') this.#note('bytes');
    else this.#wake();
    this.onData?.();
  }
  onDrain(): void {
    this.#note('drain');
  }
  onPeerEnd(): void {
    this.#note('end');
  }
  onClosed(error: TransportError | null): void {
    this.error = error;
    this.#note('closed');
  }
}

/** Connections that a listener has accepted, in order, for whoever waits for the next one. */
export class AcceptedPeers {
  readonly #ready: Peer[] = [];
  readonly #wanted: ((peer: Peer) => void)[] = [];

  add(peer: Peer): void {
    const wanted = this.#wanted.shift();
    if (wanted !== undefined) wanted(peer);
    else this.#ready.push(peer);
  }

  next(): Promise<Peer> {
    const ready = this.#ready.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nothing was accepted')), 4000);
      this.#wanted.push((peer) => {
        clearTimeout(timer);
        resolve(peer);
      });
    });
  }
}

export const PLAIN: Omit<ListenSpec, 'address'> = {
  reusePort: false,
  backlog: 0,
  ipv6Only: true,
  transparent: false,
  freebind: false,
  socketOptions: [],
};

export function connectTo(address: Address, bindAddress: Address | null = null): ConnectSpec {
  return { address, bindAddress, socketOptions: [] };
}

/** One implementation under test, with what one test opens. */
class Bench {
  readonly dispatcher: Dispatcher;
  readonly runtime: SocketRuntime;
  readonly listeners: ListeningSocket[] = [];
  readonly peers: Peer[] = [];
  readonly bugs: unknown[] = [];
  readonly #accepted = new AcceptedPeers();

  constructor(make: (dispatcher: Dispatcher) => SocketRuntime) {
    this.dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
    this.dispatcher.onBug = (error) => {
      this.bugs.push(error);
    };
    this.runtime = make(this.dispatcher);
  }

  listen(address: Address, change: Partial<ListenSpec> = {}): ListeningSocket {
    const listener = this.runtime.listen(
      { ...PLAIN, address, ...change },
      {
        onAccept: (transport) => {
          assert.ok(this.dispatcher.isInTurn, 'onAccept outside of a turn');
          const peer = new Peer(this.dispatcher);
          peer.transport = transport;
          transport.setHandler(peer);
          this.peers.push(peer);
          this.#accepted.add(peer);
        },
      },
    );
    this.listeners.push(listener);
    return listener;
  }

  accepted(): Promise<Peer> {
    return this.#accepted.next();
  }

  dial(spec: ConnectSpec): Peer {
    const peer = new Peer(this.dispatcher);
    this.peers.push(peer);
    peer.transport = this.runtime.connect(spec, peer);
    assert.deepEqual(peer.events, [], 'connect called back before it returned');
    return peer;
  }

  async pair(address: Address = ipAddress('127.0.0.1', 0)): Promise<{ client: Peer; server: Peer }> {
    const listener = this.listen(address);
    const client = this.dial(connectTo(listener.address));
    await client.hears('open');
    return { client, server: await this.accepted() };
  }

  dispose(): void {
    for (const listener of this.listeners) listener.close();
    for (const peer of this.peers) peer.transport?.reset();
    assert.deepEqual(this.bugs.map(String), []);
  }
}

export const nextTurn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/** What every implementation of the seam must do, on real sockets. */
export function transportContract(
  test: RegisterTest,
  make: (dispatcher: Dispatcher) => SocketRuntime,
  gaps: ContractGaps = {},
): void {
  function check(name: string, body: (bench: Bench) => Promise<void>): void {
    test(name, async () => {
      const bench = new Bench(make);
      try {
        await body(bench);
      } finally {
        bench.dispose();
      }
    });
  }

  check('both ends know both addresses', async (bench) => {
    const { client, server } = await bench.pair();
    const listening = bench.listeners[0]!.address;
    assert.ok(listening.kind === 'ip' && listening.port > 0);
    assert.equal(client.transport.remoteAddress.text, listening.text);
    assert.equal(server.transport.localAddress.text, listening.text);
    assert.equal(server.transport.remoteAddress.text, client.transport.localAddress.text);
    assert.ok(!server.events.includes('open'), 'accepted sockets start open');
  });

  check('a wildcard listener reports the address that was connected to', async (bench) => {
    const listener = bench.listen(ipAddress('0.0.0.0', 0));
    assert.ok(listener.address.kind === 'ip');
    bench.dial(connectTo(ipAddress('127.0.0.5', listener.address.port)));
    const server = await bench.accepted();
    assert.equal(server.transport.localAddress.text, `127.0.0.5:${listener.address.port}`);
  });

  check('bytes arrive both ways, and stay as they were', async (bench) => {
    const { client, server } = await bench.pair();
    for (let i = 0; i < 100; i++) {
      const bytes = Buffer.alloc(1000, i);
      assert.equal(client.transport.write(bytes, 0, bytes.length), 1000);
      // What was taken is no longer the caller's concern, nor may what comes later overwrite what the receiver owns.
      bytes.fill(255);
      await nextTurn();
    }
    server.send('answer');
    await server.gets(100_000);
    await client.gets(6);
    assert.equal(client.text, 'answer');
    const all = Buffer.concat(server.chunks);
    for (let i = 0; i < all.length; i++) assert.equal(all[i], Math.floor(i / 1000), `byte ${i}`);
  });

  check('write sends the range that is given', async (bench) => {
    const { client, server } = await bench.pair();
    assert.equal(client.transport.write(Buffer.from('..abc..'), 2, 5), 3);
    await server.gets(3);
    assert.equal(server.text, 'abc');
  });

  check('a paused reader stops the sender; one drain follows each short write', async (bench) => {
    const { client, server } = await bench.pair();
    server.transport.pause();
    const block = Buffer.alloc(256 * 1024, 'x');
    const drains = () => client.events.filter((event) => event === 'drain').length;
    let taken = 0;
    let shortWrites = 0;
    // The kernel's buffers grow for a while: the sender is stopped once no drain comes any more.
    for (let wasDrained = true; wasDrained; ) {
      for (;;) {
        const count = client.transport.write(block, 0, block.length);
        assert.ok(count >= 0);
        taken += count;
        assert.ok(taken < 64 * 1024 * 1024, 'the sender is never stopped');
        if (count < block.length) break;
      }
      shortWrites++;
      await new Promise((resolve) => setTimeout(resolve, 60));
      assert.ok(drains() <= shortWrites, 'a drain that nobody waited for');
      wasDrained = drains() === shortWrites;
    }
    assert.equal(server.received, 0, 'a paused reader got bytes');
    server.transport.resume();
    await client.until(() => drains() === shortWrites, 'no drain');
    await server.gets(taken);
    await nextTurn();
    assert.equal(server.received, taken);
    assert.equal(drains(), shortWrites);
  });

  check('pause inside onBytes keeps the rest back', async (bench) => {
    const { client, server } = await bench.pair();
    let calls = 0;
    server.onData = () => {
      if (calls++ === 0) server.transport.pause();
    };
    client.send('first');
    await server.gets(5);
    client.send('second');
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(server.text, 'first');
    server.transport.resume();
    await server.gets(11);
    assert.equal(server.text, 'firstsecond');
  });

  check('half-close: the client ends first', async (bench) => {
    const { client, server } = await bench.pair();
    client.send('question');
    client.transport.endWrites();
    await server.hears('end');
    assert.equal(server.text, 'question');
    await nextTurn();
    assert.ok(!server.events.includes('closed'));
    server.send('late answer');
    server.transport.endWrites();
    await Promise.all([client.hears('closed'), server.hears('closed')]);
    assert.equal(client.text, 'late answer');
    assert.deepEqual(client.events, ['open', 'bytes', 'end', 'closed']);
    assert.equal(client.error, null);
    assert.equal(server.error, null);
  });

  check('half-close: the server ends first', async (bench) => {
    const { client, server } = await bench.pair();
    server.transport.endWrites();
    await client.hears('end');
    client.send('still going');
    await server.gets(11);
    client.transport.endWrites();
    await Promise.all([client.hears('closed'), server.hears('closed')]);
    assert.deepEqual(server.events, ['bytes', 'end', 'closed']);
    assert.equal(server.error, null);
  });

  check('both end at once', async (bench) => {
    const { client, server } = await bench.pair();
    client.transport.endWrites();
    server.transport.endWrites();
    await Promise.all([client.hears('closed'), server.hears('closed')]);
    for (const peer of [client, server]) {
      assert.ok(peer.events.includes('end'));
      assert.equal(peer.error, null);
    }
  });

  check('no drain is heard that no short write asked for', async (bench) => {
    const { client, server } = await bench.pair();
    for (const peer of [client, server]) {
      peer.send('x');
      peer.transport.pause();
      await nextTurn();
      peer.transport.resume();
    }
    await Promise.all([client.gets(1), server.gets(1)]);
    await nextTurn();
    assert.deepEqual(client.events, ['open', 'bytes']);
    assert.deepEqual(server.events, ['bytes']);
  });

  check('a FIN behind bytes for a paused reader comes after them', async (bench) => {
    const { client, server } = await bench.pair();
    server.transport.pause();
    client.send('x'.repeat(1000));
    client.transport.endWrites();
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.ok(!server.events.includes('end'), 'the end overtook the bytes');
    server.transport.resume();
    await server.hears('end');
    assert.equal(server.received, 1000);
  });

  check('close ends both directions without waiting for the peer, after sending what was taken', async (bench) => {
    const { client, server } = await bench.pair();
    server.send('last words');
    server.transport.close();
    assert.ok(!server.events.includes('closed'), 'closed came before close returned');
    await server.hears('closed');
    assert.equal(server.error, null);
    await client.hears('end');
    assert.equal(client.text, 'last words');
    assert.equal(server.transport.write(Buffer.from('x'), 0, 1), -1);
    client.transport.close();
    await client.hears('closed');
    assert.equal(client.error, null);
  });

  check('nothing is heard between close and closed', async (bench) => {
    const { client, server } = await bench.pair();
    client.send('unseen');
    server.transport.close();
    await server.hears('closed');
    assert.deepEqual(server.events, ['closed']);
  });

  check('close, reset and endWrites again are harmless', async (bench) => {
    const { client, server } = await bench.pair();
    server.transport.endWrites();
    server.transport.endWrites();
    server.transport.close();
    server.transport.close();
    server.transport.reset();
    server.transport.pause();
    server.transport.resume();
    await server.hears('closed');
    server.transport.close();
    server.transport.endWrites();
    await client.hears('end');
  });

  check('reset reaches the peer as ECONNRESET', async (bench) => {
    const { client, server } = await bench.pair();
    server.transport.reset();
    assert.ok(!server.events.includes('closed'), 'closed came before reset returned');
    await server.hears('closed');
    if (gaps.resetIsEnd === true) {
      await client.until(() => client.events.includes('end') || client.events.includes('closed'), 'no end');
      return;
    }
    await client.hears('closed');
    assert.equal(server.error, null);
    assert.equal(client.error?.code, 'ECONNRESET');
    assert.ok(!client.events.includes('end'));
    assert.equal(client.transport.write(Buffer.from('x'), 0, 1), -1);
  });

  check('reset while the peer is paused', async (bench) => {
    const { client, server } = await bench.pair();
    client.transport.pause();
    await nextTurn();
    server.transport.reset();
    if (gaps.resetUnseenWhilePaused === true) {
      await server.hears('closed');
      client.transport.resume();
    }
    if (gaps.resetIsEnd === true) {
      await client.until(() => client.events.includes('end') || client.events.includes('closed'), 'no end');
      return;
    }
    await client.hears('closed');
    assert.equal(client.error?.code, 'ECONNRESET');
  });

  for (const first of ['pause', 'write']) {
    check(`a paused reader learns by writing that its peer is gone, ${first} first`, async (bench) => {
      const { client, server } = await bench.pair();
      if (first === 'pause') server.transport.pause();
      client.transport.close();
      await client.hears('closed');
      // The first bytes are answered by RST.
      const bytes = Buffer.alloc(1024);
      for (let i = 0; i < 100 && server.transport.write(bytes, 0, 1024) === 1024; i++);
      server.transport.pause();
      if (gaps.resetUnseenWhilePaused === true) server.transport.resume();
      await server.hears('closed');
    });
  }

  check('a refused connect', async (bench) => {
    const listener = bench.listen(ipAddress('127.0.0.1', 0));
    listener.close();
    await nextTurn();
    const client = bench.dial(connectTo(listener.address));
    await client.hears('closed');
    assert.deepEqual(client.events, ['closed']);
    assert.equal(client.error?.code, 'ECONNREFUSED');
    assert.equal(client.error?.message, 'delayed connect error: Connection refused');
    assert.notEqual(client.error?.local, true);
  });

  check('a pipe that is not there', async (bench) => {
    const client = bench.dial(connectTo(pipeAddress('/nonexistent/nuncio.sock')));
    await client.hears('closed');
    assert.deepEqual(client.events, ['closed']);
    assert.equal(client.error?.code, 'ENOENT');
  });

  check('close while connecting', async (bench) => {
    const listener = bench.listen(ipAddress('127.0.0.1', 0));
    for (const how of ['close', 'reset'] as const) {
      const client = bench.dial(connectTo(listener.address));
      client.transport[how]();
      assert.deepEqual(client.events, []);
      await client.hears('closed');
      assert.deepEqual(client.events, ['closed']);
      assert.equal(client.error, null);
    }
  });

  check('the local address of an outgoing connection', async (bench) => {
    const listener = bench.listen(ipAddress('127.0.0.1', 0));
    const client = bench.dial(connectTo(listener.address, ipAddress('127.0.0.9', 0)));
    await client.hears('open');
    const server = await bench.accepted();
    assert.ok(server.transport.remoteAddress.kind === 'ip');
    assert.equal(server.transport.remoteAddress.ip, '127.0.0.9');
    const failing = bench.dial(connectTo(listener.address, ipAddress('203.0.113.77', 0)));
    await failing.hears('closed');
    assert.notEqual(failing.error, null);
    if (gaps.bindErrorNotLocal === true) return;
    assert.equal(failing.error?.code, 'EADDRNOTAVAIL');
    assert.equal(failing.error?.message, 'failed to bind to 203.0.113.77:0: Cannot assign requested address');
    assert.equal(failing.error?.local, true);
  });

  check('an address in use', async (bench) => {
    const listener = bench.listen(ipAddress('127.0.0.1', 0));
    assert.throws(() => bench.listen(listener.address), { code: 'EADDRINUSE' });
    if (gaps.listenErrorsAlike === true) {
      assert.throws(() => bench.listen(ipAddress('203.0.113.77', 0)));
      return;
    }
    assert.throws(() => bench.listen(ipAddress('203.0.113.77', 0)), { code: 'EADDRNOTAVAIL' });
    assert.throws(() => bench.listen(pipeAddress('/nonexistent/nuncio.sock')), { code: /ENOENT|EACCES/ });
  });

  check('a closed listener takes no more, its connections live on', async (bench) => {
    const { client, server } = await bench.pair();
    bench.listeners[0]!.close();
    bench.listeners[0]!.close();
    await nextTurn();
    const late = bench.dial(connectTo(bench.listeners[0]!.address));
    await late.hears('closed');
    assert.equal(late.error?.code, 'ECONNREFUSED');
    client.send('hello');
    await server.gets(5);
    const again = bench.listen(bench.listeners[0]!.address);
    assert.equal(again.address.text, bench.listeners[0]!.address.text);
  });

  check('Unix sockets: mode, stale file, long stream, abstract name', async (bench) => {
    const folder = mkdtempSync(join(tmpdir(), 'nuncio-'));
    try {
      const path = join(folder, 'a.sock');
      writeFileSync(path, 'left over');
      const { client, server } = await bench.pair(pipeAddress(path, 0o640));
      assert.equal(statSync(path).mode & 0o777, 0o640);
      assert.equal(server.transport.localAddress.text, path);
      assert.equal(client.transport.remoteAddress.text, path);
      client.send('over a file');
      client.transport.endWrites();
      await server.hears('end');
      assert.equal(server.text, 'over a file');
      if (process.platform !== 'linux') return;
      const abstract = await bench.pair(pipeAddress(`@nuncio-${process.pid}-${Math.random()}`));
      abstract.server.send('over a name');
      await abstract.client.gets(11);
      assert.equal(abstract.client.text, 'over a name');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  check('IPv6 alone and dual stack', async (bench) => {
    const only = bench.listen(ipAddress('::', 0), { ipv6Only: true });
    assert.ok(only.address.kind === 'ip');
    const refused = bench.dial(connectTo(ipAddress('127.0.0.1', only.address.port)));
    await refused.hears('closed');
    bench.dial(connectTo(ipAddress('::1', only.address.port)));
    const six = await bench.accepted();
    assert.equal(six.transport.localAddress.text, `[::1]:${only.address.port}`);
    assert.ok(six.transport.remoteAddress.text.startsWith('[::1]:'));
    const dual = bench.listen(ipAddress('::', 0), { ipv6Only: false });
    assert.ok(dual.address.kind === 'ip');
    bench.dial(connectTo(ipAddress('127.0.0.1', dual.address.port)));
    const four = await bench.accepted();
    assert.equal(four.transport.localAddress.text, `127.0.0.1:${dual.address.port}`);
    assert.ok(four.transport.remoteAddress.kind === 'ip' && four.transport.remoteAddress.version === 4);
  });

  check('several listeners share a port when asked to', async (bench) => {
    if (!bench.runtime.features.reusePort) {
      assert.throws(() => bench.listen(ipAddress('127.0.0.1', 0), { reusePort: true }), { code: 'ENOTSUP' });
      return;
    }
    const first = bench.listen(ipAddress('127.0.0.1', 0), { reusePort: true });
    const second = bench.listen(first.address, { reusePort: true });
    assert.equal(second.address.text, first.address.text);
  });

  check('socket options are obeyed or refused, never ignored', async (bench) => {
    const bad = [{ level: 1, name: 0x7fff, value: 1, state: 'prebind' as const }];
    assert.throws(() => bench.listen(ipAddress('127.0.0.1', 0), { socketOptions: bad }), {
      code: bench.runtime.features.socketOptions ? 'ENOPROTOOPT' : 'ENOTSUP',
    });
    const listener = bench.listen(ipAddress('127.0.0.1', 0));
    const client = bench.dial({ ...connectTo(listener.address), socketOptions: bad });
    await client.hears('closed');
    assert.ok(!client.events.includes('open'));
  });

  check('a handler that throws costs its own turn, not the others', async (bench) => {
    const first = await bench.pair();
    const second = await bench.pair();
    first.server.onData = () => {
      throw new Error('a bug');
    };
    first.client.send('x');
    await first.server.gets(1);
    second.client.send('y');
    await second.server.gets(1);
    await nextTurn();
    assert.equal(bench.bugs.length, 1);
    assert.match(String(bench.bugs.pop()), /a bug/);
  });

  check('many connections at once', async (bench) => {
    const listener = bench.listen(ipAddress('127.0.0.1', 0));
    const clients = Array.from({ length: 200 }, () => bench.dial(connectTo(listener.address)));
    await Promise.all(clients.map((client) => client.hears('open')));
    for (const [i, client] of clients.entries()) client.send(String(i).padStart(3, '0'));
    const servers = await Promise.all(clients.map(() => bench.accepted()));
    await Promise.all(servers.map((server) => server.gets(3)));
    const got = servers.map((server) => Number(server.text)).sort((a, b) => a - b);
    assert.deepEqual(
      got,
      clients.map((_, i) => i),
    );
    for (const server of servers) server.transport.close();
    await Promise.all(clients.map((client) => client.hears('end')));
  });
}
