import { describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { create, createFileRegistry, fromBinary, getOption, toBinary, toJson } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type ApiRegistry, openApiRegistry } from './api-registry.ts';

const bootstrap = 'envoy.config.bootstrap.v3.Bootstrap';

describe('ApiRegistry', () => {
  test('loads only the closure of what is asked for', () => {
    const api = openApiRegistry();
    expect(api.loadedFileCount).toBe(0);
    expect(api.message('google.protobuf.Duration')?.fields.map((field) => field.name)).toEqual(['seconds', 'nanos']);
    expect(api.loadedFileCount).toBe(1);
    expect(api.message(bootstrap)).toBeDefined();
    expect(api.loadedFileCount).toBeLessThan(10);
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
    expect(api.type('envoy.config.cluster.v3.Cluster.LbPolicies')).toBeUndefined();
    expect(api.type('envoy.config.cluster.v3')).toBeUndefined();
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
    const node = api.message('envoy.config.core.v3.Node');
    if (node === undefined) throw new Error('no Node');
    expect(toJson(node, create(node, { id: 'a' } as never), { registry: api.registry })).toEqual({ id: 'a' });
  });
});

test('descriptors are what the stock linker makes of the same file', () => {
  const bytes = readFileSync(new URL('./envoy-1.40.binpb', import.meta.url));
  const stock = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  const api = openApiRegistry();
  let fields = 0;
  for (const expected of stock) {
    if (expected.kind === 'extension') {
      expect(api.extension(expected.typeName).number).toBe(expected.number);
      continue;
    }
    const actual = api.type(expected.typeName);
    if (actual === undefined || actual.kind === 'extension') throw new Error(`${expected.typeName} is missing`);
    const plain = (desc: typeof expected): unknown => ({
      ...describeDesc(desc),
      edition: desc.file.edition,
      file: desc.file.name,
    });
    expect(plain(actual)).toEqual(plain(expected));
    if (expected.kind === 'message') fields += expected.fields.length;
  }
  expect(fields).toBeGreaterThan(7000);
  const path = 'envoy/config/core/v3/base.proto';
  const names = (file: { readonly dependencies: readonly { readonly name: string }[] } | undefined): string[] =>
    file?.dependencies.map((dependency) => dependency.name) ?? [];
  expect(names(api.file(path))).toEqual(names(stock.getFile(path)));
  expect(api.file(path)?.messages.length).toBe(stock.getFile(path)?.messages.length);
}, 30_000);

type Described = Exclude<ReturnType<ApiRegistry['type']>, undefined | { kind: 'extension' }>;

/** Everything about a descriptor but references to others, which stand as names. */
function describeDesc(desc: Described): object {
  const base = {
    kind: desc.kind,
    name: desc.name,
    typeName: desc.typeName,
    deprecated: desc.deprecated,
    text: desc.toString(),
  };
  if (desc.kind === 'enum') {
    return {
      ...base,
      parent: desc.parent?.typeName,
      open: desc.open,
      sharedPrefix: desc.sharedPrefix,
      values: desc.values.map((value) => ({
        ...value,
        proto: value.proto.name,
        parent: value.parent.typeName,
        toString: value.toString(),
      })),
      value: Object.entries(desc.value).map(([number, value]) => [number, value.name]),
    };
  }
  if (desc.kind === 'service') {
    return {
      ...base,
      methods: desc.methods.map((method) => ({
        name: method.name,
        localName: method.localName,
        kind: method.methodKind,
        input: method.input.typeName,
        output: method.output.typeName,
        idempotency: method.idempotency,
        text: method.toString(),
      })),
      method: Object.keys(desc.method),
    };
  }
  return {
    ...base,
    parent: desc.parent?.typeName,
    members: desc.members.map((member) => `${member.kind} ${member.name}`),
    oneofs: desc.oneofs.map((oneof) => [
      oneof.name,
      oneof.localName,
      oneof.deprecated,
      oneof.fields.map((field) => field.name),
      oneof.toString(),
    ]),
    byLocalName: Object.entries(desc.field).map(([name, field]) => [name, field.name]),
    nested: [...desc.nestedMessages, ...desc.nestedEnums].map((nested) => nested.typeName),
    fields: desc.fields.map((field) => ({
      kind: field.kind,
      name: field.name,
      localName: field.localName,
      jsonName: field.jsonName,
      number: field.number,
      deprecated: field.deprecated,
      presence: field.presence,
      utf8Validation: field.utf8Validation,
      fieldKind: field.fieldKind,
      scalar: field.scalar,
      message: field.message?.typeName,
      enum: field.enum?.typeName,
      listKind: 'listKind' in field ? field.listKind : undefined,
      mapKey: 'mapKey' in field ? field.mapKey : undefined,
      mapKind: 'mapKind' in field ? field.mapKind : undefined,
      longAsString: 'longAsString' in field ? field.longAsString : undefined,
      packed: 'packed' in field ? field.packed : undefined,
      delimited: 'delimitedEncoding' in field ? field.delimitedEncoding : undefined,
      hasDefault: 'getDefaultValue' in field ? typeof field.getDefaultValue : 'undefined',
      oneof: field.oneof?.name,
      parent: field.parent.typeName,
      text: field.toString(),
    })),
  };
}

test('the committed descriptor file is the one that VERSION.md names', () => {
  const bytes = readFileSync(new URL('./envoy-1.40.binpb', import.meta.url));
  const notes = readFileSync(new URL('./VERSION.md', import.meta.url), 'utf8');
  expect(notes).toContain(createHash('sha256').update(bytes).digest('hex'));
});
