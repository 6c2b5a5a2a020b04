import { expect, test } from 'bun:test';
import { StreamTable } from './stream-table.ts';

/** Seeded, so that a failure comes again. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

for (const step of [2, 16, 2048, 65_536]) {
  test(`agrees with a Map, ids ${step} apart`, () => {
    const random = mulberry(step);
    const table = new StreamTable<{ id: number }>();
    const map = new Map<number, { id: number }>();
    let next = 1;
    for (let turn = 0; turn < 6000; turn++) {
      // Waves: it fills, and drains until it is empty.
      const filling = Math.floor(turn / 1000) % 2 === 0;
      if (random() < (filling ? 0.7 : 0.3)) {
        const stream = { id: next };
        next += step;
        table.add(stream);
        map.set(stream.id, stream);
      } else if (map.size > 0) {
        const ids = [...map.keys()];
        const id = ids[Math.floor(random() * ids.length)]!;
        expect(table.delete(id)).toBe(true);
        expect(table.delete(id)).toBe(false);
        map.delete(id);
      }
      expect(table.size).toBe(map.size);
      const id = 1 + Math.floor(random() * (next / step)) * step;
      expect(table.get(id)).toBe(map.get(id) as { id: number });
      if (turn % 100 === 0) expect(table.list()).toEqual([...map.values()]);
    }
    for (const id of [...map.keys()]) expect(table.delete(id)).toBe(true);
    expect(table.size).toBe(0);
    expect(table.list()).toEqual([]);
    expect(table.get(1)).toBeUndefined();
  });
}
