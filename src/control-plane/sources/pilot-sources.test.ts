import { afterEach, describe, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openApiRegistry } from '../../api/api-registry.ts';
import { type LoadedSources, PilotSources } from './pilot-sources.ts';

const api = openApiRegistry();
const CLUSTER = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** Clusters by file: `name` or `name=other`, another one of that name. */
function load(files: Readonly<Record<string, string>>): LoadedSources {
  const folder = mkdtempSync(join(tmpdir(), 'sources-'));
  folders.push(folder);
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    const resources = content.split(' ').map((each) => {
      const [cluster, mark = ''] = each.split('=');
      return { '@type': CLUSTER, name: cluster, alt_stat_name: mark };
    });
    writeFileSync(path, name.endsWith('group.yaml') || content.includes(':') ? content : JSON.stringify({ resources }));
  }
  return new PilotSources(api, folder, '').load();
}

const clusters = (loaded: LoadedSources, group: string): string[] => [
  ...(loaded.snapshots.get(group)?.type(CLUSTER).resources.keys() ?? []),
];

test('links: those to files are read, as Kubernetes mounts them, those to directories refused', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sources-'));
  folders.push(folder);
  mkdirSync(join(folder, '..1'));
  writeFileSync(join(folder, '..1/a.json'), JSON.stringify({ resources: [{ '@type': CLUSTER, name: 'a' }] }));
  symlinkSync('..1', join(folder, '..data'));
  symlinkSync('..data/a.json', join(folder, 'a.json'));
  const sources = new PilotSources(api, folder, '');
  expect(clusters(sources.load(), 'common')).toEqual(['a']);
  symlinkSync('..1', join(folder, 'more'));
  expect(() => sources.load()).toThrow('is a link to a directory');
});

test('what stayed as it was is not read again, and is the same object', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sources-'));
  folders.push(folder);
  const put = (name: string, ...clusters: string[]): void => {
    const resources = clusters.map((cluster) => ({ '@type': CLUSTER, name: cluster }));
    writeFileSync(join(folder, name), JSON.stringify({ resources }));
  };
  const sources = new PilotSources(api, folder, '');
  const resource = (name: string): unknown => sources.load().snapshots.get('common')!.type(CLUSTER).resources.get(name);
  put('a.json', 'a');
  put('b.json', 'b');
  const first = resource('a');
  put('b.json', 'b', 'c');
  expect(resource('a')).toBe(first as never);
  expect(resource('c')).toBeDefined();
  put('c.json', 'a');
  expect(sources.load().faults).toEqual([
    'c.json:1:15: resources[0]: envoy.config.cluster.v3.Cluster a is in a.json already',
  ]);
  put('b.json', 'a');
  expect(sources.load().faults.map((fault) => fault.slice(0, 6))).toEqual(['b.json', 'c.json']);
  rmSync(join(folder, 'c.json'));
  put('b.json', 'b');
  expect(sources.load().faults).toEqual([]);
});

