import { assert } from './assert.ts';
import { ReceivedBytes } from './received-bytes.ts';
import type { SlabPool } from './slab-pool.ts';

/** Told when a buffer's length crosses its watermarks. Calls come in strict alternation, high first. */
export interface WatermarkObserver {
  onAboveHighWatermark(): void;
  onBelowLowWatermark(): void;
}

/** A run of bytes inside a larger array. Whoever holds the buffer may read `bytes[start..end)`, nothing else. */
export class Slice {
  bytes: Buffer;
  start: number;
  end: number;
  /** Up to here `bytes` may be filled up behind `end`; less or equal to `end` when it may not. */
  limit: number;
  /** Who gets `bytes` back once nobody reads them here; null: the garbage collector. */
  pool: SlabPool | ReceivedBytes | null;

  constructor(bytes: Buffer, start: number, end: number, limit: number, pool: SlabPool | ReceivedBytes | null) {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.limit = limit;
    this.pool = pool;
  }
}

/** Slices up to this size are copied behind the previous one where it has room, instead of being chained: one write, not two. */
const COALESCE_BYTES = 4096;
/** Slices up to this size are always copied: as objects of their own they would cost more than their bytes. */
const SMALL_BYTES = 512;
/** Room made for small slices when there is no pool. */
const CHUNK_BYTES = 8192;
/** An array is kept alive as a whole only if at least one byte in so many of it is wanted. */
const MAX_WASTE = 16;
const EMPTY = Buffer.alloc(0);

function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The front of a slice up to `stop`. A pooled slab may have one owner only, so its part is copied. */
function partOf(slice: Slice, stop: number): Slice {
  const { pool } = slice;
  if (pool === null) return new Slice(slice.bytes, slice.start, stop, stop, null);
  if (pool instanceof ReceivedBytes) {
    pool.share();
    return new Slice(slice.bytes, slice.start, stop, stop, pool);
  }
  const size = stop - slice.start;
  const copy = Buffer.allocUnsafeSlow(size);
  slice.bytes.copy(copy, 0, slice.start, stop);
  return new Slice(copy, 0, size, size, null);
}

/**
 * A queue of bytes as a list of slices. `append` takes ownership, `moveFrom` moves without copying (small pieces are
 * coalesced), `drain` drops from the front. With watermarks set, one observer learns of crossings: above when the length
 * exceeds `high`, below when it has fallen to `low` or less after having been above (Envoy: WatermarkBuffer).
 *
 * Memory stays in proportion to `length`, however small the pieces and the part that is wanted of what was received
 * (one-byte chunks, chunks behind long extensions): a peer cannot make a limit in bytes stand for more.
 */
export class ByteBuffer {
  /** Bytes held. */
  length = 0;
  #slices: Slice[] = [];
  /** Index of the first live slice in #slices: shifting an array per drained slice would copy it. */
  #head = 0;
  readonly #pool: SlabPool | null;
  #high = 0;
  #low = 0;
  #above = false;
  #observer: WatermarkObserver | null = null;
  /** Where the last pieces came from, and how many bytes of it were taken in. */
  #source: Buffer | null = null;
  #fromSource = 0;

  /** @param pool where `appendLatin1` and coalescing take room from; without one they allocate */
  constructor(pool: SlabPool | null = null) {
    this.#pool = pool;
  }

  static from(data: Uint8Array | string): ByteBuffer {
    const buffer = new ByteBuffer();
    if (typeof data === 'string') buffer.append(Buffer.from(data, 'utf8'));
    else buffer.append(data);
    return buffer;
  }

  /** @param high bytes; 0 turns watermarks off. `low` is half of it, as in Envoy. */
  setWatermarks(high: number, observer: WatermarkObserver | null): void {
    this.#high = high;
    this.#low = Math.floor(high / 2);
    this.#observer = observer;
    this.#checkHigh();
    this.#checkLow();
  }

  get highWatermark(): number {
    return this.#high;
  }

  get isAboveHighWatermark(): boolean {
    return this.#above;
  }

