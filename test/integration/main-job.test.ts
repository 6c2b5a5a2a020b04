/** The main job of the project: an old file, verbatim, loads and proxies. */
import { expect, test } from 'bun:test';
import { join } from 'node:path';

const root = join(import.meta.dir, '..', '..');
const UPSTREAM_ADDRESS = '10.103.211.217';

/** The flags by which `unshare` gives a network namespace here: as root, or in a user namespace. Throws where neither does. */
function namespaceFlags(): string {
  const tried: string[] = [];
  for (const flags of process.getuid?.() === 0 ? ['-n', '-rn'] : ['-rn']) {
    const result = Bun.spawnSync(['unshare', flags, 'true'], { stderr: 'pipe' });
    if (result.exitCode === 0) return flags;
    tried.push(`unshare ${flags}: ${result.stderr.toString().trim()}`);
  }
  throw new Error(
    `this test needs a network namespace of its own: be root, or allow user namespaces\n${tried.join('\n')}`,
  );
}

test('the file of version 2 proxies to its upstream and logs an admin request', async () => {
  const config = process.env.MAIN_JOB_CONFIG ?? join(root, 'examples/main-job/envoy.yaml');
  const script = 'python3 "$0" "$1" && exec "$2" "$3" "$4"';
  const arguments_ = [
    join(import.meta.dir, 'loopback.py'),
    UPSTREAM_ADDRESS,
    join(root, 'node_modules/.bin/bun'),
    join(import.meta.dir, 'main-job-inside.ts'),
    config,
  ];
  const child = Bun.spawn(['unshare', namespaceFlags(), 'sh', '-c', script, ...arguments_], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`${out}\n${errors}`);
  const seen = JSON.parse(out.trim().split('\n').at(-1) ?? '');
  expect(seen.proxied).toEqual({ status: 200, body: "the upstream's answer to /hello" });
  expect(seen.admin).toEqual({ status: 200, body: 'LIVE\n' });
  expect(seen.exitCode).toBe(0);
  expect(seen.log).toHaveLength(1);
  expect(seen.log[0]).toContain('"GET /ready HTTP/1.1" 200');
}, 60_000);
