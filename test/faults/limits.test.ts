/** The machine's limits: file descriptors, a full disk, ten thousand idle connections. */
import { describe, expect, test } from 'bun:test';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootstrap, cluster, type Fields, fileLog, http, httpListener, to } from '../differential/configs.ts';
import { fillIn, withAdmin } from '../differential/side.ts';
import { readStats } from '../differential/transcript.ts';
import { programs } from '../smuggling/programs.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';
import { connectRaw, type RawClient } from '../support/raw-client.ts';
import { httpUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';

/** A proxy in front of one upstream that says `fine`. */
class Stand {
  readonly upstream = new ScriptedUpstream(httpUpstream(() => reply(200, 'fine')));
  proxy: ProxyProcess | null = null;
  port = 0;
  #directory = '';

  async start(program: ProxyProgram, hcm: Fields = {}): Promise<ProxyProcess> {
    this.#directory = await mkdtemp(join(tmpdir(), 'limits-'));
    const config = bootstrap([httpListener({ routes: [to('u1')], hcm })], [cluster('u1')]);
    const ports = new Map([['u1', this.upstream.start()]]);
    this.proxy = await ProxyProcess.start(program, this.#directory, fillIn(withAdmin(config), this.#directory, ports));
    this.port = (await this.proxy.listenerPorts()).get('a') ?? 0;
    return this.proxy;
  }

  async stat(name: string): Promise<number> {
    return readStats((await this.proxy?.admin('/stats'))?.body ?? '').get(name) ?? 0;
  }

  /** Waits until `condition` holds for a stat. */
  async until(name: string, condition: (value: number) => boolean, timeoutMs = 5000): Promise<number> {
    for (const deadline = performance.now() + timeoutMs; ; await Bun.sleep(10)) {
      const value = await this.stat(name);
      if (condition(value) || performance.now() > deadline) return value;
    }
  }

  async stop(): Promise<number | null> {
    const code = (await this.proxy?.stop()) ?? null;
    this.upstream.stop();
    await rm(this.#directory, { recursive: true, force: true });
    return code;
  }
}

async function asks(client: RawClient, timeoutMs = 5000): Promise<string> {
  client.send(http('GET /'));
  return (await client.finalResponse({ timeoutMs })).split('\r\n')[0] ?? '';
}

const { oracle, subject } = programs();

/** The program with a limit of its own on file descriptors. */
function limited(program: ProxyProgram, descriptors: number): ProxyProgram {
  const script = `ulimit -n ${descriptors}; exec "$@"`;
  return { name: program.name, command: ['sh', '-c', script, 'sh', ...program.command] };
}

describe.each([oracle, subject])('limits: $name', (program) => {
  test('a full disk for the access log: requests are served, failures are counted', async () => {
    const stand = new Stand();
    const log = fileLog('%RESPONSE_CODE%');
    const typed = { ...(log.typed_config as object), path: '/dev/full' };
    await stand.start(program, { access_log: [{ ...log, typed_config: typed }] });
    try {
      const client = await connectRaw({ port: stand.port });
      for (let i = 0; i < 50; i++) expect(await asks(client)).toBe('HTTP/1.1 200 OK');
      expect(await stand.until('filesystem.write_failed', (value) => value > 0)).toBeGreaterThan(0);
      expect(await asks(client)).toBe('HTTP/1.1 200 OK');
      client.reset();
      // What cannot be written is given up, not kept.
      expect(await stand.until('filesystem.write_total_buffered', (value) => value === 0)).toBe(0);
    } finally {
      expect(await stand.stop()).toBe(0);
    }
  });

  test('out of file descriptors: those who are in are served, the others as soon as there is room', async () => {
    const stand = new Stand();
    await stand.start(limited(program, 100));
    const clients: RawClient[] = [];
    try {
      const first = await connectRaw({ port: stand.port });
      expect(await asks(first)).toBe('HTTP/1.1 200 OK');
      // The kernel takes connections into the backlog whatever the proxy has left.
      for (let i = 0; i < 150; i++) clients.push(await connectRaw({ port: stand.port }));
      // More clients than descriptors: some wait in the backlog.
      const pid = stand.proxy?.pid ?? 0;
      expect(readdirSync(`/proc/${pid}/fd`).length).toBeLessThanOrEqual(100);
      for (let i = 0; i < 5; i++) expect(await asks(first)).toBe('HTTP/1.1 200 OK');
      expect(stand.proxy?.exitCode).toBeNull();
      const waiting = clients.pop() as RawClient;
      for (const client of clients) client.reset();
      const answer = await asks(waiting, 8000);
      // Known difference: Envoy leaves whoever finds no descriptor in the backlog until there is room. Bun takes the connection and
      // closes it at once, by FIN: the client learns of it, and may not be left hanging.
      if (program === oracle) expect(answer).toBe('HTTP/1.1 200 OK');
      else if (answer !== 'HTTP/1.1 200 OK') expect(waiting.fate).toBe('fin');
      waiting.reset();
      const late = await connectRaw({ port: stand.port });
      expect(await asks(late, 8000)).toBe('HTTP/1.1 200 OK');
      late.reset();
      first.reset();
      expect(await stand.until('http.ingress.downstream_cx_active', (value) => value === 0)).toBe(0);
    } finally {
      await stand.stop();
    }
  }, 40_000);
});

/** The resident set of a process, in bytes. */
async function residentBytes(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`).text();
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? '0') * 1024;
}

describe('limits: idle connections', () => {
  test('10,000 of them are held in little memory, beside others that are served, and released', async () => {
    const stand = new Stand();
    const proxy = await stand.start(subject);
    const clients: RawClient[] = [];
    try {
      const other = await connectRaw({ port: stand.port });
      expect(await asks(other)).toBe('HTTP/1.1 200 OK');
      const before = await residentBytes(proxy.pid);
      while (clients.length < 10_000) {
        clients.push(...(await Promise.all(Array.from({ length: 200 }, () => connectRaw({ port: stand.port })))));
      }
      expect(await stand.until('http.ingress.downstream_cx_active', (value) => value >= 10_001, 10_000)).toBe(10_001);
      const each = ((await residentBytes(proxy.pid)) - before) / clients.length;
      for (let i = 0; i < 20; i++) expect(await asks(other)).toBe('HTTP/1.1 200 OK');
      // One in a hundred wakes up.
      for (let i = 0; i < clients.length; i += 100) expect(await asks(clients[i] as RawClient)).toBe('HTTP/1.1 200 OK');
      for (const client of clients) client.reset();
      other.reset();
      expect(await stand.until('http.ingress.downstream_cx_active', (value) => value === 0, 10_000)).toBe(0);
      console.log(`${Math.round(each)} bytes for an idle connection`);
      expect(each).toBeLessThan(12_000);
    } finally {
      await stand.stop();
    }
  }, 60_000);
});
