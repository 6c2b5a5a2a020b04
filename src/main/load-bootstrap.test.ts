/** Mistakes that people make, and what they are told: every complaint has a place, and a remedy where one is known. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { toJsonString } from '@bufbuild/protobuf';
import { openApiRegistry } from '../api/api-registry.ts';
import { wholeBootstrap } from '../config/builders/bootstrap.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { loadBootstrap } from './load-bootstrap.ts';

const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
const TCP = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const BASE = readFileSync(new URL('../../test/config-cases/valid/two-clusters.yaml', import.meta.url), 'utf8');

/** `line:column reason (hint)` of each error. */
function complaints(...edits: readonly (readonly [from: string, to: string])[]): string[] {
  let content = BASE;
  for (const [from, to] of edits) {
    expect(content).toContain(from);
    content = content.replace(from, () => to);
  }
  const loaded = loadBootstrap([{ name: 'envoy.yaml', format: 'yaml', content }], api, extensions, 'reject');
  return loaded.ok
    ? []
    : loaded.error.map(({ position, reason, hint }) => {
        const place = position === undefined ? '?' : `${position.line}:${position.column}`;
        return `${place} ${reason}${hint === undefined || hint === '' ? '' : ` (${hint})`}`;
      });
}

describe('a large file, which is read cluster by cluster', () => {
  const COUNT = 1500;
  const cluster = (index: number): string =>
    `  - name: c${index}\n    connect_timeout: 2s\n    type: STATIC\n    load_assignment:\n      cluster_name: c${index}\n`;
  const text = (edit: (index: number) => string, listeners = ''): string =>
    `static_resources:\n  clusters:\n${Array.from({ length: COUNT }, (_, i) => edit(i)).join('')}${listeners}`;
  const load = (content: string, format: 'yaml' | 'json' = 'yaml') =>
    loadBootstrap([{ name: 'big', format, content }], api, extensions, 'reject');
  const told = (content: string): string[] => {
    const loaded = load(content);
    const issues = loaded.ok ? loaded.value.warnings : loaded.error;
    return issues.map(({ position, reason }) => `${position?.line}:${position?.column} ${reason}`);
  };

  test('gives what a small one gives', () => {
    const content = text(cluster);
    expect(content.length).toBeGreaterThan(128 * 1024);
    const loaded = load(content);
    if (!loaded.ok) throw new Error('refused');
    const { plan, origin } = loaded.value;
    expect(plan.clusters.map(({ name }) => name)).toEqual(Array.from({ length: COUNT }, (_, i) => `c${i}`));
    expect(plan.message.staticResources?.clusters).toEqual([]);
    const whole = wholeBootstrap(plan, api);
    expect(whole.staticResources?.clusters[7]).toMatchObject({ name: 'c7', connectTimeout: { seconds: 2n } });
    expect(origin?.positions.locate('static_resources.clusters[1].name')).toMatchObject({ line: 8, column: 11 });
    const json = toJsonString(api.message(whole.$typeName)!, whole, { registry: api.registry });
    const again = load(json, 'json');
    expect(again.ok && again.value.plan.clusters).toEqual(plan.clusters);
  }, 30_000);

  const wrong: readonly (readonly [string, (index: number) => string, string, string[]])[] = [
    [
      'a field misspelt',
      (index) => (index === 1200 ? cluster(index).replace('type:', 'tipe:') : cluster(index)),
      '',
      ['6005:5 envoy.config.cluster.v3.Cluster has no field "tipe"'],
    ],
    [
      'a value that breaks a rule of the API',
      (index) => (index === 1400 ? cluster(index).replace('name: c1400', 'name: ""') : cluster(index)),
      '',
      ['7003:11 must not be empty'],
    ],
    [
      'a value that no builder takes',
      (index) => cluster(index === 1499 ? 3 : index),
      '',
      ["7498:11 duplicate cluster name 'c3'"],
    ],
    [
      'a listener that names a cluster which is not there',
      cluster,
      `  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: tcp
        typed_config: { "@type": type.googleapis.com/${TCP}, stat_prefix: s, cluster: nobody }
`,
      ['7509:9 there is no cluster "nobody" yet: connections are closed'],
    ],
    [
      'a warning',
      (index) => (index === 5 ? `${cluster(index)}    track_timeout_budgets: true\n` : cluster(index)),
      '',
      [
        '33:28 the field envoy.config.cluster.v3.Cluster.track_timeout_budgets is deprecated since 3.0 and will be removed',
      ],
    ],
  ];
  test.each([...wrong])(
    'is told of %s with its place',
    (_what, edit, listeners, expected) => {
      expect(told(text(edit, listeners))).toEqual(expected);
    },
    30_000,
  );
});

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = '"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router';

