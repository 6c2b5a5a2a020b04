import { expect, test } from 'bun:test';
import { SharedTable } from './shared-table.ts';
import { TokenBucket } from './token-bucket.ts';

test('begins full, comes back evenly, never more than the maximum', () => {
  const bucket = new TokenBucket(3, 2, 1000);
  expect([bucket.take(10_000), bucket.take(10_000), bucket.take(10_000)]).toEqual([true, true, true]);
  expect(bucket.take(10_000)).toBe(false);
  expect(bucket.take(10_499)).toBe(false);
  expect(bucket.take(10_501)).toBe(true);
  expect(bucket.remaining(60_000)).toBe(3);
  expect(bucket.take(60_000, 4)).toBe(false);
  expect(bucket.take(60_000, 3)).toBe(true);
  bucket.giveBack(60_000, 9);
  expect(bucket.remaining(60_000)).toBe(3);
});

test('takes what there is', () => {
  const bucket = new TokenBucket(100, 10, 1000);
  expect(bucket.takeUpTo(5000, 250)).toBe(100);
  expect(bucket.takeUpTo(5050, 250)).toBe(0);
  expect(bucket.takeUpTo(5210, 250)).toBe(2);
});

test('one bucket in two workers', () => {
  const buffer = SharedTable.allocate();
  const [a, b] = [1, 2].map(() => new TokenBucket(2, 1, 1000, new SharedTable(buffer).cell('limit')));
  expect(a!.take(1_700_000_000_000)).toBe(true);
  expect(b!.take(1_700_000_000_000)).toBe(true);
  expect(a!.take(1_700_000_000_000)).toBe(false);
  expect(b!.remaining(1_700_000_001_000)).toBe(1);
});
