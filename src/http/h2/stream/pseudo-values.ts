/**
 * What bytes pseudo-headers may hold: nghttp2's tables, which Envoy relies on (it is more tolerant than RFC 3986, so that what
 * browsers and proxies really send gets through).
 */

function table(allowed: (c: number) => boolean): Uint8Array {
  const out = new Uint8Array(256);
  for (let c = 0; c < 256; c++) if (allowed(c)) out[c] = 1;
  return out;
}

const isAlphanumeric = (c: number) => (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122);
const oneOf = (text: string) => (c: number) => isAlphanumeric(c) || text.includes(String.fromCharCode(c));

const METHOD = table(oneOf("!#$%&'*+-.^_`|~"));
const SCHEME = table(oneOf('+-.'));
const AUTHORITY = table(oneOf("!$%&'()*+,-.:;=[]_~"));
/** Everything but controls, space and DEL. */
const PATH = table((c) => c > 32 && c !== 127);

function holds(text: string, allowed: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (allowed[text.charCodeAt(i)] === 0) return false;
  return true;
}

export function methodIsValid(value: string): boolean {
  return value === 'GET' || value === 'POST' || holds(value, METHOD);
}

export function schemeIsValid(value: string): boolean {
  if (value === 'http' || value === 'https') return true;
  const first = value.charCodeAt(0) | 32;
  return first >= 97 && first <= 122 && holds(value, SCHEME);
}

export function authorityIsValid(value: string): boolean {
  return holds(value, AUTHORITY);
}

export function pathIsValid(value: string): boolean {
  return holds(value, PATH);
}
