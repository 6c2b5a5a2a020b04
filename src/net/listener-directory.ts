import type { Address } from './address.ts';
import type { ListenerRuntime } from './listener-chain.ts';

/** The listeners of one worker that take connections, by address and, where they are internal, by name. */
export class ListenerDirectory {
  readonly #byAddress = new Map<string, ListenerRuntime>();
  readonly #internal = new Map<string, ListenerRuntime>();

  /** @param alsoIpv4 an address of all of IPv6 that takes IPv4 as well */
  add(address: Address, listener: ListenerRuntime, alsoIpv4 = false): void {
    this.#byAddress.set(address.text, listener);
    if (address.kind === 'ip' && address.ip === '::' && alsoIpv4) {
      this.#byAddress.set(`0.0.0.0:${address.port}`, listener);
    }
  }

  addInternal(name: string, listener: ListenerRuntime): void {
    this.#internal.set(name, listener);
  }

  /** The listener takes no more connections. */
  remove(listener: ListenerRuntime): void {
    for (const map of [this.#byAddress, this.#internal]) {
      for (const [key, present] of map) if (present === listener) map.delete(key);
    }
  }

  /** By the very address, else by that of all addresses with its port. */
  find(address: Address): ListenerRuntime | null {
    const exact = this.#byAddress.get(address.text);
    if (exact !== undefined || address.kind !== 'ip') return exact ?? null;
    return this.#byAddress.get(`${address.version === 4 ? '0.0.0.0' : '[::]'}:${address.port}`) ?? null;
  }

  internal(name: string): ListenerRuntime | null {
    return this.#internal.get(name) ?? null;
  }
}
