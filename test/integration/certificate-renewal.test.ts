/** Certificates in plain files are renewed while connections go on, with two workers; key logs. */
import { afterEach, expect, test } from 'bun:test';
import {
  copyFileSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';

const DATA = join(import.meta.dir, '../../src/net/tls/testdata');
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router';
const LOOPBACK = { socket_address: { address: '127.0.0.1', port_value: 0 } };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function folderForTest(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-renewal-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function put(folder: string, name: string, from: string): void {
  copyFileSync(join(DATA, from), join(folder, `${name}.new`));
  renameSync(join(folder, `${name}.new`), join(folder, name));
}

async function start(folder: string, common: object) {
  const listeners = [
    {
      name: 'a',
      address: LOOPBACK,
      filter_chains: [
        {
          transport_socket: { name: 'tls', typed_config: { '@type': TLS, common_tls_context: common } },
          filters: [
            {
              name: 'hcm',
              typed_config: {
                '@type': HCM,
                stat_prefix: 'a',
                route_config: {
                  virtual_hosts: [
                    {
                      name: 'v',
                      domains: ['*'],
                      routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
                    },
                  ],
                },
                http_filters: [{ name: 'router', typed_config: { '@type': ROUTER } }],
              },
            },
          ],
        },
      ],
    },
  ];
  const config = JSON.stringify({ admin: { address: LOOPBACK }, static_resources: { listeners } });
  const program = { name: 'nuncio', command: nuncioCommand() };
  const proxy = await ProxyProcess.start(program, folder, config, ['--concurrency', '2']);
  cleanups.push(() => proxy.stop());
  return { proxy, port: (await proxy.listenerPorts()).get('a')! };
}

function open(port: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', servername: 'server.test', rejectUnauthorized: false });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
    cleanups.push(() => socket.destroy());
  });
}

function ask(socket: TLSSocket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1').split('\r\n')[0]!));
    socket.once('close', () => reject(new Error('closed')));
    socket.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n');
  });
}

async function shown(port: number): Promise<string> {
  const socket = await open(port);
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return String(CN);
}

/** Renewals take a moment, and reach one worker after the other. */
async function until(what: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 5000;
  for (let held = 0; held < 8; ) {
    held = (await what()) ? held + 1 : 0;
    if (performance.now() > deadline) throw new Error('it did not come to it');
    if (held === 0) await Bun.sleep(10);
  }
}

const pair = (folder: string): object => ({
  certificate_chain: { filename: join(folder, 'tls.crt') },
  private_key: { filename: join(folder, 'tls.key') },
});

test('a pair in files is renewed; connections go on; what does not match is refused', async () => {
  const folder = folderForTest();
  put(folder, 'tls.crt', 'server-ec.pem');
  put(folder, 'tls.key', 'server-ec.key');
  const { proxy, port } = await start(folder, { tls_certificates: [pair(folder)] });
  const old = await open(port);
  expect(await ask(old)).toBe('HTTP/1.1 200 OK');
  put(folder, 'tls.crt', 'other-ec.pem');
  const failed = async (): Promise<boolean> =>
    /secrets\.files\.key_rotation_failed: [1-9]/.test((await proxy.admin('/stats')).body);
  await until(failed);
  expect(await shown(port)).toBe('server-ec');
  put(folder, 'tls.key', 'other-ec.key');
  await until(async () => (await shown(port)) === 'other-ec');
  expect(await ask(old)).toBe('HTTP/1.1 200 OK');
  expect(old.getPeerCertificate().subject.CN).toBe('server-ec');
  const { body } = await proxy.admin('/stats');
  expect(body).toContain('secrets.files.update_success: 1\n');
});

