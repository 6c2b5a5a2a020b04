import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import type { Dispatcher } from '../dispatcher.ts';
import type { BunTransport } from './bun-transport.ts';
import { IPPROTO_TCP, type Posix, TCP_INFO } from './posix.ts';

/** `tcpi_state` of a socket whose peer has sent FIN: the first byte of tcp_info, which is all that is asked for. */
const TCP_CLOSE_WAIT = 8;
const SWEEP_MS = 1000;

/**
 * Notices that the peer of a paused socket has gone. Bun does not tell before reading resumes (Envoy has EPOLLRDHUP for it),
 * so paused sockets are asked for their TCP state once a second: a proxy whose upstream stalls lets go of clients that left.
 */
export class PausedWatch implements TimerTarget {
  readonly posix: Posix;
  readonly #timer: Timer;
  readonly #paused = new Set<BunTransport>();

  constructor(dispatcher: Dispatcher, posix: Posix) {
    this.posix = posix;
    this.#timer = dispatcher.createTimer(this);
  }

  add(transport: BunTransport): void {
    this.#paused.add(transport);
    if (!this.#timer.enabled) this.#timer.enable(SWEEP_MS);
  }

  remove(transport: BunTransport): void {
    this.#paused.delete(transport);
  }

  get size(): number {
    return this.#paused.size;
  }

  onTimer(): void {
    for (const transport of this.#paused) {
      if ((this.posix.getNumber(transport.fd, IPPROTO_TCP, TCP_INFO) & 0xff) !== TCP_CLOSE_WAIT) continue;
      this.#paused.delete(transport);
      transport.handler?.onEarlyClose?.();
    }
    if (this.#paused.size > 0) this.#timer.enable(SWEEP_MS);
  }
}
