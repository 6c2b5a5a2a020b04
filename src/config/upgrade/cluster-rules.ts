/** Clusters, their endpoints, health checks and TLS: what v2 wrote otherwise. */
import { TreeEntry, TreeMapping, type TreeNode } from '../load/tree.ts';
import { HEALTH_CHECKERS, PROTOCOL_OPTIONS, UPSTREAM_SOCKETS } from './extension-names.ts';
import {
  anyNode,
  isNull,
  isTrue,
  itemsOf,
  listNode,
  type MessageEdit,
  mapNode,
  numberNode,
  textNode,
} from './message-edit.ts';
import { nameRule } from './named-extension.ts';
import type { Rule } from './upgrade-tree.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const TLS_SOCKET = 'envoy.transport_sockets.tls';
const UPSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const NO_CONFIG = 'version 3 names the type: write typed_config with its "@type"';

export const CLUSTER_RULES: readonly (readonly [string, Rule])[] = [
  ['envoy.config.cluster.v3.Cluster', cluster],
  ['envoy.config.cluster.v3.LoadBalancingPolicy.Policy', balancingPolicy],
  ['envoy.config.endpoint.v3.ClusterLoadAssignment.Policy', endpointPolicy],
  [
    'envoy.config.core.v3.HealthCheck.CustomHealthCheck',
    (edit) => nameRule(edit, HEALTH_CHECKERS, 'health checker', true),
  ],
  ['envoy.config.core.v3.HealthCheck.HttpHealthCheck', httpHealthCheck],
  ['envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext', validationContext],
  ['envoy.extensions.transport_sockets.tls.v3.PrivateKeyProvider', untyped],
  ['envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials.MetadataCredentialsFromPlugin', untyped],
];

function cluster(edit: MessageEdit): void {
  hosts(edit);
  const policy = edit.entry('lb_policy');
  if (policy !== undefined && /^ORIGINAL_DST_LB$/i.test(edit.textOf(policy))) {
    edit.put('lb_policy', textNode('CLUSTER_PROVIDED', policy.value), policy);
    edit.state.changed(policy, edit.pathOf('lb_policy'), 'ORIGINAL_DST_LB became CLUSTER_PROVIDED', true);
  }
  nameHealthChecks(edit);
  const tls = edit.entry('tls_context');
  if (tls !== undefined) {
    const socket = { name: textNode(TLS_SOCKET, tls), typed_config: anyNode(UPSTREAM_TLS, tls.value, tls) };
    edit.replace(tls, 'transport_socket', mapNode(socket, tls));
  }
  namedSocket(edit, 'transport_socket', UPSTREAM_SOCKETS);
  const options = edit.entry('extension_protocol_options');
  if (options !== undefined) structOptions(edit, options);
  renamedOptions(edit);
  httpOptions(edit);
}

/** A list of addresses became endpoints of one locality. */
function hosts(edit: MessageEdit): void {
  const old = edit.entry('hosts');
  if (old === undefined) return;
  if (edit.entry('load_assignment') !== undefined) {
    edit.refuse(old, 'hosts beside load_assignment', 'move the hosts into the load_assignment');
    return;
  }
  const endpoints = itemsOf(old.value).map((address) => mapNode({ endpoint: mapNode({ address }, address) }, address));
  const list = old.value.kind === 'sequence' ? old.value : old;
  const assignment = mapNode(
    {
      cluster_name: textNode(edit.text('name') ?? '', old),
      endpoints: listNode([mapNode({ lb_endpoints: listNode(endpoints, list) }, old)], old),
    },
    old,
  );
  edit.replace(old, 'load_assignment', assignment);
}

