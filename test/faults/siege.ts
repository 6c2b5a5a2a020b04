import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Socket, TCPSocketListener } from 'bun';
import { http } from '../differential/configs.ts';
import { type Config, fillIn, withAdmin } from '../differential/side.ts';
import { readStats } from '../differential/transcript.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';
import { connectRaw, type RawClient } from '../support/raw-client.ts';

/** The most that a bystander's median may be above twice its usual one: what a scheduler's turn takes, in milliseconds. */
const TURN_MS = 0.5;

/** What stands behind the proxies. */
export interface Origin {
  /** @returns its port */
  start(): number;
  stop(): void;
}

const CHUNK = Buffer.alloc(64 * 1024, 'y');

/** Answers every request with `size` bytes, as fast as they are taken, and keeps none of them. */
export class Torrent implements Origin {
  readonly #head: Buffer;
  readonly #size: number;
  #listener: TCPSocketListener<Sent> | null = null;

  constructor(size: number) {
    this.#size = size;
    this.#head = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
  }

  start(): number {
    this.#listener = Bun.listen<Sent>({
      hostname: '127.0.0.1',
      port: 0,
      socket: {
        open: (socket) => {
          socket.data = { left: 0 };
        },
        data: (socket) => {
          socket.write(this.#head);
          socket.data.left = this.#size;
          pour(socket);
        },
        drain: pour,
        error() {},
      },
    });
    return this.#listener.port;
  }

  stop(): void {
    this.#listener?.stop(true);
  }
}

interface Sent {
  left: number;
}

function pour(socket: Socket<Sent>): void {
  const sent = socket.data;
  while (sent.left > 0) {
    const taken = socket.write(CHUNK, 0, Math.min(CHUNK.length, sent.left));
    if (taken <= 0) return;
    sent.left -= taken;
  }
}

/** The resident set of a process, in bytes. */
async function residentBytes(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`).text();
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? '0') * 1024;
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[values.length >> 1]!;
}

async function timed(client: RawClient): Promise<number> {
  const begun = performance.now();
  client.send(http('GET /bystander'));
  const answer = await client.finalResponse({ timeoutMs: 10_000 });
  const took = performance.now() - begun;
  if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(`a bystander got ${JSON.stringify(answer)}`);
  return took;
}

/**
 * Two proxies of one program on one configuration: one is attacked, its twin is left in peace. Whoever is to be served meanwhile
 * asks them in turn, so that a busy machine slows both down and only the attack can make a difference.
 */
export class Siege {
  readonly #origins = new Map<string, Origin>();
  readonly #bystanderListener: string;
  attacked!: ProxyProcess;
  #calm!: ProxyProcess;
  #ports = new Map<string, number>();
  #bystander!: RawClient;
  #twin!: RawClient;
  #directory = '';
  /** Resident bytes before the attack. */
  #before = 0;

  private constructor(bystanderListener: string) {
    this.#bystanderListener = bystanderListener;
  }

  static async start(
    program: ProxyProgram,
    config: Config,
    origins: Readonly<Record<string, Origin>>,
    bystanderListener: string,
  ): Promise<Siege> {
    const siege = new Siege(bystanderListener);
    siege.#directory = await mkdtemp(join(tmpdir(), 'siege-'));
    const ports = new Map<string, number>();
    for (const [name, origin] of Object.entries(origins)) {
      siege.#origins.set(name, origin);
      ports.set(name, origin.start());
    }
    const text = fillIn(withAdmin(config), siege.#directory, ports);
    siege.attacked = await ProxyProcess.start(program, siege.#directory, text);
    siege.#calm = await ProxyProcess.start(program, siege.#directory, text);
    siege.#ports = await siege.attacked.listenerPorts();
    siege.#bystander = await connectRaw({ port: siege.port(bystanderListener) });
    const twins = await siege.#calm.listenerPorts();
    siege.#twin = await connectRaw({ port: twins.get(bystanderListener) ?? 0 });
    // Both have compiled what they need.
    await siege.bystanders(300);
    siege.#before = await residentBytes(siege.attacked.pid);
    return siege;
  }

  port(listener: string): number {
    const port = this.#ports.get(listener);
    if (port === undefined) throw new Error(`no listener ${listener}`);
    return port;
  }

  connect(listener: string): Promise<RawClient> {
    return connectRaw({ port: this.port(listener) });
  }

  /** Opens `count` connections, some at a time. */
  async connectMany(listener: string, count: number, each?: (client: RawClient) => void): Promise<RawClient[]> {
    const clients: RawClient[] = [];
    while (clients.length < count) {
      const some = Math.min(100, count - clients.length);
      const opened = await Promise.all(Array.from({ length: some }, () => this.connect(listener)));
      for (const client of opened) each?.(client);
      clients.push(...opened);
    }
    return clients;
  }

  /** Median times of a bystander, of the attacked proxy and of its calm twin, in milliseconds. */
  async bystanders(requests = 300): Promise<{ readonly attacked: number; readonly calm: number }> {
    const attacked: number[] = [];
    const calm: number[] = [];
    for (let i = 0; i < requests; i++) {
      attacked.push(await timed(this.#bystander));
      calm.push(await timed(this.#twin));
    }
    return { attacked: median(attacked), calm: median(calm) };
  }

  /** Others are served within twice their usual time. Throws where they are not. */
  async expectOthersServed(what: string, requests = 300): Promise<void> {
    const { attacked, calm } = await this.bystanders(requests);
    console.log(`${what}: a bystander takes ${attacked.toFixed(2)} ms, at peace ${calm.toFixed(2)} ms`);
    if (attacked > 2 * calm + TURN_MS)
      throw new Error(`${what}: a bystander takes ${attacked} ms instead of ${calm} ms`);
  }

  /** By how much the attacked proxy has grown since the start. */
  async growth(): Promise<number> {
    return (await residentBytes(this.attacked.pid)) - this.#before;
  }

  async stat(name: string): Promise<number> {
    return readStats((await this.attacked.admin('/stats')).body).get(name) ?? 0;
  }

  /** Waits until `condition` holds for a stat; throws where it does not come to that. */
  async until(name: string, condition: (value: number) => boolean, timeoutMs = 10_000): Promise<void> {
    for (const deadline = performance.now() + timeoutMs; ; await Bun.sleep(20)) {
      const value = await this.stat(name);
      if (condition(value)) return;
      if (performance.now() > deadline) throw new Error(`${name} stays at ${value}`);
    }
  }

  /** Waits until nothing is held any more but the bystander's own; throws with what is. */
  async expectReleased(timeoutMs = 10_000): Promise<void> {
    this.#bystander.reset();
    this.#twin.reset();
    // Idle connections to upstreams are no one's.
    for (const origin of this.#origins.values()) origin.stop();
    let held: string[] = [];
    for (const deadline = performance.now() + timeoutMs; performance.now() < deadline; await Bun.sleep(20)) {
      const stats = readStats((await this.attacked.admin('/stats')).body);
      held = [...stats]
        .filter(([name, value]) => HELD.test(name) && value !== 0)
        .map(([name, value]) => `${name}: ${value}`);
      if (held.length === 0) return;
    }
    throw new Error(`still held by ${this.#bystanderListener}'s neighbours:\n${held.join('\n')}`);
  }

  async stop(): Promise<void> {
    await this.attacked.stop();
    await this.#calm.stop();
    for (const origin of this.#origins.values()) origin.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Gauges that say what a proxy holds. */
const HELD = /^(cluster|http|http2|tcp|listener)\.(?!admin\.)(?!.*\.admin\.).*(_active|_buffered|pending_send_bytes)$/;
