/** Signals and drain of a real process: logs are reopened, connections end, the exit code is Envoy's. */
import { afterEach, describe, expect, test } from 'bun:test';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectRaw } from '../support/raw-client.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const CONFIG = `
static_resources:
  listeners:
  - name: a
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    traffic_direction: INBOUND
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          access_log:
          - name: file
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: '{{tmp}}/access.log'
              log_format: { text_format_source: { inline_string: "%REQ(:PATH)%\\n" } }
          route_config:
            virtual_hosts:
            - name: v
              domains: ['*']
              routes: [{ match: { prefix: / }, direct_response: { status: 200, body: { inline_string: ok } } }]
          http_filters:
          - name: router
            typed_config: { '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }
`;

async function start(flags: readonly string[] = [], workers = '1') {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-signals-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const program = { name: 'nuncio', command: nuncioCommand() };
  const config = CONFIG.replaceAll('{{tmp}}', folder);
  const proxy = await ProxyProcess.start(program, folder, config, [...flags, '--concurrency', workers]);
  cleanups.push(() => proxy.stop());
  const port = (await proxy.listenerPorts()).get('a') ?? 0;
  const get = async (path: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`, { keepalive: false });
  return { folder, proxy, port, get };
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`timed out: ${what}`);
    await Bun.sleep(5);
  }
}

const linesOf = (path: string): string[] =>
  existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];

describe('signals', () => {
  for (const workers of ['1', '2']) {
    test(`SIGUSR1 reopens access logs and the application log, ${workers} worker(s)`, async () => {
      const logPath = join(mkdtempSync(join(tmpdir(), 'nuncio-log-')), 'app.log');
      cleanups.push(() => rmSync(join(logPath, '..'), { recursive: true, force: true }));
      const level = ['--component-log-level', 'main:info', '--log-path', logPath];
      const { folder, proxy, get } = await start(level, workers);
      const access = join(folder, 'access.log');
      expect((await get('/one')).status).toBe(200);
      await until('the first line', () => linesOf(access).includes('/one'));
      renameSync(access, `${access}.1`);
      renameSync(logPath, `${logPath}.1`);
      proxy.signal('SIGUSR1');
      await until('the new files', () => existsSync(access) && existsSync(logPath));
      expect((await get('/two')).status).toBe(200);
      await until('the second line', () => linesOf(access).includes('/two'));
      expect(linesOf(access)).toEqual(['/two']);
      expect(linesOf(`${access}.1`)).toEqual(['/one']);
      expect(readFileSync(`${logPath}.1`, 'utf8')).toContain('caught SIGUSR1');
      proxy.signal('SIGTERM');
      expect(await proxy.exited()).toBe(0);
      expect(readFileSync(logPath, 'utf8')).toContain('caught ENVOY_SIGTERM');
    });
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} closes listeners and connections and exits with 0`, async () => {
      const { proxy, port } = await start();
      const client = await connectRaw({ port });
      client.send('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
      await client.response();
      proxy.signal(signal);
      expect(await proxy.exited()).toBe(0);
      expect(await client.closed(2_000)).toBeTruthy();
    });
  }

  test('lines that wait for the flush are written at the end', async () => {
    const { folder, proxy, get } = await start(['--file-flush-min-size-kb', '64']);
    for (let i = 0; i < 20; i++) await get(`/${i}`);
    proxy.signal('SIGTERM');
    expect(await proxy.exited()).toBe(0);
    expect(linesOf(join(folder, 'access.log')).length).toBe(20);
  });

  test('SIGHUP is ignored', async () => {
    const { proxy, get } = await start();
    proxy.signal('SIGHUP');
    expect((await get('/after')).status).toBe(200);
    expect(proxy.exitCode).toBeNull();
  });
});

describe('drain', () => {
  test('a graceful drain closes answered connections, then the listeners', async () => {
    const { proxy, port, get } = await start(['--drain-time-s', '1', '--drain-strategy', 'immediate']);
    expect((await get('/')).headers.get('connection')).not.toBe('close');
    await proxy.admin('/drain_listeners?graceful', 'POST');
    expect((await get('/')).headers.get('connection')).toBe('close');
    await until('the listener is closed', async () => {
      try {
        (await connectRaw({ port })).reset();
        return false;
      } catch {
        return true;
      }
    });
    expect((await proxy.admin('/stats?filter=listener_manager.listener_stopped')).body).toContain(': 1');
    expect((await proxy.admin('/ready')).status).toBe(200);
  });

  test('skip_exit never closes them', async () => {
    const { proxy, get } = await start(['--drain-time-s', '0']);
    await proxy.admin('/drain_listeners?graceful&skip_exit', 'POST');
    const answer = await get('/');
    expect([answer.status, answer.headers.get('connection')]).toEqual([200, 'close']);
  });

  test('inboundonly stops inbound listeners alone, at once', async () => {
    const { proxy, port } = await start();
    await proxy.admin('/drain_listeners?inboundonly', 'POST');
    await until('the listener is closed', async () => {
      try {
        (await connectRaw({ port })).reset();
        return false;
      } catch {
        return true;
      }
    });
  });

  test('a failed health check drains, a good one ends it', async () => {
    const { proxy, get } = await start();
    await proxy.admin('/healthcheck/fail', 'POST');
    expect((await proxy.admin('/ready')).body).toBe('DRAINING\n');
    expect((await get('/')).headers.get('connection')).toBe('close');
    expect((await proxy.admin('/stats?filter=^server.live$')).body).toBe('server.live: 0\n');
    await proxy.admin('/healthcheck/ok', 'POST');
    expect((await get('/')).headers.get('connection')).not.toBe('close');
  });
});
