import type { MergedCounter, MergedGauge, MergedHistogram, MergedTextReadout } from './merged-stats.ts';

/** All stats at one flush. Hidden gauges are left out. */
export interface MetricSnapshot {
  /** `delta`: increments since the flush before. */
  readonly counters: readonly { readonly counter: MergedCounter; readonly delta: number }[];
  readonly gauges: readonly MergedGauge[];
  /** Their `intervalStatistics` are those of the interval that this flush ends. */
  readonly histograms: readonly MergedHistogram[];
  readonly textReadouts: readonly MergedTextReadout[];
}

/** A destination for stats (statsd, metrics service, ...). Must not keep the snapshot. */
export interface StatsSink {
  flush(snapshot: MetricSnapshot): void;
}
