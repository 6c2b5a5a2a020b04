import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { SeededRandom } from '../../../base/random.ts';
import { ConstantFormatter, type FormatContext } from '../../../routing/stream-view.ts';
import { headerMutationFilter } from './factory.ts';
import { editQuery } from './query-edit.ts';

function harness(yaml: string): FilterHarness {
  const on = new TestBuild();
  const built = headerMutationFilter.build(on.message(headerMutationFilter.configType, yaml), on.context);
  expect(on.errors).toEqual([]);
  return new FilterHarness(built!);
}

test('mutations run in their order, each on what the one before left', () => {
  const stream = harness(`
    mutations:
      request_mutations:
        - { remove: X-A }
        - append: { header: { key: x-a, value: new } }
        - append: { header: { key: x-b, value: '%REQ(x-a)%' }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
        - remove_on_match: { key_matcher: { prefix: x-gone } }
      response_mutations:
        - append: { header: { key: x-code, value: '%RESPONSE_CODE%' } }
      response_trailers_mutations:
        - append: { header: { key: x-t, value: '1' } }`);
  stream.sendHeaders({ 'x-a': 'old', 'x-b': 'old', 'x-gone-1': '', 'x-gone-2': '' });
  expect(stream.requestHeaders!.list).toEqual(['x-a', 'new', 'x-b', 'new']);
  stream.answerHeaders(200, {}, false);
  expect(stream.responseHeaders!.has('x-code')).toBe(true);
  stream.answerTrailers({ t: '0' });
  expect(stream.responseTrailers!.list).toEqual(['t', '0', 'x-t', '1']);
});

test('pseudo-headers are refused', () => {
  const on = new TestBuild();
  const yaml = "mutations: { request_mutations: [{ append: { header: { key: ':path', value: x } } }] }";
  expect(headerMutationFilter.build(on.message(headerMutationFilter.configType, yaml), on.context)).toBeNull();
  expect(on.errors).toEqual([
    'mutations.request_mutations[0].append.header.key: :-prefixed or host headers may not be modified',
  ]);
});

test('a query never breaks the request line, whatever it holds', () => {
  const random = new SeededRandom(7);
  const alphabet = [
    'a',
    'b',
    '=',
    '&',
    '?',
    '%',
    '%20',
    '%0d',
    '%0A',
    '%00',
    '%26',
    '%3D',
    '%2f',
    '+',
    '%zz',
    '/',
    '%C3%BC',
  ];
  const context = {} as FormatContext;
  for (let i = 0; i < 5000; i++) {
    let path = '/p?';
    for (let n = random.below(12); n > 0; n--) path += alphabet[random.below(alphabet.length)]!;
    const edited = editQuery(
      path,
      [{ kind: 'append', name: 'new', value: new ConstantFormatter('v &\r\n'), action: 0 }],
      context,
    );
    expect(edited).toMatch(/^\/p\?[!-~]*$/);
    expect(edited).toContain('new=v%20%26%0D%0A');
    // Nothing is added or lost: editing once more changes nothing.
    expect(editQuery(edited, [], context)).toBe(edited);
  }
});
