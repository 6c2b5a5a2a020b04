import { describe, expect, test } from 'bun:test';
import { create, type Message, toBinary, toJson } from '@bufbuild/protobuf';
import { openApiRegistry } from '../../api/api-registry.ts';
import { AnyMessages } from './any-messages.ts';
import {
  type ConfigInput,
  formatOfPath,
  type LoadedConfig,
  type LoadOptions,
  loadConfig,
  type TreeRewrite,
} from './load-config.ts';
import { splitPath } from './position-map.ts';

const api = openApiRegistry();
const desc = api.message('envoy.config.bootstrap.v3.Bootstrap')!;

function input(content: string | Uint8Array, format: ConfigInput['format'] = 'yaml', name = 'test'): ConfigInput {
  return { name, format, content };
}

function load(inputs: ConfigInput[], more: Partial<LoadOptions> = {}): LoadedConfig {
  const loaded = loadConfig(inputs, { api, desc, ...more });
  if (!loaded.ok) throw new Error(loaded.error.map((error) => `${error.path}: ${error.reason}`).join('\n'));
  return loaded.value;
}

function faults(inputs: ConfigInput[], more: Partial<LoadOptions> = {}): string[] {
  const loaded = loadConfig(inputs, { api, desc, ...more });
  if (loaded.ok) return [];
  return loaded.error.map((error) => {
    const at = error.position === undefined ? '-' : `${error.position.line}:${error.position.column}`;
    return `${at} ${error.path}: ${error.reason}${error.hint === undefined ? '' : ` (${error.hint})`}`;
  });
}

function json(loaded: LoadedConfig): Record<string, unknown> {
  return toJson(desc, loaded.message, { registry: api.registry }) as Record<string, unknown>;
}

const CLUSTER_ANY = `static_resources:
  clusters:
  - name: a
    metadata:
      typed_filter_metadata:
        "x.y":
          "@type": type.googleapis.com/envoy.config.core.v3.Node
          id: inner
`;

describe('formats', () => {
  test('are told by the ending, as Envoy does', () => {
    expect(['a.yaml', 'a.YML', 'a.json', 'a.pb', 'a.PB_TEXT', 'a'].map(formatOfPath)).toEqual([
      'yaml',
      'yaml',
      'json',
      'pb',
      'pb_text',
      'json',
    ]);
  });

  test('all four give the same message', () => {
    const yaml = load([
      input(
        'node: {id: a, metadata: {k: [1, true, ~, {x: z}]}}\nstatic_resources: {clusters: [{name: c, type: STATIC, connect_timeout: 1.5s, per_connection_buffer_limit_bytes: 7}]}',
      ),
    ]);
    const fromJson = load([
      input(
        '{node:{"id":"a","metadata":{"k":[1,true,null,{"x":"z",}]}},"staticResources":{"clusters":[{"name":\'c\',"type":"static","connectTimeout":"1.5s","perConnectionBufferLimitBytes":"7"}]}}',
        'json',
      ),
    ]);
    const text = load([
      input(
        `# a comment
        node < id: "a" metadata { fields { key: "k" value { list_value {
          values { number_value: 1 } values: { bool_value: true }, values { null_value: NULL_VALUE };
          values { struct_value { fields { key: 'x' value { string_value: "z" } } } } } } } } >
        static_resources { clusters: [{ name: 'c' type: STATIC
          connect_timeout { seconds: 1 nanos: 500000000 } per_connection_buffer_limit_bytes { value: 0x7 } }] }`,
        'pb_text',
      ),
    ]);
    const binary = load([input(toBinary(desc, yaml.message), 'pb')]);
    expect(json(fromJson)).toEqual(json(yaml));
    expect(json(text)).toEqual(json(yaml));
    expect(json(binary)).toEqual(json(yaml));
  });

  test('protobuf text: Any, repeated fields, escapes, faults', () => {
    const loaded = load([
      input(
        'node { id: "a\\303\\251" \'b\' client_features: "x" client_features: ["y", "z"] } bootstrap_extensions { name: "e" typed_config { [type.googleapis.com/envoy.config.core.v3.Node] { id: "in" } } }',
        'pb_text',
      ),
    ]);
    expect(json(loaded)).toEqual({
      node: { id: 'aéb', clientFeatures: ['x', 'y', 'z'] },
      bootstrapExtensions: [
        { name: 'e', typedConfig: { '@type': 'type.googleapis.com/envoy.config.core.v3.Node', id: 'in' } },
      ],
    });
    expect(faults([input('node { idd: "a" }', 'pb_text')])[0]).toContain('1:8 node.idd: ');
    expect(faults([input('node { id: "a" id: "b" }', 'pb_text')])).toHaveLength(1);
    expect(faults([input('staticResources {}', 'pb_text')])).toHaveLength(1);
    expect(faults([input('static_resources { clusters { name: "a" type: static } }', 'pb_text')])).toHaveLength(1);
    expect(faults([input('node { id: "a"', 'pb_text')])).toHaveLength(1);
    expect(faults([input('', 'pb_text')])).toEqual([]);
  });

  test('binary: truncated, unknown fields', () => {
    expect(faults([input(new Uint8Array([0x0a, 0x05, 0x0a, 0x01, 0x61]), 'pb')])).toHaveLength(1);
    expect(faults([input(new Uint8Array([0xba, 0x3e, 0x00]), 'pb')])[0]).toContain('has no field with the number 999');
    expect(faults([input(new Uint8Array([0xba, 0x3e, 0x00]), 'pb')], { unknownFields: 'ignore' })).toEqual([]);
  });

  test('JSON: repeated names merge, as in Envoy', () => {
    const loaded = load([
      input('{"node":{"id":"a","client_features":["x"]},"node":{"id":"b","client_features":["y"]}}', 'json'),
    ]);
    expect(json(loaded)).toEqual({ node: { id: 'b', clientFeatures: ['x', 'y'] } });
  });
});

