import { KNOWN_NAMES, knownName, NAME_BYTE } from '../../h1/known-names.ts';
import { FieldFlag, NAME_FLAG, VALUE_FLAG } from './field-flags.ts';
import { decodeHuffman, maxDecodedLength } from './huffman.ts';
import { pseudoId, STATIC_COUNT, STATIC_IDS, STATIC_NAMES, STATIC_VALUES, UNKNOWN_NAME } from './static-table.ts';

/** Receives the fields of a header block in order. */
export interface FieldTarget {
  /**
   * @param id what the name is: see static-table.ts
   * @param flags what is wrong with it: FieldFlag
   */
  onField(name: string, value: string, id: number, flags: number): void;
}

/** What an entry costs beside its bytes (RFC 7541 section 4.1). */
export const ENTRY_OVERHEAD = 32;
/** SETTINGS_HEADER_TABLE_SIZE before anybody has said anything. */
export const DEFAULT_TABLE_SIZE = 4096;
/** Larger integers than any that can be meant are an attack. */
const MAX_INTEGER = 2 ** 28;
/** Names and values that are coded in more bytes end the connection (nghttp2's limit, and so Envoy's), whatever the limit of a list. */
const DEFAULT_MAX_STRING = 64 * 1024;
/** Room for decoded strings that is kept between blocks. */
const SCRATCH_BYTES = 16 * 1024;
const SCRATCH = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

/**
 * HPACK decoder of one connection (RFC 7541). The dynamic table holds at most `maxTableSize` bytes by the RFC's count (its
 * strings are slices of no larger ones), in a ring of slots that grows as entries come.
 *
 * What a block expands to is not bounded here: the target ignores what is too much, and a reference costs it next to nothing.
 */
export class HpackDecoder {
  /** What we let the peer use. */
  readonly #maxString: number;
  #maxTableSize: number;
  /** What the peer has chosen. */
  #tableSize: number;
  /** A table size update must come first in the next block: we have announced less than the peer uses (section 4.2). */
  #updateDue = false;
  #size = 0;
  #count = 0;
  /** Slot of the newest entry; older ones are before it. */
  #newest = 0;
  #mask = 15;
  #names: string[] = new Array(16).fill('');
  #values: string[] = new Array(16).fill('');
  #ids = new Int16Array(16);
  #flags = new Uint8Array(16);

  // The string or integer read last, and where it ends.
  #at = 0;
  #integer = 0;
  #text = '';
  #id = UNKNOWN_NAME;
  #flag = 0;

  /** @param maxTableSize SETTINGS_HEADER_TABLE_SIZE as the peer knows it, bytes */
  /** @param maxString coded bytes of a name or value */
  constructor(maxTableSize: number, maxString = DEFAULT_MAX_STRING) {
    this.#maxString = maxString;
    this.#maxTableSize = maxTableSize;
    // A peer that wants more than the default says so (section 4.2).
    this.#tableSize = Math.min(maxTableSize, DEFAULT_TABLE_SIZE);
  }

  /** Bytes in the dynamic table as the RFC counts them. */
  get size(): number {
    return this.#size;
  }

  /** The peer has acknowledged a SETTINGS_HEADER_TABLE_SIZE. */
  setMaxTableSize(bytes: number): void {
    this.#maxTableSize = bytes;
    if (this.#tableSize > bytes) {
      this.#tableSize = bytes;
      this.#updateDue = true;
      this.#evict(0);
    }
  }

