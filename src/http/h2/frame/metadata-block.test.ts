import { expect, test } from 'bun:test';
import { SeededRandom } from '../../../base/random.ts';
import { MetadataBlock, metadataPayload } from './metadata-block.ts';

const decode = (payload: Buffer, max = 1 << 20): ReadonlyMap<string, string> | null => {
  const block = new MetadataBlock(max);
  return block.add(payload, 0, payload.length) ? block.finish() : null;
};

test('what is encoded is decoded, whole and one byte at a time', () => {
  const metadata = new Map([
    ['a', ''],
    ['long', 'x'.repeat(70_000 - 6_000)],
    ['bytes', '\xff\x00\x80'],
  ]);
  const payload = metadataPayload(metadata);
  expect(decode(payload)).toEqual(metadata);
  const block = new MetadataBlock(1 << 20);
  for (let at = 0; at < payload.length; at++) block.add(payload, at, at + 1);
  expect(block.finish()).toEqual(metadata);
});

test('of a name the first value counts', () => {
  const twice = Buffer.concat([metadataPayload(new Map([['a', '1']])), metadataPayload(new Map([['a', '2']]))]);
  expect(decode(twice)).toEqual(new Map([['a', '1']]));
});

test('neither what comes nor what it expands to may pass the limit', () => {
  expect(decode(metadataPayload(new Map([['a', 'x'.repeat(200)]])), 100)).toBeNull();
  // One entry of 100 bytes with indexing, then a hundred references to it.
  const bomb = Buffer.concat([Buffer.from([0x40, 1, 0x61, 100]), Buffer.alloc(100, 0x62), Buffer.alloc(100, 0xbe)]);
  expect(decode(bomb, 300)).toBeNull();
  expect(decode(bomb, 20_000)?.get('a')).toBe('b'.repeat(100));
});

test('garbage is told apart or decoded, and never throws', () => {
  const random = new SeededRandom(7);
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.alloc(random.below(60));
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.uint32() & 0xff;
    decode(bytes, 4096);
  }
  expect(decode(Buffer.from([0xff, 0xff, 0xff]))).toBeNull();
});
