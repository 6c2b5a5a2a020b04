/** The smuggling grid: malformed requests over HTTP/1 and HTTP/2. See README.md. */
import { expect, test } from 'bun:test';
import { gridSuite } from './grid-suite.ts';
import { http2RequestCases } from './h2-request-cases.ts';
import { envoyHazards, knownDifferences } from './known-differences.ts';
import { requestCases } from './request-cases.ts';

gridSuite('smuggling grid', requestCases, 200);
gridSuite('smuggling grid, HTTP/2 to HTTP/1', http2RequestCases, 100);

test('the list of known differences names cases that exist', () => {
  const names = new Set([...requestCases, ...http2RequestCases].map((item) => item.name));
  const unknown = [...Object.keys(knownDifferences), ...Object.keys(envoyHazards)].filter(
    (name) => !names.has(name) && !name.startsWith('response: '),
  );
  expect(unknown).toEqual([]);
});
