/** Files of discovery that are swapped by links and directories, as mounted volumes do. */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fields } from './configs.ts';
import { answer, CLUSTER, dumpStates } from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { steps, suite } from './harness.ts';

const named = (...names: string[]): string =>
  JSON.stringify(
    answer(
      names.join('-'),
      names.map((name) => ({ '@type': `type.googleapis.com/${CLUSTER}`, name, connect_timeout: '1s' })),
    ),
  );

function put(mount: string, version: string, ...names: string[]): void {
  mkdirSync(join(mount, version));
  writeFileSync(join(mount, version, 'cds.json'), named(...names));
}

/** `mount/cds.json` → `..data/cds.json`, `..data` → `v1`. */
function prepare(tmp: string): void {
  const mount = join(tmp, 'mount');
  mkdirSync(mount);
  put(mount, 'v1', 'one');
  symlinkSync('v1', join(mount, '..data'));
  symlinkSync('..data/cds.json', join(mount, 'cds.json'));
}

function swap(exchange: Exchange, version: string): void {
  const mount = join(exchange.side.tmp, 'mount');
  symlinkSync(version, join(mount, '..next'));
  renameSync(join(mount, '..next'), join(mount, '..data'));
}

const mountOf = (exchange: Exchange): string => join(exchange.side.tmp, 'mount');

async function knows(exchange: Exchange, name: string): Promise<void> {
  await exchange.expect(`cluster ${name}`, async () =>
    (await exchange.proxy.admin('/clusters')).body.includes(`${name}::added_via_api::true`),
  );
}

/** Nothing happens, for as long as it takes to happen elsewhere. */
const QUIET_MS = 250;

function config(source: Fields): Fields {
  return {
    node: { id: 'node-1', cluster: 'tests' },
    dynamic_resources: { cds_config: { path_config_source: { path: '{{tmp}}/mount/cds.json', ...source } } },
  };
}

const stats = [/^cluster_manager\.cds\.update_(attempt|success|failure|rejected)/, /^cluster_manager\.active_clusters/];

suite(
  'discovery files in a watched directory',
  { config: config({ watched_directory: { path: '{{tmp}}/mount' } }), prepare, fresh: true, stats },
  [
    steps(
      'the link of the directory is swapped, twice',
      async (exchange) => {
        put(mountOf(exchange), 'v2', 'one', 'two');
        swap(exchange, 'v2');
        await knows(exchange, 'two');
        put(mountOf(exchange), 'v3', 'three');
        swap(exchange, 'v3');
        await knows(exchange, 'three');
        await dumpStates(exchange);
      },
      { stats: [] },
    ),
    steps(
      'a swap to something that is no answer, and back',
      async (exchange) => {
        const mount = mountOf(exchange);
        mkdirSync(join(mount, 'v2'));
        writeFileSync(join(mount, 'v2', 'cds.json'), '{"version_info": ');
        swap(exchange, 'v2');
        await exchange.expect('a failure', async () => (await exchange.stat('cluster_manager.cds.update_failure')) > 0);
        await dumpStates(exchange);
        put(mount, 'v3', 'three');
        swap(exchange, 'v3');
        await knows(exchange, 'three');
        await dumpStates(exchange);
      },
      { stats: [] },
    ),
    steps('a write in place is no news', async (exchange) => {
      writeFileSync(join(mountOf(exchange), 'v1', 'cds.json'), named('two'));
      await Bun.sleep(QUIET_MS);
      await dumpStates(exchange);
    }),
    steps('a move of another file into the directory is', async (exchange) => {
      const mount = mountOf(exchange);
      writeFileSync(join(mount, 'v1', 'cds.json'), named('two'));
      writeFileSync(join(exchange.side.tmp, 'other'), '');
      renameSync(join(exchange.side.tmp, 'other'), join(mount, 'other'));
      await knows(exchange, 'two');
      await dumpStates(exchange);
    }),
  ],
);

suite('discovery files, without a watched directory', { config: config({}), prepare, fresh: true, stats }, [
  steps('the link of the directory is swapped', async (exchange) => {
    put(mountOf(exchange), 'v2', 'two');
    swap(exchange, 'v2');
    await Bun.sleep(QUIET_MS);
    await dumpStates(exchange);
  }),
  steps('the link of the file is replaced by a move', async (exchange) => {
    const mount = mountOf(exchange);
    put(mount, 'v2', 'two');
    symlinkSync('v2/cds.json', join(mount, 'next'));
    renameSync(join(mount, 'next'), join(mount, 'cds.json'));
    await knows(exchange, 'two');
    await dumpStates(exchange);
  }),
  steps('a file moved over the link, then another', async (exchange) => {
    const mount = mountOf(exchange);
    for (const name of ['two', 'three']) {
      writeFileSync(join(mount, 'next'), named(name));
      renameSync(join(mount, 'next'), join(mount, 'cds.json'));
      await knows(exchange, name);
    }
    await dumpStates(exchange);
  }),
  steps('the file goes, and another is moved in', async (exchange) => {
    const mount = mountOf(exchange);
    rmSync(join(mount, 'cds.json'));
    await Bun.sleep(QUIET_MS);
    await dumpStates(exchange);
    writeFileSync(join(mount, 'next'), named('two'));
    renameSync(join(mount, 'next'), join(mount, 'cds.json'));
    await knows(exchange, 'two');
    await dumpStates(exchange);
  }),
  steps('another file is moved into the directory', async (exchange) => {
    const mount = mountOf(exchange);
    writeFileSync(join(mount, 'v1', 'cds.json'), named('two'));
    writeFileSync(join(mount, 'next'), '');
    renameSync(join(mount, 'next'), join(mount, 'other'));
    await Bun.sleep(QUIET_MS);
    await dumpStates(exchange);
  }),
]);
