/** The library on Node and Bun: built as `npm pack` does it, imported from a project that has it installed. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildLibrary } from '../../tools/build-library.ts';

const root = join(import.meta.dir, '..', '..');

const SCRIPT = `
import { ConfigRefused, createServer } from 'nuncio';
const config = ${JSON.stringify({
  admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
  static_resources: {
    listeners: [
      {
        name: 'a',
        address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
        filter_chains: [
          {
            filters: [
              {
                name: 'hcm',
                typed_config: {
                  '@type':
                    'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                  stat_prefix: 'ingress',
                  route_config: {
                    virtual_hosts: [
                      {
                        name: 'v',
                        domains: ['*'],
                        routes: [
                          { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hi' } } },
                        ],
                      },
                    ],
                  },
                  http_filters: [
                    {
                      name: 'router',
                      typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                    },
                  ],
                },
              },
            ],
          },
        ],
      },
    ],
  },
})};
const server = await createServer({ config, logLevel: 'off' });
await server.start();
const body = await (await fetch('http://' + server.addresses.get('a')[0])).text();
const ready = await (await fetch('http://' + server.adminAddress + '/ready')).text();
const stats = await server.stats({ filter: 'ingress.downstream_rq_2xx' });
await server.stop();
const refused = await createServer({ config: 'admin: { adress: 1 }' }).catch((error) => error);
const workers = await createServer({ config, concurrency: 2, logLevel: 'off' }).then(async (two) => {
  await two.start();
  const text = await (await fetch('http://' + two.addresses.get('a')[0])).text();
  await two.stop();
  return 'two workers: ' + text;
}, (error) => error.message);
console.log(JSON.stringify({ body, ready, stats, refused: refused instanceof ConfigRefused, workers }));
`;

/** A project with the package installed: what `npm pack` and `npm install` leave, without the executable. */
let project = '';
beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), 'nuncio-embed-'));
  const installed = join(project, 'node_modules/nuncio');
  await buildLibrary(join(installed, 'dist'));
  cpSync(join(root, 'package.json'), join(installed, 'package.json'));
}, 60_000);
afterAll(() => rmSync(project, { recursive: true, force: true }));

async function run(...command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { cwd: project, stdio: ['ignore', 'pipe', 'pipe'] });
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const code = await child.exited;
  if (code !== 0 || errors !== '') throw new Error(`exit code ${code}: ${errors}${output}`);
  return output;
}

for (const runtime of ['node', process.execPath]) {
  const isNode = runtime === 'node';
  const name = isNode ? 'Node' : 'Bun';

  test(`the library serves on ${name}`, async () => {
    writeFileSync(join(project, 'script.mjs'), SCRIPT);
    const told = JSON.parse(await run(runtime, 'script.mjs')) as Record<string, unknown>;
    expect(told).toMatchObject({ body: 'hi', ready: 'LIVE\n', refused: true });
    expect(told.stats).toContain('http.ingress.downstream_rq_2xx: 1');
    expect(told.workers).toContain(isNode ? 'needs Bun' : 'two workers: hi');
  }, 30_000);

  test(`the example of docs/how-to/embed.md runs on ${name}`, async () => {
    const page = readFileSync(join(root, 'docs/how-to/embed.md'), 'utf8');
    writeFileSync(join(project, 'proxy.mjs'), /^```js file=proxy\.mjs\n([\s\S]*?)^```$/m.exec(page)![1]!);
    const output = await run(runtime, 'proxy.mjs');
    expect(output).toContain('200 hello from inside\n');
    expect(output).toContain('http.front.downstream_rq_total: 1\n');
    expect(output).toContain('clusters');
  }, 30_000);
}

test('TypeScript finds the declarations', async () => {
  const text = `import { ConfigRefused, createServer, type EmbeddedServer, type ServerSettings } from 'nuncio';
const settings: ServerSettings = { config: {}, concurrency: 1, flags: { drainTimeS: 5 } };
export const server: EmbeddedServer = await createServer(settings);
export const addresses: ReadonlyMap<string, readonly string[]> = server.addresses;
export const refused = new ConfigRefused([]).errors[0]?.position?.line;
// @ts-expect-error: there is no such setting
await createServer({ workers: 2 });
`;
  writeFileSync(join(project, 'types.mts'), text);
  const strict = ['--strict', '--noEmit', '--target', 'esnext', '--module', 'nodenext', '--types', ''];
  expect(await run(join(root, 'node_modules/.bin/tsc'), ...strict, 'types.mts')).toBe('');
}, 30_000);

test('the package holds what it points at', () => {
  const { bin, exports, files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    bin: Record<string, string>;
    exports: Record<string, Record<string, string>>;
    files: string[];
  };
  for (const target of Object.values(exports['.']!)) {
    expect(readFileSync(join(project, 'node_modules/nuncio', target)).length).toBeGreaterThan(0);
    expect(files.some((folder) => target.startsWith(`./${folder}/`))).toBe(true);
  }
  expect(files).toContain(bin.nuncio!);
});
