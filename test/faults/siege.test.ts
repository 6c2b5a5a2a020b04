/**
 * Attacks by the thousand: what they cost in memory, that others are served within twice their usual time, that everything is
 * released. docs/explanation/limits.md states the same bounds.
 */
import { expect, test } from 'bun:test';
import { connect } from 'node:tls';
import { bootstrap, cluster, type Fields, http, httpListener, to } from '../differential/configs.ts';
import { certificate, downstreamTls } from '../differential/tls-peers.ts';
import { programs } from '../smuggling/programs.ts';
import {
  data,
  describeFrame,
  END_STREAM,
  FrameType,
  fields,
  frame,
  headers,
  PREFACE,
  ping,
  readFrames,
  request,
  reset,
  settings,
  settingsAck,
  windowUpdate,
} from '../support/h2-frames.ts';
import type { RawClient } from '../support/raw-client.ts';
import { httpUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { bystanderCluster, bystanderListener, bystanderUpstream } from './fault-case.ts';
import { type Origin, Siege, Torrent } from './siege.ts';

const { subject } = programs();
const MB = 1 << 20;
const TIMEOUT = 60_000;

const waiting = (): Origin =>
  new ScriptedUpstream(httpUpstream((seen) => (seen.path === '/wait' ? undefined : reply(200))));

interface Listeners {
  readonly hcm?: Fields;
  readonly listener?: Fields;
  /** More fields of the listener's only filter chain. */
  readonly chain?: Fields;
  readonly cluster?: Fields;
}

/** Listener `a` in front of u1, and one for bystanders. */
function front({ hcm = {}, listener = {}, chain = {}, cluster: more = {} }: Listeners): Fields {
  const a = httpListener({ routes: [to('u1', '/', { timeout: '0s' })], hcm: { stat_prefix: 'a', ...hcm }, listener });
  const chains = (a.filter_chains as Fields[]).map((each) => ({ ...each, ...chain }));
  return bootstrap(
    [{ ...a, filter_chains: chains }, bystanderListener],
    [cluster('u1', undefined, more), bystanderCluster],
  );
}

const ROOM: Fields = {
  circuit_breakers: { thresholds: [{ max_connections: 2000, max_pending_requests: 100_000, max_requests: 100_000 }] },
};

const NARROW: Fields = {
  circuit_breakers: { thresholds: [{ max_connections: 50, max_pending_requests: 100_000, max_requests: 100_000 }] },
};

async function siege(config: Fields, run: (siege: Siege) => Promise<void>, u1 = waiting()): Promise<void> {
  const started = await Siege.start(subject, config, { u1, good: new ScriptedUpstream(bystanderUpstream) }, 'b');
  try {
    await run(started);
  } finally {
    await started.stop();
  }
}

const OPENING = Buffer.concat([PREFACE, settings(), settingsAck()]);
const id = (index: number): number => 2 * index + 1;

function repeat(count: number, make: (index: number) => Uint8Array): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}

async function report(what: string, run: Siege, count: number): Promise<number> {
  const growth = await run.growth();
  console.log(`${what}: ${(growth / MB).toFixed(0)} MB more, ${Math.round(growth / count)} bytes each`);
  return growth;
}

/** Calls `step` every `everyMs` until the returned function is called. */
function keepUp(everyMs: number, step: () => void): () => void {
  const timer = setInterval(step, everyMs);
  return () => clearInterval(timer);
}

test(
  '20,000 half-open streams on 20 connections: at most 12 kB each',
  () =>
    siege(
      front({
        hcm: { codec_type: 'HTTP2' },
        cluster: NARROW,
      }),
      async (run) => {
        const attack = repeat(1000, (i) => headers(id(i), request('POST', '/wait'), false));
        const clients = await run.connectMany('a', 20, (client) => client.send(Buffer.concat([OPENING, attack])));
        await run.until('http.a.downstream_rq_active', (value) => value === 20_000);
        const growth = await report('half-open streams', run, 20_000);
        await run.expectOthersServed('half-open streams');
        expect(growth).toBeLessThan(20_000 * 12_000);
        for (const client of clients) client.reset();
        await run.expectReleased();
      },
    ),
  TIMEOUT,
);

test(
  '5,000 connections with half a head: at most 24 kB each, ended by request_headers_timeout',
  () =>
    siege(front({ hcm: { codec_type: 'HTTP2', request_headers_timeout: '3s' } }), async (run) => {
      const half = frame(FrameType.Headers, END_STREAM, 1, fields(request('GET', '/fine')));
      const clients = await run.connectMany('a', 5000, (client) => client.send(Buffer.concat([OPENING, half])));
      const growth = await report('half a head', run, 5000);
      await run.until('http.a.downstream_rq_header_timeout', (value) => value === 5000);
      await run.expectOthersServed('half a head');
      expect(growth).toBeLessThan(5000 * 24_000);
      for (const client of clients) client.reset();
      await run.expectReleased();
    }),
  TIMEOUT,
);

