import type { MetadataStruct, MetadataValue } from './connection-state.ts';

const SEPARATOR = '\u0000';

/** The same text for equal values, whatever the order of their members. */
export function canonicalText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalText(member)}`).join(',')}}`;
}

/** What a route (or request) asks of the hosts' `envoy.lb` metadata, made ready for looking up subsets. Immutable. */
export class MetadataCriteria {
  readonly struct: MetadataStruct;
  /** Sorted. */
  readonly names: readonly string[];
  readonly values: readonly string[];
  /** Names and values each as one text: equal texts stand for equal criteria. */
  readonly namesKey: string;
  readonly valuesKey: string;

  constructor(struct: MetadataStruct) {
    this.struct = struct;
    this.names = Object.keys(struct).sort();
    this.values = this.names.map((name) => canonicalText(struct[name]));
    this.namesKey = criteriaKey(this.names);
    this.valuesKey = criteriaKey(this.values);
  }

  /** Null for nothing. */
  static of(struct: MetadataStruct | null): MetadataCriteria | null {
    return struct === null ? null : new MetadataCriteria(struct);
  }

  /** `struct` goes before what is here. */
  merge(struct: MetadataStruct): MetadataCriteria {
    return new MetadataCriteria({ ...this.struct, ...struct });
  }

  /** Of these criteria those with the given names. */
  filter(names: ReadonlySet<string>): MetadataCriteria {
    return new MetadataCriteria(Object.fromEntries(Object.entries(this.struct).filter(([name]) => names.has(name))));
  }

  without(name: string): MetadataCriteria {
    return new MetadataCriteria(Object.fromEntries(Object.entries(this.struct).filter(([key]) => key !== name)));
  }

  get(name: string): MetadataValue | undefined {
    return this.struct[name];
  }
}

export function criteriaKey(parts: readonly string[]): string {
  return parts.join(SEPARATOR);
}
