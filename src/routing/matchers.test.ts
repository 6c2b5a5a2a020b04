import { expect, test } from 'bun:test';
import { StubStreamView } from '../../test/support/stub-stream-view.ts';
import { RequestHeaders } from '../http/header-map.ts';
import { CookieMatcher } from './cookie-matcher.ts';
import { type HeaderCondition, HeaderMatcher } from './header-matcher.ts';
import { portStart, stripHostPort, stripTrailingHostDot } from './host.ts';
import { QueryParameterMatcher, QueryParameters } from './query-parameter-matcher.ts';
import { RedirectTarget, type RedirectTargetFields } from './redirect.ts';
import { Regex } from './regex.ts';
import { parseRetryGrpcOn, parseRetryOn, parseRetryOnPolicy, RetryOn } from './retry-policy.ts';
import { PathMatcher } from './route-match.ts';
import { RegexSubstitution } from './route-policies.ts';
import { FractionalPercent, RuntimeFraction, type RuntimeReader } from './runtime-fraction.ts';
import { ConstantFormatter } from './stream-view.ts';
import { StringMatcher } from './string-matcher.ts';
import { FilterStateMatcher, MetadataMatcher } from './value-matcher.ts';

function headersOf(...entries: [string, string][]): RequestHeaders {
  const headers = new RequestHeaders();
  headers.list = entries.flat();
  return headers;
}

const text = (matcher: StringMatcher): HeaderCondition => ({ kind: 'string', matcher });
const exactA = text(StringMatcher.exact('a'));
const range: HeaderCondition = { kind: 'range', start: -5n, end: 10n };
const inner: HeaderCondition = { kind: 'range', start: 1n, end: 5n };

/** Values of x-n, condition, invert, treat missing as empty, Envoy 1.40's verdict. */
const HEADER_CASES: [string[], HeaderCondition, boolean, boolean, boolean][] = [
  [['1'], range, false, false, true],
  [['-5'], range, false, false, true],
  [['10'], range, false, false, false],
  [['+3'], range, false, false, true],
  [['4x'], range, false, false, false],
  [[''], range, false, false, false],
  [['9223372036854775808'], range, false, false, false],
  [[], range, false, false, false],
  [['20', '1'], range, false, false, true],
  [['1', '9'], inner, true, false, false],
  [['9', '8'], inner, true, false, true],
  [[], exactA, true, false, false],
  [['b', 'c'], exactA, true, false, true],
  [['b', 'a'], exactA, true, false, false],
  [['b', 'a'], exactA, false, false, true],
  [['b', 'c'], exactA, false, false, false],
  [['1', '2'], text(StringMatcher.exact('1,2')), false, false, false],
  [[], text(StringMatcher.exact('')), false, true, true],
  [[], exactA, true, true, true],
  [[], { kind: 'present', present: true }, false, false, false],
  [[], { kind: 'present', present: true }, false, true, true],
  [[], { kind: 'present', present: false }, false, true, false],
  [[], { kind: 'present', present: false }, false, false, true],
  [[], { kind: 'present', present: false }, true, false, false],
  [[''], { kind: 'present', present: false }, true, false, true],
];

test('header conditions as Envoy', () => {
  for (const [values, condition, invert, missing, expected] of HEADER_CASES) {
    const headers = headersOf(...values.map((value): [string, string] => ['x-n', value]));
    const label = [values, condition, invert, missing];
    expect([label, new HeaderMatcher('x-n', condition, invert, missing).matches(headers)]).toEqual([label, expected]);
  }
});

test('headers that Envoy holds as lists are matched whole; pseudo-headers are seen', () => {
  const headers = headersOf(['accept', 'a'], ['accept', 'b']);
  headers.authority = 'a.com';
  expect(new HeaderMatcher('accept', exactA, false, false).matches(headers)).toBe(false);
  expect(new HeaderMatcher('accept', text(StringMatcher.exact('a,b')), false, false).matches(headers)).toBe(true);
  const host = text(StringMatcher.exact('a.com'));
  expect(new HeaderMatcher(':authority', host, false, false).matches(headers)).toBe(true);
  expect(new HeaderMatcher('host', host, false, false).matches(headers)).toBe(true);
});

test('strings, with case ignored for ASCII alone', () => {
  expect(StringMatcher.prefix('Ab', true).matches('aBc')).toBe(true);
  expect(StringMatcher.suffix('c').matches('abC')).toBe(false);
  expect(StringMatcher.contains('B', true).matches('abc')).toBe(true);
  expect(StringMatcher.exact('\u00c3\u0089', true).matches('\u00c3\u00a9')).toBe(false);
});

