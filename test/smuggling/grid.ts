import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootstrap, cluster, type Fields, fileLog, httpListener, to } from '../differential/configs.ts';
import { normalise } from '../differential/normalise.ts';
import { fillIn, withAdmin } from '../differential/side.ts';
import type { Fate } from '../support/byte-pipe.ts';
import { describeFrame, END_STREAM, FrameType, readFrames } from '../support/h2-frames.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';
import { connectRaw, type RawClient } from '../support/raw-client.ts';
import { findResponse, joinChunks, showBytes } from '../support/wire-text.ts';
import { type ReadStream, readRequests } from './reader.ts';
import type { RequestCase } from './request-cases.ts';
import type { EchoServer } from './servers.ts';
import { Tap, type TappedConnection } from './tap.ts';

/** Settings of the connection manager under which every case is sent. */
const variants: Readonly<Record<string, Fields>> = {
  strict: {},
  lenient: {
    http_protocol_options: {
      accept_http_10: true,
      default_host_for_http_10: 'default',
      enable_trailers: true,
      allow_chunked_length: true,
    },
    upgrade_configs: [{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }],
    stream_error_on_invalid_http_message: true,
  },
};

/** What one case did in one lane of one proxy. */
export interface Outcome {
  /** Everything that is compared with the other proxy, as text. */
  readonly text: string;
  /** What was forwarded that the next hop could read differently, or did. */
  readonly hazards: readonly string[];
}

const FORMAT =
  '%REQ(:METHOD)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%|%BYTES_RECEIVED%|%UPSTREAM_HOST%|%REQ(:PATH)%';

interface LogLine {
  readonly text: string;
  readonly received: number;
  readonly forwarded: boolean;
}

interface Raw {
  readonly log: readonly LogLine[];
  readonly client: RawClient;
  readonly connections: readonly TappedConnection[];
  readonly probe: string;
}

const PROBE = 'GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n';

/** The final responses in `text`, in order of their requests; what is left over is the last of them. */
function readResponses(text: string, methods: readonly string[], closed: boolean): string[] {
  const found: string[] = [];
  let at = 0;
  while (at < text.length) {
    const extent = findResponse(text, at, { head: methods[found.length] === 'HEAD', closed });
    if (extent === null) {
      found.push(text.slice(at));
      break;
    }
    const response = text.slice(at, extent.end);
    at = extent.end;
    if (!/^HTTP\/1\.1 1\d\d/.test(response)) found.push(response);
  }
  return found;
}

/** One variant of the configuration in front of one server: cases run here one after another. */
class Lane {
  readonly name: string;
  readonly variant: string;
  readonly server: EchoServer;
  readonly tap: Tap;
  readonly tapPort: number;
  port = 0;
  logPath = '';
  #logged = 0;

  constructor(name: string, variant: string, server: EchoServer) {
    this.name = name;
    this.variant = variant;
    this.server = server;
    this.tap = new Tap(server.port);
    this.tapPort = this.tap.start();
  }

  config(): { listener: Fields; cluster: Fields } {
    const hcm = {
      stat_prefix: this.name,
      delayed_close_timeout: '0.01s',
      access_log: [fileLog(FORMAT, `${this.name}.log`)],
      ...variants[this.variant],
    };
    return {
      listener: httpListener({ name: this.name, hcm, routes: [to(this.name), connectRoute(this.name)] }),
      cluster: cluster(this.name),
    };
  }

