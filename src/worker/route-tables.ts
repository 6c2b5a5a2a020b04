import type { RouteTableFeed } from '../pipeline/environment.ts';
import type { RouteTable } from '../routing/route-table.ts';
import type { Scope } from '../stats/store.ts';

/** One discovered route table: streams take `current()` as they begin, and keep what they took. */
class RouteSlot {
  #table: RouteTable | null = null;
  #stats: Scope | null = null;

  current(): RouteTable | null {
    return this.#table;
  }

  replace(table: RouteTable | null, stats: Scope | null): void {
    const previous = this.#stats;
    this.#table = table;
    this.#stats = stats;
    // After the new one's are announced: stats of the same names go on.
    previous?.close();
  }
}

/** The discovered route tables of one worker, by the keys of their `RouteDependency`. */
export class RouteTables implements RouteTableFeed {
  readonly #slots = new Map<string, RouteSlot>();

  source(key: string): RouteSlot {
    let slot = this.#slots.get(key);
    if (slot === undefined) {
      slot = new RouteSlot();
      this.#slots.set(key, slot);
    }
    return slot;
  }

  /** @param stats what the table was built with; closed when it is replaced */
  set(key: string, table: RouteTable, stats: Scope): void {
    this.source(key).replace(table, stats);
  }

  remove(key: string): void {
    this.#slots.get(key)?.replace(null, null);
    this.#slots.delete(key);
  }
}
