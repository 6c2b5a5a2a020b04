import type { CircuitBreakers_Thresholds } from '../../api/gen/envoy/config/cluster/v3/circuit_breaker_pb.d.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { BindConfig } from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import type { DnsCluster } from '../../api/gen/envoy/extensions/clusters/dns/v3/dns_cluster_pb.d.ts';
import type { Address } from '../../net/address.ts';
import { keepAliveOptions, type SocketOption } from '../../net/transport.ts';
import { type CircuitBreakerThresholds, DEFAULT_THRESHOLDS, UNLIMITED } from '../../upstream/circuit-breaker.ts';
import {
  type BindSpec,
  type ClusterSpec,
  type CommonLbSettings,
  DEFAULT_LB_SETTINGS,
  DiscoveryType,
  type TransportSocketMatch,
} from '../../upstream/cluster-spec.ts';
import type { EdsHealth } from '../../upstream/host.ts';
import { CLUSTER_PROVIDED } from '../../upstream/original-dst.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { ADDRESS_SUPPORT, buildSocketAddress } from './addresses.ts';
import { buildBalancerPolicy, LOCALITY_LB_SUPPORT } from './balancers.ts';
import { buildDns, DNS_SUPPORT } from './cluster-dns.ts';
import { buildMetadata, buildStaticHosts, ENDPOINT_SUPPORT } from './cluster-endpoints.ts';
import { buildOriginalDst, ORIGINAL_DST_SUPPORT } from './cluster-original-dst.ts';
import { buildProtocolSettings, PROTOCOL_OPTIONS_SUPPORT } from './cluster-protocol-options.ts';
import { buildConfigSource, CONFIG_SOURCE_SUPPORT } from './config-source.ts';
import { durationMsOr } from './durations.ts';
import { buildSocketOptions } from './socket-options.ts';
import { LEGACY_SUBSET_SUPPORT } from './subsets.ts';
import { buildUpstreamSocket, NO_TLS_HINT, NO_TLS_INSIDE, TRANSPORT_SOCKET_SUPPORT } from './transport-sockets.ts';

