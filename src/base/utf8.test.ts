import { expect, test } from 'bun:test';
import { sanitizedUtf8 } from './utf8.ts';

test.each([
  ['plain', 'plain'],
  ['tok\xffen', 'tok!en'],
  ['\xc3\xa9', 'é'],
  ['\xc3a', '!a'],
  ['\xe2\x82', '!!'],
  ['\xed\xa0\x80', '!!!'],
  ['\xf0\x9f\x98\x80', '😀'],
  ['\xc0\x80', '!!'],
  ['\xf4\x90\x80\x80', '!!!!'],
])('%j', (bytes, text) => {
  expect(sanitizedUtf8(Buffer.from(bytes, 'latin1'))).toBe(text);
});

test('whatever is valid to the runtime is valid here, and nothing else', () => {
  let seed = 7;
  const random = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
    return seed >> 8;
  };
  const bytes = [0x41, 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0x9f, 0xed, 0xf0, 0x90, 0x8f, 0xf4, 0xff];
  for (let round = 0; round < 20_000; round++) {
    const given = Uint8Array.from({ length: 1 + (random() % 6) }, () => bytes[random() % bytes.length]!);
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(given);
    const valid = Buffer.from(text, 'utf8').equals(Buffer.from(given));
    expect(Buffer.from(sanitizedUtf8(given), 'utf8').equals(Buffer.from(given))).toBe(valid);
  }
});
