import type { InitTarget } from './init-targets.ts';

/** Who waits for the first answer about something, whatever it says. */
export class FirstAnswer {
  /** Why the last answer was refused; empty: it was not, or there was none. */
  lastRefusal = '';
  #came = false;
  #waiting: InitTarget[] = [];

  /** @param target is ready with the answer: now, when it was there already */
  await(target: InitTarget): void {
    if (this.#came) {
      target.ready();
      return;
    }
    target.lastRefusal = this.lastRefusal;
    this.#waiting.push(target);
  }

  refused(details: string): void {
    this.lastRefusal = details;
    for (const target of this.#waiting) target.lastRefusal = details;
  }

  /** It is there, or will not be waited for any longer. */
  came(): void {
    this.#came = true;
    for (const target of this.#waiting.splice(0)) target.ready();
  }
}

/** Something that is discovered, for all who need it. */
export interface Provider {
  readonly name: string;
  readonly first: FirstAnswer;
  users: number;
  stop(): void;
}

/** What is followed for those who need it: from the first of them to the last. */
export class Providers<P extends Provider> {
  readonly #byKey = new Map<string, P>();

  get(key: string): P | undefined {
    return this.#byKey.get(key);
  }

  values(): IterableIterator<P> {
    return this.#byKey.values();
  }

  /** Somebody needs it. */
  acquire(key: string, create: () => P): P {
    let provider = this.#byKey.get(key);
    if (provider === undefined) {
      provider = create();
      this.#byKey.set(key, provider);
    }
    provider.users++;
    return provider;
  }

  /** One who needed it is gone. @returns whether that was the last: it has been stopped */
  release(key: string): boolean {
    const provider = this.#byKey.get(key);
    if (provider === undefined || --provider.users > 0) return false;
    this.#byKey.delete(key);
    provider.stop();
    return true;
  }

  /** Those whose last update was refused. */
  refusals(): { readonly name: string; readonly details: string }[] {
    return [...this.#byKey.values()]
      .filter(({ first }) => first.lastRefusal !== '')
      .map(({ name, first }) => ({ name, details: first.lastRefusal }));
  }

  stop(): void {
    for (const provider of this.#byKey.values()) provider.stop();
  }
}
