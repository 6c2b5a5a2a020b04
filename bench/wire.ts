/** The rows of the wire: TLS, HTTP/2, gRPC, large bodies. */
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { type WireOptions, wireConfig } from './configs.ts';
import { h2load } from './h2load.ts';
import { holdConnections } from './idle-connections.ts';
import {
  cpuUnder,
  type Load,
  launch,
  type PeerName,
  type Running,
  record,
  seconds,
  stopAll,
  warmUnder,
} from './measure.ts';
import {
  freePort,
  LOAD_CORE,
  type LoadResult,
  type Peer,
  scratch,
  startNginx,
  startScript,
  waitForPort,
  wrk,
} from './peers.ts';
import { rssKb } from './process-meter.ts';

const certificate = join(scratch, 'server.pem');
const key = join(scratch, 'server.key');

/** One certificate for all peers: ECDSA P-256, signed by itself. */
function makeCertificate(): void {
  const made = Bun.spawnSync([
    ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-keyout', key, '-out', certificate],
  ]);
  if (made.exitCode !== 0) throw new Error(`openssl made no certificate: ${made.stderr.toString()}`);
}

/** TLS 1.3 as with the others: before 1.23.4, nginx does not offer it by itself, and a resumed TLS 1.2 session has no key exchange. */
const NGINX_TLS = `ssl_certificate ${certificate}; ssl_certificate_key ${key}; ssl_protocols TLSv1.2 TLSv1.3;`;

function nginxWire(flags: string): (listen: number, upstream: number) => string {
  return (listen, upstream) =>
    `upstream u { server 127.0.0.1:${upstream}; keepalive 128; keepalive_requests 100000000; }
     server { listen 127.0.0.1:${listen} ${flags} backlog=4096; ${flags.includes('ssl') ? NGINX_TLS : ''}
       location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`;
}

interface WireRow {
  readonly label: string;
  readonly work: string;
  readonly unit?: string;
  readonly options: Pick<WireOptions, 'tls' | 'codec' | 'upstreamHttp2'>;
  /** `listen` parameters of nginx; null: nginx cannot do this. */
  readonly nginx: string | null;
  readonly load: Load;
  /** Of Envoy. */
  readonly most: number;
  /** Of nginx as well; 0: nothing is asked. */
  readonly mostOfNginx?: number;
}

async function benchRow(row: WireRow, upstream: number): Promise<void> {
  const names: PeerName[] = row.nginx === null ? ['nuncio', 'envoy'] : ['nuncio', 'envoy', 'nginx'];
  const peers: Running[] = [];
  try {
    for (const name of names) {
      const config = (listen: number): string => wireConfig({ listen, upstream, ...row.options });
      peers.push(await launch(name, row.label, config, upstream, 1, undefined, nginxWire(row.nginx ?? '')));
    }
    await warmUnder(peers, row.load);
    const used = await cpuUnder(peers, row.load, 0);
    const values: Partial<Record<PeerName, number>> = {};
    for (const each of peers) values[each.name] = used.get(each)!;
    const most = row.mostOfNginx ?? 0;
    record({
      work: row.work,
      unit: row.unit ?? 'CPU µs per request',
      values,
      target: `at most ${row.most} of Envoy${most > 0 ? ` and ${most} of nginx` : ''}`,
      reached: values.nuncio! <= row.most * values.envoy! && (most === 0 || values.nuncio! <= most * values.nginx!),
    });
  } finally {
    await stopAll(peers);
  }
}

const TLS = { certificate, key };
const H2 = { connections: 8, streams: 32, seconds };

async function benchGrpc(): Promise<void> {
  const port = await freePort();
  const server = startScript('grpc-upstream', [join(import.meta.dirname, 'grpc-upstream.ts'), String(port)], LOAD_CORE);
  await waitForPort(port);
  const message = join(scratch, 'grpc-message');
  const frame = Buffer.alloc(5 + 1024, 'x');
  frame.writeUInt8(0, 0);
  frame.writeUInt32BE(1024, 1);
  writeFileSync(message, frame);
  const extra = ['-d', message, '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  await benchRow(
    {
      label: 'grpc',
      work: 'unary gRPC end to end, 1 KB each way',
      options: { tls: null, codec: 'HTTP2', upstreamHttp2: true },
      nginx: null,
      load: (listen) => h2load(listen, { ...H2, tls: false, extra, path: '/bench.Echo/Unary' }),
      most: 0.55,
    },
    port,
  );
  await server.stop();
}

