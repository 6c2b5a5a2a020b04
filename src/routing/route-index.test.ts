import { expect, test } from 'bun:test';
import { StubStreamView } from '../../test/support/stub-stream-view.ts';
import { SeededRandom } from '../base/random.ts';
import { RequestHeaders } from '../http/header-map.ts';
import { HeaderMatcher } from './header-matcher.ts';
import { pathEnd } from './path.ts';
import { Regex } from './regex.ts';
import { RouteIndex } from './route-index.ts';
import { PathMatcher, RouteMatch } from './route-match.ts';
import { StringMatcher } from './string-matcher.ts';
import { UriTemplate } from './uri-template.ts';

function withHeader(path: PathMatcher, value: string): RouteMatch {
  const plain = RouteMatch.ofPath(path);
  const header = new HeaderMatcher('x-v', { kind: 'string', matcher: StringMatcher.exact(value) }, false, false);
  return new RouteMatch({ ...plain, headers: [header] });
}

function request(path: string | null, version = ''): RequestHeaders {
  const headers = new RequestHeaders();
  headers.method = path === null ? 'CONNECT' : 'GET';
  headers.path = path;
  if (version !== '') headers.add('x-v', version);
  return headers;
}

/** The meaning of the index: try each route in order. */
function firstMatch(
  matches: readonly RouteMatch[],
  headers: RequestHeaders,
  stream: StubStreamView,
  index: RouteIndex,
): number {
  const path = headers.path === null ? null : headers.path.slice(0, pathEnd(headers.path));
  return matches.findIndex(
    (match) => match.path.matches(path, headers) && match.conditionsHold(headers, stream, index),
  );
}

test('gives what trying every route in order gives', () => {
  const random = new SeededRandom(11);
  const stream = new StubStreamView();
  const pieces = ['/', 'a', 'b', 'A', 'ab', '/a', '/b/', '-', '/api'];
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const text = (): string => `/${Array.from({ length: random.below(5) }, () => pick(pieces)).join('')}`;
  const template = UriTemplate.compile('/a/{x}/b');
  if (!template.ok) throw new Error(template.error);
  const patterns = ['/a.*', '/(a|b)/.*', '/a/?b', '.*b', '/api/[^/]+', '/ab{2}'].map((each) => Regex.of(each));
  const makers = [
    () => PathMatcher.prefix(text()),
    () => PathMatcher.prefix(text(), false),
    () => PathMatcher.exact(text()),
    () => PathMatcher.exact(text(), false),
    () => PathMatcher.separatedPrefix(text().replace(/\/+$/, '') || '/x'),
    () => PathMatcher.separatedPrefix(text().replace(/\/+$/, '') || '/x', false),
    () => PathMatcher.regex(pick(patterns)),
    () => PathMatcher.template(template.value),
    () => PathMatcher.connect(),
    () => PathMatcher.prefix(''),
  ];
  for (let round = 0; round < 400; round++) {
    const matches = Array.from({ length: random.below(12) }, () => {
      const path = pick(makers)();
      return random.below(3) === 0 ? withHeader(path, pick(['1', '2'])) : RouteMatch.ofPath(path);
    });
    const index = new RouteIndex(matches, false);
    for (let i = 0; i < 20; i++) {
      const path = random.below(15) === 0 ? null : text() + pick(['', '', '?q=/b', '#f', '/']);
      const headers = request(path, pick(['', '1', '2']));
      expect([path, index.find(headers, stream)]).toEqual([path, firstMatch(matches, headers, stream, index)]);
    }
  }
});

test('path parameters are cut off where the table says so', () => {
  const matches = [RouteMatch.ofPath(PathMatcher.exact('/a')), RouteMatch.ofPath(PathMatcher.prefix('/'))];
  const stream = new StubStreamView();
  expect(new RouteIndex(matches, true).find(request('/a;x=1/b?q'), stream)).toBe(0);
  expect(new RouteIndex(matches, false).find(request('/a;x=1/b?q'), stream)).toBe(1);
});
