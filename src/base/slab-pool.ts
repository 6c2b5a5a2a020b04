/**
 * A bounded free list of equally sized byte slabs, so that encoding a message head allocates nothing in the steady state.
 * One pool per thread. A slab that is given back must have no reader left.
 */
export class SlabPool {
  readonly slabBytes: number;
  readonly #free: Buffer[] = [];
  readonly #maxFree: number;

  /**
   * @param slabBytes size of each slab in bytes
   * @param maxFree how many unused slabs are kept at most; more are left to the garbage collector
   */
  constructor(slabBytes = 16 * 1024, maxFree = 256) {
    this.slabBytes = slabBytes;
    this.#maxFree = maxFree;
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.slabBytes);
  }

  give(slab: Buffer): void {
    if (this.#free.length < this.#maxFree) this.#free.push(slab);
  }
}
