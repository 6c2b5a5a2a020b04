/** The page about go-control-plane does what it says. */
import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { counterparts } from '../../tools/counterparts.ts';
import { runPage } from './page.ts';

test('docs/how-to/ads-with-a-control-plane.md: go-control-plane', async () => {
  const { howTo } = counterparts();
  const { text, printed, promised, errors } = await runPage('docs/how-to/ads-with-a-control-plane.md', {
    'control-plane': howTo,
  });
  // The program of the page is the one that was built.
  const source = readFileSync(join(import.meta.dir, 'go', 'how-to', 'main.go'), 'utf8');
  expect(/^```go\n([\s\S]*?)^```$/m.exec(text)?.[1]).toBe(source);
  expect({ count: printed.length, errors }).toEqual({ count: promised.length, errors: '' });
  for (const [index, promise] of promised.entries()) expect(printed[index]).toContain(promise);
  expect(promised.filter((promise) => promise !== '').length).toBeGreaterThan(2);
});
