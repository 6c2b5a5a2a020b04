/** `npm run build`: one executable, `dist/nuncio`, and the library for Node, `dist/index.js`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { generate, root, run } from './stages.ts';

const bun = join(root, 'node_modules', '.bin', 'bun');

async function must(command: readonly string[]): Promise<void> {
  if ((await run(command)) === 0) return;
  console.error(`failed: ${command.join(' ')}`);
  process.exit(1);
}

if (!(await generate())) process.exit(1);
// The worker's entry is named beside the main one so that it is inside the executable too.
const entries = ['src/cli/main.ts', 'src/worker/thread.ts'].filter((entry) => existsSync(join(root, entry)));
await must([bun, 'build', '--compile', '--minify-syntax', '--bytecode', '--sourcemap', ...entries, '--outfile', 'dist/nuncio']);
if (existsSync(join(root, 'src/index.ts'))) {
  await must([bun, 'build', 'src/index.ts', '--target=node', '--splitting', '--outdir', 'dist']);
}
console.log('dist/nuncio');
