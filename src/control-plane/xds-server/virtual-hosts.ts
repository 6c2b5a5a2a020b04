import type { DeltaItem } from './response-encodings.ts';
import type { SnapshotResource, SnapshotType } from './snapshot.ts';

/** Virtual hosts are named ROUTE/NAME: the route configuration that they are of, and their own name. */
function splitName(name: string): readonly [route: string, rest: string] {
  // The name of a route configuration may hold slashes itself (the Gateway API's do).
  const at = name.lastIndexOf('/');
  return at < 0 ? [name, ''] : [name.slice(0, at), name.slice(at + 1)];
}

/** The route configuration that a virtual host is of, by its name. */
export function routeOf(name: string): string {
  return splitName(name)[0];
}

/** What domains of one kind have beside their star, and whose they are: the first that has it. */
class Affixes {
  readonly #owners = new Map<string, SnapshotResource>();
  /** Lengths that there are, longest first. */
  #lengths: readonly number[] = [];

  add(text: string, resource: SnapshotResource): void {
    if (this.#owners.has(text)) return;
    this.#owners.set(text, resource);
    if (!this.#lengths.includes(text.length)) this.#lengths = [...this.#lengths, text.length].sort((a, b) => b - a);
  }

  /** Of the longest that `cut` finds in a host of this length. */
  find(size: number, cut: (length: number) => string): SnapshotResource | null {
    for (const length of this.#lengths) {
      const found = length <= size ? this.#owners.get(cut(length)) : undefined;
      if (found !== undefined) return found;
    }
    return null;
  }
}

/**
 * The virtual hosts of one route configuration, by domain: a client may ask for very many. Longest match first, as Envoy looks for a
 * virtual host: exact, `*.suffix`, `prefix.*`, `*`.
 */
class RouteHosts {
  readonly all: SnapshotResource[] = [];
  readonly #exact = new Map<string, SnapshotResource>();
  readonly #suffixes = new Affixes();
  readonly #prefixes = new Affixes();
  #any: SnapshotResource | null = null;

  add(resource: SnapshotResource): void {
    this.all.push(resource);
    for (const each of resource.domains) {
      const domain = each.toLowerCase();
      if (!this.#exact.has(domain)) this.#exact.set(domain, resource);
      if (domain === '*') this.#any ??= resource;
      else if (domain.startsWith('*')) this.#suffixes.add(domain.slice(1), resource);
      else if (domain.endsWith('*')) this.#prefixes.add(domain.slice(0, -1), resource);
    }
  }

  of(text: string): SnapshotResource | null {
    const host = text.toLowerCase();
    return (
      this.#exact.get(host) ??
      this.#suffixes.find(host.length, (length) => host.slice(host.length - length)) ??
      this.#prefixes.find(host.length, (length) => host.slice(0, length)) ??
      this.#any
    );
  }
}

/** By route configuration; made once for each version of the resources. */
const INDEXES = new WeakMap<SnapshotType, ReadonlyMap<string, RouteHosts>>();

function indexOf(type: SnapshotType): ReadonlyMap<string, RouteHosts> {
  let index = INDEXES.get(type);
  if (index === undefined) {
    const made = new Map<string, RouteHosts>();
    for (const resource of type.resources.values()) {
      const [route] = splitName(resource.name);
      const hosts = made.get(route) ?? new RouteHosts();
      made.set(route, hosts);
      hosts.add(resource);
    }
    index = made;
    INDEXES.set(type, made);
  }
  return index;
}

const NOTHING = Buffer.alloc(0);

/**
 * What a subscription of virtual hosts is to get. Proxies ask for the name of a route configuration, which stands for all of its
 * virtual hosts, and on demand for ROUTE/DOMAIN: they wait until an answer bears this name as an alias, be it one without content.
 * Source: Envoy, "Virtual Host Discovery Service"; VhdsSubscription::onConfigUpdate.
 */
export function virtualHostsOf(type: SnapshotType, names: Iterable<string>): DeltaItem[] {
  const index = indexOf(type);
  const found = new Map<string, { resource: SnapshotResource; aliases: string[] }>();
  const empty: DeltaItem[] = [];
  const add = (resource: SnapshotResource, alias: string): void => {
    const item = found.get(resource.name) ?? { resource, aliases: [] };
    found.set(resource.name, item);
    if (alias !== '') item.aliases.push(alias);
  };
  for (const name of names) {
    const exact = type.resources.get(name);
    if (exact !== undefined) {
      add(exact, '');
      continue;
    }
    const all = index.get(name);
    if (all !== undefined) {
      for (const resource of all.all) add(resource, '');
      continue;
    }
    const [route, host] = splitName(name);
    if (host === '') continue;
    const one = index.get(route)?.of(host) ?? null;
    if (one !== null) add(one, name);
    else empty.push({ name, version: 'none', any: NOTHING, aliases: [name] });
  }
  const items = [...found.values()].map(({ resource, aliases }) => ({
    name: resource.name,
    // Another alias is another answer.
    version: aliases.length === 0 ? resource.version : `${resource.version}+${aliases.length}`,
    any: resource.any,
    aliases,
  }));
  return [...items, ...empty];
}
