import type { SharedCell } from '../base/shared-table.ts';

/** Why an accepted connection is closed before anything else happens to it. */
export const Admission = { Admitted: 0, ListenerLimit: 1, GlobalLimit: 2, Overload: 3 } as const;
export type Admission = (typeof Admission)[keyof typeof Admission];

/** Says whether a listener may have one more connection. Every Admitted is paid back by one `release`. */
export interface ConnectionLimits {
  admit(): Admission;
  release(): void;
}

/** How many connections there are, over all workers, against a limit that may change at any time (a runtime key). */
export class ConnectionCount {
  readonly #cell: SharedCell;
  readonly #limit: () => number;

  /**
   * @param cell shared where workers share the count
   * @param limit read at every connection; Infinity for none
   */
  constructor(cell: SharedCell, limit: () => number) {
    this.#cell = cell;
    this.#limit = limit;
  }

  /** @returns false at the limit, with nothing counted */
  tryAdd(): boolean {
    if (this.#cell.add(1) < this.#limit()) return true;
    this.#cell.add(-1);
    return false;
  }

  remove(): void {
    this.#cell.add(-1);
  }

  get value(): number {
    return this.#cell.count();
  }
}

/**
 * Envoy's two: `envoy.resource_limits.listener.<name>.connection_limit` and the global one
 * (`overload.global_downstream_max_connections`, from which a listener can be exempt), asked in Envoy's order.
 */
export class CountedLimits implements ConnectionLimits {
  readonly #listener: ConnectionCount | null;
  readonly #global: ConnectionCount | null;

  constructor(listener: ConnectionCount | null, global: ConnectionCount | null) {
    this.#listener = listener;
    this.#global = global;
  }

  admit(): Admission {
    if (this.#global !== null && !this.#global.tryAdd()) return Admission.GlobalLimit;
    if (this.#listener !== null && !this.#listener.tryAdd()) {
      this.#global?.remove();
      return Admission.ListenerLimit;
    }
    return Admission.Admitted;
  }

  release(): void {
    this.#listener?.remove();
    this.#global?.remove();
  }
}
