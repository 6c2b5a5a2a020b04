import { describe, expect, test } from 'bun:test';
import { create, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import { detachedContext } from '../detached-context.ts';
import { buildBootstrap } from './bootstrap.ts';

const api = openApiRegistry();
const desc = api.message('envoy.config.bootstrap.v3.Bootstrap')!;

function build(json: JsonValue) {
  const message = fromJson(desc, json, { registry: api.registry }) as Bootstrap;
  const context = detachedContext(api);
  const plan = buildBootstrap(context, message, message.staticResources?.clusters ?? [], {
    statsTags: [{ name: 'team', value: 'blue' }],
  });
  return { plan, errors: context.shared.errors.map((error) => `${error.path}: ${error.reason}`) };
}

describe('buildBootstrap', () => {
  test('an empty one has Envoy’s defaults', () => {
    const { plan, errors } = build({});
    expect(errors).toEqual([]);
    expect(plan).toMatchObject({ admin: null, statsFlushIntervalMs: 5000, statsFlushOnAdmin: false });
    expect(plan!.runtimeLayers).toEqual([]);
    expect(create(desc)).toBeDefined();
  });

  test('runtime layers are flattened; fractions stay whole', () => {
    const { plan, errors } = build({
      layeredRuntime: {
        layers: [
          { name: 's', staticLayer: { a: { b: 7, c: { d: true } }, f: { numerator: 1, denominator: 'MILLION' } } },
          { name: 'd', diskLayer: { symlinkRoot: '/srv/runtime', subdirectory: 'x', appendServiceCluster: true } },
        ],
      },
    });
    expect(errors).toEqual([]);
    const [first, second] = plan!.runtimeLayers;
    expect(first?.kind === 'static' && Object.fromEntries(first.values)).toEqual({
      'a.b': 7,
      'a.c.d': true,
      f: { numerator: 1, denominator: 'MILLION' },
    });
    expect(second).toMatchObject({ kind: 'disk', symlinkRoot: '/srv/runtime', appendServiceCluster: true });
  });

  test.each<[string, JsonValue, string]>([
    [
      'layers of one name',
      {
        layeredRuntime: {
          layers: [
            { name: 'a', adminLayer: {} },
            { name: 'a', staticLayer: {} },
          ],
        },
      },
      'layered_runtime.layers[1].name: Duplicate layer name: a',
    ],
    [
      'two admin layers',
      {
        layeredRuntime: {
          layers: [
            { name: 'a', adminLayer: {} },
            { name: 'b', adminLayer: {} },
          ],
        },
      },
      'layered_runtime.layers[1].admin_layer: Too many admin layers specified in LayeredRuntime, at most one may be specified',
    ],
    [
      'a list as a value',
      { layeredRuntime: { layers: [{ name: 'a', staticLayer: { x: { y: [1] } } }] } },
      'layered_runtime.layers[0].static_layer.x.y: Invalid runtime entry value for x.y',
    ],
    [
      'stats sinks',
      { statsSinks: [{ name: 'envoy.stat_sinks.statsd' }] },
      'stats_sinks[0]: stats sink "envoy.stat_sinks.statsd" is not supported yet',
    ],
    [
      'a tag of an unknown name',
      { statsConfig: { statsTags: [{ tagName: 'nobody' }] } },
      "stats_config.stats_tags: No regex specified for tag specifier and no default regex for name: 'nobody'",
    ],
    [
      'buckets out of order',
      { statsConfig: { histogramBucketSettings: [{ match: { prefix: 'a' }, buckets: [2, 1] }] } },
      'stats_config.histogram_bucket_settings[0].buckets: bounds must be in ascending order without repetition',
    ],
    [
      'an admin address that is no IP address',
      { admin: { address: { socketAddress: { address: 'localhost', portValue: 1 } } } },
      'admin.address.socket_address.address: malformed IP address: localhost',
    ],
  ])('refuses %s', (_name, json, expected) => {
    expect(build(json).errors).toEqual([expected]);
  });

  test('stats: tags, matcher and buckets', () => {
    const { plan } = build({
      statsConfig: {
        statsTags: [
          { tagName: 'x', regex: '^a\\.((.+?)\\.)' },
          { tagName: 'fixed', fixedValue: 'v' },
        ],
        statsMatcher: { exclusionList: { patterns: [{ safeRegex: { regex: 'b.*' } }] } },
        histogramBucketSettings: [{ match: { suffix: '_ms' }, buckets: [1, 2] }],
      },
    });
    const { producer, matcher, histogramBuckets } = plan!.stats;
    const { tags, tagExtractedName } = producer.produce('a.one.total');
    expect(tagExtractedName).toBe('a.total');
    expect(tags.map((tag) => `${tag.name}=${tag.value}`).sort()).toEqual(['fixed=v', 'team=blue', 'x=one']);
    expect([matcher.accepts('bar'), matcher.accepts('abar')]).toEqual([false, true]);
    expect(histogramBuckets[0]?.buckets).toEqual([1, 2]);
  });

  test('listeners and clusters of one name or address', () => {
    const address = { socketAddress: { address: '127.0.0.1', portValue: 9 } };
    const { errors } = build({ staticResources: { clusters: [{ name: 'a' }, { name: 'a' }] } });
    expect(errors.join('\n')).toContain("duplicate cluster name 'a'");
    const listeners = [
      { name: 'a', address, filterChains: [{}] },
      { name: 'b', address, filterChains: [{}] },
    ];
    expect(build({ staticResources: { listeners } }).errors.join('\n')).toContain('has duplicate address');
  });
});
