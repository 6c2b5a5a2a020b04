import { networkInterfaces } from 'node:os';

/** The address that Envoy names itself by: of the first interface that is no loopback, else the loopback's. */
export function localAddress(version: 'v4' | 'v6'): string {
  const family = version === 'v4' ? 'IPv4' : 'IPv6';
  for (const addresses of Object.values(networkInterfaces())) {
    for (const each of addresses ?? []) if (!each.internal && each.family === family) return each.address;
  }
  return version === 'v4' ? '127.0.0.1' : '::1';
}
