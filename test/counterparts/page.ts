import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInNamespace } from '../integration/namespace.ts';

const root = join(import.meta.dir, '..', '..');

/** What the commands of a page print, and what it says that they print. */
export interface PageOutcome {
  readonly text: string;
  readonly printed: readonly string[];
  readonly promised: readonly string[];
  readonly errors: string;
}

/** Runs a page of documentation in a network namespace. @param programs for its folder: `name` to path */
export async function runPage(page: string, programs: Readonly<Record<string, string>>): Promise<PageOutcome> {
  const text = readFileSync(join(root, page), 'utf8');
  const promised = [...text.matchAll(/^```sh inside=run\n([\s\S]*?)^```$/gm)]
    .flatMap(([, body]) => body!.trim().split('\n'))
    .map((line) => line.split(/\s+# /)[1] ?? '');
  const named = Object.entries(programs).map(([name, path]) => `${name}=${path}`);
  const script = join('..', 'counterparts', 'page-inside.ts');
  const out = await runInNamespace('10.9.9.9', script, join(root, page), ...named);
  const { said, errors } = JSON.parse(out) as { said: string[]; errors: string };
  return { text, printed: said, promised, errors };
}