const LARGE_MB = 256;
/** Of one sample: a single one uses so little that the clock's ticks (10 ms) would show. */
const TRANSFERS = 4;

/** One transfer by curl on the load core; its "requests" are GB, so that CPU comes out per GB. */
async function transfer(port: number, tls: boolean, http2: boolean, upload: string | null): Promise<LoadResult> {
  const version = http2 ? (tls ? '--http2' : '--http2-prior-knowledge') : '--http1.1';
  const child = Bun.spawn(
    [
      ...[
        'taskset',
        '-c',
        LOAD_CORE,
        'curl',
        '-sSk',
        version,
        '-o',
        '/dev/null',
        '-w',
        '%{http_code} %{size_download} %{size_upload}',
      ],
      ...(upload === null ? [] : ['-T', upload, '-H', 'expect:']),
      `${tls ? 'https' : 'http'}://127.0.0.1:${port}/${upload === null ? 'large' : 'upload'}`,
    ],
    { stdout: 'pipe', stderr: 'inherit' },
  );
  const [status, down, up] = (await new Response(child.stdout).text()).split(' ').map(Number) as [
    number,
    number,
    number,
  ];
  const whole = LARGE_MB * 1024 * 1024;
  const ok = status === 200 && (upload === null ? down : up) === whole;
  return { requests: whole / 1e9, errors: ok ? 0 : 1 };
}

async function benchLarge(): Promise<void> {
  const root = join(scratch, 'large-files');
  mkdirSync(root, { recursive: true });
  const file = join(root, 'large');
  await Bun.write(file, new Uint8Array(LARGE_MB * 1024 * 1024));
  const source = await freePort();
  const files = startNginx(
    'large-files',
    `server { listen 127.0.0.1:${source}; root ${root}; sendfile on; }`,
    LOAD_CORE,
  );
  await waitForPort(source);
  const drain = await freePort();
  const sink = startScript('sink', [join(import.meta.dirname, 'sink-upstream.ts'), String(drain)], LOAD_CORE);
  await waitForPort(drain);
  try {
    for (const tls of [false, true]) {
      for (const http2 of [false, true]) {
        for (const upload of [null, file]) {
          const label = `large-${tls ? 'tls' : 'plain'}-${http2 ? 'h2' : 'h1'}-${upload === null ? 'down' : 'up'}`;
          const upstream = upload === null ? source : drain;
          const peers: Running[] = [];
          for (const name of ['nuncio', 'envoy'] as const) {
            const config = (listen: number): string =>
              wireConfig({ listen, upstream, tls: tls ? TLS : null, codec: 'AUTO', upstreamHttp2: false });
            peers.push(await launch(name, label, config, upstream));
          }
          const load: Load = async (port) => {
            const sum = { requests: 0, errors: 0 };
            for (let i = 0; i < TRANSFERS; i++) {
              const { requests, errors } = await transfer(port, tls, http2, upload);
              sum.requests += requests;
              sum.errors += errors;
            }
            return sum;
          };
          const used = await cpuUnder(peers, load, 1);
          const [nuncio, envoy] = peers.map((each) => used.get(each)! / 1e6) as [number, number];
          const grown = rssKb(peers[0]!.peer.pid) / 1024;
          record({
            work: `${LARGE_MB} MB ${upload === null ? 'down' : 'up'} over HTTP/${http2 ? 2 : 1}${tls ? ' and TLS' : ''} (resident afterwards: ${grown.toFixed(0)} MB)`,
            unit: 'CPU seconds per GB',
            values: { nuncio, envoy },
            target: 'at most 1.3 of Envoy',
            reached: nuncio <= 1.3 * envoy,
          });
          await stopAll(peers);
        }
      }
    }
  } finally {
    await files.stop();
    await sink.stop();
  }
}

const connectTo = (port: number): Socket => connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });

