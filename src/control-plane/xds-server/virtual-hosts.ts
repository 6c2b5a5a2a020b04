import type { DeltaItem } from './response-encodings.ts';
import type { SnapshotResource, SnapshotType } from './snapshot.ts';

/** Virtual hosts are named ROUTE/NAME: the route configuration that they are of, and their own name. */
function splitName(name: string): readonly [route: string, rest: string] {
  // The name of a route configuration may hold slashes itself (the Gateway API's do).
  const at = name.lastIndexOf('/');
  return at < 0 ? [name, ''] : [name.slice(0, at), name.slice(at + 1)];
}

/** By route configuration; made once for each version of the resources. */
const INDEXES = new WeakMap<SnapshotType, ReadonlyMap<string, readonly SnapshotResource[]>>();

function indexOf(type: SnapshotType): ReadonlyMap<string, readonly SnapshotResource[]> {
  let index = INDEXES.get(type);
  if (index === undefined) {
    const made = new Map<string, SnapshotResource[]>();
    for (const resource of type.resources.values()) {
      const [route] = splitName(resource.name);
      const list = made.get(route) ?? [];
      made.set(route, list);
      list.push(resource);
    }
    index = made;
    INDEXES.set(type, made);
  }
  return index;
}

/** Longest match first, as Envoy looks for a virtual host: exact, `*.suffix`, `prefix.*`, `*`. */
function rankOf(domain: string, host: string): number {
  if (domain === host) return 4e6;
  if (domain === '*') return 1;
  if (domain.startsWith('*')) return host.endsWith(domain.slice(1)) ? 2e6 + domain.length : 0;
  if (domain.endsWith('*')) return host.startsWith(domain.slice(0, -1)) ? 1e6 + domain.length : 0;
  return 0;
}

function ofHost(hosts: readonly SnapshotResource[], host: string): SnapshotResource | null {
  let best: SnapshotResource | null = null;
  let rank = 0;
  for (const resource of hosts) {
    for (const domain of resource.domains) {
      const found = rankOf(domain.toLowerCase(), host.toLowerCase());
      if (found > rank) {
        rank = found;
        best = resource;
      }
    }
  }
  return best;
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
      for (const resource of all) add(resource, '');
      continue;
    }
    const [route, host] = splitName(name);
    if (host === '') continue;
    const one = ofHost(index.get(route) ?? [], host);
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
