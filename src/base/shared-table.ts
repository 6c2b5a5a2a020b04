/** Int64 words of one slot: the key's hash, and the value. */
const WORDS_PER_SLOT = 2;
/** Slots of a table unless told otherwise: 64 KiB. */
const DEFAULT_SHARED_SLOTS = 4096;

/** 64 bits of a key. Two FNV-1a streams with different offsets; zero, which marks a free slot, is never given. */
function hashOf(key: string): bigint {
  let high = 0x811c9dc5;
  let low = 0x1b873593;
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i);
    high = Math.imul(high ^ unit, 0x01000193);
    low = Math.imul(low ^ (unit + i), 0x85ebca6b);
    low = (low << 13) | (low >>> 19);
  }
  const hash = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  return BigInt.asIntN(64, hash === 0n ? 1n : hash);
}

/**
 * A number that all workers of the process see: a double, changed by compare-and-swap, or a count. It begins as 0.
 * Use one kind of method per cell.
 */
export class SharedCell {
  readonly #words: BigInt64Array;
  readonly #index: number;
  readonly #double: Float64Array;
  readonly #bits: BigInt64Array;

  constructor(words: BigInt64Array, index: number) {
    this.#words = words;
    this.#index = index;
    this.#double = new Float64Array(1);
    this.#bits = new BigInt64Array(this.#double.buffer);
  }

  /** A cell of this thread alone. */
  static private(): SharedCell {
    return new SharedCell(new BigInt64Array(1), 0);
  }

  load(): number {
    this.#bits[0] = Atomics.load(this.#words, this.#index);
    return this.#double[0]!;
  }

  /** @returns whether the cell held `expected` and now holds `value` */
  swap(expected: number, value: number): boolean {
    this.#double[0] = expected;
    const before = this.#bits[0]!;
    this.#double[0] = value;
    return Atomics.compareExchange(this.#words, this.#index, before, this.#bits[0]!) === before;
  }

  /** Adds to a count. @returns what it was */
  add(amount: number): number {
    return Number(Atomics.add(this.#words, this.#index, BigInt(amount)));
  }

  count(): number {
    return Number(Atomics.load(this.#words, this.#index));
  }
}

/**
 * Numbers shared by the workers of a process, found by name: whoever asks first for a name takes a free slot. Names are kept as
 * 64-bit hashes and are never given back, so use it for what configuration names, not for what requests bring.
 */
export class SharedTable {
  /** Null: one worker, each cell is its own memory. */
  readonly buffer: SharedArrayBuffer | null;
  readonly #words: BigInt64Array | null;
  readonly #slots: number;
  readonly #known = new Map<string, SharedCell>();

  /** @param buffer from {@link SharedTable.allocate}, the same for all workers; null: nothing is shared */
  constructor(buffer: SharedArrayBuffer | null) {
    this.buffer = buffer;
    this.#words = buffer === null ? null : new BigInt64Array(buffer);
    this.#slots = this.#words === null ? 0 : this.#words.length / WORDS_PER_SLOT;
  }

  static allocate(slots = DEFAULT_SHARED_SLOTS): SharedArrayBuffer {
    return new SharedArrayBuffer(slots * WORDS_PER_SLOT * 8);
  }

  /** The cell of this name. When the table is full: one of this thread alone. */
  cell(key: string): SharedCell {
    let cell = this.#known.get(key);
    if (cell === undefined) {
      cell = this.#claim(key) ?? SharedCell.private();
      this.#known.set(key, cell);
    }
    return cell;
  }

  #claim(key: string): SharedCell | null {
    const words = this.#words;
    if (words === null) return null;
    const hash = hashOf(key);
    let slot = Number(BigInt.asUintN(31, hash)) % this.#slots;
    for (let i = 0; i < this.#slots; i++) {
      const at = slot * WORDS_PER_SLOT;
      const before = Atomics.compareExchange(words, at, 0n, hash);
      if (before === 0n || before === hash) return new SharedCell(words, at + 1);
      slot = slot + 1 === this.#slots ? 0 : slot + 1;
    }
    return null;
  }
}
