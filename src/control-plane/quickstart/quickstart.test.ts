import { afterEach, describe, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { quickstartBootstrap } from './quickstart-bootstrap.ts';
import { readQuickstart } from './quickstart-directory.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function directory(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'quickstart-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const gateway = (name: string, ...ports: number[]): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ${name}, namespace: shop }
spec:
  gatewayClassName: nuncio
  listeners: [${ports.map((port) => `{ name: p${port}, port: ${port}, protocol: HTTP }`).join(', ')}]
---`;
const slice = (name: string, ...addresses: string[]): string => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: ${name}, labels: { kubernetes.io/service-name: ${name} } }
ports: [{ port: 8081 }]
endpoints: [{ addresses: [${addresses.join(', ')}] }]
---`;

describe('a directory', () => {
  test('of manifests tells who the proxy is, where it listens and what is behind', () => {
    const folder = directory({
      'manifests/all.yaml': gateway('edge', 80, 8080, 80) + slice('web', '10.0.0.1', '10.0.0.2'),
    });
    expect(readQuickstart(folder, '')).toEqual({
      resources: '',
      manifests: join(folder, 'manifests'),
      cluster: 'shop/edge',
      ports: [80, 8080],
      endpoints: [
        { service: 'default/web', address: '10.0.0.1', port: 8081 },
        { service: 'default/web', address: '10.0.0.2', port: 8081 },
      ],
    });
  });

  test('may be the manifests themselves, or hold resources alone, or both', () => {
    const bare = directory({ 'all.yaml': gateway('edge', 80) });
    expect(readQuickstart(bare, '')).toMatchObject({ resources: '', manifests: bare });
    const resources = directory({ 'resources/all.yaml': '' });
    expect(readQuickstart(resources, '')).toMatchObject({ manifests: '', cluster: 'quickstart', endpoints: [] });
    const both = directory({ 'resources/all.yaml': '', 'manifests/all.yaml': gateway('edge', 80) });
    expect(readQuickstart(both, '')).toMatchObject({ resources: join(both, 'resources'), cluster: 'shop/edge' });
  });

  test('of several gateways needs to be told which', () => {
    const folder = directory({ 'all.yaml': gateway('one', 80) + gateway('two', 81) });
    expect(() => readQuickstart(folder, '')).toThrow('--gateway shop/one or shop/two');
    expect(readQuickstart(folder, 'shop/two').ports).toEqual([81]);
    expect(() => readQuickstart(folder, 'shop/three')).toThrow('no Gateway shop/three');
  });

  test('that is none, or has no gateway, or a mistake, is told', () => {
    expect(() => readQuickstart('/nowhere/at/all', '')).toThrow('there is no directory');
    expect(() => readQuickstart(directory({ 'a.yaml': slice('web', '10.0.0.1') }), '')).toThrow('no Gateway in');
    expect(() => readQuickstart(directory({ 'a.yaml': 'a: [' }), '')).toThrow(/a\.yaml:1/);
  });
});

test('the proxy plays the services that it is told to, and follows', () => {
  const content = { resources: '', manifests: 'm', cluster: 'shop/edge', ports: [80], endpoints: [] };
  const place = { host: '127.0.0.1', port: 18000 };
  const played = [{ service: 'default/web', address: '127.0.0.1', port: 8081 }];
  const bootstrap = JSON.parse(quickstartBootstrap(content, place, { host: '::1', port: 9901 }, played));
  expect(bootstrap.node).toEqual({ id: 'quickstart', cluster: 'shop/edge' });
  expect(bootstrap.admin.address.socket_address).toEqual({ address: '::1', port_value: 9901 });
  expect(bootstrap.static_resources.listeners).toHaveLength(1);
  expect(JSON.stringify(bootstrap)).toContain('default/web\\n');
});
