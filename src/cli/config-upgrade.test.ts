import { expect, test } from 'bun:test';
import { join } from 'node:path';

const root = join(import.meta.dir, '..', '..');

function upgrade(...args: string[]): { code: number; out: string; err: string } {
  const run = Bun.spawnSync([process.execPath, join(import.meta.dir, 'main.ts'), 'config', 'upgrade', ...args], {
    cwd: root,
    stdout: 'pipe',
    stderr: 'pipe',
  });
  return { code: run.exitCode, out: run.stdout.toString(), err: run.stderr.toString() };
}

test('version 3 on standard output, what changed on standard error', () => {
  const { code, out, err } = upgrade('examples/main-job/envoy.yaml');
  expect(code).toBe(0);
  expect(out).toContain('    load_assignment:\n      cluster_name: some_service\n');
  expect(out).toStartWith('admin:\n  access_log:\n');
  expect(err).toContain(
    'examples/main-job/envoy.yaml:32:5: warning: version 2 of the API: hosts: became load_assignment',
  );
  expect(err).toEndWith('6 warnings\n');
});

test('a file of version 3 is printed as it is', async () => {
  const { code, out, err } = upgrade('examples/hello/envoy.yaml');
  expect([code, out]).toEqual([0, await Bun.file(join(root, 'examples/hello/envoy.yaml')).text()]);
  expect(err).toContain('nothing of version 2');
});

test('what cannot be read is refused', () => {
  expect(upgrade('no-such-file.yaml').code).toBe(1);
  expect(upgrade().err).toContain('usage:');
  expect(upgrade('src/api/envoy-1.40.binpb').code).toBe(1);
});
