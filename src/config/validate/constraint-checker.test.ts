import { describe, expect, test } from 'bun:test';
import type { Message } from '@bufbuild/protobuf';
import { openApiRegistry } from '../../api/api-registry.ts';
import { loadConfig } from '../load/load-config.ts';
import { ConstraintChecker } from './constraint-checker.ts';

const api = openApiRegistry();
const checker = new ConstraintChecker(api);
const bootstrap = api.message('envoy.config.bootstrap.v3.Bootstrap')!;

function check(yaml: string): { errors: string[]; warnings: string[] } {
  const loaded = loadConfig<Message>([{ name: 'test.yaml', format: 'yaml', content: yaml }], { api, desc: bootstrap });
  if (!loaded.ok) throw new Error(loaded.error.map((error) => `${error.path}: ${error.reason}`).join('\n'));
  const checked = checker.check(loaded.value.message, bootstrap, loaded.value.anys, loaded.value.positions);
  const show = (list: typeof checked.errors): string[] =>
    list.map((error) => `${error.position?.line}:${error.position?.column} ${error.path}: ${error.reason}`);
  return { errors: show(checked.errors), warnings: show(checked.warnings) };
}

describe('ConstraintChecker', () => {
  test('knows every rule of the whole API', () => {
    let compiled = 0;
    for (const name of api.allTypeNames()) {
      const desc = api.message(name)!;
      if (desc.file.edition === 998) continue; // proto2: descriptor.proto and the options themselves
      checker.compile(desc);
      compiled++;
    }
    expect(compiled).toBeGreaterThan(2000);
  });

  test('all violations at once, in Anys too, each with its place', () => {
    const { errors } = check(`static_resources:
  clusters:
  - name: ""
    connect_timeout: 0s
  listeners:
  - name: a
    address: {socket_address: {address: 127.0.0.1, port_value: 65536}}
    filter_chains:
    - filters:
      - name: x
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          route_config:
            virtual_hosts:
            - name: ""
              routes: [{match: {prefix: /}, route: {cluster: ""}}]
`);
    expect(errors).toHaveLength(7);
    const text = errors.join('\n');
    expect(text).toContain('3:11 static_resources.clusters[0].name: must not be empty');
    expect(text).toContain('4:22 static_resources.clusters[0].connect_timeout: must be greater than 0s');
    expect(text).toContain(
      '7:64 static_resources.listeners[0].address.socket_address.port_value: must be at most 65535',
    );
    expect(text).toContain('.typed_config.stat_prefix: must not be empty');
    expect(text).toContain('.virtual_hosts[0].domains: must have at least 1 item');
    expect(text).toContain('15:21 ');
    expect(text).toContain('.route.cluster: must not be empty');
  });

  test('required oneofs and messages', () => {
    const { errors } = check('overload_manager: {resource_monitors: [{name: x}]}\nadmin: {address: {}}\n');
    expect(errors.join('\n')).toContain(
      'admin.address: one of socket_address, pipe, envoy_internal_address is required',
    );
  });

  test('durations: negative and too long', () => {
    const { errors } = check(
      'overload_manager: {refresh_interval: -1s, resource_monitors: [{name: a}]}\nstats_flush_interval: 1s\n',
    );
    expect(errors.join('\n')).toContain('overload_manager.refresh_interval: a duration must not be negative, -1s is');
    expect(check('static_resources: {clusters: [{name: a, dns_refresh_rate: 9223372035s}]}').errors).toEqual([]);
    expect(check('static_resources: {clusters: [{name: a, dns_refresh_rate: 9223372036s}]}').errors).toHaveLength(1);
  });

  test('deprecated fields are warned of', () => {
    const { errors, warnings } = check('admin: {access_log_path: /dev/null}\n');
    expect(errors).toEqual([]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(
      '1:26 admin.access_log_path: the field envoy.config.bootstrap.v3.Admin.access_log_path is deprecated',
    );
  });
});
