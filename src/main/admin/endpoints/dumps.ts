import { fromBinary, type JsonObject, type JsonValue, type Message, toJson } from '@bufbuild/protobuf';
import { wholeBootstrap } from '../../../config/builders/bootstrap.ts';
import type { Server } from '../../server.ts';
import type { ClusterUpdates, ClusterVersion } from '../../updates/cluster-updates.ts';
import type { ListenerUpdates, ListenerVersion } from '../../updates/listener-updates.ts';
import { clusterMembers } from './clusters.ts';
import { assignmentJson } from './endpoint-assignment.ts';
import { nodeJson } from './node-identity.ts';

const ADMIN = 'envoy.admin.v3';
export const TYPE_PREFIX = 'type.googleapis.com/';
const HCM = `${TYPE_PREFIX}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`;

/** One message of the dump. */
export interface Dump {
  readonly type: string;
  readonly content: JsonObject;
}

/** Everything that `/config_dump` may show, as Envoy orders it. @param matches takes names of resources */
export async function allDumps(
  server: Server,
  includeEds: boolean,
  matches: (name: string) => boolean,
): Promise<Dump[]> {
  const { api } = server.parts;
  const { clusters, listeners, routes } = server.dynamic;
  const print = (type: string, value: Message): JsonObject =>
    toJson(api.message(type)!, value, { registry: api.registry, useProtoFieldName: true }) as JsonObject;
  const any = (type: string, content: JsonObject): JsonObject => ({ '@type': TYPE_PREFIX + type, ...content });
  const bootstrap = print('envoy.config.bootstrap.v3.Bootstrap', wholeBootstrap(server.bootstrap.plan, api));
  const dumps: Dump[] = [
    {
      type: `${ADMIN}.BootstrapConfigDump`,
      content: { bootstrap: { ...bootstrap, node: nodeJson(server, false) }, last_updated: iso(server.startedAtMs) },
    },
    {
      type: `${ADMIN}.ClustersConfigDump`,
      content: clusterDump(clusters, print, (bytes) => fromBinary(api.message(CLUSTER)!, bytes), matches),
    },
  ];
  dumps.push(...extensionDumps(server, print, matches));
  if (includeEds) dumps.push({ type: `${ADMIN}.EndpointsConfigDump`, content: await endpointDump(server, matches) });
  dumps.push({ type: `${ADMIN}.ListenersConfigDump`, content: listenerDump(listeners, print, matches) });
  const inline: JsonObject[] = [];
  // Envoy's keepers of routes come and go with connection managers.
  let hasRoutes = false;
  const { active, warming, draining, drainingChains } = listeners;
  for (const version of [...active.values(), ...warming.values(), ...draining, ...drainingChains]) {
    const found: JsonObject[] = [];
    const listener = print(LISTENER, version.message);
    hasRoutes ||= holdsManager(listener);
    collectFields(listener, 'route_config', found);
    for (const route of found) {
      if (!matches(typeof route.name === 'string' ? route.name : '')) continue;
      inline.push({ route_config: any(ROUTE, route), last_updated: iso(version.updatedMs) });
    }
  }
  const discovered: JsonObject[] = [];
  for (const version of routes.current()) {
    if (!matches(version.message.name)) continue;
    discovered.push({
      ...(version.version === '' ? {} : { version_info: version.version }),
      route_config: any(ROUTE, print(ROUTE, version.message)),
      last_updated: iso(version.updatedMs),
    });
  }
  if (hasRoutes || discovered.length > 0) {
    const content = { ...list('static_route_configs', inline), ...list('dynamic_route_configs', discovered) };
    dumps.push({ type: `${ADMIN}.ScopedRoutesConfigDump`, content: scopeDump(server, print, matches) });
    dumps.push({ type: `${ADMIN}.RoutesConfigDump`, content });
  }
  const fixed = (server.bootstrap.plan.message.staticResources?.secrets ?? [])
    .filter((secret) => matches(secret.name))
    .map((secret) => ({
      name: secret.name,
      secret: any(SECRET, print(SECRET, secret)),
    }));
  const activeSecrets = [...server.dynamic.secrets.current()]
    .filter((version) => matches(version.name))
    .map((version) => ({
      name: version.name,
      ...(version.version === '' ? {} : { version_info: version.version }),
      last_updated: iso(version.updatedMs),
      secret: any(SECRET, print(SECRET, version.secret)),
    }));
  const missing = [...server.dynamic.secrets.missing()]
    .filter(({ name }) => matches(name))
    .map(({ name, sinceMs }) => ({
      name,
      version_info: 'uninitialized',
      last_updated: iso(sinceMs),
      secret: any(SECRET, { name }),
    }));
  dumps.push({
    type: `${ADMIN}.SecretsConfigDump`,
    content: {
      ...list('static_secrets', fixed),
      ...list('dynamic_active_secrets', activeSecrets),
      ...list('dynamic_warming_secrets', missing),
    },
  });
  return dumps;
}

