/** What `nuncio config upgrade` prints is accepted by Envoy itself. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openApiRegistry } from '../../src/api/api-registry.ts';
import { ExtensionRegistry } from '../../src/config/extension-registry.ts';
import { EXTENSIONS } from '../../src/extensions/index.ts';
import { loadBootstrap } from '../../src/main/load-bootstrap.ts';
import { installEnvoy } from '../../tools/envoy.ts';
import { upgraded, V2_CASES, v2Case, v2Surroundings } from '../support/v2-cases.ts';

const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
let directory = '';
let envoy = '';

beforeAll(async () => {
  envoy = await installEnvoy();
  directory = v2Surroundings(api);
}, 120_000);
afterAll(() => rmSync(directory, { recursive: true }));

function validate(name: string, text: string): { readonly code: number; readonly output: string } {
  const path = join(directory, `v3-${name}`);
  writeFileSync(path, text);
  const run = Bun.spawnSync([envoy, '--mode', 'validate', '-l', 'error', '--use-dynamic-base-id', '-c', path], {
    stdout: 'ignore',
    stderr: 'pipe',
  });
  return { code: run.exitCode, output: run.stderr.toString() };
}

describe('files of version 2, upgraded', () => {
  for (const name of V2_CASES) {
    test(name, () => {
      const { text, changed } = upgraded(v2Case(name, directory), api);
      expect(changed).toBe(true);
      const { code, output } = validate(name, text);
      if (code !== 0) throw new Error(`${output}\n${text}`);
    }, 30_000);
  }

  // A filter that does not exist here yet is no fault of the upgrade.
  const NOT_YET = /not supported yet|Didn't find a registered|cluster provided LB specified/;
  for (const name of V2_CASES) {
    test(`${name} runs here, or waits for what is not supported yet`, () => {
      const loaded = loadBootstrap([v2Case(name, directory)], api, extensions, 'reject');
      const faults = loaded.ok ? [] : loaded.error.filter((error) => !NOT_YET.test(error.reason));
      expect(faults.map((error) => `${error.path}: ${error.reason}`)).toEqual([]);
      if (!loaded.ok) for (const error of loaded.error) expect(error.position).toBeDefined();
    });
  }

  test('Envoy refuses one that was not upgraded', () => {
    expect(validate('original.yaml', v2Case('front-proxy.yaml', directory).content).code).not.toBe(0);
  });
});
