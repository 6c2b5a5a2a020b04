/** `npm run build`: one executable, `dist/nuncio`, and the library for Node and Bun, `dist/lib` and `dist/types`. */
import { join } from 'node:path';
import { buildLibrary, commit } from './build-library.ts';
import { generate, root, run } from './stages.ts';

const bun = join(root, 'node_modules', '.bin', 'bun');

async function must(command: readonly string[]): Promise<void> {
  if ((await run(command)) === 0) return;
  console.error(`failed: ${command.join(' ')}`);
  process.exit(1);
}

if (!(await generate())) process.exit(1);
// The worker's entry is named beside the main one so that it is inside the executable too.
const entries = ['src/cli/main.ts', 'src/worker/thread.ts'];
await must([
  bun,
  'build',
  '--compile',
  '--minify-syntax',
  '--minify-whitespace',
  '--bytecode',
  // With CommonJS, the default of --bytecode, `import.meta.url` is that of the source: a worker would run from there.
  '--format=esm',
  // Until main.ts says so itself, see src/base/jit-policy.ts.
  '--compile-jit-policy=20',
  // A proxy does not read what lies in the folder that it is started from.
  '--no-compile-autoload-dotenv',
  '--no-compile-autoload-bunfig',
  '--sourcemap',
  '--define',
  `NUNCIO_COMMIT=${JSON.stringify(commit())}`,
  ...entries,
  '--outfile',
  'dist/nuncio',
]);
await buildLibrary(join(root, 'dist'));
console.log('dist/nuncio');
