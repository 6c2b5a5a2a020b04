/**
 * Makes a new HTTP filter: `npm run generate:filter -- <name> <full name of its message> [folder of the tree]`, such as
 * `npm run generate:filter -- bandwidth-limit envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit`.
 * Writes factory.ts, filter.ts, filter.test.ts and README.md below src/extensions/http-filters/<name>/ and the factory's lines in
 * src/extensions/index.ts. Until fields are listed in the factory's `support`, every field that is set is refused.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [name, message, tree = join(import.meta.dir, '..')] = process.argv.slice(2);

function fail(reason: string): never {
  console.error(reason);
  process.exit(1);
}

if (name === undefined || message === undefined) {
  fail('usage: npm run generate:filter -- <kebab-case-name> <full.name.of.Message>');
}
if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)) fail(`${name} is not kebab-case`);
const parts = message.split('.');
const type = parts[parts.length - 1]!;
const file = parts[parts.length - 3] ?? '';
if (!/^[A-Z]\w*$/.test(type) || parts.length < 4) fail(`${message} is not the full name of a message`);

const folder = join(tree, 'src/extensions/http-filters', name);
if (existsSync(folder)) fail(`${folder} is there already`);
const generated = join(tree, 'src/api/gen', ...parts.slice(0, -1));
const declarations = existsSync(generated)
  ? new Bun.Glob('*_pb.d.ts').scanSync(generated)
  : fail(`${generated} is missing: is ${message} a message of Envoy? (npm run build:api makes it)`);
let declaration = '';
for (const each of declarations) {
  if (readFileSync(join(generated, each), 'utf8').includes(`Message<"${message}">`)) declaration = each;
}
if (declaration === '') fail(`no file of ${generated} declares ${message}`);

const snake = name.replaceAll('-', '_');
const pascal = name.replace(/(^|-)([a-z0-9])/g, (_all, _dash, letter: string) => letter.toUpperCase());
const camel = pascal[0]!.toLowerCase() + pascal.slice(1);
const api = `../../../api/gen/${parts.slice(0, -1).join('/')}/${declaration}`;

const files: Readonly<Record<string, string>> = {
  'factory.ts': `import type { Message } from '@bufbuild/protobuf';
import type { ${type} } from '${api}';
import type { BuildContext } from '../../../config/build-context.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import { ${pascal}Filter } from './filter.ts';

const NAME = '${message}';

function build(_config: ${type}, _context: BuildContext): HttpFilterBuilder | null {
  return { isTerminal: false, createFilter: () => new ${pascal}Filter() };
}

/** envoy.filters.http.${snake}. */
export const ${camel}Filter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.${snake}',
  configType: NAME,
  // Name the fields that are obeyed; all others are refused.
  support: [{ message: NAME, fields: '' }],
  build: (config: Message, context) => build(config as ${type}, context),
};
`,
  'filter.ts': `import type { RequestHeaders } from '../../../http/header-map.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';

/** Source: Envoy, ${file}. Override only the hooks that are needed: the others cost nothing. */
export class ${pascal}Filter extends HttpFilter {
  override onRequestHeaders(_headers: RequestHeaders, _end: boolean): Flow {
    return Flow.Continue;
  }
}
`,
  'filter.test.ts': `import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { ${camel}Filter } from './factory.ts';

test('a request passes', () => {
  const on = new TestBuild();
  const builder = ${camel}Filter.build(on.message(${camel}Filter.configType, '{}'), on.context);
  expect(on.errors).toEqual([]);
  const stream = new FilterHarness(builder!);
  stream.sendHeaders({ ':path': '/' }, false);
  stream.sendData('body', true);
  expect(stream.request.passed).toBe('Hbody$');
});
`,
  'README.md': `# envoy.filters.http.${snake}

- **Fields**: none yet.
- **Stability**: work in progress.
- **Trust posture**: unknown.
`,
};

const indexPath = join(tree, 'src/extensions/index.ts');
const index = readFileSync(indexPath, 'utf8');
const importLine = `import { ${camel}Filter } from './http-filters/${name}/factory.ts';`;
const anchor = /^import \{ routerFilter \} .*$/m;
const entry = /^ {2}routerFilter,$/m;
if (!anchor.test(index) || !entry.test(index)) fail(`${indexPath} has no routerFilter to stand beside`);
if (index.includes(`${camel}Filter`)) fail(`${indexPath} names ${camel}Filter already`);

mkdirSync(folder, { recursive: true });
for (const [path, text] of Object.entries(files)) writeFileSync(join(folder, path), text);
writeFileSync(
  indexPath,
  index.replace(anchor, (line) => `${importLine}\n${line}`).replace(entry, (line) => `  ${camel}Filter,\n${line}`),
);
console.log(`made ${folder}: begin with filter.ts, and name the fields that it obeys in factory.ts`);
