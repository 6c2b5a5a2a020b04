/** The configuration file as a source: watched, planned, refused. */
import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const TYPE = 'type.googleapis.com/envoy.extensions.filters';
const LOOPBACK = { socket_address: { address: '127.0.0.1', port_value: 0 } };

function listener(name: string, body: string): object {
  const hcm = {
    '@type': `${TYPE}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    route_config: {
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: body } } }],
        },
      ],
    },
    http_filters: [{ name: 'router', typed_config: { '@type': `${TYPE}.http.router.v3.Router` } }],
  };
  return { name, address: LOOPBACK, filter_chains: [{ filters: [{ name: 'hcm', typed_config: hcm }] }] };
}

function config(listeners: readonly object[], more: object = {}): string {
  return JSON.stringify({ admin: { address: LOOPBACK }, static_resources: { listeners }, ...more }, null, 1);
}

async function start(flags: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-reload-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const program = { name: 'nuncio', command: nuncioCommand() };
  const proxy = await ProxyProcess.start(program, folder, config([listener('a', 'one')]), [...flags]);
  cleanups.push(() => proxy.stop());
  const info = JSON.parse((await proxy.admin('/server_info')).body) as {
    command_line_options: { config_path: string };
  };
  const path = info.command_line_options.config_path;
  expect(readFileSync(path, 'utf8')).toContain('one');
  const port = (await proxy.listenerPorts()).get('a')!;
  // A connection keeps the filter chain that it began with: each request gets one of its own.
  const body = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })).text();
  const until = async (what: () => Promise<boolean>): Promise<void> => {
    const deadline = performance.now() + 5000;
    while (!(await what())) {
      if (performance.now() > deadline) throw new Error('waited in vain');
      await Bun.sleep(5);
    }
  };
  const command = async (...args: string[]) => {
    const child = Bun.spawn([...program.command, ...args, '--admin', `127.0.0.1:${proxy.adminPort}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { code: await child.exited, text: out + err };
  };
  return { proxy, path, body, until, command };
}

test('--watch: an edit in place, one by a move, and a bad one', async () => {
  const { proxy, path, body, until, command } = await start(['--watch']);
  expect(await body()).toBe('one');
  writeFileSync(path, config([listener('a', 'two')]));
  await until(async () => (await body()) === 'two');
  writeFileSync(`${path}.new`, config([listener('a', 'three'), listener('b', 'b')]));
  renameSync(`${path}.new`, path);
  await until(async () => (await body()) === 'three');
  await until(async () => (await proxy.listenerPorts()).has('b'));
  writeFileSync(path, config([listener('a', 'four')]).replace('direct_response', 'direct_respons'));
  await until(async () => (await proxy.admin('/ready?verbose')).body.includes('direct_respons'));
  expect(await body()).toBe('three');
  const status = await command('status');
  expect(status.code).toBe(0);
  expect(status.text).toContain('LIVE');
  expect(status.text).toContain('did you mean direct_response?');
  expect(status.text).toMatch(/envoy\.yaml:\d+:\d+: error/);
});

test('nuncio reload: a plan first, then the change; admin waits for a restart', async () => {
  const { path, body, command } = await start([]);
  writeFileSync(path, config([listener('a', 'two'), listener('b', 'b')], { stats_flush_interval: '7s' }));
  expect(await body()).toBe('one');
  const plan = await command('reload', '--plan');
  expect(plan).toEqual({
    code: 0,
    text: '+ listener b\n~ listener a\n! stats_flush_interval has changed: it counts after a restart\n',
  });
  expect(await body()).toBe('one');
  expect((await command('reload')).code).toBe(0);
  expect(await body()).toBe('two');
  writeFileSync(path, 'nonsense: [');
  const refused = await command('reload');
  expect(refused.code).toBe(1);
  expect(refused.text).toContain('envoy.yaml:1:');
  expect(await body()).toBe('two');
});

test('an edit that fails at an address changes nothing, not even what was good of it', async () => {
  const taken = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  cleanups.push(() => taken.stop(true));
  const { proxy, path, body, command } = await start([]);
  const bad = {
    ...listener('b', 'b'),
    address: { socket_address: { address: '127.0.0.1', port_value: taken.port } },
  };
  const clusters = [{ name: 'new' }];
  writeFileSync(
    path,
    JSON.stringify({
      admin: { address: LOOPBACK },
      static_resources: { clusters, listeners: [listener('a', 'two'), bad] },
    }),
  );
  const refused = await command('reload');
  expect(refused.code).toBe(1);
  expect(refused.text).toContain(`b: cannot bind '127.0.0.1:${taken.port}': Address already in use`);
  expect(refused.text).toContain('nothing of it is in force');
  expect(await body()).toBe('one');
  expect([...(await proxy.listenerPorts()).keys()]).toEqual(['a']);
  expect((await proxy.admin('/clusters')).body).not.toContain('new::');
  expect((await proxy.admin('/stats?filter=^listener_manager.listener_(modified|create_failure)$')).body).toBe(
    'listener_manager.listener_create_failure: 0\nlistener_manager.listener_modified: 0\n',
  );
  expect((await proxy.admin('/ready?verbose')).body).toContain('Address already in use');
  taken.stop(true);
  expect((await command('reload')).code).toBe(0);
  expect(await body()).toBe('two');
  expect([...(await proxy.listenerPorts()).keys()].sort()).toEqual(['a', 'b']);
});

test('secrets of the file: another certificate is taken in place, a new one with the listener that names it', async () => {
  const folder = join(import.meta.dir, '../../src/net/tls/testdata');
  const secret = (name: string, files: string): object => ({
    name,
    tls_certificate: {
      certificate_chain: { filename: join(folder, `${files}.pem`) },
      private_key: { filename: join(folder, `${files}.key`) },
    },
  });
  const secured = (name: string): object => {
    const plain = listener('a', 'one') as { filter_chains: object[] };
    const context = {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      common_tls_context: { tls_certificate_sds_secret_configs: [{ name }] },
    };
    const chain = {
      ...plain.filter_chains[0],
      transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: context },
    };
    return { ...plain, filter_chains: [chain] };
  };
  const file = (secrets: readonly object[], used: string): string =>
    JSON.stringify({ admin: { address: LOOPBACK }, static_resources: { secrets, listeners: [secured(used)] } });
  const { proxy, path, command, until } = await start([]);
  const presented = async (): Promise<string> => {
    const port = (await proxy.listenerPorts()).get('a')!;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? '');
    });
    socket.on('error', reject);
    return promise.finally(() => socket.destroy());
  };
  writeFileSync(path, file([secret('s', 'server-ec')], 's'));
  expect((await command('reload')).code).toBe(0);
  const first = await presented();

  writeFileSync(path, file([secret('s', 'server-rsa')], 's'));
  expect(await command('reload', '--plan')).toEqual({ code: 0, text: '~ secret s (tlsCertificate)\n' });
  expect(await presented()).toBe(first);
  expect((await command('reload')).code).toBe(0);
  // Workers hear of it a moment later.
  await until(async () => (await presented()) !== first);
  const second = await presented();

  // What is refused leaves the secrets as they are, too.
  writeFileSync(path, file([secret('s', 'server-ec')], 'missing'));
  const refused = await command('reload');
  expect([refused.code, refused.text.includes('Unknown static secret: missing')]).toEqual([1, true]);
  expect(await presented()).toBe(second);

  writeFileSync(path, file([secret('s', 'server-rsa'), secret('t', 'server-ec')], 't'));
  expect((await command('reload')).text).toBe('~ listener a\n+ secret t (tlsCertificate)\n');
  await until(async () => (await presented()) === first);
});
