/**
 * A headless Chromium and what drives it, for the tests that need a browser: npm packages, pinned, installed under `.cache/`
 * when they are first wanted. They are no dependencies of the project: 80 MB for a few tests.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './stages.ts';

const PACKAGES = { '@sparticuz/chromium': '147.0.0', 'playwright-core': '1.65.1' } as const;
const home = join(root, '.cache', 'chromium');

/** Folder of an installed package, or null. */
function installed(name: keyof typeof PACKAGES): string | null {
  const folder = join(home, 'node_modules', name);
  return existsSync(join(folder, 'package.json')) ? folder : null;
}

/** Installs the browser where it is missing. @returns the `node_modules` folder that holds it @throws where that is impossible */
export async function installChromium(): Promise<string> {
  const names = Object.keys(PACKAGES) as (keyof typeof PACKAGES)[];
  if (names.every((name) => installed(name) !== null)) return join(home, 'node_modules');
  console.log('installing Chromium for the browser tests');
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'package.json'), JSON.stringify({ private: true, dependencies: PACKAGES }));
  if ((await run(['npm', 'install', '--prefix', home, '--no-audit', '--no-fund', '--loglevel=error'])) !== 0) {
    throw new Error(`Chromium could not be installed under ${home}`);
  }
  return join(home, 'node_modules');
}
