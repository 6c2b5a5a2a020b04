/** Source of randomness, replaceable in tests. Not for secrets. */
export interface Random {
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform integer in [0, 2^32). */
  uint32(): number;
}

export class SystemRandom implements Random {
  float(): number {
    return Math.random();
  }

  uint32(): number {
    return (Math.random() * 0x1_0000_0000) >>> 0;
  }
}

/** Deterministic generator (mulberry32) for tests and fuzzing. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  float(): number {
    return this.uint32() / 0x1_0000_0000;
  }

  /** An integer from 0, below `limit`. */
  below(limit: number): number {
    return this.uint32() % limit;
  }
}
