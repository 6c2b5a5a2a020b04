import { describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { create, fromBinary, getOption, toBinary, toJson } from '@bufbuild/protobuf';
import { openApiRegistry } from './api-registry.ts';

const bootstrap = 'envoy.config.bootstrap.v3.Bootstrap';

describe('ApiRegistry', () => {
  test('loads only the closure of what is asked for', () => {
    const api = openApiRegistry();
    expect(api.loadedFileCount).toBe(0);
    expect(api.message('google.protobuf.Duration')?.fields.map((field) => field.name)).toEqual(['seconds', 'nanos']);
    expect(api.loadedFileCount).toBe(1);
    expect(api.message(bootstrap)).toBeDefined();
    expect(api.loadedFileCount).toBeLessThan(150);
  });

  test('a type has one descriptor, however it is reached and whenever its file was loaded', () => {
    const api = openApiRegistry();
    const listener = api.message('envoy.config.listener.v3.Listener');
    const resources = api.message(`${bootstrap}.StaticResources`);
    expect(resources?.field.listeners?.message).toBe(listener);
    expect(api.registry.getMessage('envoy.config.listener.v3.Listener')).toBe(listener);
  });

  test('finds by type URL, whatever its prefix', () => {
    const api = openApiRegistry();
    const node = api.message('envoy.config.core.v3.Node');
    expect(api.byTypeUrl('type.googleapis.com/envoy.config.core.v3.Node')).toBe(node);
    expect(api.byTypeUrl('a/b/envoy.config.core.v3.Node')).toBe(node);
    expect(api.byTypeUrl('envoy.config.core.v3.Nodes')).toBeUndefined();
    for (const odd of ['', '.', '.config.core.v3.Node', '..', 'a/.b', 'a.', '/'])
      expect(api.byTypeUrl(odd)).toBeUndefined();
  });

  test('v2 and v3 live side by side, nested types and enums are found', () => {
    const api = openApiRegistry();
    expect(api.message('envoy.config.bootstrap.v2.Bootstrap.StaticResources')).toBeDefined();
    expect(api.type('envoy.config.cluster.v3.Cluster.LbPolicy')?.kind).toBe('enum');
    expect(api.hasType('envoy.config.cluster.v3.Cluster.LbPolicies')).toBe(false);
    expect(api.hasType('envoy.config.cluster.v3')).toBe(false);
  });

  test('custom options survive', () => {
    const api = openApiRegistry();
    const field = api.message('envoy.config.cluster.v3.Cluster')?.field.name;
    if (field === undefined) throw new Error('no field');
    const rules = getOption(field, api.extension('validate.rules')) as { type: { case: string; value: object } };
    expect(rules.type.case).toBe('string');
    expect(() => api.extension('validate.rule')).toThrow();
  });

  test('every message of the API loads by its name alone, and has a binary and a JSON form', () => {
    const api = openApiRegistry();
    const names = api.allTypeNames();
    expect(names.length).toBeGreaterThan(2000);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) {
      const desc = api.message(name);
      if (desc === undefined) throw new Error(`${name} is listed but absent`);
      // Required fields are set by nobody here: only proto2 (the options themselves) has them.
      if (desc.fields.some((field) => field.presence === 3)) continue;
      const bytes = toBinary(desc, create(desc));
      expect(fromBinary(desc, bytes).$typeName).toBe(name);
    }
    api.loadAll();
    expect(api.loadedFileCount).toBe(729);
    const node = api.message('envoy.config.core.v3.Node');
    if (node === undefined) throw new Error('no Node');
    expect(toJson(node, create(node, { id: 'a' } as never), { registry: api.registry })).toEqual({ id: 'a' });
  });
});

test('the committed descriptor file is the one that VERSION.md names', () => {
  const bytes = readFileSync(new URL('./envoy-1.40.binpb', import.meta.url));
  const notes = readFileSync(new URL('./VERSION.md', import.meta.url), 'utf8');
  expect(notes).toContain(createHash('sha256').update(bytes).digest('hex'));
});