/** Everything below a Cluster that is obeyed; what is inert has no meaning for the types and policies that are supported. */
export const CLUSTER_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.cluster.v3.Cluster',
    fields: `name alt_stat_name type cluster_type connect_timeout per_connection_buffer_limit_bytes lb_policy
      load_assignment max_requests_per_connection circuit_breakers common_http_protocol_options
      http_protocol_options http2_protocol_options protocol_selection upstream_http_protocol_options
      connection_pool_per_downstream_connection typed_extension_protocol_options dns_refresh_rate dns_jitter dns_failure_refresh_rate
      respect_dns_ttl dns_lookup_family dns_resolvers typed_dns_resolver_config wait_for_warm_on_init
      upstream_bind_config ring_hash_lb_config maglev_lb_config least_request_lb_config round_robin_lb_config lb_subset_config common_lb_config transport_socket transport_socket_matches metadata
      upstream_connection_options load_balancing_policy track_timeout_budgets track_cluster_stats preconnect_policy
      eds_cluster_config lrs_report_endpoint_metrics`,
    // Envoy reads lrs_server nowhere: load is reported to the bootstrap's load_stats_config.
    inert: `close_connections_on_host_health_failure ignore_health_on_host_removal lrs_server`,
  },
  { message: 'envoy.config.cluster.v3.Cluster.CustomClusterType', fields: '*' },
  { message: 'envoy.config.cluster.v3.Cluster.EdsClusterConfig', fields: '*' },
  ...CONFIG_SOURCE_SUPPORT,
  { message: 'envoy.config.cluster.v3.Cluster.RoundRobinLbConfig', fields: '*' },
  { message: 'envoy.config.cluster.v3.Cluster.LeastRequestLbConfig', fields: '*' },
  { message: 'envoy.config.cluster.v3.Cluster.SlowStartConfig', fields: '*' },
  { message: 'envoy.config.cluster.v3.Cluster.RingHashLbConfig', fields: '*' },
  { message: 'envoy.config.cluster.v3.Cluster.MaglevLbConfig', fields: '*' },
  {
    message: 'envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig',
    fields: 'use_hostname_for_hashing',
  },
  // update_merge_window only delays what is applied at once here; health checks are refused.
  {
    message: 'envoy.config.cluster.v3.Cluster.CommonLbConfig',
    fields: `healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config
      close_connections_on_host_set_change override_host_status consistent_hashing_lb_config`,
    inert: 'update_merge_window ignore_new_hosts_until_first_hc',
  },
  {
    message: 'envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig',
    fields: 'fail_traffic_on_panic',
    inert: 'routing_enabled min_cluster_size',
  },
  { message: 'envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig', fields: '*' },
  { message: 'envoy.config.core.v3.HealthStatusSet', fields: '*' },
  { message: 'envoy.config.cluster.v3.CircuitBreakers', fields: '*' },
  {
    message: 'envoy.config.cluster.v3.CircuitBreakers.Thresholds',
    fields: `priority max_connections max_pending_requests max_requests max_retries retry_budget track_remaining
      max_connection_pools`,
  },
  {
    message: 'envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget',
    fields: 'budget_percent min_retry_concurrency',
  },
  { message: 'envoy.type.v3.Percent', fields: '*' },
  {
    message: 'envoy.config.core.v3.BindConfig',
    fields: 'source_address freebind socket_options extra_source_addresses additional_source_addresses',
  },
  { message: 'envoy.config.core.v3.ExtraSourceAddress', fields: 'address' },
  {
    message: 'envoy.config.core.v3.SocketOption',
    fields: 'level name int_value buf_value state',
    inert: 'description',
  },
  {
    message: 'envoy.config.cluster.v3.UpstreamConnectionOptions',
    fields: 'tcp_keepalive',
    inert: 'happy_eyeballs_config',
  },
  { message: 'envoy.config.core.v3.TcpKeepalive', fields: '*' },
  { message: 'envoy.config.cluster.v3.LoadBalancingPolicy', fields: '*' },
  { message: 'envoy.config.cluster.v3.LoadBalancingPolicy.Policy', fields: '*' },
  { message: 'envoy.config.cluster.v3.TrackClusterStats', fields: 'timeout_budgets request_response_sizes' },
  { message: 'envoy.config.cluster.v3.Cluster.PreconnectPolicy', fields: 'per_upstream_preconnect_ratio' },
  { message: 'envoy.config.cluster.v3.Cluster.TransportSocketMatch', fields: '*' },
  ...TRANSPORT_SOCKET_SUPPORT,
  ...ADDRESS_SUPPORT,
  ...LOCALITY_LB_SUPPORT,
  ...LEGACY_SUBSET_SUPPORT,
  ...DNS_SUPPORT,
  ...ENDPOINT_SUPPORT,
  ...PROTOCOL_OPTIONS_SUPPORT,
  ...ORIGINAL_DST_SUPPORT,
];

const TYPE_NAMES = ['STATIC', 'STRICT_DNS', 'LOGICAL_DNS', 'EDS', 'ORIGINAL_DST'] as const;
const LEGACY_TYPE_EXTENSIONS: ReadonlyMap<string, DiscoveryType> = new Map([
  ['envoy.cluster.static', DiscoveryType.Static],
  ['envoy.cluster.strict_dns', DiscoveryType.StrictDns],
  ['envoy.cluster.logical_dns', DiscoveryType.LogicalDns],
  ['envoy.cluster.original_dst', DiscoveryType.OriginalDst],
]);
const TYPE_EXTENSIONS = ['static', 'strict_dns', 'logical_dns', 'eds', 'original_dst'] as const;
const DNS_CLUSTER = 'envoy.extensions.clusters.dns.v3.DnsCluster';

const DEFAULT_CONNECT_TIMEOUT_MS = 5000;
const DEFAULT_BUFFER_LIMIT = 1024 * 1024;

