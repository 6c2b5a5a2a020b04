import { expect, test } from 'bun:test';
import { readJunitFailures, readJunitFiles, readJunitTotals } from './junit.ts';

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="5" assertions="9" failures="2" skipped="1" time="0.1">
  <testsuite name="test/a.test.ts" file="test/a.test.ts" tests="3" assertions="0" failures="2" skipped="0" time="8.0">
    <testsuite name="a &gt; group" file="test/a.test.ts" line="204" tests="2" failures="1" skipped="0">
      <testcase name="one" classname="a &gt; group" time="0.4" file="test/a.test.ts" line="225" assertions="0" />
      <testcase name="&quot;two&quot; -&gt; x" classname="a &gt; group" time="0.1" file="test/a.test.ts" line="225">
        <failure type="Error" message="a &lt; b&#10;> unescaped" />
      </testcase>
    </testsuite>
    <testcase name="three" classname="" time="0.1" file="test/a.test.ts" line="3" assertions="0">
      <failure type="Error" message="no" />
    </testcase>
  </testsuite>
  <testsuite name="test/b.test.ts" file="test/b.test.ts" tests="2" assertions="0" failures="0" skipped="1" time="8.0">
    <testcase name="four" classname="" time="0" file="test/b.test.ts" line="1" assertions="0">
      <skipped />
    </testcase>
    <testcase name="five" classname="" time="0" file="test/b.test.ts" line="2" assertions="0" />
  </testsuite>
</testsuites>`;

test('the totals are read from the head of a report', () => {
  expect(readJunitTotals(report)).toEqual({ passed: 2, failed: 2, skipped: 1 });
});

test('a text that is no report is told apart from an empty report', () => {
  expect(readJunitTotals('')).toBeNull();
  expect(readJunitTotals('<testsuites tests="0" failures="0">')).toEqual({ passed: 0, failed: 0, skipped: 0 });
});

test('the totals of each file are those of its outermost element', () => {
  expect([...readJunitFiles(report)]).toEqual([
    ['test/a.test.ts', { passed: 1, failed: 2, skipped: 0 }],
    ['test/b.test.ts', { passed: 1, failed: 0, skipped: 1 }],
  ]);
});

test('the tests that failed are named with their groups', () => {
  expect(readJunitFailures(report)).toEqual([
    { file: 'test/a.test.ts', name: 'a > group > "two" -> x' },
    { file: 'test/a.test.ts', name: 'three' },
  ]);
});
