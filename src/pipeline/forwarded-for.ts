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
