import type { SecretFeed, SecretWatcher, TlsContextInUse } from '../net/transport-socket.ts';

/** The secrets that main has given to a worker, by the keys of their `SecretDependency`. */
export class WorkerSecrets implements SecretFeed {
  readonly #known = new Map<string, Uint8Array>();
  readonly #contexts = new Set<() => TlsContextInUse>();
  readonly #watchers = new Map<string, Set<SecretWatcher>>();

  watch(key: string, watcher: SecretWatcher): () => void {
    let watchers = this.#watchers.get(key);
    if (watchers === undefined) {
      watchers = new Set();
      this.#watchers.set(key, watchers);
    }
    watchers.add(watcher);
    const known = this.#known.get(key);
    if (known !== undefined) watcher.onSecret(known);
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0 && this.#watchers.get(key) === watchers) this.#watchers.delete(key);
    };
  }

  enlist(context: () => TlsContextInUse): () => void {
    this.#contexts.add(context);
    return () => this.#contexts.delete(context);
  }

  /** What is in use, for `/certs`. */
  contexts(): TlsContextInUse[] {
    return [...this.#contexts].map((context) => context());
  }

  set(key: string, secret: Uint8Array): void {
    this.#known.set(key, secret);
    for (const watcher of [...(this.#watchers.get(key) ?? [])]) watcher.onSecret(secret);
  }

  /** Nothing is to use it any more; whoever watches keeps what it has. */
  remove(key: string): void {
    this.#known.delete(key);
  }
}
