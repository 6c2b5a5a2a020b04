import { StatKind, type StatShape, type StatsDelta } from './delta.ts';
import type { GaugeImportMode } from './gauge.ts';
import type { HistogramUnit } from './histogram.ts';
import { DEFAULT_BUCKETS } from './histogram-statistics.ts';
import { GroupIds, type MergedGroup, MergedGroups } from './merged-groups.ts';
import { MergedCounter, MergedGauge, MergedHistogram, MergedTextReadout } from './merged-stats.ts';
import { joinStatName } from './stat-names.ts';
import { compileStatPattern, type StatPattern, type StatsMatcher } from './stats-matcher.ts';
import type { MetricSnapshot, StatsSink } from './stats-sink.ts';
import { TagProducer } from './tag-extraction.ts';

/** `histogram_bucket_settings`: the first match gives the bounds (ascending); none: Envoy's defaults. */
export interface HistogramBucketSettings {
  readonly match: StatPattern;
  readonly buckets: readonly number[];
}

export interface MergedStoreOptions {
  readonly tagProducer?: TagProducer;
  readonly matcher?: StatsMatcher;
  readonly histogramBuckets?: readonly HistogramBucketSettings[];
  /** True for stats of a source that are not taken in: what every worker counts alike is taken from one of them. */
  readonly leaveOut?: (source: number, name: string) => boolean;
}

type Entry = MergedCounter | MergedGauge | MergedTextReadout | MergedHistogram;

class Source {
  readonly number: number;
  readonly shapeLists: (readonly StatShape[])[] = [];
  /** Of stats that stand alone. */
  readonly entries = new Map<number, Entry>();
  readonly groups = new GroupIds<Entry>();
  overflowed = 0;

  constructor(number: number) {
    this.number = number;
  }
}

/** Ids of one source are below this, so that source x PART_SPAN + id names one stat of one source. */
const PART_SPAN = 2 ** 40;

/**
 * All stats of the process, on the main thread: merged from the deltas of its own store and of every worker. Thousands of clusters
 * announce hundreds of stats each, of which nearly all stay zero: an entry is made when something is said of a stat, or when all are
 * asked for, and then kept until the next flush.
 */
export class MergedStore {
  private readonly liveCounters = new Map<string, MergedCounter>();
  private readonly liveGauges = new Map<string, MergedGauge>();
  private readonly liveTextReadouts = new Map<string, MergedTextReadout>();
  private readonly liveHistograms = new Map<string, MergedHistogram>();
  private readonly groups = new MergedGroups<Entry>();
  /** All have entries. */
  private unfolded = false;
  private readonly producer: TagProducer;
  private readonly matcher: StatsMatcher | null;
  private readonly bucketSettings: readonly { matches: (name: string) => boolean; buckets: readonly number[] }[];
  private readonly sources = new Map<number, Source>();
  private readonly leaveOut: ((source: number, name: string) => boolean) | null;

  constructor(options: MergedStoreOptions = {}) {
    this.leaveOut = options.leaveOut ?? null;
    this.producer = options.tagProducer ?? new TagProducer();
    this.matcher = options.matcher ?? null;
    this.bucketSettings = (options.histogramBuckets ?? []).map((setting) => ({
      matches: compileStatPattern(setting.match),
      buckets: setting.buckets,
    }));
  }

  get counters(): ReadonlyMap<string, MergedCounter> {
    this.unfold();
    return this.liveCounters;
  }

  get gauges(): ReadonlyMap<string, MergedGauge> {
    this.unfold();
    return this.liveGauges;
  }

  get textReadouts(): ReadonlyMap<string, MergedTextReadout> {
    this.unfold();
    return this.liveTextReadouts;
  }

  get histograms(): ReadonlyMap<string, MergedHistogram> {
    this.unfold();
    return this.liveHistograms;
  }

  /** Those of which something was said: all that are used are among them. */
  get touched(): {
    readonly counters: ReadonlyMap<string, MergedCounter>;
    readonly gauges: ReadonlyMap<string, MergedGauge>;
    readonly textReadouts: ReadonlyMap<string, MergedTextReadout>;
    readonly histograms: ReadonlyMap<string, MergedHistogram>;
  } {
    return {
      counters: this.liveCounters,
      gauges: this.liveGauges,
      textReadouts: this.liveTextReadouts,
      histograms: this.liveHistograms,
    };
  }

