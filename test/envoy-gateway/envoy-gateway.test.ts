/** Envoy Gateway 1.9.1, standalone, drives Envoy and Nuncio by five examples of the Gateway API: the same traffic, the same state. */
import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { diffLines } from '../differential/line-diff.ts';
import { runInNamespace } from '../integration/namespace.ts';
import { EXAMPLES } from './examples.ts';

describe('Envoy Gateway', () => {
  for (const { name, steps } of EXAMPLES) {
    test(name, async () => {
      const out = await runInNamespace('10.9.9.9', join('..', 'envoy-gateway', 'inside.ts'), name);
      const { envoy, nuncio } = JSON.parse(out) as { envoy: string; nuncio: string };
      if (process.env.DIFFERENTIAL_SHOW !== undefined) console.log(envoy);
      // Envoy came to the end, and every step was answered.
      expect(envoy).toContain('== stats');
      for (const index of steps.keys()) expect(envoy).toMatch(new RegExp(`^== step ${index + 1}\\n\\S`, 'm'));
      expect(diffLines(envoy, nuncio)).toBe('');
    });
  }
});
