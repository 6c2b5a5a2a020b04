import { HistogramUnit, PERCENT_SCALE } from './histogram.ts';
import { binLowerBound, binMidpoint, binWidth, type HistogramBins } from './histogram-bins.ts';

/** The quantiles that Envoy computes for every histogram. */
export const SUPPORTED_QUANTILES: readonly number[] = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1];

/** Envoy's default bucket bounds (milliseconds for most histograms). */
export const DEFAULT_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
];

/** One bin as /stats?histogram_buckets=detailed shows it. */
export interface DetailedBucket {
  lowerBound: number;
  width: number;
  count: number;
}

/** Everything that is derived from one set of bins: quantiles, sum, bucket counts. Computed on demand, off the hot path. */
export class HistogramStatistics {
  private readonly bins: HistogramBins;
  private readonly scale: number;
  readonly buckets: readonly number[];

  constructor(bins: HistogramBins, unit: HistogramUnit, buckets: readonly number[]) {
    this.bins = bins;
    this.scale = unit === HistogramUnit.Percent ? PERCENT_SCALE : 1;
    this.buckets = buckets;
  }

  sampleCount(): number {
    return this.bins.count;
  }

  /** Sum estimated from the bins, as Envoy reports it. */
  sampleSum(): number {
    let sum = 0;
    this.bins.forEach((key, count) => {
      sum += binMidpoint(key) * count;
    });
    return sum / this.scale;
  }

  /**
   * One value for each of `SUPPORTED_QUANTILES`; NaN everywhere when there is no sample. The sample of rank
   * ceil(q * n) is taken, and the k samples of a bin are placed at i/(k+1) of its width, i = 1..k (type-1
   * quantiles of circllhist; a lone sample is shown at the middle of its bin).
   */
  quantiles(): number[] {
    const total = this.bins.count;
    if (total === 0) return SUPPORTED_QUANTILES.map(() => Number.NaN);
    const out: number[] = [];
    const ranks = SUPPORTED_QUANTILES.map((q) => Math.max(1, Math.ceil(total * q)));
    let next = 0;
    let before = 0;
    this.bins.forEach((key, count) => {
      const upTo = before + count;
      while (next < ranks.length && ranks[next]! <= upTo) {
        const width = binWidth(key);
        const left = binLowerBound(key);
        const value = width === 0 ? left : left + ((ranks[next]! - before) / (count + 1)) * width;
        out.push(value / this.scale);
        next++;
      }
      before = upTo;
    });
    return out;
  }

  /** For each bucket bound the samples at or below it: a bin counts if its lower edge does (circllhist "inclusive"). */
  cumulativeCounts(): number[] {
    const out = new Array<number>(this.buckets.length).fill(0);
    this.bins.forEach((key, count) => {
      const lower = binLowerBound(key);
      for (let i = this.buckets.length - 1; i >= 0 && lower <= this.buckets[i]! * this.scale; i--) out[i]! += count;
    });
    return out;
  }

  /** For each bucket bound the samples at or below it and above the previous bound. */
  disjointCounts(): number[] {
    let previous = 0;
    return this.cumulativeCounts().map((count) => {
      const own = count - previous;
      previous = count;
      return own;
    });
  }

  detailed(): DetailedBucket[] {
    const out: DetailedBucket[] = [];
    this.bins.forEach((key, count) => {
      out.push({ lowerBound: binLowerBound(key) / this.scale, width: binWidth(key) / this.scale, count });
    });
    return out;
  }
}
