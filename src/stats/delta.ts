import type { GaugeImportMode } from './gauge.ts';
import type { HistogramUnit } from './histogram.ts';

/** Which of the four families a stat belongs to. */
export const StatKind = { Counter: 0, Gauge: 1, TextReadout: 2, Histogram: 3 } as const;
export type StatKind = (typeof StatKind)[keyof typeof StatKind];

/** One announced stat: `detail` is the gauge's import mode, the histogram's unit, else 0. */
export interface StatShape {
  name: string;
  kind: StatKind;
  detail: GaugeImportMode | HistogramUnit | 0;
}

/** `shapes[i]` of the group has the id `firstId + i` and the name `prefix.shapes[i].name`. */
export interface AnnouncedGroup {
  firstId: number;
  prefix: string;
  /** Index into all shape lists that this store has ever announced, in order. */
  shapeList: number;
}

/**
 * What changed in one store since the delta before: structured-cloneable, and to be applied in order.
 * Number lists are flat: `counters` [id, increment]*, `gauges` [id, value]*, `histograms` [id, bins, (key, count)*]*.
 */
export interface StatsDelta {
  shapeLists: StatShape[][];
  groups: AnnouncedGroup[];
  created: (StatShape & { id: number })[];
  counters: Float64Array;
  gauges: Float64Array;
  histograms: Float64Array;
  textReadouts: [id: number, value: string][];
  /** Flat list of [firstId, how many]. */
  removed: number[];
  /** Stats refused for the limit since the store was made. */
  overflowed: number;
  /** What comes before this: a name that was released is a new one when it is announced again. */
  before: StatsDelta | null;
}
