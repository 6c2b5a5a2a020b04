import type { HeaderMap, RequestHeaders, ResponseHeaders } from './header-map.ts';
import { hasToken } from './token-list.ts';

/**
 * Upgrades look alike to filters whatever the protocol: as in HTTP/1. RFC 8441's extended CONNECT is translated where a message
 * comes from or goes to HTTP/2. Source: Envoy, Http::Utility::transformUpgrade...
 */

/** `Upgrade` beside a `Connection` that names it. */
export function asksForUpgrade(headers: HeaderMap): boolean {
  if (!headers.has('upgrade')) return false;
  const connection = headers.getJoined('connection');
  return connection !== null && hasToken(connection, 'upgrade');
}

/** An extended CONNECT becomes GET with `upgrade`. @returns false: it is none */
export function upgradeRequestFromHttp2(headers: RequestHeaders): boolean {
  const { protocol } = headers;
  if (protocol === null || headers.method !== 'CONNECT') return false;
  headers.method = 'GET';
  headers.protocol = null;
  headers.set('upgrade', protocol);
  headers.set('connection', 'upgrade');
  return true;
}

/** The other way, on a copy: the request may be sent again. Null: it is no upgrade. */
export function upgradeRequestToHttp2(headers: RequestHeaders): RequestHeaders | null {
  if (!asksForUpgrade(headers)) return null;
  const copy = headers.clone();
  copy.method = 'CONNECT';
  copy.protocol = headers.get('upgrade');
  copy.remove('upgrade');
  copy.remove('connection');
  if (copy.get('content-length') === '0') copy.remove('content-length');
  return copy;
}

/** 101 becomes 200; other answers only lose what HTTP/2 has no place for. */
export function upgradeResponseToHttp2(headers: ResponseHeaders): void {
  if (headers.status === 101) headers.status = 200;
  headers.remove('upgrade');
  headers.remove('connection');
  if (headers.get('content-length') === '0') headers.remove('content-length');
}

/** 200 becomes 101 with the headers of HTTP/1. @param upgrade what was asked for */
export function upgradeResponseFromHttp2(headers: ResponseHeaders, upgrade: string): void {
  if (headers.status === 200) {
    headers.set('upgrade', upgrade);
    headers.set('connection', 'upgrade');
    headers.status = 101;
  }
}