const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const LISTENER = 'envoy.config.listener.v3.Listener';
const ROUTE = 'envoy.config.route.v3.RouteConfiguration';
const EXTENSION = 'envoy.config.core.v3.TypedExtensionConfig';
/** In the order of Envoy's dump. */
const EXTENSION_KINDS = ['http-filter', 'network-filter', 'listener-filter'] as const;
const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';

type Print = (type: string, value: Message) => JsonObject;

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function list(key: string, items: JsonObject[]): JsonObject {
  return items.length === 0 ? {} : { [key]: items };
}

function sorted<V>(map: ReadonlyMap<string, V>): V[] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
}

function clusterDump(
  clusters: ClusterUpdates,
  print: Print,
  decode: (bytes: Uint8Array) => Message,
  matches: (name: string) => boolean,
): JsonObject {
  const fixed: JsonObject[] = [];
  const active: JsonObject[] = [];
  const warming: JsonObject[] = [];
  const state = (version: ClusterVersion): JsonObject => ({
    ...(version.version === '' ? {} : { version_info: version.version }),
    cluster: { '@type': TYPE_PREFIX + CLUSTER, ...print(CLUSTER, decode(version.bytes)) },
    last_updated: iso(version.updatedMs),
  });
  // Envoy keeps them sorted.
  for (const version of sorted(clusters.active)) {
    if (!matches(version.spec.name)) continue;
    (version.spec.addedViaApi ? active : fixed).push(state(version));
  }
  for (const entry of clusters.warming.values()) {
    if (matches(entry.version.spec.name)) warming.push(state(entry.version));
  }
  return {
    ...(clusters.version === '' ? {} : { version_info: clusters.version }),
    ...list('static_clusters', fixed),
    ...list('dynamic_active_clusters', active),
    ...list('dynamic_warming_clusters', warming),
  };
}

function scopeDump(server: Server, print: Print, matches: (name: string) => boolean): JsonObject {
  const { listeners, scopes } = server.dynamic;
  const inline: JsonObject[] = [];
  const { active, warming, draining, drainingChains } = listeners;
  for (const version of [...active.values(), ...warming.values(), ...draining, ...drainingChains]) {
    const found: JsonObject[] = [];
    collectFields(print(LISTENER, version.message), 'scoped_routes', found);
    for (const { name, scoped_route_configurations_list: fixed } of found) {
      if (fixed === undefined || !matches(typeof name === 'string' ? name : '')) continue;
      const list = ((fixed as JsonObject).scoped_route_configurations ?? []) as JsonObject[];
      inline.push({
        ...(name === undefined ? {} : { name }),
        scoped_route_configs: list.map((each) => ({ '@type': TYPE_PREFIX + SCOPE, ...each })),
        last_updated: iso(version.updatedMs),
      });
    }
  }
  // It is the names of scopes that have to match.
  const discovered = [...scopes.current()].map(({ name, version, updatedMs, messages }) => ({
    name,
    ...(version === '' ? {} : { version_info: version }),
    ...list(
      'scoped_route_configs',
      messages
        .filter((message) => matches(message.name))
        .map((message) => ({ '@type': TYPE_PREFIX + SCOPE, ...print(SCOPE, message) })),
    ),
    last_updated: iso(updatedMs),
  }));
  return { ...list('inline_scoped_route_configs', inline), ...list('dynamic_scoped_route_configs', discovered) };
}

