import type { MergedCounter, MergedGauge, MergedHistogram, MergedStat, MergedTextReadout } from './merged-stats.ts';
import type { MergedStore } from './merged-store.ts';
import { compareNames } from './stat-names.ts';
import type { StatsQuery } from './stats-query.ts';

/** The stats that a query shows, each list in the order in which Envoy prints it. */
export interface StatsSelection {
  readonly textReadouts: readonly MergedTextReadout[];
  /** Counters and gauges in one sorted list, as /stats mixes them. */
  readonly numbers: readonly (MergedCounter | MergedGauge)[];
  readonly histograms: readonly MergedHistogram[];
}

function select<T extends MergedStat>(stats: Iterable<T>, query: StatsQuery): T[] {
  const out: T[] = [];
  for (const stat of stats) if ((!query.usedOnly || stat.used) && query.shows(stat.name)) out.push(stat);
  return out;
}

/** What a query may show: where only used stats are wanted, no others are made for it. */
export function statsFor(store: MergedStore, query: StatsQuery): MergedStore['touched'] {
  return query.usedOnly ? store.touched : store;
}

/** The gauges that `hidden=` lets through. */
export function visibleGauges(store: MergedStore, query: StatsQuery): MergedGauge[] {
  return select(statsFor(store, query).gauges.values(), query).filter(
    (gauge) => query.hidden === 'include' || gauge.hidden === (query.hidden === 'only'),
  );
}

/** Counters, readouts and histograms are never hidden, so `hidden=only` shows none. */
export function selectVisible<T extends MergedStat>(stats: Iterable<T>, query: StatsQuery): T[] {
  return query.hidden === 'only' ? [] : select(stats, query);
}

export function selectStats(store: MergedStore, query: StatsQuery): StatsSelection {
  const all = query.type === 'All';
  const byName = (a: MergedStat, b: MergedStat): number => compareNames(a.name, b.name);
  const numbers: (MergedCounter | MergedGauge)[] = [];
  const { counters, textReadouts, histograms } = statsFor(store, query);
  if (all || query.type === 'Counters') for (const c of selectVisible(counters.values(), query)) numbers.push(c);
  if (all || query.type === 'Gauges') for (const g of visibleGauges(store, query)) numbers.push(g);
  return {
    textReadouts: all || query.type === 'TextReadouts' ? selectVisible(textReadouts.values(), query).sort(byName) : [],
    numbers: numbers.sort(byName),
    histograms: all || query.type === 'Histograms' ? selectVisible(histograms.values(), query).sort(byName) : [],
  };
}