test.each([
  ['?k', 'present', true],
  ['?x=1&k=2', 'present', true],
  ['?%6b=1', 'present', false],
  ['', 'present', false],
  ['?k=a%20b', 'a%20b', true],
  ['?k=a%20b', 'a b', false],
  ['?j&k=&k=3', '', true],
  ['?k', '', true],
  ['', '', false],
] as const)('query %s against %s: %p', (query, wanted, expected) => {
  const matcher = wanted === 'present' ? null : StringMatcher.exact(wanted);
  expect(new QueryParameterMatcher('k', matcher, true).matches(new QueryParameters(`/p${query}`))).toBe(expected);
});

test.each([
  [['k=v'], true],
  [['k="v"'], true],
  [['a=1; k=v'], true],
  [['a=1;k=v'], true],
  [['k=w; k=v'], false],
  [['k = v'], false],
  [['K=v'], false],
  [['k=v=v'], false],
  [['k'], false],
  [['k=w', 'k=v'], false],
  [['a=w', 'k=v'], true],
  [[], false],
])('cookies %j: %p', (cookies, expected) => {
  const headers = headersOf(...cookies.map((cookie): [string, string] => ['cookie', cookie]));
  expect(new CookieMatcher('k', StringMatcher.exact('v'), false).matches(headers)).toBe(expected);
  expect(new CookieMatcher('k', StringMatcher.exact('v'), true).matches(headers)).toBe(!expected);
});

test('metadata and filter state of the stream', () => {
  const stream = new StubStreamView();
  stream.metadata.set('ns', { a: { b: [1, 'x'], n: null, f: 2.5 } });
  const at = (path: string[], value: ConstructorParameters<typeof MetadataMatcher>[2], invert = false): boolean =>
    new MetadataMatcher('ns', path, value, invert).matches(stream);
  expect(at(['a', 'b'], { kind: 'list', oneOf: { kind: 'string', matcher: StringMatcher.exact('x') } })).toBe(true);
  expect(at(['a', 'n'], { kind: 'null' })).toBe(true);
  expect(at(['a', 'q'], { kind: 'null' })).toBe(false);
  expect(at(['a', 'q'], { kind: 'present', present: false })).toBe(true);
  expect(at(['a', 'f'], { kind: 'number', exact: null, start: 2, end: 3 })).toBe(true);
  expect(at(['a', '__proto__'], { kind: 'present', present: true })).toBe(false);
  expect(
    at(
      ['a'],
      {
        kind: 'or',
        matchers: [
          { kind: 'bool', value: true },
          { kind: 'present', present: true },
        ],
      },
      true,
    ),
  ).toBe(false);
  stream.state.set('k', { serialize: () => 'v', ipAddress: () => '10.0.0.1' });
  expect(new FilterStateMatcher('k', StringMatcher.exact('v'), null).matches(stream)).toBe(true);
  expect(new FilterStateMatcher('k', null, { contains: (ip) => ip === '10.0.0.1' }).matches(stream)).toBe(true);
  expect(new FilterStateMatcher('other', StringMatcher.exact('v'), null).matches(stream)).toBe(false);
});

test('fractions follow the runtime', () => {
  let override: FractionalPercent | null = null;
  const runtime: RuntimeReader = {
    fractionalPercent: () => override,
    integer: (_, n) => n,
    boolean: (_, b) => b,
    text: () => null,
  };
  const fraction = new RuntimeFraction(new FractionalPercent(10, 100), 'key', runtime);
  expect([fraction.enabled(9), fraction.enabled(10), fraction.enabled(109)]).toEqual([true, false, true]);
  override = new FractionalPercent(100, 100);
  expect(fraction.enabled(99)).toBe(true);
  override = FractionalPercent.NEVER;
  expect(fraction.enabled(0)).toBe(false);
});

test('retry conditions as bits', () => {
  expect(parseRetryOn('5xx, reset,bogus')).toBe(RetryOn.FiveXx | RetryOn.Reset);
  expect(parseRetryOn('cancelled')).toBe(0);
  expect(parseRetryGrpcOn('cancelled,unavailable')).toBe(RetryOn.GrpcCancelled | RetryOn.GrpcUnavailable);
  expect(parseRetryOnPolicy('gateway-error,internal')).toBe(RetryOn.GatewayError | RetryOn.GrpcInternal);
});

