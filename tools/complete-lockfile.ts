/**
 * Adds to package-lock.json the optional packages of other platforms that the registry in use did not offer when the
 * file was written. `npm ci` demands an entry for each; on this platform none of them is fetched. Run after `npm install`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface LockEntry {
  readonly version?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly dev?: boolean;
}

const systems: Readonly<Record<string, string>> = { windows: 'win32' };
const processors: Readonly<Record<string, string>> = { aarch64: 'arm64', x86_64: 'x64', armv7: 'arm' };

/** The entry for a package of another platform, read from its name. */
function entryFor(name: string, version: string, dev: boolean): Record<string, unknown> {
  const os = /(android|darwin|win32|windows|linux|freebsd|openbsd|netbsd|sunos|aix)/.exec(name)?.[1];
  const cpu = /(arm64|aarch64|x64|x86_64|ia32|armv7|arm|ppc64|s390x|riscv64|loong64)/.exec(name)?.[1];
  return {
    version,
    ...(cpu === undefined ? {} : { cpu: [processors[cpu] ?? cpu] }),
    ...(dev ? { dev: true } : {}),
    ...(name.includes('musl') ? { libc: ['musl'] } : {}),
    optional: true,
    ...(os === undefined ? {} : { os: [systems[os] ?? os] }),
  };
}

function main(): void {
  const path = join(import.meta.dir, '..', 'package-lock.json');
  const lock = JSON.parse(readFileSync(path, 'utf8')) as { packages: Record<string, LockEntry> };
  let added = 0;
  for (const entry of Object.values(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const key = `node_modules/${name}`;
      if (key in lock.packages) continue;
      lock.packages[key] = entryFor(name, version, entry.dev === true);
      added++;
    }
  }
  const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
  writeFileSync(path, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
  console.log(`${added} entries added`);
}

if (import.meta.main) main();
