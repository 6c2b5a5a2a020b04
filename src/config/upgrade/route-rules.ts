/** Routes, matchers, retries, CORS: what v2 wrote otherwise. */
import { TreeEntry, TreeMapping, type TreeNode } from '../load/tree.ts';
import { HTTP_FILTERS, RETRY_HOST_PREDICATES, RETRY_PRIORITIES } from './extension-names.ts';
import {
  anyNode,
  boolNode,
  isTrue,
  itemsOf,
  type MessageEdit,
  mapNode,
  numberNode,
  type Place,
  textNode,
} from './message-edit.ts';
import { nameRule } from './named-extension.ts';
import type { Rule } from './upgrade-tree.ts';

const CORS_FILTER = 'envoy.filters.http.cors';
const CORS_POLICY = 'envoy.extensions.filters.http.cors.v3.CorsPolicy';

export const ROUTE_RULES: readonly (readonly [string, Rule])[] = [
  ['envoy.config.route.v3.VirtualHost', virtualHost],
  ['envoy.config.route.v3.Route', route],
  ['envoy.config.route.v3.RouteMatch', routeMatch],
  ['envoy.config.route.v3.RouteAction', routeAction],
  ['envoy.config.route.v3.RouteAction.RequestMirrorPolicy', mirrorPolicy],
  ['envoy.config.route.v3.WeightedCluster.ClusterWeight', perFilterConfig],
  ['envoy.config.route.v3.CorsPolicy', corsPolicy],
  [CORS_POLICY, corsPolicy],
  ['envoy.config.route.v3.HeaderMatcher', headerMatcher],
  ['envoy.config.route.v3.QueryParameterMatcher', queryParameterMatcher],
  ['envoy.config.route.v3.VirtualCluster', virtualCluster],
  [
    'envoy.config.route.v3.RetryPolicy.RetryHostPredicate',
    (edit) => nameRule(edit, RETRY_HOST_PREDICATES, 'retry host predicate', true),
  ],
  [
    'envoy.config.route.v3.RetryPolicy.RetryPriority',
    (edit) => nameRule(edit, RETRY_PRIORITIES, 'retry priority', true),
  ],
  ['envoy.config.core.v3.HeaderValueOption', headerOption],
  ['envoy.type.matcher.v3.StringMatcher', stringMatcher],
];

/** `safe_regex` of version 3: always RE2, the whole text must match. */
function safeRegex(pattern: TreeNode): TreeNode {
  return mapNode({ regex: pattern }, pattern);
}

function virtualHost(edit: MessageEdit): void {
  liftCors(edit, edit);
  perFilterConfig(edit);
}

function route(edit: MessageEdit): void {
  const action = edit.entry('route');
  if (action?.value.kind === 'mapping') {
    const inside = edit.inside(action);
    liftCors(inside, edit);
    edit.keep(action, inside);
  }
  perFilterConfig(edit);
}

/** The policy that stood in the virtual host or the route's action became the CORS filter's own configuration. */
function liftCors(from: MessageEdit, to: MessageEdit): void {
  const cors = from.entry('cors');
  if (cors === undefined) return;
  from.take('cors');
  const entry = new TreeEntry(
    CORS_FILTER,
    anyNode(CORS_POLICY, cors.value, cors),
    cors.source,
    cors.keyStart,
    cors.keyEnd,
  );
  to.merge('typed_per_filter_config', [entry], cors);
  to.state.changed(cors, from.pathOf('cors'), `cors: became typed_per_filter_config of ${CORS_FILTER}`, false);
}

function perFilterConfig(edit: MessageEdit): void {
  const old = edit.entry('per_filter_config');
  if (old !== undefined && old.value.kind === 'mapping') {
    const entries: TreeEntry[] = [];
    for (const entry of old.value.entries) {
      const known = HTTP_FILTERS.get(entry.key);
      if (known?.routeType === undefined) {
        const hint = 'write typed_per_filter_config with its "@type"';
        edit.refuse(entry, `the per-route configuration of ${JSON.stringify(entry.key)} has no known type`, hint);
        continue;
      }
      const value = anyNode(known.routeType, entry.value, entry);
      entries.push(new TreeEntry(known.name, value, entry.source, entry.keyStart, entry.keyEnd));
    }
    edit.take('per_filter_config');
    edit.merge('typed_per_filter_config', entries, old);
    edit.changed(old, 'became typed_per_filter_config');
  }
  renameKeys(edit);
}

/** The keys are the names of the filters, which have been renamed. */
function renameKeys(edit: MessageEdit): void {
  const typed = edit.entry('typed_per_filter_config');
  if (typed === undefined || typed.value.kind !== 'mapping') return;
  let changed = false;
  const entries = typed.value.entries.map((entry) => {
    const name = HTTP_FILTERS.get(entry.key)?.name;
    if (name === undefined || name === entry.key) return entry;
    changed = true;
    edit.state.changed(entry, edit.pathOf(typed.key), `${entry.key} became ${name}`, false);
    return new TreeEntry(name, entry.value, entry.source, entry.keyStart, entry.keyEnd);
  });
  if (!changed) return;
  const { value } = typed;
  edit.put('typed_per_filter_config', new TreeMapping(entries, value.source, value.start, value.end), typed);
}

function routeMatch(edit: MessageEdit): void {
  const regex = edit.entry('regex');
  if (regex !== undefined) edit.replace(regex, 'safe_regex', safeRegex(regex.value));
}

