import { join } from 'node:path';

const root = join(import.meta.dir, '..', '..');

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

/**
 * Runs a script of ours in a network namespace of its own, whose loopback has one more address.
 * @returns the last line that it prints. Throws, with all that it printed, where it fails
 */
export async function runInNamespace(address: string, script: string, ...args: readonly string[]): Promise<string> {
  const bun = join(root, 'node_modules/.bin/bun');
  const child = Bun.spawn(
    [
      'unshare',
      namespaceFlags(),
      'sh',
      '-c',
      'python3 "$0" "$1" && shift && exec "$@"',
      join(import.meta.dir, 'loopback.py'),
      address,
      bun,
      join(import.meta.dir, script),
      ...args,
    ],
    { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`${out}\n${errors}`);
  return out.trim().split('\n').at(-1) ?? '';
}
