import type { PersonalResources } from './personal-resources.ts';
import type { Snapshot, SnapshotResource, SnapshotType } from './snapshot.ts';

export const CLUSTER_URL = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';
export const ENDPOINT_URL = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment';
export const LISTENER_URL = 'type.googleapis.com/envoy.config.listener.v3.Listener';
export const SCOPED_ROUTE_URL = 'type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration';
export const VIRTUAL_HOST_URL = 'type.googleapis.com/envoy.config.route.v3.VirtualHost';
export const SECRET_URL = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

/**
 * In which order types go out: what is named before what names it. Removals go the other way, and only once what named them is
 * acknowledged to be gone (make before break). Source: Envoy, xDS protocol, "Eventual consistency considerations".
 */
export const TYPE_ORDER: readonly string[] = [
  SECRET_URL,
  CLUSTER_URL,
  ENDPOINT_URL,
  LISTENER_URL,
  SCOPED_ROUTE_URL,
  'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  VIRTUAL_HOST_URL,
  'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig',
  'type.googleapis.com/envoy.service.runtime.v3.Runtime',
];

const LINGERING: ReadonlySet<string> = new Set(TYPE_ORDER.slice(0, 3));
/** Types whose acknowledgement says that nothing names the removed any more. */
const NAMING: ReadonlySet<string> = new Set(TYPE_ORDER.slice(3, 7));

/** Whether removed resources of the type stay until listeners and routes have let go of them. */
export function lingers(typeUrl: string): boolean {
  return LINGERING.has(typeUrl);
}

export function isNaming(typeUrl: string): boolean {
  return NAMING.has(typeUrl);
}

/** What one stream is to see: a snapshot, and what has been taken out of it and lingers. */
export class ResourceView {
  #snapshot: Snapshot;
  readonly #lingering = new Map<string, Map<string, SnapshotResource>>();
  /** How many resources linger. */
  #count = 0;
  /** What this client alone gets; null: nothing. */
  personal: PersonalResources | null = null;

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot;
  }

  get isLingering(): boolean {
    return this.#count > 0;
  }

  /** @param keep whether clusters and the like that are removed stay for now */
  replace(snapshot: Snapshot, keep: boolean): void {
    for (const typeUrl of keep ? LINGERING : []) {
      const kept = this.#lingering.get(typeUrl) ?? new Map<string, SnapshotResource>();
      const present = snapshot.type(typeUrl).resources;
      for (const [name, resource] of this.#snapshot.type(typeUrl).resources) {
        if (!present.has(name)) kept.set(name, resource);
      }
      for (const name of [...kept.keys()]) if (present.has(name)) kept.delete(name);
      this.#lingering.set(typeUrl, kept);
    }
    this.#snapshot = snapshot;
    this.#count = [...this.#lingering.values()].reduce((sum, kept) => sum + kept.size, 0);
  }

  /** Nothing names the removed any more. @returns the types that change by it */
  letGo(): string[] {
    const changed = [...this.#lingering].filter(([, kept]) => kept.size > 0).map(([typeUrl]) => typeUrl);
    this.#lingering.clear();
    this.#count = 0;
    return changed;
  }

  #keptOf(typeUrl: string): ReadonlyMap<string, SnapshotResource> | undefined {
    const kept = this.#lingering.get(typeUrl);
    return kept === undefined || kept.size === 0 ? undefined : kept;
  }

  get(typeUrl: string, name: string): SnapshotResource | null {
    return (
      this.personal?.get(typeUrl, name) ??
      this.#snapshot.type(typeUrl).resources.get(name) ??
      this.#keptOf(typeUrl)?.get(name) ??
      null
    );
  }

  /** Everything of a type. */
  *all(typeUrl: string): IterableIterator<SnapshotResource> {
    yield* this.#snapshot.type(typeUrl).resources.values();
    yield* this.#keptOf(typeUrl)?.values() ?? [];
  }

  /** The snapshot's own type where nothing lingers: equal objects have equal encodings. Null otherwise. */
  pure(typeUrl: string): SnapshotType | null {
    return this.#keptOf(typeUrl) === undefined ? this.#snapshot.type(typeUrl) : null;
  }

  versionOf(typeUrl: string): string {
    const { version } = this.#snapshot.type(typeUrl);
    const kept = this.#keptOf(typeUrl);
    return kept === undefined ? version : `${version}+${kept.size}`;
  }
}