interface Discovery {
  readonly type: DiscoveryType;
  /** Where a DNS cluster is written as `cluster_type`. */
  readonly dns: DnsCluster | null;
}

function buildDiscovery(context: BuildContext, message: Cluster): Discovery | null {
  const type = message.clusterDiscoveryType;
  if (type.case === 'clusterType') {
    const { name, typedConfig } = type.value;
    const legacy = LEGACY_TYPE_EXTENSIONS.get(name);
    if (legacy !== undefined && (typedConfig === undefined || typedConfig.typeUrl === ''))
      return { type: legacy, dns: null };
    const config = context.unpack('cluster_type.typed_config', typedConfig);
    if (config === null) return null;
    if (config.$typeName !== DNS_CLUSTER) {
      context.refuse('cluster_type', `cluster type ${name} (${config.$typeName}) is not supported yet`);
      return null;
    }
    const dns = config as DnsCluster;
    return { type: dns.allAddressesInSingleEndpoint ? DiscoveryType.LogicalDns : DiscoveryType.StrictDns, dns };
  }
  const name = TYPE_NAMES[type.value ?? 0];
  switch (name) {
    case 'STATIC':
      return { type: DiscoveryType.Static, dns: null };
    case 'STRICT_DNS':
      return { type: DiscoveryType.StrictDns, dns: null };
    case 'LOGICAL_DNS':
      return { type: DiscoveryType.LogicalDns, dns: null };
    case 'ORIGINAL_DST':
      return { type: DiscoveryType.OriginalDst, dns: null };
    case 'EDS':
      if (message.edsClusterConfig === undefined) {
        context.refuse('type', 'cannot create an EDS cluster without an EDS config');
        return null;
      }
      buildConfigSource(context, 'eds_cluster_config.eds_config', message.edsClusterConfig.edsConfig);
      return { type: DiscoveryType.Eds, dns: null };
    default:
      context.refuse(
        'type',
        `${name ?? type.value} is not supported yet`,
        'use STATIC, STRICT_DNS, LOGICAL_DNS or EDS',
      );
      return null;
  }
}

function thresholdsOf(message: CircuitBreakers_Thresholds | undefined, perHost: number): CircuitBreakerThresholds {
  if (message === undefined) {
    return perHost === DEFAULT_THRESHOLDS.maxConnectionsPerHost
      ? DEFAULT_THRESHOLDS
      : { ...DEFAULT_THRESHOLDS, maxConnectionsPerHost: perHost };
  }
  const budget = message.retryBudget;
  return {
    maxConnections: message.maxConnections ?? DEFAULT_THRESHOLDS.maxConnections,
    maxPendingRequests: message.maxPendingRequests ?? DEFAULT_THRESHOLDS.maxPendingRequests,
    maxRequests: message.maxRequests ?? DEFAULT_THRESHOLDS.maxRequests,
    maxRetries: message.maxRetries ?? DEFAULT_THRESHOLDS.maxRetries,
    maxConnectionPools: message.maxConnectionPools ?? UNLIMITED,
    trackRemaining: message.trackRemaining,
    retryBudget:
      budget === undefined
        ? null
        : { percent: budget.budgetPercent?.value ?? 20, minConcurrency: budget.minRetryConcurrency ?? 3 },
    maxConnectionsPerHost: perHost,
  };
}

/** One for all clusters that say nothing: there may be many thousands. */
const DEFAULT_LIMITS: ClusterSpec['thresholds'] = [DEFAULT_THRESHOLDS, DEFAULT_THRESHOLDS];