async function benchIdleTls(upstream: number): Promise<void> {
  const count = 3000;
  const values: Partial<Record<PeerName, number>> = {};
  for (const name of ['nuncio', 'envoy', 'nginx'] as const) {
    const config = (listen: number): string =>
      wireConfig({ listen, upstream, tls: TLS, codec: 'AUTO', upstreamHttp2: false });
    const running = await launch(name, 'idle-tls', config, upstream, 1, undefined, nginxWire('ssl'));
    // What a first burst allocates, compiles and keeps is not the price of a connection.
    for (const socket of await holdConnections(1000, 100, () => connectTo(running.port))) socket.destroy();
    await Bun.sleep(1000);
    const before = rssKb(running.peer.pid);
    const sockets = await holdConnections(count, 100, () => connectTo(running.port));
    await Bun.sleep(1500);
    values[name] = (rssKb(running.peer.pid) - before) / count;
    for (const socket of sockets) socket.destroy();
    await running.peer.stop();
  }
  record({
    work: `idle TLS connection (${count} of them, after one request each)`,
    unit: 'kB of resident memory',
    values,
    target: 'at most 12 kB',
    reached: values.nuncio! <= 12,
  });
}

/** An upstream that speaks HTTP/2 without TLS, with 48 bytes of answer. */
async function http2Upstream(): Promise<{ readonly port: number; readonly peer: Peer }> {
  const port = await freePort();
  const peer = startNginx(
    'h2-upstream',
    `server { listen 127.0.0.1:${port} http2 backlog=4096; location / { return 200 "${'x'.repeat(48)}"; } }`,
    LOAD_CORE,
  );
  await waitForPort(port);
  return { port, peer };
}

/** By name. @param upstreamPort answers 48 bytes over HTTP/1 */
export function wireRows(upstreamPort: number): readonly (readonly [string, () => Promise<void>])[] {
  makeCertificate();
  const keptTls: Load = (port) => wrk(port, 64, seconds, '/', true);
  return [
    [
      'tls',
      () =>
        benchRow(
          {
            label: 'tls',
            work: 'HTTP/1 over TLS, keep-alive',
            options: { tls: TLS, codec: 'AUTO', upstreamHttp2: false },
            nginx: 'ssl',
            load: keptTls,
            most: 0.45,
          },
          upstreamPort,
        ),
    ],
    [
      'handshakes',
      () =>
        benchRow(
          {
            label: 'handshakes',
            work: 'TLS handshakes (ECDSA P-256, one request each)',
            unit: 'CPU µs per connection',
            options: { tls: TLS, codec: 'AUTO', upstreamHttp2: false },
            nginx: 'ssl',
            load: (port) => wrk(port, 16, seconds, '/', true, ['-H', 'connection: close']),
            most: 1.3,
            mostOfNginx: 1,
          },
          upstreamPort,
        ),
    ],
    [
      'h2',
      () =>
        benchRow(
          {
            label: 'h2',
            work: 'HTTP/2 to HTTP/1',
            options: { tls: null, codec: 'HTTP2', upstreamHttp2: false },
            nginx: 'http2',
            load: (port) => h2load(port, { ...H2, tls: false }),
            most: 0.5,
          },
          upstreamPort,
        ),
    ],
    [
      'h2-tls',
      () =>
        benchRow(
          {
            label: 'h2-tls',
            work: 'HTTP/2 over TLS to HTTP/1',
            options: { tls: TLS, codec: 'AUTO', upstreamHttp2: false },
            nginx: 'ssl http2',
            load: (port) => h2load(port, { ...H2, tls: true }),
            most: 0.5,
          },
          upstreamPort,
        ),
    ],
    [
      'to-h2',
      async () => {
        const { port, peer } = await http2Upstream();
        await benchRow(
          {
            label: 'to-h2',
            work: 'HTTP/1 to HTTP/2 upstream',
            options: { tls: null, codec: 'HTTP1', upstreamHttp2: true },
            nginx: null,
            load: (listen) => wrk(listen, 64, seconds),
            most: 0.55,
          },
          port,
        );
        await peer.stop();
      },
    ],
    ['grpc', benchGrpc],
    ['large', benchLarge],
    ['idle-tls', () => benchIdleTls(upstreamPort)],
  ];
}
