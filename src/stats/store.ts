import { Counter } from './counter.ts';
import { type AnnouncedGroup, StatKind, type StatShape, type StatsDelta } from './delta.ts';
import { Gauge, type GaugeImportMode, GaugeImportMode as Mode } from './gauge.ts';
import { Histogram, type HistogramUnit, HistogramUnit as Unit } from './histogram.ts';
import { joinStatName, sanitizeStatName } from './stat-names.ts';
import { TextReadout } from './text-readout.ts';

/** Deltas that may wait for each other: beyond it, names that come back soon go on from where they were. */
const MAX_CUTS = 100;

/** Stats that one store may hold when nothing else is said. Beyond it new stats are detached and counted. */
const DEFAULT_MAX_STATS = 2_000_000;

type Live = Counter | Gauge | TextReadout | Histogram;

function makeStat(shape: StatShape, id: number): Live {
  switch (shape.kind) {
    case StatKind.Counter:
      return new Counter(id);
    case StatKind.Gauge:
      return new Gauge(id);
    case StatKind.TextReadout:
      return new TextReadout(id);
    case StatKind.Histogram:
      return new Histogram(shape.detail as HistogramUnit, id);
  }
}

/** Stats of a family that may be in use before there is a place for each of its names. */
const FEW = 8;

const NONE: Live[] = [];

/** A fixed family of stats under one prefix, as the store keeps it: objects appear when first asked for. */
export class GroupSlots {
  readonly store: StatsStore;
  readonly prefix: string;
  readonly shapes: readonly StatShape[];
  /** -1 when the store was full: the stats work, detached. */
  readonly firstId: number;
  /** One place for each shape; null: few are in use, and stand in `few`. So it is with most families of many idle clusters. */
  private places: (Live | null)[] | null;
  private few: Live[];

  constructor(store: StatsStore, prefix: string, shapes: readonly StatShape[], firstId: number) {
    this.store = store;
    this.prefix = prefix;
    this.shapes = shapes;
    this.firstId = firstId;
    // Those that are detached are told apart by their places alone.
    this.places = firstId === -1 ? new Array<Live | null>(shapes.length).fill(null) : null;
    this.few = NONE;
  }

  at(index: number): Live {
    return (this.places === null ? this.among(index) : this.places[index]) ?? this.materialise(index);
  }

  /** Null: it was never asked for. */
  peek(index: number): Live | null {
    return this.places === null ? this.among(index) : this.places[index]!;
  }

  /** Those that are in use, and nulls. */
  get stats(): readonly (Live | null)[] {
    return this.places ?? this.few;
  }

  private among(index: number): Live | null {
    const id = this.firstId + index;
    for (let i = 0; i < this.few.length; i++) if (this.few[i]!.id === id) return this.few[i]!;
    return null;
  }

  private materialise(index: number): Live {
    const stat = makeStat(this.shapes[index]!, this.firstId === -1 ? -1 : this.firstId + index);
    if (this.places === null) {
      if (this.few.length < FEW) {
        this.few = [...this.few, stat];
        return stat;
      }
      const places = new Array<Live | null>(this.shapes.length).fill(null);
      for (const each of this.few) places[each.id - this.firstId] = each;
      this.places = places;
      this.few = NONE;
    }
    this.places[index] = stat;
    return stat;
  }
}

/**
 * A place in the name tree that owns the stats made through it. `close()` drops them, and those of every scope
 * made from it, once no other scope (in any worker) reports the same names.
 */
export class Scope {
  readonly store: StatsStore;
  /** Without a trailing dot; empty for the root. */
  readonly prefix: string;
  private readonly parent: Scope | null;
  private children: Set<Scope> | null;
  private counters: Map<string, Counter> | null;
  private gauges: Map<string, Gauge> | null;
  private readouts: Map<string, TextReadout> | null;
  private histograms: Map<string, Histogram> | null;
  private groups: GroupSlots[] | null;
  private closed: boolean;

  constructor(store: StatsStore, prefix: string, parent: Scope | null) {
    this.store = store;
    this.prefix = prefix;
    this.parent = parent;
    this.children = null;
    this.counters = null;
    this.gauges = null;
    this.readouts = null;
    this.histograms = null;
    this.groups = null;
    this.closed = false;
  }

  /** A scope below this one. The name is sanitised as Envoy does: `a:b.` becomes `a_b`. */
  createScope(name: string): Scope {
    const child = new Scope(this.store, joinStatName(this.prefix, sanitizeStatName(name)), this);
    if (this.closed) {
      child.closed = true;
      return child;
    }
    this.children ??= new Set();
    this.children.add(child);
    return child;
  }

  /** The counter of this name, made on first use. Hold it: this looks a name up in a map. */
  counter(name: string): Counter {
    this.counters ??= new Map();
    let stat = this.counters.get(name);
    if (stat === undefined) {
      stat = new Counter(this.register(name, StatKind.Counter, 0));
      this.store.track(stat);
      this.counters.set(name, stat);
    }
    return stat;
  }