  /** Sends a case and waits until nothing more comes for `quietMs`, or `silenceMs` where nothing came at all. */
  async run(item: RequestCase, quietMs: number, silenceMs: number): Promise<Raw> {
    const client = await connectRaw({ port: this.port });
    let heard = 0;
    let lastLength = 0;
    const pieces = typeof item.bytes === 'string' ? [item.bytes] : item.bytes;
    for (const piece of pieces) {
      client.send(piece);
      // Pieces must arrive as pieces; nothing tells when the proxy has read one.
      if (pieces.length > 1) await Bun.sleep(pieces.length > 20 ? 1 : 10);
    }
    const start = performance.now();
    for (;;) {
      if (client.received.length !== lastLength) {
        lastLength = client.received.length;
        heard = performance.now();
      }
      const now = performance.now();
      if (client.fate !== 'open' && now - Math.max(this.tap.lastActivity, start) > 3) break;
      const last = Math.max(heard, this.tap.lastActivity, start);
      if (now - last > (heard > 0 ? quietMs : silenceMs)) break;
      await Bun.sleep(3);
    }
    const fate = client.fate;
    if (fate === 'open') client.reset();
    client.fate = fate;
    const second = await connectRaw({ port: this.port });
    second.send(PROBE);
    const probe = await second.finalResponse();
    second.reset();
    return { log: await this.#readLog(), client, connections: await this.tap.cut(), probe };
  }

  /** Access-log lines of the case that has just run: the probe's is the last. */
  async #readLog(): Promise<LogLine[]> {
    let text = '';
    for (const deadline = performance.now() + 4000; performance.now() < deadline; await Bun.sleep(2)) {
      const file = Bun.file(this.logPath).slice(this.#logged);
      text = (await Bun.file(this.logPath).exists()) ? await file.text() : '';
      if (/\|\/probe\n$/.test(text)) break;
    }
    this.#logged += Buffer.byteLength(text);
    const lines = text.split('\n').slice(0, -1);
    return lines
      .map((line) => line.split('|'))
      .filter((parts) => parts[3] !== '/probe')
      .map(([said = '', received = '0', host = '-']) => ({
        text: said,
        received: Number(received),
        forwarded: host !== '-',
      }));
  }
}

function connectRoute(name: string): Fields {
  return { match: { connect_matcher: {} }, route: { cluster: name } };
}

/** What came over HTTP/2, by stream: its parts in order, data taken together, and how it ended. Header blocks are not decoded. */
function describeFrames(received: string): string {
  const streams = new Map<number, string[]>();
  const bodies = new Map<number, number>();
  for (const each of readFrames(received)) {
    const { type, flags, stream, payload } = each;
    if (type === FrameType.Settings || type === FrameType.WindowUpdate || type === FrameType.Ping) continue;
    const parts = streams.get(stream) ?? [];
    streams.set(stream, parts);
    if (type === FrameType.Data) {
      const length = (bodies.get(stream) ?? 0) + payload.length;
      bodies.set(stream, length);
      if ((flags & END_STREAM) !== 0) parts.push(`DATA ${length} end`);
    } else {
      parts.push(describeFrame(each));
    }
  }
  return [...streams]
    .sort(([a], [b]) => a - b)
    .map(([stream, parts]) => `${stream}: ${parts.join(', ')}`)
    .join('\n');
}

function describeForwarded(stream: ReadStream): string {
  return stream.requests
    .map(
      ({ method, target, bodyLength, complete }) => `${method} ${target} ${bodyLength}${complete ? '' : ' incomplete'}`,
    )
    .join(', ');
}

/** As much of a tapped connection as is judged. */
export interface CarriedConnection {
  readonly proxy: { readonly received: string };
  readonly server: { readonly received: string; readonly fate: Fate };
  readonly cut: boolean;
}

/** Compares what a connection carried with what the server made of it. */
export function findHazards(server: string, { proxy, server: answers, cut }: CarriedConnection): string[] {
  const hazards: string[] = [];
  const stream = readRequests(proxy.received);
  if (stream.fault !== null) hazards.push(`${server} was sent an ambiguous request: ${stream.fault}`);
  const closed = answers.fate !== 'open';
  const methods = stream.requests.map((request) => request.method);
  const responses = readResponses(answers.received, methods, closed);
  const complete = stream.requests.filter((request) => request.complete).length;
  const context = `forwarded [${describeForwarded(stream)}], answers ${responses.map((text) => text.split('\r\n')[0])}`;
  if (responses.length > stream.requests.length) {
    hazards.push(`${server} understood more requests than were forwarded: ${context}`);
  }
  // Who closes early leaves requests unanswered; that is no matter of reading.
  if (responses.length < complete && cut && !stream.requests.some((request) => request.tunnel)) {
    hazards.push(`${server} understood fewer requests than were forwarded: ${context}`);
  }
  for (const [index, response] of responses.entries()) {
    const request = stream.requests[index];
    const echo = /\r\n\r\n(?:[0-9a-f]+\r\n)?(\S+) (\S+) (\d+)(?:\r\n0\r\n\r\n)?$/.exec(response);
    if (request === undefined || echo === null || !response.startsWith('HTTP/1.1 200')) continue;
    const [, method, target, length] = echo;
    const sameTarget = server === 'lighttpd' || target === request.target;
    if (method !== request.method || !sameTarget || Number(length) !== request.bodyLength) {
      hazards.push(`${server} read ${method} ${target} ${length} where ${context}`);
    }
  }
  return hazards;
}

/** Both variants in front of all servers, on one proxy. */
export class Grid {
  readonly program: ProxyProgram;
  readonly #lanes: Lane[] = [];
  #proxy: ProxyProcess | null = null;
  #directory = '';

