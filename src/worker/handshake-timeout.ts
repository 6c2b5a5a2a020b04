import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import { CloseType, type Connection, type ConnectionEvent, type ConnectionEvents } from '../net/connection.ts';
import type { Counter } from '../stats/counter.ts';

/** Closes a connection whose handshake takes too long (`transport_socket_connect_timeout`). */
export class HandshakeTimeout implements ConnectionEvents, TimerTarget {
  readonly #connection: Connection;
  readonly #counter: Counter;
  readonly #timer: Timer;

  constructor(connection: Connection, timeoutMs: number, counter: Counter) {
    this.#connection = connection;
    this.#counter = counter;
    this.#timer = connection.dispatcher.createTimer(this);
    this.#timer.enable(timeoutMs);
    connection.addEvents(this);
  }

  onTimer(): void {
    const connection = this.#connection;
    if (!connection.isConnecting) return;
    connection.terminationDetails = 'transport socket timeout was reached';
    this.#counter.inc();
    connection.close(CloseType.NoFlush, 'transport_socket_timeout');
  }

  /** Up, or gone. */
  onConnectionEvent(_event: ConnectionEvent): void {
    this.#timer.destroy();
  }

  onAboveWriteHighWatermark(): void {}

  onBelowWriteLowWatermark(): void {}
}
