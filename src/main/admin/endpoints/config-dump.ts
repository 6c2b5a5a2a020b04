import {
  type DescMessage,
  fromBinary,
  getOption,
  type JsonObject,
  type JsonValue,
  type Message,
  toJson,
} from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../../api/api-registry.ts';
import { wholeBootstrap } from '../../../config/builders/bootstrap.ts';
import { Regex } from '../../../routing/regex.ts';
import { HostHealth, healthOfFlags } from '../../../upstream/host.ts';
import { DEFAULT_OVERPROVISIONING } from '../../../upstream/priority-set.ts';
import type { ClusterPolicy } from '../../../worker/messages.ts';
import type { Server } from '../../server.ts';
import type { ClusterUpdates, ClusterVersion } from '../../updates/cluster-updates.ts';
import type { ListenerUpdates, ListenerVersion } from '../../updates/listener-updates.ts';
import { type AdminRequest, type AdminResponse, json } from '../admin-request.ts';
import { type ClusterHost, clusterMembers, localityJson } from './clusters.ts';
import { addressJson } from './listeners.ts';
import { nodeJson } from './node-identity.ts';

const ADMIN = 'envoy.admin.v3';
const TYPE_PREFIX = 'type.googleapis.com/';
const HCM = `${TYPE_PREFIX}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`;

/** One message of the dump. */
interface Dump {
  readonly type: string;
  readonly content: JsonObject;
}

class DumpRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** `/config_dump`: envoy.admin.v3.ConfigDump as proto JSON, with sensitive fields redacted. */
export async function configDump(server: Server, request: AdminRequest): Promise<AdminResponse> {
  try {
    return json(`${JSON.stringify(await buildDump(server, request), null, 1)}\n`);
  } catch (error) {
    if (!(error instanceof DumpRefusal)) throw error;
    return { status: error.status, contentType: 'text/plain', body: error.message };
  }
}

async function buildDump(server: Server, request: AdminRequest): Promise<JsonObject> {
  const { query } = request;
  const resource = query.get('resource') ?? '';
  const mask = query.get('mask') ?? '';
  const matches = nameMatcher(query.get('name_regex') ?? '');
  const { api } = server.parts;
  const dumps = await allDumps(server, query.has('include_eds'), matches);
  for (const dump of dumps) redact(api, api.message(dump.type), dump.content);
  const configs: JsonObject[] = [];
  if (resource !== '') {
    const { type, elements } = elementsOf(api, dumps, resource);
    if (mask !== '' && !isValidMask(api, api.message(type)!, mask, elements)) {
      throw new DumpRefusal(400, `FieldMask paths: "${mask}"\n could not be successfully used.`);
    }
    for (const element of elements) configs.push({ '@type': TYPE_PREFIX + type, ...masked(element, mask) });
  } else {
    for (const { type, content } of dumps) {
      if (mask !== '' && !isValidMask(api, api.message(type)!, mask, [content])) continue;
      configs.push({ '@type': TYPE_PREFIX + type, ...masked(content, mask) });
    }
    if (mask !== '' && configs.length === 0) {
      throw new DumpRefusal(400, `FieldMask ${mask} could not be successfully applied to any configs.`);
    }
  }
  return configs.length === 0 ? {} : { configs };
}

function nameMatcher(pattern: string): (name: string) => boolean {
  if (pattern === '') return () => true;
  const regex = Regex.compile(pattern);
  if (regex.ok) return (name) => regex.value.test(name);
  throw new DumpRefusal(400, `INVALID_ARGUMENT: Error while parsing name_regex from ${pattern}: ${regex.error}`);
}

// --- what there is to dump ---

