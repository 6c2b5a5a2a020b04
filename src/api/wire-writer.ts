/** What most configuration messages fit into. */
const FIRST_BYTES = 512;

/**
 * Writes an encoded message from its end to its beginning: the length of a part is known when it comes to be written, so that
 * nothing is measured first or moved later. Values come in the reverse of their order on the wire, each before its tag.
 */
export class WireWriter {
  #buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #start = FIRST_BYTES;

  /** How many bytes have been written: the difference of two is the length of what came between. */
  get length(): number {
    return this.#buffer.length - this.#start;
  }

  /** All that was written. */
  finish(): Uint8Array {
    return new Uint8Array(this.#buffer.subarray(this.#start));
  }

  /** Makes room for `size` bytes. @returns where they go */
  #take(size: number): number {
    if (size > this.#start) this.#grow(size);
    this.#start -= size;
    return this.#start;
  }

  #grow(size: number): void {
    const used = this.length;
    const buffer = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, used + size));
    const start = buffer.length - used;
    this.#buffer.copy(buffer, start, this.#start);
    this.#buffer = buffer;
    this.#start = start;
  }

  /** @param value unsigned, 32 bits */
  uint32(value: number): void {
    if (value < 0x80) {
      // First: it may exchange the buffer.
      const at = this.#take(1);
      this.#buffer[at] = value;
      return;
    }
    let size = 1;
    for (let rest = value >>> 7; rest !== 0; rest >>>= 7) size++;
    let at = this.#take(size);
    let rest = value;
    while (rest > 0x7f) {
      this.#buffer[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#buffer[at] = rest;
  }

  /** Negative numbers take ten bytes: they are written as if they had 64 bits. */
  int32(value: number): void {
    if (value >= 0) this.uint32(value);
    else this.uint64(BigInt(value));
  }

  sint32(value: number): void {
    this.uint32(((value << 1) ^ (value >> 31)) >>> 0);
  }

  /** Signed numbers too. */
  uint64(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    let size = 1;
    for (let left = rest >> 7n; left !== 0n; left >>= 7n) size++;
    let at = this.#take(size);
    while (rest > 0x7fn) {
      this.#buffer[at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#buffer[at] = Number(rest);
  }

  sint64(value: bigint): void {
    this.uint64((value << 1n) ^ (value >> 63n));
  }

  fixed32(value: number): void {
    const at = this.#take(4);
    this.#buffer.writeUInt32LE(value >>> 0, at);
  }

  fixed64(value: bigint): void {
    const at = this.#take(8);
    this.#buffer.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  }

  float(value: number): void {
    const at = this.#take(4);
    this.#buffer.writeFloatLE(value, at);
  }

  double(value: number): void {
    const at = this.#take(8);
    this.#buffer.writeDoubleLE(value, at);
  }

  /** Bytes alone, without their length. */
  raw(bytes: Uint8Array): void {
    const at = this.#take(bytes.length);
    this.#buffer.set(bytes, at);
  }

  bytes(bytes: Uint8Array): void {
    this.raw(bytes);
    this.uint32(bytes.length);
  }

  string(text: string): void {
    const size = Buffer.byteLength(text);
    const at = this.#take(size);
    this.#buffer.write(text, at, size);
    this.uint32(size);
  }
}
