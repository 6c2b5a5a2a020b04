import { create, type JsonObject, toJson } from '@bufbuild/protobuf';
import type { Server } from '../../server.ts';
import { COMMIT, ENVOY_VERSION, NUNCIO_VERSION } from '../../version.ts';

/** Envoy's category of each kind of extension. */
const CATEGORIES: Readonly<Record<string, string>> = {
  'network-filter': 'envoy.filters.network',
  'listener-filter': 'envoy.filters.listener',
  'http-filter': 'envoy.filters.http',
  'access-logger': 'envoy.access_loggers',
  'access-log-filter': 'envoy.access_loggers.extension_filters',
  'load-balancing-policy': 'envoy.load_balancing_policies',
  formatter: 'envoy.formatter',
  'original-ip-detection': 'envoy.http.original_ip_detection',
  'early-header-mutation': 'envoy.http.early_header_mutation',
  'retry-host-predicate': 'envoy.retry_host_predicates',
  'retry-priority': 'envoy.retry_priorities',
  tracer: 'envoy.tracers',
};

/** The node as this process names itself: the bootstrap's, the command line's words over it, and what is built in. */
export function nodeJson(server: Server, withDefaults: boolean): JsonObject {
  const { api, extensions } = server.parts;
  const desc = api.message('envoy.config.core.v3.Node')!;
  const configured = server.bootstrap.plan.message.node ?? create(desc);
  const node = toJson(desc, configured, {
    registry: api.registry,
    useProtoFieldName: true,
    alwaysEmitImplicit: withDefaults,
  }) as JsonObject;
  const { local, flags } = server;
  if (local.nodeId !== '') node.id = local.nodeId;
  if (local.clusterName !== '') node.cluster = local.clusterName;
  if (flags.serviceZone !== '') node.locality = { ...(node.locality as JsonObject), zone: flags.serviceZone };
  const { major, minor, patch } = ENVOY_VERSION;
  delete node.user_agent_version;
  const order = ['id', 'cluster', 'metadata', 'dynamic_parameters', 'locality'];
  const out: JsonObject = {};
  for (const key of order) if (node[key] !== undefined && key !== 'dynamic_parameters') out[key] = node[key];
  out.user_agent_name = 'envoy';
  out.user_agent_build_version = {
    version: { major_number: major, minor_number: minor, ...(withDefaults || patch > 0 ? { patch } : {}) },
    metadata: {
      'build.type': 'RELEASE',
      'revision.status': `Nuncio-${NUNCIO_VERSION}`,
      'revision.sha': COMMIT,
      'ssl.version': 'BoringSSL',
    },
  };
  out.extensions = extensions.all().map((factory) => ({
    name: factory.name,
    category: CATEGORIES[factory.kind] ?? factory.kind,
    ...(withDefaults ? { type_descriptor: '', disabled: false } : {}),
    type_urls: [factory.configType],
  }));
  for (const key of ['client_features', 'listening_addresses', 'dynamic_parameters']) {
    if (node[key] !== undefined) out[key] = node[key];
  }
  return out;
}