test(
  '200 answers of 16 MB behind windows of nothing, our own of 64 KiB: at most 256 kB each, ended by stream_idle_timeout',
  () =>
    siege(
      front({
        hcm: {
          codec_type: 'HTTP2',
          stream_idle_timeout: '8s',
          http2_protocol_options: { initial_stream_window_size: 65_536, initial_connection_window_size: 1_048_576 },
        },
        cluster: { ...ROOM, per_connection_buffer_limit_bytes: 32_768 },
      }),
      async (run) => {
        const attack = repeat(10, (i) => headers(id(i), request('GET', '/big'), true));
        const opening = Buffer.concat([PREFACE, settings({ 4: 0 }), settingsAck()]);
        const clients = await run.connectMany('a', 20, (client) => client.send(Buffer.concat([opening, attack])));
        await run.until('cluster.u1.upstream_rq_active', (value) => value === 200);
        await run.until('cluster.u1.upstream_flow_control_paused_reading_total', (value) => value >= 200);
        const growth = await report('windows of nothing', run, 200);
        await run.expectOthersServed('windows of nothing');
        expect(growth).toBeLessThan(200 * 256_000);
        await run.until('http.a.downstream_rq_idle_timeout', (value) => value === 200);
        for (const client of clients) client.reset();
        await run.expectReleased();
      },
      new Torrent(16 * MB),
    ),
  TIMEOUT,
);

test(
  '200 clients of HTTP/1 that read nothing of 64 MB: at most two buffers of 1 MiB each, ended by stream_idle_timeout',
  () =>
    siege(
      front({ hcm: { stream_idle_timeout: '4s' }, cluster: ROOM }),
      async (run) => {
        const clients = await run.connectMany('a', 200, (client) => {
          client.pause();
          client.send(http('GET /big'));
        });
        await run.until('cluster.u1.upstream_flow_control_paused_reading_total', (value) => value >= 200);
        const growth = await report('nothing read, HTTP/1', run, 200);
        await run.expectOthersServed('nothing read, HTTP/1');
        expect(growth).toBeLessThan(200 * 2 * MB);
        await run.until('http.a.downstream_rq_idle_timeout', (value) => value === 200);
        await run.until('http.a.downstream_cx_active', (value) => value === 0);
        for (const client of clients) client.reset();
        await run.expectReleased();
      },
      new Torrent(64 * MB),
    ),
  TIMEOUT,
);

test(
  '2,000 slow heads over HTTP/1, a byte at a time: at most 12 kB each, answered by 408',
  () =>
    siege(front({ hcm: { request_headers_timeout: '4s' } }), async (run) => {
      const clients = await run.connectMany('a', 2000, (client) => client.send('GET / HTTP/1.1\r\nx: '));
      let at = 0;
      const stop = keepUp(5, () => {
        for (let i = 0; i < 10; i++) clients[at++ % clients.length]?.send('a');
      });
      const growth = await report('slow heads', run, 2000);
      await run.expectOthersServed('slow heads');
      await run.until('http.a.downstream_rq_header_timeout', (value) => value === 2000);
      stop();
      expect(growth).toBeLessThan(2000 * 12_000);
      await run.until('http.a.downstream_cx_active', (value) => value === 0);
      expect(clients.filter((client) => client.received.startsWith('HTTP/1.1 408 ')).length).toBe(2000);
      await run.expectReleased();
    }),
  TIMEOUT,
);

for (const codec of ['HTTP1', 'HTTP2']) {
  test(
    `1,000 bodies that stop, over ${codec}: at most 64 kB each with their connections to the upstream, ended by stream_idle_timeout`,
    () =>
      siege(front({ hcm: { codec_type: codec, stream_idle_timeout: '4s' }, cluster: ROOM }), async (run) => {
        const http2 = Buffer.concat([OPENING, headers(1, request('POST', '/'), false), data(1, 'some', false)]);
        const bytes = codec === 'HTTP1' ? http('POST /', ['content-length: 1000'], 'some') : http2;
        const clients = await run.connectMany('a', 1000, (client) => client.send(bytes));
        await run.until('cluster.u1.upstream_rq_active', (value) => value === 1000);
        const growth = await report(`bodies that stop, ${codec}`, run, 1000);
        await run.expectOthersServed(`bodies that stop, ${codec}`);
        expect(growth).toBeLessThan(1000 * 64_000);
        await run.until('http.a.downstream_rq_idle_timeout', (value) => value === 1000);
        if (codec === 'HTTP1') expect(clients.every((client) => /^HTTP\/1.1 408 /.test(client.received))).toBe(true);
        else expect(clients.every((client) => answered(client))).toBe(true);
        for (const client of clients) client.reset();
        await run.expectReleased();
      }),
    TIMEOUT,
  );
}

