/**
 * `npm run soak [-- --seconds N]`: mixed load on one proxy for ten minutes: kept and short connections, large bodies both ways,
 * resets by both sides, slow clients, retries, TCP; and the same over TLS and HTTP/2, with gRPC, WebSockets, certificates that change
 * and peers that speak nonsense (`wire-load.mjs`, a process of its own: Node's TLS and HTTP/2 are what a client has). No request may fail that should not, nothing may be held afterwards, and memory
 * must be flat: the resident set may grow by at most `MAX_GROWTH_PER_MINUTE` over the second half.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootstrap, cluster, http, httpListener, tcpListener, tcpProxy, to } from '../differential/configs.ts';
import { fillIn, withAdmin } from '../differential/side.ts';
import { readStats } from '../differential/transcript.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';
import { connectRaw, type RawClient } from '../support/raw-client.ts';
import { httpUpstream, rawUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { Renewal, WireLoad, type WireResult, wireClusters, wireListeners } from './wire.ts';

/** What the resident set may grow by, in bytes, per minute of the second half, beside the noise of the collector. */
const MAX_GROWTH_PER_MINUTE = 1 << 20;
/** The collector's noise, in bytes: over half a minute the resident set was seen to rise by 15 MB and to fall by 25 without meaning anything. */
const NOISE = 32 << 20;

const LARGE = 'z'.repeat(256 * 1024);

/** What came of a run. */
export interface SoakResult {
  /** How often each kind of work was done. */
  readonly done: Readonly<Record<string, number>>;
  /** What should not have happened, at most 20 of it. */
  readonly errors: readonly string[];
  /** Gauges that were not zero at the end. */
  readonly held: readonly string[];
  /** Growth of the resident set over the second half: slope of a straight line through it, bytes per minute. */
  readonly growthPerMinute: number;
  /** The same as a difference over the whole second half, in bytes. */
  readonly growth: number;
  readonly residentBytes: number;
  /** What happened on the wire. */
  readonly facts: WireResult['facts'];
}

/** Whether the memory of a run was flat. */
function isFlat(result: SoakResult, seconds: number): boolean {
  return result.growth < NOISE + (MAX_GROWTH_PER_MINUTE * seconds) / 120;
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0') * 1024;
}

/** Slope of the line of least squares through points. */
function slope(points: readonly (readonly [number, number])[]): number {
  const n = points.length;
  if (n < 2) return 0;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n;
  const over = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  const under = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return under === 0 ? 0 : over / under;
}

class Load {
  readonly done: Record<string, number> = {};
  readonly errors: string[] = [];
  readonly #port: number;
  readonly #tcpPort: number;

  constructor(port: number, tcpPort: number) {
    this.#port = port;
    this.#tcpPort = tcpPort;
  }