function buildThresholds(context: BuildContext, message: Cluster): ClusterSpec['thresholds'] {
  const breakers = message.circuitBreakers;
  breakers?.perHostThresholds.forEach((entry, index) => {
    if (
      entry.maxPendingRequests !== undefined ||
      entry.maxRequests !== undefined ||
      entry.maxRetries !== undefined ||
      entry.maxConnectionPools !== undefined ||
      entry.retryBudget !== undefined ||
      entry.trackRemaining
    ) {
      context.refuse(
        `circuit_breakers.per_host_thresholds[${index}]`,
        'Unsupported field in per_host_thresholds',
        'only max_connections counts per host',
      );
    }
  });
  // Of several entries for one priority the first counts, as in Envoy.
  const of = (priority: number): CircuitBreakerThresholds =>
    thresholdsOf(
      breakers?.thresholds.find((entry) => entry.priority === priority),
      breakers?.perHostThresholds.find((entry) => entry.priority === priority)?.maxConnections ?? UNLIMITED,
    );
  const limits: ClusterSpec['thresholds'] = [of(0), of(1)];
  return limits.every((each) => each === DEFAULT_THRESHOLDS) ? DEFAULT_LIMITS : limits;
}

function buildLbSettings(message: Cluster): CommonLbSettings {
  const common = message.commonLbConfig;
  if (common === undefined) return DEFAULT_LB_SETTINGS;
  return {
    healthyPanicThreshold: Math.floor(common.healthyPanicThreshold?.value ?? DEFAULT_LB_SETTINGS.healthyPanicThreshold),
    overrideHostStatuses:
      common.overrideHostStatus === undefined
        ? DEFAULT_LB_SETTINGS.overrideHostStatuses
        : (common.overrideHostStatus.statuses as EdsHealth[]),
    ignoreNewHostsUntilFirstHc: common.ignoreNewHostsUntilFirstHc,
    closeConnectionsOnHostSetChange: common.closeConnectionsOnHostSetChange,
  };
}

/** IP_FREEBIND and IPV6_FREEBIND (Linux). */
const FREEBIND: readonly SocketOption[] = [
  { level: 0, name: 15, value: 1, state: 'prebind' },
  { level: 41, name: 78, value: 1, state: 'prebind' },
];

function buildBind(context: BuildContext, message: BindConfig): { bind: BindSpec; socketOptions: SocketOption[] } {
  const addresses: (Address | null)[] = [];
  if (message.sourceAddress !== undefined) {
    addresses.push(buildSocketAddress(context, 'source_address', message.sourceAddress));
  }
  message.extraSourceAddresses.forEach((extra, index) => {
    if (extra.address === undefined) return;
    addresses.push(buildSocketAddress(context, `extra_source_addresses[${index}].address`, extra.address));
  });
  message.additionalSourceAddresses.forEach((extra, index) => {
    addresses.push(buildSocketAddress(context, `additional_source_addresses[${index}]`, extra));
  });
  const ofVersion = (version: 4 | 6) =>
    addresses.find((address) => address?.kind === 'ip' && address.version === version) ?? null;
  const socketOptions = buildSocketOptions(context, 'socket_options', message.socketOptions);
  if (message.freebind === true) {
    if (ofVersion(4) !== null) socketOptions.push(FREEBIND[0]!);
    if (ofVersion(6) !== null) socketOptions.push(FREEBIND[1]!);
  }
  return { bind: { sourceV4: ofVersion(4), sourceV6: ofVersion(6) }, socketOptions };
}

/** Criteria are plain values of a host's metadata; the first match in order counts. */
function buildSocketMatches(context: BuildContext, message: Cluster): TransportSocketMatch[] {
  return message.transportSocketMatches.map((match, index) => ({
    name: match.name,
    criteria: (match.match ?? {}) as Readonly<Record<string, unknown>>,
    socket: buildUpstreamSocket(context, `transport_socket_matches[${index}].transport_socket`, match.transportSocket),
  }));
}

/**
 * A cluster at run time, from its message.
 * @param addedViaApi by xDS rather than by the bootstrap
 * @returns null when errors were reported
 */
