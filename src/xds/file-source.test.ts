import { afterEach, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openApiRegistry } from '../api/api-registry.ts';
import { Logger } from '../base/log.ts';
import { StatsStore } from '../stats/store.ts';
import { FileSource } from './file-source.ts';
import { ResourceDecoder, type UnknownFields } from './resource-decoder.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher } from './resource-source.ts';
import { CLUSTER_TYPE } from './resource-type.ts';
import { SubscriptionStats } from './subscription-stats.ts';

const api = openApiRegistry();
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

class Recorder implements ResourceWatcher {
  readonly seen: string[] = [];
  #waiting: { count: number; go: () => void }[] = [];

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    this.#note([...update.changed.map(({ name }) => name), ...update.removed.map((name) => `-${name}`)].join(' '));
    return Promise.resolve([]);
  }

  onFailure(reason: string, details: string): void {
    this.#note(`${reason}: ${details}`);
  }

  #note(text: string): void {
    this.seen.push(text);
    for (const waiting of this.#waiting) if (this.seen.length >= waiting.count) waiting.go();
  }

  until(count: number): Promise<void> {
    if (this.seen.length >= count) return Promise.resolve();
    return new Promise((go) => this.#waiting.push({ count, go }));
  }
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'nuncio-files-'));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function clusters(...names: string[]): string {
  const resources = names.map(
    (name) => `- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: ${name}}`,
  );
  return `version_info: v\nresources:\n${resources.join('\n')}\n`;
}

function watch(path: string, watchedDirectory = '', unknownFields: UnknownFields = 'warn') {
  const store = new StatsStore();
  const recorder = new Recorder();
  const logger = new Logger('config', 'off', { write: () => {} });
  let unknown = 0;
  const decoder = new ResourceDecoder(api, unknownFields, () => unknown++);
  const source = new FileSource({ path, watchedDirectory }, decoder, logger);
  const stats = new SubscriptionStats(store.root.createScope('cds'));
  const subscription = source.watch({ type: CLUSTER_TYPE, names: null }, recorder, stats);
  subscription.start();
  cleanups.push(() => subscription.stop());
  return { recorder, stat: (name: string) => store.valueOf(`cds.${name}`), unknown: () => unknown };
}

function move(path: string, content: string): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

test('what is moved over the file is read; what is gone from it is removed', async () => {
  const path = join(folder(), 'cds.yaml');
  writeFileSync(path, clusters('a', 'b'));
  const { recorder, stat } = watch(path);
  await recorder.until(1);
  move(path, clusters('b', 'c'));
  await recorder.until(2);
  expect(recorder.seen).toEqual(['a b', 'b c -a']);
  await Bun.sleep(0);
  expect([stat('update_attempt'), stat('update_success')]).toEqual([2, 2]);
});

test('a write into the file is no news', async () => {
  const path = join(folder(), 'cds.yaml');
  writeFileSync(path, clusters('a'));
  const { recorder } = watch(path);
  await recorder.until(1);
  writeFileSync(path, clusters('b'));
  move(path, clusters('c'));
  await recorder.until(2);
  expect(recorder.seen).toEqual(['a', 'c -a']);
});

test('a link that is swapped, and a directory that is watched', async () => {
  const root = folder();
  for (const [name, cluster] of [
    ['v1', 'a'],
    ['v2', 'b'],
  ] as const) {
    mkdirSync(join(root, name));
    writeFileSync(join(root, name, 'cds.yaml'), clusters(cluster));
  }
  symlinkSync('v1', join(root, '..data'));
  symlinkSync('..data/cds.yaml', join(root, 'cds.yaml'));
  const { recorder } = watch(join(root, 'cds.yaml'), root);
  await recorder.until(1);
  symlinkSync('v2', join(root, '..next'));
  renameSync(join(root, '..next'), join(root, '..data'));
  await recorder.until(2);
  expect(recorder.seen.at(-1)).toBe('b -a');
});

test('a file that cannot be read, then a good one', async () => {
  const path = join(folder(), 'cds.yaml');
  writeFileSync(path, clusters('a'));
  const { recorder, stat } = watch(path);
  await recorder.until(1);
  move(path, 'resources: [');
  await recorder.until(2);
  expect(recorder.seen[1]).toContain(`${path}:1`);
  expect(stat('update_failure')).toBe(1);
  move(path, clusters('c'));
  await recorder.until(3);
  expect(recorder.seen[2]).toBe('c -a');
});

