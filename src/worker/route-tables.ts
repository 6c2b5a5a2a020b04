import type { RoutePieces } from '../config/builders/route-pieces.ts';
import type { RouteTableFeed } from '../pipeline/environment.ts';
import type { RouteTable } from '../routing/route-table.ts';
import { ScopeSet } from '../routing/scoped-routes.ts';
import type { Scope } from '../stats/store.ts';
import type { ScopeOrder } from './messages.ts';

const NO_TABLE = { current: () => null };

/** One discovered route table: streams take `current()` as they begin, and keep what they took. */
class RouteSlot {
  #table: RouteTable | null = null;
  #stats: Scope | null = null;
  /** Of the table: what is equal in the next one is not built again. Null: there is none. */
  pieces: RoutePieces | null = null;

  current(): RouteTable | null {
    return this.#table;
  }

  /**
   * @param stats what the table was built with; closed when it is replaced
   * @param pieces see {@link pieces}
   */
  replace(table: RouteTable | null, stats: Scope | null, pieces: RoutePieces | null): void {
    const previous = this.#stats;
    this.#table = table;
    this.#stats = stats;
    this.pieces = pieces;
    // After the new one's are announced: stats of the same names go on.
    previous?.close();
  }
}

/** The discovered route tables of one worker, by the keys of their `RouteDependency`. */
export class RouteTables implements RouteTableFeed {
  readonly #slots = new Map<string, RouteSlot>();
  readonly #scopes = new Map<string, ScopeSet>();

  source(key: string): RouteSlot {
    let slot = this.#slots.get(key);
    if (slot === undefined) {
      slot = new RouteSlot();
      this.#slots.set(key, slot);
    }
    return slot;
  }

  scopes(key: string): ScopeSet {
    let set = this.#scopes.get(key);
    if (set === undefined) {
      set = new ScopeSet(key);
      this.#scopes.set(key, set);
    }
    return set;
  }

  /** @param changed their tables are there, or are asked for on demand */
  applyScopes(key: string, changed: readonly ScopeOrder[], removed: readonly string[]): void {
    const set = this.scopes(key);
    for (const name of removed) set.remove(name);
    for (const { name, scopeKey, routes } of changed) {
      set.set({ name, key: scopeKey, tables: routes === '' ? NO_TABLE : this.source(routes) });
    }
  }

  /** Nobody uses the scopes any more. */
  removeScopes(key: string): void {
    this.#scopes.delete(key);
  }

  remove(key: string): void {
    this.#slots.get(key)?.replace(null, null, null);
    this.#slots.delete(key);
  }
}
