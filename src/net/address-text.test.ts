import { expect, test } from 'bun:test';
import { parseIpAndPort } from './address-text.ts';

test.each([
  ['1.2.3.4:80', '1.2.3.4:80'],
  ['[::1]:80', '[::1]:80'],
  ['[0:0:0:0:0:0:0:1]:80', '[::1]:80'],
  ['1.2.3.4', null],
  ['1.2.3.4:', null],
  ['1.2.3.4:65536', null],
  ['1.2.3:80', null],
  ['::1:80', null],
  ['[1.2.3.4]:80', null],
  ['localhost:80', null],
  ['', null],
])('%j', (text, expected) => {
  expect(parseIpAndPort(text)?.text ?? null).toBe(expected);
});
