import { HistogramBins } from './histogram-bins.ts';

/** Envoy's histogram units; `Percent` values are recorded as fraction x `PERCENT_SCALE`. */
export const HistogramUnit = { Unspecified: 0, Bytes: 1, Microseconds: 2, Milliseconds: 3, Percent: 4 } as const;
export type HistogramUnit = (typeof HistogramUnit)[keyof typeof HistogramUnit];

/** One hundred percent as a recorded integer: Envoy's `Histogram::PercentScale`. */
export const PERCENT_SCALE = 1_000_000;

/**
 * The recording side of a histogram: bins filled since the last delta, nothing else (the cumulative and the
 * interval view live in `MergedHistogram`). Created by a `Scope` or a stat group; built directly it is detached.
 */
export class Histogram {
  readonly pending: HistogramBins;
  /** Samples recorded since creation. */
  sampleCount: number;
  readonly unit: HistogramUnit;
  readonly id: number;

  constructor(unit: HistogramUnit = HistogramUnit.Unspecified, id = -1) {
    this.pending = new HistogramBins();
    this.sampleCount = 0;
    this.unit = unit;
    this.id = id;
  }

  /** Records one sample, an integer >= 0 in the histogram's unit (fractions are cut, negatives count as 0). */
  recordValue(value: number): void {
    this.sampleCount++;
    this.pending.insert(value);
  }
}
