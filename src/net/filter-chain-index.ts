import type { AcceptedSocket } from './filter.ts';
import type { FilterChainMatcher } from './filter-chain-matcher.ts';
import { isSameIpOrLoopback } from './network-match-data.ts';
import { type AddressRange, PrefixTable } from './prefix-table.ts';

/** Where a connection comes from: from this machine (the same address, a loopback address or a pipe), or from elsewhere. */
export const SourceType = { Any: 0, SameIpOrLoopback: 1, External: 2 } as const;
export type SourceType = (typeof SourceType)[keyof typeof SourceType];

/** What a filter chain asks of a connection; empty lists, 0 and '' ask for nothing. Source: Envoy, FilterChainMatch. */
export interface ChainCriteria {
  readonly destinationPort: number;
  readonly destinationRanges: readonly AddressRange[];
  /** Lower case. A wildcard is written as its suffix: `.example.com`. */
  readonly serverNames: readonly string[];
  readonly transportProtocol: string;
  readonly applicationProtocols: readonly string[];
  readonly directSourceRanges: readonly AddressRange[];
  readonly sourceType: SourceType;
  readonly sourceRanges: readonly AddressRange[];
  readonly sourcePorts: readonly number[];
}

/** Asks for nothing. */
export const ANY_CONNECTION: ChainCriteria = {
  destinationPort: 0,
  destinationRanges: [],
  serverNames: [],
  transportProtocol: '',
  applicationProtocols: [],
  directSourceRanges: [],
  sourceType: SourceType.Any,
  sourceRanges: [],
  sourcePorts: [],
};

/** A map that is nearly always of one entry, which it then holds by itself: less memory to walk through. */
class FewMap<K, V> {
  #key: K | undefined = undefined;
  #value: V | undefined = undefined;
  #more: Map<K, V> | null = null;

  get(key: K): V | undefined {
    if (this.#more !== null) return this.#more.get(key);
    return this.#key === key ? this.#value : undefined;
  }

  set(key: K, value: V): void {
    if (this.#more !== null) {
      this.#more.set(key, value);
    } else if (this.#key === undefined) {
      this.#key = key;
      this.#value = value;
    } else {
      this.#more = new Map([
        [this.#key, this.#value!],
        [key, value],
      ]);
    }
  }
}

type ChainsByPort<Chain> = FewMap<number, Chain>;
type BySource<Chain> = PrefixTable<ChainsByPort<Chain>>;
type ByProtocol<Chain> = FewMap<string, PrefixTable<SourceTypes<Chain>>>;

/** One table of sources per {@link SourceType}; null where no chain asks for it. */
class SourceTypes<Chain> {
  readonly tables: [BySource<Chain> | null, BySource<Chain> | null, BySource<Chain> | null] = [null, null, null];
}

class ServerNames<Chain> {
  /** Then by transport protocol. */
  readonly byName = new Map<string, FewMap<string, ByProtocol<Chain>>>();
  /** Of a wildcard's suffix. Longer suffixes of a name need no look-up, which bounds the work that a hostile name can cause. */
  longestSuffix = 0;
}

const NO_RANGE: readonly null[] = [null];
const NO_TEXT: readonly string[] = [''];
const NO_PORT: readonly number[] = [0];

/**
 * Filter chains by what they ask for: a map or a tree for each respect, one inside the other, so that the number of chains does
 * not matter. At every level the most specific entry that fits is taken and there is no way back: when nothing below it fits,
 * the connection gets the default chain, also where a less specific entry would have led to a chain. Source: Envoy,
 * FilterChainManagerImpl::findFilterChain.
 */
export class FilterChainIndex<Chain extends object> implements FilterChainMatcher<Chain> {
  readonly #byPort = new Map<number, PrefixTable<ServerNames<Chain>>>();
  readonly #fallback: Chain | null;

  /** @param fallback the default filter chain; null: there is none */
  constructor(fallback: Chain | null) {
    this.#fallback = fallback;
  }

