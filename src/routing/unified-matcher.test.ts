import { describe, expect, test } from 'bun:test';
import {
  AllPredicate,
  AnyTree,
  ExactTree,
  InputPredicate,
  ListTree,
  type MatchInput,
  type MatchTree,
  NotPredicate,
  type OnMatch,
  type Predicate,
  PrefixTree,
  RangeTree,
  ServerNameTree,
  SomePredicate,
} from './unified-matcher.ts';

/** Values by name; undefined: not there yet, null: there is none. */
type Data = Readonly<Record<string, string | null | undefined>>;
interface Action {
  readonly name: string;
}

const input = (key: string): MatchInput<Data> => ({ type: 'text', get: (data) => data[key] });
const action = (name: string, keepMatching = false): OnMatch<Data, Action> => ({
  tree: null,
  action: { name },
  keepMatching,
});
const into = (tree: MatchTree<Data, Action>, keepMatching = false): OnMatch<Data, Action> => ({
  tree,
  action: null,
  keepMatching,
});
const is = (key: string, value: string): Predicate<Data> =>
  new InputPredicate(input(key), { matches: (given) => given === value });
const name = (tree: MatchTree<Data, Action>, data: Data): string | null | undefined => {
  const found = tree.match(data);
  return found === null || found === undefined ? found : found.name;
};
const map = (...entries: [string, OnMatch<Data, Action>][]) => new Map(entries);

describe('predicates', () => {
  const unknown: Data = { a: undefined, b: 'x' };
  test('what is not known yet decides nothing where something else decides', () => {
    expect(new SomePredicate([is('a', 'x'), is('b', 'x')]).holds(unknown)).toBe(true);
    expect(new SomePredicate([is('a', 'x'), is('b', 'y')]).holds(unknown)).toBeUndefined();
    expect(new AllPredicate([is('b', 'y'), is('a', 'x')]).holds(unknown)).toBe(false);
    expect(new AllPredicate([is('b', 'x'), is('a', 'x')]).holds(unknown)).toBeUndefined();
    expect(new NotPredicate(is('a', 'x')).holds(unknown)).toBeUndefined();
  });

  test('what does not exist matches nothing, so its contrary holds', () => {
    expect(is('c', 'x').holds({ c: null })).toBe(false);
    expect(new NotPredicate(is('c', 'x')).holds({ c: null })).toBe(true);
  });
});

describe('lists', () => {
  const list = new ListTree<Data, Action>(
    [
      { predicate: is('a', '1'), onMatch: action('one') },
      { predicate: is('b', '1'), onMatch: into(new ExactTree(input('c'), map(['x', action('inner')]), null)) },
      { predicate: is('b', '1'), onMatch: action('behind') },
    ],
    action('none'),
  );

  test('the first that holds', () => {
    expect(name(list, { a: '1', b: '1' })).toBe('one');
    expect(name(list, { a: '2', b: '2' })).toBe('none');
  });

  test('an inner matcher that matches nothing leaves it to the next entry', () => {
    expect(name(list, { a: null, b: '1', c: 'x' })).toBe('inner');
    expect(name(list, { a: null, b: '1', c: 'y' })).toBe('behind');
  });

  test('an entry that cannot be told yet hides those behind it', () => {
    expect(name(list, { a: undefined, b: '1' })).toBeUndefined();
    expect(name(list, { a: null, b: '1', c: undefined })).toBeUndefined();
  });

  test('keep_matching reports and goes on, also from an inner matcher', () => {
    const kept = new ListTree<Data, Action>(
      [
        { predicate: is('a', '1'), onMatch: action('seen', true) },
        { predicate: is('a', '1'), onMatch: into(new AnyTree(action('seen too')), true) },
      ],
      action('none'),
    );
    const skipped: string[] = [];
    expect(kept.match({ a: '1' }, (each) => skipped.push(each.name))?.name).toBe('none');
    expect(skipped).toEqual(['seen', 'seen too']);
    const last = new ListTree<Data, Action>([], action('none', true));
    expect(name(last, {})).toBeNull();
  });
});

describe('maps', () => {
  test('exact, or none', () => {
    const tree = new ExactTree(input('a'), map(['x', action('x')], ['', action('empty')]), action('none'));
    expect([name(tree, { a: 'x' }), name(tree, { a: '' }), name(tree, { a: 'xy' }), name(tree, { a: null })]).toEqual([
      'x',
      'empty',
      'none',
      'none',
    ]);
    expect(name(tree, { a: undefined })).toBeUndefined();
  });

  test('the longest prefix that leads to something', () => {
    const inner = new ExactTree(input('b'), map(['y', action('deep')]), null);
    const tree = new PrefixTree(
      input('a'),
      map(['', action('root')], ['/a', action('a')], ['/a/b', into(inner)], ['/z', action('z')]),
      null,
    );
    expect(name(tree, { a: '/a/b/c', b: 'y' })).toBe('deep');
    expect(name(tree, { a: '/a/b/c', b: 'n' })).toBe('a');
    expect(name(tree, { a: '/' })).toBe('root');
    expect(name(tree, { a: '/zz' })).toBe('z');
  });
});

describe('server names', () => {
  const tree = new ServerNameTree(
    input('sni'),
    map(
      ['a.example', action('exact')],
      ['*.example', action('wide')],
      ['*.b.example', into(new ExactTree(input('c'), map(['x', action('narrow')]), null))],
      ['*', action('any')],
    ),
    action('none'),
  );
  test.each([
    ['a.example', 'exact'],
    ['x.a.example', 'wide'],
    ['example', 'any'],
    ['.example', 'wide'],
    ['other', 'any'],
    ['x.b.example', 'narrow'],
    ['b.example', 'wide'],
    ['', 'none'],
    [`${'x.'.repeat(1000)}b.example`, 'narrow'],
  ])('%s', (sni, expected) => {
    expect(name(tree, { sni, c: 'x' })).toBe(expected);
  });

  test('a wildcard that leads nowhere leaves it to a shorter one', () => {
    expect(name(tree, { sni: 'x.b.example', c: 'y' })).toBe('wide');
  });
});

test('ranges: the narrowest first; exclusive ones only as the narrowest', () => {
  const entries = [
    { exclusive: false, onMatch: action('narrow', true) },
    { exclusive: true, onMatch: action('middle') },
    { exclusive: false, onMatch: action('wide') },
  ];
  const tree = new RangeTree<Data, Action>(input('ip'), (ip) => (ip === '1' ? entries : entries.slice(1)), null);
  expect(name(tree, { ip: '1' })).toBe('wide');
  expect(name(tree, { ip: '2' })).toBe('middle');
});
