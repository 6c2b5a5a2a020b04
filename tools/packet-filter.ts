/**
 * The packet filter's command, for tests of redirected connections in network namespaces of their own. What the machine has is
 * used; otherwise `nft` comes from Debian's archive into `.cache/packet-filter`, unpacked there, without root.
 */
import { join } from 'node:path';
import { DebianPackages } from './debian-packages.ts';
import { root } from './stages.ts';

const packages = new DebianPackages(join(root, '.cache', 'packet-filter'));

/** The command and the environment in which it finds its libraries. */
export interface PacketFilter {
  readonly nft: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Null where it is missing. */
export function findPacketFilter(): PacketFilter | null {
  const nft = packages.find('nft');
  return nft === null ? null : { nft, env: packages.env };
}

/** Installs what is missing. Throws where that is impossible. */
export async function installPacketFilter(): Promise<PacketFilter> {
  await packages.install('nft', 'nftables');
  const found = findPacketFilter();
  if (found === null) throw new Error('nft could not be unpacked');
  return found;
}

if (import.meta.main) console.log(await installPacketFilter());