/** Envoy 1.40 wants a name for each where a cluster has several. */
function nameHealthChecks(edit: MessageEdit): void {
  const checks = edit.entry('health_checks');
  if (checks?.value.kind !== 'sequence' || checks.value.items.length < 2) return;
  let named = 0;
  const items = checks.value.items.map((check, i) => {
    if (check.kind !== 'mapping' || check.entry('name') !== undefined) return check;
    named++;
    const name = new TreeEntry('name', textNode(`health_check_${i}`, check), check.source, check.start, check.start);
    return new TreeMapping([name, ...check.entries], check.source, check.start, check.end);
  });
  if (named === 0) return;
  edit.put('health_checks', listNode(items, checks.value), checks);
  edit.changed(checks, 'each has a name, as there are several');
}

/** `transport_socket` with a Struct: its type depends on the side that it is on. */
export function namedSocket(edit: MessageEdit, field: string, table: typeof UPSTREAM_SOCKETS): void {
  const socket = edit.entry(field);
  if (socket === undefined || socket.value.kind !== 'mapping') return;
  const inside = edit.inside(socket);
  nameRule(inside, table, 'transport socket', true);
  edit.keep(socket, inside);
}

function structOptions(edit: MessageEdit, old: TreeEntry): void {
  if (old.value.kind !== 'mapping') return;
  const entries: TreeEntry[] = [];
  for (const entry of old.value.entries) {
    const known = PROTOCOL_OPTIONS.get(entry.key);
    if (known === undefined) {
      edit.refuse(entry, `the protocol options ${JSON.stringify(entry.key)} are not known`, NO_CONFIG);
      continue;
    }
    const value = anyNode(known.type, entry.value, entry);
    entries.push(new TreeEntry(known.name, value, entry.source, entry.keyStart, entry.keyEnd));
  }
  edit.take('extension_protocol_options');
  edit.merge('typed_extension_protocol_options', entries, old);
  edit.changed(old, 'became typed_extension_protocol_options');
}

function renamedOptions(edit: MessageEdit): void {
  const typed = edit.entry('typed_extension_protocol_options');
  if (typed === undefined || typed.value.kind !== 'mapping') return;
  const { value } = typed;
  if (
    !value.entries.some(
      (entry) => PROTOCOL_OPTIONS.get(entry.key)?.name !== (PROTOCOL_OPTIONS.get(entry.key) && entry.key),
    )
  ) {
    return;
  }
  const entries = value.entries.map(
    (entry) =>
      new TreeEntry(
        PROTOCOL_OPTIONS.get(entry.key)?.name ?? entry.key,
        entry.value,
        entry.source,
        entry.keyStart,
        entry.keyEnd,
      ),
  );
  edit.put(typed.key, new TreeMapping(entries, value.source, value.start, value.end), typed);
}

/** The HTTP options that stood in the cluster itself: version 3 warns about each of them. */
function httpOptions(edit: MessageEdit): void {
  const present = edit.entry('typed_extension_protocol_options');
  if (present?.value.kind === 'mapping' && present.value.entry(HTTP_OPTIONS) !== undefined) return;
  const http1 = edit.entry('http_protocol_options');
  const http2 = edit.entry('http2_protocol_options');
  const common = edit.entry('common_http_protocol_options');
  const upstream = edit.entry('upstream_http_protocol_options');
  const perConnection = edit.entry('max_requests_per_connection');
  const selection = edit.entry('protocol_selection');
  const all = [http1, http2, common, upstream, perConnection, selection].filter((entry) => entry !== undefined);
  const first = all[0];
  if (first === undefined) return;
  const downstream = /^(1|USE_DOWNSTREAM_PROTOCOL)$/i.test(edit.text('protocol_selection') ?? '');
  const fields: Record<string, TreeNode | undefined> = {};
  if (common !== undefined || perConnection !== undefined) {
    const entries = common?.value.kind === 'mapping' ? common.value.entries : [];
    const place = common?.value ?? perConnection!.value;
    const added =
      perConnection === undefined || entries.some((entry) => entry.key === 'max_requests_per_connection')
        ? []
        : [perConnection];
    fields.common_http_protocol_options = new TreeMapping([...entries, ...added], place.source, place.start, place.end);
  }
  fields.upstream_http_protocol_options = upstream?.value;
  if (downstream) {
    fields.use_downstream_protocol_config = mapNode(
      { http_protocol_options: http1?.value, http2_protocol_options: http2?.value },
      first,
    );
  } else {
    // As v2 chose: HTTP/2 when its options were there at all.
    fields.explicit_http_config = mapNode(
      http2 === undefined
        ? { http_protocol_options: http1?.value ?? mapNode({}, first) }
        : { http2_protocol_options: http2.value },
      first,
    );
  }
  for (const entry of all) edit.take(entry.key);
  const typed = mapNode({ [HTTP_OPTIONS]: anyNode(HTTP_OPTIONS, mapNode(fields, first), first) }, first);
  edit.merge('typed_extension_protocol_options', typed.entries, first);
  for (const entry of all) edit.changed(entry, `became typed_extension_protocol_options of ${HTTP_OPTIONS}`);
}

