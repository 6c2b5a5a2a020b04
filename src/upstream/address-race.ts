import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { Address } from '../net/address.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { ConnectSpec, Transport, TransportError, TransportHandler, TransportSecurity } from '../net/transport.ts';

/** A host with several addresses: the next one is tried when this one has not answered for so long (RFC 8305; Envoy). */
const ATTEMPT_DELAY_MS = 300;

/** Begins to connect to one address. */
export type ConnectAttempt = (spec: ConnectSpec, handler: TransportHandler) => Transport;

/** One attempt's events, while the race goes on. */
class Runner implements TransportHandler {
  readonly #race: AddressRace;
  transport: Transport | null = null;

  constructor(race: AddressRace) {
    this.#race = race;
  }

  onOpen(): void {
    this.#race.onRunnerOpen(this);
  }

  onClosed(error: TransportError | null): void {
    this.#race.onRunnerClosed(this, error);
  }

  onBytes(): void {}
  onDrain(): void {}
  onPeerEnd(): void {}
}

/**
 * A transport that connects to the first of several addresses to answer: each is begun when the one before it failed, or
 * after 300 ms. From the winner on it passes everything through.
 */
export class AddressRace implements Transport, TimerTarget {
  readonly #connect: ConnectAttempt;
  readonly #specs: readonly ConnectSpec[];
  readonly #timer: Timer;
  readonly #running: Runner[] = [];
  #handler: TransportHandler;
  #next = 0;
  #winner: Transport | null = null;
  #lastError: TransportError | null = null;
  #ended = false;

  /** @throws when no address gives even a socket */
  constructor(
    dispatcher: Dispatcher,
    connect: ConnectAttempt,
    spec: ConnectSpec,
    addresses: readonly Address[],
    handler: TransportHandler,
  ) {
    this.#connect = connect;
    this.#handler = handler;
    this.#specs = addresses.map((address) => ({ ...spec, address }));
    this.#timer = dispatcher.createTimer(this);
    this.#startNext();
  }

  #startNext(): void {
    while (this.#next < this.#specs.length) {
      const runner = new Runner(this);
      try {
        runner.transport = this.#connect(this.#specs[this.#next++]!, runner);
      } catch (error) {
        if (this.#next === this.#specs.length && this.#running.length === 0) throw error;
        continue;
      }
      this.#running.push(runner);
      if (this.#next < this.#specs.length) this.#timer.enable(ATTEMPT_DELAY_MS);
      return;
    }
  }

  onTimer(): void {
    if (!this.#ended && this.#winner === null) this.#startNext();
  }

  onRunnerOpen(runner: Runner): void {
    if (this.#ended || this.#winner !== null) return;
    this.#winner = runner.transport!;
    this.#stopOthers(runner);
    this.#winner.setHandler(this.#handler);
    this.#handler.onOpen();
  }

  onRunnerClosed(runner: Runner, error: TransportError | null): void {
    const at = this.#running.indexOf(runner);
    if (at < 0 || this.#winner !== null) return;
    this.#running.splice(at, 1);
    this.#lastError = error;
    if (!this.#ended && this.#next < this.#specs.length) {
      this.#startNext();
      return;
    }
    if (this.#running.length > 0) return;
    this.#timer.destroy();
    this.#ended = true;
    this.#handler.onClosed(this.#lastError);
  }

  #stopOthers(winner: Runner | null): void {
    this.#timer.destroy();
    for (const runner of this.#running) if (runner !== winner) runner.transport!.reset();
  }

  get #current(): Transport {
    return this.#winner ?? this.#running[0]!.transport!;
  }

  get localAddress(): Address {
    return this.#current.localAddress;
  }

  get remoteAddress(): Address {
    return this.#winner === null ? this.#specs[0]!.address : this.#winner.remoteAddress;
  }

  get fd(): number {
    return this.#winner === null ? -1 : this.#winner.fd;
  }

  get security(): TransportSecurity | null {
    return this.#winner === null ? null : this.#winner.security;
  }

  setHandler(handler: TransportHandler): void {
    this.#handler = handler;
    this.#winner?.setHandler(handler);
  }

  write(bytes: Buffer, start: number, end: number): number {
    return this.#winner === null ? 0 : this.#winner.write(bytes, start, end);
  }

  pause(): void {
    this.#winner?.pause();
  }

  resume(): void {
    this.#winner?.resume();
  }

  endWrites(): void {
    this.#winner?.endWrites();
  }

  close(): void {
    if (this.#winner !== null) this.#winner.close();
    else this.#giveUp();
  }

  reset(): void {
    if (this.#winner !== null) this.#winner.reset();
    else this.#giveUp();
  }

  #giveUp(): void {
    this.#ended = true;
    this.#stopOthers(null);
  }

  setNoDelay(on: boolean): void {
    this.#winner?.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds: number): void {
    this.#winner?.setKeepAlive(on, idleSeconds);
  }
}
