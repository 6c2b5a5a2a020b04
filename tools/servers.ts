/**
 * Real HTTP servers for the smuggling grid: nginx and lighttpd. What the machine has is used; the rest comes from Debian's
 * archive by `apt-get download` into `.cache/servers`, unpacked there, without root.
 */
import { join } from 'node:path';
import { DebianPackages } from './debian-packages.ts';
import { root } from './stages.ts';

const packages = new DebianPackages(join(root, '.cache', 'servers'));

/** Where the programs are, and the environment in which they find their libraries. */
export interface ServerPrograms {
  readonly nginx: string;
  readonly lighttpd: string;
  /** Folder of lighttpd's modules; '' for its own default. */
  readonly lighttpdModules: string;
  readonly env: Readonly<Record<string, string>>;
}

/** The programs, or null where one is missing. */
export function findServers(): ServerPrograms | null {
  const nginx = packages.find('nginx');
  const lighttpd = packages.find('lighttpd');
  if (nginx === null || lighttpd === null) return null;
  const { unpacked, env } = packages;
  return {
    nginx,
    lighttpd,
    lighttpdModules: lighttpd.startsWith(unpacked) ? join(unpacked, 'usr/lib/lighttpd') : '',
    env,
  };
}

/** Installs what is missing. Throws where that is impossible. */
export async function installServers(): Promise<ServerPrograms> {
  for (const program of ['nginx', 'lighttpd']) await packages.install(program, program);
  const servers = findServers();
  if (servers === null) throw new Error('nginx or lighttpd could not be unpacked');
  return servers;
}

if (import.meta.main) console.log(await installServers());
