import type { HeaderMap, RequestHeaders } from '../header-map.ts';

/** Envoy refuses requests that name this many headers in Connection. */
const MAX_NOMINATED = 10;
const MAX_TE_BYTES = 256;
/** Options of Connection that name no header. */
const OPTIONS: ReadonlySet<string> = new Set(['close', 'http2-settings', 'keep-alive', 'upgrade']);
/** Removing these would hide where a request comes from. */
const PROTECTED: ReadonlySet<string> = new Set(['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']);

/**
 * Removes the headers that Connection nominates (RFC 9110 section 7.6.1), with Envoy's exceptions: TE keeps `trailers`.
 * @returns false when the request is to be refused (Envoy: Utility::sanitizeConnectionHeader)
 */
export function sanitizeConnection(headers: RequestHeaders): boolean {
  const connection = headers.getJoined('connection');
  if (connection === null || connection === 'keep-alive' || connection === 'close') return true;
  const tokens = connection.split(',').filter((token) => token !== '');
  if (tokens.length >= MAX_NOMINATED) return false;
  let kept: Set<string> | null = null;
  for (const token of tokens) {
    const trimmed = token.trim();
    const name = trimmed.toLowerCase();
    if (OPTIONS.has(name)) continue;
    if (name.startsWith(':') || PROTECTED.has(name)) return false;
    if (name === 'connection') {
      kept ??= new Set();
      kept.add(name);
      continue;
    }
    if (name === 'host') {
      headers.authority = null;
      continue;
    }
    if (name === 'te') {
      const te = headers.getJoined('te');
      if (te === null) continue;
      if (te.length >= MAX_TE_BYTES) return false;
      if (te.split(',').some((value) => value.trim().toLowerCase() === 'trailers')) {
        headers.set('te', 'trailers');
        kept ??= new Set();
        kept.add(name);
        continue;
      }
    }
    headers.remove(name);
  }
  if (kept !== null) removeConnectionTokens(headers, kept);
  return true;
}

const UPGRADE_TOKENS: ReadonlySet<string> = new Set(['upgrade', 'http2-settings']);

/** Takes away the headers of an upgrade that is not passed on: the request goes on without it. */
export function removeUpgrade(headers: RequestHeaders): void {
  headers.remove('upgrade');
  removeConnectionTokens(headers, UPGRADE_TOKENS);
  headers.remove('http2-settings');
}

/** Takes `tokens` (lower case) out of Connection; the header goes when none is left. */
function removeConnectionTokens(headers: HeaderMap, tokens: ReadonlySet<string>): void {
  const connection = headers.getJoined('connection');
  if (connection === null) return;
  const left: string[] = [];
  for (const token of connection.split(',')) {
    const trimmed = token.trim();
    if (trimmed !== '' && !tokens.has(trimmed.toLowerCase())) left.push(trimmed);
  }
  if (left.length === 0) headers.remove('connection');
  else headers.set('connection', left.join(','));
}