describe('groups of nodes', () => {
  test('have what is common, and over it their own', () => {
    const loaded = load({
      'all.yaml': 'a b',
      'groups/edge/group.yaml': 'cluster: edge',
      'groups/edge/more.yaml': 'b=other c',
    });
    expect(loaded.faults).toEqual([]);
    expect(clusters(loaded, 'common')).toEqual(['a', 'b']);
    expect(clusters(loaded, 'edge')).toEqual(['a', 'b', 'c']);
    const version = (group: string): string => loaded.snapshots.get(group)!.type(CLUSTER).resources.get('b')!.version;
    expect(version('edge')).not.toBe(version('common'));
  });

  test('have their own alone where they want nothing else', () => {
    const loaded = load({
      'all.yaml': 'a b',
      'groups/edge/group.yaml': 'cluster: edge\ninherit: false',
      'groups/edge/more.yaml': 'c',
    });
    expect(clusters(loaded, 'edge')).toEqual(['c']);
  });

  test('have their own over what the manifests of a gateway say', () => {
    const manifests = mkdtempSync(join(tmpdir(), 'sources-'));
    const resources = mkdtempSync(join(tmpdir(), 'sources-'));
    folders.push(manifests, resources);
    writeFileSync(
      join(manifests, 'all.yaml'),
      `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: nuncio }
spec: { controllerName: nuncio.dev/gateway-controller }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec: { gatewayClassName: nuncio, listeners: [{ name: http, port: 80, protocol: HTTP }] }
`,
    );
    const cluster = (name: string): string => JSON.stringify({ resources: [{ '@type': CLUSTER, name }] });
    writeFileSync(join(resources, 'common.json'), cluster('outside'));
    mkdirSync(join(resources, 'groups/canary'), { recursive: true });
    writeFileSync(join(resources, 'groups/canary/group.yaml'), 'metadata: { stage: canary }');
    writeFileSync(join(resources, 'groups/canary/more.json'), cluster('more'));
    const loaded = new PilotSources(api, resources, manifests).load();
    expect(loaded.faults).toEqual([]);
    expect([...loaded.snapshots.keys()].sort()).toEqual([
      'canary',
      'common',
      'gateway default/edge',
      'gateway default/edge, canary',
    ]);
    expect(clusters(loaded, 'gateway default/edge')).not.toContain('outside');
    expect(clusters(loaded, 'gateway default/edge, canary')).toContain('more');
    const listeners = (group: string): number =>
      loaded.snapshots.get(group)!.type('type.googleapis.com/envoy.config.listener.v3.Listener').resources.size;
    expect([listeners('gateway default/edge'), listeners('gateway default/edge, canary')]).toEqual([1, 1]);
  });

  test('are looked at by their priority, then by name', () => {
    const group = (priority: number): string => `id: "*"\npriority: ${priority}`;
    const loaded = load({
      'groups/a/group.yaml': group(0),
      'groups/b/group.yaml': group(2),
      'groups/c/group.yaml': group(2),
      'groups/d/group.yaml': group(-1),
    });
    expect(loaded.groups.map(([name]) => name)).toEqual(['b', 'c', 'a', 'd']);
  });

  test.each([
    [{ 'groups/edge/more.yaml': 'c' }, 'groups/edge: group.yaml is missing'],
    [{ 'groups/edge/group.yaml': 'name: x' }, 'groups/edge/group.yaml: unknown field name'],
    [{ 'groups/common/group.yaml': 'id: x' }, 'the name is that of the group of all other nodes'],
    [{ 'groups/edge.yaml': 'a' }, 'groups/edge.yaml: a group is a folder'],
    [
      { 'a.yaml': 'a', 'b.yaml': 'a' },
      'b.yaml:1:15: resources[0]: envoy.config.cluster.v3.Cluster a is in a.yaml already',
    ],
    [{ 'a.yaml': 'resources: [{ name: x }]' }, 'a.yaml:1'],
  ])('%p is refused', (files, words) => {
    const { faults } = load(files as Record<string, string>);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(words);
  });
});

test('a secret in what is no file is refused, and holds nobody up', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sources-'));
  folders.push(folder);
  const type = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
  const secret = { '@type': type, name: 's', generic_secret: { secret: { filename: 'pipe' } } };
  writeFileSync(join(folder, 'a.json'), JSON.stringify({ resources: [secret] }));
  expect(Bun.spawnSync(['mkfifo', join(folder, 'pipe')]).exitCode).toBe(0);
  const { faults } = new PilotSources(api, folder, '').load();
  expect(faults.join()).toContain('pipe is no file');
});

test('secrets of all kinds are read from their files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sources-'));
  folders.push(folder);
  const type = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
  const file = { filename: 'content' };
  const list = [
    { '@type': type, name: 'one', generic_secret: { secret: file } },
    { '@type': type, name: 'many', generic_secret: { secrets: { a: file } } },
    { '@type': type, name: 'tickets', session_ticket_keys: { keys: [file] } },
  ];
  writeFileSync(join(folder, 'a.json'), JSON.stringify({ resources: list }));
  // As long as a session ticket key is.
  const content = 'an open secret, '.repeat(5);
  writeFileSync(join(folder, 'content'), content);
  const { faults, snapshots, credentials } = new PilotSources(api, folder, '').load();
  expect(faults).toEqual([]);
  expect(credentials).toEqual([join(folder, 'content'), join(folder, 'content'), join(folder, 'content')]);
  for (const { any } of snapshots.get('common')!.type(type).resources.values()) {
    expect(Buffer.from(any).toString('latin1')).toContain(content);
  }
});
