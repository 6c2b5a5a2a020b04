/** Broken files: whatever stands where, the upgrade answers, and what it prints reads as what it made. */

import { afterAll, expect, test } from 'bun:test';
import { rmSync } from 'node:fs';
import { upgraded, V2_CASES, v2Case, v2Surroundings } from '../../../test/support/v2-cases.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import { SeededRandom } from '../../base/random.ts';
import { loadConfig, parseTree } from '../load/load-config.ts';
import { upgradeFile } from './upgrade-file.ts';
import { upgradeTree, v2Rewrite } from './upgrade-tree.ts';

const api = openApiRegistry();
const bootstrap = api.message('envoy.config.bootstrap.v3.Bootstrap')!;
const directory = v2Surroundings(api);
afterAll(() => rmSync(directory, { recursive: true }));

const VALUES = ['1', '""', '{}', '[]', '~', 'true', '{a: 1}', '[1]', '[{}]', 'constructor', '{__proto__: 1}', '[[[]]]'];

/** Replaces values of `key: value` lines and drops lines: mostly still YAML, seldom still right. */
function mutate(text: string, random: SeededRandom): string {
  const lines = text.split('\n');
  for (let i = 0, count = 1 + random.below(4); i < count; i++) {
    const at = random.below(lines.length);
    const line = lines[at] ?? '';
    const kind = random.below(4);
    if (kind === 0) lines.splice(at, 1);
    else if (kind === 1) lines[at] = line.replace(/: .*$/, `: ${VALUES[random.below(VALUES.length)]}`);
    else if (kind === 2)
      lines[at] = line.replace(/[\w.]+(?=:)/, () => (lines[random.below(lines.length)] ?? '').trim().split(':')[0]!);
    else {
      // One of the values in braces.
      const places = [...line.matchAll(/: ([^,{}[\]]+)/g)];
      const place = places[random.below(places.length || 1)];
      if (place !== undefined) {
        lines[at] =
          `${line.slice(0, place.index)}: ${VALUES[random.below(VALUES.length)]}${line.slice(place.index + place[0].length)}`;
      }
    }
  }
  return lines.join('\n');
}

test('mutated files of version 2', () => {
  let changed = 0;
  for (const [index, name] of V2_CASES.entries()) {
    const input = v2Case(name, directory);
    for (let seed = 0; seed < 10; seed++) {
      const content = mutate(input.content, new SeededRandom(index * 1000 + seed));
      const mutated = { ...input, content };
      const result = upgradeFile(mutated, api);
      loadConfig([mutated], { api, desc: bootstrap, rewrite: v2Rewrite(api, bootstrap) });
      if (!result.ok || !result.value.changed) continue;
      changed++;
      const again = parseTree({ ...input, content: result.value.text });
      if (again.tree === undefined)
        throw new Error(`${again.errors[0]?.reason}\n${content}\n---\n${result.value.text}`);
      // Nothing of version 2 is left to upgrade.
      const twice = upgradeTree(again.tree, api, bootstrap);
      if (twice.tree !== again.tree) {
        throw new Error(`${[...twice.errors, ...twice.warnings][0]?.reason}\n${content}\n---\n${result.value.text}`);
      }
    }
  }
  expect(changed).toBeGreaterThan(100);
}, 120_000);

test('an upgraded file is not upgraded again', () => {
  for (const name of V2_CASES) {
    const input = v2Case(name, directory);
    const once = upgraded(input, api);
    const twice = upgraded({ ...input, content: once.text }, api);
    expect([name, twice.changed, twice.text]).toEqual([name, false, once.text]);
  }
});