function balancingPolicy(edit: MessageEdit): void {
  const typed = edit.entry('typed_config');
  const config = edit.entry('config');
  const name = edit.entry('name');
  if (config !== undefined && typed === undefined)
    edit.refuse(config, 'a load balancing policy as a Struct', NO_CONFIG);
  if (name === undefined || config !== undefined) return;
  edit.take('name');
  edit.take('typed_config');
  edit.put('typed_extension_config', mapNode({ name: name.value, typed_config: typed?.value }, name), name);
  edit.changed(name, 'became typed_extension_config');
}

/** Without overprovisioning means with a factor of 100 percent. */
function endpointPolicy(edit: MessageEdit): void {
  const old = edit.take('disable_overprovisioning');
  if (old === undefined) return;
  if (isTrue(old.value)) edit.put('overprovisioning_factor', numberNode(100, old), old);
  edit.changed(old, isTrue(old.value) ? 'became overprovisioning_factor: 100' : 'removed: it is the default');
}

function httpHealthCheck(edit: MessageEdit): void {
  const service = edit.entry('service_name');
  if (service !== undefined) {
    edit.replace(service, 'service_name_matcher', mapNode({ prefix: service.value }, service));
  }
  const http2 = edit.take('use_http2');
  if (http2 === undefined) return;
  if (isTrue(http2.value)) edit.put('codec_client_type', textNode('HTTP2', http2), http2);
  edit.changed(http2, isTrue(http2.value) ? 'became codec_client_type: HTTP2' : 'removed: it is the default');
}

const IP_ADDRESS = /^[0-9.]+$|^[0-9a-f:.]*:[0-9a-f:.]*$/i;

function validationContext(edit: MessageEdit): void {
  const old = edit.take('verify_subject_alt_name');
  if (old !== undefined) {
    // One list of plain texts stood for every kind of name: a text tells of which kind it is.
    const matchers = itemsOf(old.value).map((item) => {
      const text = item.kind === 'scalar' ? item.text : '';
      const kind = text.includes('://') ? 'URI' : IP_ADDRESS.test(text) ? 'IP_ADDRESS' : 'DNS';
      return mapNode({ san_type: textNode(kind, item), matcher: mapNode({ exact: item }, item) }, item);
    });
    edit.append('match_typed_subject_alt_names', matchers, old);
    edit.changed(old, 'became match_typed_subject_alt_names');
  }
  const staple = edit.take('require_ocsp_staple');
  if (staple !== undefined && !isNull(staple.value) && isTrue(staple.value)) {
    edit.refuse(staple, 'require_ocsp_staple never worked', 'use ocsp_staple_policy of the DownstreamTlsContext');
  }
}

function untyped(edit: MessageEdit): void {
  const config = edit.entry('config');
  if (config !== undefined && edit.entry('typed_config') === undefined) {
    edit.refuse(config, 'a configuration as a Struct', NO_CONFIG);
  }
}
