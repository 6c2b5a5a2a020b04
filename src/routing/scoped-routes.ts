import type { RequestHeaders } from '../http/header-map.ts';
import type { Demand } from './on-demand.ts';
import type { RouteTable, RouteTableChoice } from './route-table.ts';

/** Takes one part of a request's scope from a header. Source: ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor. */
export interface HeaderFragment {
  /** Lower case. */
  readonly name: string;
  /** Empty: the value is one element. */
  readonly elementSeparator: string;
  /** Which element; ignored with a key. */
  readonly index: number;
  /** The element with this key, up to the first separator; null: by index. */
  readonly element: { readonly key: string; readonly separator: string } | null;
}

/** The key of a scope from its parts: equal for equal lists. */
export function scopeKey(fragments: readonly string[]): string {
  return fragments.map((fragment) => `${fragment.length}:${fragment}`).join('');
}

function partOf(fragment: HeaderFragment, headers: RequestHeaders): string | null {
  const value = headers.lookup(fragment.name);
  if (value === null) return null;
  const elements = fragment.elementSeparator === '' ? [value] : value.split(fragment.elementSeparator);
  if (fragment.element === null) return elements[fragment.index] ?? null;
  const { key, separator } = fragment.element;
  for (const element of elements) {
    const at = separator === '' ? -1 : element.indexOf(separator);
    if ((at < 0 ? element : element.slice(0, at)) === key) return at < 0 ? '' : element.slice(at + separator.length);
  }
  return null;
}

/** One scope: requests of its key are routed by its table. */
export interface RouteScope {
  readonly name: string;
  /** See {@link scopeKey}. */
  readonly key: string;
  readonly tables: { current(): RouteTable | null };
}

/** Scopes by name and key. It changes in place: so do the scopes of streams under way, as in Envoy. */
export class ScopeSet {
  /** Key of the source that they are discovered from; empty: they are fixed. */
  readonly source: string;
  readonly #byName = new Map<string, RouteScope>();
  readonly #byKey = new Map<string, RouteScope>();

  constructor(source: string) {
    this.source = source;
  }

  set(scope: RouteScope): void {
    this.remove(scope.name);
    this.#byName.set(scope.name, scope);
    this.#byKey.set(scope.key, scope);
  }

  remove(name: string): void {
    const scope = this.#byName.get(name);
    if (scope === undefined) return;
    this.#byName.delete(name);
    if (this.#byKey.get(scope.key) === scope) this.#byKey.delete(scope.key);
  }

  find(key: string): RouteScope | null {
    return this.#byKey.get(key) ?? null;
  }
}

/** Picks the route table by the request's scope. Source: envoy, HttpConnectionManager.scoped_routes. */
export class ScopedRoutes implements RouteTableChoice {
  readonly #fragments: readonly HeaderFragment[];
  readonly #scopes: ScopeSet;

  constructor(fragments: readonly HeaderFragment[], scopes: ScopeSet) {
    this.#fragments = fragments;
    this.#scopes = scopes;
  }

  tableFor(headers: RequestHeaders): RouteTable | null {
    return this.scopeOf(headers)?.tables.current() ?? null;
  }

  demandFor(headers: RequestHeaders): Demand | null {
    const scope = this.scopeOf(headers);
    if (scope === null) return null;
    const table = scope.tables.current();
    if (table !== null) return table.demandFor(headers);
    // It is on demand, or did not come in time: either way a request may wait for it.
    return { kind: 'scope', scopes: this.#scopes.source, name: scope.name };
  }

  /** Null: a part of the key is missing, or no scope has it. */
  scopeOf(headers: RequestHeaders): RouteScope | null {
    const values: string[] = [];
    for (const fragment of this.#fragments) {
      const value = partOf(fragment, headers);
      if (value === null) return null;
      values.push(value);
    }
    return this.#scopes.find(scopeKey(values));
  }
}
