import { expect, test } from 'bun:test';
import { sixDigits } from './custom-tag.ts';

test('numbers as absl::StrCat writes them', () => {
  const shown = [0, 1, -2, 0.1, 1 / 3, 123456, 1234567.25, 123456789012, 1e21, 0.0001, 0.00001234, 999999.5];
  expect(shown.map(sixDigits)).toEqual([
    '0',
    '1',
    '-2',
    '0.1',
    '0.333333',
    '123456',
    '1.23457e+06',
    '1.23457e+11',
    '1e+21',
    '0.0001',
    '1.234e-05',
    '1e+06',
  ]);
});
