/**
 * Runs inside a network namespace of its own (see main-job.test.ts): the upstream on its private address, Nuncio on the
 * example file, one request through it, one to the admin server. Prints what it saw as one line of JSON.
 */
import { existsSync, readFileSync } from 'node:fs';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { connectRaw } from '../support/raw-client.ts';
import { httpUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';

const UPSTREAM = { address: '10.103.211.217', port: 9999 };
const LOG = '/tmp/admin_access.log';
const PATIENCE_MS = 20_000;

async function untilListening(port: number, hasExited: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      (await connectRaw({ port })).end();
      return;
    } catch {
      if (hasExited() || performance.now() > deadline) throw new Error(`nothing listens on port ${port}`);
      await Bun.sleep(20);
    }
  }
}

function logLines(): string[] {
  return existsSync(LOG) ? readFileSync(LOG, 'utf8').split('\n').slice(0, -1) : [];
}

/** The status and body of a GET, by curl where the machine has it. */
async function get(url: string): Promise<{ status: number; body: string }> {
  if (Bun.which('curl') === null) {
    const answer = await fetch(url);
    return { status: answer.status, body: await answer.text() };
  }
  const child = Bun.spawn(['curl', '-sS', '-w', '\n%{http_code}', url], { stdout: 'pipe', stderr: 'inherit' });
  const text = await new Response(child.stdout).text();
  const cut = text.lastIndexOf('\n');
  return { status: Number(text.slice(cut + 1)), body: text.slice(0, cut) };
}

const config = process.argv[2] ?? '';
const before = logLines().length;
const upstream = new ScriptedUpstream(httpUpstream((seen) => reply(200, `the upstream's answer to ${seen.path}`)));
upstream.start(UPSTREAM.address, UPSTREAM.port);
const proxy = Bun.spawn([...nuncioCommand(), '-c', config], { stdio: ['ignore', 'inherit', 'inherit'] });
try {
  await untilListening(10_000, () => proxy.exitCode !== null);
  const proxied = await get('http://127.0.0.1:10000/hello');
  const admin = await get('http://127.0.0.1:9901/ready');
  proxy.kill('SIGTERM');
  await proxy.exited;
  console.log(JSON.stringify({ proxied, admin, exitCode: proxy.exitCode, log: logLines().slice(before) }));
} finally {
  if (proxy.exitCode === null) proxy.kill('SIGKILL');
  upstream.stop();
}
