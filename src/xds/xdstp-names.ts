import type { Interest, ResourceRefusal, ResourceUpdate, ResourceWatcher } from './resource-source.ts';

const SCHEME = 'xdstp:';

/** A name as it goes over the wire: context parameters in order. Source: Envoy, XdsResourceIdentifier; xDS proposal TP1. */
export function canonicalName(name: string): string {
  const query = name.indexOf('?');
  if (!name.startsWith(SCHEME) || query < 0) return name;
  const fragment = name.indexOf('#', query);
  const end = fragment < 0 ? name.length : fragment;
  const parameters = name
    .slice(query + 1, end)
    .split('&')
    .sort();
  return `${name.slice(0, query)}?${parameters.join('&')}${name.slice(end)}`;
}

/** Hears of resources under the names that the configuration has for them. */
class RenamingWatcher implements ResourceWatcher {
  readonly #watcher: ResourceWatcher;
  /** By canonical name. */
  readonly #configured: ReadonlyMap<string, string>;

  constructor(watcher: ResourceWatcher, configured: ReadonlyMap<string, string>) {
    this.#watcher = watcher;
    this.#configured = configured;
  }

  #nameOf(name: string): string {
    return this.#configured.get(canonicalName(name)) ?? name;
  }

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    return this.#watcher.onUpdate({
      ...update,
      // A message may be there only when it is asked for.
      changed: update.changed.map((resource) => {
        return { ...resource, message: resource.message, name: this.#nameOf(resource.name) };
      }),
      removed: update.removed.map((name) => this.#nameOf(name)),
    });
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    this.#watcher.onFailure(reason, details);
  }
}

/**
 * The interest with names as they go over the wire. (Envoy asks for those too, and then refuses the endpoints that come under them
 * where the configuration has the parameters in another order.)
 */
export function withCanonicalNames(
  interest: Interest,
  watcher: ResourceWatcher,
): { readonly interest: Interest; readonly watcher: ResourceWatcher } {
  const { names } = interest;
  if (names === null || names.every((name) => canonicalName(name) === name)) return { interest, watcher };
  const configured = new Map(names.map((name) => [canonicalName(name), name]));
  return {
    interest: { ...interest, names: [...configured.keys()] },
    watcher: new RenamingWatcher(watcher, configured),
  };
}
