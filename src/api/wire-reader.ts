/** Protobuf's wire types. Source: protobuf.dev, "Encoding". */
export const WireType = {
  Varint: 0,
  Bit64: 1,
  LengthDelimited: 2,
  StartGroup: 3,
  EndGroup: 4,
  Bit32: 5,
} as const;

/** Messages in messages (and groups) that are read at most, as protobuf's own readers have it. */
export const MAX_DEPTH = 100;

/** Keeps a byte order mark: it is part of the text. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Texts up to this many bytes are looked at byte by byte first: nearly all of them are ASCII. */
const SHORT_TEXT = 256;

/**
 * Reads the values of one encoded message. All methods throw an Error on bytes that are not protobuf, and at the end of what
 * they may read.
 */
export class WireReader {
  readonly bytes: Uint8Array;
  position = 0;
  /** Where the innermost message ends. */
  end: number;
  readonly #buffer: Buffer;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.end = bytes.length;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** A varint's low 32 bits, unsigned. */
  uint32(): number {
    const { bytes } = this;
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.position >= this.end) throw new RangeError('premature EOF');
      const byte = bytes[this.position++]!;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new Error('invalid varint');
  }

  int32(): number {
    return this.uint32() | 0;
  }

  sint32(): number {
    const zigzag = this.uint32();
    return (zigzag >>> 1) ^ -(zigzag & 1);
  }

  uint64(): bigint {
    const { bytes } = this;
    let low = 0;
    let middle = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      if (this.position >= this.end) throw new RangeError('premature EOF');
      const byte = bytes[this.position++]!;
      const part = byte & 0x7f;
      // Three parts of 28, 28 and 8 bits.
      if (index < 4) low |= part << (index * 7);
      else if (index < 8) middle |= part << ((index - 4) * 7);
      else high |= part << ((index - 8) * 7);
      if (byte < 0x80) {
        if (index < 4) return BigInt(low);
        return BigInt.asUintN(64, BigInt(low) | (BigInt(middle) << 28n) | (BigInt(high) << 56n));
      }
    }
    throw new Error('invalid varint');
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  sint64(): bigint {
    const zigzag = this.uint64();
    return (zigzag >> 1n) ^ -(zigzag & 1n);
  }

  bool(): boolean {
    return this.uint64() !== 0n;
  }

  fixed32(): number {
    return this.#buffer.readUInt32LE(this.#skip(4));
  }

  sfixed32(): number {
    return this.#buffer.readInt32LE(this.#skip(4));
  }

  fixed64(): bigint {
    return this.#buffer.readBigUInt64LE(this.#skip(8));
  }

  sfixed64(): bigint {
    return this.#buffer.readBigInt64LE(this.#skip(8));
  }

  float(): number {
    return this.#buffer.readFloatLE(this.#skip(4));
  }

  double(): number {
    return this.#buffer.readDoubleLE(this.#skip(8));
  }

  /** Part of the input, not a copy. */
  view(): Uint8Array {
    const length = this.uint32();
    const start = this.#skip(length);
    return this.bytes.subarray(start, start + length);
  }

  /** Throws on invalid UTF-8, as proto3 asks. */
  string(): string {
    const length = this.uint32();
    const start = this.#skip(length);
    const { bytes } = this;
    const end = start + length;
    if (length <= SHORT_TEXT) {
      let at = start;
      while (at < end && bytes[at]! < 0x80) at++;
      if (at === end) return this.#buffer.latin1Slice(start, end);
    }
    return UTF8.decode(bytes.subarray(start, end));
  }

  /** Begins a message in the message. @returns what `leave` wants */
  enter(): number {
    const length = this.uint32();
    const outer = this.end;
    if (length > outer - this.position) throw new RangeError('premature EOF');
    this.end = this.position + length;
    return outer;
  }

  leave(outer: number): void {
    this.end = outer;
  }

  /** Steps over a value. @returns it as it stands there, its length included */
  skip(wireType: number, field: number, depth: number): Uint8Array {
    const start = this.position;
    switch (wireType) {
      case WireType.Varint:
        this.uint64();
        break;
      case WireType.Bit64:
        this.#skip(8);
        break;
      case WireType.Bit32:
        this.#skip(4);
        break;
      case WireType.LengthDelimited:
        this.#skip(this.uint32());
        break;
      case WireType.StartGroup:
        this.#skipGroup(field, depth + 1);
        break;
      default:
        throw new Error(`cannot skip wire type ${wireType}`);
    }
    return this.bytes.subarray(start, this.position);
  }

  #skipGroup(field: number, depth: number): void {
    if (depth > MAX_DEPTH) throw new Error('maximum recursion depth reached');
    for (;;) {
      const tag = this.tag();
      if ((tag & 7) === WireType.EndGroup) {
        if (tag >>> 3 !== field) throw new Error('invalid end group tag');
        return;
      }
      this.skip(tag & 7, tag >>> 3, depth);
    }
  }

  /** Field number times eight plus wire type. */
  tag(): number {
    const tag = this.uint32();
    if (tag < 8 || (tag & 7) > WireType.Bit32)
      throw new Error(`illegal tag: field no ${tag >>> 3} wire type ${tag & 7}`);
    return tag;
  }

  /** @returns where the skipped bytes begin */
  #skip(length: number): number {
    const start = this.position;
    if (length > this.end - start) throw new RangeError('premature EOF');
    this.position = start + length;
    return start;
  }
}
