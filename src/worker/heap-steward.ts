import type { Heap } from '../base/heap.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { Dispatcher } from '../net/dispatcher.ts';

/** So many connections, opened and closed, leave enough behind to be worth a collection. */
export const BURST_CONNECTIONS = 500;
/** How long the thread must have been quiet. */
export const QUIET_MS = 500;
/** So many turns of the loop within {@link QUIET_MS} are still quiet: health checks, timers, a request now and then. */
export const QUIET_TURNS = 50;
/** A collection takes about a millisecond per megabyte: a larger heap is left to the runtime's own collector. */
export const MOST_HEAP_BYTES = 64 * 1024 * 1024;

/**
 * Gives back what a burst of connections leaves. The runtime's collector is driven by what is allocated: once a burst is over
 * nothing is, and the garbage of thousands of handshakes stays resident beside the connections that are held (measured: up to 15 kB
 * for each idle TLS connection instead of 9). So a thread that has become quiet collects once. While there is work, it never does.
 */
export class HeapSteward implements TimerTarget {
  readonly #dispatcher: Dispatcher;
  readonly #heap: Heap;
  readonly #timer: Timer;
  #changes = 0;
  /** Turns of the loop when the present wait began. */
  #turns = 0;

  constructor(dispatcher: Dispatcher, heap: Heap) {
    this.#dispatcher = dispatcher;
    this.#heap = heap;
    this.#timer = dispatcher.createTimer(this);
  }

  /** A connection was opened or closed. */
  onConnectionChange(): void {
    if (++this.#changes >= BURST_CONNECTIONS && !this.#timer.enabled) this.#wait();
  }

  #wait(): void {
    this.#turns = this.#dispatcher.turns;
    this.#timer.enable(QUIET_MS);
  }

  onTimer(): void {
    if (this.#dispatcher.turns - this.#turns > QUIET_TURNS) {
      this.#wait();
      return;
    }
    this.#changes = 0;
    if (this.#heap.usedBytes() <= MOST_HEAP_BYTES) this.#heap.collect();
  }
}
