import { afterAll, describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { toJsonString } from '@bufbuild/protobuf';
import { upgraded, V2_CASES, v2Case, v2Surroundings } from '../../../test/support/v2-cases.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { ConfigError } from '../diagnostics/config-error.ts';
import { type ConfigInput, formatOfPath, type LoadedConfig, loadConfig, parseTree } from '../load/load-config.ts';
import { ConstraintChecker } from '../validate/constraint-checker.ts';
import { upgradeFile } from './upgrade-file.ts';
import { upgradeTree, v2Rewrite } from './upgrade-tree.ts';

const api = openApiRegistry();
const bootstrap = api.message('envoy.config.bootstrap.v3.Bootstrap')!;
const directory = v2Surroundings(api);
afterAll(() => rmSync(directory, { recursive: true }));
const root = join(import.meta.dir, '..', '..', '..');

function yaml(content: string): ConfigInput {
  return { name: 'a.yaml', format: 'yaml', content };
}

function load(input: ConfigInput): LoadedConfig {
  const loaded = loadConfig([input], { api, desc: bootstrap, rewrite: v2Rewrite(api, bootstrap) });
  if (!loaded.ok) throw new Error(loaded.error.map((error) => `${error.path}: ${error.reason}`).join('\n'));
  return loaded.value;
}

function json(loaded: LoadedConfig): string {
  return toJsonString(bootstrap, loaded.message, { registry: api.registry });
}

/** What the upgrade says of one file: `path: reason`, errors first. */
function said(content: string): string[] {
  const { errors, warnings } = upgradeTree(parseTree(yaml(content)).tree!, api, bootstrap);
  return [...errors, ...warnings].map((issue: ConfigError) => `${issue.severity} ${issue.path}: ${issue.reason}`);
}

describe('files as old tutorials write them', () => {
  for (const name of V2_CASES) {
    test(`${name} becomes valid, and is printed as it is loaded`, () => {
      const input = v2Case(name, directory);
      const { text, warnings } = upgraded(input, api);
      const loaded = load(input);
      expect(new ConstraintChecker(api).check(loaded.message, bootstrap, loaded.anys, loaded.positions).errors).toEqual(
        [],
      );
      expect(loaded.warnings.length).toBe(warnings.length);
      for (const warning of warnings) expect(warning.position?.file).toBe(input.name);
      const printed = load({ ...input, content: text });
      expect(json(printed)).toBe(json(loaded));
      expect(printed.warnings).toEqual([]);
      expect(text).not.toMatch(/\bv2\.|\bv2alpha/);
    });
  }
});

describe('files of version 3 are left alone', () => {
  const folders = [join(root, 'test/config-cases/valid'), join(root, 'examples/hello')];
  for (const folder of folders) {
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.yaml'))) {
      test(name, () => {
        const path = join(folder, name);
        const input = { name, format: formatOfPath(path), content: readFileSync(path, 'utf8') };
        const { tree } = parseTree(input);
        if (tree === undefined) throw new Error('does not parse');
        const result = upgradeTree(tree, api, bootstrap);
        expect(result.tree).toBe(tree);
        expect(result.warnings).toEqual([]);
      });
    }
  }

  test('deprecated fields of version 3 alone are no reason to change anything', () => {
    const text =
      'admin: {access_log_path: /dev/null}\nstatic_resources: {clusters: [{name: a, http2_protocol_options: {}}]}\n';
    const result = upgradeFile(yaml(text), api);
    expect(result.ok && [result.value.changed, result.value.text]).toEqual([false, text]);
  });

  test('a field that neither version has is told of by the loader, at its place', () => {
    const loaded = loadConfig([yaml('static_resources:\n  clusters:\n  - {name: a, hots: []}\n')], {
      api,
      desc: bootstrap,
      rewrite: v2Rewrite(api, bootstrap),
    });
    expect(loaded.ok ? [] : loaded.error.map((error) => [error.path, error.position?.line])).toEqual([
      ['static_resources.clusters[0].hots', 3],
    ]);
  });
});

test('each thing is told with its place', () => {
  const text = readFileSync(join(root, 'examples/main-job/envoy.yaml'), 'utf8');
  const { warnings } = load(yaml(text));
  expect(warnings.map((warning) => `${warning.position?.line}:${warning.position?.column} ${warning.path}`)).toEqual([
    '2:3 admin.access_log_path',
    '13:9 static_resources.listeners[0].filter_chains[0].filters[0].name',
    '14:9 static_resources.listeners[0].filter_chains[0].filters[0].config',
    '26:13 static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].name',
    '26:13 static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config',
    '32:5 static_resources.clusters[0].hosts',
  ]);
});

