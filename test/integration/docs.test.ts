import { describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nuncioCommand } from '../support/nuncio-command.ts';

const root = join(import.meta.dir, '../..');

interface Example {
  readonly page: string;
  readonly file: string;
  readonly refused: boolean;
  readonly text: string;
}

/** Every ```yaml block with `file=` in the documentation. */
function examples(): Example[] {
  const out: Example[] = [];
  const pages = readdirSync(join(root, 'docs'), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name));
  for (const page of ['README.md', ...pages]) {
    const text = readFileSync(join(root, page), 'utf8');
    for (const [, info, body] of text.matchAll(/^```yaml (file=.*)\n([\s\S]*?)^```$/gm)) {
      const file = /file=(\S+)/.exec(info!)![1]!;
      out.push({ page, file, refused: info!.includes('expect=refused'), text: body! });
    }
  }
  return out;
}

async function validate(path: string): Promise<{ code: number; output: string }> {
  const child = Bun.spawn([...nuncioCommand(), '-c', path, '--mode', 'validate'], { stdout: 'pipe', stderr: 'pipe' });
  const [output, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code: child.exitCode ?? -1, output: output + errors };
}

describe('examples in the documentation', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'nuncio-docs-'));
  const found = examples();

  test('there are some', () => {
    expect(found.length).toBeGreaterThan(2);
  });

  for (const example of found) {
    test(`${example.page}: ${example.file} is ${example.refused ? 'refused' : 'accepted'}`, async () => {
      const path = join(scratch, example.file);
      writeFileSync(path, example.text);
      const { code, output } = await validate(path);
      expect({ code, output }).toMatchObject({ code: example.refused ? 1 : 0 });
    });
  }

  for (const name of readdirSync(join(root, 'examples'))) {
    test(`examples/${name}/envoy.yaml is accepted`, async () => {
      const { code, output } = await validate(join(root, 'examples', name, 'envoy.yaml'));
      expect({ code, output }).toMatchObject({ code: 0 });
    });
  }
});
