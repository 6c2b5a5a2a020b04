/*
 * Cost of a route lookup with 1, 2,000 and 10,000 prefix routes of which the last matches, and of the same in patterns.
 * Run: bun bench/micro/route-lookup.ts. Nanoseconds of one thread; compare the rows, not machines.
 */
import { RequestHeaders } from '../../src/http/header-map.ts';
import { Regex } from '../../src/routing/regex.ts';
import { RouteIndex } from '../../src/routing/route-index.ts';
import { PathMatcher, RouteMatch } from '../../src/routing/route-match.ts';
import { StubStreamView } from '../../test/support/stub-stream-view.ts';

const ROUNDS = 5;
const LOOKUPS = 500_000;

function nanosecondsPerLookup(index: RouteIndex, paths: readonly string[]): number {
  const stream = new StubStreamView();
  const requests = paths.map((path) => {
    const headers = new RequestHeaders();
    headers.method = 'GET';
    headers.path = path;
    headers.authority = 'example.com';
    for (let i = 0; i < 10; i++) headers.add(`x-header-${i}`, 'value');
    return headers;
  });
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    let found = 0;
    for (let i = 0; i < LOOKUPS; i++) found += index.find(requests[i % requests.length]!, stream) >= 0 ? 1 : 0;
    times.push(((performance.now() - start) * 1e6) / LOOKUPS);
    if (found !== LOOKUPS) throw new Error('a request found no route');
  }
  return times.sort((a, b) => a - b)[ROUNDS >> 1]!;
}

const name = (i: number): string => `/api/v1/service-${i.toString().padStart(5, '0')}/`;
const makers: [string, (i: number) => PathMatcher][] = [
  ['prefix', (i) => PathMatcher.prefix(name(i))],
  ['exact', (i) => PathMatcher.exact(`${name(i)}users/42`)],
  ['separated prefix', (i) => PathMatcher.separatedPrefix(name(i).slice(0, -1))],
  ['pattern', (i) => PathMatcher.regex(Regex.of(`${name(i)}users/[0-9]+`))],
];
for (const [kind, make] of makers) {
  for (const count of [1, 2000, 10_000]) {
    const index = new RouteIndex(
      Array.from({ length: count }, (_, i) => RouteMatch.ofPath(make(i))),
      false,
    );
    const last = `${name(count - 1)}users/42`;
    console.log(
      `${kind.padEnd(17)} ${String(count).padStart(6)} routes  ${nanosecondsPerLookup(index, [last]).toFixed(0).padStart(6)} ns`,
    );
  }
}
