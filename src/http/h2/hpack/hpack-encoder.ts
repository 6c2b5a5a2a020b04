import { ENTRY_OVERHEAD } from './hpack-decoder.ts';
import { encodeHuffman, huffmanLength } from './huffman.ts';
import { STATIC_COUNT, STATIC_NAMES, STATIC_VALUES } from './static-table.ts';

/** How a field is represented. */
const Policy = {
  /** With incremental indexing. */
  Index: 0,
  /** Values that hardly ever come again: nghttp2's list, so that peers see of us what they see of Envoy. */
  Literal: 1,
  /** Never indexed, also not by proxies behind us (RFC 7541 section 7.1.3). */
  Never: 2,
  /** Never indexed when short: a short secret could be guessed by its compressed size. */
  Cookie: 3,
  /** The name is worth an entry, its values are not. */
  NameOnly: 4,
  /** Belongs to an HTTP/1 connection; has no place here (RFC 9113 section 8.2.2). */
  Skip: 5,
  /** Only `trailers` may be said. */
  Te: 6,
} as const;
type Policy = (typeof Policy)[keyof typeof Policy];

const SHORT_COOKIE = 20;
/** How many entries of one name are compared before a value counts as new. */
const MAX_COMPARED = 8;
/** Values that do not enter the table are sent as they are up to this size: coding them costs more than the bytes. */
const RAW_VALUE_BYTES = 48;
/** The most that a field takes beside its name and value: type and index, two lengths. */
export const FIELD_OVERHEAD = 16;
/** The most that table size updates in front of a block take. */
export const UPDATE_OVERHEAD = 12;

class NameFacts {
  readonly policy: Policy;
  /** Index of the name in the static table; 0: none. */
  readonly index: number;
  /** Values of the static entries from `index` on; null: none of them has one. */
  readonly values: readonly string[] | null;

  constructor(policy: Policy, index: number, values: readonly string[] | null) {
    this.policy = policy;
    this.index = index;
    this.values = values;
  }
}

const POLICIES: readonly [Policy, string][] = [
  [Policy.Literal, ':path age content-length etag if-modified-since if-none-match location set-cookie'],
  [Policy.Never, 'authorization'],
  [Policy.Cookie, 'cookie'],
  [Policy.NameOnly, 'x-request-id traceparent x-envoy-upstream-service-time x-b3-spanid x-b3-traceid'],
  [Policy.Skip, 'connection keep-alive proxy-connection transfer-encoding upgrade'],
  [Policy.Te, 'te'],
];

const FACTS = new Map<string, NameFacts>();
for (const name of STATIC_NAMES) {
  if (name === '' || FACTS.has(name)) continue;
  const index = STATIC_NAMES.indexOf(name);
  const values: string[] = [];
  for (let i = index; STATIC_NAMES[i] === name; i++) values.push(STATIC_VALUES[i]!);
  FACTS.set(name, new NameFacts(Policy.Index, index, values.every((value) => value === '') ? null : values));
}
for (const [policy, names] of POLICIES) {
  for (const name of names.split(' ')) {
    const known = FACTS.get(name);
    FACTS.set(name, new NameFacts(policy, known?.index ?? 0, known?.values ?? null));
  }
}
const NO_FACTS = new NameFacts(Policy.Index, 0, null);

class Entry {
  readonly slot: NameSlot;
  readonly value: string;
  readonly size: number;
  /** Counts up with every insertion: its distance from the newest is the index. */
  readonly id: number;
  /** Entries of the same name. */
  older: Entry | null;
  newer: Entry | null = null;

  constructor(slot: NameSlot, value: string, size: number, id: number) {
    this.slot = slot;
    this.value = value;
    this.size = size;
    this.id = id;
    this.older = slot.newest;
  }
}

class NameSlot {
  readonly name: string;
  readonly facts: NameFacts;
  newest: Entry | null = null;

  constructor(name: string, facts: NameFacts) {
    this.name = name;
    this.facts = facts;
  }
}

/**
 * HPACK encoder of one connection (RFC 7541). Bounds: the dynamic table by `limit` bytes as the RFC counts them; names are
 * remembered while they are in it, and those of the static table.
 */
export class HpackEncoder {
  readonly #limit: number;
  readonly #huffman: boolean;
  #tableSize: number;
  /** Size updates that the next block has to begin with: the lowest since the last block, and the present one; -1: none. */
  #lowest = -1;
  #size = 0;
  readonly #slots = new Map<string, NameSlot>();
  /** Ring of entries; `#oldest` is the place of the oldest. */
  #ring: (Entry | null)[] = new Array(16).fill(null);
  #oldest = 0;
  #count = 0;
  #inserted = 0;

  /**
   * @param limit bytes that we are ready to use, whatever the peer allows
   * @param huffman strings are coded where that makes them shorter
   */
  constructor(limit: number, huffman = true) {
    this.#limit = limit;
    this.#huffman = huffman;
    this.#tableSize = Math.min(limit, 4096);
    // Less than the default is said at once.
    if (limit < 4096) this.#lowest = limit;
  }

