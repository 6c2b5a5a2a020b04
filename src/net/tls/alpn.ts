/** Names in the form of RFC 7301 3.1, each behind its length. @returns null for none */
export function alpnWire(protocols: readonly string[]): ArrayBuffer | null {
  if (protocols.length === 0) return null;
  const parts: number[] = [];
  for (const name of protocols) {
    const bytes = Buffer.from(name, 'latin1');
    parts.push(bytes.length, ...bytes);
  }
  return new Uint8Array(parts).buffer;
}

/**
 * The server's choice: the first of its own that the client offers; empty: none, and the handshake goes on without (Envoy:
 * SSL_TLSEXT_ERR_NOACK).
 */
export function selectAlpn(own: readonly string[], offered: readonly string[] | null): string {
  if (offered === null) return '';
  for (const name of own) if (offered.includes(name)) return name;
  return '';
}
