import type { FilterChain } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.d.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import type { Address } from '../../net/address.ts';
import type { NetworkFilterBuilder } from '../../net/filter.ts';
import { CriteriaMatcher, type MatchedChain } from '../../net/filter-chain-match.ts';
import { type FilterChainMatcher, SingleFilterChain } from '../../net/filter-chain-matcher.ts';
import type { ListenerFilterBuilder } from '../../net/listener-chain.ts';
import type { SocketOption } from '../../net/transport.ts';
import type { AccessLogger } from '../../pipeline/access-logger.ts';
import type { ConnectionContext, WorkerEnvironment } from '../../pipeline/environment.ts';
import type { Scope } from '../../stats/store.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildAccessLogs } from './access-log.ts';
import { buildAddress } from './addresses.ts';
import { durationMsOr } from './durations.ts';
import { buildChainCriteria, combinations, NO_CRITERIA } from './filter-chain-match.ts';
import { buildSocketOptions } from './socket-options.ts';

export const LISTENER_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.listener.v3.Listener',
    fields: `name address additional_addresses stat_prefix filter_chains default_filter_chain
      per_connection_buffer_limit_bytes drain_type traffic_direction enable_reuse_port reuse_port access_log
      tcp_backlog_size bind_to_port socket_options transparent freebind ignore_global_conn_limit tcp_keepalive
      listener_filters_timeout continue_on_listener_filters_timeout deprecated_v1`,
    inert: 'metadata max_connections_to_accept_per_socket_event bypass_overload_manager',
  },
  { message: 'envoy.config.listener.v3.Listener.DeprecatedV1', fields: '*' },
  { message: 'envoy.config.listener.v3.AdditionalAddress', fields: 'address' },
  {
    message: 'envoy.config.core.v3.SocketOption',
    fields: 'level name int_value buf_value state',
    inert: 'description',
  },
  { message: 'envoy.config.core.v3.TcpKeepalive', fields: '*' },
  {
    message: 'envoy.config.listener.v3.FilterChain',
    fields: 'filters name filter_chain_match transport_socket',
    inert: 'metadata',
  },
  {
    message: 'envoy.config.listener.v3.FilterChainMatch',
    fields: `destination_port prefix_ranges server_names transport_protocol application_protocols
      direct_source_prefix_ranges source_type source_prefix_ranges source_ports`,
  },
  { message: 'envoy.config.listener.v3.Filter', fields: 'name typed_config' },
  { message: 'envoy.config.core.v3.TransportSocket', fields: 'name typed_config' },
  { message: 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer', fields: '*' },
];

export interface FilterChainSpec {
  readonly name: string;
  readonly filters: readonly NetworkFilterBuilder<ConnectionContext>[];
}

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
  readonly listenerFilters: readonly ListenerFilterBuilder[];
  readonly chains: FilterChainMatcher<FilterChainSpec>;
  readonly accessLoggers: readonly ((environment: WorkerEnvironment) => AccessLogger)[];
  readonly scope: Scope;
}

/** The one combination of a chain without a match. */
const ASKS_NOTHING = combinations(NO_CRITERIA)[0]!;
const DIRECTIONS = ['unspecified', 'inbound', 'outbound'] as const;

/** `listener.<address>.` as Envoy names it: the address with its dots, colons made `_` by the stats store. */
function statNameOf(message: Listener, address: Address): string {
  return message.statPrefix === '' ? address.text : message.statPrefix;
}

/** @returns null when errors were reported */
export function buildListener(context: BuildContext, message: Listener): ListenerSpec | null {
  const before = context.errorCount;
  const address = buildAddress(context, 'address', message.address);
  const addresses: Address[] = address === null ? [] : [address];
  message.additionalAddresses.forEach((extra, index) => {
    const built = buildAddress(context.at(`additional_addresses[${index}]`), 'address', extra.address);
    if (built !== null) addresses.push(built);
  });
  if (message.filterChains.length === 0 && message.defaultFilterChain === undefined) {
    context.refuse('filter_chains', 'no filter chains specified', 'give the listener a filter chain');
  }
  const scope = context.shared.stats.createScope(`listener.${address === null ? '' : statNameOf(message, address)}.`);
  const chains = context.withStats(scope);
  const matcher = buildChains(chains, message);
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
    bindToPort: message.bindToPort ?? message.deprecatedV1?.bindToPort ?? true,
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
    listenerFiltersTimeoutMs: durationMsOr(message.listenerFiltersTimeout, 15_000),
    continueOnListenerFiltersTimeout: message.continueOnListenerFiltersTimeout,
    // Listener filters come with the wire work: until then the field is refused.
    listenerFilters: [],
    chains: matcher,
    accessLoggers,
    scope,
  };
}

function buildChains(context: BuildContext, message: Listener): FilterChainMatcher<FilterChainSpec> {
  const fallback =
    message.defaultFilterChain === undefined
      ? null
      : buildChain(context.at('default_filter_chain'), message.defaultFilterChain);
  const names = new Map<string, number>();
  const seen = new Map<string, number>();
  const matched: MatchedChain<FilterChainSpec>[] = [];
  message.filterChains.forEach((one, index) => {
    const at = context.at(`filter_chains[${index}]`);
    const criteria = buildChainCriteria(at.at('filter_chain_match'), one.filterChainMatch);
    for (const key of combinations(criteria)) {
      const other = seen.get(key);
      if (other !== undefined && other !== index) {
        at.refuse('filter_chain_match', 'multiple filter chains with the same matching rules are defined');
        break;
      }
      seen.set(key, index);
    }
    if (one.name !== '' && names.has(one.name)) at.refuse('name', `filter chain name '${one.name}' is used twice`);
    names.set(one.name, index);
    const chain = buildChain(at, one);
    if (chain !== null) matched.push({ criteria, chain });
  });
  if (matched.length === 0) return new SingleFilterChain(fallback);
  const only = matched.length === 1 ? matched[0]! : null;
  if (only !== null && seen.has(ASKS_NOTHING)) return new SingleFilterChain(only.chain);
  return new CriteriaMatcher(matched, fallback);
}

function buildChain(context: BuildContext, message: FilterChain): FilterChainSpec | null {
  const socket = message.transportSocket;
  if (socket !== undefined) {
    const type = socket.configType.value?.typeUrl ?? '';
    if (socket.name !== 'envoy.transport_sockets.raw_buffer' && !type.endsWith('.RawBuffer')) {
      context.refuse('transport_socket', 'transport sockets other than raw_buffer are not supported yet');
    }
  }
  const filters: NetworkFilterBuilder<ConnectionContext>[] = [];
  message.filters.forEach((filter, index) => {
    const at = context.at(`filters[${index}]`);
    if (filter.configType.case === 'configDiscovery') {
      at.refuse('config_discovery', 'filter discovery is not supported yet');
      return;
    }
    const built = context.shared.extensions.build(
      'network-filter',
      at,
      'typed_config',
      filter.name,
      filter.configType.value,
    );
    if (built === null) return;
    const last = index === message.filters.length - 1;
    if (built.isTerminal && !last) {
      at.refuse('name', `terminal filter ${filter.name} must be the last filter in a network filter chain`);
    } else if (!built.isTerminal && last) {
      at.refuse('name', `non-terminal filter ${filter.name} is the last filter in a network filter chain`);
    }
    filters.push(built);
  });
  return { name: message.name, filters };
}