function routeAction(edit: MessageEdit): void {
  const host = edit.entry('host_rewrite');
  // Version 3 gave the name to a format string: what is there proves no version.
  if (host?.value.kind === 'scalar') {
    edit.take('host_rewrite');
    edit.put('host_rewrite_literal', host.value, host);
    edit.state.changed(host, edit.pathOf('host_rewrite'), 'host_rewrite: became host_rewrite_literal', false);
  }
  const mirror = edit.entry('request_mirror_policy');
  if (mirror !== undefined) {
    edit.take('request_mirror_policy');
    edit.append('request_mirror_policies', [mirror.value], mirror);
    edit.changed(mirror, 'became request_mirror_policies');
  }
  const action = edit.entry('internal_redirect_action');
  if (action !== undefined) {
    const handled = /^(1|HANDLE_INTERNAL_REDIRECT)$/i.test(edit.text('internal_redirect_action') ?? '');
    const most = edit.take('max_internal_redirects');
    edit.take('internal_redirect_action');
    if (handled) {
      const policy = mapNode({ max_internal_redirects: most?.value }, action);
      edit.merge('internal_redirect_policy', policy.entries, action);
    }
    edit.changed(action, handled ? 'became internal_redirect_policy' : 'removed: it is the default');
  }
}

/** v2 took the key's value as parts of ten thousand, and mirrored nothing without one. */
function mirrorPolicy(edit: MessageEdit): void {
  const key = edit.entry('runtime_key');
  if (key === undefined) return;
  const none = mapNode({ numerator: numberNode(0, key), denominator: textNode('TEN_THOUSAND', key) }, key);
  edit.replace(key, 'runtime_fraction', mapNode({ default_value: none, runtime_key: key.value }, key));
}

function corsPolicy(edit: MessageEdit): void {
  const origins = edit.entry('allow_origin');
  if (origins !== undefined) {
    const matchers = itemsOf(origins.value).map((origin) => mapNode({ exact: origin }, origin));
    edit.take('allow_origin');
    edit.append('allow_origin_string_match', matchers, origins);
    edit.changed(origins, 'became allow_origin_string_match');
  }
  const patterns = edit.entry('allow_origin_regex');
  if (patterns !== undefined) {
    const matchers = itemsOf(patterns.value).map((pattern) => mapNode({ safe_regex: safeRegex(pattern) }, pattern));
    edit.take('allow_origin_regex');
    edit.append('allow_origin_string_match', matchers, patterns);
    edit.changed(patterns, 'became allow_origin_string_match');
  }
  const enabled = edit.entry('enabled');
  if (enabled === undefined) return;
  const all = mapNode({ numerator: numberNode(isTrue(enabled.value) ? 100 : 0, enabled) }, enabled);
  edit.replace(enabled, 'filter_enabled', mapNode({ default_value: all }, enabled));
}

const HEADER_MATCHES: readonly (readonly [string, string])[] = [
  ['exact_match', 'exact'],
  ['prefix_match', 'prefix'],
  ['suffix_match', 'suffix'],
  ['contains_match', 'contains'],
  ['safe_regex_match', 'safe_regex'],
];

function headerMatcher(edit: MessageEdit): void {
  const regex = edit.entry('regex_match');
  if (regex !== undefined) {
    edit.replace(regex, 'string_match', mapNode({ safe_regex: safeRegex(regex.value) }, regex));
  }
  for (const [name, kind] of HEADER_MATCHES) {
    const entry = edit.entry(name);
    // An empty text here asks only that the header is there, which a string matcher does not.
    if (entry === undefined || (entry.value.kind === 'scalar' && entry.value.text === '')) continue;
    edit.replace(entry, 'string_match', mapNode({ [kind]: entry.value }, entry));
  }
}

function queryParameterMatcher(edit: MessageEdit): void {
  const value = edit.take('value');
  const regex = edit.take('regex');
  const at = value ?? regex;
  if (at === undefined) return;
  if (value === undefined || (value.value.kind === 'scalar' && value.value.text === '')) {
    edit.put('present_match', boolNode(true, at), at);
    edit.changed(at, 'became present_match');
    return;
  }
  const pattern = isTrue(regex?.value);
  const matcher = mapNode(pattern ? { safe_regex: safeRegex(value.value) } : { exact: value.value }, value);
  edit.put('string_match', matcher, value);
  edit.changed(value, 'became string_match');
}

function virtualCluster(edit: MessageEdit): void {
  const pattern = edit.take('pattern');
  const method = edit.take('method');
  const headers: TreeNode[] = [];
  const header = (name: string, matcher: TreeNode, at: TreeEntry | Place): TreeNode =>
    mapNode({ name: textNode(name, at), string_match: matcher }, at);
  if (pattern !== undefined) {
    headers.push(header(':path', mapNode({ safe_regex: safeRegex(pattern.value) }, pattern), pattern));
  }
  if (method !== undefined && edit.textOf(method) !== 'METHOD_UNSPECIFIED') {
    headers.push(header(':method', mapNode({ exact: method.value }, method), method));
  }
  const at = pattern ?? method;
  if (at === undefined) return;
  edit.append('headers', headers, at);
  for (const entry of [pattern, method]) if (entry !== undefined) edit.changed(entry, 'became headers');
}

function headerOption(edit: MessageEdit): void {
  const append = edit.entry('append');
  if (append === undefined || edit.entry('append_action') !== undefined) return;
  const action = isTrue(append.value) ? 'APPEND_IF_EXISTS_OR_ADD' : 'OVERWRITE_IF_EXISTS_OR_ADD';
  edit.replace(append, 'append_action', textNode(action, append.value), `became append_action: ${action}`);
}

function stringMatcher(edit: MessageEdit): void {
  const regex = edit.entry('regex');
  if (regex !== undefined) edit.replace(regex, 'safe_regex', safeRegex(regex.value));
}
