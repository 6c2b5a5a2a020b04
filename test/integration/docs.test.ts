/**
 * The documentation is tried out: files in ```yaml blocks with `file=` are validated, commands in ```sh blocks with `run=FILE`
 * are run beside a Nuncio on that file (on free ports) and must print what stands behind them as a comment, links lead somewhere.
 * ```yaml blocks with `beside=PATH` are files that are there as well; ```sh blocks with `before=FILE` run before the start.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { EXTENSIONS } from '../../src/extensions/index.ts';
import { freePort } from '../support/free-port.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';

const root = join(import.meta.dir, '../..');

interface Example {
  readonly page: string;
  readonly file: string;
  readonly refused: boolean;
  readonly text: string;
}

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** Every ```yaml block with `file=` in the documentation. */
function examples(): Example[] {
  const out: Example[] = [];
  for (const page of pages) {
    for (const [, info, body] of read(page).matchAll(/^```yaml (file=.*)\n([\s\S]*?)^```$/gm)) {
      const file = /file=(\S+)/.exec(info!)![1]!;
      out.push({ page, file, refused: info!.includes('expect=refused'), text: body! });
    }
  }
  return out;
}

interface Walk {
  readonly page: string;
  readonly file: string;
  /** Commands with what their output must contain. */
  readonly steps: (readonly [command: string, output: string])[];
}

/** The ```sh blocks with `run=`: those of one page and file are one walk. */
function walks(): Walk[] {
  const out: Walk[] = [];
  for (const page of pages) {
    for (const [, file, body] of read(page).matchAll(/^ *```sh run=(\S+)\n([\s\S]*?)^ *```$/gm)) {
      let walk = out.find((each) => each.page === page && each.file === file);
      if (walk === undefined) {
        walk = { page, file: file!, steps: [] };
        out.push(walk);
      }
      for (const line of body!.trim().split('\n')) {
        const [command, output] = line.trim().split(/\s+# /);
        walk.steps.push([command!, output ?? '']);
      }
    }
  }
  return out;
}

/** The ```yaml blocks of a page with `beside=`, by path. */
function filesBeside(page: string): [path: string, text: string][] {
  return [...read(page).matchAll(/^```yaml beside=(\S+)\n([\s\S]*?)^```$/gm)].map(([, path, text]) => [path!, text!]);
}

/** What runs before the start of a walk. */
function preparations({ page, file }: Walk): string[] {
  const blocks = [...read(page).matchAll(/^```sh before=(\S+)\n([\s\S]*?)^```$/gm)];
  return blocks.filter(([, name]) => name === file).map(([, , commands]) => commands!);
}

function putFiles(folder: string, page: string, ports: ReadonlyMap<string, string>): void {
  for (const [path, text] of filesBeside(page)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), withPorts(text, ports));
  }
}

/** Ports of the page, and free ones in their place. */
function freePorts(config: string): Map<string, string> {
  const used = new Set([...config.matchAll(/(?:port(?:_value)?: |127\.0\.0\.1:)(\d+)/g)].map((found) => found[1]!));
  return new Map([...used].map((port) => [port, String(freePort())]));
}

const withPorts = (text: string, ports: ReadonlyMap<string, string>): string =>
  text.replace(/(?<=port_value: |port: |localhost:|127\.0\.0\.1:)\d+/g, (port) => ports.get(port) ?? port);

async function shell(command: string, cwd: string): Promise<string> {
  const env = { ...process.env, PATH: `${join(cwd, 'bin')}:${process.env.PATH}` };
  const child = Bun.spawn(['bash', '-c', command], { cwd, env, stdout: 'pipe', stderr: 'pipe' });
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return output + errors;
}

/** The command `nuncio` of a walk. */
function putCommand(folder: string): void {
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(folder, 'bin', 'nuncio'), `#!/bin/sh\nexec ${nuncioCommand().join(' ')} "$@"\n`);
  chmodSync(join(folder, 'bin', 'nuncio'), 0o755);
}

/** What pages about TLS take for granted: `certs/` with an authority, a server and a client. */
function putCertificates(folder: string): void {
  const from = join(root, 'src/net/tls/testdata');
  mkdirSync(join(folder, 'certs'));
  for (const [name, source] of [
    ['ca.pem', 'root.pem'],
    ['server.pem', 'server-ec.pem'],
    ['server.key', 'server-ec.key'],
    ['other.pem', 'other-rsa.pem'],
    ['other.key', 'other-rsa.key'],
    ['client.pem', 'client.pem'],
    ['client.key', 'client.key'],
  ] as const) {
    copyFileSync(join(from, source), join(folder, 'certs', name));
  }
}

