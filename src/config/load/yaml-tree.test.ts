import { expect, test } from 'bun:test';
import { SourceFile } from '../diagnostics/source-file.ts';
import { TreeMapping } from './tree.ts';
import { parseYaml } from './yaml-tree.ts';

function parse(text: string) {
  return parseYaml(new SourceFile('x.yaml', text));
}

test('between brackets lines may begin at any column, and stand where they stand', () => {
  const text = 'a:\n  b: [\n{c: 1,\n d: "two\nlines"}, {\n}\n]\n  e: f\n';
  const { tree, errors } = parse(text);
  expect(errors).toEqual([]);
  expect(tree).toBeInstanceOf(TreeMapping);
  const whole = JSON.stringify(tree, (key, value) => (key === 'source' ? undefined : value));
  expect(whole).toContain(`"start":${text.indexOf('1,')}`);
  expect(whole).toContain(`"start":${text.indexOf('f\n')}`);
});

test('what is wrong otherwise is told as it is', () => {
  expect(parse('a: [\n{c: 1}\nb: 2\n').errors.length).toBeGreaterThan(0);
  expect(parse('a:\n   b: 1\n  c: 2\n').errors[0]!.reason).toContain('same column');
});
