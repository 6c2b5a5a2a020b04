const ESCAPED: Readonly<Record<string, string>> = {
  '\n': '%0A',
  ' ': '%20',
  '+': '%2B',
  '/': '%2F',
  '=': '%3D',
};

/** PEM as it goes into headers and logs: what means something in a URL's query is escaped (Envoy does the same). */
export function urlEncodedPem(pem: string): string {
  return pem.replace(/[\n +/=]/g, (char) => ESCAPED[char]!);
}

/** The blocks of a PEM text, one by one. */
export function pemBlocks(pem: string): string[] {
  return pem.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----\n?/g) ?? [];
}
