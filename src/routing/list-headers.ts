/** placeholder set until checked against Envoy */
const LIST_HEADERS: ReadonlySet<string> = new Set<string>();

export function isListHeader(name: string): boolean {
  return LIST_HEADERS.has(name);
}
