/** The connection manager, HTTP filters and other network filters: what v2 wrote otherwise. */
import { TreeEntry, type TreeNode } from '../load/tree.ts';
import { ACCESS_LOGS, HTTP_FILTERS, THRIFT_FILTERS } from './extension-names.ts';
import { isNull, itemsOf, type MessageEdit, mapNode, textNode } from './message-edit.ts';
import { nameRule } from './named-extension.ts';
import type { Rule } from './upgrade-tree.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3';
const LISTENER = 'envoy.config.listener.v3.Listener';

export const FILTER_RULES: readonly (readonly [string, Rule])[] = [
  [`${HCM}.HttpConnectionManager`, connectionManager],
  [`${HCM}.HttpConnectionManager.Tracing`, tracing],
  [`${HCM}.HttpFilter`, (edit) => nameRule(edit, HTTP_FILTERS, 'HTTP filter', true)],
  ['envoy.config.accesslog.v3.AccessLog', (edit) => nameRule(edit, ACCESS_LOGS, 'access log')],
  ['envoy.config.accesslog.v3.ExtensionFilter', (edit) => nameRule(edit, NO_NAMES, 'access log filter')],
  ['envoy.extensions.access_loggers.file.v3.FileAccessLog', fileAccessLog],
  ['envoy.extensions.filters.common.fault.v3.FaultDelay', faultDelay],
  ['envoy.extensions.filters.http.lua.v3.Lua', lua],
  ['envoy.extensions.filters.http.ext_authz.v3.ExtAuthz', extAuthz],
  ['envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', tcpProxy],
  ['envoy.extensions.filters.network.redis_proxy.v3.RedisProxy', redisProxy],
  ['envoy.extensions.filters.network.redis_proxy.v3.RedisProxy.PrefixRoutes', prefixRoutes],
  [
    'envoy.extensions.filters.network.thrift_proxy.v3.ThriftFilter',
    (edit) => nameRule(edit, THRIFT_FILTERS, 'thrift filter', true),
  ],
];

const NO_NAMES = new Map<string, never>();

function connectionManager(edit: MessageEdit): void {
  const idle = edit.entry('idle_timeout');
  if (idle !== undefined) {
    edit.take('idle_timeout');
    const entry = new TreeEntry('idle_timeout', idle.value, idle.source, idle.keyStart, idle.keyEnd);
    edit.merge('common_http_protocol_options', [entry], idle);
    edit.changed(idle, 'became common_http_protocol_options.idle_timeout');
  }
  const provider = edit.state.tracingProvider;
  const own = edit.entry('tracing');
  if (provider !== undefined && own !== undefined) {
    const entry = new TreeEntry('provider', provider, provider.source, provider.start, provider.end);
    edit.merge('tracing', [entry], own);
  }
}

function tracing(edit: MessageEdit): void {
  const operation = edit.take('operation_name');
  if (operation !== undefined) {
    const egress = /^(1|EGRESS)$/i.test(edit.textOf(operation));
    const direction = egress ? 'OUTBOUND' : 'INBOUND';
    const listener = edit.enclosing(LISTENER);
    const { source, keyStart, keyEnd } = operation;
    if (listener !== undefined && listener.entry('traffic_direction') === undefined) {
      listener.late.push(
        new TreeEntry('traffic_direction', textNode(direction, operation.value), source, keyStart, keyEnd),
      );
    }
    edit.changed(operation, `became traffic_direction: ${direction} of the listener`);
  }
  const headers = edit.entry('request_headers_for_tags');
  if (headers === undefined) return;
  const tags = itemsOf(headers.value).map((name) =>
    mapNode({ tag: name, request_header: mapNode({ name }, name) }, name),
  );
  edit.take('request_headers_for_tags');
  edit.append('custom_tags', tags, headers);
  edit.changed(headers, 'became custom_tags');
}

/** `json_format` stays: its values are always texts, which those of `log_format` are not. */
function fileAccessLog(edit: MessageEdit): void {
  const format = edit.entry('format');
  // An empty one means the default, which an empty log_format does not.
  if (format === undefined || (format.value.kind === 'scalar' && format.value.text === '')) return;
  const source = mapNode({ inline_string: format.value }, format);
  edit.replace(format, 'log_format', mapNode({ text_format_source: source }, format));
}

function faultDelay(edit: MessageEdit): void {
  const type = edit.take('type');
  if (type !== undefined) edit.changed(type, 'removed: fixed_delay says so');
}

function extAuthz(edit: MessageEdit): void {
  const alpha = edit.take('use_alpha');
  if (alpha !== undefined) edit.changed(alpha, 'removed: the server must speak version 3');
}

function lua(edit: MessageEdit): void {
  const code = edit.entry('inline_code');
  if (code === undefined || edit.entry('default_source_code') !== undefined) return;
  edit.replace(code, 'default_source_code', mapNode({ inline_string: code.value }, code));
}

/** One route without conditions is a cluster; the rest of version 1's routes became filter chains, which only people can write. */
function tcpProxy(edit: MessageEdit): void {
  const old = edit.entry('deprecated_v1');
  if (old === undefined) return;
  const routes = old.value.kind === 'mapping' ? itemsOf(old.value.get('routes')) : [];
  const only = routes[0];
  const cluster = only?.kind === 'mapping' ? only.get('cluster') : undefined;
  const conditions =
    only?.kind === 'mapping' ? only.entries.filter((entry) => entry.key !== 'cluster' && !isNull(entry.value)) : [];
  if (routes.length !== 1 || cluster === undefined || conditions.length > 0) {
    const hint = 'write a filter chain with a filter_chain_match and a tcp_proxy for each route';
    edit.refuse(old, 'routes of a tcp_proxy by address and port', hint);
    return;
  }
  if (edit.entry('cluster') === undefined) edit.put('cluster', cluster, old);
  edit.take('deprecated_v1');
  edit.changed(old, 'became cluster');
}

function redisProxy(edit: MessageEdit): void {
  const cluster = edit.entry('cluster');
  if (cluster === undefined) return;
  edit.take('cluster');
  const all = mapNode({ catch_all_route: mapNode({ cluster: cluster.value }, cluster) }, cluster);
  edit.merge('prefix_routes', all.entries, cluster);
  edit.changed(cluster, 'became prefix_routes.catch_all_route');
}

function prefixRoutes(edit: MessageEdit): void {
  const cluster = edit.entry('catch_all_cluster');
  if (cluster === undefined) return;
  const value: TreeNode = mapNode({ cluster: cluster.value }, cluster);
  edit.replace(cluster, 'catch_all_route', value);
}
