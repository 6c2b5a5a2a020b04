import type { Message } from '@bufbuild/protobuf';
import type { Metadata } from '../../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { TlvEntry } from '../../../api/gen/envoy/config/core/v3/proxy_protocol_pb.d.ts';
import type {
  TcpProxy_TunnelingConfig,
  TcpProxy as TcpProxyMessage,
} from '../../../api/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.d.ts';
import type { MetadataStruct } from '../../../base/connection-state.ts';
import { MetadataCriteria } from '../../../base/metadata-criteria.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { ACCESS_LOG_SUPPORT, buildAccessLogs } from '../../../config/builders/access-log.ts';
import { CONFIG_SOURCE_SUPPORT } from '../../../config/builders/config-source.ts';
import { buildDemandSource } from '../../../config/builders/demand-source.ts';
import { durationMs, durationMsOr } from '../../../config/builders/durations.ts';
import {
  buildFormatters,
  buildSubstitutionFormat,
  buildTextFormat,
  FORMAT_SUPPORT,
} from '../../../config/builders/format.ts';
import { buildHeaderMutation, HEADER_MUTATION_SUPPORT } from '../../../config/builders/route-config-headers.ts';
import { buildRequestIdOptions } from '../../../config/builders/tracing.ts';
import type { ExtensionFactory, FieldSupport } from '../../../config/extension-registry.ts';
import type { NetworkFilter, NetworkFilterBuilder } from '../../../net/filter.ts';
import type { ConnectionContext, WorkerEnvironment } from '../../../pipeline/environment.ts';
import type { TunnelConfig } from '../../../pipeline/tcp/http-tunnel.ts';
import { TcpProxy } from '../../../pipeline/tcp/tcp-proxy.ts';
import {
  TCP_ON_DEMAND_STATS,
  TCP_PROXY_STATS,
  type TcpConnectMode,
  type TcpProxyConfig,
  type TcpProxyTlv,
  type TcpWeightedCluster,
  type TlvMergePolicy,
} from '../../../pipeline/tcp/tcp-proxy-config.ts';
import { HeaderMutations } from '../../../routing/header-mutation.ts';

const NAME = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const DEFAULT_IDLE_TIMEOUT_MS = 3_600_000;

const TCP_PROXY_SUPPORT: readonly FieldSupport[] = [
  {
    message: NAME,
    fields:
      'stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts backoff_options hash_policy ' +
      'max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage ' +
      'access_log_flush_interval flush_access_log_on_connected access_log_options tunneling_config metadata_match ' +
      'proxy_protocol_tlvs proxy_protocol_tlv_merge_policy upstream_connect_mode max_early_data_bytes check_drain_close on_demand',
    // Of no effect in Envoy either: its API calls them not implemented.
    inert: 'downstream_idle_timeout upstream_idle_timeout',
  },
  {
    message: `${NAME}.TunnelingConfig`,
    fields:
      'hostname use_post post_path headers_to_add propagate_response_headers propagate_response_trailers formatters ' +
      'request_id_extension request_id_header request_id_metadata_key',
  },
  ...HEADER_MUTATION_SUPPORT,
  { message: `${NAME}.OnDemand`, fields: 'odcds_config timeout', refused: 'resources_locator' },
  ...CONFIG_SOURCE_SUPPORT,
  { message: `${NAME}.WeightedCluster`, fields: '*' },
  { message: `${NAME}.WeightedCluster.ClusterWeight`, fields: 'name weight metadata_match' },
  { message: `${NAME}.TcpAccessLogOptions`, fields: '*' },
  { message: 'envoy.config.core.v3.TlvEntry', fields: '*' },
  ...FORMAT_SUPPORT,
  { message: 'envoy.config.core.v3.BackoffStrategy', fields: '*' },
  { message: 'envoy.type.v3.HashPolicy', fields: 'source_ip' },
  { message: 'envoy.type.v3.HashPolicy.SourceIp', fields: '*' },
  { message: 'envoy.type.v3.Percent', fields: '*' },
  ...ACCESS_LOG_SUPPORT,
];

