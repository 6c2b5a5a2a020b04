import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  freePort,
  type LoadResult,
  type Peer,
  PROXY_CORE,
  scratch,
  startEnvoy,
  startNginx,
  startNuncio,
  waitForPort,
  warmUp,
  wrk,
} from './peers.ts';
import { cpuMs, median } from './process-meter.ts';

export const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    write: { type: 'boolean', default: false },
  },
});
export const seconds = Number(flags.seconds);
export const rounds = Number(flags.rounds);

export type PeerName = 'nuncio' | 'envoy' | 'nginx';

export interface Row {
  readonly work: string;
  readonly unit: string;
  readonly values: Partial<Record<PeerName, number>>;
  /** What was to be reached, and whether it was. */
  readonly target: string;
  readonly reached: boolean;
}

export const rows: Row[] = [];

export function record(row: Row): void {
  rows.push(row);
  const values = Object.entries(row.values).map(([name, value]) => `${name} ${value!.toFixed(2)}`);
  console.log(`${row.reached ? 'ok  ' : 'MISS'} ${row.work} (${row.unit}): ${values.join('  ')}  [${row.target}]`);
}

export function wanted(name: string): boolean {
  return flags.only === undefined || flags.only === name;
}

export interface Running {
  readonly name: PeerName;
  readonly port: number;
  readonly peer: Peer;
}

const NGINX_PROXY = (listen: number, upstream: number): string =>
  `upstream u { server 127.0.0.1:${upstream}; keepalive 128; keepalive_requests 100000000; }
   server { listen 127.0.0.1:${listen} backlog=4096; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`;

export async function launch(
  name: PeerName,
  label: string,
  config: (listen: number) => string,
  upstream: number,
  concurrency = 1,
  core = PROXY_CORE,
  nginx: (listen: number, upstream: number) => string = NGINX_PROXY,
): Promise<Running> {
  const port = await freePort();
  if (name === 'nginx') {
    const peer = startNginx(`${label}-nginx`, nginx(port, upstream), core);
    await waitForPort(port);
    return { name, port, peer };
  }
  const file = join(scratch, `${label}-${name}.yaml`);
  writeFileSync(file, config(port));
  const peer = name === 'nuncio' ? startNuncio(file, concurrency, core) : await startEnvoy(file, concurrency, core);
  await waitForPort(port);
  return { name, port, peer };
}

/** What loads a proxy for a round. */
export type Load = (port: number) => Promise<LoadResult>;

/** Requests behind which a young process has compiled what it will compile, and rounds that it may take: a busy machine does few. */
const WARM_REQUESTS = 50_000;
const WARM_ROUNDS = 8;

/** `load` until each peer has done as many requests as it takes to compile what is hot. */
export async function warmUnder(peers: readonly Running[], load: Load): Promise<void> {
  for (const each of peers) {
    let served = 0;
    for (let i = 0; i < WARM_ROUNDS && served < WARM_REQUESTS; i++) served += (await load(each.port)).requests;
  }
}

/** CPU µs per request of each peer under `load`, interleaved; the first `warm` rounds of each do not count. */
export async function cpuUnder(peers: readonly Running[], load: Load, warm: number): Promise<Map<Running, number>> {
  const samples = new Map<Running, number[]>(peers.map((each) => [each, []]));
  for (let round = -warm; round < rounds; round++) {
    for (const each of peers) {
      const before = cpuMs(each.peer.pid);
      const result = await load(each.port);
      if (result.errors > 0) throw new Error(`${each.name}: ${result.errors} errors`);
      if (result.requests === 0) throw new Error(`${each.name}: nothing was done`);
      if (round >= 0) samples.get(each)!.push(((cpuMs(each.peer.pid) - before) * 1000) / result.requests);
    }
  }
  return new Map([...samples].map(([each, list]) => [each, median(list)]));
}

/** CPU µs per HTTP/1 request of each peer, interleaved. */
export async function cpuPerRequest(peers: readonly Running[], connections = 64): Promise<Map<Running, number>> {
  for (const each of peers) await warmUp(each.port, connections);
  return cpuUnder(peers, (port) => wrk(port, connections, seconds), 0);
}

export async function stopAll(peers: readonly Running[]): Promise<void> {
  for (const each of peers) await each.peer.stop();
}