  /** Takes ownership of `bytes[start..end)`: the caller must not write to them any more. */
  append(bytes: Uint8Array, start = 0, end: number = bytes.length): void {
    const size = end - start;
    if (size <= 0) return;
    const buffer = asBuffer(bytes);
    if (!this.#copyIn(buffer, start, end)) this.#slices.push(new Slice(buffer, start, end, end, null));
    this.length += size;
    this.#checkHigh();
  }

  /**
   * As `append`, of bytes that a socket has handed over: where the runtime can, large ones are freed as soon as they have been
   * drained, here or in the buffers that they were moved to.
   */
  appendReceived(bytes: Buffer): void {
    const received = ReceivedBytes.of(bytes);
    if (received === null) {
      this.append(bytes);
      return;
    }
    this.#slices.push(new Slice(bytes, 0, bytes.length, bytes.length, received));
    this.length += bytes.length;
    this.#checkHigh();
  }

  /** Puts `bytes` in front of everything held. Takes ownership. */
  prepend(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#compact();
    this.#slices.unshift(new Slice(asBuffer(bytes), 0, bytes.length, bytes.length, null));
    this.length += bytes.length;
    this.#checkHigh();
  }

  /** Encodes each UTF-16 unit's low byte. Header text is kept as latin1 strings, so this is lossless for it. */
  appendLatin1(text: string): void {
    const size = text.length;
    if (size === 0) return;
    const tail = this.#tailWithRoom(size);
    tail.bytes.latin1Write(text, tail.end, size);
    tail.end += size;
    this.length += size;
    this.#checkHigh();
  }

  /**
   * Room to write into: up to `size` bytes of the returned slice's `bytes` from its `end` on. They belong to the buffer once
   * `commit` has said how many they are; valid until the buffer is next changed.
   */
  reserve(size: number): Slice {
    return this.#tailWithRoom(size);
  }

  /** The first `size` bytes of what `reserve` gave have been written. */
  commit(tail: Slice, size: number): void {
    tail.end += size;
    this.length += size;
    this.#checkHigh();
  }

  /** Copies a piece behind what is held, unless it may as well be chained. @returns whether it was copied */
  #copyIn(bytes: Buffer, start: number, end: number): boolean {
    if (this.#slices.length === this.#head) return false;
    const size = end - start;
    const tail = this.#slices[this.#slices.length - 1]!;
    if (size > COALESCE_BYTES || tail.limit - tail.end < size) {
      if (this.#source !== bytes) {
        this.#source = bytes;
        this.#fromSource = 0;
      }
      this.#fromSource += size;
      if (size > SMALL_BYTES && this.#fromSource * MAX_WASTE >= bytes.length) return false;
    }
    const target = this.#tailWithRoom(size);
    bytes.copy(target.bytes, target.end, start, end);
    target.end += size;
    return true;
  }

  /** A slice at the tail with room for `size` bytes behind its `end`, which the caller then moves on. */
  #tailWithRoom(size: number): Slice {
    const empty = this.#slices.length === this.#head;
    if (!empty) {
      const tail = this.#slices[this.#slices.length - 1]!;
      if (tail.limit - tail.end >= size) return tail;
    }
    const pool = this.#pool;
    let slice: Slice;
    if (pool !== null && size <= pool.slabBytes) {
      slice = new Slice(pool.take(), 0, 0, pool.slabBytes, pool);
    } else {
      const room = empty ? size : Math.max(size, CHUNK_BYTES);
      slice = new Slice(Buffer.allocUnsafeSlow(room), 0, 0, room, null);
    }
    this.#slices.push(slice);
    return slice;
  }

  /** Moves the first `size` bytes (all by default) of `other` to the end of this buffer. Large slices are not copied. */
  moveFrom(other: ByteBuffer, size: number = other.length): void {
    assert(size <= other.length, 'moveFrom: more than the source holds');
    let left = size;
    while (left > 0) {
      const slice = other.#slices[other.#head]!;
      const take = Math.min(slice.end - slice.start, left);
      const stop = slice.start + take;
      const whole = stop === slice.end;
      const copied = this.#copyIn(slice.bytes, slice.start, stop);
      if (whole) {
        other.#dropHead();
        if (!copied) this.#slices.push(slice);
        else if (slice.pool !== null) slice.pool.give(slice.bytes);
      } else {
        if (!copied) this.#slices.push(partOf(slice, stop));
        slice.start = stop;
      }
      left -= take;
    }
    other.length -= size;
    this.length += size;
    other.#checkLow();
    this.#checkHigh();
  }

  /** Drops the first `size` bytes. */
  drain(size: number): void {
    assert(size <= this.length, 'drain: more than the buffer holds');
    this.#dropFront(size);
    this.length -= size;
    this.#checkLow();
  }

  #dropFront(size: number): void {
    let left = size;
    while (left > 0) {
      const slice = this.#slices[this.#head]!;
      const available = slice.end - slice.start;
      if (available <= left) {
        this.#dropHead();
        if (slice.pool !== null) slice.pool.give(slice.bytes);
        left -= available;
      } else {
        slice.start += left;
        left = 0;
      }
    }
  }

