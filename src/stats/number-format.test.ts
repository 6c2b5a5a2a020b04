import { expect, test } from 'bun:test';
import { formatCompact, formatGeneral, formatShortest, gaugeText } from './number-format.ts';

test('%g with 6 digits, as printf prints it', () => {
  const cases: [number, string][] = [
    [0.5, '0.5'],
    [1800000, '1.8e+06'],
    [300000, '300000'],
    [1234567, '1.23457e+06'],
    [999999.5, '1e+06'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [-2.5, '-2.5'],
    [0, '0'],
    [Number.NaN, 'nan'],
    [Number.POSITIVE_INFINITY, 'inf'],
    [1e100, '1e+100'],
  ];
  for (const [value, text] of cases) expect(formatGeneral(value, 6)).toBe(text);
});

test('%.32g shows the double exactly', () => {
  expect(formatGeneral(1.01, 32)).toBe('1.0100000000000000088817841970013');
  expect(formatGeneral(3600000, 32)).toBe('3600000');
});

test('the fmt library: exponent from 1e16 and below 1e-4', () => {
  expect(formatShortest(1e15)).toBe('1000000000000000');
  expect(formatShortest(1e16)).toBe('1e+16');
  expect(formatShortest(0.00001)).toBe('1e-05');
  expect(formatShortest(1.0076923076923077)).toBe('1.0076923076923077');
});

test('the shorter form, fixed when equal', () => {
  const cases: [number, string][] = [
    [60000, '60000'],
    [300000, '3e+05'],
    [1800000, '1800000'],
    [0.001, '0.001'],
    [0.0001, '1e-04'],
    [10.5, '10.5'],
    [0, '0'],
    [-300000, '-3e+05'],
  ];
  for (const [value, text] of cases) expect(formatCompact(value)).toBe(text);
});

test('gauges have 64 bits and no sign', () => {
  expect([0, 7, -1, -2].map(gaugeText)).toEqual(['0', '7', '18446744073709551615', '18446744073709551614']);
});
