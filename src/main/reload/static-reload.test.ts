/** What is done about an edit that fails half way, against a dynamic configuration whose answers the test gives. */
import { expect, test } from 'bun:test';
import { openApiRegistry } from '../../api/api-registry.ts';
import { Logger } from '../../base/log.ts';
import { ExtensionRegistry } from '../../config/extension-registry.ts';
import { EXTENSIONS } from '../../extensions/index.ts';
import type { ResourceRefusal, ResourceUpdate } from '../../xds/resource-source.ts';
import { type LoadedBootstrap, loadBootstrap } from '../load-bootstrap.ts';
import type { DynamicConfig } from '../updates/dynamic-config.ts';
import { StaticReload } from './static-reload.ts';

const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);

function load(clusters: readonly object[]): LoadedBootstrap {
  const content = JSON.stringify({ static_resources: { clusters } });
  const settings = { statsTags: [] };
  const loaded = loadBootstrap(
    [{ name: 'x', format: 'json', content }],
    api,
    extensions,
    'reject',
    settings,
    () => null,
  );
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
  return loaded.value;
}

class FakeDynamic {
  readonly told: string[] = [];
  rehearsal: ResourceRefusal[] = [];
  /** Of the next application of clusters. */
  refusals: ResourceRefusal[] = [];
  readonly clusters = {
    names: () => new Set<string>(),
    refusalsOf: () => [],
    apply: (update: ResourceUpdate) => {
      this.told.push([...update.changed.map(({ name }) => name), ...update.removed.map((name) => `-${name}`)].join());
      const refused = this.refusals;
      this.refusals = [];
      return Promise.resolve(refused);
    },
  };
  readonly builds = { useStaticSecrets: () => {} };
  readonly listeners = { refusalsOf: () => [], apply: () => Promise.resolve([]) };
  readonly orders = { rehearse: () => Promise.resolve(this.rehearsal) };
}

function setUp() {
  const before = load([{ name: 'a' }, { name: 'b' }]);
  const after = load([{ name: 'a', connect_timeout: '2s' }, { name: 'c' }]);
  const dynamic = new FakeDynamic();
  const logger = new Logger('config', 'off', { write: () => {} });
  const applied: LoadedBootstrap[] = [];
  const reload = new StaticReload(
    api,
    before,
    () => ({ ok: true, value: after }),
    dynamic as unknown as DynamicConfig,
    logger,
    (bootstrap) => void applied.push(bootstrap),
  );
  return { dynamic, reload, applied, after };
}

test('what the rehearsal refuses is not begun', async () => {
  const { dynamic, reload, applied } = setUp();
  dynamic.rehearsal = [{ name: 'l', details: 'no' }];
  const outcome = await reload.reload(false);
  expect(outcome.ok).toBe(false);
  expect(outcome.text).toContain('l: no');
  expect([dynamic.told, applied]).toEqual([[], []]);
});

test('what is refused in spite of the rehearsal is taken back', async () => {
  const { dynamic, reload, applied, after } = setUp();
  dynamic.refusals = [{ name: 'c', details: 'after all' }];
  const outcome = await reload.reload(false);
  expect(outcome.ok).toBe(false);
  expect(outcome.text).toContain('nothing of it is in force:\nc: after all');
  // Forth, then back: b was not yet removed, and says nothing new.
  expect(dynamic.told).toEqual(['a,c', 'a,b', '-c']);
  expect(applied).toEqual([]);
  // The same edit once more counts as an edit.
  expect((await reload.reload(false)).ok).toBe(true);
  expect(dynamic.told.slice(3)).toEqual(['a,c', '-b']);
  expect(applied).toEqual([after]);
});