  clear(): void {
    this.drain(this.length);
  }

  /** The first slice, or null when empty. Valid until the buffer is next changed. */
  firstSlice(): Slice | null {
    return this.#slices.length > this.#head ? this.#slices[this.#head]! : null;
  }

  get sliceCount(): number {
    return this.#slices.length - this.#head;
  }

  sliceAt(index: number): Slice {
    return this.#slices[this.#head + index]!;
  }

  /** Byte at `offset` from the front; -1 when out of range. */
  byteAt(offset: number): number {
    if (offset < 0 || offset >= this.length) return -1;
    for (let i = this.#head; i < this.#slices.length; i++) {
      const slice = this.#slices[i]!;
      const size = slice.end - slice.start;
      if (offset < size) return slice.bytes[slice.start + offset]!;
      offset -= size;
    }
    return -1;
  }

  /** Offset of the first `byte` at or after `from`; -1 when there is none. */
  indexOf(byte: number, from = 0): number {
    let base = 0;
    for (let i = this.#head; i < this.#slices.length; i++) {
      const slice = this.#slices[i]!;
      const size = slice.end - slice.start;
      if (from < base + size) {
        const at = slice.bytes.indexOf(byte, slice.start + Math.max(0, from - base));
        if (at >= 0 && at < slice.end) return base + at - slice.start;
      }
      base += size;
    }
    return -1;
  }

  /**
   * Makes the first `size` bytes contiguous (copying only if they are not) and returns the slice that begins with them.
   * Valid until the buffer is next changed.
   */
  linearize(size: number): Slice {
    assert(size <= this.length, 'linearize: more than the buffer holds');
    const first = this.firstSlice();
    if (first === null) return new Slice(EMPTY, 0, 0, 0, null);
    if (first.end - first.start >= size) return first;
    const joined = Buffer.allocUnsafeSlow(size);
    this.copyTo(joined, 0, 0, size);
    this.#dropFront(size);
    this.#compact();
    const slice = new Slice(joined, 0, size, size, null);
    this.#slices.unshift(slice);
    return slice;
  }

  /** Copies `size` bytes beginning at `offset` into `target` at `targetStart`. */
  copyTo(target: Buffer, targetStart: number, offset: number, size: number): void {
    assert(offset + size <= this.length, 'copyTo: more than the buffer holds');
    let skip = offset;
    let left = size;
    for (let i = this.#head; left > 0; i++) {
      const slice = this.#slices[i]!;
      const available = slice.end - slice.start;
      if (skip >= available) {
        skip -= available;
        continue;
      }
      const take = Math.min(available - skip, left);
      slice.bytes.copy(target, targetStart, slice.start + skip, slice.start + skip + take);
      targetStart += take;
      left -= take;
      skip = 0;
    }
  }

  /** A copy of everything held, in one array. */
  toBytes(): Buffer {
    const out = Buffer.allocUnsafeSlow(this.length);
    this.copyTo(out, 0, 0, this.length);
    return out;
  }

  latin1(): string {
    const only = this.firstSlice();
    if (only === null) return '';
    if (this.sliceCount === 1) return only.bytes.latin1Slice(only.start, only.end);
    return this.toBytes().latin1Slice(0, this.length);
  }

  utf8(): string {
    return this.toBytes().toString('utf8');
  }

  #dropHead(): void {
    this.#head++;
    if (this.#head === this.#slices.length) {
      this.#slices.length = 0;
      this.#head = 0;
      this.#source = null;
    } else if (this.#head > 32 && this.#head * 2 > this.#slices.length) {
      // Half of the list at a time: moving the rest for every few slices would be quadratic.
      this.#compact();
    }
  }

  #compact(): void {
    if (this.#head > 0) {
      this.#slices.splice(0, this.#head);
      this.#head = 0;
    }
  }

  #checkHigh(): void {
    if (this.#high !== 0 && !this.#above && this.length > this.#high) {
      this.#above = true;
      this.#observer?.onAboveHighWatermark();
    }
  }

  #checkLow(): void {
    if (this.#above && (this.#high === 0 || this.length <= this.#low)) {
      this.#above = false;
      this.#observer?.onBelowLowWatermark();
    }
  }
}