  #expect(kind: string, text: string, wanted: string): void {
    if (text.includes(wanted)) return;
    if (this.errors.length < 20) this.errors.push(`${kind}: ${JSON.stringify(text.slice(0, 200))}`);
  }

  async #ask(client: RawClient, kind: string, bytes: string, wanted: string): Promise<void> {
    const began = performance.now();
    client.send(bytes);
    const answer = await client.finalResponse({ timeoutMs: 10_000 });
    const circumstances = `[${client.fate} after ${Math.round(performance.now() - began)} ms, ${bytes.length} bytes sent from port ${client.localPort}]`;
    this.#expect(kind, answer.includes(wanted) ? answer : `${circumstances} ${answer}`, wanted);
  }

  /** The kinds of work; each is one round, done again and again. */
  readonly kinds: Readonly<Record<string, () => Promise<void>>> = {
    kept: async () => {
      const client = await connectRaw({ port: this.#port });
      for (let i = 0; i < 50; i++) await this.#ask(client, 'kept', http('GET /small'), 'small');
      client.end();
      await client.closed();
    },
    short: async () => {
      const client = await connectRaw({ port: this.#port });
      await this.#ask(client, 'short', http('GET /small', ['connection: close']), 'small');
      client.end();
      await client.closed();
    },
    pipelined: async () => {
      const client = await connectRaw({ port: this.#port });
      client.send(http('GET /small').repeat(10));
      for (let i = 0; i < 10; i++) this.#expect('pipelined', await client.finalResponse(), 'small');
      client.reset();
    },
    download: async () => {
      const client = await connectRaw({ port: this.#port });
      client.send(http('GET /large'));
      await client.until(() => client.received.length > LARGE.length, 10_000);
      this.#expect('download', client.received, 'zzzz');
      client.reset();
    },
    upload: async () => {
      const client = await connectRaw({ port: this.#port });
      await this.#ask(
        client,
        'upload',
        http('POST /up', [`content-length: ${LARGE.length}`], LARGE),
        `${LARGE.length}`,
      );
      client.reset();
    },
    chunked: async () => {
      const client = await connectRaw({ port: this.#port });
      const body = `${'400\r\n'}${'c'.repeat(1024)}\r\n`.repeat(20);
      await this.#ask(client, 'chunked', http('POST /up', ['transfer-encoding: chunked'], `${body}0\r\n\r\n`), '20480');
      client.reset();
    },
    retried: async () => {
      const client = await connectRaw({ port: this.#port });
      await this.#ask(client, 'retried', http('GET /flaky'), 'small');
      client.reset();
    },
    'upstream resets': async () => {
      const client = await connectRaw({ port: this.#port });
      await this.#ask(client, 'upstream resets', http('GET /reset'), 'HTTP/1.1 503');
      client.reset();
    },
    'client resets': async () => {
      const client = await connectRaw({ port: this.#port });
      client.send(http('GET /large'));
      await client.receive('\r\n\r\n');
      client.reset();
    },
    'client leaves half a request': async () => {
      const client = await connectRaw({ port: this.#port });
      client.send(http('POST /up', ['content-length: 100'], 'half'));
      await Bun.sleep(5);
      client.reset();
    },
    'slow client': async () => {
      const client = await connectRaw({ port: this.#port });
      for (const byte of http('GET /small')) {
        client.send(byte);
        await Bun.sleep(2);
      }
      this.#expect('slow client', await client.finalResponse(), 'small');
      client.reset();
    },
    malformed: async () => {
      const client = await connectRaw({ port: this.#port });
      await this.#ask(client, 'malformed', http('POST /x', ['content-length: -1']), 'HTTP/1.1 400');
      client.reset();
    },
    tcp: async () => {
      const client = await connectRaw({ port: this.#tcpPort });
      for (let i = 0; i < 10; i++) {
        const mark = `line ${i}\n`;
        client.send(mark);
        this.#expect('tcp', await client.receive(mark.toUpperCase(), 10_000), mark.toUpperCase());
      }
      client.end();
      await client.closed();
    },
    'tcp reset': async () => {
      const client = await connectRaw({ port: this.#tcpPort });
      client.send('x');
      await client.receive('X');
      client.reset();
    },
  };

  /** Does one kind of work until `deadline`, with a pause between rounds so that no kind starves the others. */
  async run(kind: string, round: () => Promise<void>, deadline: number): Promise<void> {
    while (performance.now() < deadline) {
      try {
        await round();
      } catch (failure) {
        this.#expect(kind, String(failure), 'never');
      }
      this.done[kind] = (this.done[kind] ?? 0) + 1;
      await Bun.sleep(2);
    }
  }
}

/** Runs the load for `seconds` on `program` and measures. */
export async function soak(program: ProxyProgram, seconds: number): Promise<SoakResult> {
  let flaky = 0;
  const upstream = new ScriptedUpstream(
    httpUpstream((seen, connection) => {
      // An upstream keeps all that it received; over minutes that is too much.
      if (seen.path === '/large') return reply(200, LARGE);
      if (seen.path === '/up') return reply(200, String(seen.body.length));
      if (seen.path === '/reset') {
        connection.reset();
        return undefined;
      }
      if (seen.path === '/flaky' && flaky++ % 2 === 0) return reply(503, 'again');
      return reply(200, 'small', seen.number % 100 === 0 ? ['connection: close'] : []);
    }),
  );
  const echo = new ScriptedUpstream(
    rawUpstream(async (connection) => {
      for (let seen = 0; await connection.until(() => connection.received.length > seen, 30_000); ) {
        const text = connection.received.slice(seen);
        seen = connection.received.length;
        connection.send(text.toUpperCase());
      }
      connection.end();
    }),
  );
  const directory = await mkdtemp(join(tmpdir(), 'soak-'));
  const retries = { retry_on: '5xx', num_retries: 3, retry_back_off: { base_interval: '0.001s' } };
  const config = bootstrap(
    [
      httpListener({
        routes: [to('u1', '/flaky', { retry_policy: retries }), to('u1')],
        log: '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION%',
      }),
      tcpListener([tcpProxy({ cluster: 'echo' })], { name: 't' }),
      ...wireListeners,
    ],
    [cluster('u1'), cluster('echo'), ...wireClusters],
    { node: { id: 'soak', cluster: 'soak' } },
  );
  const wire = new WireLoad();
  const renewal = new Renewal(directory);
  const ports = new Map([['u1', upstream.start()], ['echo', echo.start()], ...(await wire.upstreamPorts())]);
  const proxy = await ProxyProcess.start(program, directory, fillIn(withAdmin(config), directory, ports));
  // Long runs would keep every connection that there ever was, and all its bytes.
  const forget = setInterval(() => {
    for (const server of [upstream, echo]) {
      const live = server.connections.filter((connection) => connection.fate === 'open' && !connection.endedByUs);
      server.connections.splice(0, server.connections.length, ...live);
    }
  }, 1000);
  try {
    const listening = await proxy.listenerPorts();
    const load = new Load(listening.get('a') ?? 0, listening.get('t') ?? 0);
    const start = performance.now();
    const samples: [minutes: number, bytes: number][] = [];
    const sampler = setInterval(() => {
      if (proxy.exitCode === null) samples.push([(performance.now() - start) / 60_000, residentBytes(proxy.pid)]);
    }, 250);
    renewal.start();
    const onWire = wire.run(listening, seconds);
    await Promise.all(Object.entries(load.kinds).map(([kind, round]) => load.run(kind, round, start + seconds * 1000)));
    const { done, errors, facts } = await onWire;
    clearInterval(sampler);
    renewal.stop();
    load.errors.push(...errors);
    if (facts.resumed === 0) load.errors.push('no TLS session was resumed');
    if (facts.goaways === 0) load.errors.push('no connection was drained');
    if (seconds > 5 && Object.keys(facts.certificates).length < 2) load.errors.push('the certificate never changed');
    if (proxy.exitCode !== null) load.errors.push(`the proxy exited with ${proxy.exitCode}: ${proxy.standardError()}`);
    await Promise.all([upstream.forget(), echo.forget()]);
    let held: string[] = [];
    for (const deadline = performance.now() + 5000; performance.now() < deadline; await Bun.sleep(20)) {
      const stats = readStats((await proxy.admin('/stats')).body);
      held = [...stats]
        .filter(
          ([name, value]) =>
            value !== 0 &&
            /^(cluster|http|http2|tcp|listener)\.(?!admin).*(_active|_buffered|pending_send_bytes)$/.test(name),
        )
        .map(([name, value]) => `${name}: ${value}`);
      if (held.length === 0) break;
    }
    const half = samples.filter(([minutes]) => minutes >= seconds / 120);
    const growthPerMinute = slope(half);
    const last = half.at(-1);
    const span = last === undefined ? 0 : last[0] - (half[0]?.[0] ?? 0);
    return {
      done: { ...load.done, ...done },
      errors: load.errors,
      held,
      growthPerMinute,
      growth: growthPerMinute * span,
      facts,
      residentBytes: last?.[1] ?? 0,
    };
  } finally {
    clearInterval(forget);
    renewal.stop();
    wire.stop();
    await proxy.stop();
    upstream.stop();
    echo.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const at = process.argv.indexOf('--seconds');
  const seconds = at === -1 ? 600 : Number(process.argv[at + 1]);
  const envoy = process.env.ENVOY_BIN;
  const program =
    process.argv.includes('--envoy') && envoy !== undefined
      ? { name: 'envoy', command: [envoy] }
      : { name: 'nuncio', command: nuncioCommand() };
  console.log(`${program.name}: ${seconds} s of mixed load`);
  const result = await soak(program, seconds);
  console.log(result);
  const flat = isFlat(result, seconds);
  const good = result.errors.length === 0 && result.held.length === 0 && flat;
  console.log(`memory ${flat ? 'flat' : 'GROWS'}; ${result.errors.length} errors; ${result.held.length} gauges held`);
  process.exit(good ? 0 : 1);
}