test('what is renewed shows in the expiry gauge and in /certs', async () => {
  const folder = folderForTest();
  put(folder, 'tls.crt', 'server-ec.pem');
  put(folder, 'tls.key', 'server-ec.key');
  const { proxy, port } = await start(folder, { tls_certificates: [pair(folder)] });
  const gauge = async (): Promise<string> =>
    /ssl\.certificate\.\S+\.expiration_unix_time_seconds: (\d+)/.exec((await proxy.admin('/stats')).body)?.[1] ?? '';
  const shows = async (): Promise<string> => {
    const { certificates } = JSON.parse((await proxy.admin('/certs')).body);
    return certificates[0].cert_chain[0].expiration_time;
  };
  expect(await gauge()).toBe(String(Date.UTC(2125, 0, 1) / 1000));
  expect(await shows()).toStartWith('2125-01-01');
  put(folder, 'tls.crt', 'server-expired.pem');
  put(folder, 'tls.key', 'server-expired.key');
  await until(async () => (await shown(port)) === 'server-expired');
  await until(async () => (await gauge()) === String(Date.UTC(2021, 0, 1) / 1000));
  expect(await shows()).toStartWith('2021-01-01');
});

test('a symbolic link in the middle of the path is swapped', async () => {
  const folder = folderForTest();
  for (const name of ['server-ec', 'other-ec']) {
    const target = mkdtempSync(join(folder, `${name}-`));
    put(target, 'tls.crt', `${name}.pem`);
    put(target, 'tls.key', `${name}.key`);
    symlinkSync(target, join(folder, name));
  }
  symlinkSync('server-ec', join(folder, 'current'));
  const { port } = await start(folder, { tls_certificates: [pair(join(folder, 'current'))] });
  expect(await shown(port)).toBe('server-ec');
  symlinkSync('other-ec', join(folder, 'next'));
  renameSync(join(folder, 'next'), join(folder, 'current'));
  await until(async () => (await shown(port)) === 'other-ec');
});

test('a watched directory tells of what the directories of the files do not', async () => {
  const folder = folderForTest();
  const watched = mkdtempSync(join(folder, 'watched-'));
  const elsewhere = mkdtempSync(join(folder, 'elsewhere-'));
  const served = mkdtempSync(join(folder, 'served-'));
  for (const name of ['tls.crt', 'tls.key']) {
    put(elsewhere, name, name === 'tls.crt' ? 'server-ec.pem' : 'server-ec.key');
    linkSync(join(elsewhere, name), join(served, name));
  }
  const { port } = await start(folder, {
    tls_certificates: [{ ...pair(served), watched_directory: { path: watched } }],
  });
  // In place, by another name of the same files: nothing happens in their directory.
  writeFileSync(join(elsewhere, 'tls.crt'), readFileSync(join(DATA, 'other-ec.pem')));
  writeFileSync(join(elsewhere, 'tls.key'), readFileSync(join(DATA, 'other-ec.key')));
  expect(await shown(port)).toBe('server-ec');
  put(watched, 'done', 'other-ec.pem');
  await until(async () => (await shown(port)) === 'other-ec');
});

test('a file that goes away for a while changes nothing', async () => {
  const folder = folderForTest();
  put(folder, 'tls.crt', 'server-ec.pem');
  put(folder, 'tls.key', 'server-ec.key');
  const { port } = await start(folder, { tls_certificates: [pair(folder)] });
  unlinkSync(join(folder, 'tls.key'));
  await Bun.sleep(150);
  expect(await shown(port)).toBe('server-ec');
  put(folder, 'tls.crt', 'other-ec.pem');
  put(folder, 'tls.key', 'other-ec.key');
  await until(async () => (await shown(port)) === 'other-ec');
});

test('a key log tells the secrets of sessions', async () => {
  const folder = folderForTest();
  put(folder, 'tls.crt', 'server-ec.pem');
  put(folder, 'tls.key', 'server-ec.key');
  const path = join(folder, 'keys.log');
  const { port } = await start(folder, { tls_certificates: [pair(folder)], key_log: { path } });
  expect(await ask(await open(port))).toBe('HTTP/1.1 200 OK');
  expect(readFileSync(path, 'utf8')).toMatch(/^SERVER_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]+$/m);
});
