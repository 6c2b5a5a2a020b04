/** Runs every `*.node.ts` under `src/` with Node's own test runner: the parts that must work there too. */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const out = mkdtempSync(join(tmpdir(), 'nuncio-node-'));
try {
  const built = await Bun.build({
    entrypoints: globSync('src/**/*.node.ts'),
    outdir: out,
    target: 'node',
    format: 'esm',
    naming: '[dir]/[name].test.mjs',
  });
  if (!built.success) throw new AggregateError(built.logs, 'bundling failed');
  const files = built.outputs.map((output) => output.path);
  const run = spawnSync('node', ['--test', ...files], { stdio: 'inherit' });
  process.exitCode = run.status ?? 1;
} finally {
  rmSync(out, { recursive: true });
}
