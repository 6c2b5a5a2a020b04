import type { MetadataStruct, MetadataValue, StreamView } from './stream-view.ts';
import type { StringMatcher } from './string-matcher.ts';

/** Source: envoy.type.matcher.v3.ValueMatcher. */
export type ValueMatcher =
  | { readonly kind: 'null' }
  /** Each present bound must hold; `exact` null: a range, start <= value < end. */
  | { readonly kind: 'number'; readonly exact: number | null; readonly start: number; readonly end: number }
  | { readonly kind: 'string'; readonly matcher: StringMatcher }
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'present'; readonly present: boolean }
  /** A list with an element that matches. */
  | { readonly kind: 'list'; readonly oneOf: ValueMatcher }
  | { readonly kind: 'or'; readonly matchers: readonly ValueMatcher[] };

/** @param value undefined: there is none */
export function matchesValue(matcher: ValueMatcher, value: MetadataValue | undefined): boolean {
  switch (matcher.kind) {
    case 'null':
      return value === null;
    case 'number':
      if (typeof value !== 'number') return false;
      return matcher.exact === null ? value >= matcher.start && value < matcher.end : value === matcher.exact;
    case 'string':
      return typeof value === 'string' && matcher.matcher.matches(value);
    case 'bool':
      return value === matcher.value;
    case 'present':
      return (value !== undefined) === matcher.present;
    case 'list':
      return Array.isArray(value) && value.some((element) => matchesValue(matcher.oneOf, element));
    case 'or':
      return matcher.matchers.some((each) => matchesValue(each, value));
  }
}

/** Follows keys into a struct; undefined where a step is missing or no struct. */
export function metadataAt(
  root: MetadataStruct | null | undefined,
  path: readonly string[],
): MetadataValue | undefined {
  let value: MetadataValue | undefined = root ?? undefined;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const struct = value as MetadataStruct;
    value = Object.hasOwn(struct, key) ? struct[key] : undefined;
  }
  return value;
}

/** Source: envoy.type.matcher.v3.MetadataMatcher, over the stream's dynamic metadata. */
export class MetadataMatcher {
  readonly namespace: string;
  readonly path: readonly string[];
  readonly value: ValueMatcher;
  readonly invert: boolean;

  constructor(namespace: string, path: readonly string[], value: ValueMatcher, invert: boolean) {
    this.namespace = namespace;
    this.path = path;
    this.value = value;
    this.invert = invert;
  }

  matches(stream: StreamView): boolean {
    const value = metadataAt(stream.dynamicMetadata(this.namespace), this.path);
    return matchesValue(this.value, value) !== this.invert;
  }
}

/** A list of CIDR ranges; the address is text without a port. */
export interface AddressRanges {
  contains(address: string): boolean;
}

/** Source: envoy.type.matcher.v3.FilterStateMatcher. */
export class FilterStateMatcher {
  readonly key: string;
  /** Of the object's text form; null: by address. */
  readonly text: StringMatcher | null;
  readonly addresses: AddressRanges | null;

  constructor(key: string, text: StringMatcher | null, addresses: AddressRanges | null) {
    this.key = key;
    this.text = text;
    this.addresses = addresses;
  }

  matches(stream: StreamView): boolean {
    const object = stream.filterState(this.key);
    if (object === null) return false;
    if (this.text !== null) {
      const text = object.serialize();
      return text !== null && this.text.matches(text);
    }
    const address = object.ipAddress();
    return address !== null && this.addresses?.contains(address) === true;
  }
}
