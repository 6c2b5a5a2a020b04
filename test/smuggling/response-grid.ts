import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootstrap, cluster, fileLog, httpListener, to } from '../differential/configs.ts';
import { normalise } from '../differential/normalise.ts';
import { fillIn, withAdmin } from '../differential/side.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';
import { connectRaw } from '../support/raw-client.ts';
import { rawUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { findResponse, joinChunks, showBytes } from '../support/wire-text.ts';
import type { ResponseCase } from './response-cases.ts';

const LANES = 6;
const FORMAT = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_SENT%';

/** One listener, cluster and upstream: cases run here one after another. */
class ResponseLane {
  readonly name: string;
  readonly upstream: ScriptedUpstream;
  readonly upstreamPort: number;
  port = 0;
  #case: ResponseCase | null = null;

  constructor(name: string) {
    this.name = name;
    this.upstream = new ScriptedUpstream(
      rawUpstream(async (connection) => {
        for (;;) {
          const next = await connection.nextRequest();
          if (next === null) return connection.end();
          const item = this.#case;
          if (item === null || !next.text.includes(' /case ')) {
            connection.send(reply(200, 'good'));
            continue;
          }
          const pieces = typeof item.bytes === 'string' ? [item.bytes] : item.bytes;
          for (const piece of pieces) {
            connection.send(piece);
            if (pieces.length > 1) await Bun.sleep(2);
          }
          if (item.ending === 'fin') connection.end();
          if (item.ending === 'reset') {
            // A reset at once would overtake the bytes.
            if (pieces[0] !== '') await Bun.sleep(20);
            connection.reset();
          }
        }
      }),
    );
    this.upstreamPort = this.upstream.start();
  }

  async run(item: ResponseCase, quietMs: number, silenceMs: number): Promise<string> {
    this.#case = item;
    const client = await connectRaw({ port: this.port });
    client.send(`${item.method} /case HTTP/1.1\r\nhost: h\r\n\r\n`);
    let length = 0;
    let last = performance.now();
    const settle = async (): Promise<void> => {
      last = performance.now();
      const before = length;
      while (client.fate === 'open') {
        if (client.received.length !== length) {
          length = client.received.length;
          last = performance.now();
        }
        if (performance.now() - last > (length > before ? quietMs : silenceMs)) return;
        await Bun.sleep(3);
      }
    };
    await settle();
    const show = (text: string): string => showBytes(joinChunks(text));
    const sections = [`== client\n${show(client.received)}`];
    // The same connection must go on, or be closed: never answer the next request by what was left of this one.
    const first = client.received.length;
    const done = findResponse(client.received, 0, { head: item.method === 'HEAD' }) !== null;
    // Behind an answer that goes on, Envoy would not read it, and not learn of the client's end either.
    if (client.fate === 'open' && done) {
      client.send('GET /second HTTP/1.1\r\nhost: h\r\n\r\n');
      await client.until(() => client.received.length > first, silenceMs * 4);
      await settle();
    }
    sections.push(
      `== second request\n${show(client.received.slice(first))}`,
      `[${client.fate === 'open' ? 'open' : 'closed'}]`,
    );
    if (client.fate === 'open') client.reset();
    const other = await connectRaw({ port: this.port });
    other.send('GET /third HTTP/1.1\r\nhost: h\r\n\r\n');
    sections.push(`== another client\n${show(await other.finalResponse())}`);
    other.reset();
    const used = this.upstream.connections.map((connection) => {
      const requests = [...connection.received.matchAll(/^(GET|HEAD) (\/\w+)/gm)].map((match) => match[2]);
      const fate = connection.fate === 'open' ? 'open' : 'closed';
      return `${requests.join(' ')} [${fate}]`;
    });
    sections.push(`== upstream connections\n${used.join('\n')}`);
    await this.upstream.forget();
    return sections.join('\n');
  }
}

/** Lanes of one proxy over which the cases are spread. */
export class ResponseGrid {
  readonly program: ProxyProgram;
  readonly #lanes: ResponseLane[] = [];
  #proxy: ProxyProcess | null = null;
  #directory = '';

  constructor(program: ProxyProgram) {
    this.program = program;
    for (let index = 0; index < LANES; index++) this.#lanes.push(new ResponseLane(`lane${index}`));
  }

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), `${this.program.name}-responses-`));
    const config = bootstrap(
      this.#lanes.map(({ name }) =>
        httpListener({
          name,
          routes: [to(name)],
          hcm: { delayed_close_timeout: '0.01s', access_log: [fileLog(FORMAT, `${name}.log`)] },
        }),
      ),
      this.#lanes.map(({ name }) => cluster(name)),
    );
    const ports = new Map(this.#lanes.map((lane) => [lane.name, lane.upstreamPort]));
    this.#proxy = await ProxyProcess.start(
      this.program,
      this.#directory,
      fillIn(withAdmin(config), this.#directory, ports),
    );
    const listening = await this.#proxy.listenerPorts();
    for (const lane of this.#lanes) lane.port = listening.get(lane.name) ?? 0;
  }

  /** What each case did, as text. */
  async run(cases: readonly ResponseCase[], quietMs: number, silenceMs: number): Promise<Map<string, string>> {
    const outcomes = new Map<string, string>();
    await Promise.all(
      this.#lanes.map(async (lane, index) => {
        const mine = cases.filter((_, at) => at % LANES === index);
        const path = join(this.#directory, `${lane.name}.log`);
        const log = (): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
        let logged = log().length;
        for (const item of mine) {
          const text = await lane.run(item, quietMs, silenceMs);
          // The third request's line is the last of the case.
          for (const deadline = performance.now() + 4000; performance.now() < deadline; await Bun.sleep(3)) {
            if (log().slice(logged).includes('/third')) break;
          }
          const lines = log().slice(logged);
          logged += lines.length;
          const surroundings = { ports: new Map([[lane.port, 'listen']]), tmp: this.#directory };
          outcomes.set(item.name, normalise(`${text}\n== log\n${lines}`, surroundings));
        }
      }),
    );
    return outcomes;
  }

  async stop(): Promise<void> {
    for (const lane of this.#lanes) lane.upstream.stop();
    await this.#proxy?.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
