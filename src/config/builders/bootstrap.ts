import { createHash } from 'node:crypto';
import { create, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import type { InternalListener } from '../../api/gen/envoy/extensions/bootstrap/internal_listener/v3/internal_listener_pb.d.ts';
import type { Address } from '../../net/address.ts';
import type { SocketOption } from '../../net/transport.ts';
import type { StringMatcher } from '../../routing/string-matcher.ts';
import type { Tag } from '../../stats/tag-extraction.ts';
import { type ClusterFacts, factsOf } from '../../upstream/cluster-spec.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { type AccessLoggerMaker, buildAccessLogs } from './access-log.ts';
import { buildAddress } from './addresses.ts';
import { type ApiSourceSpec, buildApiSource } from './api-config-source.ts';
import { buildCluster } from './cluster.ts';
import {
  buildConfigSource,
  buildListenerSource,
  CONFIG_SOURCE_SUPPORT,
  checkNode,
  type SourceSpec,
} from './config-source.ts';
import { durationMsOr } from './durations.ts';
import { buildListener, type ListenerSpec } from './listener.ts';
import { buildStringMatcher } from './route-config-matchers.ts';
import { buildRuntimeLayers, RUNTIME_SUPPORT, type RuntimeLayerSpec } from './runtime.ts';
import { buildSocketOptions } from './socket-options.ts';
import { buildStatsConfig, STATS_CONFIG_SUPPORT, type StatsSpec } from './stats-config.ts';
import { TLS_SUPPORT } from './tls-context.ts';
import { buildTracer } from './tracing.ts';

const BOOTSTRAP = 'envoy.config.bootstrap.v3';

export const BOOTSTRAP_SUPPORT: readonly FieldSupport[] = [
  {
    message: `${BOOTSTRAP}.Bootstrap`,
    fields: `node static_resources dynamic_resources cluster_manager admin layered_runtime stats_config stats_sinks
      stats_flush_interval stats_flush_on_admin stats_server_version_override default_regex_engine
      application_log_config bootstrap_extensions tracing`,
    // Files of flags, traces and allocator settings of a C++ process; parameters of xDS sources that are refused.
    inert: `flags_path node_context_params perf_tracing_file_path memory_allocator_manager
      grpc_async_client_manager_config`,
  },
  { message: 'envoy.config.trace.v3.Tracing', fields: '*' },
  { message: 'envoy.extensions.bootstrap.internal_listener.v3.InternalListener', fields: '*' },
  { message: `${BOOTSTRAP}.Bootstrap.StaticResources`, fields: 'listeners clusters secrets' },
  ...TLS_SUPPORT,
  { message: `${BOOTSTRAP}.Bootstrap.DynamicResources`, fields: 'lds_config cds_config ads_config' },
  ...CONFIG_SOURCE_SUPPORT,
  { message: `${BOOTSTRAP}.Bootstrap.ApplicationLogConfig`, fields: '*' },
  { message: `${BOOTSTRAP}.Bootstrap.ApplicationLogConfig.LogFormat`, fields: '*' },
  { message: `${BOOTSTRAP}.ClusterManager`, fields: 'load_stats_config', inert: 'enable_deferred_cluster_creation' },
  {
    message: `${BOOTSTRAP}.Admin`,
    fields: 'address access_log_path access_log socket_options allow_paths',
    // Admin is served by the main thread, whose connections never count against the workers' limit.
    inert: 'profile_path ignore_global_conn_limit',
  },
  { message: 'envoy.config.core.v3.Node', fields: '*' },
  { message: 'envoy.config.core.v3.Locality', fields: '*' },
  { message: 'envoy.config.core.v3.Metadata', fields: '*' },
  { message: 'envoy.config.core.v3.BuildVersion', fields: '*' },
  { message: 'envoy.config.core.v3.Extension', fields: '*' },
  { message: 'envoy.type.v3.SemanticVersion', fields: '*' },
  { message: 'envoy.extensions.regex_engines.v3.GoogleRE2', fields: '*' },
  ...RUNTIME_SUPPORT,
  ...STATS_CONFIG_SUPPORT,
];

export interface AdminSpec {
  readonly address: Address;
  readonly socketOptions: readonly SocketOption[];
  readonly accessLoggers: readonly AccessLoggerMaker[];
  /** Paths that are served; null: all. */
  readonly allowPaths: readonly StringMatcher[] | null;
}

/** How the application log is written, when the configuration and not the command line says so. */
export interface ApplicationLogSpec {
  /** A spdlog pattern. */
  readonly pattern: string;
}

/** A resource of the configuration: how main checks it, and how it reaches the workers. */
export interface StaticResource<Spec> {
  readonly name: string;
  readonly spec: Spec;
  /** The encoded message. */
  readonly bytes: Uint8Array;
}

/** A bootstrap that can run. */
export interface BootstrapPlan {
  /** Its clusters may be many: they are kept encoded alone, in `clusters`. See {@link wholeBootstrap}. */
  readonly message: Bootstrap;
  readonly admin: AdminSpec | null;
  readonly clusters: readonly StaticResource<ClusterFacts>[];
  readonly listeners: readonly StaticResource<ListenerSpec>[];
  readonly statsFlushIntervalMs: number;
  /** Flush when stats are asked for, instead of by time. */
  readonly statsFlushOnAdmin: boolean;
  readonly stats: StatsSpec;
  /** `server.version`; null: the build's. */
  readonly statsServerVersion: number | null;
  readonly runtimeLayers: readonly RuntimeLayerSpec[];
  readonly applicationLog: ApplicationLogSpec | null;
  /** `dynamic_resources.lds_config`; null: none. */
  readonly listenerSource: SourceSpec | null;
  readonly clusterSource: SourceSpec | null;
  readonly ads: ApiSourceSpec | null;
  /** Who is told of the load; null: nobody. */
  readonly loadReports: ApiSourceSpec | null;
  /** `tracing.http`, encoded: for connection managers that name no tracer; null: none. */
  readonly defaultTracer: Uint8Array | null;
  /** How much may be on its way on a connection to an internal listener, each way. */
  readonly internalBufferBytes: number;
}

/** What of the command line has a say in building. */
export interface BootstrapSettings {
  /** `--stats-tag`. */
  readonly statsTags: readonly Tag[];
  /** `--service-node` and `--service-cluster`, which are put above what `node` says; empty or absent: not given. */
  readonly serviceNode?: string;
  readonly serviceCluster?: string;
  /** `--mode validate`. */
  readonly onlyValidates?: boolean;
}

/** The message with its clusters. */
export function wholeBootstrap({ message, clusters }: BootstrapPlan, api: ApiRegistry): Bootstrap {
  const { staticResources } = message;
  if (staticResources === undefined || clusters.length === 0) return message;
  const type = api.message('envoy.config.cluster.v3.Cluster')!;
  const decoded = clusters.map(({ bytes }) => fromBinary(type, bytes) as Cluster);
  return { ...message, staticResources: { ...staticResources, clusters: decoded } };
}

/**
 * Builds everything dry: with no sockets and no threads.
 * @param clusterMessages those of the message, which need not stand in it: each is let go as soon as it is built
 * @returns null when errors were reported
 */
export function buildBootstrap(
  context: BuildContext,
  message: Bootstrap,
  clusterMessages: Iterable<Cluster>,
  settings: BootstrapSettings = { statsTags: [] },
): BootstrapPlan | null {
  const before = context.errorCount;
  if (message.statsFlushInterval !== undefined && message.statsFlush.case === 'statsFlushOnAdmin') {
    context.refuse(
      'stats_flush_on_admin',
      'Only one of stats_flush_interval or stats_flush_on_admin should be set!',
      'take one of them out',
    );
  }
  refuseWholeFields(context, message);
  const internalBufferBytes = buildExtensions(context, message);
  const clusters: StaticResource<ClusterFacts>[] = [];
  const listeners: StaticResource<ListenerSpec>[] = [];
  const clusterType = context.shared.api.message('envoy.config.cluster.v3.Cluster')!;
  const listenerType = context.shared.api.message('envoy.config.listener.v3.Listener')!;
  const seenClusters = new Set<string>();
  let index = 0;
  for (const cluster of clusterMessages) {
    const at = context.at(`static_resources.clusters[${index}]`);
    index++;
    if (seenClusters.has(cluster.name)) at.refuse('name', `duplicate cluster name '${cluster.name}'`);
    seenClusters.add(cluster.name);
    const spec = buildCluster(at, cluster);
    if (spec !== null)
      clusters.push({ name: cluster.name, spec: factsOf(spec), bytes: toBinary(clusterType, cluster) });
  }
  const seenListeners = new Set<string>();
  const seenAddresses = new Map<string, string>();
  const nameless = new Map<string, number>();
  message.staticResources?.listeners.forEach((configured, index) => {
    const at = context.at(`static_resources.listeners[${index}]`);
    const listener = configured.name === '' ? { ...configured, name: idOf(context, configured, nameless) } : configured;
    if (seenListeners.has(listener.name)) at.refuse('name', `duplicate listener name '${listener.name}'`);
    seenListeners.add(listener.name);
    const spec = buildListener(at, listener);
    if (spec === null) return;
    if (spec.internal && internalBufferBytes === 0) {
      at.refuse(
        'internal_listener',
        'InternalListener bootstrap extension is mandatory',
        'bootstrap_extensions: envoy.bootstrap.internal_listener',
      );
    }
    for (const address of spec.addresses) {
      if (!spec.bindToPort || (address.kind === 'ip' && address.port === 0)) continue;
      const other = seenAddresses.get(address.text);
      if (other !== undefined) {
        at.refuse(
          'address',
          `error adding listener: '${listener.name}' has duplicate address '${address.text}' as existing listener`,
          `'${other}' has it`,
        );
      }
      seenAddresses.set(address.text, listener.name);
    }
    listeners.push({ name: listener.name, spec, bytes: toBinary(listenerType, listener) });
  });
  const admin = buildAdmin(context, message);
  const runtimeLayers = buildRuntimeLayers(context, message.layeredRuntime);
  const stats = buildStatsConfig(context.at('stats_config'), message.statsConfig, settings.statsTags);
  const applicationLog = buildApplicationLog(message);
  const { ldsConfig, cdsConfig, adsConfig } = message.dynamicResources ?? {};
  const dynamic = context.at('dynamic_resources');
  if (adsConfig !== undefined) checkNode(dynamic, 'ads_config');
  const ads = adsConfig === undefined ? null : buildApiSource(dynamic.at('ads_config'), adsConfig, 'ads');
  const loadStats = message.clusterManager?.loadStatsConfig;
  const manager = context.at('cluster_manager.load_stats_config');
  const loadReports = loadStats === undefined ? null : buildApiSource(manager, loadStats, 'load reports');
  const validates = settings.onlyValidates === true;
  const listenerSource =
    ldsConfig === undefined ? null : buildListenerSource(dynamic, 'lds_config', ldsConfig, validates);
  const clusterSource = cdsConfig === undefined ? null : buildConfigSource(dynamic, 'cds_config', cdsConfig);
  const defaultTracer = buildDefaultTracer(context, message);
  if (context.errorCount > before) return null;
  return {
    message,
    admin,
    clusters,
    listeners,
    statsFlushIntervalMs: durationMsOr(message.statsFlushInterval, 5_000),
    statsFlushOnAdmin: message.statsFlush.case === 'statsFlushOnAdmin' && message.statsFlush.value,
    stats,
    statsServerVersion:
      message.statsServerVersionOverride === undefined ? null : Number(message.statsServerVersionOverride),
    runtimeLayers,
    applicationLog,
    listenerSource,
    clusterSource,
    ads,
    loadReports,
    defaultTracer,
    internalBufferBytes,
  };
}

/** Deprecated, and still honoured by Envoy. @returns it, encoded; null: there is none, or it was refused */
function buildDefaultTracer(context: BuildContext, message: Bootstrap): Uint8Array | null {
  const http = message.tracing?.http;
  if (http === undefined) return null;
  buildTracer(context.at('tracing.http'), http);
  return toBinary(context.shared.api.message('envoy.config.trace.v3.Tracing.Http')!, http);
}

/** Ids are Envoy's way of naming what has no name: others in every process. */
const ID_SEED = crypto.randomUUID();

/** A made-up name, the same one whenever this process reads the same address: an edit elsewhere in the file leaves the listener alone. */
function idOf(context: BuildContext, listener: Listener, seen: Map<string, number>): string {
  const desc = context.shared.api.message('envoy.config.core.v3.Address')!;
  const addresses = [listener.address, ...listener.additionalAddresses.map(({ address }) => address)];
  const place = addresses
    .map((address) => (address === undefined ? '' : Buffer.from(toBinary(desc, address)).toString('hex')))
    .join();
  const count = seen.get(place) ?? 0;
  seen.set(place, count + 1);
  const hash = createHash('sha1').update(`${ID_SEED}|${place}|${count}`).digest('hex');
  return hash.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}

const INTERNAL_LISTENER = 'envoy.extensions.bootstrap.internal_listener.v3.InternalListener';

/** `bootstrap_extensions`. @returns `buffer_size_kb` of internal listeners in bytes; 0: there is no such extension */
function buildExtensions(context: BuildContext, message: Bootstrap): number {
  let bytes = 0;
  message.bootstrapExtensions.forEach((extension, index) => {
    const field = `bootstrap_extensions[${index}]`;
    const config = context.unpack(`${field}.typed_config`, extension.typedConfig);
    if (config === null) return;
    if (config.$typeName === INTERNAL_LISTENER) bytes = ((config as InternalListener).bufferSizeKb ?? 1024) * 1024;
    else context.refuse(field, `bootstrap extension ${config.$typeName} is not supported yet`);
  });
  return bytes;
}

/** Fields that the table of supported fields lets through for the sake of a better message, or of an empty value. */
function refuseWholeFields(context: BuildContext, message: Bootstrap): void {
  message.statsSinks.forEach((sink, index) => {
    context.refuse(
      `stats_sinks[${index}]`,
      `stats sink ${JSON.stringify(sink.name)} is not supported yet`,
      'stats are served by the admin endpoints /stats and /stats/prometheus',
    );
  });
  const engine = message.defaultRegexEngine;
  if (engine?.typedConfig !== undefined && !engine.typedConfig.typeUrl.endsWith(`/${RE2_TYPE}`)) {
    context.refuse('default_regex_engine', `regex engine ${engine.typedConfig.typeUrl} is not supported`, 'RE2 is');
  }
}

const RE2_TYPE = 'envoy.extensions.regex_engines.v3.GoogleRE2';

function buildAdmin(context: BuildContext, message: Bootstrap): AdminSpec | null {
  const { admin } = message;
  if (admin === undefined) return null;
  const at = context.at('admin');
  const accessLoggers = buildAccessLogs(at, 'access_log', admin.accessLog);
  if (admin.accessLogPath !== '') {
    const logger = buildPathLogger(at, admin.accessLogPath);
    if (logger !== null) accessLoggers.push(logger);
  }
  const allowPaths = admin.allowPaths
    .map((matcher, index) => buildStringMatcher(at, `allow_paths[${index}]`, matcher))
    .filter((matcher) => matcher !== null);
  const socketOptions = buildSocketOptions(at, 'socket_options', admin.socketOptions);
  if (admin.address === undefined) return null;
  const address = buildAddress(at, 'address', admin.address);
  if (address === null) return null;
  return { address, socketOptions, accessLoggers, allowPaths: admin.allowPaths.length === 0 ? null : allowPaths };
}

/** The deprecated `access_log_path`: a file logger in the default format. */
function buildPathLogger(context: BuildContext, path: string): AccessLoggerMaker | null {
  const desc = context.shared.api.message('envoy.extensions.access_loggers.file.v3.FileAccessLog');
  const factory = context.shared.extensions.findByName('access-logger', 'envoy.access_loggers.file');
  if (desc === undefined || factory === null) {
    context.refuse('access_log_path', 'there is no file access logger in this build');
    return null;
  }
  const errors = context.errorCount;
  const config = create(desc) as Message & { path: string };
  config.path = path;
  const maker = factory.build(config, context);
  // The logger says `path`: the field that the user wrote has another name.
  const found = context.shared.errors.slice(errors);
  if (found.length > 0) {
    context.shared.errors.length = errors;
    for (const issue of found) context.refuse('access_log_path', issue.reason, issue.hint);
  }
  return maker;
}

function buildApplicationLog(message: Bootstrap): ApplicationLogSpec | null {
  const format = message.applicationLogConfig?.logFormat?.logFormat;
  switch (format?.case) {
    case 'textFormat':
      return { pattern: format.value };
    case 'jsonFormat':
      // The text goes into a JSON string: Envoy puts its escaping flag in its place.
      return { pattern: JSON.stringify(format.value).replaceAll('%v', '%j') };
    default:
      return null;
  }
}