async function allDumps(server: Server, includeEds: boolean, matches: (name: string) => boolean): Promise<Dump[]> {
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
    const content = assignment(name, hosts.get(spec.name) ?? [], policies.get(spec.name), hasMetadata);
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

/** What balancers make of all that is known of the host. */
function coarseHealth({ healthFlags }: ClusterHost): string {
  const health = healthOfFlags(healthFlags);
  if (health === HostHealth.Healthy) return 'HEALTHY';
  return health === HostHealth.Degraded ? 'DEGRADED' : 'UNHEALTHY';
}

/** Hosts as Envoy reports them: grouped by priority and locality. */
function assignment(
  name: string,
  hosts: readonly ClusterHost[],
  policy: ClusterPolicy | undefined,
  hasMetadata: boolean,
): JsonObject {
  const groups = new Map<string, ClusterHost[]>();
  for (const host of hosts) {
    const key = `${host.priority}|${JSON.stringify(host.locality)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [host]);
    else group.push(host);
  }
  const endpoints = [...groups.values()].map((group) => ({
    locality: localityJson(group[0]!.locality) as JsonObject,
    lb_endpoints: group.map((host) => ({
      endpoint: {
        address: addressJson(host.address.text) as JsonObject,
        health_check_config: {},
        ...(host.hostname === '' ? {} : { hostname: host.hostname }),
      },
      health_status: coarseHealth(host),
      ...metadataJson(host, hasMetadata),
      load_balancing_weight: host.weight,
    })),
    load_balancing_weight: group[0]!.localityWeight,
    ...(group[0]!.priority === 0 ? {} : { priority: group[0]!.priority }),
  }));
  return {
    cluster_name: name,
    ...(endpoints.length === 0 ? {} : { endpoints }),
    policy: policyJson(policy),
  };
}

function metadataJson({ metadata }: ClusterHost, always: boolean): JsonObject {
  if (Object.keys(metadata).length > 0) return { metadata: { filter_metadata: metadata as unknown as JsonObject } };
  return always ? { metadata: {} } : {};
}

const MILLION = 1_000_000;

function policyJson(policy: ClusterPolicy | undefined): JsonObject {
  if (policy === undefined) return { overprovisioning_factor: DEFAULT_OVERPROVISIONING };
  const { overprovisioningFactor, dropOverload, dropCategory } = policy;
  const drop = {
    ...(dropCategory === '' ? {} : { category: dropCategory }),
    drop_percentage: { numerator: Math.round(dropOverload * MILLION), denominator: 'MILLION' },
  };
  return {
    ...(dropOverload > 0 ? { drop_overloads: [drop] } : {}),
    overprovisioning_factor: overprovisioningFactor,
  };
}

// --- resource and mask ---

function elementsOf(
  api: ApiRegistry,
  dumps: readonly Dump[],
  resource: string,
): { type: string; elements: readonly JsonObject[] } {
  for (const dump of dumps) {
    const field = api.message(dump.type)?.fields.find((each) => each.name === resource);
    if (field === undefined) continue;
    if (field.fieldKind !== 'list' || field.listKind !== 'message') {
      throw new DumpRefusal(400, `${resource} is not a repeated field. Use ?mask=${resource} to get only this field`);
    }
    return { type: field.message.typeName, elements: (dump.content[resource] as JsonObject[] | undefined) ?? [] };
  }
  throw new DumpRefusal(404, `${resource} not found in config dump`);
}

/** A path may go through singular messages only; what an Any holds counts as its fields. */
function isValidMask(api: ApiRegistry, desc: DescMessage, mask: string, samples: readonly JsonObject[]): boolean {
  return mask.split(',').every((path) => isValidPath(api, desc, path.split('.'), samples));
}

function isValidPath(
  api: ApiRegistry,
  desc: DescMessage | undefined,
  path: readonly string[],
  samples: readonly (JsonObject | undefined)[],
): boolean {
  const [name, ...rest] = path;
  if (name === undefined) return true;
  const field = desc?.fields.find((each) => each.name === name);
  if (field === undefined) return false;
  if (rest.length === 0) return true;
  if (field.fieldKind !== 'message') return false;
  const inner = samples.map((sample) => sample?.[name] as JsonObject | undefined);
  if (field.message.typeName !== 'google.protobuf.Any') return isValidPath(api, field.message, rest, inner);
  const types = new Set(inner.flatMap((sample) => (sample === undefined ? [] : [String(sample['@type'])])));
  return [...types].every((type) => isValidPath(api, api.byTypeUrl(type), rest, inner));
}

/** The parts of `content` that the mask names; all of it without a mask. */
function masked(content: JsonObject, mask: string): JsonObject {
  if (mask === '') return content;
  let out: JsonObject = {};
  for (const path of mask.split(',')) out = merge(out, pick(content, path.split('.')));
  return out;
}

function pick(content: JsonObject, path: readonly string[]): JsonObject {
  const [name, ...rest] = path;
  const value = content[name!];
  const type: JsonObject = content['@type'] === undefined ? {} : { '@type': content['@type'] };
  if (value === undefined) return type;
  return { ...type, [name!]: rest.length === 0 ? value : pick(value as JsonObject, rest) };
}

function merge(into: JsonObject, from: JsonObject): JsonObject {
  const out: JsonObject = { ...into };
  for (const [key, value] of Object.entries(from)) {
    const present = out[key];
    const both = isObject(present) && isObject(value);
    out[key] = both ? merge(present, value) : value;
  }
  return out;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// --- redaction ---

const REDACTED = '[redacted]';
const REDACTED_BYTES = Buffer.from(REDACTED).toString('base64');

/** Overwrites fields that the API marks as sensitive (`udpa.annotations.sensitive`), in place. */
function redact(api: ApiRegistry, desc: DescMessage | undefined, content: JsonObject): void {
  const type = content['@type'];
  const own = typeof type === 'string' ? api.byTypeUrl(type) : desc;
  if (own === undefined || own.typeName === 'google.protobuf.Struct') return;
  const typed = own.typeName === 'udpa.type.v1.TypedStruct' || own.typeName === 'xds.type.v3.TypedStruct';
  if (typed && typeof content.type_url === 'string' && isObject(content.value)) {
    redact(api, api.byTypeUrl(content.type_url), content.value);
    return;
  }
  const sensitive = api.extension('udpa.annotations.sensitive');
  for (const field of own.fields) {
    const value = content[field.name];
    if (value === undefined || value === null) continue;
    if (getOption(field, sensitive) === true) content[field.name] = redacted(value);
    else if (field.message !== undefined) redactChildren(api, field.message, field.fieldKind === 'map', value);
  }
}

function redactChildren(api: ApiRegistry, desc: DescMessage, isMap: boolean, value: JsonValue): void {
  const items = Array.isArray(value) ? value : isMap && isObject(value) ? Object.values(value) : [value];
  for (const item of items) if (isObject(item)) redact(api, desc, item);
}

function redacted(value: JsonValue): JsonValue {
  if (typeof value === 'string') return REDACTED;
  if (Array.isArray(value)) return value.map(redacted);
  if (!isObject(value)) return typeof value === 'number' ? 0 : typeof value === 'boolean' ? false : value;
  const out: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    // Bytes stay bytes, in base64.
    out[key] = key === '@type' ? item : key === 'inline_bytes' ? REDACTED_BYTES : redacted(item);
  }
  return out;
}
