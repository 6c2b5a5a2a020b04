/** What is fetched only when a request needs it. */
export type Demand =
  /** The route table of a scope; `scopes` is the key of its source. */
  | { readonly kind: 'scope'; readonly scopes: string; readonly name: string }
  /** A virtual host of the discovered route table `routes`. */
  | { readonly kind: 'virtual-host'; readonly routes: string; readonly host: string }
  /** A cluster; `source` is an encoded ConfigSource. */
  | { readonly kind: 'cluster'; readonly source: Uint8Array; readonly name: string; readonly timeoutMs: number };

/** How a demand ended. */
export const DemandOutcome = {
  Found: 0,
  /** It does not exist. */
  Missing: 1,
  /** It did not come in time. */
  Late: 2,
} as const;
export type DemandOutcome = (typeof DemandOutcome)[keyof typeof DemandOutcome];
