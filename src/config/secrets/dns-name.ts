/**
 * Whether a certificate's DNS name stands for `name`; its left-most label may hold one `*`, which stands for any part of a
 * label. Case does not count. Source: RFC 6125 section 6.4.3, as far as Envoy follows it.
 */
export function dnsNameMatches(name: string, pattern: string): boolean {
  const wanted = name.toLowerCase();
  const offered = pattern.toLowerCase();
  if (wanted === offered) return true;
  const dot = wanted.indexOf('.');
  const patternDot = offered.indexOf('.');
  if (dot < 0 || patternDot < 0 || wanted.substring(dot) !== offered.substring(patternDot)) return false;
  if (offered.indexOf('*', patternDot) >= 0) return false;
  return labelMatches(wanted.substring(0, dot), offered.substring(0, patternDot));
}

/** An internationalised label takes no wildcard. */
function labelMatches(label: string, pattern: string): boolean {
  if (pattern === '*') return true;
  const star = pattern.indexOf('*');
  if (star < 0 || pattern.includes('*', star + 1) || pattern.startsWith('xn--')) return false;
  const tail = pattern.substring(star + 1);
  return pattern.length <= label.length + 1 && label.startsWith(pattern.substring(0, star)) && label.endsWith(tail);
}