async function validate(path: string): Promise<{ code: number; output: string }> {
  const child = Bun.spawn([...nuncioCommand(), '-c', path, '--mode', 'validate'], {
    cwd: dirname(path),
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [output, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code: child.exitCode ?? -1, output: output + errors };
}

describe('examples in the documentation', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'nuncio-docs-'));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  putCertificates(scratch);
  const found = examples();

  test('there are some', () => {
    expect(found.length).toBeGreaterThan(2);
  });

  for (const example of found) {
    test(`${example.page}: ${example.file} is ${example.refused ? 'refused' : 'accepted'}`, async () => {
      const path = join(scratch, example.file);
      putFiles(scratch, example.page, new Map());
      writeFileSync(path, example.text);
      const { code, output } = await validate(path);
      expect({ code, output }).toMatchObject({ code: example.refused ? 1 : 0 });
    });
  }

  // An example for another command has no such file: its own test runs it.
  for (const name of readdirSync(join(root, 'examples'))) {
    if (!existsSync(join(root, 'examples', name, 'envoy.yaml'))) continue;
    test(`examples/${name}/envoy.yaml is accepted`, async () => {
      const { code, output } = await validate(join(root, 'examples', name, 'envoy.yaml'));
      expect({ code, output }).toMatchObject({ code: 0 });
    });
  }

  for (const walk of walks()) {
    const { page, file, steps } = walk;
    test(`${page}: the commands beside ${file} print what the page says`, async () => {
      const text = found.find((each) => each.page === page && each.file === file)?.text ?? read(file);
      const ports = freePorts(
        [text, ...filesBeside(page).map(([, beside]) => beside), ...preparations(walk)].join('\n'),
      );
      const folder = mkdtempSync(join(scratch, 'walk-'));
      putCertificates(folder);
      putCommand(folder);
      putFiles(folder, page, ports);
      for (const commands of preparations(walk)) await shell(withPorts(commands, ports), folder);
      writeFileSync(join(folder, 'envoy.yaml'), withPorts(text, ports));
      const flags = ['-c', 'envoy.yaml', '-l', 'warning', '--concurrency', '1', '--file-flush-interval-msec', '10'];
      const server = Bun.spawn([...nuncioCommand(), ...flags], {
        cwd: folder,
        stdio: ['ignore', Bun.file(join(folder, 'out')), Bun.file(join(folder, 'errors'))],
      });
      try {
        const ready = `curl -s --retry 50 --retry-delay 0 --retry-connrefused --retry-max-time 20 localhost:9901/ready`;
        // What it said before it was ready stands in front.
        expect(await shell(withPorts(ready, ports), folder)).toEndWith('LIVE\n');
        for (const [command, output] of steps) {
          expect({ command, output: await shell(withPorts(command, ports), folder) }).toEqual({
            command,
            output: expect.stringContaining(output) as unknown as string,
          });
        }
      } finally {
        server.kill('SIGTERM');
        await server.exited;
        await shell('for pid in *.pid; do [ -f "$pid" ] && kill $(cat "$pid"); done', folder);
      }
      expect(server.exitCode).toBe(0);
    }, 30_000);
  }

  test('there are commands to try', () => {
    expect(walks().map(({ page }) => page)).toContain('docs/tutorials/first-proxy.md');
    expect(walks().flatMap(({ steps }) => steps).length).toBeGreaterThan(15);
  });

  for (const page of pages) {
    for (const [, file, from, to, body] of read(page).matchAll(
      /^```text error=(\S+) replace=(\S+)>(\S+)\n([\s\S]*?)^```$/gm,
    )) {
      test(`${page}: the mistake in ${file} is told as the page says`, async () => {
        const path = join(mkdtempSync(join(scratch, 'mistake-')), file!);
        const text = found.find((each) => each.page === page && each.file === file)!.text;
        writeFileSync(path, text.replace(from!, to!));
        const { code, output } = await validate(path);
        expect(code).toBe(1);
        for (const line of body!.trim().split('\n')) expect(output).toContain(line);
      });
    }

    test(`${page}: links lead somewhere`, () => {
      const targets = [...read(page).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map((link) => link[1]!);
      const files = targets.filter((target) => !/^[a-z]+:/.test(target));
      expect(files.filter((target) => !existsSync(join(root, dirname(page), target)))).toEqual([]);
    });
  }
});

test('the table of folders in docs/architecture.md is the import rule', () => {
  const { forbidden } = createRequire(import.meta.url)(join(root, '.dependency-cruiser.cjs')) as {
    forbidden: { comment?: string }[];
  };
  const rows = new Map<string, string[]>();
  for (const { comment } of forbidden) {
    const [, folder, may] = /^src\/(\S+) may import: (.*)$/.exec(comment ?? '') ?? [];
    if (folder !== undefined && existsSync(join(root, 'src', folder))) rows.set(folder, may!.split(', '));
  }
  const told: Record<string, string[]> = {};
  for (const [, path, may] of read('docs/architecture.md').matchAll(
    /^\| `(?!src)([a-z-]+)\/[^|]*\|[^|]*\| (.*) \|$/gm,
  )) {
    const rest = may!.replace(', never a sibling', '');
    told[path!] = rest === 'all above' ? Object.keys(told) : rest === '-' ? [] : rest.split(' ');
  }
  const enforced = [...rows].map(([folder, may]) => [folder, may.filter((each) => rows.has(each))]);
  expect(told).toEqual(Object.fromEntries(enforced) as Record<string, string[]>);
});

test('the README names the filters that there are', () => {
  for (const kind of ['listener', 'network', 'http'] as const) {
    const title = kind === 'http' ? 'HTTP' : `${kind[0]!.toUpperCase()}${kind.slice(1)}`;
    const row = new RegExp(`^\\| ${title} filters \\|(.*)\\|$`, 'm').exec(read('README.md'))![1]!;
    const prefix = `envoy.filters.${kind}.`;
    const own = EXTENSIONS.map(({ name }) => name).filter((name) => name.startsWith(prefix));
    expect([...row.matchAll(/`(\w+)`/g)].map((name) => name[1]!).sort()).toEqual(
      own.map((name) => name.slice(prefix.length)).sort(),
    );
  }
});