function answered(client: RawClient): boolean {
  return readFrames(client.received).some((each) => describeFrame(each).startsWith('HEADERS 1'));
}

const tls = (name = 'server-ec'): Listeners => ({
  chain: {
    transport_socket: downstreamTls({ tls_certificates: [certificate(name)] }),
    transport_socket_connect_timeout: '6s',
  },
});

/** A ClientHello that promises more than it brings. */
const HALF_HELLO = Buffer.from('1603010200010001fc0303', 'hex');

test(
  '4,000 TLS handshakes that stall (nothing, half a ClientHello, a byte at a time): at most 32 kB each, ended by transport_socket_connect_timeout',
  () =>
    siege(front(tls()), async (run) => {
      const silent = await run.connectMany('a', 1500);
      const half = await run.connectMany('a', 1500, (client) => client.send(HALF_HELLO));
      const slow = await run.connectMany('a', 1000, (client) => client.send(HALF_HELLO.subarray(0, 5)));
      let at = 0;
      const stop = keepUp(5, () => {
        for (let i = 0; i < 10; i++) slow[at++ % slow.length]?.send(Uint8Array.of(0));
      });
      const growth = await report('handshakes that stall', run, 4000);
      await run.expectOthersServed('handshakes that stall');
      const timedOut = /\.downstream_cx_transport_socket_connect_timeout: 4000$/m;
      const deadline = performance.now() + 15_000;
      while (!timedOut.test((await run.attacked.admin('/stats?filter=socket_connect_timeout')).body)) {
        if (performance.now() > deadline) throw new Error('not all of them were ended');
        await Bun.sleep(50);
      }
      stop();
      expect(growth).toBeLessThan(4000 * 32_000);
      for (const client of [...silent, ...half, ...slow]) client.reset();
      await run.expectReleased();
    }),
  TIMEOUT,
);

test(
  'rapid resets, PINGs, WINDOW_UPDATEs and streams that are refused, ten times a second without end: others are served, at most 128 MB',
  () =>
    siege(front({ hcm: { codec_type: 'HTTP2' }, cluster: NARROW }), async (run) => {
      const attacks = [
        repeat(200, (i) => Buffer.concat([headers(id(i), request('GET', '/fine'), true), reset(id(i), 8)])),
        repeat(3000, () => ping()),
        repeat(1200, (i) => headers(id(i), request('GET', '/wait'), true)),
        repeat(1500, () => windowUpdate(0, 1)),
      ];
      let count = 0;
      const open = new Set<RawClient>();
      const stop = keepUp(100, () => {
        const bytes = Buffer.concat([OPENING, attacks[count++ % attacks.length]!]);
        void run.connect('a').then((client) => {
          open.add(client);
          client.send(bytes);
          setTimeout(() => {
            client.reset();
            open.delete(client);
          }, 50);
        });
      });
      await run.expectOthersServed('attacks without end', 1500);
      const growth = await report('attacks without end', run, count);
      stop();
      expect(count).toBeGreaterThan(5);
      expect(growth).toBeLessThan(128 * MB);
      for (const client of open) client.reset();
      await run.expectReleased();
    }),
  TIMEOUT,
);

test(
  '1,000 TLS handshakes one behind another, each thrown away: others are served, at most 64 MB',
  () =>
    siege(front(tls()), async (run) => {
      let done = 0;
      let stopped = false;
      const handshakes = (async () => {
        while (!stopped || done < 1000) {
          await handshake(run.port('a'));
          done++;
        }
      })();
      await run.expectOthersServed('handshakes without end', 500);
      stopped = true;
      await handshakes;
      expect(await report('handshakes thrown away', run, done)).toBeLessThan(64 * MB);
      expect((await run.attacked.admin('/stats?filter=ssl.handshake')).body).toMatch(
        new RegExp(`\\.ssl\\.handshake: ${done}$`, 'm'),
      );
      await run.expectReleased();
    }),
  TIMEOUT,
);

function handshake(port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
    socket.end();
  });
  socket.on('close', () => resolve());
  socket.on('error', reject);
  return promise;
}