  gauge(name: string, mode: GaugeImportMode = Mode.Accumulate): Gauge {
    this.gauges ??= new Map();
    let stat = this.gauges.get(name);
    if (stat === undefined) {
      stat = new Gauge(this.register(name, StatKind.Gauge, mode));
      this.store.track(stat);
      this.gauges.set(name, stat);
    }
    return stat;
  }

  textReadout(name: string): TextReadout {
    this.readouts ??= new Map();
    let stat = this.readouts.get(name);
    if (stat === undefined) {
      stat = new TextReadout(this.register(name, StatKind.TextReadout, 0));
      this.store.track(stat);
      this.readouts.set(name, stat);
    }
    return stat;
  }

  histogram(name: string, unit: HistogramUnit = Unit.Unspecified): Histogram {
    this.histograms ??= new Map();
    let stat = this.histograms.get(name);
    if (stat === undefined) {
      stat = new Histogram(unit, this.register(name, StatKind.Histogram, unit));
      this.store.track(stat);
      this.histograms.set(name, stat);
    }
    return stat;
  }

  /** Used by `defineStats`: announces a whole family at once. `shapes` must be one shared, frozen list per family. */
  addGroup(prefix: string, shapes: readonly StatShape[]): GroupSlots {
    const full = joinStatName(this.prefix, sanitizeStatName(prefix));
    const firstId = this.closed ? -1 : this.store.announceGroup(full, shapes);
    const group = new GroupSlots(this.store, full, shapes, firstId);
    if (firstId !== -1) {
      this.store.trackGroup(group);
      this.groups ??= [];
      this.groups.push(group);
    }
    return group;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** Drops the stats of this scope and of all scopes made from it. Objects still held keep working, unreported. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.parent?.children?.delete(this);
    if (this.children !== null) for (const child of [...this.children]) child.close();
    for (const map of [this.counters, this.gauges, this.readouts, this.histograms]) {
      if (map !== null) for (const stat of map.values()) this.store.release(stat);
    }
    if (this.groups !== null) for (const group of this.groups) this.store.releaseGroup(group);
    this.children = null;
    this.groups = null;
  }

  private register(name: string, kind: StatKind, detail: StatShape['detail']): number {
    return this.closed ? -1 : this.store.announce({ name: joinStatName(this.prefix, name), kind, detail });
  }
}

export interface StatsStoreOptions {
  /** Stats that may exist at once; see `DEFAULT_MAX_STATS`. */
  maxStats?: number;
}

/**
 * The stats of one thread. It counts and hands deltas over; names, tags, matching, views and output belong to
 * `MergedStore` on the main thread. Two scopes may use the same name: they are merged there.
 */
export class StatsStore {
  readonly root: Scope;
  private readonly maxStats: number;
  private nextId: number;
  private size: number;
  private overflowed: number;
  private readonly names: Map<number, StatShape>;
  private readonly single: Map<number, Live>;
  private readonly groupsById: Map<number, GroupSlots>;
  private readonly shapeLists: Map<readonly StatShape[], number>;
  private newShapeLists: StatShape[][];
  private newGroups: AnnouncedGroup[];
  private newStats: (StatShape & { id: number })[];
  private releasedStats: Live[];
  private releasedGroups: GroupSlots[];
  /** Names, or prefixes of groups, that were released since the last delta. */
  private readonly releasedNames: Set<string>;
  private before: StatsDelta | null;
  private cuts: number;

  constructor(options: StatsStoreOptions = {}) {
    this.maxStats = options.maxStats ?? DEFAULT_MAX_STATS;
    this.nextId = 0;
    this.size = 0;
    this.overflowed = 0;
    this.names = new Map();
    this.single = new Map();
    this.groupsById = new Map();
    this.shapeLists = new Map();
    this.newShapeLists = [];
    this.newGroups = [];
    this.newStats = [];
    this.releasedStats = [];
    this.releasedGroups = [];
    this.releasedNames = new Set();
    this.before = null;
    this.cuts = 0;
    this.root = new Scope(this, '', null);
  }

  createScope(name: string): Scope {
    return this.root.createScope(name);
  }

  counter(name: string): Counter {
    return this.root.counter(name);
  }

  gauge(name: string, mode: GaugeImportMode = Mode.Accumulate): Gauge {
    return this.root.gauge(name, mode);
  }

  textReadout(name: string): TextReadout {
    return this.root.textReadout(name);
  }

  histogram(name: string, unit: HistogramUnit = Unit.Unspecified): Histogram {
    return this.root.histogram(name, unit);
  }

  /** How many stats exist in this thread. */
  get statCount(): number {
    return this.size;
  }

  /** How many stats were refused for `maxStats`. */
  get overflowCount(): number {
    return this.overflowed;
  }

  /** Gives a new stat its id, or -1 when the store is full. */
  announce(shape: StatShape): number {
    if (this.size >= this.maxStats) {
      this.overflowed++;
      return -1;
    }
    this.cutBefore(shape.name);
    const id = this.nextId++;
    this.size++;
    this.names.set(id, shape);
    this.newStats.push({ id, name: shape.name, kind: shape.kind, detail: shape.detail });
    return id;
  }