  /** Bytes in the dynamic table as the RFC counts them. */
  get size(): number {
    return this.#size;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setPeerLimit(bytes: number): void {
    const size = Math.min(this.#limit, bytes);
    if (size === this.#tableSize && this.#lowest < 0) return;
    this.#tableSize = size;
    if (this.#lowest < 0 || size < this.#lowest) this.#lowest = size;
    this.#evict(0);
  }

  /** Writes what must stand in front of a block. @returns where it ends */
  begin(bytes: Buffer, at: number): number {
    if (this.#lowest < 0) return at;
    if (this.#lowest < this.#tableSize) at = writeInteger(bytes, at, 0x20, 5, this.#lowest);
    at = writeInteger(bytes, at, 0x20, 5, this.#tableSize);
    this.#lowest = -1;
    return at;
  }

  /** Writes one field. `bytes` has room for the name, the value and FIELD_OVERHEAD. @returns where it ends */
  field(bytes: Buffer, at: number, name: string, value: string): number {
    let slot = this.#slots.get(name);
    if (slot === undefined) {
      const facts = FACTS.get(name);
      slot = new NameSlot(name, facts ?? NO_FACTS);
      // Others enter with their first entry, and leave with their last.
      if (facts !== undefined) this.#slots.set(name, slot);
    }
    const facts = slot.facts;
    const policy = facts.policy;
    let nameIndex = facts.index;
    if (policy !== Policy.Index) {
      switch (policy) {
        case Policy.Skip:
          return at;
        case Policy.Te:
          if (value !== 'trailers') return at;
          break;
        case Policy.Never:
          return this.#literal(bytes, at, 0x10, 4, nameIndex, name, value, false);
        case Policy.Cookie:
          if (value.length < SHORT_COOKIE) return this.#literal(bytes, at, 0x10, 4, nameIndex, name, value, false);
          break;
      }
    }
    const values = facts.values;
    if (values !== null) {
      for (let i = 0; i < values.length; i++) {
        if (values[i] === value && value !== '') {
          bytes[at] = 0x80 | (nameIndex + i);
          return at + 1;
        }
      }
    }
    if (policy === Policy.Literal) return this.#literal(bytes, at, 0, 4, nameIndex, name, value, false);
    let entry = slot.newest;
    if (entry !== null) {
      if (nameIndex === 0) nameIndex = STATIC_COUNT + 1 + this.#inserted - entry.id;
      for (let compared = 0; entry !== null && compared < MAX_COMPARED; compared++) {
        if (entry.value === value) {
          const index = STATIC_COUNT + 1 + this.#inserted - entry.id;
          if (index < 0x7f) {
            bytes[at] = 0x80 | index;
            return at + 1;
          }
          return writeInteger(bytes, at, 0x80, 7, index);
        }
        entry = entry.older;
      }
      if (policy === Policy.NameOnly) return this.#literal(bytes, at, 0, 4, nameIndex, name, value, false);
    }
    const size = name.length + value.length + ENTRY_OVERHEAD;
    // What would push out nearly everything else is not worth it (nghttp2's bound).
    if (size > this.#tableSize * 0.75) return this.#literal(bytes, at, 0, 4, nameIndex, name, value, true);
    at = this.#literal(bytes, at, 0x40, 6, nameIndex, name, value, true);
    this.#insert(slot, value, size);
    return at;
  }

  #literal(
    bytes: Buffer,
    at: number,
    pattern: number,
    bits: number,
    nameIndex: number,
    name: string,
    value: string,
    compress: boolean,
  ): number {
    if (nameIndex !== 0) {
      at = writeInteger(bytes, at, pattern, bits, nameIndex);
    } else {
      bytes[at++] = pattern;
      at = writeString(bytes, at, name, this.#huffman);
    }
    return writeString(bytes, at, value, this.#huffman && (compress || value.length > RAW_VALUE_BYTES));
  }

  #insert(slot: NameSlot, value: string, size: number): void {
    this.#evict(size);
    // Evicting may have taken the name away.
    if (slot.newest === null) this.#slots.set(slot.name, slot);
    const entry = new Entry(slot, value, size, ++this.#inserted);
    if (slot.newest !== null) slot.newest.newer = entry;
    slot.newest = entry;
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[(this.#oldest + this.#count) & (this.#ring.length - 1)] = entry;
    this.#count++;
    this.#size += size;
  }

  #evict(room: number): void {
    while (this.#count > 0 && this.#size + room > this.#tableSize) {
      const entry = this.#ring[this.#oldest]!;
      this.#ring[this.#oldest] = null;
      this.#oldest = (this.#oldest + 1) & (this.#ring.length - 1);
      this.#count--;
      this.#size -= entry.size;
      // It is the oldest of its name.
      if (entry.newer !== null) {
        entry.newer.older = null;
        // Once the collector has taken it for old, it would keep all that came after it until a full collection.
        entry.newer = null;
      } else {
        const slot = entry.slot;
        slot.newest = null;
        if (slot.facts === NO_FACTS) this.#slots.delete(slot.name);
      }
    }
  }

  #grow(): void {
    const ring: (Entry | null)[] = new Array(this.#ring.length * 2).fill(null);
    for (let i = 0; i < this.#count; i++) ring[i] = this.#ring[(this.#oldest + i) & (this.#ring.length - 1)]!;
    this.#ring = ring;
    this.#oldest = 0;
  }
}

/** A string literal (RFC 7541 section 5.2), of a text with one byte per character. @returns where it ends */
export function writeString(bytes: Buffer, at: number, text: string, compress: boolean): number {
  const size = text.length;
  if (compress) {
    const coded = huffmanLength(text);
    if (coded < size) return encodeHuffman(text, bytes, writeInteger(bytes, at, 0x80, 7, coded));
  }
  at = size < 0x7f ? at : writeInteger(bytes, at, 0, 7, size);
  if (size < 0x7f) bytes[at++] = size;
  bytes.latin1Write(text, at, size);
  return at + size;
}

/** Integer with a prefix of `bits` bits behind `pattern` (RFC 7541 section 5.1). @returns where it ends */
function writeInteger(bytes: Buffer, at: number, pattern: number, bits: number, value: number): number {
  const limit = (1 << bits) - 1;
  if (value < limit) {
    bytes[at] = pattern | value;
    return at + 1;
  }
  bytes[at++] = pattern | limit;
  let rest = value - limit;
  while (rest >= 0x80) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 128);
  }
  bytes[at++] = rest;
  return at;
}