/** One dump for each kind that there is. */
function extensionDumps(server: Server, print: Print, matches: (name: string) => boolean): Dump[] {
  const byKind = new Map<string, JsonObject[]>(EXTENSION_KINDS.map((kind) => [kind, []]));
  const used = new Set<string>();
  for (const { kind, name, resource, updatedMs } of server.dynamic.extensions.current()) {
    used.add(kind);
    if (!matches(name)) continue;
    byKind.get(kind)!.push({
      ...(resource.version === '' ? {} : { version_info: resource.version }),
      ecds_filter: { '@type': TYPE_PREFIX + EXTENSION, ...print(EXTENSION, resource.message) },
      last_updated: iso(updatedMs),
    });
  }
  return EXTENSION_KINDS.filter((kind) => used.has(kind)).map((kind) => ({
    type: `${ADMIN}.EcdsConfigDump`,
    content: list('ecds_filters', byKind.get(kind)!),
  }));
}

async function endpointDump(server: Server, matches: (name: string) => boolean): Promise<JsonObject> {
  const { hosts, policies } = await clusterMembers(server);
  const fixed: JsonObject[] = [];
  const dynamic: JsonObject[] = [];
  for (const { spec } of sorted(server.dynamic.clusters.active)) {
    const name = spec.serviceName === '' ? spec.name : spec.serviceName;
    if (!matches(name)) continue;
    // Hosts that are found by name have metadata, be it empty.
    const hasMetadata = spec.dns !== null;
    const content = assignmentJson(name, hosts.get(spec.name) ?? [], policies.get(spec.name), hasMetadata);
    (spec.addedViaApi ? dynamic : fixed).push({
      endpoint_config: { '@type': `${TYPE_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment`, ...content },
    });
  }
  return { ...list('static_endpoint_configs', fixed), ...list('dynamic_endpoint_configs', dynamic) };
}

function listenerDump(listeners: ListenerUpdates, print: Print, matches: (name: string) => boolean): JsonObject {
  const fixed: JsonObject[] = [];
  const dynamic = new Map<string, JsonObject>();
  const entry = (name: string): JsonObject => {
    let found = dynamic.get(name);
    if (found === undefined) {
      found = name === '' ? {} : { name };
      dynamic.set(name, found);
    }
    return found;
  };
  const any = (message: Message): JsonObject => ({ '@type': TYPE_PREFIX + LISTENER, ...print(LISTENER, message) });
  const state = (version: ListenerVersion): JsonObject => ({
    ...(version.version === '' ? {} : { version_info: version.version }),
    listener: any(version.message),
    last_updated: iso(version.updatedMs),
  });
  for (const version of listeners.active.values()) {
    if (!matches(version.name)) continue;
    if (!version.addedViaApi) fixed.push({ listener: any(version.message), last_updated: iso(version.updatedMs) });
    else entry(version.name)[listeners.started ? 'active_state' : 'warming_state'] = state(version);
  }
  for (const version of listeners.warming.values()) {
    if (matches(version.name)) entry(version.name).warming_state = state(version);
  }
  for (const version of listeners.draining) {
    if (matches(version.name) && version.addedViaApi) entry(version.name).draining_state = state(version);
  }
  for (const error of listeners.errors.values()) {
    if (!matches(error.name)) continue;
    entry(error.name).error_state = {
      failed_configuration: any(error.message),
      last_update_attempt: iso(error.attemptedMs),
      details: error.details,
    };
  }
  const overall: JsonObject[] = listeners.lastErrors.map((error) => ({
    error_state: {
      failed_configuration: any(error.message),
      details: error.details,
    },
  }));
  return {
    ...(listeners.version === '' ? {} : { version_info: listeners.version }),
    ...list('static_listeners', fixed),
    ...list('dynamic_listeners', [...dynamic.values(), ...overall]),
  };
}

/** Whether there is a connection manager in it. */
function holdsManager(value: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (!Array.isArray(value) && (value['@type'] === HCM || value.type_url === HCM)) return true;
  return Object.values(value).some(holdsManager);
}

/** What every connection manager has in a field. */
function collectFields(value: JsonValue, field: string, into: JsonObject[]): void {
  if (Array.isArray(value)) {
    for (const item of value) collectFields(item, field, into);
  } else if (typeof value === 'object' && value !== null) {
    if (value['@type'] === HCM && value[field] !== undefined) into.push(value[field] as JsonObject);
    for (const item of Object.values(value)) collectFields(item, field, into);
  }
}