  /**
   * Enters a chain under every combination that its criteria stand for, up to the first one that is taken.
   * @returns the chain that has one of them (it may be this one, when its lists repeat themselves); null when all is well
   */
  add(criteria: ChainCriteria, chain: Chain): Chain | null {
    const ranges = getOrAdd(this.#byPort, criteria.destinationPort, newTable<ServerNames<Chain>>);
    for (const range of orElse(criteria.destinationRanges, NO_RANGE)) {
      const taken = addByServerName(ranges.getOrAdd(range, newServerNames<Chain>), criteria, chain);
      if (taken !== null) return taken;
    }
    return null;
  }

  findChain(socket: AcceptedSocket): Chain | null {
    const local = socket.localAddress;
    // A port of its own hides the chains of any port, whether or not one of its chains fits.
    const ranges = (local.kind === 'ip' ? this.#byPort.get(local.port) : undefined) ?? this.#byPort.get(0);
    const names = ranges?.find(local);
    if (names === undefined) return this.#fallback;
    return findByServerName(names, socket) ?? this.#fallback;
  }
}

function addByServerName<Chain>(names: ServerNames<Chain>, criteria: ChainCriteria, chain: Chain): Chain | null {
  for (const name of orElse(criteria.serverNames, NO_TEXT)) {
    if (name.startsWith('.')) names.longestSuffix = Math.max(names.longestSuffix, name.length);
    const transports = getOrAdd(names.byName, name, newFewMap<string, ByProtocol<Chain>>);
    const protocols = getOrAdd(
      transports,
      criteria.transportProtocol,
      newFewMap<string, PrefixTable<SourceTypes<Chain>>>,
    );
    for (const protocol of orElse(criteria.applicationProtocols, NO_TEXT)) {
      const taken = addBySource(getOrAdd(protocols, protocol, newTable<SourceTypes<Chain>>), criteria, chain);
      if (taken !== null) return taken;
    }
  }
  return null;
}

function addBySource<Chain>(
  direct: PrefixTable<SourceTypes<Chain>>,
  criteria: ChainCriteria,
  chain: Chain,
): Chain | null {
  for (const directRange of orElse(criteria.directSourceRanges, NO_RANGE)) {
    const { tables } = direct.getOrAdd(directRange, newSourceTypes<Chain>);
    const sources = tables[criteria.sourceType] ?? newTable<ChainsByPort<Chain>>();
    tables[criteria.sourceType] = sources;
    for (const range of orElse(criteria.sourceRanges, NO_RANGE)) {
      const ports = sources.getOrAdd(range, newFewMap<number, Chain>);
      for (const port of orElse(criteria.sourcePorts, NO_PORT)) {
        const taken = ports.get(port);
        if (taken !== undefined) return taken;
        ports.set(port, chain);
      }
    }
  }
  return null;
}

function findByServerName<Chain>(names: ServerNames<Chain>, socket: AcceptedSocket): Chain | null {
  const { byName, longestSuffix } = names;
  const name = socket.requestedServerName;
  let transports = byName.get(name);
  if (transports === undefined && longestSuffix > 0) {
    // The first label, whatever it is, is what a wildcard stands for; a name that ends with a dot has no empty suffix.
    let dot = name.indexOf('.', Math.max(1, name.length - longestSuffix));
    while (dot >= 0 && dot < name.length - 1 && transports === undefined) {
      transports = byName.get(name.slice(dot));
      dot = name.indexOf('.', dot + 1);
    }
  }
  transports ??= byName.get('');
  const protocols = transports?.get(socket.detectedTransportProtocol) ?? transports?.get('');
  return protocols === undefined ? null : findByProtocol(protocols, socket);
}

function findByProtocol<Chain>(protocols: ByProtocol<Chain>, socket: AcceptedSocket): Chain | null {
  let sources: PrefixTable<SourceTypes<Chain>> | undefined;
  const offered = socket.applicationProtocols;
  // The client's order of preference decides.
  for (let i = 0; i < offered.length && sources === undefined; i++) sources = protocols.get(offered[i]!);
  sources ??= protocols.get('');
  const types = sources?.find(socket.directRemoteAddress);
  return types === undefined ? null : findBySource(types, socket);
}

function findBySource<Chain>(types: SourceTypes<Chain>, socket: AcceptedSocket): Chain | null {
  const [any, local, external] = types.tables;
  const remote = socket.remoteAddress;
  let table = any;
  if (local !== null || external !== null)
    table = (isSameIpOrLoopback(remote, socket.localAddress) ? local : external) ?? any;
  const ports = table?.find(remote);
  if (ports === undefined) return null;
  return ports.get(remote.kind === 'ip' ? remote.port : 0) ?? ports.get(0) ?? null;
}

function orElse<T>(list: readonly T[], nothing: readonly T[]): readonly T[];
function orElse<T>(list: readonly T[], nothing: readonly null[]): readonly (T | null)[];
function orElse<T>(list: readonly T[], nothing: readonly (T | null)[]): readonly (T | null)[] {
  return list.length === 0 ? nothing : list;
}

function getOrAdd<K, V>(map: Map<K, V> | FewMap<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

function newFewMap<K, V>(): FewMap<K, V> {
  return new FewMap();
}

function newTable<T>(): PrefixTable<T> {
  return new PrefixTable();
}

function newServerNames<Chain>(): ServerNames<Chain> {
  return new ServerNames();
}

function newSourceTypes<Chain>(): SourceTypes<Chain> {
  return new SourceTypes();
}
