import { join } from 'node:path';

const root = join(import.meta.dir, '..', '..');

/** The command that starts Nuncio: `NUNCIO_BIN` (words split at spaces), or the sources in this tree. */
export function nuncioCommand(): readonly string[] {
  const named = process.env.NUNCIO_BIN;
  if (named !== undefined && named !== '') return named.split(' ');
  return [join(root, 'node_modules/.bin/bun'), join(root, 'src/cli/main.ts')];
}