export function buildCluster(context: BuildContext, message: Cluster, addedViaApi = false): ClusterSpec | null {
  const before = context.errorCount;
  const discovery = buildDiscovery(context, message);
  if (message.edsClusterConfig !== undefined && discovery !== null && discovery.type !== DiscoveryType.Eds) {
    context.refuse('eds_cluster_config', 'eds_cluster_config set in a non-EDS cluster');
  }
  if (
    message.commonLbConfig?.consistentHashingLbConfig?.useHostnameForHashing === true &&
    discovery !== null &&
    discovery.type !== DiscoveryType.StrictDns
  ) {
    const type = `envoy.cluster.${TYPE_EXTENSIONS[discovery.type]}`;
    context.refuse(
      'common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing',
      `Cannot use hostname for consistent hashing loadbalancing for cluster of type: '${type}'`,
      'a cluster of type STRICT_DNS can',
    );
  }
  const transportSocket = buildUpstreamSocket(context, 'transport_socket', message.transportSocket);
  const transportSocketMatches = buildSocketMatches(context, message);
  const originalDst = discovery?.type === DiscoveryType.OriginalDst ? buildOriginalDst(context, message) : null;
  const policy = originalDst === null ? buildBalancerPolicy(context, message) : CLUSTER_PROVIDED;
  const thresholds = buildThresholds(context, message);
  const protocol = buildProtocolSettings(context, message);
  const assignment = message.loadAssignment;
  const initialHosts =
    discovery?.type === DiscoveryType.Static && assignment !== undefined
      ? buildStaticHosts(context.at('load_assignment'), message.name, assignment)
      : [];
  const sockets = [transportSocket, ...transportSocketMatches.map((match) => match.socket)];
  if (
    sockets.every((socket) => socket?.encrypts === true) &&
    initialHosts.some((update) => update.hosts.some((host) => host.address.kind === 'internal'))
  ) {
    context.refuse('transport_socket', NO_TLS_INSIDE, NO_TLS_HINT);
  }
  const dns =
    discovery === null || (discovery.type !== DiscoveryType.StrictDns && discovery.type !== DiscoveryType.LogicalDns)
      ? null
      : buildDns(context, message, discovery.type === DiscoveryType.LogicalDns, discovery.dns);
  const bind =
    message.upstreamBindConfig === undefined
      ? null
      : buildBind(context.at('upstream_bind_config'), message.upstreamBindConfig);
  const socketOptions = bind === null ? [] : bind.socketOptions;
  const keepalive = message.upstreamConnectionOptions?.tcpKeepalive;
  if (keepalive !== undefined) {
    socketOptions.push(
      ...keepAliveOptions(
        keepalive.keepaliveProbes ?? 0,
        keepalive.keepaliveTime ?? 0,
        keepalive.keepaliveInterval ?? 0,
      ),
    );
  }
  if (context.errorCount > before || discovery === null || policy === null) return null;
  return {
    name: message.name,
    statName: message.altStatName === '' ? message.name : message.altStatName,
    serviceName: message.edsClusterConfig?.serviceName ?? '',
    reportedMetrics: message.lrsReportEndpointMetrics.length === 0 ? null : message.lrsReportEndpointMetrics,
    discovery: discovery.type,
    connectTimeoutMs: durationMsOr(message.connectTimeout, DEFAULT_CONNECT_TIMEOUT_MS),
    bufferLimitBytes: message.perConnectionBufferLimitBytes ?? DEFAULT_BUFFER_LIMIT,
    thresholds,
    policy,
    lb: buildLbSettings(message),
    metadata: buildMetadata(message.metadata),
    ...protocol,
    bind: bind === null ? null : bind.bind,
    socketOptions,
    transportSocket,
    transportSocketMatches,
    connectionPoolPerDownstreamConnection: message.connectionPoolPerDownstreamConnection,
    perUpstreamPreconnectRatio: message.preconnectPolicy?.perUpstreamPreconnectRatio ?? 1,
    trackTimeoutBudgets: message.trackTimeoutBudgets || (message.trackClusterStats?.timeoutBudgets ?? false),
    trackRequestResponseSizes: message.trackClusterStats?.requestResponseSizes ?? false,
    addedViaApi,
    dns,
    originalDst,
    waitForWarmOnInit: message.waitForWarmOnInit ?? true,
    initialHosts,
  };
}
