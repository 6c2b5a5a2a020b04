import { type DetailedBucket, SUPPORTED_QUANTILES } from './histogram-statistics.ts';
import { MergedGauge, type MergedHistogram } from './merged-stats.ts';
import type { MergedStore } from './merged-store.ts';
import { formatGeneral, formatShortest, wideGaugeText } from './number-format.ts';
import type { StatsQuery } from './stats-query.ts';
import { selectStats } from './stats-selection.ts';

/** `P0(interval,cumulative) P25(...) ...`, or `No recorded values`. */
function quantileSummary(histogram: MergedHistogram): string {
  if (!histogram.used) return 'No recorded values';
  const interval = histogram.intervalStatistics.quantiles();
  const cumulative = histogram.cumulativeStatistics.quantiles();
  return SUPPORTED_QUANTILES.map(
    (q, i) => `P${formatGeneral(100 * q, 6)}(${formatShortest(interval[i]!)},${formatShortest(cumulative[i]!)})`,
  ).join(' ');
}

function bucketSummary(histogram: MergedHistogram, interval: number[], cumulative: number[]): string {
  return histogram.cumulativeStatistics.buckets
    .map((bound, i) => `B${formatGeneral(bound, 6)}(${interval[i]},${cumulative[i]})`)
    .join(' ');
}

function detail(buckets: DetailedBucket[]): string {
  return buckets.map((b) => `${formatGeneral(b.lowerBound, 6)},${formatGeneral(b.width, 6)}:${b.count}`).join(', ');
}

function histogramLine(histogram: MergedHistogram, mode: StatsQuery['histogramBuckets']): string {
  const { name, intervalStatistics: interval, cumulativeStatistics: cumulative } = histogram;
  if (!histogram.used) return `${name}: No recorded values\n`;
  switch (mode) {
    case 'unset':
    case 'none':
    case 'summary':
      return `${name}: ${quantileSummary(histogram)}\n`;
    case 'cumulative':
      return `${name}: ${bucketSummary(histogram, interval.cumulativeCounts(), cumulative.cumulativeCounts())}\n`;
    case 'disjoint':
      return `${name}: ${bucketSummary(histogram, interval.disjointCounts(), cumulative.disjointCounts())}\n`;
    case 'detailed':
      return (
        `${name}:\n  totals=${detail(cumulative.detailed())}\n  intervals=${detail(interval.detailed())}` +
        `\n  summary=${quantileSummary(histogram)}\n`
      );
  }
}

/** /stats in its default format: text readouts, then counters and gauges, then histograms, each sorted by name. */
export function renderText(store: MergedStore, query: StatsQuery): string {
  const selection = selectStats(store, query);
  const out: string[] = [];
  for (const readout of selection.textReadouts) out.push(`${readout.name}: "${readout.value}"\n`);
  for (const stat of selection.numbers)
    out.push(`${stat.name}: ${wideGaugeText(stat.value, stat instanceof MergedGauge ? stat.exact : '')}\n`);
  for (const histogram of selection.histograms) out.push(histogramLine(histogram, query.histogramBuckets));
  return out.join('');
}
