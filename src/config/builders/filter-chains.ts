import type { CidrRange } from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import type { FilterChain, FilterChainMatch } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.d.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import { ipBytes } from '../../net/cidr.ts';
import type { NetworkFilter, NetworkFilterBuilder } from '../../net/filter.ts';
import { ANY_CONNECTION, type ChainCriteria, FilterChainIndex, type SourceType } from '../../net/filter-chain-index.ts';
import { type FilterChainMatcher, SingleFilterChain } from '../../net/filter-chain-matcher.ts';
import type { AddressRange } from '../../net/prefix-table.ts';
import type { ConnectionContext } from '../../pipeline/environment.ts';
import type { Scope } from '../../stats/store.ts';
import { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { digestOf } from './config-source.ts';
import { buildDiscovered, type DiscoveredExtension, EXTENSION_SOURCE_SUPPORT } from './discovered-extension.ts';
import { durationMsOr } from './durations.ts';
import { buildChainsByName } from './filter-chain-matcher.ts';
import { NETWORK_INPUT_SUPPORT } from './network-match-inputs.ts';
import { buildDownstreamSocket, type DownstreamSocketMaker, TRANSPORT_SOCKET_SUPPORT } from './transport-sockets.ts';
import { UNIFIED_MATCHER_SUPPORT } from './unified-matcher.ts';

export const FILTER_CHAIN_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.listener.v3.FilterChain',
    fields: 'filters name filter_chain_match transport_socket transport_socket_connect_timeout',
    inert: 'metadata',
  },
  {
    message: 'envoy.config.listener.v3.FilterChainMatch',
    // Not address_suffix and suffix_len: Envoy calls them unimplemented, too.
    fields: `destination_port prefix_ranges server_names transport_protocol application_protocols
      direct_source_prefix_ranges source_type source_prefix_ranges source_ports`,
  },
  { message: 'envoy.config.listener.v3.Filter', fields: 'name typed_config config_discovery' },
  ...EXTENSION_SOURCE_SUPPORT,
  ...TRANSPORT_SOCKET_SUPPORT,
  ...NETWORK_INPUT_SUPPORT,
  ...UNIFIED_MATCHER_SUPPORT,
];

/** A filter chain at run time. */
export interface FilterChainSpec {
  /** Need not be unique. */
  readonly name: string;
  readonly filters: readonly NetworkFilterBuilder<ConnectionContext>[];
  /** Those of them that are discovered: while one has no configuration, connections are closed. */
  readonly discovered: readonly DiscoveredExtension<'network-filter'>[];
  /** Null: plain bytes. */
  readonly transportSocket: DownstreamSocketMaker | null;
  /** How long the transport socket's handshake may take, ms; 0: for ever. */
  readonly transportSocketConnectTimeoutMs: number;
  /** Equal for equal messages: a chain that an update leaves as it is goes on with its connections. */
  readonly key: string;
  /** Stats of the chain's filters; closed with it. */
  readonly stats: Scope;
}

/** A network filter whose configuration is discovered: connections keep the one that they began with. */
class DiscoveredNetworkFilter implements NetworkFilterBuilder<ConnectionContext> {
  readonly isTerminal: boolean;
  readonly #extension: DiscoveredExtension<'network-filter'>;

  constructor(extension: DiscoveredExtension<'network-filter'>, isTerminal: boolean) {
    this.#extension = extension;
    this.isTerminal = isTerminal;
  }

  /** Not while {@link FilterChainSpec.discovered} says that there is no configuration. */
  createFilter(context: ConnectionContext): NetworkFilter {
    return this.#extension.current!.createFilter(context);
  }
}

/**
 * The filter chains of a listener, compiled. Errors are reported at the chain that they are of.
 * @param context the listener's
 * @param all takes every chain
 */
export function buildFilterChains(
  context: BuildContext,
  message: Listener,
  all: FilterChainSpec[] = [],
): FilterChainMatcher<FilterChainSpec> {
  if (message.filterChains.length === 0 && message.defaultFilterChain === undefined) {
    context.refuse('filter_chains', 'no filter chains specified', 'give the listener a filter chain');
  }
  // Its match, if it has one, has no meaning, and what is wrong in it is no error either (Envoy).
  const fallback =
    message.defaultFilterChain === undefined
      ? null
      : buildChain(context.at('default_filter_chain'), message.defaultFilterChain);
  if (fallback !== null) all.push(fallback);
  if (message.filterChainMatcher !== undefined) {
    const chains = message.filterChains.map((each, place) => buildChain(context.at(`filter_chains[${place}]`), each));
    all.push(...chains);
    all.push(...chains);
    const matcher = message.filterChainMatcher;
    const byName = buildChainsByName(context, matcher, message.filterChains, chains, fallback);
    return byName ?? new SingleFilterChain(fallback);
  }
  const index = new FilterChainIndex<FilterChainSpec>(fallback);
  const firstOfMatch = new Map<string, number>();
  const places = new Map<FilterChainSpec, number>();
  let only: FilterChainSpec | null = null;
  message.filterChains.forEach((chainMessage, place) => {
    const at = context.at(`filter_chains[${place}]`);
    const chain = buildChain(at, chainMessage);
    all.push(chain);
    places.set(chain, place);
    const same = firstOfMatch.get(matchKey(chainMessage.filterChainMatch));
    if (same !== undefined) {
      const other = message.filterChains[same]!.name;
      at.refuse(
        'filter_chain_match',
        `filter chain '${chain.name}' has the same matching rules defined as '${other}'`,
        `filter_chains[${same}] takes every connection that this one would`,
      );
      return;
    }
    firstOfMatch.set(matchKey(chainMessage.filterChainMatch), place);
    const before = context.errorCount;
    const criteria = buildCriteria(at.at('filter_chain_match'), chainMessage.filterChainMatch);
    if (context.errorCount > before) return;
    const taken = index.add(criteria, chain);
    if (taken !== null) {
      at.refuse(
        'filter_chain_match',
        'multiple filter chains with overlapping matching rules are defined',
        taken === chain
          ? 'one of its lists holds the same value twice'
          : `filter_chains[${places.get(taken)}] takes some of the same connections`,
      );
    } else if (matchKey(chainMessage.filterChainMatch) === NO_MATCH) {
      only = chain;
    }
  });
  if (message.filterChains.length === 0) return new SingleFilterChain(fallback);
  // The usual listener needs no search.
  return message.filterChains.length === 1 && only !== null ? new SingleFilterChain<FilterChainSpec>(only) : index;
}