describe('what people are told', () => {
  test('nothing, when nothing is wrong', () => expect(complaints()).toEqual([]));

  const cases: [string, [string, string][], (string | RegExp)[]][] = [
    [
      'the name of a cluster misspelt',
      [['cluster: service_a', 'cluster: service-a']],
      ["34:28 route: unknown cluster 'service-a' (did you mean service_a?)"],
    ],
    [
      'a field misspelt',
      [['connect_timeout', 'conect_timeout']],
      ['48:5 envoy.config.cluster.v3.Cluster has no field "conect_timeout" (did you mean connect_timeout?)'],
    ],
    [
      'a field one level too high',
      [['route: { cluster: service_b }', 'cluster: service_b']],
      ['40:17 envoy.config.route.v3.Route has no field "cluster" (it is a field of route: put it there)'],
    ],
    [
      'a field one level too deep',
      [['cluster: service_b }', 'cluster: service_b, request_headers_to_remove: [x] }']],
      [
        '40:46 envoy.config.route.v3.RouteAction has no field "request_headers_to_remove" (it is a field of Route around it: indent it less)',
      ],
    ],
    [
      'a value where a message is due',
      [['lb_policy: ROUND_ROBIN', 'common_lb_config: { healthy_panic_threshold: 50 }']],
      ['49:50 expected a Percent (a mapping), found 50 (its fields: value)'],
    ],
    [
      'a tab',
      [['    type: STATIC\n', '\ttype: STATIC\n']],
      [/^58:1 .*Tabs are not allowed.*\(indent with spaces\)/, /^58/, /^58/],
    ],
    ['a star', [['["*"]', '[*]']], [/^30:25 .*alias.*quotes/i]],
    [
      'an address that is no key of its own',
      [['        address: 0.0.0.0', '      address: 0.0.0.0']],
      [/^10:16 .*indentation/, /^10/],
    ],
    [
      'a type of version 3 that is misspelt',
      [['router.v3.Router', 'router.v3.Ruter']],
      [/^44:24 unknown type .*did you mean .*router\.v3\.Router\?/],
    ],
    [
      'a type without its prefix',
      [[`type.googleapis.com/${HCM}`, HCM]],
      [/^16:20 .*did you mean type\.googleapis\.com/],
    ],
    [
      'no type',
      [[ROUTER, '{}']],
      [/^43:13 Didn't find .*router' with type URL.*give it a typed_config with "@type": .*Router\)/],
    ],
    [
      'the configuration of a filter of another kind',
      [['filters.http.router.v3.Router', 'filters.network.tcp_proxy.v3.TcpProxy']],
      [/TcpProxy is not the configuration of a http-filter but of a network-filter/],
    ],
    [
      'one complaint about one number',
      [['lb_policy: ROUND_ROBIN', 'lb_policy: RING_HASH\n    ring_hash_lb_config: { minimum_ring_size: 10000000 }']],
      ['50:47 must be at most 8388608'],
    ],
    [
      'a name where an IP address is due',
      [['address: 127.0.0.1, port_value: 9901', 'address: localhost, port_value: 9901']],
      [/^4:32 malformed IP address: localhost \(.*an IP address/],
    ],
    [
      'an operator misspelt: the place is that of the string',
      [['%RESPONSE_CODE%', '%RESPONS_CODE%']],
      [
        '25:34 Not supported field in StreamInfo: RESPONS_CODE (at position 15 of the format string) (did you mean RESPONSE_CODE?)',
      ],
    ],
    [
      'look-ahead',
      [['prefix: "/api"', 'safe_regex: { regex: "/(?!x)" }']],
      [/^32:47 bad regular expression.*no look-around/],
    ],
    [
      'several at once, inside of an extension and outside',
      [
        ['codec_type: AUTO', 'codec_type: HTTP'],
        ['num_retries: 2', 'num_retries: two'],
        ['cluster: service_b', 'cluster: servce_b'],
        ['connect_timeout', 'conect_timeout'],
      ],
      [
        /^18:23 .*did you mean HTTP1\?/,
        /^38:34 expected an integer/,
        /^48:5 .*connect_timeout/,
        /^40:35 route: unknown cluster.*service_b/,
      ],
    ],
  ];
  for (const [name, edits, expected] of cases) {
    test(name, () => {
      const found = complaints(...edits);
      expected.forEach((each, i) => {
        if (typeof each === 'string') expect(found[i]).toBe(each);
        else expect(found[i]).toMatch(each);
      });
      expect(found).toHaveLength(expected.length);
    });
  }
});

describe('discovery without node.id and node.cluster', () => {
  const source = 'path_config_source: { path: /dev/null }';
  const load = (content: string, settings: object = {}) =>
    loadBootstrap([{ name: 'envoy.yaml', format: 'yaml', content }], api, extensions, 'reject', {
      statsTags: [],
      ...settings,
    });
  const clusters = `dynamic_resources:\n  cds_config: { ${source} }\n  lds_config: { ${source} }\n`;

  test('is refused once, at the first source', () => {
    const loaded = load(`node: { id: me }\n${clusters}`);
    expect(loaded.ok ? [] : loaded.error).toMatchObject([
      {
        path: 'dynamic_resources.lds_config',
        reason: "node 'id' and 'cluster' are required where anything is discovered",
        hint: "set both in 'node', or by --service-node and --service-cluster",
        position: { line: 4 },
      },
    ]);
    expect(load(clusters, { serviceNode: 'me' }).ok).toBe(false);
    expect(load(clusters, { serviceNode: 'me', serviceCluster: 'us' }).ok).toBe(true);
    expect(load(`node: { id: me, cluster: us }\n${clusters}`).ok).toBe(true);
  });

  test('of listeners is a warning where nothing is started, as Envoy lets it pass', () => {
    const content = `dynamic_resources:\n  lds_config: { ${source} }\n`;
    expect(load(content).ok).toBe(false);
    const loaded = load(content, { onlyValidates: true });
    expect(loaded.ok && loaded.value.warnings.map(({ path }) => path)).toEqual(['dynamic_resources.lds_config']);
  });
});