  announceGroup(prefix: string, shapes: readonly StatShape[]): number {
    if (this.size + shapes.length > this.maxStats) {
      this.overflowed += shapes.length;
      return -1;
    }
    this.cutBefore(prefix);
    let shapeList = this.shapeLists.get(shapes);
    if (shapeList === undefined) {
      shapeList = this.shapeLists.size;
      this.shapeLists.set(shapes, shapeList);
      this.newShapeLists.push(shapes.map((shape) => ({ ...shape })));
    }
    const firstId = this.nextId;
    this.nextId += shapes.length;
    this.size += shapes.length;
    this.newGroups.push({ firstId, prefix, shapeList });
    return firstId;
  }

  track(stat: Live): void {
    if (stat.id !== -1) this.single.set(stat.id, stat);
  }

  trackGroup(group: GroupSlots): void {
    this.groupsById.set(group.firstId, group);
  }

  /** Nobody held the name any more: whoever takes it up counts from zero, as in Envoy. */
  private cutBefore(name: string): void {
    if (this.releasedNames.size === 0 || !this.releasedNames.has(name) || this.cuts >= MAX_CUTS) return;
    const cuts = this.cuts + 1;
    this.before = this.takeDelta();
    this.cuts = cuts;
  }

  release(stat: Live): void {
    if (stat.id === -1) return;
    const shape = this.names.get(stat.id);
    if (shape !== undefined) this.releasedNames.add(shape.name);
    this.single.delete(stat.id);
    this.names.delete(stat.id);
    this.size--;
    this.releasedStats.push(stat);
  }

  releaseGroup(group: GroupSlots): void {
    this.releasedNames.add(group.prefix);
    this.groupsById.delete(group.firstId);
    this.size -= group.shapes.length;
    this.releasedGroups.push(group);
  }

  /** What changed since the last call. Costs one look at every stat in use, nothing for those never touched. */
  takeDelta(): StatsDelta {
    const counters: number[] = [];
    const gauges: number[] = [];
    const histograms: number[] = [];
    const textReadouts: [number, string][] = [];
    const collect = (stat: Live): void => {
      if (stat instanceof Counter) {
        if (stat.value !== stat.reported) {
          counters.push(stat.id, stat.value - stat.reported);
          stat.reported = stat.value;
        }
      } else if (stat instanceof Gauge) {
        if (stat.value !== stat.reported || stat.used !== stat.reportedUsed) {
          gauges.push(stat.id, stat.value);
          if (stat.exact !== '') textReadouts.push([stat.id, stat.exact]);
          stat.reported = stat.value;
          stat.reportedUsed = stat.used;
        }
      } else if (stat instanceof Histogram) {
        if (stat.pending.count > 0) {
          const header = histograms.push(stat.id, 0);
          stat.pending.forEach((key, count) => {
            histograms.push(key, count);
          });
          histograms[header - 1] = (histograms.length - header) / 2;
          stat.pending.clear();
        }
      } else if (stat.dirty) {
        textReadouts.push([stat.id, stat.value]);
        stat.dirty = false;
      }
    };
    for (const stat of this.single.values()) collect(stat);
    for (const group of this.groupsById.values()) for (const stat of group.stats) if (stat !== null) collect(stat);
    const removed: number[] = [];
    for (const stat of this.releasedStats) {
      collect(stat);
      removed.push(stat.id, 1);
    }
    for (const group of this.releasedGroups) {
      for (const stat of group.stats) if (stat !== null) collect(stat);
      removed.push(group.firstId, group.shapes.length);
    }
    const delta: StatsDelta = {
      shapeLists: this.newShapeLists,
      groups: this.newGroups,
      created: this.newStats,
      counters: Float64Array.from(counters),
      gauges: Float64Array.from(gauges),
      histograms: Float64Array.from(histograms),
      textReadouts,
      removed,
      overflowed: this.overflowed,
      before: this.before,
    };
    this.before = null;
    this.cuts = 0;
    this.releasedNames.clear();
    this.newShapeLists = [];
    this.newGroups = [];
    this.newStats = [];
    this.releasedStats = [];
    this.releasedGroups = [];
    return delta;
  }

  /**
   * The value of a counter or gauge by its full name, summed over the scopes that use it; undefined when there is
   * none. For tests and diagnostics: it walks over every stat.
   */
  valueOf(name: string): number | undefined {
    let found: number | undefined;
    const see = (shape: StatShape, full: string, stat: Live | null): void => {
      if (full !== name || shape.kind > StatKind.Gauge) return;
      found = (found ?? 0) + (stat === null ? 0 : (stat as Counter | Gauge).value);
    };
    for (const [id, shape] of this.names) see(shape, shape.name, this.single.get(id) ?? null);
    for (const group of this.groupsById.values()) {
      for (let i = 0; i < group.shapes.length; i++) {
        const shape = group.shapes[i]!;
        see(shape, joinStatName(group.prefix, shape.name), group.peek(i));
      }
    }
    return found;
  }
}