class TcpProxyBuilder implements NetworkFilterBuilder<ConnectionContext> {
  readonly isTerminal = true;
  readonly #make: (environment: WorkerEnvironment) => TcpProxyConfig;
  #config: TcpProxyConfig | null = null;

  constructor(make: (environment: WorkerEnvironment) => TcpProxyConfig) {
    this.#make = make;
  }

  createFilter(context: ConnectionContext): NetworkFilter {
    this.#config ??= this.#make(context.environment);
    return new TcpProxy(this.#config, context);
  }
}

function buildTunnel(context: BuildContext, message: TcpProxy_TunnelingConfig): TunnelConfig | null {
  if (!message.usePost && message.postPath !== '') {
    context.refuse('post_path', "Can't set a post path when POST method isn't used", 'set use_post');
  }
  // Only one kind of ids is known; what it says of tracing does not matter where nothing is traced.
  if (message.requestIdExtension !== undefined) buildRequestIdOptions(context, message.requestIdExtension);
  const formatters = buildFormatters(context, 'formatters', message.formatters);
  if (formatters === null) return null;
  const hostname = buildTextFormat(context, 'hostname', message.hostname, false, formatters);
  if (hostname === null) return null;
  const additions = message.headersToAdd
    .map((header, index) => buildHeaderMutation(context, `headers_to_add[${index}]`, header, formatters))
    .filter((header) => header !== null);
  return {
    hostname,
    usePost: message.usePost,
    postPath: message.postPath === '' ? '/' : message.postPath,
    headersToAdd: new HeaderMutations([], additions),
    requestId:
      message.requestIdExtension === undefined
        ? null
        : {
            header: message.requestIdHeader === '' ? 'x-request-id' : message.requestIdHeader.toLowerCase(),
            metadataKey: message.requestIdMetadataKey === '' ? 'tunnel_request_id' : message.requestIdMetadataKey,
          },
    propagateResponseHeaders: message.propagateResponseHeaders,
    propagateResponseTrailers: message.propagateResponseTrailers,
  };
}

/** @returns null where one was refused */
function buildTlv(context: BuildContext, { type, value, formatString }: TlvEntry): TcpProxyTlv | null {
  const oneOf = "only one of 'value' or 'format_string' may be set";
  if (formatString !== undefined && value.length > 0) {
    context.refuse('format_string', `Invalid TLV configuration: ${oneOf}.`);
    return null;
  }
  if (formatString !== undefined) {
    const format = buildSubstitutionFormat(context.at('format_string'), formatString);
    return format === null ? null : { type: type & 0xff, value: format };
  }
  if (value.length > 0) return { type: type & 0xff, value };
  context.refuse('', "Invalid TLV configuration: one of 'value' or 'format_string' must be set.");
  return null;
}

function lbFields(metadata: Metadata | undefined): MetadataStruct | null {
  const fields = metadata?.filterMetadata['envoy.lb'];
  return fields === undefined ? null : (fields as MetadataStruct);
}

function build(message: TcpProxyMessage, context: BuildContext): TcpProxyBuilder | null {
  const before = context.errorCount;
  let cluster = '';
  let weighted: TcpWeightedCluster[] = [];
  const own = MetadataCriteria.of(lbFields(message.metadataMatch));
  const names = context.shared.clusterNames;
  const specifier = message.clusterSpecifier;
  if (specifier.case === 'cluster') {
    cluster = specifier.value;
  } else if (specifier.case === 'weightedClusters') {
    weighted = specifier.value.clusters.map(({ name, weight, metadataMatch }) => {
      const more = lbFields(metadataMatch);
      const criteria = own === null || more === null ? MetadataCriteria.of(more) : own.merge(more);
      return { name, weight, metadataMatch: criteria ?? own };
    });
  }
  const backoff = message.backoffOptions;
  const baseMs = durationMsOr(backoff?.baseInterval, 0);
  const maxMs = backoff?.maxInterval === undefined ? baseMs * 10 : durationMs(backoff.maxInterval);
  if (backoff !== undefined && maxMs < baseMs) {
    context.refuse('backoff_options.max_interval', 'max_interval must be greater than or equal to base_interval');
  }
  const tunneling = message.tunnelingConfig;
  const tunnel = tunneling === undefined ? null : buildTunnel(context.at('tunneling_config'), tunneling);
  const tlvs = message.proxyProtocolTlvs
    .map((tlv, index) => buildTlv(context.at(`proxy_protocol_tlvs[${index}]`), tlv))
    .filter((tlv) => tlv !== null);
  if (message.upstreamConnectMode !== 0 && message.maxEarlyDataBytes === undefined) {
    context.refuse(
      'upstream_connect_mode',
      'max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE',
      'set max_early_data_bytes; 0 reads nothing beyond the first bytes',
    );
  }
  const loggers = buildAccessLogs(context, 'access_log', message.accessLog);
  const { onDemand } = message;
  const demand =
    onDemand === undefined
      ? null
      : buildDemandSource(
          context.at('on_demand'),
          'odcds_config',
          onDemand.odcdsConfig,
          onDemand.resourcesLocator,
          onDemand.timeout,
        );
  if (context.errorCount > before) return null;
  if (names !== null) {
    for (const name of cluster === '' ? weighted.map((each) => each.name) : [cluster]) {
      if (!names.has(name)) context.warn('', `there is no cluster ${JSON.stringify(name)} yet: connections are closed`);
    }
  }
  const stats = TCP_PROXY_STATS.create(context.shared.stats, `tcp.${message.statPrefix}`);
  const demandStats =
    demand === null ? null : TCP_ON_DEMAND_STATS.create(context.shared.stats, `tcp.${message.statPrefix}`);
  const options = message.accessLogOptions;
  return new TcpProxyBuilder((environment) => ({
    stats,
    onDemand: demand === null || demandStats === null ? null : { ...demand, stats: demandStats },
    cluster,
    weightedClusters: weighted,
    metadataMatch: own,
    totalWeight: weighted.reduce((sum, each) => sum + each.weight, 0),
    idleTimeoutMs: Math.trunc(durationMsOr(message.idleTimeout, DEFAULT_IDLE_TIMEOUT_MS)),
    maxConnectAttempts: message.maxConnectAttempts ?? 1,
    backoff: backoff === undefined ? null : { baseMs, maxMs },
    maxConnectionDurationMs: durationMsOr(message.maxDownstreamConnectionDuration, 0),
    maxConnectionDurationJitter: (message.maxDownstreamConnectionDurationJitterPercentage?.value ?? 0) / 100,
    hashBySourceIp: message.hashPolicy.some((policy) => policy.policySpecifier.case === 'sourceIp'),
    accessLoggers: loggers.map((make) => make(environment)),
    accessLogFlushIntervalMs: durationMsOr(options?.accessLogFlushInterval ?? message.accessLogFlushInterval, 0),
    tunnel,
    accessLogOnConnected: options?.flushAccessLogOnConnected ?? message.flushAccessLogOnConnected,
    accessLogOnStart: options?.flushAccessLogOnStart ?? false,
    connectMode: message.upstreamConnectMode as TcpConnectMode,
    maxEarlyDataBytes: message.maxEarlyDataBytes ?? null,
    checkDrainClose: message.checkDrainClose ?? false,
    proxyProtocolTlvs: tlvs,
    tlvMergePolicy: message.proxyProtocolTlvMergePolicy as TlvMergePolicy,
  }));
}

/** envoy.filters.network.tcp_proxy: a thin factory over `pipeline/tcp`. */
export const tcpProxy: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.tcp_proxy',
  aliases: ['envoy.tcp_proxy'],
  configType: NAME,
  support: TCP_PROXY_SUPPORT,
  build: (config: Message, context) => build(config as TcpProxyMessage, context),
};