describe('refused', () => {
  const chain = (filter: string): string =>
    `static_resources: {listeners: [{filter_chains: [{filters: [${filter}]}]}]}`;
  const cluster = (fields: string): string => `static_resources: {clusters: [{name: a, ${fields}}]}`;
  const cases: readonly (readonly [string, string, string])[] = [
    [
      'a filter that is gone',
      chain('{name: envoy.client_ssl_auth, config: {}}'),
      'filters[0].name: version 2 of the API: the network filter envoy.client_ssl_auth is gone',
    ],
    [
      'a filter that nobody knows',
      chain('{name: mine, config: {a: 1}}'),
      'filters[0].config: version 2 of the API: the network filter "mine" is not known',
    ],
    [
      'a configuration of version 1',
      chain('{name: envoy.tcp_proxy, config: {deprecated_v1: true, value: {}}}'),
      'a configuration of version 1',
    ],
    [
      'routes of a tcp_proxy',
      chain(
        '{name: envoy.tcp_proxy, config: {stat_prefix: a, deprecated_v1: {routes: [{cluster: a, destination_ports: "1"}]}}}',
      ),
      'typed_config.deprecated_v1: version 2 of the API: routes of a tcp_proxy',
    ],
    [
      'hosts beside load_assignment',
      cluster('hosts: [], load_assignment: {cluster_name: a}'),
      'clusters[0].hosts: version 2 of the API: hosts beside load_assignment',
    ],
    [
      'options of an unknown protocol',
      cluster('extension_protocol_options: {mine: {}}'),
      'extension_protocol_options.mine'.replace('extension_protocol_options.', ''),
    ],
    [
      'a staple that never worked',
      cluster('tls_context: {common_tls_context: {validation_context: {require_ocsp_staple: true}}}'),
      'require_ocsp_staple never worked',
    ],
    [
      'a tracer that is gone',
      'tracing: {http: {name: envoy.lightstep, config: {}}}\nnode: {build_version: a}\nstatic_resources: {listeners: [{filter_chains: [{filters: [{name: envoy.http_connection_manager, config: {tracing: {}}}]}]}]}',
      'the tracer envoy.lightstep is gone',
    ],
    [
      'a type without successor',
      chain(
        '{name: x, typed_config: {"@type": type.googleapis.com/envoy.config.filter.network.client_ssl_auth.v2.ClientSSLAuth}}',
      ),
      'ClientSSLAuth has no equivalent',
    ],
    [
      'a field without successor',
      'static_resources: {listeners: [{udp_listener_config: {udp_listener_name: a}}]}',
      'how a UDP listener reads is told otherwise',
    ],
  ];
  for (const [name, text, expected] of cases) {
    test(name, () => {
      const errors = said(text).filter((line) => line.startsWith('error'));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toContain(expected);
      const loaded = loadConfig([yaml(text)], { api, desc: bootstrap, rewrite: v2Rewrite(api, bootstrap) });
      expect(loaded.ok).toBe(false);
      if (!loaded.ok) for (const error of loaded.error) expect(error.position).toBeDefined();
      expect(upgradeFile(yaml(text), api).ok).toBe(false);
    });
  }
});

describe('printing', () => {
  const print = (text: string): string => upgraded(yaml(text), api).text;

  test('comments, empty lines, quotes and styles stay', () => {
    const text = `# first

admin: # of it
  access_log_path: "/dev/null" # nothing

static_resources:
  # all clusters
  clusters:
    - name: 'a'   # one
      # its hosts
      hosts: # two of them
        - socket_address: {address: 10.0.0.1, port_value: 0x50} # the first
        # the second
        - socket_address:
            address: 10.0.0.2
            port_value: 80
# last
`;
    expect(print(text)).toBe(`# first

admin:
  # of it
  access_log:
    - name: envoy.access_loggers.file
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
        path: "/dev/null" # nothing

static_resources:
  # all clusters
  clusters:
    - name: 'a' # one
      # its hosts
      load_assignment:
        cluster_name: a
        endpoints:
          - lb_endpoints:
              # two of them
              - endpoint:
                  address:
                    socket_address: { address: 10.0.0.1, port_value: 0x50 } # the first
              # the second
              - endpoint:
                  address:
                    socket_address:
                      address: 10.0.0.2
                      port_value: 80

# last
`);
  });

  test('text that looks like something else stays in quotes', () => {
    const text = `node: { build_version: x, id: "yes", metadata: { a: 'null', b: "", c: "~", d: "1", e: ~, f: '- x', "1": y } }\n`;
    expect(json(load(yaml(print(text))))).toBe(json(load(yaml(text))));
    const host = 'static_resources: {clusters: [{name: "123", hosts: [{pipe: {path: "1"}}]}]}';
    expect(print(host)).toContain('cluster_name: "123"');
  });

  test('anchors and aliases stay', () => {
    const text = `static_resources:
  clusters:
  - name: a
    connect_timeout: &t 1s
    hosts: &h
    - socket_address: &s { address: 10.0.0.1, port_value: 80 }
  - name: b
    connect_timeout: *t
    hosts: *h
  - name: c
    hosts:
    - socket_address: *s
`;
    const printed = print(text);
    expect(printed).toContain('connect_timeout: *t');
    expect(printed).toContain('socket_address: *s');
    expect(json(load(yaml(printed)))).toBe(json(load(yaml(text))));
  });

  test('JSON stays JSON, number for number', () => {
    const input: ConfigInput = {
      name: 'a.json',
      format: 'json',
      content: JSON.stringify({
        node: {
          id: 'yes',
          cluster: '1',
          build_version: '',
          metadata: { a: 'null', b: '', c: '~', d: 1.5, e: null, f: '- x', g: '# y', h: 'a: b', i: '@' },
        },
      }).replace('"build_version":""', '"build_version":"x"'),
    };
    const loaded = loadConfig([input], { api, desc: bootstrap, rewrite: v2Rewrite(api, bootstrap) });
    expect(loaded.ok).toBe(true);
    if (loaded.ok) expect(json(load({ ...input, content: upgraded(input, api).text }))).toBe(json(loaded.value));
  });

  test('resources in a file of their own', () => {
    const text = 'resources:\n- "@type": type.googleapis.com/envoy.api.v2.Cluster\n  name: a\n  hosts: []\n';
    expect(print(text)).toContain(
      '"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: a\n  load_assignment:',
    );
  });
});
