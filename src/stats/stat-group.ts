import type { Counter } from './counter.ts';
import { StatKind, type StatShape } from './delta.ts';
import { type Gauge, type GaugeImportMode, GaugeImportMode as Mode } from './gauge.ts';
import type { Histogram, HistogramUnit } from './histogram.ts';
import type { GroupSlots, Scope } from './store.ts';
import type { TextReadout } from './text-readout.ts';

/** A fixed family of stats: the names are the fields of the object that `create` returns. */
export interface StatsDefinition {
  readonly counters?: readonly string[];
  /** Accumulating gauges. */
  readonly gauges?: readonly string[];
  /** Gauges that are one process-wide fact: the last value written wins. */
  readonly neverImportGauges?: readonly string[];
  readonly hiddenGauges?: readonly string[];
  readonly textReadouts?: readonly string[];
  readonly histograms?: Readonly<Record<string, HistogramUnit>>;
}

type Names<T> = T extends readonly (infer N extends string)[] ? N : never;

/** The object type for a definition written with `as const`. Dots in names are kept: `stats['ssl.handshake']`. */
export type StatsGroup<D extends StatsDefinition> = {
  readonly [N in Names<D['counters']>]: Counter;
} & {
  readonly [N in Names<D['gauges']> | Names<D['neverImportGauges']> | Names<D['hiddenGauges']>]: Gauge;
} & {
  readonly [N in Names<D['textReadouts']>]: TextReadout;
} & {
  readonly [N in keyof D['histograms'] & string]: Histogram;
};

export interface StatsFamily<D extends StatsDefinition> {
  /** Announces the family below `scope` (and `prefix`, if any). Costs one small object; stats appear when first touched. */
  create(scope: Scope, prefix?: string): StatsGroup<D>;
}

function listShapes(definition: StatsDefinition): StatShape[] {
  const shapes: StatShape[] = [];
  const add = (names: readonly string[] | undefined, kind: StatKind, detail: StatShape['detail']): void => {
    for (const name of names ?? []) shapes.push({ name, kind, detail });
  };
  const gauges = (names: readonly string[] | undefined, mode: GaugeImportMode): void =>
    add(names, StatKind.Gauge, mode);
  add(definition.counters, StatKind.Counter, 0);
  gauges(definition.gauges, Mode.Accumulate);
  gauges(definition.neverImportGauges, Mode.NeverImport);
  gauges(definition.hiddenGauges, Mode.HiddenAccumulate);
  add(definition.textReadouts, StatKind.TextReadout, 0);
  for (const [name, unit] of Object.entries(definition.histograms ?? {})) add([name], StatKind.Histogram, unit);
  return shapes;
}

/**
 * Defines a family once, at module level:
 * `const HttpStats = defineStats({ counters: ['downstream_cx_total'], histograms: { ... } } as const)`, then
 * `const stats = HttpStats.create(scope)` and `stats.downstream_cx_total.inc()`. All of its stats are reported
 * from the start, with zero; throws on a name given twice.
 */
export function defineStats<const D extends StatsDefinition>(definition: D): StatsFamily<D> {
  const shapes = Object.freeze(listShapes(definition)) as readonly StatShape[];
  class Group {
    readonly slots: GroupSlots;
    constructor(slots: GroupSlots) {
      this.slots = slots;
    }
  }
  const seen = new Set<string>(['slots', 'constructor']);
  for (let i = 0; i < shapes.length; i++) {
    const name = shapes[i]!.name;
    if (seen.has(name)) throw new Error(`stat name '${name}' is reserved or defined twice`);
    seen.add(name);
    Object.defineProperty(Group.prototype, name, {
      get(this: Group) {
        return this.slots.at(i);
      },
      enumerable: true,
    });
  }
  return {
    create(scope, prefix = '') {
      return new Group(scope.addGroup(prefix, shapes)) as unknown as StatsGroup<D>;
    },
  };
}
