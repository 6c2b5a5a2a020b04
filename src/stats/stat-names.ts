/** Replaces what Envoy replaces in a scope's name and cuts one leading and one trailing dot (`Stats::Utility::sanitizeStatsName`). */
export function sanitizeStatName(name: string): string {
  let from = 0;
  let to = name.length;
  if (to > from && name.charCodeAt(to - 1) === 46) to--;
  if (to > from && name.charCodeAt(from) === 46) from++;
  const trimmed = from === 0 && to === name.length ? name : name.slice(from, to);
  if (!trimmed.includes(':') && !trimmed.includes('\0')) return trimmed;
  return trimmed.replace(/:\/\/|:\/|:|\0/g, '_');
}

/** Joins two parts with a dot unless one of them is empty. */
export function joinStatName(prefix: string, name: string): string {
  if (prefix === '') return name;
  return name === '' ? prefix : `${prefix}.${name}`;
}

/** Byte order: JavaScript compares UTF-16 units, the same for all names in practice. */
export function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Envoy orders Prometheus output by dot-separated token, so `http.x` comes before `http2.x`. */
export function compareTokenwise(a: string, b: string): number {
  // A dot sorts before every other character when tokens are compared one by one.
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return (x === 46 ? -1 : x) - (y === 46 ? -1 : y);
  }
  return a.length - b.length;
}
