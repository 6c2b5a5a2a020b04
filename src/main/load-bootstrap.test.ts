/** Mistakes that people make, and what they are told: every complaint has a place, and a remedy where one is known. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { openApiRegistry } from '../api/api-registry.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { loadBootstrap } from './load-bootstrap.ts';

const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
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
