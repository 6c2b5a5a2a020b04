import { describe, expect, test } from 'bun:test';
import { RE2JS } from 're2js';
import { SeededRandom } from '../base/random.ts';
import { Regex } from './regex.ts';
import { literalPrefixOfPattern, searchEngine, wholeMatchEngine } from './regex-translation.ts';

/** Verdicts of Envoy 1.40 (`--mode validate`) on patterns of routes. */
const ACCEPTED = String.raw`(?i)a a{,2} \C \pN \p{Greek} [[:alpha:]] (?P<n>a) (?<n>a) \z \A \Qa.b\E \x41
  \d\D\s\S\w\W\b\B (?s). (?U)a* (?-s). \a\f\t\n\r\v \123 \_ \/ \- [^\n] [[:word:]] (?m)^a$ (?P<n>a)(?P<n>b)
  ((((((((((a)))))))))) []a] [^]a] { } ] a{ a{1 a{1, ^* $* \b+ (?:) () |`.split(/\s+/);
const REFUSED =
  String.raw`a++ a** a{1001} (a{100}){11} (?=a) \1 \Z (?>a) a{2}{3} * ( [ [z-a] \ \q \x{1F600} \u0041 \8 (?#c)
  [[:foo:]] \Ea x{2,1} (?i \h \R \X \K \G [a-\d] a|*`.split(/\s+/);

describe('verdicts as Envoy', () => {
  test.each([...ACCEPTED, 'é'])('%s is accepted', (pattern) => {
    const result = Regex.compile(pattern);
    expect(result.ok ? '' : result.error).toBe('');
  });
  test.each(REFUSED)('%s is refused', (pattern) => expect(Regex.compile(pattern).ok).toBe(false));
});

test('matches the whole text', () => {
  expect(Regex.of('/a/.*').test('/a/b')).toBe(true);
  expect(Regex.of('/a').test('/ab')).toBe(false);
  expect(Regex.of('a|ab').test('ab')).toBe(true);
  expect(Regex.of('.*').test('a\nb')).toBe(false);
  expect(Regex.of('/x.*').test('/x\n')).toBe(false);
});

test('works on bytes, as RE2 with Latin-1 in Envoy', () => {
  const utf8 = Buffer.from('aéb', 'utf8').toString('latin1');
  expect(Regex.of('a.b').test(utf8)).toBe(false);
  expect(Regex.of('a..b').test(utf8)).toBe(true);
  expect(Regex.of('aéb').test(utf8)).toBe(true);
  expect(Regex.of('a\\Cb').test('a\u00e9b')).toBe(true);
  for (const pattern of ['(?i)\u00e9x', '(?i)(?:\u00e9)x(x*)*']) {
    expect(Regex.of(pattern).test('\u00c3\u00a9X')).toBe(true);
    expect(Regex.of(pattern).test('\u00e3\u00a9x')).toBe(false);
  }
});

test('replaces as RE2::GlobalReplace', () => {
  expect(Regex.of('a*').replaceAll('/bigaab', '<\\0>')).toBe('<>/<>b<>i<>g<aa>b<>');
  expect(Regex.of('^/rx/(.*)/(.*)$').replaceAll('/rx/a/b/c', '/\\2/\\1')).toBe('/c/a/b');
  expect(Regex.of('g(r)p').replaceAll('/grp', '\\7x')).toBe('/grp');
  expect(Regex.of('b').replaceAll('abcb', '\\\\')).toBe('a\\c\\');
  expect(Regex.of('(?:(a)|b)*').replaceAll('ab', '[\\1]')).toBe('[a]');
});

test('only patterns of provably linear time run on the engine', () => {
  for (const good of [
    '/a/.*',
    '/a/[^/]+/b',
    '.*foo.*',
    '/(a|b)/.*/c',
    '.*\\.example\\.com',
    '\\d+-\\d+',
    '(?i)/foo.*',
  ]) {
    expect([good, wholeMatchEngine(good) !== null]).toEqual([good, true]);
  }
  for (const bad of [
    '(a*)*',
    '(a+)+b',
    'x*x*',
    '[a-z]*.*foo',
    '(a|a)*b',
    '(a|ab)(c|bcd)*',
    '.*a.*b.*c',
    '(a?){20}a{20}',
  ]) {
    expect([bad, wholeMatchEngine(bad)]).toEqual([bad, null]);
  }
  // Unanchored searches that could run far and fail.
  expect(searchEngine('a*b')).toBeNull();
  expect(searchEngine('^/a/(.*)')).not.toBeNull();
});

test('evil patterns take no time', () => {
  const subject = `${'a'.repeat(20_000)}!`;
  const start = performance.now();
  for (const pattern of ['(a+)+b', '(a|a)*b', '(a*)*b', '(.*)(.*)(.*)c', '[a-z]*.*foo']) {
    expect(Regex.of(pattern).test(subject)).toBe(false);
    expect(Regex.of(pattern).replaceAll(subject, 'x').length).toBeGreaterThan(0);
  }
  expect(performance.now() - start).toBeLessThan(5000);
});

test('engine and linear matcher agree on random patterns and texts', () => {
  const random = new SeededRandom(7);
  const atoms = [
    'a',
    'b',
    '/',
    '.',
    '[ab]',
    '[^/]',
    '(a)',
    '(?:ab)',
    '\\d',
    'a|b',
    '(a|b/)',
    '\\.',
    '[^a-c]',
    '(ab|c)',
  ];
  const repeats = ['', '', '', '*', '+', '?', '{2}', '{1,2}', '*?', '+?'];
  const letters = ['a', 'b', 'c', '/', '.', '1', 'A'];
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  let engine = 0;
  for (let round = 0; round < 4000; round++) {
    let pattern = pick(['', '', '^', '(?i)']);
    for (let i = random.below(4); i >= 0; i--) {
      const atom = pick(atoms);
      pattern += (atom.includes('|') && !atom.startsWith('(') ? `(?:${atom})` : atom) + pick(repeats);
    }
    pattern += pick(['', '', '.*', '$']);
    const compiled = Regex.compile(pattern);
    if (!compiled.ok) continue;
    if (compiled.value.usesEngine) engine++;
    const linear = RE2JS.compile(pattern);
    const prefix = literalPrefixOfPattern(pattern);
    const search = searchEngine(pattern);
    for (let i = 0; i < 6; i++) {
      let text = '';
      for (let j = random.below(8); j > 0; j--) text += pick(letters);
      const expected = linear.testExact(text);
      expect([pattern, text, compiled.value.test(text)]).toEqual([pattern, text, expected]);
      if (expected) expect([pattern, text.startsWith(prefix)]).toEqual([pattern, true]);
      if (search === null) continue;
      const matcher = linear.matcher(text);
      search.lastIndex = 0;
      const found = search.exec(text);
      const groups = matcher.find()
        ? Array.from({ length: linear.groupCount() + 1 }, (_, g) => matcher.group(g) ?? '')
        : null;
      expect([pattern, text, found === null ? null : [...found].map((group) => group ?? '')]).toEqual([
        pattern,
        text,
        groups,
      ]);
    }
  }
  expect(engine).toBeGreaterThan(1000);
});
