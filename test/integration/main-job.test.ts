/** The main job of the project: an old file, verbatim, loads and proxies. */
import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { runInNamespace } from './namespace.ts';

const root = join(import.meta.dir, '..', '..');
const UPSTREAM_ADDRESS = '10.103.211.217';

test('the file of version 2 proxies to its upstream and logs an admin request', async () => {
  const config = process.env.MAIN_JOB_CONFIG ?? join(root, 'examples/main-job/envoy.yaml');
  const out = await runInNamespace(UPSTREAM_ADDRESS, 'main-job-inside.ts', config);
  const seen = JSON.parse(out);
  expect(seen.proxied).toEqual({ status: 200, body: "the upstream's answer to /hello" });
  expect(seen.admin).toEqual({ status: 200, body: 'LIVE\n' });
  expect(seen.exitCode).toBe(0);
  expect(seen.log).toHaveLength(1);
  expect(seen.log[0]).toContain('"GET /ready HTTP/1.1" 200');
}, 60_000);
