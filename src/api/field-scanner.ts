/** Wire types of protobuf. Source: protobuf.dev, "Encoding". */
export const WireType = { Varint: 0, Bit64: 1, LengthDelimited: 2, StartGroup: 3, EndGroup: 4, Bit32: 5 } as const;
export type WireType = (typeof WireType)[keyof typeof WireType];

/** How deep messages, entries of maps and groups may stand in each other. Protobuf's own limit. */
const MAX_LEVELS = 100;
/** Lengths are below 2 GiB, less what protobuf reads ahead. */
const MAX_LENGTH = 2 ** 31 - 1 - 16;
const MAX_LENGTH_BYTES = 5;
const MAX_TAG_BYTES = 5;
const MAX_VARINT_BYTES = 10;

/**
 * Goes over the fields of an encoded message without looking into them, and takes for a field what protobuf's C++ implementation does:
 * nothing that goes beyond its message, no length or tag that is longer than it may be, no group without its end.
 */
export class FieldScanner {
  readonly bytes: Uint8Array;
  #end: number;
  /** How many more may stand in each other. */
  #levels = MAX_LEVELS;
  field = 0;
  wireType: WireType = WireType.Varint;
  /** The field, with its tag. */
  start: number;
  /** What is behind the tag; of what has a length, behind that. */
  content: number;
  /** Behind the field. */
  next: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#end = bytes.length;
    this.start = 0;
    this.content = 0;
    this.next = 0;
  }

  /** Takes the next field. @returns false: there is none. @throws Error: what comes is no field */
  advance(): boolean {
    if (this.next === this.#end) return false;
    this.start = this.next;
    const tag = this.#tag();
    this.field = tag >>> 3;
    this.wireType = (tag & 7) as WireType;
    this.content = this.next;
    this.#skip(tag, this.#levels);
    return true;
  }

  /**
   * The next fields are those of the message that the field holds. Once there is none left, `leave` goes on behind it.
   * @returns for `leave`
   * @throws Error: messages stand too deep in each other
   */
  enter(): number {
    if (this.#levels === 0) throw new Error(`more than ${MAX_LEVELS} messages in each other`);
    const end = this.#end;
    this.#levels--;
    this.#end = this.next;
    this.next = this.content;
    return end;
  }

  leave(end: number): void {
    this.#levels++;
    this.#end = end;
  }

  /** @throws Error: the field holds no numbers of that type one behind the other */
  checkPacked(wireType: WireType): void {
    const { next } = this;
    if (wireType === WireType.Varint) {
      this.next = this.content;
      while (this.next < next) this.#varint(next);
    } else if ((next - this.content) % (wireType === WireType.Bit32 ? 4 : 8) !== 0) {
      throw new Error(`field ${this.field} ends within a number`);
    }
  }

  #skip(tag: number, levels: number): void {
    switch (tag & 7) {
      case WireType.Varint:
        this.#varint(this.#end);
        return;
      case WireType.Bit64:
        this.#pass(8);
        return;
      case WireType.Bit32:
        this.#pass(4);
        return;
      case WireType.LengthDelimited: {
        const length = this.#length();
        // Of a group, what stands in it has no content of its own.
        if (levels === this.#levels) this.content = this.next;
        this.#pass(length);
        return;
      }
      case WireType.StartGroup:
        this.#skipGroup(tag >>> 3, levels);
        return;
      default:
        throw new Error(`field ${tag >>> 3} has wire type ${tag & 7}`);
    }
  }

  #skipGroup(field: number, levels: number): void {
    if (levels === 0) throw new Error(`more than ${MAX_LEVELS} messages in each other`);
    for (;;) {
      const tag = this.#tag();
      if ((tag & 7) !== WireType.EndGroup) {
        this.#skip(tag, levels - 1);
        continue;
      }
      if (tag >>> 3 !== field) throw new Error(`group ${field} ends as group ${tag >>> 3}`);
      return;
    }
  }

  #tag(): number {
    const tag = this.#number(MAX_TAG_BYTES, 2 ** 32 - 1, 'a tag');
    if (tag < 8) throw new Error('a field has the number 0');
    return tag;
  }

  #length(): number {
    return this.#number(MAX_LENGTH_BYTES, MAX_LENGTH, 'a length');
  }

  #number(maxBytes: number, max: number, what: string): number {
    const { bytes } = this;
    const end = this.#end;
    let at = this.next;
    let byte = at < end ? bytes[at]! : 0x80;
    if (byte < 0x80) {
      this.next = at + 1;
      return byte;
    }
    let value = 0;
    let factor = 1;
    for (let i = 0; i < maxBytes; i++) {
      if (at === end) throw new Error(`${what} goes beyond the end of its message`);
      byte = bytes[at++]!;
      value += (byte & 0x7f) * factor;
      factor *= 128;
      if (byte >= 0x80) continue;
      if (value > max) break;
      this.next = at;
      return value;
    }
    throw new Error(`${what} is too large`);
  }

  #varint(end: number): void {
    const { bytes } = this;
    const start = this.next;
    let at = start;
    while (at < end && bytes[at]! >= 0x80) at++;
    if (at >= end) throw new Error(`field ${this.field} goes beyond the end of its message`);
    if (at - start >= MAX_VARINT_BYTES) throw new Error(`field ${this.field} is a number of too many bytes`);
    this.next = at + 1;
  }

  #pass(length: number): void {
    if (length > this.#end - this.next) throw new Error(`field ${this.field} goes beyond the end of its message`);
    this.next += length;
  }
}
