/** Source of time. The monotonic reading orders and measures; the wall reading is only ever shown to people. */
export interface Clock {
  /** Milliseconds with fraction, never goes back, origin unspecified. */
  monotonicMs(): number;
  /** Milliseconds with fraction since the Unix epoch. */
  wallMs(): number;
}

export class SystemClock implements Clock {
  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return performance.timeOrigin + performance.now();
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

  advance(ms: number): void {
    this.#now += ms;
  }
}
