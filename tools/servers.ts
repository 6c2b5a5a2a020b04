/**
 * Real HTTP servers for the smuggling grid: nginx and lighttpd. What the machine has is used; the rest comes from Debian's
 * archive by `apt-get download` into `.cache/servers`, unpacked there, without root.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './stages.ts';

const home = join(root, '.cache', 'servers');
const unpacked = join(home, 'root');

/** Where the programs are, and the environment in which they find their libraries. */
export interface ServerPrograms {
  readonly nginx: string;
  readonly lighttpd: string;
  /** Folder of lighttpd's modules; '' for its own default. */
  readonly lighttpdModules: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Libraries by the package that brings them, for machines that have none. */
const libraryPackages: readonly (readonly [library: string, name: string])[] = [
  ['libcrypt.so.1', 'libcrypt1'],
  ['libpcre2-8.so.0', 'libpcre2-8-0'],
  ['libssl.so.3', 'libssl3'],
  ['libcrypto.so.3', 'libssl3'],
  ['libz.so.1', 'zlib1g'],
  ['libnettle.so.8', 'libnettle8'],
  ['libxxhash.so.0', 'libxxhash0'],
];

function libraryPath(): string {
  const found: string[] = [];
  for (const folder of new Bun.Glob('{usr/,}lib/*-linux-gnu').scanSync({ cwd: unpacked, onlyFiles: false })) {
    found.push(join(unpacked, folder));
  }
  return found.join(':');
}

function find(program: string): string | null {
  for (const path of [join('/usr/sbin', program), join(unpacked, 'usr/sbin', program)])
    if (existsSync(path)) return path;
  return null;
}

/** The programs, or null where one is missing. */
export function findServers(): ServerPrograms | null {
  const nginx = find('nginx');
  const lighttpd = find('lighttpd');
  if (nginx === null || lighttpd === null) return null;
  const modules = lighttpd.startsWith(unpacked) ? join(unpacked, 'usr/lib/lighttpd') : '';
  const path = existsSync(unpacked) ? libraryPath() : '';
  return { nginx, lighttpd, lighttpdModules: modules, env: path === '' ? {} : { LD_LIBRARY_PATH: path } };
}

async function quietly(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string | null> {
  const child = Bun.spawn([...command], {
    cwd: home,
    stdout: 'pipe',
    stderr: 'ignore',
    env: { ...process.env, ...env },
  });
  const text = await new Response(child.stdout).text();
  return (await child.exited) === 0 ? text : null;
}

/** apt with its state under `.cache`, for machines whose package lists are missing or belong to root. */
async function privateApt(): Promise<readonly string[] | null> {
  const state = join(home, 'apt');
  for (const folder of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(state, folder), { recursive: true });
  const options = [`Dir::State::lists=${state}/lists`, `Dir::Cache=${state}/cache`, 'Debug::NoLocking=1'];
  const command = ['apt-get', '-q', ...options.flatMap((option) => ['-o', option])];
  return (await quietly([...command, 'update'])) === null ? null : command;
}

async function fetchPackage(name: string): Promise<void> {
  const had = new Set(new Bun.Glob('*.deb').scanSync(home));
  if ((await quietly(['apt-get', '-q', 'download', name])) === null) {
    const apt = await privateApt();
    if (apt === null || (await quietly([...apt, 'download', name])) === null) {
      throw new Error(`the Debian package ${name} could not be fetched: install it, or give apt a network`);
    }
  }
  for (const file of new Bun.Glob('*.deb').scanSync(home)) {
    if (!had.has(file)) await quietly(['dpkg-deb', '-x', file, unpacked]);
  }
}

/** Installs what is missing. Throws where that is impossible. */
export async function installServers(): Promise<ServerPrograms> {
  mkdirSync(home, { recursive: true });
  for (const program of ['nginx', 'lighttpd']) if (find(program) === null) await fetchPackage(program);
  const servers = findServers();
  if (servers === null) throw new Error('nginx or lighttpd could not be unpacked');
  for (const program of [servers.nginx, servers.lighttpd]) {
    const libraries = (await quietly(['ldd', program], servers.env)) ?? '';
    const missing = libraryPackages.filter(([library]) => libraries.includes(`${library} => not found`));
    for (const name of new Set(missing.map(([, owner]) => owner))) await fetchPackage(name);
  }
  return findServers() ?? servers;
}

if (import.meta.main) console.log(await installServers());
