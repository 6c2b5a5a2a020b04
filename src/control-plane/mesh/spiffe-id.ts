/** SPIFFE IDs. Source: SPIFFE, "The SPIFFE Identity and Verifiable Identity Document", section 2. */

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SEGMENT = /^[A-Za-z0-9._-]+$/;
const MAX_BYTES = 2048;

export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text);
}

/** What is wrong with the path of an ID, such as `/ns/default/sa/web`; empty: nothing. */
export function pathFault(path: string): string {
  if (!path.startsWith('/')) return 'the path of a SPIFFE ID begins with /';
  for (const segment of path.slice(1).split('/')) {
    if (segment === '') return 'a segment of the path is empty';
    if (segment === '.' || segment === '..') return 'a segment of the path is . or ..';
    if (!SEGMENT.test(segment))
      return `${JSON.stringify(segment)} is no segment: letters, digits, dot, dash and underscore`;
  }
  return path.length > MAX_BYTES - 300 ? 'the path is too long' : '';
}
