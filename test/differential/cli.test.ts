/** The command line: exit codes, standard output and the last line of standard error, side by side. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEnvoy } from '../../tools/envoy.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';

interface Outcome {
  readonly code: number | null;
  readonly output: string;
  readonly lastError: string;
}

let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nuncio-cli-'));
  await Bun.write(join(folder, 'good.yaml'), 'static_resources: { clusters: [{ name: a }] }');
  await Bun.write(join(folder, 'good.json'), '{"static_resources": {"clusters": [{"name": "a"}]}}');
  await Bun.write(join(folder, 'good.pb_text'), 'static_resources { clusters { name: "a" } }');
  await Bun.write(join(folder, 'bad.yaml'), 'static_resources: { clusters: [{ name: a, lb_policy: NONSENSE }] }');
  await Bun.write(join(folder, 'unknown.yaml'), 'static_resources: { clusters: [{ name: a, wheels: 4 }] }');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(command: readonly string[], args: readonly string[]): Promise<Outcome> {
  const child = Bun.spawn([...command, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  return { code: child.exitCode, output, lastError: errors.trimEnd().split('\n').at(-1) ?? '' };
}

async function both(args: readonly string[]): Promise<[Outcome, Outcome]> {
  const envoy = findEnvoy();
  if (envoy === null) throw new Error('Envoy is not installed: run `node_modules/.bin/bun tools/envoy.ts`');
  return Promise.all([run([envoy], args), run(nuncioCommand(), args)]);
}

describe('the command line ends alike', () => {
  test.each<[string, string[]]>([
    ['an unknown flag', ['--bogus']],
    ['an unknown short flag', ['-x']],
    ['a stray word', ['-c', 'good.yaml', 'extra']],
    ['no value', ['-c']],
    ['no number', ['--drain-time-s']],
    ['a bad number', ['-c', 'good.yaml', '--concurrency', 'abc']],
    ['a flag twice', ['-c', 'good.yaml', '-c', 'good.yaml']],
    ['no configuration', ['-l', 'off']],
    ['no such file', ['-c', '/nonexistent.yaml', '-l', 'off']],
    ['an unknown mode', ['-c', 'good.yaml', '--mode', 'x']],
    ['an unknown level', ['-c', 'good.yaml', '-l', 'x']],
    ['an unknown component', ['-c', 'good.yaml', '--component-log-level', 'x:debug']],
    ['an unknown level of a component', ['-c', 'good.yaml', '--component-log-level', 'http:x']],
    ['half a component level', ['-c', 'good.yaml', '--component-log-level', 'http']],
    ['a stats tag without a value', ['-c', 'good.yaml', '--stats-tag', 'x']],
    ['a stats tag of a bad name', ['-c', 'good.yaml', '--stats-tag', 'a b:c']],
    ['a stats tag of a bad value', ['-c', 'good.yaml', '--stats-tag', 'a:b.c']],
    ['an unknown IP version', ['-c', 'good.yaml', '--local-address-ip-version', 'v5']],
    ['an epoch with a dynamic base id', ['-c', 'good.yaml', '--restart-epoch', '1', '--use-dynamic-base-id']],
    ['a log file that cannot be opened', ['-c', 'good.yaml', '--log-path', '/nonexistent/x', '--use-dynamic-base-id']],
    ['a valid file', ['-c', 'good.yaml', '--mode', 'validate', '-l', 'off']],
    ['valid JSON', ['-c', 'good.json', '--mode', 'validate', '-l', 'off']],
    ['valid text proto', ['-c', 'good.pb_text', '--mode', 'validate', '-l', 'off']],
    ['valid inline YAML', ['--config-yaml', '{}', '--mode', 'validate', '-l', 'off']],
    [
      'a file with YAML over it',
      ['-c', 'good.yaml', '--config-yaml', 'node: { id: x }', '--mode', 'validate', '-l', 'off'],
    ],
    [
      'unknown fields let through',
      ['-c', 'unknown.yaml', '--mode', 'validate', '-l', 'off', '--allow-unknown-static-fields'],
    ],
    ['initialise only', ['-c', 'good.yaml', '--mode', 'init_only', '-l', 'off', '--use-dynamic-base-id']],
  ])('%s', async (_name, args) => {
    const [envoy, nuncio] = await both(args);
    expect(nuncio).toEqual(envoy);
  });

  test.each<[string, string[]]>([
    ['a bad value', ['-c', 'bad.yaml', '--mode', 'validate', '-l', 'off']],
    ['an unknown field', ['-c', 'unknown.yaml', '--mode', 'validate', '-l', 'off']],
    ['bad inline YAML', ['--config-yaml', '{', '--mode', 'validate', '-l', 'off']],
    ['a bad file to serve', ['-c', 'bad.yaml', '-l', 'off', '--use-dynamic-base-id']],
    [
      'a bad value over a good file',
      ['-c', 'good.yaml', '--config-yaml', 'node: 3', '--mode', 'validate', '-l', 'off'],
    ],
  ])('%s is refused by both', async (_name, args) => {
    const [envoy, nuncio] = await both(args);
    expect([nuncio.code, nuncio.output]).toEqual([envoy.code, envoy.output]);
    expect(nuncio.lastError).not.toBe('');
  });

  test('--help and --version succeed on standard output', async () => {
    for (const flag of ['--help', '-h', '--version']) {
      const [envoy, nuncio] = await both([flag]);
      expect([nuncio.code, nuncio.lastError]).toEqual([envoy.code, envoy.lastError]);
      expect(nuncio.output).not.toBe('');
    }
    const [envoy, nuncio] = await both(['--help']);
    const flags = (text: string): string[] => [...new Set(text.match(/--[a-z][a-z-]+/g))].sort();
    // These are Nuncio's own.
    const own = ['--format', '--watch'];
    expect(flags(nuncio.output).filter((flag) => !own.includes(flag))).toEqual(flags(envoy.output));
  });

  test('--version has Envoy’s five parts', async () => {
    const [envoy, nuncio] = await both(['--version']);
    const parts = (text: string): string[] => (text.trim().split(' ').at(-1) ?? '').split('/');
    expect(parts(nuncio.output).length).toBe(parts(envoy.output).length);
    expect(parts(nuncio.output)[1]).toBe(parts(envoy.output)[1]!);
  });
});
