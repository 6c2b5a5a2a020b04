/**
 * Generates the TypeScript types of Envoy's API (`src/api/gen/`, declarations only) from the committed descriptor file.
 *
 *   bun tools/api/generate-types.ts [--force]
 *
 * A stamp (hash of the descriptor file, of this script and of the generator's version) makes it a no-op when the
 * output is current, so every command that needs the types may call it first.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const input = join(root, 'src/api/envoy-1.40.binpb');
const output = join(root, 'src/api/gen');
const stampFile = join(output, '.stamp');

function currentStamp(): string {
  const hash = createHash('sha256');
  hash.update(readFileSync(input));
  hash.update(readFileSync(fileURLToPath(import.meta.url)));
  hash.update(readFileSync(join(root, 'node_modules/@bufbuild/protoc-gen-es/package.json')));
  return hash.digest('hex');
}

function generate(stamp: string): void {
  // Inside the project: a rename is atomic only within one file system, and so a reader never sees half a tree.
  mkdirSync(join(root, '.cache'), { recursive: true });
  const work = mkdtempSync(join(root, '.cache/api-'));
  try {
    const template = {
      version: 'v2',
      plugins: [
        {
          local: join(root, 'node_modules/.bin/protoc-gen-es'),
          out: work,
          include_imports: true,
          // One run of the plugin for all files: one run per directory takes minutes.
          strategy: 'all',
          opt: ['target=dts', 'import_extension=none'],
        },
      ],
    };
    const templateFile = join(work, 'buf.gen.json');
    writeFileSync(templateFile, JSON.stringify(template));
    const run = spawnSync(
      join(root, 'node_modules/.bin/buf'),
      ['generate', `${input}#format=binpb`, '--template', templateFile],
      {
        cwd: work,
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, BUF_CACHE_DIR: join(work, '.buf') },
      },
    );
    if (run.error !== undefined) throw run.error;
    if (run.status !== 0) throw new Error(`buf generate ended with status ${run.status}`);
    rmSync(templateFile);
    rmSync(join(work, '.buf'), { recursive: true, force: true });
    writeFileSync(join(work, '.stamp'), stamp);
    rmSync(output, { recursive: true, force: true });
    renameSync(work, output);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const stamp = currentStamp();
const upToDate = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
if (!upToDate || process.argv.includes('--force')) {
  const begun = performance.now();
  generate(stamp);
  console.log(`src/api/gen: generated in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
}
