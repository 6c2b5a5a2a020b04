import { specificity, takes } from './hostnames.ts';
import { byRank, type HttpRouteTranslator, type RankedRoute } from './http-routes.ts';
import type { Section } from './listeners.ts';
import type { GrpcRoute, HttpRoute } from './manifest-types.ts';
import type { Resource } from './resources.ts';

/** What one listener serves under one name. */
interface Host {
  readonly name: string;
  readonly routes: readonly Resource[];
}

/** Whether another listener of the port has a better claim to a name that this one covers. */
function isTaken(section: Section, others: readonly Section[], name: string): boolean {
  return others.some(
    (other) =>
      other !== section && takes(other.hostname, name) && specificity(other.hostname) > specificity(section.hostname),
  );
}

/**
 * The names of one listener: its own, so that no other listener answers for it even where it has no routes (listener isolation), and
 * those of its routes. Under each stand the routes of the names that cover it too, behind: precedence is given to the route with the
 * longest name that matches, it does not hide the others (Gateway API, HTTPRoute.hostnames).
 */
function hostsOf(section: Section, others: readonly Section[], translator: HttpRouteTranslator): Host[] {
  const entrance = { port: section.port, secure: section.protocol === 'HTTPS' };
  const routes = section.attached.map(({ route }) => translator.translate(route as HttpRoute | GrpcRoute, entrance));
  /** By name, the routes that have it, oldest first. */
  const byName = new Map<string, number[]>([[section.hostname, []]]);
  for (const [index, { hostnames }] of section.attached.entries()) {
    for (const name of hostnames) {
      if (isTaken(section, others, name)) continue;
      const list = byName.get(name) ?? [];
      byName.set(name, list);
      list.push(index);
    }
  }
  return [...byName.keys()].map((name) => {
    const found: Resource[] = [];
    const seen = new Set<number>();
    for (const covering of coveringNames(name)) {
      const own: RankedRoute[] = [];
      for (const index of byName.get(covering) ?? []) {
        if (seen.has(index)) continue;
        seen.add(index);
        own.push(...routes[index]!);
      }
      for (const { route } of own.sort(byRank)) found.push(route);
    }
    return { name, routes: found };
  });
}

/** All names that cover one, itself first, then from longer to shorter wildcards to any. */
function coveringNames(name: string): string[] {
  const names = [name];
  if (name === '') return names;
  const bare = name.startsWith('*.') ? name.slice(2) : name;
  for (let dot = bare.indexOf('.'); dot >= 0; dot = bare.indexOf('.', dot + 1)) names.push(`*${bare.slice(dot)}`);
  names.push('');
  return names;
}

function routeConfiguration(name: string, hosts: readonly Host[]): Resource {
  const sorted = [...hosts].sort((a, b) => specificity(b.name) - specificity(a.name) || (a.name < b.name ? -1 : 1));
  return {
    name,
    ignore_port_in_host_matching: true,
    virtual_hosts: sorted.map((host) => {
      const domain = host.name === '' ? '*' : host.name;
      return { name: `${name}/${domain}`, domains: [domain], routes: host.routes };
    }),
  };
}

/** The routes of all listeners of a port that speak HTTP without TLS: the request's name tells them apart. */
export function plainRoutes(name: string, sections: readonly Section[], translator: HttpRouteTranslator): Resource {
  return routeConfiguration(
    name,
    sections.flatMap((section) => hostsOf(section, sections, translator)),
  );
}

/**
 * The routes of one listener for HTTPS, chosen by the name of the handshake. A request for a name that belongs to another listener of the
 * port was misdirected, and is answered by 421 (Gateway API, Listener.hostname; RFC 9110, 15.5.20).
 * @param sections those of the port that speak HTTPS
 */
export function secureRoutes(
  name: string,
  section: Section,
  sections: readonly Section[],
  translator: HttpRouteTranslator,
): Resource {
  const misdirected: Resource = { match: { prefix: '/' }, direct_response: { status: 421 } };
  const foreign = sections
    .filter((other) => other !== section)
    .map(({ hostname }) => ({ name: hostname, routes: [misdirected] }));
  return routeConfiguration(name, [...hostsOf(section, sections, translator), ...foreign]);
}