test('what breaks a rule is refused with its place; nothing of the file is taken', async () => {
  const path = join(folder(), 'cds.yaml');
  writeFileSync(path, `${clusters('a')}- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: ""}\n`);
  const { recorder, stat } = watch(path);
  await recorder.until(1);
  expect(recorder.seen).toHaveLength(1);
  expect(recorder.seen[0]).toMatch(/^rejected: .*cds\.yaml:4:\d+: name: /);
  expect(stat('update_rejected')).toBe(1);
});

test('unknown fields: counted, or refused when that was asked for', async () => {
  const text = 'resources:\n- {"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a, nonsense: 1}\n';
  const path = join(folder(), 'cds.yaml');
  writeFileSync(path, text);
  const lenient = watch(path);
  await lenient.recorder.until(1);
  expect(lenient.recorder.seen).toEqual(['a']);
  const strict = watch(path, '', 'reject');
  await strict.recorder.until(1);
  expect(strict.recorder.seen[0]).toContain('nonsense');
  expect(lenient.unknown()).toBe(1);
  expect(strict.stat('update_rejected')).toBe(1);
});

test('a large file is read resource by resource, and its faults are told as those of a small one', async () => {
  const path = join(folder(), 'cds.yaml');
  const names = Array.from({ length: 2000 }, (_, i) => `cluster-${i}`);
  const content = clusters(...names);
  expect(content.length).toBeGreaterThan(128 * 1024);
  writeFileSync(path, content);
  const { recorder, stat } = watch(path, '', 'reject');
  await recorder.until(1);
  move(path, content.replace('name: cluster-1500}', 'name: cluster-1500, nam: x}'));
  await recorder.until(2);
  move(path, content.replace('name: cluster-1500}', 'name: ""}'));
  await recorder.until(3);
  move(path, clusters(...names.slice(1)).replace('version_info: v', 'version_info: w'));
  await recorder.until(4);
  expect(recorder.seen[0]).toBe(names.join(' '));
  expect(recorder.seen[1]).toMatch(/^rejected: .*cds\.yaml:1503:\d+: .*has no field "nam"/);
  expect(recorder.seen[2]).toMatch(/^rejected: .*cds\.yaml:1503:\d+: .*must not be empty/);
  expect(recorder.seen[3]).toBe([...names.slice(1), '-cluster-0'].join(' '));
  expect(stat('update_rejected')).toBe(2);
}, 30_000);

test('resources of a large file have their messages when they are asked for', async () => {
  const path = join(folder(), 'cds.json');
  const any = { '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', connect_timeout: '7s' };
  const resources = Array.from({ length: 2000 }, (_, i) => ({ ...any, name: `c${i}` }));
  const named = {
    '@type': 'type.googleapis.com/envoy.service.discovery.v3.Resource',
    name: 'other',
    version: 'own',
    resource: { ...any, name: 'wrapped' },
  };
  writeFileSync(path, JSON.stringify({ resources: [named, ...resources], version_info: 'v' }));
  const updates: ResourceUpdate[] = [];
  const recorder = new Recorder();
  const logger = new Logger('config', 'off', { write: () => {} });
  const decoder = new ResourceDecoder(api, 'reject', () => {});
  const source = new FileSource({ path, watchedDirectory: '' }, decoder, logger);
  const watcher: ResourceWatcher = {
    onUpdate: (update) => {
      updates.push(update);
      return recorder.onUpdate(update);
    },
    onFailure: (reason, details) => recorder.onFailure(reason, details),
  };
  const stats = new SubscriptionStats(new StatsStore().root.createScope('cds'));
  const subscription = source.watch({ type: CLUSTER_TYPE, names: null }, watcher, stats);
  subscription.start();
  cleanups.push(() => subscription.stop());
  await recorder.until(1);
  const { changed, version } = updates[0]!;
  expect(version).toBe('v');
  expect(changed.slice(0, 2).map(({ name, version: own }) => `${name} ${own}`)).toEqual(['other own', 'c0 v']);
  expect(changed[0]!.message).toMatchObject({ name: 'wrapped', connectTimeout: { seconds: 7n } });
  expect(changed[2000]!.message).toMatchObject({ name: 'c1999', connectTimeout: { seconds: 7n } });
  expect(changed[2000]!.message).toBe(changed[2000]!.message);
  expect(changed[1]!.origin.positions!.locate(`${changed[1]!.origin.path}.name`)).toMatchObject({ line: 1 });
});
