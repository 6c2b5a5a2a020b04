import { afterAll, beforeAll, expect, test } from 'bun:test';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dir, '..');
const TOOL = join(import.meta.dir, 'generate-filter.ts');
// The example of the page is what is tested.
const PAGE = readFileSync(join(ROOT, 'docs/how-to/write-an-http-filter.md'), 'utf8');
const [, NAME, MESSAGE] = /^npm run generate:filter -- (\S+) (\S+)$/m.exec(PAGE) as unknown as [string, string, string];
const FACTORY = `${NAME.replace(/-([a-z])/g, (_all, letter: string) => letter.toUpperCase())}Filter`;
let tree = '';

beforeAll(() => {
  tree = mkdtempSync(join(tmpdir(), 'nuncio-generate-'));
  cpSync(join(ROOT, 'src'), join(tree, 'src'), {
    recursive: true,
    // Generated declarations are linked: 8 MB of them.
    filter: (path) => !path.endsWith('/api/gen'),
  });
  symlinkSync(join(ROOT, 'src/api/gen'), join(tree, 'src/api/gen'));
  cpSync(join(ROOT, 'test/support'), join(tree, 'test/support'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(tree, 'package.json'));
  cpSync(join(ROOT, 'tsconfig.json'), join(tree, 'tsconfig.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
});

afterAll(() => rmSync(tree, { recursive: true, force: true }));

function run(...args: readonly string[]): { code: number; text: string } {
  const child = Bun.spawnSync([process.execPath, ...args], { cwd: tree });
  return { code: child.exitCode, text: child.stdout.toString() + child.stderr.toString() };
}

test('a generated filter type-checks, passes its test and stands in the list', () => {
  const made = run(TOOL, NAME, MESSAGE, tree);
  expect(made).toEqual({ code: 0, text: expect.stringContaining(NAME) as unknown as string });
  const index = readFileSync(join(tree, 'src/extensions/index.ts'), 'utf8');
  expect(index).toContain(`import { ${FACTORY} } from './http-filters/${NAME}/factory.ts';`);
  expect(index).toContain(`  ${FACTORY},\n`);
  const tested = run('test', `./src/extensions/http-filters/${NAME}`);
  expect(tested.text).toContain('1 pass');
  expect(tested.code).toBe(0);
  const checked = Bun.spawnSync([join(ROOT, 'node_modules/.bin/tsc'), '--noEmit', '-p', tree]);
  const errors = checked.stdout.toString().split('\n');
  expect(errors.filter((line) => line.includes(NAME) || line.includes('extensions/index.ts'))).toEqual([]);
}, 120_000);

test('what is wrong is said, and nothing is written', () => {
  expect(run(TOOL, 'Bad_Name', MESSAGE, tree).text).toContain('is not kebab-case');
  expect(run(TOOL, 'other', 'envoy.extensions.filters.http.none.v3.None', tree).text).toContain('is missing');
  expect(run(TOOL, 'buffer', MESSAGE, tree).text).toContain('is there already');
  expect(run(TOOL).code).toBe(1);
  expect(existsSync(join(tree, 'src/extensions/http-filters/other'))).toBe(false);
});
