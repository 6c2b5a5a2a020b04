import { expect, test } from 'bun:test';
import { methodOfPath } from './method-stats.ts';

test.each([
  ['/foo.bar.zoo/method.name?a=b', 'foo.bar.zoo|method.name'],
  ['/a/b', 'a|b'],
  ['a//b/', 'a|b'],
  ['', null],
  ['/', null],
  ['//', null],
  ['/service', null],
  ['/service/', null],
  ['/a/b/c', null],
  ['/a?/b', null],
  [null, null],
])('service and method of %p', (path, expected) => {
  const name = methodOfPath(path);
  expect(name === null ? null : `${name.service}|${name.method}`).toBe(expected);
});
