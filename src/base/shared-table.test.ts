import { expect, test } from 'bun:test';
import { SharedTable } from './shared-table.ts';

test('two tables over one buffer see the same numbers, by name', () => {
  const buffer = SharedTable.allocate(8);
  const [a, b] = [new SharedTable(buffer), new SharedTable(buffer)];
  expect(a.cell('x').add(2)).toBe(0);
  expect(b.cell('x').add(3)).toBe(2);
  expect(a.cell('x').count()).toBe(5);
  expect(b.cell('y').load()).toBe(0);
  expect(a.cell('y').swap(0, 1.5)).toBe(true);
  expect(b.cell('y').swap(0, 9)).toBe(false);
  expect(b.cell('y').load()).toBe(1.5);
});

test('a table that is full, or none, gives private cells', () => {
  const buffer = SharedTable.allocate(2);
  const [a, b] = [new SharedTable(buffer), new SharedTable(buffer)];
  for (const name of ['a', 'b', 'c']) a.cell(name).add(1);
  b.cell('a').add(1);
  expect(a.cell('a').count()).toBe(2);
  b.cell('c').add(1);
  expect([a.cell('c').count(), b.cell('c').count()]).toEqual([1, 1]);
  const alone = new SharedTable(null);
  alone.cell('a').add(7);
  expect(alone.cell('a').count()).toBe(7);
  expect(new SharedTable(null).cell('a').count()).toBe(0);
});

test('counts of threads add up', async () => {
  const buffer = SharedTable.allocate();
  const source = `
    import { SharedTable } from ${JSON.stringify(new URL('./shared-table.ts', import.meta.url).href)};
    self.onmessage = ({ data }) => {
      const cell = new SharedTable(data).cell('hits');
      const sum = new SharedTable(data).cell('sum');
      for (let i = 0; i < 20000; i++) {
        cell.add(1);
        for (let old = sum.load(); !sum.swap(old, old + 0.5); old = sum.load());
      }
      postMessage('done');
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: 'application/typescript' }));
  const workers = [new Worker(url), new Worker(url)];
  await Promise.all(
    workers.map((worker) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      worker.onmessage = () => resolve();
      worker.postMessage(buffer);
      return promise;
    }),
  );
  for (const worker of workers) worker.terminate();
  const table = new SharedTable(buffer);
  expect(table.cell('hits').count()).toBe(40000);
  expect(table.cell('sum').load()).toBe(20000);
});
