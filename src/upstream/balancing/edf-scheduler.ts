import type { Host } from '../host.ts';

/** Says what a host weighs at this moment; above 0. */
export interface WeightSource {
  weightOf(host: Host): number;
}

/**
 * Earliest-deadline-first weighted rotation: each pick of a host puts its next turn `1 / weight` later, so that hosts come
 * up in proportion to weight and as evenly spread as can be. Ties go by order of insertion. Picks allocate nothing.
 * Source: Envoy, EdfScheduler.
 */
export class EdfScheduler {
  readonly #hosts: readonly Host[];
  readonly #weights: WeightSource;
  /** A binary heap of indexes into the three arrays below. */
  readonly #heap: Uint32Array;
  readonly #deadlines: Float64Array;
  readonly #orders: Float64Array;
  #nextOrder = 0;

  constructor(hosts: readonly Host[], weights: WeightSource) {
    const count = hosts.length;
    this.#hosts = hosts;
    this.#weights = weights;
    this.#heap = new Uint32Array(count);
    this.#deadlines = new Float64Array(count);
    this.#orders = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      this.#heap[i] = i;
      this.#deadlines[i] = 1 / weights.weightOf(hosts[i]!);
      this.#orders[i] = this.#nextOrder++;
    }
    for (let i = (count >> 1) - 1; i >= 0; i--) this.#siftDown(i);
  }

  pick(): Host | null {
    if (this.#hosts.length === 0) return null;
    const index = this.#heap[0]!;
    const host = this.#hosts[index]!;
    this.#deadlines[index] = this.#deadlines[index]! + 1 / this.#weights.weightOf(host);
    this.#orders[index] = this.#nextOrder++;
    this.#siftDown(0);
    return host;
  }

  #before(a: number, b: number): boolean {
    const x = this.#deadlines[a]!;
    const y = this.#deadlines[b]!;
    return x < y || (x === y && this.#orders[a]! < this.#orders[b]!);
  }

  #siftDown(at: number): void {
    const heap = this.#heap;
    const count = heap.length;
    const moving = heap[at]!;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= count) break;
      if (child + 1 < count && this.#before(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#before(heap[child]!, moving)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moving;
  }
}
