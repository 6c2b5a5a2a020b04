import type { AcceptedSocket } from './filter.ts';
import type { FilterChainMatcher } from './filter-chain-matcher.ts';
import type { NetworkMatchData } from './network-match-data.ts';

/** What a listener's `filter_chain_matcher` ends in. */
export interface ChainName {
  readonly name: string;
}

/** A compiled unified matcher over what is known of an accepted connection. */
export interface ChainNameMatcher {
  /** @returns null (or, where something is not known, undefined) when nothing matches */
  match(data: NetworkMatchData): ChainName | null | undefined;
}

/**
 * Filter chains by name, which a matcher tells. Where it tells none, the default chain is taken; where it tells a name that no
 * chain has, none. Source: Envoy, FilterChainManagerImpl::findFilterChainUsingMatcher.
 */
export class FilterChainsByName<Chain> implements FilterChainMatcher<Chain> {
  readonly #matcher: ChainNameMatcher;
  readonly #chains: ReadonlyMap<string, Chain>;
  readonly #fallback: Chain | null;

  constructor(matcher: ChainNameMatcher, chains: ReadonlyMap<string, Chain>, fallback: Chain | null) {
    this.#matcher = matcher;
    this.#chains = chains;
    this.#fallback = fallback;
  }

  findChain(socket: AcceptedSocket): Chain | null {
    const found = this.#matcher.match(socket);
    if (found === null || found === undefined) return this.#fallback;
    return this.#chains.get(found.name) ?? null;
  }
}
