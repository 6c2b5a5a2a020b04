import { expect, test } from 'bun:test';
import { ipBytes } from './cidr.ts';
import { ipv4Text, ipv6Text } from './ip-text.ts';

test('IPv4', () => {
  expect(ipv4Text(Uint8Array.of(9, 1, 2, 3, 255), 1)).toBe('1.2.3.255');
});

test.each([
  ['::', '::'],
  ['::1', '::1'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['1::', '1::'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
  ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
  ['2001:DB8::00AB', '2001:db8::ab'],
  ['::ffff:1.2.3.4', '::ffff:1.2.3.4'],
  ['::ffff:102:304', '::ffff:1.2.3.4'],
  ['::1.2.3.4', '::1.2.3.4'],
  ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
])('IPv6 %s', (text, canonical) => {
  expect(ipv6Text(ipBytes(text)!, 0)).toBe(canonical);
});
