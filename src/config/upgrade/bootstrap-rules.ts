/** Bootstrap, admin, node, stats, tracing: what v2 wrote otherwise. */
import type { TreeNode } from '../load/tree.ts';
import { RESOURCE_MONITORS, STAT_SINKS, TRACERS } from './extension-names.ts';
import { anyNode, boolNode, listNode, type MessageEdit, mapNode, textNode } from './message-edit.ts';
import { nameRule } from './named-extension.ts';
import type { Rule } from './upgrade-tree.ts';

const FILE_ACCESS_LOG = 'envoy.extensions.access_loggers.file.v3.FileAccessLog';

export const BOOTSTRAP_RULES: readonly (readonly [string, Rule])[] = [
  ['envoy.config.bootstrap.v3.Bootstrap', bootstrap],
  ['envoy.config.bootstrap.v3.Admin', admin],
  ['envoy.config.core.v3.Node', node],
  ['envoy.config.metrics.v3.StatsSink', (edit) => nameRule(edit, STAT_SINKS, 'stats sink')],
  ['envoy.config.trace.v3.Tracing.Http', (edit) => nameRule(edit, TRACERS, 'tracer')],
  ['envoy.config.trace.v3.ZipkinConfig', zipkin],
  ['envoy.config.overload.v3.ResourceMonitor', (edit) => nameRule(edit, RESOURCE_MONITORS, 'resource monitor')],
  ['envoy.config.core.v3.ConfigSource', configSource],
  ['envoy.config.core.v3.ApiConfigSource', apiConfigSource],
];

function bootstrap(edit: MessageEdit): void {
  runtime(edit);
  const tracing = edit.entry('tracing');
  const http = tracing?.value.kind === 'mapping' ? tracing.value.get('http') : undefined;
  if (tracing !== undefined && http !== undefined) {
    edit.take('tracing');
    edit.state.tracingProvider = http;
    edit.changed(tracing, 'became the provider of the tracing of each connection manager');
  }
}

/** The layers that Envoy itself made of a v2 runtime. */
function runtime(edit: MessageEdit): void {
  const old = edit.take('runtime');
  if (old === undefined || old.value.kind !== 'mapping') return;
  const { value } = old;
  const root = value.get('symlink_root') ?? value.get('symlinkRoot');
  const base = value.get('base');
  const subdirectory = value.get('subdirectory');
  const override = value.get('override_subdirectory') ?? value.get('overrideSubdirectory');
  const layers: TreeNode[] = [];
  if (base !== undefined) layers.push(mapNode({ name: textNode('base', old), static_layer: base }, old));
  const disk = (name: string, directory: TreeNode | undefined, perCluster: boolean): TreeNode =>
    mapNode(
      {
        name: textNode(name, old),
        disk_layer: mapNode(
          {
            symlink_root: root,
            subdirectory: directory,
            append_service_cluster: perCluster ? boolNode(true, old) : undefined,
          },
          old,
        ),
      },
      old,
    );
  if (root !== undefined) {
    layers.push(disk('root', subdirectory, false));
    if (override !== undefined) layers.push(disk('override', override, true));
  }
  layers.push(mapNode({ name: textNode('admin', old), admin_layer: mapNode({}, old) }, old));
  edit.replace(old, 'layered_runtime', mapNode({ layers: listNode(layers, old) }, old));
}

function admin(edit: MessageEdit): void {
  const old = edit.entry('access_log_path');
  if (old === undefined || edit.entry('access_log') !== undefined) return;
  const config = mapNode({ path: old.value }, old);
  const log = mapNode(
    { name: textNode('envoy.access_loggers.file', old), typed_config: anyNode(FILE_ACCESS_LOG, config, old) },
    old,
  );
  edit.replace(old, 'access_log', listNode([log], old), 'became an access_log to a file');
}

function node(edit: MessageEdit): void {
  const build = edit.take('build_version');
  if (build !== undefined) edit.changed(build, 'removed: Envoy tells its version by itself');
}

/** v2's default, and the only other version, is gone from Zipkin's own servers too. */
function zipkin(edit: MessageEdit): void {
  const old = edit.entry('collector_endpoint_version');
  const value = edit.text('collector_endpoint_version')?.toUpperCase();
  if (value !== undefined && !/^(0|HTTP_JSON_V1)$/.test(value)) return;
  edit.take('collector_endpoint_version');
  const at = old ?? edit.entries.at(-1);
  edit.put('collector_endpoint_version', textNode('HTTP_JSON', old ?? edit.mapping), at);
  const endpoint = edit.entry('collector_endpoint');
  if (endpoint?.value.kind === 'scalar' && endpoint.value.text.startsWith('/api/v1/')) {
    edit.put(
      'collector_endpoint',
      textNode(endpoint.value.text.replace('/api/v1/', '/api/v2/'), endpoint.value),
      endpoint,
    );
  }
  const what = 'spans go as HTTP_JSON to the second version of Zipkin\u2019s API: the first one is gone';
  const path = edit.pathOf('collector_endpoint_version');
  edit.state.changed(old ?? edit.mapping, path, what, value === 'HTTP_JSON_V1');
}

function configSource(edit: MessageEdit): void {
  const old = edit.entry('path');
  if (old === undefined) return;
  edit.replace(old, 'path_config_source', mapNode({ path: old.value }, old));
}

/** Clusters by name became gRPC services for gRPC. */
function apiConfigSource(edit: MessageEdit): void {
  const kind = edit.text('api_type')?.toUpperCase();
  const names = edit.entry('cluster_names');
  if ((kind !== 'GRPC' && kind !== 'DELTA_GRPC') || names === undefined || edit.entry('grpc_services') !== undefined) {
    return;
  }
  const items = names.value.kind === 'sequence' ? names.value.items : [names.value];
  const services = items.map((item) => mapNode({ envoy_grpc: mapNode({ cluster_name: item }, item) }, item));
  edit.replace(names, 'grpc_services', listNode(services, names));
}
