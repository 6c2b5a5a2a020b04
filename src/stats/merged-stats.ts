import { type GaugeImportMode, GaugeImportMode as Mode } from './gauge.ts';
import type { HistogramUnit } from './histogram.ts';
import { HistogramBins } from './histogram-bins.ts';
import { HistogramStatistics } from './histogram-statistics.ts';
import type { Tag, TaggedName, TagProducer } from './tag-extraction.ts';

/** What every merged stat has: a name, and tags that are found when first asked for. */
export abstract class MergedStat {
  readonly name: string;
  /** How many stats of how many sources stand behind it; at zero it goes. Owned by `MergedStore`. */
  references: number;
  private readonly producer: TagProducer;
  private tagged: TaggedName | null;

  constructor(name: string, producer: TagProducer) {
    this.name = name;
    this.references = 0;
    this.producer = producer;
    this.tagged = null;
  }

  get tags(): readonly Tag[] {
    this.tagged ??= this.producer.produce(this.name);
    return this.tagged.tags;
  }

  get tagExtractedName(): string {
    this.tagged ??= this.producer.produce(this.name);
    return this.tagged.tagExtractedName;
  }

  abstract get used(): boolean;

  /** Nothing was ever said of it, or nothing that is left: it may be made again when it is asked for. */
  get isBlank(): boolean {
    return !this.used;
  }
}

export class MergedCounter extends MergedStat {
  value = 0;
  /** Increments since the last flush. */
  pending = 0;

  get used(): boolean {
    return this.value !== 0;
  }

  add(amount: number): void {
    this.value += amount;
    this.pending += amount;
  }

  /** The increments since the last call: what sinks are given. */
  latch(): number {
    const amount = this.pending;
    this.pending = 0;
    return amount;
  }

  /** Back to zero (`/reset_counters`). */
  reset(): void {
    this.value = 0;
    this.pending = 0;
  }
}

export class MergedGauge extends MergedStat {
  readonly mode: GaugeImportMode;
  value = 0;
  /** See Gauge.exact. */
  exact = '';
  private wasSet = false;
  /** Most gauges are of one stat of one source: it stands here; -1: there is none, or all are in `parts`. */
  private onlyPart = -1;
  private onlyValue = 0;
  private parts: Map<number, number> | null = null;

  constructor(name: string, producer: TagProducer, mode: GaugeImportMode) {
    super(name, producer);
    this.mode = mode;
  }

  get used(): boolean {
    return this.wasSet;
  }

  get hidden(): boolean {
    return this.mode === Mode.HiddenAccumulate;
  }

  /** `part` names one stat of one source. */
  setPart(part: number, value: number): void {
    this.wasSet = true;
    this.exact = '';
    if (this.parts === null && (this.onlyPart === part || this.onlyPart === -1)) {
      this.value = this.mode === Mode.NeverImport ? value : this.value + value - this.onlyValue;
      this.onlyPart = part;
      this.onlyValue = value;
      return;
    }
    this.parts ??= new Map([[this.onlyPart, this.onlyValue]]);
    this.onlyPart = -1;
    if (this.mode === Mode.NeverImport) {
      this.parts.delete(part);
      this.value = value;
    } else this.value += value - (this.parts.get(part) ?? 0);
    this.parts.set(part, value);
  }

  removePart(part: number): void {
    const value = this.onlyPart === part ? this.onlyValue : this.parts?.get(part);
    if (value === undefined) return;
    if (this.onlyPart === part) {
      this.onlyPart = -1;
      this.onlyValue = 0;
    } else this.parts?.delete(part);
    if (this.mode !== Mode.NeverImport) {
      this.value -= value;
      return;
    }
    // The last value written by whoever is left.
    let last = this.value;
    for (const rest of this.parts?.values() ?? []) last = rest;
    this.value = last;
  }
}

export class MergedTextReadout extends MergedStat {
  value = '';
  private wasSet = false;

  get used(): boolean {
    return this.wasSet;
  }

  set(value: string): void {
    this.value = value;
    this.wasSet = true;
  }
}

/** Samples wait in `pending` until the flush; then they are the interval, and part of the cumulative view. */
export class MergedHistogram extends MergedStat {
  readonly unit: HistogramUnit;
  readonly intervalStatistics: HistogramStatistics;
  readonly cumulativeStatistics: HistogramStatistics;
  private readonly pending = new HistogramBins();
  private readonly interval = new HistogramBins();
  private readonly cumulative = new HistogramBins();

  constructor(name: string, producer: TagProducer, unit: HistogramUnit, buckets: readonly number[]) {
    super(name, producer);
    this.unit = unit;
    this.intervalStatistics = new HistogramStatistics(this.interval, unit, buckets);
    this.cumulativeStatistics = new HistogramStatistics(this.cumulative, unit, buckets);
  }

  /** True once a flush has seen a sample. */
  get used(): boolean {
    return this.cumulative.count > 0;
  }

  override get isBlank(): boolean {
    return this.cumulative.count === 0 && this.pending.count === 0;
  }

  addBin(key: number, count: number): void {
    this.pending.addToBin(key, count);
  }

  /** Starts a new interval with what came since the last flush. */
  merge(): void {
    if (this.interval.count > 0) this.interval.clear();
    if (this.pending.count === 0) return;
    this.interval.addAll(this.pending);
    this.cumulative.addAll(this.pending);
    this.pending.clear();
  }
}
