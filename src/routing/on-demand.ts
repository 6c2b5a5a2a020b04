/** What is fetched only when a request needs it. */
export type Demand =
  /** The route table of a scope; `scopes` is the key of its source. */
  | { readonly kind: 'scope'; readonly scopes: string; readonly name: string }
  /** A virtual host of the discovered route table `routes`. */
  | { readonly kind: 'virtual-host'; readonly routes: string; readonly host: string }
  /** A cluster; `source` is an encoded ConfigSource. */
  | { readonly kind: 'cluster'; readonly source: Uint8Array; readonly name: string; readonly timeoutMs: number };
