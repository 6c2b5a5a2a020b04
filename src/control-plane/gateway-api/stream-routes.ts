import type { BackendClusters, BackendUse } from './backend-clusters.ts';
import { specificity, takes } from './hostnames.ts';
import { NO_BACKEND } from './http-routes.ts';
import { type Section, sectionName } from './listeners.ts';
import { keyOf } from './manifest-set.ts';
import type { Route, TcpRoute, TlsRoute } from './manifest-types.ts';
import { isFault } from './references.ts';
import { type Resource, typed } from './resources.ts';

export function serverNames(hostnames: readonly string[]): Resource {
  return hostnames.includes('') ? {} : { filter_chain_match: { server_names: hostnames } };
}

/** A relay to the backends of a route. Connections for one that cannot be used find no cluster, and are closed. */
function relay(name: string, route: Route | null, use: BackendUse, clusters: BackendClusters): Resource {
  const weighted: { name: string; weight: number }[] = [];
  for (const reference of (route as TlsRoute | TcpRoute | null)?.spec.rules?.[0]?.backendRefs ?? []) {
    const resolved = clusters.resolve(route!, reference);
    const weight = reference.weight ?? 1;
    if (weight === 0) continue;
    weighted.push({ name: isFault(resolved) ? NO_BACKEND : clusters.clusterOf(resolved, use), weight });
  }
  const target =
    weighted.length > 1 ? { weighted_clusters: { clusters: weighted } } : { cluster: weighted[0]?.name ?? NO_BACKEND };
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: typed('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
      stat_prefix: name.replaceAll(/[.:]/g, '_'),
      ...target,
    }),
  };
}

/** Bytes without a name have nothing to choose by: the oldest route has them all. */
export function tcpChain(section: Section, clusters: BackendClusters): Resource | null {
  const [first] = section.attached;
  if (first === undefined) return null;
  const name = `${sectionName(section)}/${first.route.kind}/${keyOf(first.route)}`;
  return { name, filters: [relay(name, first.route, 'bytes', clusters)] };
}

/**
 * One filter chain for each route of a listener that chooses by the name of the handshake. A name is in one chain only (proxies refuse
 * a listener otherwise): that of the oldest route, of the listener that names it most exactly. What is left of the listener's own name
 * is closed rather than left to a listener that covers it.
 * @param sections those of the port
 * @param socket for the listener's side; null: what comes is passed on as it is
 */
export function tlsChains(
  section: Section,
  sections: readonly Section[],
  clusters: BackendClusters,
  socket: Resource | null,
): Resource[] {
  const use: BackendUse = socket === null ? 'passthrough' : 'bytes';
  const taken = new Set<string>();
  const chains: Resource[] = [];
  const add = (name: string, hostnames: readonly string[], route: Route | null): void => {
    chains.push({
      name,
      ...serverNames(hostnames),
      filters: [relay(name, route, use, clusters)],
      ...(socket === null ? {} : { transport_socket: socket }),
    });
  };
  for (const { route, hostnames } of section.attached) {
    const own = hostnames.filter(
      (name) =>
        !taken.has(name) &&
        !sections.some(
          (other) =>
            other !== section &&
            takes(other.hostname, name) &&
            specificity(other.hostname) > specificity(section.hostname),
        ),
    );
    if (own.length === 0) continue;
    for (const name of own) taken.add(name);
    add(`${sectionName(section)}/${route.kind}/${keyOf(route)}`, own, route);
  }
  const covered = sections.some((other) => other !== section && takes(other.hostname, section.hostname));
  if (covered && !taken.has(section.hostname)) add(`${sectionName(section)}/none`, [section.hostname], null);
  return chains;
}
