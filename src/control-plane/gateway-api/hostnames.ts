/**
 * Names of hosts in listeners and routes: exact, or with a wildcard as the whole first label, which stands for one label or more.
 * Source: Gateway API, Hostname.
 */

/** Whether `wildcard` (`*.example.com`) covers another name, which may be a wildcard itself. */
function covers(wildcard: string, name: string): boolean {
  return name.length > wildcard.length - 1 && name.endsWith(wildcard.slice(1));
}

/** What both name; null: nothing. An empty name stands for any. */
export function intersect(listener: string, route: string): string | null {
  const [a, b] = [listener.toLowerCase(), route.toLowerCase()];
  if (a === '' || a === b) return b;
  if (b === '') return a;
  if (a.startsWith('*.') && covers(a, b)) return b;
  if (b.startsWith('*.') && covers(b, a)) return a;
  return null;
}

/**
 * The names under which a listener serves a route.
 * @param listener empty: any
 * @param route none: the listener's
 */
export function servedHostnames(listener: string, route: readonly string[]): string[] {
  if (route.length === 0) return [listener.toLowerCase()];
  const names = new Set<string>();
  for (const each of route) {
    const name = intersect(listener, each);
    if (name !== null) names.add(name);
  }
  return [...names];
}

/** Whether a listener of name `hostname` would take requests for `name`, exact or wildcard. */
export function takes(hostname: string, name: string): boolean {
  return hostname === '' || hostname === name || (hostname.startsWith('*.') && covers(hostname, name));
}

/** Of two listeners that take a name, the one with the larger figure gets it. */
export function specificity(hostname: string): number {
  if (hostname === '') return -1;
  return hostname.startsWith('*.') ? hostname.length : 1000 + hostname.length;
}
