/**
 * Whole configurations, one file each, in the folder of the verdict that the real Envoy 1.40 gives them
 * (`--mode validate`). The first line of each says why it is there.
 */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { openApiRegistry } from '../../api/api-registry.ts';
import { ConstraintChecker } from '../validate/constraint-checker.ts';
import { loadConfig } from './load-config.ts';

const root = new URL('../../../test/config-cases/', import.meta.url);
const api = openApiRegistry();
const desc = api.message('envoy.config.bootstrap.v3.Bootstrap')!;
const checker = new ConstraintChecker(api);

function complaints(folder: string, file: string): string[] {
  const content = readFileSync(new URL(`${folder}/${file}`, root), 'utf8');
  const loaded = loadConfig([{ name: file, format: 'yaml', content }], { api, desc });
  const errors = loaded.ok
    ? checker.check(loaded.value.message, desc, loaded.value.anys, loaded.value.positions).errors
    : loaded.error;
  for (const error of errors) {
    // Every complaint about a text names a line.
    expect(error.position?.line).toBeGreaterThan(0);
    expect(error.reason).not.toBe('');
  }
  return errors.map((error) => `${error.position?.line}:${error.position?.column} ${error.path}: ${error.reason}`);
}

for (const folder of ['valid', 'invalid']) {
  const files = readdirSync(new URL(`${folder}/`, root)).filter((file) => file.endsWith('.yaml'));
  describe(`${folder} for Envoy (${files.length} files)`, () => {
    test('there are enough of them', () => expect(files.length).toBeGreaterThan(30));
    for (const file of files) {
      test(file, () => {
        const found = complaints(folder, file);
        if (folder === 'valid') expect(found).toEqual([]);
        else expect(found).not.toEqual([]);
      });
    }
  });
}
