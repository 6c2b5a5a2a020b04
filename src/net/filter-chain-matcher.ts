import type { AcceptedSocket } from './filter.ts';

/** Picks a listener's filter chain for a new connection (Envoy: FilterChainMatch). Built once per configuration. */
export interface FilterChainMatcher<Chain> {
  /** @returns null when no chain matches and there is no default: `no_filter_chain_match`, the connection is closed */
  findChain(socket: AcceptedSocket): Chain | null;
}

/** The usual listener: one chain without a match of its own, or the default chain alone. */
export class SingleFilterChain<Chain> implements FilterChainMatcher<Chain> {
  readonly #chain: Chain | null;

  constructor(chain: Chain | null) {
    this.#chain = chain;
  }

  findChain(_socket: AcceptedSocket): Chain | null {
    return this.#chain;
  }
}
