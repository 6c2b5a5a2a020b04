import { ipBytes } from './cidr.ts';
import type { AcceptedSocket } from './filter.ts';
import type { FilterChainMatcher } from './filter-chain-matcher.ts';

export interface AddressRange {
  readonly prefix: Uint8Array;
  readonly bits: number;
}

/** Where a connection comes from: from this machine (same address or loopback), or from elsewhere. */
export const SourceType = { Any: 0, SameIpOrLoopback: 1, External: 2 } as const;
export type SourceType = (typeof SourceType)[keyof typeof SourceType];

/** What a filter chain asks of a connection; empty lists, 0 and '' ask for nothing. Source: envoy FilterChainMatch. */
export interface ChainCriteria {
  readonly destinationPort: number;
  readonly destinationRanges: readonly AddressRange[];
  /** Lower case. A wildcard is written by its suffix: `.example.com`. */
  readonly serverNames: readonly string[];
  readonly transportProtocol: string;
  readonly applicationProtocols: readonly string[];
  readonly directSourceRanges: readonly AddressRange[];
  readonly sourceType: SourceType;
  readonly sourceRanges: readonly AddressRange[];
  readonly sourcePorts: readonly number[];
}

export interface MatchedChain<Chain> {
  readonly criteria: ChainCriteria;
  readonly chain: Chain;
}

/** Stands for an address that is none of IP: only chains that ask for no address match it. */
const NO_BYTES = new Uint8Array(0);
const MISS = -1;

interface Facts {
  readonly localPort: number;
  readonly local: Uint8Array;
  readonly remotePort: number;
  readonly remote: Uint8Array;
  readonly direct: Uint8Array;
  readonly isLocal: boolean;
  readonly socket: AcceptedSocket;
}

/**
 * How well a chain fits in one respect: -1 not at all, 0 asks for nothing, above that the greater the more specific. In Envoy's
 * order. The best of each respect are kept for the next one; there is no way back.
 */
const RESPECTS: readonly ((criteria: ChainCriteria, facts: Facts) => number)[] = [
  (criteria, facts) => (criteria.destinationPort === 0 ? 0 : criteria.destinationPort === facts.localPort ? 1 : MISS),
  (criteria, facts) => longestPrefix(criteria.destinationRanges, facts.local),
  (criteria, facts) => serverNameFit(criteria.serverNames, facts.socket.requestedServerName),
  (criteria, facts) =>
    criteria.transportProtocol === ''
      ? 0
      : criteria.transportProtocol === facts.socket.detectedTransportProtocol
        ? 1
        : MISS,
  (criteria, facts) => protocolFit(criteria.applicationProtocols, facts.socket.applicationProtocols),
  (criteria, facts) => longestPrefix(criteria.directSourceRanges, facts.direct),
  (criteria, facts) =>
    criteria.sourceType === SourceType.Any
      ? 0
      : (criteria.sourceType === SourceType.SameIpOrLoopback) === facts.isLocal
        ? 1
        : MISS,
  (criteria, facts) => longestPrefix(criteria.sourceRanges, facts.remote),
  (criteria, facts) =>
    criteria.sourcePorts.length === 0 ? 0 : criteria.sourcePorts.includes(facts.remotePort) ? 1 : MISS,
];

/** Picks the most specific chain, respect by respect. Source: Envoy, FilterChainManagerImpl::findFilterChain. */
export class CriteriaMatcher<Chain> implements FilterChainMatcher<Chain> {
  readonly #chains: readonly MatchedChain<Chain>[];
  readonly #fallback: Chain | null;

  constructor(chains: readonly MatchedChain<Chain>[], fallback: Chain | null) {
    this.#chains = chains;
    this.#fallback = fallback;
  }

  findChain(socket: AcceptedSocket): Chain | null {
    const facts = factsOf(socket);
    let left = this.#chains;
    for (const respect of RESPECTS) {
      let best = MISS;
      let kept: MatchedChain<Chain>[] = [];
      for (const one of left) {
        const fit = respect(one.criteria, facts);
        if (fit < best || fit === MISS) continue;
        if (fit > best) kept = [];
        best = fit;
        kept.push(one);
      }
      if (kept.length === 0) return this.#fallback;
      left = kept;
    }
    return left[0]!.chain;
  }
}

function factsOf(socket: AcceptedSocket): Facts {
  const { localAddress: local, remoteAddress: remote, directRemoteAddress: direct } = socket;
  const remoteBytes = remote.kind === 'ip' ? (ipBytes(remote.ip) ?? NO_BYTES) : NO_BYTES;
  return {
    localPort: local.kind === 'ip' ? local.port : 0,
    local: local.kind === 'ip' ? (ipBytes(local.ip) ?? NO_BYTES) : NO_BYTES,
    remotePort: remote.kind === 'ip' ? remote.port : 0,
    remote: remoteBytes,
    direct: direct.kind === 'ip' ? (ipBytes(direct.ip) ?? NO_BYTES) : NO_BYTES,
    isLocal:
      remote.kind !== 'ip' ||
      (local.kind === 'ip' && local.ip === remote.ip) ||
      remote.ip === '::1' ||
      remoteBytes[0] === 127,
    socket,
  };
}

/** Length of the longest range that holds the address; no ranges are as good as all addresses. */
function longestPrefix(ranges: readonly AddressRange[], bytes: Uint8Array): number {
  if (ranges.length === 0) return 0;
  let best = MISS;
  for (const { prefix, bits } of ranges) if (bits > best && contains(prefix, bits, bytes)) best = bits;
  return best;
}

function contains(prefix: Uint8Array, bits: number, bytes: Uint8Array): boolean {
  if (bytes.length !== prefix.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (bytes[i] !== prefix[i]) return false;
  const rest = bits & 7;
  return rest === 0 || (bytes[whole]! ^ prefix[whole]!) >> (8 - rest) === 0;
}

function serverNameFit(names: readonly string[], requested: string): number {
  if (names.length === 0) return 0;
  let best = MISS;
  for (const name of names) {
    // The exact name beats any wildcard, a longer wildcard a shorter one.
    const fits = name === requested || (name.charCodeAt(0) === 46 && requested.endsWith(name));
    if (fits) best = Math.max(best, name === requested ? 256 : name.length);
  }
  return best;
}

/** The client's order of preference decides. */
function protocolFit(wanted: readonly string[], offered: readonly string[]): number {
  if (wanted.length === 0) return 0;
  const at = offered.findIndex((protocol) => wanted.includes(protocol));
  return at < 0 ? MISS : offered.length - at;
}
