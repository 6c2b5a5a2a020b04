import type { TypedExtensionConfig } from '../api/gen/envoy/config/core/v3/extension_pb.d.ts';
import type { ExtensionFeed, ExtensionWatcher } from '../config/builders/discovered-extension.ts';

/** The discovered configurations of extensions of one worker, by the keys of their `ExtensionDependency`. */
export class WorkerExtensions implements ExtensionFeed {
  readonly #known = new Map<string, TypedExtensionConfig>();
  readonly #watchers = new Map<string, ExtensionWatcher[]>();

  watch(key: string, watcher: ExtensionWatcher): void {
    const others = this.#present(key);
    this.#watchers.set(key, [...others, watcher]);
    const known = this.#known.get(key);
    if (known !== undefined) watcher.onConfig(known);
  }

  /** Streams and connections that begin from now on use it. @param config null: it was removed, or nobody needs it */
  set(key: string, config: TypedExtensionConfig | null): void {
    if (config === null) this.#known.delete(key);
    else this.#known.set(key, config);
    const present = this.#present(key);
    if (present.length === 0) this.#watchers.delete(key);
    else this.#watchers.set(key, present);
    for (const watcher of present) watcher.onConfig(config);
  }

  #present(key: string): ExtensionWatcher[] {
    return (this.#watchers.get(key) ?? []).filter((watcher) => !watcher.isGone);
  }
}