  constructor(program: ProxyProgram, servers: readonly EchoServer[]) {
    this.program = program;
    for (const server of servers) {
      for (const variant of Object.keys(variants))
        this.#lanes.push(new Lane(`${variant}-${server.name}`, variant, server));
    }
  }

  get laneNames(): string[] {
    return this.#lanes.map((lane) => lane.name);
  }

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), `${this.program.name}-grid-`));
    const parts = this.#lanes.map((lane) => lane.config());
    const config = bootstrap(
      parts.map((part) => part.listener),
      parts.map((part) => part.cluster),
    );
    const text = fillIn(
      withAdmin(config),
      this.#directory,
      new Map(this.#lanes.map((lane) => [lane.name, lane.tapPort])),
    );
    this.#proxy = await ProxyProcess.start(this.program, this.#directory, text);
    const ports = await this.#proxy.listenerPorts();
    for (const lane of this.#lanes) {
      lane.port = ports.get(lane.name) ?? 0;
      lane.logPath = join(this.#directory, `${lane.name}.log`);
    }
  }

  /** Runs `cases` in every lane that `wanted` names, the lanes side by side. Keys are `lane case`. */
  async run(
    cases: readonly RequestCase[],
    wanted: (lane: string, item: RequestCase) => boolean,
    quietMs: number,
    silenceMs: number,
  ): Promise<Map<string, Outcome>> {
    const outcomes = new Map<string, Outcome>();
    await Promise.all(
      this.#lanes.map(async (lane) => {
        for (const item of cases) {
          if (!wanted(lane.name, item)) continue;
          const raw = await lane.run(item, quietMs, silenceMs);
          outcomes.set(`${lane.name} ${item.name}`, this.#judge(lane, item, raw));
        }
      }),
    );
    return outcomes;
  }

  #judge(lane: Lane, item: RequestCase, { client, connections, probe, log }: Raw): Outcome {
    const surroundings = { ports: new Map([[lane.port, 'listen']]), tmp: this.#directory };
    const show = (text: string): string => normalise(showBytes(joinChunks(text)), surroundings);
    const hazards = connections.flatMap((connection) => findHazards(lane.server.name, connection));
    if (!/^HTTP\/1\.1 200 [\s\S]*GET \/probe 0/.test(probe)) {
      hazards.push(`the next request of another client was answered by ${JSON.stringify(probe.slice(0, 300))}`);
    }
    // What the proxy believes to have forwarded; the probe is the last.
    const begun = connections.flatMap((connection) => readRequests(connection.proxy.received).requests);
    const own = begun.filter((request) => request.target !== '/probe');
    const believed = log.filter((line) => line.forwarded);
    if (own.length > believed.length) {
      hazards.push(`forwarded ${own.length} requests, believes in ${believed.length}`);
    }
    const bodies = own.filter((request) => request.complete && !request.tunnel).map((request) => request.bodyLength);
    const believedBodies = believed.map((line) => line.received);
    // Streams side by side end in an order of their own, on connections of their own.
    const order =
      item.http2 === true ? (texts: string[]): string[] => texts.sort() : (texts: string[]): string[] => texts;
    if (item.http2 === true) {
      bodies.sort((a, b) => a - b);
      believedBodies.sort((a, b) => a - b);
    }
    for (const [index, received] of believedBodies.entries()) {
      if (own.length !== believed.length || bodies.length !== believed.length) break;
      if (received !== bodies[index]) hazards.push(`forwarded a body of ${bodies[index]}, believes in ${received}`);
    }
    const fate = client.fate === 'open' ? 'open' : 'closed';
    const forwarded = order(
      connections
        .map((connection) => show(connection.proxy.received.replace(PROBE_FORWARDED, '')))
        .filter((text) => text !== ''),
    );
    const logged = order(log.map((line) => `${line.text} ${line.received}`));
    const text = [
      `== log\n${logged.join('\n')}`,
      `== client\n${item.http2 === true ? describeFrames(client.received) : show(client.received)}\n[${fate}]`,
      ...forwarded.map((sent) => `== forwarded\n${sent}`),
    ].join('\n');
    return { text, hazards };
  }

  async stop(): Promise<void> {
    for (const lane of this.#lanes) lane.tap.stop();
    await this.#proxy?.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

const PROBE_FORWARDED = /GET \/probe HTTP\/1\.1\r\nhost: probe\r\n(?:[^\r\n]+\r\n)*\r\n/;
