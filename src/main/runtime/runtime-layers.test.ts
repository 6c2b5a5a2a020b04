import { afterEach, describe, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Logger } from '../../base/log.ts';
import type { RuntimeLayerSpec } from '../../config/builders/runtime.ts';
import { StatsStore } from '../../stats/store.ts';
import { parseRuntimeText, readDiskLayer } from './disk-layer.ts';
import { RuntimeLayers } from './runtime-layers.ts';

const folders: string[] = [];
const opened: RuntimeLayers[] = [];
afterEach(() => {
  for (const layers of opened.splice(0)) layers.stop();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-runtime-'));
  folders.push(folder);
  return folder;
}

function open(specs: readonly RuntimeLayerSpec[], cluster = '') {
  const store = new StatsStore();
  const lines: string[] = [];
  const logger = new Logger('runtime', 'info', { write: (_level, _name, message) => void lines.push(message) });
  const layers = new RuntimeLayers(specs, cluster, store.root, logger);
  opened.push(layers);
  return { layers, lines, stat: (name: string) => store.valueOf(`runtime.${name}`) };
}

function file(folder: string, path: string, text: string): void {
  const full = join(folder, path);
  mkdirSync(join(full, '..'), { recursive: true });
  writeFileSync(full, text);
}

describe('parseRuntimeText', () => {
  test.each([
    ['7', 7],
    [' 1.5\n', 1.5],
    ['TRUE', true],
    ['false', false],
    ['text', 'text'],
    ['', ''],
    ['numerator: 5\ndenominator: TEN_THOUSAND', { numerator: 5, denominator: 'TEN_THOUSAND' }],
    ['{"numerator": 3}', { numerator: 3, denominator: 'HUNDRED' }],
  ])('%p', (text, expected) => {
    expect(parseRuntimeText(text)).toEqual(expected as never);
  });
});

describe('readDiskLayer', () => {
  test('paths are keys, comments and the last end of line are not values', () => {
    const folder = temporary();
    file(folder, 'a/b', '# why\n9\n');
    file(folder, 'c', 'x');
    file(folder, '..2026/hidden', '1');
    expect(Object.fromEntries(readDiskLayer(folder)!)).toEqual({ 'a.b': 9, c: 'x' });
  });

  test('a missing directory is no layer, too deep a one an error', () => {
    const folder = temporary();
    expect(readDiskLayer(join(folder, 'none'))).toBeNull();
    file(folder, `${'d/'.repeat(17)}x`, '1');
    expect(() => readDiskLayer(folder)).toThrow('depth');
  });
});

describe('RuntimeLayers', () => {
  test('later layers win, the admin layer by /runtime_modify', () => {
    const { layers, stat } = open([
      {
        kind: 'static',
        name: 'base',
        values: new Map<string, number | string>([
          ['a', 1],
          ['b', 'x'],
        ]),
      },
      { kind: 'static', name: 'over', values: new Map([['a', 2]]) },
      { kind: 'admin', name: 'admin' },
    ]);
    expect(layers.snapshot.integer('a', 0)).toBe(2);
    layers.modify(
      new Map([
        ['a', '3'],
        ['n', 'true'],
      ]),
    );
    expect(layers.snapshot.integer('a', 0)).toBe(3);
    expect(layers.snapshot.boolean('n', false)).toBe(true);
    expect(layers.entries().get('a')).toEqual({ layerValues: ['1', '2', '3'], finalValue: '3' });
    expect([stat('num_keys'), stat('num_layers'), stat('admin_overrides_active')]).toEqual([3, 3, 1]);
    layers.modify(
      new Map([
        ['a', ''],
        ['n', ''],
      ]),
    );
    expect(layers.snapshot.integer('a', 0)).toBe(2);
    expect(stat('admin_overrides_active')).toBe(0);
  });

  test('a swapped link brings new values', async () => {
    const folder = temporary();
    file(folder, 'v1/key', '1');
    file(folder, 'v2/key', '2');
    file(folder, 'v2/mine/key', '3');
    symlinkSync('v1', join(folder, 'current'));
    const { layers, stat } = open(
      [
        {
          kind: 'disk',
          name: 'd',
          symlinkRoot: join(folder, 'current'),
          subdirectory: '',
          appendServiceCluster: false,
        },
        { kind: 'disk', name: 'o', symlinkRoot: join(folder, 'current'), subdirectory: '', appendServiceCluster: true },
      ],
      'mine',
    );
    expect(layers.layerNames).toEqual(['d']);
    layers.start();
    const changed = new Promise<void>((resolve) => {
      layers.onChange = () => resolve();
    });
    symlinkSync('v2', join(folder, 'next'));
    renameSync(join(folder, 'next'), join(folder, 'current'));
    await changed;
    expect(layers.snapshot.integer('key', 0)).toBe(3);
    expect(layers.layerNames).toEqual(['d', 'o']);
    expect(stat('override_dir_exists')).toBe(1);
  });

  test('a layer that cannot be read is left out and counted', () => {
    const folder = temporary();
    file(folder, `root/${'d/'.repeat(17)}x`, '1');
    const { layers, stat, lines } = open([
      { kind: 'disk', name: 'd', symlinkRoot: join(folder, 'root'), subdirectory: '', appendServiceCluster: false },
    ]);
    expect(layers.layerNames).toEqual([]);
    expect(stat('load_error')).toBe(1);
    expect(lines.join()).toContain('layer d');
  });
});
