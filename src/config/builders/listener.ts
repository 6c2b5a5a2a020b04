import { create } from '@bufbuild/protobuf';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import { type Address, internalAddress } from '../../net/address.ts';
import type { FilterChainMatcher } from '../../net/filter-chain-matcher.ts';
import type { SocketOption } from '../../net/transport.ts';
import type { AccessLogger } from '../../pipeline/access-logger.ts';
import type { WorkerEnvironment } from '../../pipeline/environment.ts';
import type { Scope } from '../../stats/store.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildAccessLogs } from './access-log.ts';
import { buildAddress } from './addresses.ts';
import type { DiscoveredExtension } from './discovered-extension.ts';
import { durationMsOr } from './durations.ts';
import { buildFilterChains, FILTER_CHAIN_SUPPORT, type FilterChainSpec } from './filter-chains.ts';
import { buildListenerFilters, LISTENER_FILTER_SUPPORT, type ListenerFilterMaker } from './listener-filters.ts';
import { buildSocketOptions } from './socket-options.ts';
import { NO_TLS_HINT, NO_TLS_INSIDE } from './transport-sockets.ts';

/** Envoy's default of `listener_filters_timeout`. */
const DEFAULT_LISTENER_FILTERS_TIMEOUT_MS = 15_000;

export const LISTENER_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.listener.v3.Listener',
    fields: `name address additional_addresses stat_prefix listener_filters filter_chains default_filter_chain filter_chain_matcher
      per_connection_buffer_limit_bytes drain_type traffic_direction enable_reuse_port access_log
      tcp_backlog_size bind_to_port socket_options transparent freebind ignore_global_conn_limit tcp_keepalive
      listener_filters_timeout continue_on_listener_filters_timeout deprecated_v1 use_original_dst internal_listener`,
    // The deprecated reuse_port asks for what is the default.
    inert: 'reuse_port metadata max_connections_to_accept_per_socket_event bypass_overload_manager',
  },
  { message: 'envoy.config.listener.v3.Listener.DeprecatedV1', fields: '*' },
  { message: 'envoy.config.listener.v3.Listener.InternalListenerConfig', fields: '*' },
  { message: 'envoy.config.listener.v3.AdditionalAddress', fields: 'address' },
  {
    message: 'envoy.config.core.v3.SocketOption',
    fields: 'level name int_value buf_value state',
    inert: 'description',
  },
  { message: 'envoy.config.core.v3.TcpKeepalive', fields: '*' },
  ...FILTER_CHAIN_SUPPORT,
  ...LISTENER_FILTER_SUPPORT,
];

export interface KeepaliveSpec {
  readonly probes: number;
  readonly idleSeconds: number;
  readonly intervalSeconds: number;
}

/** A listener at run time: validated; how a worker opens it. */
export interface ListenerSpec {
  readonly name: string;
  /** What stats call it: `stat_prefix`, or the address with `.` and `:` made safe. */
  readonly statName: string;
  readonly addresses: readonly Address[];
  readonly ipv4Compat: boolean;
  readonly bindToPort: boolean;
  /** Connections come from inside: by the listener's name. */
  readonly internal: boolean;
  /** Connections whose destination was restored go to the listener of that address, if there is one. */
  readonly useOriginalDst: boolean;
  readonly reusePort: boolean;
  readonly backlog: number;
  readonly transparent: boolean;
  readonly freebind: boolean;
  readonly socketOptions: readonly SocketOption[];
  readonly keepalive: KeepaliveSpec | null;
  readonly bufferLimit: number;
  readonly direction: 'unspecified' | 'inbound' | 'outbound';
  /** MODIFY_ONLY listeners do not drain when the server is failed or told to drain. */
  readonly drainOnHealthFailure: boolean;
  readonly ignoreGlobalConnLimit: boolean;
  readonly listenerFiltersTimeoutMs: number;
  readonly continueOnListenerFiltersTimeout: boolean;
  readonly listenerFilters: readonly ListenerFilterMaker[];
  /** Those of them that are discovered: while one has no configuration, connections are closed. */
  readonly discoveredFilters: readonly DiscoveredExtension<'listener-filter'>[];
  readonly chains: FilterChainMatcher<FilterChainSpec>;
  /** All that `chains` may find. */
  readonly chainSpecs: readonly FilterChainSpec[];
  readonly accessLoggers: readonly ((environment: WorkerEnvironment) => AccessLogger)[];
  readonly scope: Scope;
}

const DIRECTIONS = ['unspecified', 'inbound', 'outbound'] as const;

/** `listener.<address>.` as Envoy names it: the address with its dots, colons made `_` by the stats store. */
function statNameOf(message: Listener, address: Address): string {
  if (message.statPrefix !== '') return message.statPrefix;
  return address.kind === 'internal' ? `envoy_internal_${address.listenerName}` : address.text;
}

