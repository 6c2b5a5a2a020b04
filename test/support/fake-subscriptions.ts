import { fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../src/api/api-registry.ts';
import type { DiscoveredResource, Interest, ResourceWatcher, Subscription } from '../../src/xds/resource-source.ts';

/** A resource as a source would hand it over. */
export function discoveredResource(api: ApiRegistry, typeName: string, json: JsonObject): DiscoveredResource {
  const desc = api.message(typeName)!;
  const message = fromJson(desc, json, { registry: api.registry });
  return {
    name: String(json.name ?? json.cluster_name ?? ''),
    version: '1',
    message,
    bytes: toBinary(desc, message),
    origin: { positions: null, path: '', anys: null },
  };
}

/** What is subscribed to, by type and name; a test answers. */
export class FakeSubscriptions {
  readonly watchers = new Map<string, ResourceWatcher>();
  readonly #api: ApiRegistry;

  constructor(api: ApiRegistry) {
    this.#api = api;
  }

  open(_spec: unknown, interest: Interest, watcher: ResourceWatcher): Subscription {
    const key = `${interest.type.short} ${interest.names?.join() ?? '*'}`;
    return {
      start: () => void this.watchers.set(key, watcher),
      want: () => {},
      unwant: () => {},
      stop: () => {
        if (this.watchers.get(key) === watcher) this.watchers.delete(key);
      },
    };
  }

  /** @param key such as `RDS r` or `SRDS *` */
  answer(
    key: string,
    typeName: string,
    resources: readonly JsonObject[],
    removed: readonly string[] = [],
  ): ReturnType<ResourceWatcher['onUpdate']> {
    const watcher = this.watchers.get(key);
    if (watcher === undefined) throw new Error(`nobody watches ${key}; there are ${[...this.watchers.keys()]}`);
    const changed = resources.map((json) => discoveredResource(this.#api, typeName, json));
    return watcher.onUpdate({ changed, removed, version: '1' });
  }
}
