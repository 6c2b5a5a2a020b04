/** Source of time. The monotonic reading orders and measures; the wall reading is only ever shown to people. */
export interface Clock {
  /** Milliseconds with fraction, never goes back, origin unspecified. */
  monotonicMs(): number;
  /** Milliseconds with fraction since the Unix epoch. */
  wallMs(): number;
  /** What the wall clock showed at a recent reading of `monotonicMs`. */
  wallAt(monotonicMs: number): number;
}

/** How often the wall clock is read from the system; in between it runs with the monotonic one, which has sub-ms digits. */
const WALL_SYNC_MS = 1000;

export class SystemClock implements Clock {
  #offset = 0;
  #syncedAt = Number.NEGATIVE_INFINITY;

  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return this.wallAt(performance.now());
  }

  wallAt(now: number): number {
    if (now - this.#syncedAt > WALL_SYNC_MS) {
      const offset = Date.now() - performance.now();
      // Within a millisecond it is Date.now()'s rounding, not a step of the system clock.
      if (Math.abs(offset - this.#offset) > 1) this.#offset = offset;
      this.#syncedAt = now;
    }
    return this.#offset + now;
  }
}

/** A clock that moves only when told to; for tests. */
export class ManualClock implements Clock {
  #now = 1_000;
  readonly #epoch: number;

  constructor(epochMs = Date.UTC(2026, 0, 1)) {
    this.#epoch = epochMs - this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  wallMs(): number {
    return this.#epoch + this.#now;
  }

  wallAt(monotonicMs: number): number {
    return this.#epoch + monotonicMs;
  }

  advance(ms: number): void {
    this.#now += ms;
  }
}
