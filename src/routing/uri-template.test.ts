import { expect, test } from 'bun:test';
import { UriTemplate, UriTemplateRewrite } from './uri-template.ts';

/** Verdicts of Envoy 1.40. */
const ACCEPTED = [
  '/**/a',
  '/{a=**}/b',
  '/a*',
  '/a**',
  '/{a=*}b',
  '/{a=**}.js',
  '/{a_b}',
  '/{a=b=c}',
  '/%2f',
  '/',
  '/a/',
  '/*.js',
  '/{A}',
];
const REFUSED = [
  'a',
  '/{a}/{a}',
  '/{a',
  '/a}',
  '/{a=}',
  '/{}',
  '/**/*',
  '/{a=**}/{b}',
  '/{1a}',
  '/{abcdefghijklmnopq}',
  '/{a}/{b}/{c}/{d}/{e}/{f}',
  '/{a={b}}',
  '/a b',
  '/a[b]',
  '/{a}{b}',
  '/*{a}',
  '/a?b',
  '/a//b',
  '/{a=***}',
  '/{a-b}',
];

test.each(ACCEPTED)('template %s is accepted', (text) => expect(UriTemplate.compile(text).ok).toBe(true));
test.each(REFUSED)('template %s is refused', (text) => expect(UriTemplate.compile(text).ok).toBe(false));
test.each(['{a}', '/{a', '/a}', '/{a=*}', '/a b', '/a?b', 'x'])('rewrite %s is refused', (text) =>
  expect(UriTemplateRewrite.compile(text).ok).toBe(false),
);

function template(text: string): UriTemplate {
  const result = UriTemplate.compile(text);
  if (!result.ok) throw new Error(result.error);
  return result.value;
}

test.each([
  ['/t/{a}/x/{b=**}', '/t/1/x/2/3', true],
  ['/t/{a}/x/{b=**}', '/t/1/x/', true],
  ['/t/{a}/x/{b=**}', '/t/1/x', false],
  ['/t/{a}/x/{b=**}', '/t//x/2', false],
  ['/t/{a}/x/{b=**}', '/t/a;b/x/c', true],
  ['/t/{a}/x/{b=**}', '/t/a"b/x/c', false],
  ['/t/{a}/x/{b=**}', '/t/a/x/b//c', true],
  ['/u/{a=*}.m3u8', '/u/a.m3u8', true],
  ['/u/{a=*}.m3u8', '/u/.m3u8', false],
  ['/u/{a=*}.m3u8', '/u/a.m3u8x', false],
  ['/v/*/z/**', '/v/1/z/', true],
  ['/v/*/z/**', '/v/1/z', false],
  ['/w/{a=k/*/l}/m', '/w/k/1/l/m', true],
  ['/w/{a=k/*/l}/m', '/w/k/1/2/l/m', false],
  ['/y/**.js', '/y/.js', true],
  ['/y/**.js', '/y/a/b.js', true],
] as const)('%s on %s: %p', (text, path, expected) => expect(template(text).matches(path)).toBe(expected));

test('rewrites with the values of the variables', () => {
  const rewrite = UriTemplateRewrite.compile('/{b}/y/{a}');
  if (!rewrite.ok) throw new Error(rewrite.error);
  expect(rewrite.value.apply(template('/t/{a}/x/{b=**}'), '/t/1/x/2/3')).toBe('/2/3/y/1');
  expect(rewrite.value.apply(template('/t/{a}/x/{b=**}'), '/other')).toBeNull();
  expect(rewrite.value.variables).toEqual(['b', 'a']);
  expect(template('/t/{a}/x').literalPrefix).toBe('/t/');
});
