import { type IpAddress, ipAddress } from './address.ts';
import { ipBytes } from './cidr.ts';
import { ipv6Text } from './ip-text.ts';
import { ipVersion } from './ip-version.ts';

const V4_AND_PORT = /^([0-9.]+):(\d{1,5})$/;
const V6_AND_PORT = /^\[([0-9a-fA-F]*:[0-9a-fA-F:.]+)\]:(\d{1,5})$/;

/** `1.2.3.4:80`, `[::1]:80`; null for anything else. Source: Envoy, Utility::parseInternetAddressAndPortNoThrow. */
export function parseIpAndPort(text: string): IpAddress | null {
  const found = V4_AND_PORT.exec(text) ?? V6_AND_PORT.exec(text);
  if (found === null) return null;
  const ip = found[1]!;
  const port = Number(found[2]);
  const version = ipVersion(ip);
  if (version === 0 || port > 0xffff) return null;
  return ipAddress(version === 4 ? ip : ipv6Text(ipBytes(ip)!, 0), port);
}