  /** Takes a delta in. `source` is a small number >= 0, one per store; deltas of one source come in order. */
  apply(source: number, delta: StatsDelta): void {
    // As many as cuts, one after the other.
    if (delta.before !== null) this.apply(source, delta.before);
    const from = this.sourceOf(source);
    from.overflowed = delta.overflowed;
    for (const shapes of delta.shapeLists) from.shapeLists.push(this.groups.shared(shapes));
    for (const stat of delta.created) this.join(from, stat.id, stat.name, stat);
    for (const { prefix, shapeList, firstId } of delta.groups) {
      const group = this.groups.join(prefix, from.shapeLists[shapeList]!);
      group.members.push({ source, firstId });
      from.groups.add(firstId, group);
      this.unfolded = false;
    }
    // A stat that the matcher refused has no entry: its numbers end here.
    for (let i = 0; i < delta.counters.length; i += 2) {
      const entry = this.entryOf(from, delta.counters[i]!);
      if (entry instanceof MergedCounter) entry.add(delta.counters[i + 1]!);
    }
    for (let i = 0; i < delta.gauges.length; i += 2) {
      const id = delta.gauges[i]!;
      const entry = this.entryOf(from, id);
      if (entry instanceof MergedGauge) entry.setPart(source * PART_SPAN + id, delta.gauges[i + 1]!);
    }
    for (const [id, value] of delta.textReadouts) {
      const entry = this.entryOf(from, id);
      if (entry instanceof MergedTextReadout) entry.set(value);
      // All digits of the value that has just been set.
      else if (entry instanceof MergedGauge) entry.exact = value;
    }
    for (let i = 0; i < delta.histograms.length; ) {
      const entry = this.entryOf(from, delta.histograms[i]!);
      const end = i + 2 + delta.histograms[i + 1]! * 2;
      for (i += 2; i < end; i += 2) {
        if (entry instanceof MergedHistogram) entry.addBin(delta.histograms[i]!, delta.histograms[i + 1]!);
      }
    }
    for (let i = 0; i < delta.removed.length; i += 2) {
      const first = delta.removed[i]!;
      if (this.leaveGroup(from, first)) continue;
      for (let id = first; id < first + delta.removed[i + 1]!; id++) this.leave(from, id);
    }
  }

  /** Forgets a source, as when its worker died: its gauges no longer count, names that only it used go. */
  removeSource(source: number): void {
    const from = this.sources.get(source);
    if (from === undefined) return;
    for (const id of [...from.entries.keys()]) this.leave(from, id);
    for (const firstId of from.groups.firstIds) this.leaveGroup(from, firstId);
    this.sources.delete(source);
  }

  /** Stats that stores refused because they were full. */
  get overflowCount(): number {
    let sum = 0;
    for (const source of this.sources.values()) sum += source.overflowed;
    return sum;
  }

  /** Starts a new histogram interval. `flush` does it too; call it alone when there are no sinks. */
  mergeHistograms(): void {
    for (const histogram of this.liveHistograms.values()) histogram.merge();
  }

  /** `stats_flush_interval` passed (apply every source's delta first): a new interval, latched counters, all sinks. */
  flush(sinks: readonly StatsSink[]): void {
    this.mergeHistograms();
    this.fold();
    if (sinks.length === 0) return;
    const snapshot: MetricSnapshot = {
      counters: [...this.counters.values()].map((counter) => ({ counter, delta: counter.latch() })),
      gauges: [...this.gauges.values()].filter((gauge) => !gauge.hidden),
      histograms: [...this.histograms.values()],
      textReadouts: [...this.textReadouts.values()],
    };
    for (const sink of sinks) sink.flush(snapshot);
  }

  /** Makes an entry for every stat that was announced. */
  private unfold(): void {
    if (this.unfolded) return;
    this.unfolded = true;
    for (const group of this.groups) {
      for (let i = 0; i < group.shapes.length; i++) {
        if (group.entries.get(i) !== undefined) continue;
        const name = joinStatName(group.prefix, group.shapes[i]!.name);
        if (this.matcher !== null && !this.matcher.accepts(name)) continue;
        if (group.members.every((member) => this.leaveOut?.(member.source, name) === true)) continue;
        this.fill(group, i, name);
      }
    }
  }

