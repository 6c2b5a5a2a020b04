import type {
  HttpConnectionManager,
  HttpConnectionManager_UpgradeConfig,
  HttpFilter,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import type { Http1CodecStats } from '../../http/h1/http1-options.ts';
import { Http1ServerCodec } from '../../http/h1/server-codec.ts';
import type { Http2CodecStats } from '../../http/h2/http2-stats.ts';
import { Http2ServerCodec } from '../../http/h2/server-codec.ts';
import type { Address } from '../../net/address.ts';
import type { NetworkFilter, NetworkFilterBuilder } from '../../net/filter.ts';
import { type CodecType, speaksHttp2 } from '../../pipeline/codec-choice.ts';
import { HttpConnectionManager as Manager } from '../../pipeline/connection-manager.ts';
import type {
  ConnectionManagerConfig,
  FilterEntry,
  RouteTableSource,
  ServerHeader,
  UpgradeEntry,
} from '../../pipeline/connection-manager-config.ts';
import {
  createConnectionManagerStats,
  createListenerHttpStats,
  createTracingStats,
} from '../../pipeline/connection-manager-stats.ts';
import type { ConnectionContext, RouteTableFeed } from '../../pipeline/environment.ts';
import { isPrivateIp } from '../../pipeline/forwarded-for.ts';
import { HttpDateCache } from '../../pipeline/http-date.ts';
import type { HttpFilterBuilder, HttpFilter as StreamFilter } from '../../pipeline/http-filter.ts';
import { MissingConfigFilter } from '../../pipeline/missing-config-filter.ts';
import { EscapedSlashesAction } from '../../routing/path-normalization.ts';
import type { RouteTable } from '../../routing/route-table.ts';
import { FractionalPercent, RuntimeFraction } from '../../routing/runtime-fraction.ts';
import { ScopedRoutes } from '../../routing/scoped-routes.ts';
import { createHttp2CodecStats } from '../../upstream/codec-stats.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildAccessLogs } from './access-log.ts';
import { buildCidrMatcher } from './cidr-ranges.ts';
import { buildClientCertMatcher, CLIENT_CERT_SUPPORT, clientCertPolicy } from './client-cert.ts';
import type { RouteDependency } from './config-source.ts';
import { buildDiscovered, type DiscoveredExtension, EXTENSION_SOURCE_SUPPORT } from './discovered-extension.ts';
import { durationMsOr } from './durations.ts';
import { buildHttp1Options } from './http1-options.ts';
import { buildHttp2Options, HTTP2_SUPPORT } from './http2-options.ts';
import { buildLocalReplies } from './local-reply.ts';
import { buildRds, RDS_SUPPORT } from './rds.ts';
import { buildRouteTable } from './route-config.ts';
import { refuseDatagrams } from './route-config-policies.ts';
import { type BuiltScopes, buildScopedRoutes, SCOPED_ROUTES_SUPPORT } from './scoped-routes.ts';
import { buildRequestIdOptions, buildTracing, TRACING_SUPPORT } from './tracing.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3';

export const CONNECTION_MANAGER_SUPPORT: readonly FieldSupport[] = [
  {
    message: `${HCM}.HttpConnectionManager`,
    fields: `codec_type stat_prefix route_config rds scoped_routes http_filters add_user_agent common_http_protocol_options
      http_protocol_options http2_protocol_options server_name server_header_transformation scheme_header_transformation
      max_request_headers_kb stream_idle_timeout stream_flush_timeout request_timeout request_headers_timeout drain_timeout
      delayed_close_timeout access_log access_log_flush_interval flush_access_log_on_new_request access_log_options
      use_remote_address xff_num_trusted_hops internal_address_config skip_xff_append via generate_request_id
      preserve_external_request_id always_set_request_id_in_response forward_client_cert_details
      set_current_client_cert_details forward_client_cert_matcher proxy_100_continue
      upgrade_configs normalize_path merge_slashes
      path_with_escaped_slashes_action local_reply_config strip_matching_host_port strip_any_host_port
      stream_error_on_invalid_http_message strip_trailing_host_dot append_x_forwarded_port
      original_ip_detection_extensions early_header_mutation_extensions request_id_extension
      http1_safe_max_connection_duration forward_proto_config drain_timeout_jitter tracing`,
    // Of HTTP/2 alone; of TLS and PROXY, which are refused where they are asked for; of the overload manager likewise.
    // Envoy 1.40 itself reads the last one and the path's options nowhere.
    inert: `add_proxy_protocol_connection_state path_normalization_options
      append_local_overload represent_ipv4_remote_address_as_ipv4_mapped_ipv6`,
  },
  { message: `${HCM}.HttpConnectionManager.HcmAccessLogOptions`, fields: '*' },
  { message: `${HCM}.HttpConnectionManager.InternalAddressConfig`, fields: '*' },
  { message: `${HCM}.HttpConnectionManager.UpgradeConfig`, fields: '*' },
  { message: `${HCM}.HttpFilter`, fields: 'name typed_config config_discovery is_optional disabled' },
  ...EXTENSION_SOURCE_SUPPORT,
  {
    message: 'envoy.config.core.v3.HttpProtocolOptions',
    fields: `idle_timeout max_connection_duration max_connection_duration_jitter max_headers_count max_stream_duration
      headers_with_underscores_action max_requests_per_connection max_response_headers_kb`,
  },
  { message: 'envoy.config.core.v3.SchemeHeaderTransformation', fields: 'scheme_to_overwrite' },
  { message: `${HCM}.ForwardProtoConfig`, fields: '*' },
  { message: `${HCM}.RequestIDExtension`, fields: '*' },
  ...CLIENT_CERT_SUPPORT,
  ...HTTP2_SUPPORT,
  ...TRACING_SUPPORT,
  ...RDS_SUPPORT,
  ...SCOPED_ROUTES_SUPPORT,
];

/** What one worker shares over all connections of one connection manager. */
type ConfigMaker = (context: ConnectionContext) => ConnectionManagerConfig;

class ConnectionManagerBuilder implements NetworkFilterBuilder<ConnectionContext> {
  readonly isTerminal = true;
  readonly #make: ConfigMaker;
  #config: ConnectionManagerConfig | null = null;

  constructor(make: ConfigMaker) {
    this.#make = make;
  }

  createFilter(context: ConnectionContext): NetworkFilter {
    this.#config ??= this.#make(context);
    return new Manager(this.#config, context);
  }
}

/** @returns null when errors were reported */
export function buildConnectionManager(
  context: BuildContext,
  message: HttpConnectionManager,
): NetworkFilterBuilder<ConnectionContext> | null {
  const before = context.errorCount;
  if (message.codecType === 3) {
    context.refuse('codec_type', 'HTTP/3 is not supported yet', 'use AUTO, HTTP1 or HTTP2');
  }
  const scope = context.shared.stats.createScope(`http.${message.statPrefix}.`);
  const inner = context.withStats(scope);
  const filters = buildFilters(inner, 'http_filters', message.httpFilters);
  const upgrades = message.upgradeConfigs.map((upgrade, index) => buildUpgrade(inner, index, upgrade));
  checkUpgradeNames(context, message.upgradeConfigs);
  let table: RouteTable | null = null;
  let discovered: RouteDependency | null = null;
  let scoped: BuiltScopes | null = null;
  switch (message.routeSpecifier.case) {
    case 'routeConfig':
      table = buildRouteTable(inner.at('route_config'), message.routeSpecifier.value);
      break;
    case undefined:
      context.refuse('route_config', 'a route table is missing', 'give route_config');
      break;
    case 'rds':
      discovered = buildRds(context.at('rds'), message.routeSpecifier.value, message.statPrefix);
      break;
    default:
      scoped = buildScopedRoutes(inner.at('scoped_routes'), message.routeSpecifier.value, message.statPrefix);
  }
  const loggers = buildAccessLogs(context, 'access_log', message.accessLog);
  const localReplies = buildLocalReplies(context, 'local_reply_config', message.localReplyConfig);
  const common = message.commonHttpProtocolOptions;
  const http1 = {
    ...buildHttp1Options(
      context.at('http_protocol_options'),
      message.httpProtocolOptions,
      common,
      message.maxRequestHeadersKb ?? 60,
    ),
    streamErrorOnInvalidHttpMessage:
      message.httpProtocolOptions?.overrideStreamErrorOnInvalidHttpMessage ??
      message.streamErrorOnInvalidHttpMessage ??
      false,
    // Envoy checks the scheme of absolute targets where nobody in front of it is trusted.
    validateScheme: (message.useRemoteAddress ?? false) && message.xffNumTrustedHops === 0,
  };
  const streamIdleTimeoutMs = durationMsOr(message.streamIdleTimeout, 300_000);
  const http2 = {
    ...buildHttp2Options(
      context.at('http2_protocol_options'),
      message.http2ProtocolOptions,
      common,
      message.maxRequestHeadersKb ?? 60,
      message.streamErrorOnInvalidHttpMessage ?? null,
    ),
    streamFlushTimeoutMs: durationMsOr(message.streamFlushTimeout, streamIdleTimeoutMs),
  };
  const isInternalAddress = internalAddresses(context, message);
  const ipDetections = message.originalIpDetectionExtensions.map((extension, index) =>
    inner.shared.extensions.build(
      'original-ip-detection',
      inner.at(`original_ip_detection_extensions[${index}]`),
      'typed_config',
      extension.name,
      extension.typedConfig,
    ),
  );
  if (ipDetections.length > 0 && message.useRemoteAddress === true) {
    context.refuse(
      'original_ip_detection_extensions',
      'Original IP detection extensions and use_remote_address may not be mixed',
    );
  }
  if (ipDetections.length > 0 && message.xffNumTrustedHops > 0) {
    context.refuse(
      'original_ip_detection_extensions',
      'Original IP detection extensions and xff_num_trusted_hops may not be mixed',
    );
  }
  const earlyMutations = message.earlyHeaderMutationExtensions.map((extension, index) =>
    inner.shared.extensions.build(
      'early-header-mutation',
      inner.at(`early_header_mutation_extensions[${index}]`),
      'typed_config',
      extension.name,
      extension.typedConfig,
    ),
  );
  if (message.stripMatchingHostPort && message.stripPortMode.case === 'stripAnyHostPort') {
    context.refuse(
      'strip_matching_host_port',
      'Cannot enable both `strip_matching_host_port` and `strip_any_host_port`.',
    );
  }
  const requestId = buildRequestIdOptions(context, message.requestIdExtension);
  const makeTracing = buildTracing(context.at('tracing'), message.tracing, requestId);
  const clientCertMatcher = buildClientCertMatcher(context, message.forwardClientCertMatcher);
  const { runtime } = context.shared;
  if (context.errorCount > before || filters === null || (table === null && discovered === null && scoped === null))
    return null;

  const stats = createConnectionManagerStats(scope);
  const clientCert = clientCertPolicy(message.forwardClientCertDetails, message.setCurrentClientCertDetails);
  const tracingStats = createTracingStats(scope);
  const codecStats: Http1CodecStats = {
    droppedHeadersWithUnderscores: context.shared.stats.counter('http1.dropped_headers_with_underscores'),
    requestsRejectedWithUnderscoresInHeaders: context.shared.stats.counter(
      'http1.requests_rejected_with_underscores_in_headers',
    ),
    metadataNotSupportedError: context.shared.stats.counter('http1.metadata_not_supported_error'),
    responseFlood: context.shared.stats.counter('http1.response_flood'),
  };
  const listenerStats = createListenerHttpStats(context.stats.createScope(`http.${message.statPrefix}.`));
  const fixedRoutes = { current: () => table };
  const routesOf = (feed: RouteTableFeed): RouteTableSource => {
    if (discovered !== null) return feed.source(discovered.key);
    if (scoped === null) return fixedRoutes;
    const scopes = scoped.kind === 'fixed' ? scoped.scopes : feed.scopes(scoped.key);
    const choice = new ScopedRoutes(scoped.fragments, scopes);
    return { current: () => choice };
  };
  const options = message.accessLogOptions;
  const slashes = {
    normalizePath: false,
    mergeSlashes: message.mergeSlashes,
    escapedSlashes: (message.pathWithEscapedSlashesAction === 0
      ? EscapedSlashesAction.KeepUnchanged
      : message.pathWithEscapedSlashesAction) as EscapedSlashesAction,
  };
  const nothingToDo = !slashes.mergeSlashes && slashes.escapedSlashes === EscapedSlashesAction.KeepUnchanged;
  const normalize = message.normalizePath;
  const normalizePath =
    normalize === false
      ? null
      : new RuntimeFraction(
          normalize === true ? FractionalPercent.ALWAYS : FractionalPercent.NEVER,
          normalize === true ? '' : 'http_connection_manager.normalize_path',
          runtime,
        );
  const overwrite = message.schemeHeaderTransformation?.transformation;
  return new ConnectionManagerBuilder((connectionContext) => {
    const { environment } = connectionContext;
    let http2Stats: Http2CodecStats | null = null;
    return {
      statPrefix: message.statPrefix,
      stats,
      listenerStats,
      createCodec: (connection, transport, events) => {
        const isHttp2 = speaksHttp2(connection, message.codecType as CodecType);
        if (isHttp2 === null) return null;
        if (!isHttp2) return new Http1ServerCodec(transport, events, http1, codecStats, connection.isSecure);
        const { dispatcher } = environment;
        http2Stats ??= createHttp2CodecStats(environment.stats);
        return new Http2ServerCodec(transport, events, http2, http2Stats, dispatcher.timers, dispatcher.random);
      },
      routes: routesOf(environment.routeTables),
      filters,
      upgrades: upgrades.filter((upgrade) => upgrade !== null),
      accessLoggers: loggers.map((make) => make(environment)),
      accessLogOnNewRequest: options?.flushAccessLogOnNewRequest ?? message.flushAccessLogOnNewRequest,
      accessLogOnTunnelEstablished: options?.flushLogOnTunnelSuccessfullyEstablished ?? false,
      accessLogFlushIntervalMs: durationMsOr(options?.accessLogFlushInterval ?? message.accessLogFlushInterval, 0),
      localReplies,
      serverName: message.serverName === '' ? 'envoy' : message.serverName,
      serverHeader: message.serverHeaderTransformation as ServerHeader,
      via: message.via,
      schemeOverwrite: overwrite?.case === 'schemeToOverwrite' ? (overwrite.value as 'http' | 'https') : '',
      idleTimeoutMs: durationMsOr(common?.idleTimeout, 3_600_000),
      maxConnectionDurationMs: durationMsOr(common?.maxConnectionDuration, 0),
      maxConnectionDurationJitter: (common?.maxConnectionDurationJitter?.value ?? 0) / 100,
      safeMaxConnectionDuration: message.http1SafeMaxConnectionDuration,
      maxStreamDurationMs: durationMsOr(common?.maxStreamDuration, 0),
      maxRequestsPerConnection: common?.maxRequestsPerConnection ?? 0,
      streamIdleTimeoutMs,
      requestTimeoutMs: durationMsOr(message.requestTimeout, 0),
      requestHeadersTimeoutMs: durationMsOr(message.requestHeadersTimeout, 0),
      drainTimeoutMs: durationMsOr(message.drainTimeout, 5_000),
      drainTimeoutJitter: (message.drainTimeoutJitter?.value ?? 0) / 100,
      delayedCloseTimeoutMs: durationMsOr(message.delayedCloseTimeout, 1_000),
      useRemoteAddress: message.useRemoteAddress ?? false,
      xffNumTrustedHops: message.xffNumTrustedHops,
      skipXffAppend: message.skipXffAppend,
      appendXForwardedPort: message.appendXForwardedPort,
      isInternalAddress,
      ipDetections: ipDetections.filter((detection) => detection !== null),
      earlyHeaderMutations: earlyMutations.filter((mutation) => mutation !== null),
      generateRequestId: message.generateRequestId ?? true,
      preserveExternalRequestId: message.preserveExternalRequestId,
      alwaysSetRequestIdInResponse: message.alwaysSetRequestIdInResponse,
      packTraceReason: requestId.packTraceReason,
      tracingStats,
      tracing:
        makeTracing === null ? null : makeTracing(environment, connectionContext.listener.direction === 'outbound'),
      addUserAgent: message.addUserAgent ?? false,
      forwardProto:
        message.forwardProtoConfig === undefined
          ? null
          : {
              httpsPorts: new Set(message.forwardProtoConfig.httpsDestinationPorts),
              httpPorts: new Set(message.forwardProtoConfig.httpDestinationPorts),
            },
      onDelayedCloseTimeout: () => stats.downstreamCxDelayedCloseTimeout.inc(),
      proxy100Continue: message.proxy100Continue,
      normalizePath,
      pathNormalization: { ...slashes, normalizePath: true },
      pathNormalizationOff: slashes,
      slashesUntouched: nothingToDo,
      stripMatchingPort: message.stripMatchingHostPort,
      stripAnyPort: message.stripPortMode.case === 'stripAnyHostPort' && message.stripPortMode.value,
      stripTrailingHostDot: message.stripTrailingHostDot,
      clientCert,
      clientCertMatcher,
      environment,
      dates: new HttpDateCache(),
      hooksByClass: new Map(),
    };
  });
}

function internalAddresses(context: BuildContext, message: HttpConnectionManager): (address: Address) => boolean {
  const config = message.internalAddressConfig;
  if (config === undefined) return () => false;
  const matches = buildCidrMatcher(context, 'internal_address_config.cidr_ranges', config.cidrRanges);
  // An empty list means the private ranges; without the message nothing is internal.
  const isInternalIp = config.cidrRanges.length === 0 ? isPrivateIp : matches;
  return (address) =>
    address.kind === 'ip' ? isInternalIp(address.ip) : address.kind === 'pipe' && config.unixSockets;
}

function buildUpgrade(
  context: BuildContext,
  index: number,
  message: HttpConnectionManager_UpgradeConfig,
): UpgradeEntry | null {
  const filters =
    message.filters.length === 0 ? null : buildFilters(context, `upgrade_configs[${index}].filters`, message.filters);
  const type = message.upgradeType.toLowerCase();
  const enabled = message.enabled ?? true;
  if (enabled) refuseDatagrams(context, `upgrade_configs[${index}]`, type);
  return { type, enabled, filters };
}

function checkUpgradeNames(context: BuildContext, upgrades: readonly HttpConnectionManager_UpgradeConfig[]): void {
  const seen = new Set<string>();
  upgrades.forEach((upgrade, index) => {
    const name = upgrade.upgradeType.toLowerCase();
    if (seen.has(name)) {
      context.refuse(
        `upgrade_configs[${index}].upgrade_type`,
        `multiple upgrade configs with the same name: '${upgrade.upgradeType}'`,
      );
    }
    seen.add(name);
  });
}

/** An HTTP filter whose configuration is discovered: streams keep the one that they began with. */
class DiscoveredHttpFilter implements HttpFilterBuilder {
  readonly isTerminal: boolean;
  readonly #extension: DiscoveredExtension<'http-filter'>;

  constructor(extension: DiscoveredExtension<'http-filter'>, isTerminal: boolean) {
    this.#extension = extension;
    this.isTerminal = isTerminal;
  }

  createFilter(context: ConnectionContext): StreamFilter | null {
    const { current } = this.#extension;
    return current === null ? new MissingConfigFilter() : current.createFilter(context);
  }
}

function buildFilters(context: BuildContext, field: string, messages: readonly HttpFilter[]): FilterEntry[] | null {
  const entries: FilterEntry[] = [];
  let complete = true;
  if (messages.length === 0) {
    context.warn(
      field,
      'there are no HTTP filters: no request will be answered',
      'the last filter must be terminal: add envoy.filters.http.router',
    );
    return [];
  }
  messages.forEach((message, index) => {
    const at = context.at(`${field}[${index}]`);
    if (message.configType.case === 'configDiscovery') {
      const place = index === messages.length - 1;
      const found = buildDiscovered(at, 'http-filter', message.name, message.configType.value, place);
      if (place && message.disabled) {
        at.refuse(
          'disabled',
          `Error: the last (terminal) filter (${message.name}) in the chain cannot be disabled by default.`,
        );
      }
      if (found === null) complete = false;
      else
        entries.push({
          name: message.name,
          builder: new DiscoveredHttpFilter(found, place),
          disabled: message.disabled,
        });
      return;
    }
    if (message.isOptional && isUnknownFilter(at, message)) {
      at.warn('typed_config', `the optional filter ${message.name} is of a type that no filter has: it is left out`);
      return;
    }
    const builder = context.shared.extensions.build(
      'http-filter',
      at,
      'typed_config',
      message.name,
      message.configType.value,
    );
    if (builder === null) {
      complete = false;
      return;
    }
    const last = index === messages.length - 1;
    if (builder.isTerminal && !last) {
      at.refuse('name', `terminal filter ${message.name} must be the last filter in a http filter chain`);
    } else if (!builder.isTerminal && last) {
      at.refuse('name', `non-terminal filter ${message.name} is the last filter in a http filter chain`);
    } else if (builder.isTerminal && message.disabled) {
      at.refuse('disabled', 'a terminal filter cannot be disabled');
    }
    entries.push({ name: message.name, builder, disabled: message.disabled });
  });
  return complete ? entries : null;
}

/**
 * Whether Envoy would leave the optional filter out, since its type is no HTTP filter's. A filter that Envoy has and Nuncio has
 * not yet is refused even when it is optional: leaving it out would change what the proxy does.
 */
function isUnknownFilter(context: BuildContext, message: HttpFilter): boolean {
  const any = message.configType.case === 'typedConfig' ? message.configType.value : undefined;
  if (any === undefined) return false;
  const unpacked = context.shared.anys.unpack(any);
  if (!unpacked.ok) return !any.typeUrl.includes('.filters.http.');
  const typeName = unpacked.message.$typeName;
  return context.shared.extensions.findByType('http-filter', typeName) === null && !typeName.includes('.filters.http.');
}
