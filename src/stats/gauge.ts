/**
 * How gauges of several workers (and, in Envoy, of a hot-restart parent) become one.
 * `Accumulate`: the sum. `NeverImport`: process-wide facts, the last value written wins.
 * `HiddenAccumulate`: as Accumulate, but hidden from /stats unless `hidden=include|only`.
 */
export const GaugeImportMode = { Accumulate: 0, NeverImport: 1, HiddenAccumulate: 2 } as const;
export type GaugeImportMode = (typeof GaugeImportMode)[keyof typeof GaugeImportMode];

/** A value that goes up and down. Created by a `Scope` or a stat group; built directly it is detached. */
export class Gauge {
  value: number;
  /** True once set, also to zero: what `usedonly` asks (Envoy's `used()`). */
  used: boolean;
  /** Value handed over by the last delta. Owned by `StatsStore`. */
  reported: number;
  /** `used` as of the last delta: a `set(0)` has to be told too. Owned by `StatsStore`. */
  reportedUsed: boolean;
  /** The value in decimal where a double does not hold it ({@link setWide}); empty: `value` has it. */
  exact: string;
  readonly id: number;

  constructor(id = -1) {
    this.value = 0;
    this.used = false;
    this.reported = 0;
    this.reportedUsed = false;
    this.exact = '';
    this.id = id;
  }

  set(value: number): void {
    this.value = value;
    this.used = true;
  }

  /** A whole 64-bit number, such as a hash: shown with all of its digits. A gauge is set by this alone, or never. */
  setWide(value: bigint): void {
    this.value = Number(value);
    this.exact = String(value);
    this.used = true;
  }

  add(amount: number): void {
    this.value += amount;
    this.used = true;
  }

  sub(amount: number): void {
    this.value -= amount;
    this.used = true;
  }

  inc(): void {
    this.value++;
    this.used = true;
  }

  dec(): void {
    this.value--;
    this.used = true;
  }
}