  /**
   * Decodes a whole header block.
   * @returns false when the block is malformed: the connection's table is lost with it (COMPRESSION_ERROR)
   */
  decode(bytes: Buffer, start: number, end: number, target: FieldTarget): boolean {
    this.#at = start;
    let begun = false;
    while (this.#at < end) {
      const first = bytes[this.#at]!;
      if (first >= 0x80) {
        // Indexed field (section 6.1).
        if (this.#updateDue) return false;
        begun = true;
        let index = first & 0x7f;
        if (index === 0x7f) {
          if (!this.#readInteger(bytes, end, 7)) return false;
          index = this.#integer;
        } else {
          this.#at++;
        }
        if (index <= STATIC_COUNT) {
          if (index === 0) return false;
          target.onField(STATIC_NAMES[index]!, STATIC_VALUES[index]!, STATIC_IDS[index]!, 0);
        } else {
          const back = index - STATIC_COUNT - 1;
          if (back >= this.#count) return false;
          const slot = (this.#newest - back) & this.#mask;
          target.onField(this.#names[slot]!, this.#values[slot]!, this.#ids[slot]!, this.#flags[slot]!);
        }
        continue;
      }
      if ((first & 0xe0) === 0x20) {
        // Table size update: only in front of the first field (section 4.2).
        if (begun || !this.#readInteger(bytes, end, 5) || this.#integer > this.#maxTableSize) return false;
        this.#tableSize = this.#integer;
        this.#updateDue = false;
        this.#evict(0);
        continue;
      }
      if (this.#updateDue) return false;
      begun = true;
      const indexed = first >= 0x40;
      if (!this.#readInteger(bytes, end, indexed ? 6 : 4)) return false;
      const index = this.#integer;
      let name: string;
      let id: number;
      let flags = 0;
      if (index === 0) {
        if (!this.#readName(bytes, end)) return false;
        name = this.#text;
        id = this.#id;
        flags = this.#flag;
      } else if (index <= STATIC_COUNT) {
        name = STATIC_NAMES[index]!;
        id = STATIC_IDS[index]!;
      } else {
        const back = index - STATIC_COUNT - 1;
        if (back >= this.#count) return false;
        const slot = (this.#newest - back) & this.#mask;
        name = this.#names[slot]!;
        id = this.#ids[slot]!;
        flags = this.#flags[slot]! & ~FieldFlag.BadValue;
      }
      if (!this.#readValue(bytes, end)) return false;
      const value = this.#text;
      flags |= this.#flag;
      if (indexed) this.#insert(name, value, id, flags);
      target.onField(name, value, id, flags);
    }
    return true;
  }

  /** Integer with a prefix of `bits` bits (section 5.1). */
  #readInteger(bytes: Buffer, end: number, bits: number): boolean {
    if (this.#at >= end) return false;
    const limit = (1 << bits) - 1;
    let value = bytes[this.#at++]! & limit;
    if (value === limit) {
      let scale = 1;
      for (;;) {
        if (this.#at >= end) return false;
        const byte = bytes[this.#at++]!;
        value += (byte & 0x7f) * scale;
        // Zeros may follow without end, too.
        if (value > MAX_INTEGER || scale > MAX_INTEGER) return false;
        if (byte < 0x80) break;
        scale *= 128;
      }
    }
    this.#integer = value;
    return true;
  }

  #readName(bytes: Buffer, end: number): boolean {
    if (this.#at >= end) return false;
    const huffman = bytes[this.#at]! >= 0x80;
    if (!this.#readInteger(bytes, end, 7)) return false;
    const from = this.#at;
    const size = this.#integer;
    if (size > end - from || size > this.#maxString) return false;
    this.#at = from + size;
    let source = bytes;
    let start = from;
    let stop = from + size;
    if (huffman) {
      source = scratchFor(size);
      start = 0;
      stop = decodeHuffman(bytes, from, from + size, source);
      if (stop < 0) return false;
    }
    if (start === stop) {
      this.#text = '';
      this.#id = UNKNOWN_NAME;
      this.#flag = FieldFlag.BadName;
      return true;
    }
    const pseudo = source[start] === 58;
    let hash = 0;
    let flags = 0;
    for (let i = pseudo ? start + 1 : start; i < stop; i++) {
      const c = source[i]!;
      flags |= NAME_FLAG[c]!;
      hash = (Math.imul(hash, 31) + NAME_BYTE[c]!) | 0;
    }
    this.#flag = flags;
    if (pseudo) {
      this.#text = source.latin1Slice(start, stop);
      this.#id = pseudoId(this.#text);
      return true;
    }
    const id = (flags & (FieldFlag.BadName | FieldFlag.UpperCase)) === 0 ? knownName(source, start, stop, hash) : -1;
    this.#id = id;
    this.#text = id >= 0 ? KNOWN_NAMES[id]! : source.latin1Slice(start, stop);
    return true;
  }

  #readValue(bytes: Buffer, end: number): boolean {
    if (this.#at >= end) return false;
    const huffman = bytes[this.#at]! >= 0x80;
    if (!this.#readInteger(bytes, end, 7)) return false;
    const from = this.#at;
    const size = this.#integer;
    if (size > end - from || size > this.#maxString) return false;
    this.#at = from + size;
    let source = bytes;
    let start = from;
    let stop = from + size;
    if (huffman) {
      source = scratchFor(size);
      start = 0;
      stop = decodeHuffman(bytes, from, from + size, source);
      if (stop < 0) return false;
    }
    let flags = 0;
    for (let i = start; i < stop; i++) flags |= VALUE_FLAG[source[i]!]!;
    this.#flag = flags;
    this.#text = start === stop ? '' : source.latin1Slice(start, stop);
    return true;
  }

  #insert(name: string, value: string, id: number, flags: number): void {
    const size = name.length + value.length + ENTRY_OVERHEAD;
    this.#evict(size);
    // One that is larger than the table empties it (section 4.4).
    if (size > this.#tableSize) return;
    if (this.#count === this.#names.length) this.#grow();
    const slot = (this.#newest + 1) & this.#mask;
    this.#newest = slot;
    this.#names[slot] = name;
    this.#values[slot] = value;
    this.#ids[slot] = id;
    this.#flags[slot] = flags;
    this.#count++;
    this.#size += size;
  }

  /** Drops the oldest entries until `room` bytes are free. */
  #evict(room: number): void {
    while (this.#count > 0 && this.#size + room > this.#tableSize) {
      const slot = (this.#newest - this.#count + 1) & this.#mask;
      this.#size -= this.#names[slot]!.length + this.#values[slot]!.length + ENTRY_OVERHEAD;
      this.#names[slot] = '';
      this.#values[slot] = '';
      this.#count--;
    }
  }

  #grow(): void {
    const count = this.#count;
    const room = this.#names.length * 2;
    const names: string[] = new Array(room).fill('');
    const values: string[] = new Array(room).fill('');
    const ids = new Int16Array(room);
    const flags = new Uint8Array(room);
    for (let i = 0; i < count; i++) {
      const slot = (this.#newest - count + 1 + i) & this.#mask;
      names[i] = this.#names[slot]!;
      values[i] = this.#values[slot]!;
      ids[i] = this.#ids[slot]!;
      flags[i] = this.#flags[slot]!;
    }
    this.#names = names;
    this.#values = values;
    this.#ids = ids;
    this.#flags = flags;
    this.#mask = room - 1;
    this.#newest = count - 1;
  }
}

/** Where `size` bytes of Huffman code can be decoded to; used up before the next call. */
function scratchFor(size: number): Buffer {
  const room = maxDecodedLength(size);
  return room <= SCRATCH_BYTES ? SCRATCH : Buffer.allocUnsafeSlow(room);
}
