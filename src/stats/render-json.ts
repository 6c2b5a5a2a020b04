import { type DetailedBucket, SUPPORTED_QUANTILES } from './histogram-statistics.ts';
import { MergedGauge, type MergedHistogram } from './merged-stats.ts';
import type { MergedStore } from './merged-store.ts';
import { formatCompact, formatGeneral, wideGaugeText } from './number-format.ts';
import type { StatsQuery } from './stats-query.ts';
import { selectStats } from './stats-selection.ts';

function jsonNumber(value: number): string {
  return Number.isFinite(value) ? formatCompact(value) : 'null';
}

const PERCENTILES = `[${SUPPORTED_QUANTILES.map((q) => formatGeneral(100 * q, 6)).join(',')}]`;

function percentiles(histogram: MergedHistogram): string {
  const interval = histogram.intervalStatistics.quantiles();
  const cumulative = histogram.cumulativeStatistics.quantiles();
  const pairs = interval.map(
    (value, i) => `{"cumulative":${jsonNumber(cumulative[i]!)},"interval":${jsonNumber(value)}}`,
  );
  return `[${pairs.join(',')}]`;
}

function verbose(buckets: DetailedBucket[]): string {
  const all = buckets.map(
    (b) => `{"lower_bound":${jsonNumber(b.lowerBound)},"width":${jsonNumber(b.width)},"count":${b.count}}`,
  );
  return `[${all.join(',')}]`;
}

function bucketList(histogram: MergedHistogram, interval: number[], cumulative: number[]): string {
  const all = histogram.cumulativeStatistics.buckets.map(
    (bound, i) => `{"upper_bound":${jsonNumber(bound)},"interval":${interval[i]},"cumulative":${cumulative[i]}}`,
  );
  return `{"name":${JSON.stringify(histogram.name)},"buckets":[${all.join(',')}]}`;
}

function renderHistograms(histograms: readonly MergedHistogram[], mode: StatsQuery['histogramBuckets']): string {
  const each = (render: (histogram: MergedHistogram) => string): string => histograms.map(render).join(',');
  switch (mode) {
    case 'unset':
    case 'none':
    case 'summary':
      return (
        `{"histograms":{"supported_quantiles":${PERCENTILES},"computed_quantiles":[` +
        `${each((h) => `{"name":${JSON.stringify(h.name)},"values":${percentiles(h)}}`)}]}}`
      );
    case 'cumulative':
      return `{"histograms":[${each((h) =>
        bucketList(h, h.intervalStatistics.cumulativeCounts(), h.cumulativeStatistics.cumulativeCounts()),
      )}]}`;
    case 'disjoint':
      return `{"histograms":[${each((h) =>
        bucketList(h, h.intervalStatistics.disjointCounts(), h.cumulativeStatistics.disjointCounts()),
      )}]}`;
    case 'detailed':
      return (
        `{"histograms":{"supported_percentiles":${PERCENTILES},"details":[` +
        `${each(
          (h) =>
            `{"name":${JSON.stringify(h.name)},"totals":${verbose(h.cumulativeStatistics.detailed())},` +
            `"intervals":${verbose(h.intervalStatistics.detailed())},"percentiles":${percentiles(h)}}`,
        )}]}}`
      );
  }
}

/** /stats?format=json. One object `{"stats":[...]}`; all histograms are its last element. */
export function renderJson(store: MergedStore, query: StatsQuery): string {
  const selection = selectStats(store, query);
  const out: string[] = [];
  for (const readout of selection.textReadouts) {
    out.push(`{"name":${JSON.stringify(readout.name)},"value":${JSON.stringify(readout.value)}}`);
  }
  for (const stat of selection.numbers)
    out.push(
      `{"name":${JSON.stringify(stat.name)},"value":${wideGaugeText(stat.value, stat instanceof MergedGauge ? stat.exact : '')}}`,
    );
  if (selection.histograms.length > 0) out.push(renderHistograms(selection.histograms, query.histogramBuckets));
  return `{"stats":[${out.join(',')}]}`;
}