describe('merging', () => {
  test('fields win, lists are appended, messages and maps are merged, oneofs replaced', () => {
    const loaded = load([
      input(`node: {id: a, cluster: c, dynamic_parameters: {p: {}}, metadata: {m: 1}}
static_resources: {clusters: [{name: one}]}
dynamic_resources: {ads_config: {api_type: GRPC}}
stats_flush_interval: 1s
`),
      input(`node: {cluster: d, dynamic_parameters: {q: {}}, metadata: {n: 2}}
static_resources: {clusters: [{name: two}]}
stats_flush_on_admin: true
`),
    ]);
    expect(json(loaded)).toEqual({
      node: { id: 'a', cluster: 'd', dynamicParameters: { p: {}, q: {} }, metadata: { m: 1, n: 2 } },
      staticResources: { clusters: [{ name: 'one' }, { name: 'two' }] },
      dynamicResources: { adsConfig: { apiType: 'GRPC' } },
      statsFlushInterval: '1s',
      statsFlushOnAdmin: true,
    });
    expect(loaded.positions.locate('static_resources.clusters[1].name')).toMatchObject({ line: 2, column: 38 });
    expect(loaded.positions.locate('static_resources.clusters[0].name')).toMatchObject({ line: 2, column: 38 });
    expect(loaded.positions.locate('node.id')).toMatchObject({ line: 1, column: 12 });
    expect(loaded.positions.locate('stats_flush_on_admin')).toMatchObject({ line: 3 });
  });

  test('errors of all inputs come together', () => {
    expect(faults([input('foo: 1'), input('bar: 1', 'yaml', '--config-yaml')])).toHaveLength(2);
  });
});

