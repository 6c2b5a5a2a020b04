import { expect, test } from 'bun:test';
import { isIP } from 'node:net';
import { ipVersion } from './ip-version.ts';

test('as node:net has it', () => {
  const texts = [
    '1.2.3.4',
    '0.0.0.0',
    '255.255.255.255',
    '256.1.1.1',
    '1.2.3',
    '01.2.3.4',
    '1.2.3.4.5',
    '',
    'localhost',
    '::',
    '::1',
    '1::2::3',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7',
    '::ffff:1.2.3.4',
    'fe80::1',
    'g::1',
    '[::1]',
    '::1]/x',
    'a:b',
    '1:2:3:4:5:6:7:8:9',
    '::12345',
  ];
  for (const text of texts) expect([text, ipVersion(text)]).toEqual([text, isIP(text) as 0 | 4 | 6]);
});
