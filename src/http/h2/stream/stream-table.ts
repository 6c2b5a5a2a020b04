interface Numbered {
  readonly id: number;
}

const FEWEST_SLOTS = 8;
/** An empty table with more slots than this lets them go. */
const MOST_SPARE_SLOTS = 256;

/**
 * Open streams by id: open addressing, at most half full, holes closed on deletion.
 *
 * Not a `Map`: each time streams that come and go make its runtime build a new table, the old one is left pointing to the new one.
 * Once a collection has taken one of them for old, all that follow it, and the streams in them, live until the next full collection:
 * most of what HTTP/2 allocated was marked again and again for nothing (a fifth of the CPU of a small request).
 */
export class StreamTable<Stream extends Numbered> {
  #slots: (Stream | null)[] = new Array(FEWEST_SLOTS).fill(null);
  #mask = FEWEST_SLOTS - 1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Stream | undefined {
    const slots = this.#slots;
    for (let at = placeOf(id, this.#mask); ; at = (at + 1) & this.#mask) {
      const stream = slots[at]!;
      if (stream === null) return undefined;
      if (stream.id === id) return stream;
    }
  }

  /** Its id is not in the table yet. */
  add(stream: Stream): void {
    if (++this.#size * 2 > this.#slots.length) this.#rebuild(this.#slots.length * 2);
    this.#put(stream);
  }

  #put(stream: Stream): void {
    const slots = this.#slots;
    let at = placeOf(stream.id, this.#mask);
    while (slots[at] !== null) at = (at + 1) & this.#mask;
    slots[at] = stream;
  }

  /** @returns whether it was there */
  delete(id: number): boolean {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = placeOf(id, mask);
    for (; ; hole = (hole + 1) & mask) {
      const stream = slots[hole]!;
      if (stream === null) return false;
      if (stream.id === id) break;
    }
    this.#size--;
    // Whoever stands behind and could not have the hole's place, or one before it, moves up.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at]!;
      if (stream === null) break;
      if (((at - placeOf(stream.id, mask)) & mask) < ((at - hole) & mask)) continue;
      slots[hole] = stream;
      hole = at;
    }
    slots[hole] = null;
    if (this.#size === 0 && slots.length > MOST_SPARE_SLOTS) this.#rebuild(FEWEST_SLOTS);
    return true;
  }

  #rebuild(slots: number): void {
    const before = this.#slots;
    this.#slots = new Array(slots).fill(null);
    this.#mask = slots - 1;
    for (const stream of before) if (stream !== null) this.#put(stream);
  }

  /** All of them now, in the order of their ids. */
  list(): Stream[] {
    const out: Stream[] = [];
    for (const stream of this.#slots) if (stream !== null) out.push(stream);
    return out.sort((a, b) => a.id - b.id);
  }
}

/** Spread by multiplication: a peer picks its ids, which may all be far apart by the same distance. */
function placeOf(id: number, mask: number): number {
  return (Math.imul(id, 0x9e3779b1) >>> 15) & mask;
}
