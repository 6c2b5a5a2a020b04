import { describe, expect, test } from 'bun:test';
import { BlockList } from 'node:net';
import { SeededRandom } from '../base/random.ts';
import { CidrSet, ipBytes } from './cidr.ts';

describe('ipBytes', () => {
  test('reads every form', () => {
    expect(ipBytes('1.2.3.255')).toEqual(Uint8Array.of(1, 2, 3, 255));
    expect(ipBytes('::')).toEqual(new Uint8Array(16));
    expect(ipBytes('::1')?.[15]).toBe(1);
    expect([...ipBytes('2001:db8::a:b')!]).toEqual([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 11]);
    expect([...ipBytes('::ffff:1.2.3.4')!.slice(10)]).toEqual([255, 255, 1, 2, 3, 4]);
    expect(ipBytes('localhost')).toBeNull();
  });
});

test('agrees with the platform on random ranges', () => {
  const random = new SeededRandom(7);
  const ip = (): string => [0, 0, 0, 0].map(() => random.below(4)).join('.');
  for (let round = 0; round < 2000; round++) {
    const [prefix, address, bits] = [ip(), ip(), random.below(33)];
    const reference = new BlockList();
    reference.addSubnet(prefix, bits);
    const set = new CidrSet();
    set.add(ipBytes(prefix)!, bits);
    expect(set.has(address)).toBe(reference.check(address));
  }
});

test('versions do not mix', () => {
  const set = new CidrSet();
  set.add(ipBytes('::')!, 0);
  expect(set.has('::1')).toBe(true);
  expect(set.has('127.0.0.1')).toBe(false);
});
