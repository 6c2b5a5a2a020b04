import { expect, test } from 'bun:test';
import { TestBuild } from '../../../test/support/build-messages.ts';
import { StubStreamView } from '../../../test/support/stub-stream-view.ts';
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import { RequestHeaders } from '../../http/header-map.ts';
import { finalizeRequest } from '../../routing/host-rewrite.ts';
import type { Route } from '../../routing/route.ts';
import { ActionKind, type ForwardAction } from '../../routing/route-action.ts';
import type { RouteTable } from '../../routing/route-table.ts';
import type { FormatContext } from '../../routing/stream-view.ts';
import { FieldSupportTable } from '../field-support.ts';
import { buildRouteTable, ROUTE_CONFIG_SUPPORT } from './route-config.ts';

const TYPE = 'envoy.config.route.v3.RouteConfiguration';
const support = new FieldSupportTable([ROUTE_CONFIG_SUPPORT]);

interface Outcome {
  readonly table: RouteTable | null;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

function build(yaml: string, clusters: readonly string[] | null = ['c', 'd']): Outcome {
  const run = new TestBuild();
  const shared = { ...run.shared, clusterNames: clusters === null ? null : new Set(clusters) };
  const context = new (run.context.constructor as new (scope: typeof shared) => TestBuild['context'])(shared);
  const message = run.message<RouteConfiguration>(TYPE, yaml);
  support.check(context, shared.api.message(TYPE)!, message);
  const table = buildRouteTable(context, message);
  return { table, errors: run.errors, warnings: run.warnings };
}

/** A table with one virtual host of these routes. */
function routes(...list: string[]): Outcome {
  return build(`{name: rc, virtual_hosts: [{name: v, domains: ["*"], routes: [${list.join(', ')}]}]}`);
}

function request(path: string, entries: readonly string[] = []): RequestHeaders {
  const headers = new RequestHeaders();
  headers.method = 'GET';
  headers.scheme = 'http';
  headers.authority = 'a.com';
  headers.path = path;
  headers.list = ['x-forwarded-proto', 'http', ...entries];
  return headers;
}

const stream = new StubStreamView();

function contextOf(headers: RequestHeaders): FormatContext {
  return { stream, requestHeaders: headers, responseHeaders: null, responseTrailers: null };
}

function found(outcome: Outcome, headers: RequestHeaders): Route {
  expect(outcome.errors).toEqual([]);
  const route = outcome.table!.route(headers, stream);
  if (route === null) throw new Error('no route');
  return route;
}

function forwardOf(route: Route): ForwardAction {
  if (route.action.kind !== ActionKind.Forward) throw new Error('does not forward');
  return route.action;
}

const AT = 'virtual_hosts[0].routes[0]';
const TEMPLATE = (text: string): string =>
  `path_match_policy: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "${text}"}}`;
const REWRITE = (text: string): string =>
  `path_rewrite_policy: {name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "${text}"}}`;

/** One route, path of the error below the route, part of the reason: Envoy 1.40 refuses each, in these words. */
const REFUSED: [string, string, string][] = [
  ['{match: {prefix: /}, route: {cluster: zz}}', 'route.cluster', "route: unknown cluster 'zz'"],
  ['{match: {safe_regex: {regex: "a++"}}, route: {cluster: c}}', 'match.safe_regex.regex', 'bad regular expression'],
  [
    '{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, weight: 0}]}}}',
    'route.weighted_clusters.clusters',
    'Sum of weights in the weighted_cluster must be greater than 0.',
  ],
  [
    '{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, weight: 1}, {name: d}]}}}',
    'route.weighted_clusters.clusters[1].weight',
    "Field 'weight' is missing",
  ],
  [
    '{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: zz, weight: 1}]}}}',
    'route.weighted_clusters.clusters[0].name',
    "route: unknown weighted cluster 'zz'",
  ],
  [
    '{match: {prefix: /}, route: {weighted_clusters: {clusters: [{weight: 1}]}}}',
    'route.weighted_clusters.clusters[0]',
    'At least one of name or cluster_header need to be specified',
  ],
  [
    '{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, cluster_header: x, weight: 1}]}}}',
    'route.weighted_clusters.clusters[0]',
    'Only one of name or cluster_header can be specified',
  ],
  [
    '{name: n, match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, weight: 4294967295}, {name: d, weight: 1}]}}}',
    'route.weighted_clusters.clusters',
    'The sum of weights of all weighted clusters of route n exceeds 4294967295',
  ],
  [
    '{match: {prefix: /}, route: {cluster: c, prefix_rewrite: /x, path_rewrite: /y}}',
    'route',
    'Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy',
  ],
  ['{match: {prefix: /}, route: {cluster: c, path_rewrite: "%FOO%"}}', 'route.path_rewrite', 'FOO'],
  ['{match: {prefix: /}, route: {cluster: c, host_rewrite: "%FOO%"}}', 'route.host_rewrite', 'FOO'],
  [
    '{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: "5xx", retry_back_off: {base_interval: 2s, max_interval: 1s}}}}',
    'route.retry_policy.retry_back_off.max_interval',
    'retry_policy.max_interval must greater than or equal to the base_interval',
  ],
  [
    '{match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]}}',
    'route.upgrade_configs[1].upgrade_type',
    'Duplicate upgrade WebSocket',
  ],
  [
    '{match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}}',
    'route.upgrade_configs[0].connect_config',
    'Non-CONNECT upgrade type websocket has ConnectConfig',
  ],
  [
    '{match: {connect_matcher: {}}, route: {cluster: c, upgrade_configs: [{upgrade_type: CONNECT-UDP, connect_config: {}}]}}',
    'route.upgrade_configs[0].upgrade_type',
    'CONNECT-UDP is not supported',
  ],
  [
    '{match: {prefix: /}, request_headers_to_remove: ["Host"], route: {cluster: c}}',
    'request_headers_to_remove[0]',
    ':-prefixed or host headers may not be removed',
  ],
  [
    '{match: {prefix: /}, response_headers_to_remove: [":status"], route: {cluster: c}}',
    'response_headers_to_remove[0]',
    ':-prefixed or host headers may not be removed',
  ],
  [
    '{match: {prefix: /}, request_headers_to_add: [{header: {key: ":path", value: x}}], route: {cluster: c}}',
    'request_headers_to_add[0].header.key',
    ':-prefixed or host headers may not be modified',
  ],
  [
    '{match: {prefix: /}, request_headers_to_add: [{header: {key: a, value: "%FOO%"}}], route: {cluster: c}}',
    'request_headers_to_add[0].header.value',
    'FOO',
  ],
  [
    '{match: {prefix: /}, request_headers_to_add: [{header: {key: a, value: x}, append: true, append_action: OVERWRITE_IF_EXISTS}], route: {cluster: c}}',
    'request_headers_to_add[0].append',
    "Both append and append_action are set and it's not allowed",
  ],
  [
    `{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "${'x'.repeat(4097)}"}}}`,
    'direct_response.body',
    'response body size is 4097 bytes; maximum is 4096',
  ],
  [
    '{match: {prefix: /}, direct_response: {status: 200, body: {filename: /nonexistent}}}',
    'direct_response.body.filename',
    'file /nonexistent does not exist',
  ],
  [
    '{match: {prefix: /}, direct_response: {status: 200, body: {environment_variable: NUNCIO_NOPE}}}',
    'direct_response.body.environment_variable',
    "Environment variable doesn't exist: NUNCIO_NOPE",
  ],
  [
    '{match: {prefix: /}, route: {cluster: c}, typed_per_filter_config: {foo: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}',
    'typed_per_filter_config["foo"]',
    "Didn't find a registered implementation for 'foo'",
  ],
  [
    `{match: {${TEMPLATE('/a?b')}}, route: {cluster: c}}`,
    'match.path_match_policy.typed_config.path_template',
    'path_match_policy.path_template /a?b is invalid: Invalid literal: "a?b"',
  ],
  [
    `{match: {${TEMPLATE('/{a}')}}, route: {cluster: c, ${REWRITE('/{b}')}}}`,
    'route.path_rewrite_policy.typed_config.path_template_rewrite',
    'mismatch between variables in path_match_policy /{a} and path_rewrite_policy /{b}',
  ],
  [
    `{match: {prefix: /}, route: {cluster: c, ${REWRITE('/{b}')}}}`,
    'route.path_rewrite_policy',
    'unable to use envoy.path.rewrite.uri_template.uri_template_rewriter',
  ],
  [
    `{match: {${TEMPLATE('/{a}')}}, route: {cluster: c, prefix_rewrite: /x}}`,
    'route.prefix_rewrite',
    'Cannot use prefix_rewrite with matcher extension',
  ],
  // Not carried out yet.
  ['{match: {prefix: /}, route: {cluster_specifier_plugin: x}}', 'route.cluster_specifier_plugin', 'not supported yet'],
  [
    '{match: {prefix: /}, route: {cluster: c, request_mirror_policies: [{cluster: nowhere}]}}',
    'route.request_mirror_policies[0].cluster',
    "unknown shadow cluster 'nowhere'",
  ],
  ['{match: {prefix: /}, filter_action: {}}', 'filter_action', 'not supported yet'],
];

test('each fault is reported at its path, in Envoy words where it has some', () => {
  for (const [route, path, reason] of REFUSED) {
    const { table, errors } = routes(route);
    const at = path === '' ? AT : `${AT}.${path}`;
    const label = `${route} => ${errors.join(' | ')}`;
    expect([label, errors.some((error) => error.startsWith(`${at}: `) && error.includes(reason))]).toEqual([
      label,
      true,
    ]);
    if (!reason.includes('not supported yet')) expect(table).toBeNull();
  }
});

test('all faults come at once', () => {
  const { errors } = routes(
    '{match: {safe_regex: {regex: "("}}, route: {cluster: zz, retry_policy: {retriable_headers: [{name: a, string_match: {safe_regex: {regex: "["}}}]}}}',
    '{match: {prefix: /}, route: {cluster: yy}}',
  );
  expect(errors.map((error) => error.slice(0, error.indexOf(': ')))).toEqual([
    `${AT}.match.safe_regex.regex`,
    `${AT}.route.retry_policy.retriable_headers[0].string_match.safe_regex.regex`,
    `${AT}.route.cluster`,
    'virtual_hosts[0].routes[1].route.cluster',
  ]);
});

/** What Envoy 1.40 takes. */
test.each([
  '{match: {prefix: a}, route: {cluster: c}}',
  '{match: {prefix: /}, route: {weighted_clusters: {total_weight: 5, clusters: [{name: c, weight: 1}]}}}',
  '{match: {prefix: /}, request_headers_to_add: [{header: {key: a, value: x}, append: false}], route: {cluster: c}}',
  '{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: a}, body_format: {text_format: x}}}',
  '{match: {prefix: /}, redirect: {scheme_redirect: ftp}}',
  '{match: {prefix: /}, route: {cluster: c}, typed_per_filter_config: {foo: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}}',
  '{match: {prefix: /}, route: {cluster: c}, typed_per_filter_config: {foo: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}}',
  '{match: {prefix: /}, route: {cluster: c}, per_request_buffer_limit_bytes: 1, request_body_buffer_limit: 2}',
  '{match: {prefix: /}, route: {cluster_header: ":authority"}}',
  '{match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: "a(b)c"}, substitution: "\\\\2"}}}',
  '{match: {connect_matcher: {}}, route: {cluster: c, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}',
  '{match: {prefix: /, headers: [{name: x, range_match: {start: 5, end: 1}}], runtime_fraction: {default_value: {numerator: 1}}}, route: {cluster: c}}',
])('accepted: %s', (route) => expect(routes(route).errors).toEqual([]));

test.each([
  ['["a.com", "A.com"]', 'Only unique values for domains are permitted. Duplicate entry of domain a.com in route rc'],
  ['["*", "*"]', 'Only a single wildcard domain is permitted in route rc'],
  ['["*.a", "*.a"]', 'Duplicate entry of domain *.a in route rc'],
])('domains %s', (domains, reason) => {
  const { errors } = build(`{name: rc, virtual_hosts: [{name: v, domains: ${domains}}]}`);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toStartWith('virtual_hosts[0].domains[1]: ');
  expect(errors[0]).toContain(reason);
});

test('names of virtual hosts need not be unique, as in Envoy; clusters are not checked where the table says so', () => {
  expect(build('{virtual_hosts: [{name: v, domains: [a]}, {name: v, domains: [b]}]}').errors).toEqual([]);
  const open =
    '{validate_clusters: false, virtual_hosts: [{name: v, domains: [a], routes: [{match: {prefix: /}, route: {cluster: zz}}]}]}';
  expect(build(open).errors).toEqual([]);
  expect(build(open.replace('false', 'true'), null).errors).toEqual([]);
});

test('defaults and fields of a forwarding route', () => {
  const outcome = routes(
    '{match: {prefix: /a}, route: {cluster: c, timeout: 0s, idle_timeout: 0.5s, priority: HIGH, cluster_not_found_response_code: NOT_FOUND, retry_policy: {retry_on: "5xx,unavailable", num_retries: 0, retry_back_off: {base_interval: 0.0001s}}, hash_policy: [{cookie: {name: k, ttl: 0s}}], max_stream_duration: {max_stream_duration: 3s}}}',
    '{match: {prefix: /}, route: {cluster: d}}',
  );
  const action = forwardOf(found(outcome, request('/a')));
  expect([action.timeoutMs, action.idleTimeoutMs, action.priority, action.clusterNotFoundStatus]).toEqual([
    0, 500, 1, 404,
  ]);
  expect([action.retryPolicy.numRetries, action.retryPolicy.baseIntervalMs, action.retryPolicy.maxIntervalMs]).toEqual([
    0,
    1,
    null,
  ]);
  expect(action.retryPolicy.retryOn).toBe(1 | (1 << 8));
  expect(action.hashPolicies).toEqual([
    { kind: 'cookie', terminal: false, name: 'k', ttlSeconds: 0, path: '', attributes: [] },
  ]);
  expect(action.streamDuration.maxStreamDurationMs).toBe(3000);
  const plain = forwardOf(found(outcome, request('/')));
  expect([
    plain.timeoutMs,
    plain.idleTimeoutMs,
    plain.priority,
    plain.clusterNotFoundStatus,
    plain.retryPolicy.retryOn,
  ]).toEqual([15_000, null, 0, 503, 0]);
});

test('a retry policy of the virtual host serves routes that have none', () => {
  const outcome = build(
    '{virtual_hosts: [{name: v, domains: ["*"], retry_policy: {retry_on: reset}, routes: [{match: {prefix: /own}, route: {cluster: c, retry_policy: {}}}, {match: {prefix: /}, route: {cluster: c}}]}]}',
  );
  expect(forwardOf(found(outcome, request('/own'))).retryPolicy.retryOn).toBe(0);
  expect(forwardOf(found(outcome, request('/'))).retryPolicy.retryOn).toBe(1 << 11);
});

test('formats in headers, path and host as recorded from Envoy', () => {
  const outcome = routes(
    '{match: {prefix: /pr}, route: {cluster: c, path_rewrite: "/w-%REQ(x-a)%"}}',
    '{match: {prefix: /hr}, route: {cluster: c, host_rewrite: "h%REQ(x-none)%"}}',
    '{match: {prefix: /ra}, request_headers_to_add: [{header: {key: x-a, value: "%REQ(x-none)%"}}, {header: {key: x-b, value: ""}, keep_empty_value: true}, {header: {key: x-d, value: "k%REQ(x-none)%é"}}], route: {cluster: c}}',
  );
  const sent = (path: string, ...entries: string[]): RequestHeaders => {
    const headers = request(path, entries);
    finalizeRequest(found(outcome, headers), headers, contextOf(headers), true);
    return headers;
  };
  expect(sent('/pr/x?a=1', 'x-a', 'v').path).toBe('/w-v?a=1');
  expect(sent('/hr').authority).toBe('h-');
  const added = sent('/ra');
  expect([added.get('x-a'), added.get('x-b'), added.get('x-d')]).toEqual([null, '', 'k\u00c3\u00a9']);
});

test('virtual clusters and the other fields that hosts carry', () => {
  const outcome = build(
    '{virtual_hosts: [{name: v, domains: ["*"], include_request_attempt_count: true, virtual_clusters: [{name: gets, headers: [{name: ":method", string_match: {exact: GET}}]}], routes: [{match: {prefix: /}, route: {cluster: c}, stat_prefix: s}]}]}',
  );
  const route = found(outcome, request('/'));
  expect([route.statPrefix, route.virtualHost.includeRequestAttemptCount]).toEqual(['s', true]);
  expect(route.virtualHost.virtualCluster(request('/'))?.name).toBe('gets');
  const post = request('/');
  post.method = 'POST';
  expect(route.virtualHost.virtualCluster(post)?.name).toBe('other');
  expect(build('{virtual_hosts: [{name: v, domains: ["*"], virtual_clusters: [{name: x}]}]}').errors).toEqual([
    "virtual_hosts[0].virtual_clusters[0].headers: virtual clusters must define 'headers'",
  ]);
});

test('an unknown retry condition is a warning with a suggestion', () => {
  const run = routes('{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: "5xx,conect-failure"}}}');
  expect(run.errors).toEqual([]);
  expect(run.warnings).toEqual([
    `${AT}.route.retry_policy.retry_on: "conect-failure" is no retry condition and has no effect`,
  ]);
});
