/** `nuncio quickstart`: the tutorial as it stands, and how fast an edit changes traffic. */
import { afterAll, expect, test } from 'bun:test';
import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../support/free-port.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { until } from '../support/pilot-stage.ts';

const root = join(import.meta.dir, '../..');
const ends: (() => Promise<unknown> | unknown)[] = [];
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

/** The example in a folder of its own, on free ports, with the command running on it. */
async function start(): Promise<{ folder: string; withPorts: (text: string) => string; log: () => string }> {
  const folder = mkdtempSync(join(tmpdir(), 'quickstart-'));
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  const ports = new Map(['10000', '8081', '8082', '9901', '18000'].map((port) => [port, String(freePort())]));
  const withPorts = (text: string): string =>
    text.replace(/(?<=port: |localhost:|127\.0\.0\.1:)\d+/g, (port) => ports.get(port) ?? port);
  const example = join(folder, 'examples/quickstart');
  cpSync(join(root, 'examples/quickstart'), example, { recursive: true });
  for (const name of readdirSync(join(example, 'manifests'))) {
    const path = join(example, 'manifests', name);
    writeFileSync(path, withPorts(readFileSync(path, 'utf8')));
  }
  const flags = ['--demo-services', '--admin', '127.0.0.1:9901', '--listen', '127.0.0.1:18000'].map(withPorts);
  const child = Bun.spawn([...nuncioCommand(), 'quickstart', ...flags, example], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  const follow = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    for await (const bytes of stream) log += Buffer.from(bytes).toString();
  };
  void follow(child.stdout);
  void follow(child.stderr);
  ends.push(async () => {
    child.kill('SIGTERM');
    expect(await child.exited).toBe(0);
  });
  await until('traffic', async () => {
    if (child.exitCode !== null) throw new Error(`it ended: ${log}`);
    return (await answer(Number(ports.get('10000')))) === 'default/blue\n';
  });
  return { folder, withPorts, log: () => log };
}

function answer(port: number): Promise<string> {
  return fetch(`http://127.0.0.1:${port}/`).then(
    (response) => response.text(),
    () => '',
  );
}

/** Commands of the page with what their output must contain. */
function steps(page: string): [command: string, output: string][] {
  return [...page.matchAll(/^```sh try\n([\s\S]*?)^```$/gm)].flatMap(([, body]) =>
    body!
      .trim()
      .split('\n')
      .map((line): [string, string] => {
        const [command = '', output = ''] = line.split(/\s+# /);
        return [command, output];
      }),
  );
}

test('the tutorial prints what it says', async () => {
  const { folder, withPorts, log } = await start();
  const page = readFileSync(join(root, 'docs/tutorials/quickstart.md'), 'utf8');
  const found = steps(page);
  expect(found.length).toBeGreaterThan(8);
  for (const [command, output] of found) {
    const run = async (): Promise<string> => {
      const child = Bun.spawn(['bash', '-c', withPorts(command)], { cwd: folder, stdout: 'pipe', stderr: 'pipe' });
      return new Response(child.stdout).text();
    };
    let printed = await run();
    // How fast an edit is in force is another test's matter: this one may share the machine with many.
    const patience = performance.now() + 5000;
    while (command.startsWith('sleep') && !printed.includes(output) && performance.now() < patience) {
      printed = await run();
    }
    expect({ command, printed }).toEqual({ command, printed: expect.stringContaining(output) as unknown as string });
  }
  expect(log()).toContain('~ RouteConfiguration default/edge/');
  expect(log()).toMatch(/nothing is changed: routes\.yaml:\d+/);
  expect(log()).toContain('played here');
}, 60_000);

test('an edit changes traffic within 100 ms', async () => {
  const { folder, withPorts } = await start();
  const port = Number(withPorts('localhost:10000').split(':')[1]);
  const path = join(folder, 'examples/quickstart/manifests/routes.yaml');
  const text = readFileSync(path, 'utf8');
  const took: number[] = [];
  for (let round = 0; round < 15; round++) {
    const name = round % 2 === 0 ? 'green' : 'blue';
    writeFileSync(`${path}.new`, text.replace('name: blue, port', `name: ${name}, port`));
    const begun = performance.now();
    renameSync(`${path}.new`, path);
    while ((await answer(port)) !== `default/${name}\n`) {
      if (performance.now() - begun > 5000) throw new Error(`${name} was never asked`);
    }
    took.push(performance.now() - begun);
  }
  took.sort((a, b) => a - b);
  console.log(`an edit changed traffic within ${took.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  // Of the first quarter: other tests share the machine, and each of the rest says how busy it was.
  expect(took[Math.floor(took.length / 4)]!).toBeLessThan(100);
}, 60_000);

test('what cannot be started is told', async () => {
  const run = async (...args: string[]): Promise<string> => {
    const child = Bun.spawn([...nuncioCommand(), 'quickstart', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const text = await new Response(child.stderr).text();
    expect(await child.exited).toBe(1);
    return text;
  };
  expect(await run('/nowhere')).toContain('there is no directory /nowhere');
  expect(await run()).toContain('usage: nuncio quickstart');
  expect(await run('--gateway', 'default/other', join(root, 'examples/quickstart'))).toContain(
    'no Gateway default/other',
  );
  expect(await run('--speed', '3', join(root, 'examples/quickstart'))).toContain('--speed');
}, 30_000);
