import { ManualClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type Address, ipAddress } from '../../src/net/address.ts';
import { Dispatcher } from '../../src/net/dispatcher.ts';
import type { Transport, TransportHandler, TransportSecurity } from '../../src/net/transport.ts';

/** A dispatcher on a clock that tests move. Errors of ours are thrown to the test. */
export class FakeLoop {
  readonly clock = new ManualClock();
  readonly dispatcher = new Dispatcher(this.clock, new SeededRandom(1), true);

  /** Runs `action` as one native callback would. */
  turn(action: () => void): void {
    this.dispatcher.enter();
    try {
      action();
    } finally {
      this.dispatcher.leave();
    }
  }

  /** Moves time on by `ms`, running what becomes due. */
  advance(ms: number): void {
    this.clock.advance(ms);
    this.turn(() => this.dispatcher.timers.advance());
  }
}

/** How a transport was ended by its owner. */
export type FakeEnd = 'open' | 'closed' | 'reset';

/** A scripted transport: the test plays the kernel and the peer, and sees what the owner did. */
export class FakeTransport implements Transport {
  readonly loop: FakeLoop;
  localAddress: Address = ipAddress('127.0.0.1', 10000);
  remoteAddress: Address = ipAddress('127.0.0.2', 40000);
  readonly fd = -1;
  security: TransportSecurity | null = null;
  handler: TransportHandler | null = null;
  /** Everything taken so far. */
  sent = '';
  /** How many bytes the kernel will still take; Infinity by default. */
  room = Number.POSITIVE_INFINITY;
  paused = false;
  endedWrites = false;
  end: FakeEnd = 'open';
  /** Calls to `write`: one system call each. */
  writes = 0;
  noDelay: boolean | null = null;
  keepAliveSeconds: number | null = null;
  /** The peer or the script has ended the transport. */
  gone = false;

  constructor(loop: FakeLoop) {
    this.loop = loop;
  }

  setHandler(handler: TransportHandler): void {
    this.handler = handler;
  }

  write(bytes: Buffer, start: number, end: number): number {
    if (this.gone || this.end !== 'open') return -1;
    if (this.endedWrites) throw new Error('write after endWrites');
    this.writes++;
    const taken = Math.min(end - start, this.room);
    this.room -= taken;
    this.sent += bytes.latin1Slice(start, start + taken);
    return taken;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  endWrites(): void {
    if (this.endedWrites) throw new Error('endWrites twice');
    this.endedWrites = true;
  }

  close(): void {
    if (this.end === 'open') this.end = 'closed';
  }

  reset(): void {
    if (this.end === 'open') this.end = 'reset';
  }

  setNoDelay(on: boolean): void {
    this.noDelay = on;
  }

  setKeepAlive(on: boolean, idleSeconds: number): void {
    this.keepAliveSeconds = on ? idleSeconds : null;
  }

  // --- the script's side ---

  open(): void {
    this.loop.turn(() => this.handler?.onOpen());
  }

  receive(text: string): void {
    this.loop.turn(() => this.handler?.onBytes(Buffer.from(text, 'latin1')));
  }

  peerEnds(): void {
    this.loop.turn(() => this.handler?.onPeerEnd());
  }

  /** The kernel takes `bytes` more, and says so. */
  drain(bytes: number = Number.POSITIVE_INFINITY): void {
    this.room = bytes;
    this.loop.turn(() => this.handler?.onDrain());
  }

  /** The last event: with `code`, by an error such as ECONNRESET. */
  closes(code: string | null = null, message = ''): void {
    this.gone = true;
    this.loop.turn(() => this.handler?.onClosed(code === null ? null : { code, message }));
  }
}
