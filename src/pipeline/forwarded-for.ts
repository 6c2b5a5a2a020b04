import type { RequestHeaders } from '../http/header-map.ts';
import { type Address, ipAddress } from '../net/address.ts';
import { ipVersion } from '../net/ip-version.ts';

export interface ForwardedAddress {
  /** Null: there is none at that place, or it is no IP address. */
  readonly address: Address | null;
  /** It was the only one: nobody but the peer can have written it. */
  readonly single: boolean;
}

const NONE: ForwardedAddress = { address: null, single: false };

/**
 * The address `skip` places from the right end of x-forwarded-for. Source: Envoy, Utility::getLastAddressFromXFF.
 */
export function lastAddressOfXff(headers: RequestHeaders, skip: number): ForwardedAddress {
  const value = headers.getJoined('x-forwarded-for');
  if (value === null) return NONE;
  let end = value.length;
  for (let i = 0; i < skip; i++) {
    const comma = value.lastIndexOf(',', end - 1);
    if (comma < 0 || end === 0) return NONE;
    end = comma;
  }
  const comma = end === 0 ? -1 : value.lastIndexOf(',', end - 1);
  // A list that ends in a comma is taken whole, and so is no address.
  const start = comma >= 0 && comma + 1 < end ? comma + 1 : 0;
  const text = value.slice(start, end).trim();
  return ipVersion(text) === 0 ? NONE : { address: ipAddress(text, 0), single: comma < 0 && skip === 0 };
}

/** An IP address with an optional port (`1.2.3.4:5`, `[::1]:5`); null when it is none. */
export function parseIp(text: string): Address | null {
  if (text.charCodeAt(0) === 91) {
    const close = text.indexOf(']');
    if (close < 0) return null;
    const ip = text.slice(1, close);
    if (ipVersion(ip) !== 6) return null;
    return withPort(ip, text.slice(close + 1));
  }
  const colon = text.indexOf(':');
  if (colon >= 0 && colon === text.lastIndexOf(':')) {
    const ip = text.slice(0, colon);
    return ipVersion(ip) === 4 ? withPort(ip, text.slice(colon)) : null;
  }
  return ipVersion(text) === 0 ? null : ipAddress(text, 0);
}

function withPort(ip: string, suffix: string): Address | null {
  if (suffix === '') return ipAddress(ip, 0);
  if (!/^:[0-9]{1,5}$/.test(suffix)) return null;
  const port = Number(suffix.slice(1));
  return port < 65536 ? ipAddress(ip, port) : null;
}

/** Only these two: Envoy compares with INADDR_LOOPBACK and in6addr_loopback. */
export function isLoopback(ip: string): boolean {
  return ip === '127.0.0.1' || ip === '::1';
}

/** RFC 1918, RFC 4193 (fd00::/8) and the loopback addresses. Source: Envoy, Network::Utility::isInternalAddress. */
export function isPrivateIp(ip: string): boolean {
  if (isLoopback(ip)) return true;
  if (ip.includes(':')) return /^fd[0-9a-f]{2}:/i.test(ip);
  if (ip.startsWith('10.') || ip.startsWith('192.168.')) return true;
  if (!ip.startsWith('172.')) return false;
  const second = Number(ip.slice(4, ip.indexOf('.', 4)));
  return second >= 16 && second <= 31;
}