const NOWHERE: RedirectTargetFields = {
  scheme: '',
  https: false,
  host: '',
  port: 0,
  path: '',
  prefixRewrite: '',
  regexRewrite: null,
  pathFormat: null,
  stripQuery: false,
};

/** Path, host, matched prefix, fields, Envoy 1.40's Location. */
const REDIRECTS: [string, string, string, Partial<RedirectTargetFields>, string][] = [
  [
    '/fmq/x?a=1',
    'a.com',
    '/',
    { pathFormat: new ConstantFormatter('/f-v?k=1'), stripQuery: true },
    'http://a.com/f-v?k=1',
  ],
  ['/fmt/x?a=1', 'a.com', '/', { pathFormat: new ConstantFormatter('/f-') }, 'http://a.com/f-?a=1'],
  ['/dr301?x=1', 'a.com', '/', {}, 'http://a.com/dr301?x=1'],
  ['/https?x=1', 'a.com', '/', { https: true }, 'https://a.com/https?x=1'],
  ['/https', 'a.com:80', '/', { https: true }, 'https://a.com/https'],
  ['/https', 'a.com:8080', '/', { https: true }, 'https://a.com:8080/https'],
  ['/https', '[::1]:80', '/', { https: true }, 'https://[::1]/https'],
  ['/https', '[::1]', '/', { https: true }, 'https://[::1]/https'],
  ['/port/x?y', 'a.com:8080', '/', { port: 8443 }, 'http://a.com:8443/port/x?y'],
  ['/hostr', 'a.com:8080', '/', { host: 'other.com' }, 'http://other.com/hostr'],
  ['/pathr?a=1', 'a.com', '/', { path: '/new' }, 'http://a.com/new?a=1'],
  ['/pathq?a=1', 'a.com', '/', { path: '/new?z=1', stripQuery: true }, 'http://a.com/new?z=1'],
  ['/strip?a=1', 'a.com', '/', { host: 'x.com', stripQuery: true }, 'http://x.com/strip'],
  ['/pre/fix/abc?d=1', 'a.com', '/pre/fix', { prefixRewrite: '/q', stripQuery: true }, 'http://a.com/q/abc'],
  ['/pre2/abc?d=1', 'a.com', '/pre2', { prefixRewrite: '/q?u=1' }, 'http://a.com/q?u=1/abc?d=1'],
  [
    '/rx/a/b?c=d',
    'a.com',
    '/rx',
    { regexRewrite: new RegexSubstitution(Regex.of('^/rx/(.*)/(.*)$'), '/\\2/\\1?u=1') },
    'http://a.com/b/a?u=1?c=d',
  ],
  [
    '/rx/a',
    'a.com',
    '/rx',
    { regexRewrite: new RegexSubstitution(Regex.of('^/rx/(.*)/(.*)$'), '/\\2/\\1?u=1') },
    'http://a.com/rx/a',
  ],
];

test.each(REDIRECTS)('redirect of %s at %s', (path, host, prefix, fields, expected) => {
  const headers = headersOf(['x-forwarded-proto', 'http']);
  headers.scheme = 'http';
  headers.authority = host;
  headers.path = path;
  const context = {
    stream: new StubStreamView(),
    requestHeaders: headers,
    responseHeaders: null,
    responseTrailers: null,
  };
  expect(new RedirectTarget({ ...NOWHERE, ...fields }).url(headers, PathMatcher.prefix(prefix), context)).toBe(
    expected,
  );
});

test('ports and dots of hosts', () => {
  expect([portStart('a:1'), portStart('a'), portStart('[::1]'), portStart('[::1]:2')]).toEqual([1, -1, -1, 5]);
  const strip = (host: string, port: number | null): string | null => {
    const headers = new RequestHeaders();
    headers.authority = host;
    stripHostPort(headers, port);
    return headers.authority;
  };
  expect([
    strip('a:80', 80),
    strip('a:81', 80),
    strip('a:81', null),
    strip('a:x', null),
    strip('[::1]:80', null),
  ]).toEqual(['a', 'a:81', 'a', 'a:x', '[::1]']);
  const dotless = (host: string): string | null => {
    const headers = new RequestHeaders();
    headers.authority = host;
    stripTrailingHostDot(headers);
    return headers.authority;
  };
  expect(['a.', 'a.:80', 'a.b', 'a'].map(dotless)).toEqual(['a', 'a:80', 'a.b', 'a']);
});
