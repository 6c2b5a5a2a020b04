import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../base/random.ts';
import { internalAddress, ipAddress, pipeAddress } from './address.ts';
import { ipBytes } from './cidr.ts';
import { type AddressRange, PrefixTable } from './prefix-table.ts';

function range(text: string): AddressRange {
  const [ip, bits] = text.split('/') as [string, string];
  return { prefix: ipBytes(ip)!, bits: Number(bits) };
}

function tableOf(...ranges: (string | null)[]): PrefixTable<string> {
  const table = new PrefixTable<string>();
  for (const text of ranges) table.getOrAdd(text === null ? null : range(text), () => String(text));
  return table;
}

describe('PrefixTable', () => {
  test('the longest range wins, whatever the order', () => {
    const ranges = ['10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32', '0.0.0.0/0'];
    for (const order of [ranges, ranges.toReversed(), [ranges[2]!, ranges[0]!, ranges[4]!, ranges[3]!, ranges[1]!]]) {
      const table = tableOf(...order);
      const found = (ip: string) => table.find(ipAddress(ip, 1));
      expect(found('10.1.2.3')).toBe('10.1.2.3/32');
      expect(found('10.1.2.4')).toBe('10.1.2.0/24');
      expect(found('10.1.3.3')).toBe('10.1.0.0/16');
      expect(found('10.128.0.0')).toBe('10.0.0.0/8');
      expect(found('11.0.0.0')).toBe('0.0.0.0/0');
      expect(found('::1')).toBeUndefined();
    }
  });

  test('nothing fits', () => {
    expect(tableOf().find(ipAddress('1.2.3.4', 1))).toBeUndefined();
    expect(tableOf('1.2.3.0/24').find(ipAddress('1.2.4.0', 1))).toBeUndefined();
    expect(tableOf('::/0').find(ipAddress('1.2.4.0', 1))).toBeUndefined();
  });

  test('no range at all fits both versions and other addresses, after every range', () => {
    const table = tableOf(null, '0.0.0.0/0', '2001:db8::/32');
    expect(table.find(ipAddress('1.2.3.4', 1))).toBe('0.0.0.0/0');
    expect(table.find(ipAddress('2001:db8::1', 1))).toBe('2001:db8::/32');
    expect(table.find(ipAddress('2001:db9::1', 1))).toBe('null');
    expect(tableOf(null, '10.0.0.0/8').find(pipeAddress('/tmp/x'))).toBe('null');
    expect(tableOf(null).find(internalAddress('x'))).toBe('null');
    // Envoy stands 255.255.255.255 for them.
    expect(table.find(pipeAddress('/tmp/x'))).toBe('0.0.0.0/0');
  });

  test('ranges are the same when their leading bits are', () => {
    const table = tableOf('10.1.2.3/8');
    expect(table.getOrAdd(range('10.9.9.9/8'), () => 'new')).toBe('10.1.2.3/8');
    expect(table.getOrAdd(range('10.9.9.9/9'), () => 'new')).toBe('new');
    expect(table.getOrAdd(null, () => 'any')).toBe('any');
  });

  test('agrees with a walk over all ranges', () => {
    const random = new SeededRandom(7);
    const pick = (below: number) => Math.floor(random.float() * below);
    const address = (v6: boolean): string =>
      v6
        ? `2001:db8:${pick(4).toString(16)}::${pick(3)}:${pick(65536).toString(16)}`
        : `10.${pick(3)}.${pick(256)}.${pick(256)}`;
    for (let round = 0; round < 30; round++) {
      const entries = new Map<string, { range: AddressRange; value: string }>();
      const table = new PrefixTable<string>();
      for (let i = 0; i < 60; i++) {
        const v6 = pick(2) === 1;
        const one = range(`${address(v6)}/${pick(v6 ? 129 : 33)}`);
        const key = `${one.bits} ${leading(one.prefix, one.bits)}`;
        const value = entries.get(key)?.value ?? `${round}.${i}`;
        expect(table.getOrAdd(one, () => value)).toBe(value);
        entries.set(key, { range: one, value });
      }
      for (let i = 0; i < 200; i++) {
        const ip = address(pick(2) === 1);
        const bytes = ipBytes(ip)!;
        const fitting = [...entries.values()].filter(
          (entry) =>
            entry.range.prefix.length === bytes.length &&
            leading(entry.range.prefix, entry.range.bits) === leading(bytes, entry.range.bits),
        );
        const longest = fitting.sort((a, b) => b.range.bits - a.range.bits)[0];
        expect(table.find(ipAddress(ip, 1))).toBe(longest?.value as string);
      }
    }
  });
});

function leading(bytes: Uint8Array, bits: number): string {
  const all = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  return `${bytes.length} ${all.slice(0, bits)}`;
}
