import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { findEnvoy, installEnvoy } from '../tools/envoy.ts';

export const PROXY_CORE = '0';
export const LOAD_CORE = '1';

/** A proxy (or upstream) under measurement. */
export interface Peer {
  readonly name: string;
  readonly pid: number;
  stop(): Promise<void>;
}

export const scratch = mkdtempSync(join(tmpdir(), 'nuncio-bench-'));

export async function waitForPort(port: number, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const open = await new Promise<boolean>((done) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        done(true);
      });
      socket.on('error', () => done(false));
    });
    if (open) return;
    if (performance.now() > deadline) throw new Error(`nothing listens on port ${port}`);
    await Bun.sleep(10);
  }
}

function start(name: string, command: readonly string[], core: string): Peer {
  const child = Bun.spawn(['taskset', '-c', core, ...command], {
    stdout: Bun.file(join(scratch, `${name}.out`)),
    stderr: Bun.file(join(scratch, `${name}.err`)),
  });
  return {
    name,
    pid: child.pid,
    stop: async () => {
      child.kill('SIGTERM');
      await child.exited;
    },
  };
}

function nuncioCommand(config: string, concurrency: number): string[] {
  const binary = resolve('dist/nuncio');
  const program =
    existsSync(binary) && process.env.BENCH_SOURCE === undefined
      ? [binary]
      : [resolve('node_modules/.bin/bun'), resolve('src/cli/main.ts')];
  return [...program, '-c', config, '--concurrency', String(concurrency), '-l', 'error'];
}

export function startNuncio(config: string, concurrency = 1, core = PROXY_CORE): Peer {
  return start('nuncio', nuncioCommand(config, concurrency), core);
}

/** Two processes of one worker each, which share nothing but the port. */
export function startTwice(config: string, core: string): Peer {
  const both = '"$@" & one=$!; "$@" & two=$!; trap "kill $one $two" TERM; wait; wait';
  return start('nuncio-twice', ['sh', '-c', both, 'sh', ...nuncioCommand(config, 1)], core);
}

export async function startEnvoy(config: string, concurrency = 1, core = PROXY_CORE): Promise<Peer> {
  const binary = findEnvoy() ?? (await installEnvoy());
  return start(
    'envoy',
    [binary, '-c', config, '--concurrency', String(concurrency), '-l', 'error', '--use-dynamic-base-id'],
    core,
  );
}

/** A TypeScript program of ours, on Bun. */
export function startScript(name: string, command: readonly string[], core: string): Peer {
  return start(name, [resolve('node_modules/.bin/bun'), ...command], core);
}

/** nginx with one worker; `body` is what stands inside `http { }` (or `stream { }` with `kind`). */
export function startNginx(name: string, body: string, core: string, kind: 'http' | 'stream' = 'http'): Peer {
  const prefix = join(scratch, name);
  mkdirSync(prefix, { recursive: true });
  const module = '/usr/lib/nginx/modules/ngx_stream_module.so';
  // Started by root, its workers are `nobody` and cannot read the scratch folder.
  const user = process.getuid?.() === 0 ? 'user root; ' : '';
  const load = kind === 'stream' && existsSync(module) ? `load_module ${module};\n` : '';
  writeFileSync(
    join(prefix, 'nginx.conf'),
    `${load}${user}daemon off; worker_processes 1; pid ${prefix}/pid; error_log ${prefix}/error.log;
events { worker_connections 20000; }
${kind} { ${kind === 'http' ? `access_log off; keepalive_requests 100000000; client_body_temp_path ${prefix}/b; proxy_temp_path ${prefix}/p; fastcgi_temp_path ${prefix}/f; uwsgi_temp_path ${prefix}/u; scgi_temp_path ${prefix}/s;` : ''} ${body} }
`,
  );
  return start(name, ['nginx', '-p', prefix, '-c', join(prefix, 'nginx.conf')], core);
}

/** A free port of the loopback address. */
export async function freePort(): Promise<number> {
  const server = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  const { port } = server;
  server.stop(true);
  return port;
}

export interface LoadResult {
  readonly requests: number;
  readonly errors: number;
}

/** wrk on the load core. */
export async function wrk(
  port: number,
  connections: number,
  seconds: number,
  path = '/',
  tls = false,
  extra: readonly string[] = [],
): Promise<LoadResult> {
  const url = `${tls ? 'https' : 'http'}://127.0.0.1:${port}${path}`;
  const child = Bun.spawn(
    ['taskset', '-c', LOAD_CORE, 'wrk', '-t1', `-c${connections}`, `-d${seconds}s`, ...extra, url],
    { stdout: 'pipe', stderr: 'inherit' },
  );
  const text = await new Response(child.stdout).text();
  await child.exited;
  const requests = Number(/(\d+) requests in/.exec(text)?.[1] ?? 0);
  const bad = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  const socket = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const errors = bad + (socket === null ? 0 : socket.slice(1).reduce((sum, each) => sum + Number(each), 0));
  return { requests, errors };
}

/** Requests behind which a young process has compiled what it will compile; a slow machine needs more time for them. */
const WARM_REQUESTS = 100_000;

/** Load until connections, caches and compilers of a young process have settled: the same number of requests for every peer. */
export async function warmUp(port: number, connections = 64): Promise<void> {
  let served = 0;
  for (let i = 0; i < 10 && served < WARM_REQUESTS; i++) served += (await wrk(port, connections, 3)).requests;
}
