import { expect, test } from 'bun:test';
import { SeededRandom } from '../base/random.ts';
import { SparseList } from './sparse-list.ts';

test('it holds what a map of places would, in the order of the places', () => {
  const random = new SeededRandom(7);
  for (let round = 0; round < 50; round++) {
    const list = new SparseList<number>();
    const expected = new Map<number, number>();
    for (let step = 0; step < 60; step++) {
      const place = random.below(20);
      list.set(place, step);
      expected.set(place, step);
      if (step % 17 === 16) {
        list.retain((value, at) => (value + at) % 3 !== 0);
        for (const [at, value] of [...expected]) if ((value + at) % 3 === 0) expected.delete(at);
      }
      for (let at = 0; at < 20; at++) expect(list.get(at)).toBe(expected.get(at));
    }
    const seen: [number, number][] = [];
    list.forEach((value, place) => {
      seen.push([place, value]);
    });
    expect(seen).toEqual([...expected].sort(([a], [b]) => a - b));
    expect(list.size).toBe(expected.size);
  }
});
