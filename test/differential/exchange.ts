import { Http2Client, type Http2Peer, type SeenStream } from '../support/http2-peer.ts';
import type { AdminAnswer, ProxyProcess } from '../support/proxy-process.ts';
import { connectRaw, type RawClient } from '../support/raw-client.ts';
import type { ScriptedUpstream } from '../support/scripted-upstream.ts';
import { joinChunks, showBytes } from '../support/wire-text.ts';
import { normalise, type Rewrite } from './normalise.ts';
import type { Side } from './side.ts';
import { Transcript } from './transcript.ts';

/** JSON with the members of every object in order: the order in which Envoy prints the entries of some maps is random. */
export function sortedJson(text: string): string {
  const sort = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sort);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([name, member]) => [name, sort(member)]));
  };
  return JSON.stringify(sort(JSON.parse(text)), null, 1);
}

/** What the steps of a case work with, on one side. Everything done with it is written down and compared. */
export class Exchange {
  readonly transcript: Transcript;
  readonly side: Side;
  readonly proxy: ProxyProcess;
  readonly #clients: { client: RawClient; title: string }[];
  readonly #rewrites: readonly Rewrite[];
  /** What the steps waited for in vain. The oracle must have none. */
  readonly disappointments: string[];
  /** How many access-log lines to expect, by file under `{{tmp}}`. */
  readonly expectedLines: Map<string, number>;

  constructor(side: Side, proxy: ProxyProcess, rewrites: readonly Rewrite[]) {
    this.transcript = new Transcript();
    this.side = side;
    this.proxy = proxy;
    this.#clients = [];
    this.#rewrites = rewrites;
    this.disappointments = [];
    this.expectedLines = new Map();
  }

  /** The bound port of a listener. */
  port(listener: string): number {
    const port = this.side.listeners.get(listener);
    if (port === undefined) throw new Error(`${this.side.program.name} has no listener ${listener}`);
    return port;
  }

  /** Learns the ports of listeners that came after the start. */
  async refreshListeners(): Promise<void> {
    for (const [name, port] of await this.proxy.listenerPorts()) this.side.listeners.set(name, port);
  }

  upstream(name: string): ScriptedUpstream {
    const upstream = this.side.upstreams.get(name);
    if (upstream === undefined) throw new Error(`the suite has no upstream ${name}`);
    return upstream;
  }

  /** Connects to a listener; what the connection receives and how it ends is recorded, unless the case does so itself. */
  async connect(listener = 'a', options: { readonly recorded?: boolean } = {}): Promise<RawClient> {
    const client = await connectRaw({ port: this.port(listener) });
    if (options.recorded === false) return client;
    this.#clients.push({ client, title: `client ${this.#clients.length + 1} on ${listener}` });
    return client;
  }

  /** An HTTP/2 connection with prior knowledge. @param pairs of the client's SETTINGS */
  async http2(listener = 'a', pairs: readonly (readonly [number, number])[] = []): Promise<Http2Client> {
    return new Http2Client(await this.connect(listener), pairs);
  }

  /** Waits for the end of a stream; that it does not come is noted. */
  async expectOver(client: Http2Peer, id: number, timeoutMs?: number): Promise<SeenStream> {
    if (!(await client.over(id, timeoutMs)) && client.pipe.fate === 'open') this.disappoint(`stream ${id} did not end`);
    return client.stream(id);
  }

  /** Sends a request on a connection of its own and waits for the final response, or for the end. */
  async request(
    text: string,
    options: { listener?: string; head?: boolean; timeoutMs?: number } = {},
  ): Promise<string> {
    const client = await this.connect(options.listener);
    client.send(text);
    const head = options.head ?? text.startsWith('HEAD ');
    return this.expectResponse(client, { head, timeoutMs: options.timeoutMs });
  }

  /** Waits for a final response; that none came is noted. */
  async expectResponse(
    client: RawClient,
    options: { head?: boolean; timeoutMs?: number | undefined } = {},
  ): Promise<string> {
    const text = await client.finalResponse({
      head: options.head === true,
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    });
    if (text === '' && client.fate === 'open') this.disappoint('no response came');
    return text;
  }

  /** Waits until the proxy ends the connection; that it does not is noted. */
  async expectClose(client: RawClient, timeoutMs?: number): Promise<void> {
    if ((await client.closed(timeoutMs)) === 'open') this.disappoint('the connection was not closed');
  }

  /** Waits for `condition`, looking again every few milliseconds; for what gives no event. */
  async expect(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 4000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await condition())) {
      if (performance.now() > deadline) {
        this.disappoint(what);
        return;
      }
      await Bun.sleep(5);
    }
  }

  disappoint(what: string): void {
    this.disappointments.push(what);
    this.transcript.add('WAITED IN VAIN', what);
  }

  /** Asks the admin server and records status, content type and body; `json`: its members in order. */
  async admin(
    path: string,
    options: { method?: string; body?: string; record?: 'all' | 'json' | 'status' | 'none'; pick?: RegExp } = {},
  ): Promise<AdminAnswer> {
    const answer = await this.proxy.admin(path, options.method, options.body);
    const record = options.record ?? 'all';
    if (record === 'none') return answer;
    let body = answer.body;
    const pick = options.pick;
    if (pick !== undefined) {
      body = body
        .split('\n')
        .filter((line) => pick.test(line))
        .join('\n');
    }
    const lines = [`${answer.status} ${answer.headers.get('content-type')}`];
    if (record === 'all') lines.push(body);
    if (record === 'json') lines.push(sortedJson(body));
    this.note(`admin ${options.method ?? 'GET'} ${path}`, lines.join('\n'));
    return answer;
  }

  /** Adds a section of the case's own. */
  note(title: string, text: string): void {
    this.transcript.add(title, this.normalise(text));
  }

  normalise(text: string): string {
    return normalise(text, this.side.surroundings, this.#rewrites);
  }

  /** The value of one counter or gauge, 0 where it does not exist. */
  async stat(name: string): Promise<number> {
    const { body } = await this.proxy.admin('/stats');
    const line = body.split('\n').find((candidate) => candidate.startsWith(`${name}: `));
    return line === undefined ? 0 : Number(line.slice(name.length + 2));
  }

  /** Waits until a counter or gauge has a value. */
  async expectStat(name: string, value: number, timeoutMs?: number): Promise<void> {
    await this.expect(`${name} to be ${value}`, async () => (await this.stat(name)) === value, timeoutMs);
  }

  /** Says how many lines the case adds to a log; they are waited for and compared at its end. */
  expectLog(file: string, lines: number): void {
    this.expectedLines.set(file, (this.expectedLines.get(file) ?? 0) + lines);
  }

  get clients(): readonly RawClient[] {
    return this.#clients.map(({ client }) => client);
  }

  /** Writes down what clients and upstreams received, and how their connections stand. */
  recordConnections(options: { clientFate: boolean; upstreams: boolean }): void {
    for (const { client, title } of this.#clients) {
      const fate = options.clientFate && !client.endedByUs ? `\n[${client.fate}]` : '';
      this.note(title, `${client.describe?.() ?? showBytes(joinChunks(client.received))}${fate}`);
    }
    if (!options.upstreams) return;
    for (const [name, upstream] of this.side.upstreams) {
      let order = 0;
      for (const connection of upstream.connections) {
        const text = connection.received;
        if (text === '') continue;
        order++;
        const fate = connection.endedByUs ? '' : `\n[${connection.fate}]`;
        const shown = connection.describe?.() ?? showBytes(joinChunks(text));
        this.note(`upstream ${name}, connection ${order}`, `${shown}${fate}`);
      }
    }
  }
}
