/** The files of version 2 under `test/config-cases/v2`, upgraded, with the files that they name beside them. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiRegistry } from '../../src/api/api-registry.ts';
import { renderErrors } from '../../src/config/diagnostics/render.ts';
import { type ConfigInput, formatOfPath } from '../../src/config/load/load-config.ts';
import { type UpgradedFile, upgradeFile } from '../../src/config/upgrade/upgrade-file.ts';

const folder = join(import.meta.dir, '..', 'config-cases', 'v2');

/** File names of the cases, in order. */
export const V2_CASES: readonly string[] = readdirSync(folder)
  .filter((name) => /\.(yaml|json)$/.test(name))
  .sort();

/** A temporary folder with a certificate, its key, and the upgraded resources. The caller removes it. */
export function v2Surroundings(api: ApiRegistry): string {
  const directory = mkdtempSync(join(tmpdir(), 'nuncio-v2-'));
  const certificate = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ];
  const made = Bun.spawnSync(
    [
      'openssl',
      ...certificate,
      '-subj',
      '/CN=x',
      '-keyout',
      join(directory, 'key.pem'),
      '-out',
      join(directory, 'cert.pem'),
    ],
    { stderr: 'pipe' },
  );
  if (made.exitCode !== 0) throw new Error(`openssl: ${made.stderr.toString()}`);
  for (const name of readdirSync(join(folder, 'resources'))) {
    const input = read(join(folder, 'resources', name), directory);
    writeFileSync(join(directory, name), upgraded(input, api).text);
  }
  return directory;
}

/** A case as its author wrote it. */
export function v2Case(name: string, directory: string): ConfigInput & { readonly content: string } {
  return read(join(folder, name), directory);
}

/** Throws with the errors rendered when the upgrade fails. */
export function upgraded(input: ConfigInput, api: ApiRegistry): UpgradedFile {
  const result = upgradeFile(input, api);
  if (!result.ok) throw new Error(renderErrors(result.error, { colours: false }));
  return result.value;
}

function read(path: string, directory: string): ConfigInput & { readonly content: string } {
  const content = readFileSync(path, 'utf8').replaceAll('{{dir}}', directory);
  return { name: path, format: formatOfPath(path), content };
}
