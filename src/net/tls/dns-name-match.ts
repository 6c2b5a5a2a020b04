/**
 * Whether a name of a certificate, maybe with a wildcard in its first label, stands for a DNS name.
 * Source: RFC 6125 6.4.3, as Envoy reads it: one `*` that may have text around it, never in an A-label (`xn--`).
 */
export function dnsNameMatches(name: string, pattern: string): boolean {
  const wanted = lowerCased(name);
  const given = lowerCased(pattern);
  if (wanted === given) return true;
  const wantedDot = wanted.indexOf('.');
  const givenDot = given.indexOf('.');
  if (wantedDot < 0 || givenDot < 0) return false;
  const label = given.slice(0, givenDot);
  const star = label.indexOf('*');
  if (star < 0 || given.indexOf('*', star + 1) >= 0 || label.startsWith('xn--')) return false;
  if (wanted.slice(wantedDot) !== given.slice(givenDot)) return false;
  if (label === '*') return true;
  const first = wanted.slice(0, wantedDot);
  if (label.length > first.length + 1) return false;
  return first.startsWith(label.slice(0, star)) && first.endsWith(label.slice(star + 1));
}

/** Of ASCII alone: what else folds in Unicode are other bytes in a certificate. */
function lowerCased(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
