import { networkInterfaces } from 'node:os';

const LOOPBACK = { v4: '127.0.0.1', v6: '::1' } as const;

/**
 * The address that Envoy names itself by: the first of any interface that is not the loopback's own, else that one. The loopback
 * interface may have others (Envoy: Network::Utility::getLocalAddress).
 */
export function localAddress(version: 'v4' | 'v6'): string {
  const family = version === 'v4' ? 'IPv4' : 'IPv6';
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { address, family: own } of addresses ?? [])
      if (own === family && address !== LOOPBACK[version]) return address;
  }
  return LOOPBACK[version];
}
