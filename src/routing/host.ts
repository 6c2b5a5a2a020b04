import type { RequestHeaders } from '../http/header-map.ts';

/** Index of the `:` before the port of a Host value; -1 when there is none. IPv6 addresses stand in brackets. */
export function portStart(host: string): number {
  const colon = host.lastIndexOf(':');
  if (colon < 0) return -1;
  return host.lastIndexOf(']') > colon ? -1 : colon;
}

/** Decimal digits only, at most 2^32-1; -1 otherwise. */
function portNumber(text: string): number {
  if (!/^[0-9]{1,10}$/.test(text)) return -1;
  const value = Number(text);
  return value > 0xffff_ffff ? -1 : value;
}

/**
 * Removes the port of the Host (`strip_any_host_port`, or `strip_matching_host_port` with the listener's port).
 * @param listenerPort only this port is removed; null: any
 * @returns the port removed, or -1 when the Host stays
 */
export function stripHostPort(headers: RequestHeaders, listenerPort: number | null): number {
  const host = headers.authority;
  if (host === null) return -1;
  const start = portStart(host);
  if (start < 0) return -1;
  const port = portNumber(host.slice(start + 1));
  if (port < 0 || (listenerPort !== null && port !== listenerPort)) return -1;
  headers.authority = host.slice(0, start);
  return port;
}

/** Removes one dot at the end of the Host's name, before a port too (`strip_trailing_host_dot`). */
export function stripTrailingHostDot(headers: RequestHeaders): void {
  const host = headers.authority;
  if (host === null) return;
  const dot = host.lastIndexOf('.');
  if (dot < 0) return;
  if (dot === host.length - 1) headers.authority = host.slice(0, dot);
  else if (host.charCodeAt(dot + 1) === 58) headers.authority = host.slice(0, dot) + host.slice(dot + 1);
}