/** The listener's own address. @returns null when errors were reported */
function ownAddress(context: BuildContext, message: Listener): Address | null {
  if (message.listenerSpecifier.case !== 'internalListener') {
    if (message.address?.address.case === 'envoyInternalAddress') {
      context.refuse('address', 'use internal_listener field instead of address for internal listeners');
      return null;
    }
    return buildAddress(context, 'address', message.address);
  }
  if (message.address !== undefined || message.additionalAddresses.length > 0) {
    context.refuse('address', 'address should not be used when an internal listener config is provided');
  }
  if (
    message.connectionBalanceConfig !== undefined ||
    message.enableMptcp ||
    message.enableReusePort !== undefined ||
    message.freebind !== undefined ||
    message.tcpBacklogSize !== undefined ||
    message.tcpFastOpenQueueLength !== undefined ||
    message.transparent !== undefined
  ) {
    context.refuse('internal_listener', 'has unsupported tcp listener feature');
  }
  if (message.socketOptions.length > 0) context.refuse('socket_options', 'does not support socket option');
  return internalAddress(message.name);
}

/** Envoy adds the filter behind those that are configured. */
function addOriginalDst(context: BuildContext, filters: ListenerFilterMaker[]): void {
  const factory = context.shared.extensions.findByName('listener-filter', 'envoy.filters.listener.original_dst');
  const type = factory === null ? undefined : context.shared.api.message(factory.configType);
  const maker = factory === null || type === undefined ? null : factory.build(create(type), context);
  if (maker === null)
    context.refuse('use_original_dst', 'the listener filter envoy.filters.listener.original_dst is missing');
  else filters.push(maker);
}

/** @returns null when errors were reported */
export function buildListener(context: BuildContext, message: Listener): ListenerSpec | null {
  const before = context.errorCount;
  const internal = message.listenerSpecifier.case === 'internalListener';
  const address = ownAddress(context, message);
  const addresses: Address[] = address === null ? [] : [address];
  message.additionalAddresses.forEach((extra, index) => {
    const built = buildAddress(context.at(`additional_addresses[${index}]`), 'address', extra.address);
    if (built !== null) addresses.push(built);
  });
  const scope = context.shared.stats.createScope(`listener.${address === null ? '' : statNameOf(message, address)}.`);
  const chainSpecs: FilterChainSpec[] = [];
  const chains = buildFilterChains(context.withStats(scope), message, chainSpecs);
  if (internal && chainSpecs.some((chain) => chain.transportSocket !== null)) {
    const at = message.filterChains.findIndex((chain) => chain.transportSocket !== undefined);
    const field = at < 0 ? 'default_filter_chain' : `filter_chains[${at}]`;
    context.refuse(`${field}.transport_socket`, NO_TLS_INSIDE, NO_TLS_HINT);
  }
  const discoveredFilters: DiscoveredExtension<'listener-filter'>[] = [];
  const filterMessages = message.listenerFilters;
  const listenerFilters = buildListenerFilters(context, 'listener_filters', filterMessages, discoveredFilters);
  const useOriginalDst = message.useOriginalDst ?? false;
  if (useOriginalDst) addOriginalDst(context, listenerFilters);
  const accessLoggers = buildAccessLogs(context, 'access_log', message.accessLog);
  const socketOptions = buildSocketOptions(context, 'socket_options', message.socketOptions);
  const socketAddress = message.address?.address.case === 'socketAddress' ? message.address.address.value : null;
  if (context.errorCount > before || address === null) return null;
  const keepalive = message.tcpKeepalive;
  return {
    name: message.name,
    statName: statNameOf(message, address),
    addresses,
    ipv4Compat: socketAddress?.ipv4Compat ?? false,
    bindToPort: !internal && (message.bindToPort ?? message.deprecatedV1?.bindToPort ?? true),
    internal,
    useOriginalDst,
    reusePort: message.enableReusePort ?? true,
    backlog: message.tcpBacklogSize ?? 0,
    transparent: message.transparent ?? false,
    freebind: message.freebind ?? false,
    socketOptions,
    keepalive:
      keepalive === undefined
        ? null
        : {
            probes: keepalive.keepaliveProbes ?? 0,
            idleSeconds: keepalive.keepaliveTime ?? 0,
            intervalSeconds: keepalive.keepaliveInterval ?? 0,
          },
    bufferLimit: message.perConnectionBufferLimitBytes ?? 1024 * 1024,
    direction: DIRECTIONS[message.trafficDirection] ?? 'unspecified',
    drainOnHealthFailure: message.drainType === 0,
    ignoreGlobalConnLimit: message.ignoreGlobalConnLimit,
    listenerFiltersTimeoutMs: durationMsOr(message.listenerFiltersTimeout, DEFAULT_LISTENER_FILTERS_TIMEOUT_MS),
    continueOnListenerFiltersTimeout: message.continueOnListenerFiltersTimeout,
    listenerFilters,
    discoveredFilters,
    chains,
    chainSpecs,
    accessLoggers,
    scope,
  };
}
