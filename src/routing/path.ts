/** Where query or fragment begin; the length when there is neither. */
export function pathEnd(path: string): number {
  const query = path.indexOf('?');
  const fragment = path.indexOf('#');
  if (query < 0) return fragment < 0 ? path.length : fragment;
  return fragment < 0 || query < fragment ? query : fragment;
}

/** The path without query and fragment. */
export function pathWithoutQuery(path: string): string {
  const end = pathEnd(path);
  return end === path.length ? path : path.slice(0, end);
}
