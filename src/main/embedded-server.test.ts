import { afterEach, describe, expect, test } from 'bun:test';
import { ConfigRefused, createServer, type EmbeddedServer, type ServerSettings } from './embedded-server.ts';

const running: EmbeddedServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

function directResponse(body: string, port = 0, reusePort = true): object {
  return {
    name: 'a',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    enable_reuse_port: reusePort,
    filter_chains: [
      {
        filters: [
          {
            name: 'hcm',
            typed_config: {
              '@type':
                'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              stat_prefix: 'ingress',
              route_config: {
                virtual_hosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [
                      { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: body } } },
                    ],
                  },
                ],
              },
              http_filters: [
                {
                  name: 'envoy.filters.http.router',
                  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
                },
              ],
            },
          },
        ],
      },
    ],
  };
}

async function start(config: object, settings: Partial<ServerSettings> = {}): Promise<EmbeddedServer> {
  const server = await createServer({ config, logLevel: 'off', ...settings });
  running.push(server);
  await server.start();
  return server;
}

const admin = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };

describe('createServer', () => {
  test('serves, tells its addresses and its stats, and stops', async () => {
    const server = await start({ admin, static_resources: { listeners: [directResponse('hello')] } });
    const [address] = server.addresses.get('a') ?? [];
    const answer = await fetch(`http://${address}/`, { keepalive: false });
    expect(await answer.text()).toBe('hello');
    expect(await server.stats({ filter: '^http.ingress.downstream_rq_total$' })).toContain('downstream_rq_total: 1');
    const ready = await fetch(`http://${server.adminAddress}/ready`, { keepalive: false });
    expect([ready.status, await ready.text()]).toEqual([200, 'LIVE\n']);
    server.setHealthFailed(true);
    const failed = await fetch(`http://${server.adminAddress}/ready`, { keepalive: false });
    expect([failed.status, await failed.text()]).toEqual([503, 'DRAINING\n']);
    await server.stop();
    expect(fetch(`http://${address}/`, { keepalive: false })).rejects.toThrow();
  });

  test('takes YAML text, and text over a file’s content', async () => {
    const server = await createServer({ config: 'admin: {}', logLevel: 'off' });
    running.push(server);
    await server.start();
    expect(server.adminAddress).toBeNull();
  });

  test('a bad configuration is refused with all errors', async () => {
    const refused = createServer({
      config: { static_resources: { clusters: [{ name: 'a', lb_policy: 'NONSENSE' }], listeners: [{ nme: 'x' }] } },
    });
    const error = await refused.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(ConfigRefused);
    expect((error as ConfigRefused).errors.length).toBe(2);
    expect((error as ConfigRefused).message).toContain('did you mean');
  });

  test('an address in use is reported in Envoy’s words, and nothing stays open', async () => {
    const first = await start({ static_resources: { listeners: [directResponse('x', 0, false)] } });
    const port = Number(/:(\d+)$/.exec(first.addresses.get('a')![0]!)![1]);
    const second = start({ admin, static_resources: { listeners: [directResponse('y', port, false)] } });
    await expect(second).rejects.toThrow(`cannot bind '127.0.0.1:${port}': Address already in use`);
  });

  test('two workers share a port that the system chose', async () => {
    const server = await start({ static_resources: { listeners: [directResponse('hi')] } }, { concurrency: 2 });
    const [address] = server.addresses.get('a') ?? [];
    const stats = async (): Promise<number[]> =>
      [...(await server.stats({ filter: 'worker_[01].downstream_cx_total' })).matchAll(/: (\d+)/g)].map((found) =>
        Number(found[1]),
      );
    for (let i = 0; i < 200 && (await stats()).some((count) => count === 0); i++) {
      expect(await (await fetch(`http://${address}/`, { keepalive: false })).text()).toBe('hi');
    }
    expect((await stats()).every((count) => count > 0)).toBe(true);
    expect(await server.stats({ filter: '^listener_manager.listener_create_success$' })).toContain(': 2');
  });

  for (const concurrency of [1, 2]) {
    test(`a stop while it starts ends the start and leaves nothing open, ${concurrency} worker(s)`, async () => {
      const config = { admin, static_resources: { listeners: [directResponse('x')] } };
      const server = await createServer({ config, logLevel: 'off', concurrency });
      const started = server.start().then(
        () => 'started',
        (error: Error) => error.message,
      );
      await server.stop();
      expect(await started).toBe('stopped while starting');
      expect(server.addresses.get('a')).toBeUndefined();
      expect(fetch(`http://${server.adminAddress}/`, { keepalive: false })).rejects.toThrow();
    });
  }

  for (const [concurrency, afterMs] of [
    [1, 0],
    [1, 100],
    [2, 30],
    [2, 200],
  ] as const) {
    test(`a stop ${afterMs} ms into a start that never ends, ${concurrency} worker(s)`, async () => {
      const silent = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
      const ads = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' };
      const config = {
        node: { id: 'n', cluster: 'c' },
        dynamic_resources: {
          ads_config: {
            api_type: 'GRPC',
            transport_api_version: 'V3',
            grpc_services: [
              {
                google_grpc: {
                  target_uri: `127.0.0.1:${silent.port}`,
                  stat_prefix: 'x',
                  channel_credentials: { local_credentials: {} },
                },
              },
            ],
          },
          cds_config: ads,
        },
      };
      const server = await createServer({ config, logLevel: 'off', concurrency });
      const started = server.start().then(
        () => 'started',
        (error: Error) => error.message,
      );
      // Past everything but the wait, or on the way there.
      await Bun.sleep(afterMs);
      await server.stop();
      expect(await started).toBe('stopped while starting');
      silent.stop(true);
    });
  }
});
