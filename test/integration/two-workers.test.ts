/** What several workers must share or add up: limits, counters, sockets, logs, the end. */
import { afterEach, describe, expect, test } from 'bun:test';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectRaw } from '../support/raw-client.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = {
  name: 'router',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
};
const LOOPBACK = { socket_address: { address: '127.0.0.1', port_value: 0 } };

function listener(name: string, address: object, routes: readonly object[], more: object = {}): object {
  const typedConfig = {
    '@type': HCM,
    stat_prefix: name,
    route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes }] },
    http_filters: [ROUTER],
    ...more,
  };
  return { name, address, filter_chains: [{ filters: [{ name: 'hcm', typed_config: typedConfig }] }] };
}

function folderForTest(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-two-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function start(
  folder: string,
  listeners: readonly object[],
  clusters: readonly object[] = [],
  flags: string[] = [],
) {
  const config = JSON.stringify({ admin: { address: LOOPBACK }, static_resources: { listeners, clusters } });
  const program = { name: 'nuncio', command: nuncioCommand() };
  const proxy = await ProxyProcess.start(program, folder, config, ['--concurrency', '2', ...flags]);
  cleanups.push(() => proxy.stop());
  const stat = async (name: string): Promise<number> => {
    const { body } = await proxy.admin(`/stats?filter=^${name}$`);
    return Number(/: (\d+)/.exec(body)?.[1] ?? Number.NaN);
  };
  return { proxy, stat, port: (await proxy.listenerPorts()).get('a') ?? 0 };
}

/** Connections of which each worker has some: the system spreads them as it likes. */
async function connectToBoth(proxy: ProxyProcess, port: number) {
  const clients: Awaited<ReturnType<typeof connectRaw>>[] = [];
  for (;;) {
    clients.push(await connectRaw({ port }));
    const { body } = await proxy.admin(`/stats?filter=^listener.127.0.0.1_0.worker_[01].downstream_cx_active`);
    const counts = [...body.matchAll(/127\.0\.0\.1_0\.worker_\d\.downstream_cx_active: (\d+)/g)].map((found) =>
      Number(found[1]),
    );
    if (counts.length === 2 && counts.every((count) => count > 0)) return clients;
    if (clients.length > 200) throw new Error(`one worker has all connections: ${body}`);
  }
}

describe('two workers', () => {
  test('circuit breakers count over both; so do stats, each event once', async () => {
    const release = Promise.withResolvers<void>();
    const upstream = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: async () => {
        await release.promise;
        return new Response('ok');
      },
    });
    cleanups.push(() => upstream.stop(true));
    const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: upstream.port } } };
    const cluster = {
      name: 'c',
      circuit_breakers: { thresholds: [{ max_requests: 1 }] },
      load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    };
    const routes = [{ match: { prefix: '/' }, route: { cluster: 'c' } }];
    const { proxy, stat, port } = await start(folderForTest(), [listener('a', LOOPBACK, routes)], [cluster]);
    const clients = await connectToBoth(proxy, port);
    const answers = clients.map((client) => {
      client.send('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
      return client.response();
    });
    const refused = clients.length - 1;
    for (
      const deadline = performance.now() + 10_000;
      (await stat('cluster.c.upstream_rq_active_overflow')) < refused;
    ) {
      if (performance.now() > deadline)
        throw new Error((await proxy.admin('/stats?filter=^cluster.c|^http.a.downstream&usedonly')).body);
    }
    expect(await stat('cluster.c.upstream_rq_active')).toBe(1);
    expect(await stat('cluster.c.circuit_breakers.default.rq_open')).toBe(1);
    release.resolve();
    const statuses = (await Promise.all(answers)).map((answer) => answer.slice(0, 'HTTP/1.1 200'.length));
    expect(statuses.filter((status) => status === 'HTTP/1.1 200').length).toBe(1);
    expect(statuses.filter((status) => status === 'HTTP/1.1 503').length).toBe(refused);
    expect(await stat('http.a.downstream_rq_total')).toBe(clients.length);
    expect(await stat('http.a.downstream_cx_active')).toBe(clients.length);
    expect(await stat('cluster.c.membership_total')).toBe(1);
    expect(await stat('cluster.c.membership_change')).toBe(1);
    expect(await stat('cluster_manager.cluster_added')).toBe(1);
    expect(await stat('cluster.c.upstream_rq_active')).toBe(0);
    expect(await stat('server.concurrency')).toBe(2);
    for (const client of clients) client.reset();
  });

  test('a Unix socket serves, and the logs of both are whole at the end', async () => {
    const folder = folderForTest();
    const path = join(folder, 'u.sock');
    const accessLog = {
      name: 'file',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
        path: join(folder, 'access.log'),
        log_format: { text_format_source: { inline_string: '%REQ(:PATH)%\n' } },
      },
    };
    const routes = [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'hi' } } }];
    const more = { access_log: [accessLog] };
    const listeners = [listener('a', LOOPBACK, routes, more), listener('u', { pipe: { path } }, routes, more)];
    const late = ['--file-flush-interval-msec', '600000'];
    const { proxy, port } = await start(folder, listeners, [], late);
    const clients = await connectToBoth(proxy, port);
    for (const [index, client] of clients.entries()) {
      client.send(`GET /${index} HTTP/1.1\r\nhost: x\r\n\r\n`);
      await client.response();
    }
    expect(await (await fetch('http://x/unix', { unix: path })).text()).toBe('hi');
    proxy.signal('SIGTERM');
    expect(await proxy.exited()).toBe(0);
    const lines = readFileSync(join(folder, 'access.log'), 'utf8').trim().split('\n').sort();
    expect(lines).toEqual([...clients.map((_client, index) => `/${index}`), '/unix'].sort());
  });

  test('an address in use ends the start with 1, and says which', async () => {
    const other = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
    cleanups.push(() => other.stop(true));
    const address = { socket_address: { address: '127.0.0.1', port_value: other.port } };
    const started = start(folderForTest(), [listener('a', address, [])]);
    const error = await started.then(
      () => 'started',
      (thrown: Error) => thrown.message,
    );
    expect(error).toContain('exited with 1');
    expect(error).toContain(`cannot bind '127.0.0.1:${other.port}': Address already in use`);
  });

  test('a signal ends a start that waits for names', async () => {
    const query = Promise.withResolvers<void>();
    const silent = await Bun.udpSocket({
      hostname: '127.0.0.1',
      port: 0,
      socket: { data: () => query.resolve() },
    });
    cleanups.push(() => silent.close());
    const folder = folderForTest();
    const resolver = { socket_address: { address: '127.0.0.1', port_value: silent.port } };
    const endpoint = { address: { socket_address: { address: 'nowhere.test', port_value: 1 } } };
    const cluster = {
      name: 'c',
      type: 'STRICT_DNS',
      typed_dns_resolver_config: {
        name: 'envoy.network.dns_resolver.cares',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig',
          resolvers: [resolver],
        },
      },
      load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    };
    const config = { admin: { address: LOOPBACK }, static_resources: { clusters: [cluster] } };
    const adminPath = join(folder, 'admin');
    const flags = ['--concurrency', '2', '-l', 'off', '--admin-address-path', adminPath];
    const child = Bun.spawn([...nuncioCommand(), '--config-yaml', JSON.stringify(config), ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    cleanups.push(() => child.kill('SIGKILL'));
    await query.promise;
    expect(existsSync(adminPath)).toBe(true);
    expect((await fetch(`http://${readFileSync(adminPath, 'utf8')}/ready`)).status).toBe(503);
    child.kill('SIGTERM');
    expect(await child.exited).toBe(0);
  });
});