describe('errors', () => {
  test('all at once, with a remedy where there is one', () => {
    expect(
      faults([
        input(`static_resources:
  clusters:
  - name: 5
    conect_timeout: 1s
    connect_timeout: 5m
    type: STATC
    <<: {a: b}
    metadata: {typed_filter_metadata: {x: {"@type": type.googleapis.com/envoy.config.core.v3.Nod}}}
`),
      ]),
    ).toEqual([
      '3:11 static_resources.clusters[0].name: expected text, found 5 (put it in quotes)',
      '4:5 static_resources.clusters[0].conect_timeout: envoy.config.cluster.v3.Cluster has no field "conect_timeout" (did you mean connect_timeout?)',
      '5:22 static_resources.clusters[0].connect_timeout: expected a duration, found "5m" (did you mean 300s?)',
      '6:11 static_resources.clusters[0].type: envoy.config.cluster.v3.Cluster.DiscoveryType has no value "STATC" (did you mean STATIC?)',
      '7:5 static_resources.clusters[0].<<: envoy.config.cluster.v3.Cluster has no field "<<" (merge keys are not merged (nor does Envoy): write the fields out)',
      '8:53 static_resources.clusters[0].metadata.typed_filter_metadata["x"]: unknown type type.googleapis.com/envoy.config.core.v3.Nod (did you mean type.googleapis.com/envoy.config.core.v3.Node?)',
    ]);
  });

  test('unknown fields and enum names may be warnings', () => {
    const loaded = load([input('foo: 1\nstatic_resources: {clusters: [{name: a, type: STATC}]}')], {
      unknownFields: 'warn',
    });
    expect(loaded.warnings.map((warning) => warning.path)).toEqual(['foo', 'static_resources.clusters[0].type']);
    expect(loaded.warnings.every((warning) => warning.severity === 'warning')).toBe(true);
  });

  test('__proto__ is a key like any other', () => {
    const loaded = load([
      input('node: {id: a, metadata: {__proto__: {polluted: 1}}, dynamic_parameters: {__proto__: {}}}'),
    ]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(JSON.stringify(json(loaded))).toContain('__proto__');
  });
});

describe('Any', () => {
  test('its message is decoded once, and its bytes are right', () => {
    const loaded = load([input(CLUSTER_ANY)]);
    const metadata = (
      loaded.message as never as {
        staticResources: { clusters: { metadata: { typedFilterMetadata: Record<string, never> } }[] };
      }
    ).staticResources.clusters[0]!.metadata.typedFilterMetadata;
    const any = metadata['x.y']!;
    const first = loaded.anys.unpack(any);
    const again = loaded.anys.unpack(any);
    if (!first.ok || !again.ok) throw new Error('not unpacked');
    expect(again.message).toBe(first.message);
    const fresh = new AnyMessages(api).unpack(any);
    if (!fresh.ok) throw new Error(fresh.reason);
    expect(fresh.message).toEqual(first.message);
    expect(
      loaded.positions.locate('static_resources.clusters[0].metadata.typed_filter_metadata["x.y"].id'),
    ).toMatchObject({
      line: 8,
      column: 15,
    });
  });

  test('TypedStruct is taken off, from text and from bytes', () => {
    const struct = api.message('xds.type.v3.TypedStruct')!;
    const any = create(api.message('google.protobuf.Any')!) as never as {
      typeUrl: string;
      value: Uint8Array;
    } & Message;
    any.typeUrl = 'type.googleapis.com/xds.type.v3.TypedStruct';
    any.value = toBinary(
      struct,
      create(struct, {
        typeUrl: 'type.googleapis.com/envoy.config.core.v3.Node',
        value: { id: 'inner', client_features: ['a'] },
      } as never),
    );
    const unpacked = new AnyMessages(api).unpack(any as never);
    if (!unpacked.ok) throw new Error(unpacked.reason);
    expect(unpacked.typedStruct).toBe(true);
    expect(unpacked.message).toMatchObject({
      $typeName: 'envoy.config.core.v3.Node',
      id: 'inner',
      clientFeatures: ['a'],
    });
  });
});

describe('limits', () => {
  test('an alias bomb is refused quickly', () => {
    let yaml = '!ignore a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n';
    for (let i = 1; i < 12; i++)
      yaml += `!ignore a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(', ')}]\n`;
    yaml += 'node: {metadata: {x: *a11}}\n';
    const begun = performance.now();
    expect(faults([input(yaml)])[0]).toContain('once aliases are followed');
    expect(performance.now() - begun).toBeLessThan(2000);
  });

  test('depth is bounded in every format', () => {
    const n = 200_000;
    expect(faults([input(`a: ${'['.repeat(n)}`)])[0]).toContain('levels deep');
    expect(faults([input('- '.repeat(5000))])).not.toEqual([]);
    expect(faults([input('{"a":'.repeat(n), 'json')])[0]).toContain('levels deep');
    expect(faults([input('a { '.repeat(n), 'pb_text')])[0]).toContain('levels deep');
    expect(faults([input(new Uint8Array(n).fill(0x0a), 'pb')])).not.toEqual([]);
  });

  test('an alias inside its own anchor', () => {
    expect(faults([input('node: &x {metadata: {a: *x}}')])[0]).toContain('inside its own anchor');
  });
});

test('a v2 bootstrap loads by its own descriptor, and a tree can be rewritten first', () => {
  const v2 = api.message('envoy.config.bootstrap.v2.Bootstrap')!;
  const text =
    'static_resources: {clusters: [{name: a, connect_timeout: 2s, type: STATIC, hosts: [{socket_address: {address: 1.2.3.4, port_value: 5}}]}]}';
  expect(loadConfig([input(text)], { api, desc: v2 }).ok).toBe(true);
  expect(faults([input(text)])[0]).toContain('clusters[0].hosts');
  const seen: string[] = [];
  const rewrite: TreeRewrite = {
    suspects: (text) => text.includes('suspect'),
    rewrite(tree) {
      if (tree.kind === 'mapping') seen.push(...tree.entries.map((entry) => entry.key));
      return tree;
    },
  };
  load([input('node: {id: a}')], { rewrite });
  expect(seen).toEqual([]);
  load([input('node: {id: suspect}')], { rewrite });
  expect(
    loadConfig([input('unknown: 1')], { api, desc: api.message('envoy.config.bootstrap.v3.Bootstrap')!, rewrite }).ok,
  ).toBe(false);
  expect(seen).toEqual(['node', 'unknown']);
});

test('paths', () => {
  expect(splitPath('a.b[0]["x.y]"].c[k]')).toEqual(['a', 'b', 0, 'x.y]', 'c', 'k']);
});