function buildChain(listener: BuildContext, message: FilterChain): FilterChainSpec {
  const key = digestOf(listener, message);
  const present = listener.shared.presentChains?.get(key);
  if (present !== undefined) return present;
  // A chain may outlive its listener's version: its stats hang on nothing but the store.
  const stats = listener.shared.stats.store.root.createScope('');
  const context = new BuildContext(
    { ...listener.shared, stats },
    listener.path,
    stats.createScope(listener.stats.prefix),
  );
  const transportSocket = buildDownstreamSocket(context, 'transport_socket', message.transportSocket);
  const filters: NetworkFilterBuilder<ConnectionContext>[] = [];
  const discovered: DiscoveredExtension<'network-filter'>[] = [];
  message.filters.forEach((filter, index) => {
    const at = context.at(`filters[${index}]`);
    if (filter.configType.case === 'configDiscovery') {
      const place = index === message.filters.length - 1;
      const found = buildDiscovered(at, 'network-filter', filter.name, filter.configType.value, place);
      if (found === null) return;
      discovered.push(found);
      filters.push(new DiscoveredNetworkFilter(found, place));
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
  return {
    name: message.name,
    filters,
    discovered,
    transportSocket,
    transportSocketConnectTimeoutMs: durationMsOr(message.transportSocketConnectTimeout, 0),
    key,
    stats,
  };
}

function buildCriteria(context: BuildContext, message: FilterChainMatch | undefined): ChainCriteria {
  if (message === undefined) return ANY_CONNECTION;
  return {
    destinationPort: message.destinationPort ?? 0,
    destinationRanges: buildRanges(context, 'prefix_ranges', message.prefixRanges),
    serverNames: message.serverNames.map((name, index) => serverName(context, `server_names[${index}]`, name)),
    transportProtocol: message.transportProtocol,
    applicationProtocols: message.applicationProtocols,
    directSourceRanges: buildRanges(context, 'direct_source_prefix_ranges', message.directSourcePrefixRanges),
    sourceType: message.sourceType as number as SourceType,
    sourceRanges: buildRanges(context, 'source_prefix_ranges', message.sourcePrefixRanges),
    sourcePorts: message.sourcePorts,
  };
}

/** A length over the address's stands for the whole address (Envoy: CidrRange). */
function buildRanges(context: BuildContext, field: string, messages: readonly CidrRange[]): AddressRange[] {
  const ranges: AddressRange[] = [];
  messages.forEach((range, index) => {
    const prefix = ipBytes(range.addressPrefix);
    if (prefix === null) {
      context.refuse(`${field}[${index}].address_prefix`, `malformed IP address: ${range.addressPrefix}`);
      return;
    }
    ranges.push({ prefix, bits: Math.min(range.prefixLen ?? 0, prefix.length * 8) });
  });
  return ranges;
}

function serverName(context: BuildContext, field: string, name: string): string {
  const wildcard = name.startsWith('*.');
  if (name.includes('*') && !wildcard) {
    context.refuse(
      field,
      'partial wildcards are not supported in "server_names"',
      'a wildcard is a whole first label: *.example.com; for any name leave server_names out',
    );
  }
  return (wildcard ? name.slice(1) : name).toLowerCase();
}

/** Equal for equal messages, the order of lists included. */
function matchKey(match: FilterChainMatch | undefined): string {
  const ranges = (list: readonly CidrRange[]): unknown[] =>
    list.map((range) => [range.addressPrefix, range.prefixLen ?? 0]);
  if (match === undefined) return NO_MATCH;
  return JSON.stringify([
    match.destinationPort ?? 0,
    ranges(match.prefixRanges),
    match.serverNames,
    match.transportProtocol,
    match.applicationProtocols,
    ranges(match.directSourcePrefixRanges),
    match.sourceType,
    ranges(match.sourcePrefixRanges),
    match.sourcePorts,
  ]);
}

const NO_MATCH = JSON.stringify([0, [], [], '', [], [], 0, [], []]);
