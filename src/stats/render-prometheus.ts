import { type HistogramStatistics, SUPPORTED_QUANTILES } from './histogram-statistics.ts';
import type { MergedHistogram, MergedStat } from './merged-stats.ts';
import type { MergedStore } from './merged-store.ts';
import { formatGeneral, wideGaugeText } from './number-format.ts';
import { compareTokenwise } from './stat-names.ts';
import type { StatsQuery } from './stats-query.ts';
import { selectVisible, statsFor, visibleGauges } from './stats-selection.ts';
import type { Tag } from './tag-extraction.ts';

/** Digits with which Envoy prints floating-point values for Prometheus. */
const PRECISION = 32;

function sanitize(name: string): string {
  return name.replace(/[^a-zA-Z0-9_]/g, '_');
}

function escapeValue(value: string): string {
  return /[\\"\n]/.test(value) ? value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n') : value;
}

function labels(tags: readonly Tag[]): string {
  return tags.map((tag) => `${sanitize(tag.name)}="${escapeValue(tag.value)}"`).join(',');
}

function appendGroups<T extends MergedStat>(
  out: string[],
  stats: readonly T[],
  type: string,
  render: (stat: T, metric: string, labelText: string) => string,
): void {
  const groups = new Map<string, T[]>();
  for (const stat of stats) {
    const group = groups.get(stat.tagExtractedName);
    if (group === undefined) groups.set(stat.tagExtractedName, [stat]);
    else group.push(stat);
  }
  for (const name of [...groups.keys()].sort(compareTokenwise)) {
    const metric = `envoy_${sanitize(name)}`;
    out.push(`# TYPE ${metric} ${type}\n`);
    for (const stat of groups.get(name)!.sort((a, b) => compareTokenwise(a.name, b.name))) {
      out.push(render(stat, metric, labels(stat.tags)));
    }
  }
}

function sumAndCount(statistics: HistogramStatistics, metric: string, labelText: string): string {
  return (
    `${metric}_sum{${labelText}} ${formatGeneral(statistics.sampleSum(), PRECISION)}\n` +
    `${metric}_count{${labelText}} ${statistics.sampleCount()}\n`
  );
}

function renderBuckets(histogram: MergedHistogram, metric: string, labelText: string): string {
  const before = labelText === '' ? '' : `${labelText},`;
  const statistics = histogram.cumulativeStatistics;
  const counts = statistics.cumulativeCounts();
  let out = '';
  for (let i = 0; i < counts.length; i++) {
    out += `${metric}_bucket{${before}le="${formatGeneral(statistics.buckets[i]!, PRECISION)}"} ${counts[i]}\n`;
  }
  out += `${metric}_bucket{${before}le="+Inf"} ${statistics.sampleCount()}\n`;
  return out + sumAndCount(statistics, metric, labelText);
}

function renderSummary(histogram: MergedHistogram, metric: string, labelText: string): string {
  const before = labelText === '' ? '' : `${labelText},`;
  // Not the cumulative view: Envoy's summaries cover the last interval, their sum and count too.
  const statistics = histogram.intervalStatistics;
  const values = statistics.quantiles();
  let out = '';
  for (let i = 0; i < values.length; i++) {
    const quantile = formatGeneral(SUPPORTED_QUANTILES[i]!, 6);
    out += `${metric}{${before}quantile="${quantile}"} ${formatGeneral(values[i]!, PRECISION)}\n`;
  }
  return out + sumAndCount(statistics, metric, labelText);
}

/**
 * /stats/prometheus: counters, gauges, text readouts (when asked for, as gauges of value 1), histograms; within each,
 * metrics and series sorted by name token by token. `histogram_buckets=summary|none` gives summaries instead.
 */
export function renderPrometheus(store: MergedStore, query: StatsQuery): string {
  const out: string[] = [];
  appendGroups(
    out,
    selectVisible(statsFor(store, query).counters.values(), query),
    'counter',
    (stat, metric, text) => `${metric}{${text}} ${stat.value}\n`,
  );
  appendGroups(
    out,
    visibleGauges(store, query),
    'gauge',
    (stat, metric, text) => `${metric}{${text}} ${wideGaugeText(stat.value, stat.exact)}\n`,
  );
  if (query.textReadouts) {
    appendGroups(out, selectVisible(statsFor(store, query).textReadouts.values(), query), 'gauge', (stat, metric) => {
      return `${metric}{${labels([...stat.tags, { name: 'text_value', value: stat.value }])}} 1\n`;
    });
  }
  const histograms = selectVisible(statsFor(store, query).histograms.values(), query);
  const summary = query.histogramBuckets === 'summary' || query.histogramBuckets === 'none';
  if (summary) appendGroups(out, histograms, 'summary', renderSummary);
  else appendGroups(out, histograms, 'histogram', renderBuckets);
  return out.join('');
}
