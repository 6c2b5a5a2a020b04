/** Keys that an x-forwarded-client-cert element may have. */
export const CLIENT_CERT_KEYS = ['by', 'hash', 'cert', 'chain', 'subject', 'uri', 'dns'] as const;

/**
 * The value of `key` (any case) in the first element of an x-forwarded-client-cert header that has it. Null: absent, or a
 * quote is not closed. A key without `=` has an empty value.
 *
 * Source: Envoy HTTP connection manager documentation, "x-forwarded-client-cert".
 */
export function clientCertificateValue(header: string, key: string): string | null {
  if (!quotesMatch(header)) return null;
  let at = 0;
  while (at <= header.length) {
    let end = at;
    let equals = -1;
    let quoted = false;
    for (; end < header.length; end++) {
      const char = header[end];
      if (char === '\\' && quoted) end++;
      else if (char === '"') quoted = !quoted;
      else if (quoted) continue;
      else if (char === ';' || char === ',') break;
      else if (char === '=' && equals < 0) equals = end;
    }
    const nameEnd = equals < 0 ? end : equals;
    if (header.substring(at, nameEnd).trim().toLowerCase() === key) {
      return equals < 0 ? '' : unquoted(header.substring(equals + 1, end).trim());
    }
    at = end + 1;
  }
  return null;
}

function quotesMatch(header: string): boolean {
  let quoted = false;
  for (let i = 0; i < header.length; i++) {
    if (header[i] === '\\' && quoted) i++;
    else if (header[i] === '"') quoted = !quoted;
  }
  return !quoted;
}

function unquoted(value: string): string {
  if (value.length < 2 || value[0] !== '"' || value.at(-1) !== '"') return value;
  let out = '';
  for (let i = 1; i < value.length - 1; i++) {
    if (value[i] === '\\' && i + 1 < value.length - 1) i++;
    out += value[i]!;
  }
  return out;
}