  /** Takes back the entries of groups that say nothing. */
  private fold(): void {
    if (!this.unfolded) return;
    this.unfolded = false;
    for (const group of this.groups) {
      group.entries.retain((entry) => {
        if (entry.isBlank) this.release(entry);
        return !entry.isBlank;
      });
    }
  }

  private fill(group: MergedGroup<Entry>, index: number, name: string): Entry {
    const entry = this.entryFor(name, group.shapes[index]!);
    entry.references++;
    group.entries.set(index, entry);
    return entry;
  }

  /** The entry of a stat of which a source says something; undefined: it is not taken in. */
  private entryOf(source: Source, id: number): Entry | undefined {
    const single = source.entries.get(id);
    if (single !== undefined) return single;
    const firstId = source.groups.firstIdOf(id);
    if (firstId < 0) return undefined;
    const group = source.groups.get(firstId);
    const index = id - firstId;
    const known = group.entries.get(index);
    const name = known === undefined ? joinStatName(group.prefix, group.shapes[index]!.name) : known.name;
    if (this.leaveOut?.(source.number, name) === true) return undefined;
    if (known !== undefined) return known;
    return this.matcher === null || this.matcher.accepts(name) ? this.fill(group, index, name) : undefined;
  }

  /** `/reset_counters`. */
  resetCounters(): void {
    for (const counter of this.liveCounters.values()) counter.reset();
  }

  private sourceOf(number: number): Source {
    let source = this.sources.get(number);
    if (source === undefined) {
      source = new Source(number);
      this.sources.set(number, source);
    }
    return source;
  }

  private join(source: Source, id: number, name: string, shape: StatShape): void {
    if (this.matcher !== null && !this.matcher.accepts(name)) return;
    if (this.leaveOut?.(source.number, name) === true) return;
    const entry = this.entryFor(name, shape);
    entry.references++;
    source.entries.set(id, entry);
  }

  private entryFor(name: string, shape: StatShape): Entry {
    switch (shape.kind) {
      case StatKind.Counter:
        return getOrAdd(this.liveCounters, name, () => new MergedCounter(name, this.producer));
      case StatKind.Gauge:
        return getOrAdd(
          this.liveGauges,
          name,
          () => new MergedGauge(name, this.producer, shape.detail as GaugeImportMode),
        );
      case StatKind.TextReadout:
        return getOrAdd(this.liveTextReadouts, name, () => new MergedTextReadout(name, this.producer));
      case StatKind.Histogram:
        return getOrAdd(
          this.liveHistograms,
          name,
          () => new MergedHistogram(name, this.producer, shape.detail as HistogramUnit, this.bucketsFor(name)),
        );
    }
  }

  private leave(source: Source, id: number): void {
    const entry = source.entries.get(id);
    if (entry === undefined) return;
    source.entries.delete(id);
    if (entry instanceof MergedGauge) entry.removePart(source.number * PART_SPAN + id);
    this.release(entry);
  }

  /** @returns false: there is no group of this first id */
  private leaveGroup(source: Source, firstId: number): boolean {
    const group = source.groups.take(firstId);
    if (group === undefined) return false;
    group.removeMember(source.number, firstId);
    group.entries.forEach((entry, i) => {
      if (entry instanceof MergedGauge) entry.removePart(source.number * PART_SPAN + firstId + i);
    });
    if (group.members.length > 0) return true;
    group.entries.forEach((entry, i) => {
      const heir = this.groups.heir(group, group.shapes[i]!);
      if (heir !== null) this.fill(heir.group, heir.index, entry.name);
      this.release(entry);
    });
    this.groups.remove(group);
    return true;
  }

  private release(entry: Entry): void {
    if (--entry.references > 0) return;
    if (entry instanceof MergedCounter) this.liveCounters.delete(entry.name);
    else if (entry instanceof MergedGauge) this.liveGauges.delete(entry.name);
    else if (entry instanceof MergedTextReadout) this.liveTextReadouts.delete(entry.name);
    else this.liveHistograms.delete(entry.name);
  }

  private bucketsFor(name: string): readonly number[] {
    for (const setting of this.bucketSettings) if (setting.matches(name)) return setting.buckets;
    return DEFAULT_BUCKETS;
  }
}

function getOrAdd<T>(map: Map<string, T>, name: string, make: () => T): T {
  let value = map.get(name);
  if (value === undefined) {
    value = make();
    map.set(name, value);
  }
  return value;
}
