/** The npm package's library: bundles for Node and Bun, and the declarations that its users see. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { root, run } from './stages.ts';

/**
 * Writes `lib/index.js` (with `lib/worker/thread.js`, for Bun's workers, and shared chunks) and `types/index.d.ts` below
 * `folder`, in place of what was there. @throws Error when a step fails
 */
export async function buildLibrary(folder: string): Promise<void> {
  for (const part of ['lib', 'types']) rmSync(join(folder, part), { recursive: true, force: true });
  const built = await Bun.build({
    entrypoints: [join(root, 'src/index.ts'), join(root, 'src/worker/thread.ts')],
    root: join(root, 'src'),
    target: 'node',
    splitting: true,
    outdir: join(folder, 'lib'),
    define: { NUNCIO_COMMIT: JSON.stringify(commit()) },
  });
  if (!built.success) throw new AggregateError(built.logs, 'the library could not be bundled');
  await writeDeclarations(join(folder, 'types'));
}

/** The hash of the commit that is built; zeros outside a clone. */
export function commit(): string {
  const found = Bun.spawnSync(['git', 'rev-parse', 'HEAD'], { cwd: root, stderr: 'ignore' });
  const hash = found.stdout.toString().trim();
  return /^[0-9a-f]{40}$/.test(hash) ? hash : '0'.repeat(40);
}

/** Of `src/index.ts` and what its declarations name, no more. */
async function writeDeclarations(folder: string): Promise<void> {
  const cache = join(root, '.cache');
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'types-'));
  try {
    const project = join(work, 'tsconfig.json');
    const settings = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        noEmit: false,
        emitDeclarationOnly: true,
        declaration: true,
        stripInternal: true,
        rootDir: join(root, 'src'),
        outDir: work,
        typeRoots: [join(root, 'node_modules/@types')],
      },
      files: [join(root, 'src/index.ts')],
      include: [join(root, 'src/**/*.d.ts')],
    };
    writeFileSync(project, JSON.stringify(settings));
    if ((await run([join(root, 'node_modules/.bin/tsc'), '-p', project])) !== 0) throw new Error('tsc failed');
    const wanted = [join(work, 'index.d.ts')];
    for (const path of wanted) {
      const text = readFileSync(path, 'utf8').replace(
        /(from ')(\.[^']*)\.ts'/g,
        (_all, from: string, target: string) => {
          const next = join(dirname(path), `${target}.d.ts`);
          if (!wanted.includes(next)) wanted.push(next);
          return `${from}${target}.js'`;
        },
      );
      const out = join(folder, relative(work, path));
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, text);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
