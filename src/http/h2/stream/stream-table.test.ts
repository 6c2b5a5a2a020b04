import { expect, test } from 'bun:test';
import { SeededRandom } from '../../../base/random.ts';
import { StreamTable } from './stream-table.ts';

for (const step of [2, 16, 2048, 65_536]) {
  test(`agrees with a Map, ids ${step} apart`, () => {
    const random = new SeededRandom(step);
    const table = new StreamTable<{ id: number }>();
    const map = new Map<number, { id: number }>();
    let next = 1;
    for (let turn = 0; turn < 6000; turn++) {
      // Waves: it fills, and drains until it is empty.
      const filling = Math.floor(turn / 1000) % 2 === 0;
      if (random.float() < (filling ? 0.7 : 0.3)) {
        const stream = { id: next };
        next += step;
        table.add(stream);
        map.set(stream.id, stream);
      } else if (map.size > 0) {
        const ids = [...map.keys()];
        const id = ids[Math.floor(random.float() * ids.length)]!;
        expect(table.delete(id)).toBe(true);
        expect(table.delete(id)).toBe(false);
        map.delete(id);
      }
      expect(table.size).toBe(map.size);
      const id = 1 + Math.floor(random.float() * (next / step)) * step;
      expect(table.get(id)).toBe(map.get(id) as { id: number });
      if (turn % 100 === 0) expect(table.list()).toEqual([...map.values()]);
    }
    for (const id of [...map.keys()]) expect(table.delete(id)).toBe(true);
    expect(table.size).toBe(0);
    expect(table.list()).toEqual([]);
    expect(table.get(1)).toBeUndefined();
  });
}
