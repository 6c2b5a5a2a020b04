/** The page about Envoy Gateway does what it says. */
import { expect, test } from 'bun:test';
import { installEnvoyGateway } from '../../tools/envoy-gateway.ts';
import { runPage } from '../counterparts/page.ts';

test('docs/how-to/envoy-gateway.md', async () => {
  const program = await installEnvoyGateway();
  const page = 'docs/how-to/envoy-gateway.md';
  const { printed, promised, errors } = await runPage(page, { 'bin/envoy-gateway': program });
  expect({ count: printed.length, errors }).toMatchObject({ count: promised.length });
  for (const [index, promise] of promised.entries()) expect(printed[index]).toContain(promise);
  expect(promised.filter((promise) => promise !== '').length).toBeGreaterThan(3);
});
