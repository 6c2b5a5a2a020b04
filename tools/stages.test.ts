import { expect, test } from 'bun:test';
import { readJunitTotals } from './stages.ts';

test('the totals of a JUnit report are read from its head', () => {
  const xml =
    '<?xml version="1.0"?>\n<testsuites name="bun test" tests="7" assertions="9" failures="2" skipped="1" time="0.1">';
  expect(readJunitTotals(xml)).toEqual({ passed: 4, failed: 2, skipped: 1 });
});

test('a file that is no JUnit report is told apart from an empty one', () => {
  expect(readJunitTotals('')).toBeNull();
  expect(readJunitTotals('<testsuites tests="0" failures="0">')).toEqual({ passed: 0, failed: 0, skipped: 0 });
});
