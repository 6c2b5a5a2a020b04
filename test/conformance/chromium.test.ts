/** A real browser in front of Nuncio: pages, uploads, streams and WebSockets over TLS, by HTTP/2 and by HTTP/1. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Server } from 'bun';
import { installChromium } from '../../tools/chromium.ts';
import { bootstrap, cluster, type Fields, httpListener, to, typed } from '../differential/configs.ts';
import { fillIn, withAdmin } from '../differential/side.ts';
import { readStats } from '../differential/transcript.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';

/** Runs in the page. Everything that it learns goes into `window.report`. */
const PAGE = `<!doctype html><title>nuncio</title><script type="module">
const report = {};
const text = async (path, options) => (await fetch(path, options)).text();
report.many = (await Promise.all(Array.from({ length: 60 }, (_, i) => text('/echo?' + i)))).filter((t, i) => t === '/echo?' + i).length;
report.upload = await text('/length', { method: 'POST', body: new Uint8Array(3_000_000) });
report.download = (await (await fetch('/large')).arrayBuffer()).byteLength;
report.status = (await fetch('/missing')).status;
const aborter = new AbortController();
const endless = await fetch('/endless', { signal: aborter.signal });
await endless.body.getReader().read();
aborter.abort();
const events = [];
await new Promise((done) => {
  const source = new EventSource('/events');
  source.onmessage = (event) => { events.push(event.data); if (events.length === 3) { source.close(); done(); } };
});
report.events = events.join();
report.socket = await new Promise((done) => {
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
  socket.onopen = () => socket.send('hello');
  socket.onmessage = (event) => { socket.close(); done(event.data); };
  socket.onerror = () => done('failed');
});
report.after = await text('/echo?after');
report.protocol = performance.getEntriesByType('navigation')[0].nextHopProtocol;
window.report = report;
</script>`;

function endless(): Response {
  const chunk = new Uint8Array(10_000);
  return new Response(
    new ReadableStream({
      pull: async (controller) => {
        controller.enqueue(chunk);
        await Bun.sleep(1);
      },
    }),
  );
}

function events(): Response {
  const body = 'data: one\n\ndata: two\n\ndata: three\n\n';
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

function startUpstream(): Server<undefined> {
  return Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request, server) {
      const url = new URL(request.url);
      switch (url.pathname) {
        case '/':
          return new Response(PAGE, { headers: { 'content-type': 'text/html' } });
        case '/echo':
          return new Response(url.pathname + url.search);
        case '/length':
          return new Response(String((await request.arrayBuffer()).byteLength));
        case '/large':
          return new Response(new Uint8Array(5_000_000));
        case '/endless':
          return endless();
        case '/events':
          return events();
        case '/socket':
          return server.upgrade(request) ? undefined : new Response('no upgrade', { status: 400 });
        default:
          return new Response('missing', { status: 404 });
      }
    },
    websocket: {
      message(socket, message) {
        socket.send(`heard ${message}`);
      },
    },
  });
}

function tls(alpn: readonly string[]): Fields {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: typed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
      common_tls_context: {
        alpn_protocols: alpn,
        tls_certificates: [
          {
            certificate_chain: { filename: '{{tmp}}/server.pem' },
            private_key: { filename: '{{tmp}}/server.key' },
          },
        ],
      },
    }),
  };
}

/** Over HTTP/2 a WebSocket has no key (RFC 8441, section 5); servers of HTTP/1 want one, and neither Envoy nor Nuncio makes it up. */
const SOCKET_KEY: Fields = {
  request_headers_to_add: [
    {
      header: { key: 'sec-websocket-key', value: 'dGhlIHNhbXBsZSBub25jZQ==' },
      append_action: 'ADD_IF_ABSENT',
    },
  ],
};

function secureListener(name: string, alpn: readonly string[]): Fields {
  const hcm = {
    stat_prefix: name,
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    http2_protocol_options: { allow_connect: true },
  };
  const routes = [to('u1', '/socket', { timeout: '0s' }, SOCKET_KEY), to('u1', '/', { timeout: '0s' })];
  const listener = httpListener({ name, routes, hcm });
  const [chain] = listener.filter_chains as Fields[];
  return { ...listener, filter_chains: [{ ...chain, transport_socket: tls(alpn) }] };
}

describe('Chromium', () => {
  let directory = '';
  let proxy: ProxyProcess | null = null;
  let upstream: Server<undefined> | null = null;
  let modules = '';
  let ports = new Map<string, number>();

  beforeAll(async () => {
    modules = await installChromium();
    directory = await mkdtemp(join(tmpdir(), 'chromium-'));
    const made = Bun.spawnSync([
      ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', join(directory, 'server.key'), '-out', join(directory, 'server.pem')],
    ]);
    expect(made.exitCode).toBe(0);
    upstream = startUpstream();
    const config = bootstrap(
      [secureListener('h2', ['h2', 'http/1.1']), secureListener('h1', ['http/1.1'])],
      [cluster('u1')],
    );
    const text = fillIn(withAdmin(config), directory, new Map([['u1', upstream.port ?? 0]]));
    proxy = await ProxyProcess.start({ name: 'nuncio', command: nuncioCommand() }, directory, text);
    ports = await proxy.listenerPorts();
  }, 120_000);

  afterAll(async () => {
    await proxy?.stop();
    await upstream?.stop(true);
    await rm(directory, { recursive: true, force: true });
  });

  async function browse(listener: string): Promise<Record<string, unknown>> {
    const script = join(import.meta.dirname, 'browse.mjs');
    const child = Bun.spawn(['node', script, modules, `https://localhost:${ports.get(listener)}/`], {
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    await child.exited;
    if (child.exitCode !== 0) throw new Error(`the browser failed: ${errors}`);
    return JSON.parse(out) as Record<string, unknown>;
  }

  async function stat(name: string): Promise<number> {
    return readStats((await proxy?.admin('/stats'))?.body ?? '').get(name) ?? 0;
  }

  test.each([
    ['h2', 'h2'],
    ['h1', 'http/1.1'],
  ])(
    'a page with everything over %s',
    async (listener, protocol) => {
      const seen = await browse(listener);
      expect(seen).toEqual({
        many: 60,
        upload: '3000000',
        download: 5_000_000,
        status: 404,
        events: 'one,two,three',
        socket: 'heard hello',
        after: '/echo?after',
        protocol,
        problems: [],
      });
      expect(await stat(`http.${listener}.downstream_cx_protocol_error`)).toBe(0);
      expect(await stat(`http.${listener}.downstream_rq_5xx`)).toBe(0);
      expect(await stat(`http.${listener}.downstream_cx_upgrades_total`)).toBe(1);
    },
    60_000,
  );
});
