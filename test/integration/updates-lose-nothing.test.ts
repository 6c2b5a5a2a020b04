/** A client at a steady pace, while everything that can change changes: no request is lost. */
import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { type JsonResource, ScriptedControlPlane } from '../support/scripted-control-plane.ts';
import { SteadyClient } from '../support/steady-client.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const TYPE = 'type.googleapis.com/envoy.';
const HCM = `${TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`;
const ROUTER = { name: 'router', typed_config: { '@type': `${TYPE}extensions.filters.http.router.v3.Router` } };
const LOOPBACK = { socket_address: { address: '127.0.0.1', port_value: 0 } };

type Fields = Readonly<Record<string, unknown>>;

function upstream(): number {
  const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('ok') });
  cleanups.push(() => server.stop(true));
  return server.port!;
}

function endpointsOf(name: string, ports: readonly number[]): Fields {
  return {
    cluster_name: name,
    endpoints: [
      {
        lb_endpoints: ports.map((port) => ({
          endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
        })),
      },
    ],
  };
}

test('listeners, routes, clusters and endpoints change all the time', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-updates-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const ports = [upstream(), upstream(), upstream()];
  const write = (file: string, version: number, type: string, resources: readonly Fields[]): void => {
    const content = {
      version_info: String(version),
      resources: resources.map((each) => ({ '@type': `${TYPE}${type}`, ...each })),
    };
    writeFileSync(join(folder, `${file}.new`), JSON.stringify(content));
    renameSync(join(folder, `${file}.new`), join(folder, file));
  };
  const source = (file: string): Fields => ({ path_config_source: { path: join(folder, file) } });
  const change: Readonly<Record<string, (version: number) => void>> = {
    'eds.json': (version) =>
      write('eds.json', version, 'config.endpoint.v3.ClusterLoadAssignment', [
        endpointsOf('e', version % 2 === 0 ? ports : [ports[version % 3]!]),
      ]),
    'cds.json': (version) =>
      write('cds.json', version, 'config.cluster.v3.Cluster', [
        {
          name: 'e',
          type: 'EDS',
          eds_cluster_config: { eds_config: source('eds.json') },
          connect_timeout: `${1 + (version % 5)}s`,
        },
        {
          name: 's',
          load_assignment: endpointsOf('s', [ports[version % 3]!]),
          lb_policy: version % 4 === 0 ? 'RANDOM' : 'ROUND_ROBIN',
        },
        ...(version % 2 === 0 ? [{ name: `more-${version}` }] : []),
      ]),
    'rds.json': (version) =>
      write('rds.json', version, 'config.route.v3.RouteConfiguration', [
        {
          name: 'r',
          virtual_hosts: [
            {
              name: 'v',
              domains: ['*'],
              routes: [{ match: { prefix: '/' }, route: { cluster: version % 2 === 0 ? 'e' : 's' } }],
            },
          ],
        },
      ]),
    'lds.json': (version) =>
      write('lds.json', version, 'config.listener.v3.Listener', [
        {
          name: 'a',
          address: LOOPBACK,
          // Every third change is more than one of filter chains.
          per_connection_buffer_limit_bytes: 100_000 + Math.floor(version / 3),
          filter_chains: [
            {
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': HCM,
                    stat_prefix: `a${version % 2}`,
                    rds: { route_config_name: 'r', config_source: source('rds.json') },
                    http_filters: [ROUTER],
                  },
                },
              ],
            },
          ],
        },
        ...(version % 2 === 0 ? [{ name: 'b', address: LOOPBACK, filter_chains: [{}] }] : []),
      ]),
  };
  const files = Object.keys(change);
  for (const file of files) change[file]!(0);
  const config = {
    node: { id: 'a', cluster: 'b' },
    admin: { address: LOOPBACK },
    dynamic_resources: { lds_config: source('lds.json'), cds_config: source('cds.json') },
  };
  const program = { name: 'nuncio', command: nuncioCommand() };
  const proxy = await ProxyProcess.start(program, folder, JSON.stringify(config), [
    '--concurrency',
    '2',
    '--drain-time-s',
    '1',
  ]);
  cleanups.push(() => proxy.stop());
  const port = (await proxy.listenerPorts()).get('a')!;
  const clients = Array.from({ length: 4 }, () => new SteadyClient(port));
  const running = clients.map((client) => client.run());
  const counters: Readonly<Record<string, string>> = {
    'eds.json': 'cluster.e.update_success',
    'cds.json': 'cluster_manager.cds.update_success',
    'rds.json': 'http.a0.rds.r.update_success',
    'lds.json': 'listener_manager.lds.update_success',
  };
  for (let version = 1; version <= 200; version++) {
    change[files[version % files.length]!]!(version);
    await Bun.sleep(10);
  }
  // Most have been seen: of changes that come faster than they are read the last one counts.
  for (const file of ['cds.json', 'lds.json']) {
    const deadline = performance.now() + 5000;
    for (;;) {
      const { body } = await proxy.admin(`/stats?filter=^${counters[file]}$`);
      if (Number(/: (\d+)/.exec(body)?.[1] ?? 0) > 20) break;
      if (performance.now() > deadline) throw new Error(`${file} was not taken: ${body}`);
      await Bun.sleep(20);
    }
  }
  for (const client of clients) client.stop();
  await Promise.all(running);
  expect(clients.flatMap((client) => client.failures)).toEqual([]);
  expect(clients.reduce((sum, client) => sum + client.answered, 0)).toBeGreaterThan(500);
  const { body } = await proxy.admin('/stats?filter=rejected|update_failure|envoy_bug');
  expect(body.split('\n').filter((line) => /: [1-9]/.test(line))).toEqual([]);
}, 30_000);

test('filters, scopes and their routes change all the time', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-scopes-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const ports = [upstream(), upstream()];
  const write = (file: string, version: number, type: string, resources: readonly Fields[]): void => {
    const typed = resources.map((each) => ({ '@type': `${TYPE}${type}`, ...each }));
    writeFileSync(join(folder, `${file}.new`), JSON.stringify({ version_info: String(version), resources: typed }));
    renameSync(join(folder, `${file}.new`), join(folder, file));
  };
  const source = (file: string): Fields => ({ path_config_source: { path: join(folder, file) } });
  const table = (name: string, cluster: string): Fields => ({
    name,
    virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
  });
  const scope = (name: string, key: string, more: Fields): Fields => ({
    name,
    key: { fragments: [{ string_key: key }] },
    ...more,
  });
  const extension = (file: string, version: number, type: string, fields: Fields): void =>
    write(file, version, 'config.core.v3.TypedExtensionConfig', [
      { name: file.replace('.json', ''), typed_config: { '@type': `${TYPE}extensions.filters.${type}`, ...fields } },
    ]);
  const discovered = (name: string, ...types: readonly string[]): Fields => ({
    name,
    config_discovery: {
      config_source: source(`${name}.json`),
      type_urls: types.map((type) => `${TYPE}extensions.filters.${type}`),
    },
  });
  const BUFFER = 'http.buffer.v3.Buffer';
  const FAULT = 'http.fault.v3.HTTPFault';
  const LIMIT = 'network.connection_limit.v3.ConnectionLimit';
  const HTTP_INSPECTOR = 'listener.http_inspector.v3.HttpInspector';
  const TLS_INSPECTOR = 'listener.tls_inspector.v3.TlsInspector';
  const changes: Readonly<Record<string, (version: number) => void>> = {
    // The key that all requests have goes from scope to scope; routes come with it, or by name.
    'srds.json': (version) =>
      write('srds.json', version, 'config.route.v3.ScopedRouteConfiguration', [
        version % 3 === 0
          ? scope('a', 'x', { route_configuration_name: 'r' })
          : scope(version % 3 === 1 ? 'a' : 'b', 'x', { route_configuration: table('inline', `c${version % 2}`) }),
        ...(version % 2 === 0
          ? [scope(`more-${version}`, `${version}`, { route_configuration: table('m', 'c0') })]
          : []),
      ]),
    'rds.json': (version) =>
      write('rds.json', version, 'config.route.v3.RouteConfiguration', [table('r', `c${version % 2}`)]),
    'http.json': (version) =>
      extension(
        'http.json',
        version,
        version % 2 === 0 ? BUFFER : FAULT,
        version % 2 === 0 ? { max_request_bytes: version + 1 } : {},
      ),
    'network.json': (version) =>
      extension('network.json', version, LIMIT, { stat_prefix: `l${version % 3}`, max_connections: 1000 + version }),
    'listen.json': (version) =>
      extension('listen.json', version, version % 2 === 0 ? HTTP_INSPECTOR : TLS_INSPECTOR, {}),
    'lds.json': (version) =>
      write('lds.json', version, 'config.listener.v3.Listener', [
        {
          name: 'a',
          address: LOOPBACK,
          per_connection_buffer_limit_bytes: 100_000 + Math.floor(version / 3),
          listener_filters: [discovered('listen', HTTP_INSPECTOR, TLS_INSPECTOR)],
          filter_chains: [
            {
              filters: [
                discovered('network', LIMIT),
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': HCM,
                    stat_prefix: `a${Math.floor(version / 2) % 2}`,
                    scoped_routes: {
                      name: 'scopes',
                      scope_key_builder: { fragments: [{ header_value_extractor: { name: ':authority', index: 0 } }] },
                      rds_config_source: source('rds.json'),
                      scoped_rds: { scoped_rds_config_source: source('srds.json') },
                    },
                    http_filters: [discovered('http', BUFFER, FAULT), ROUTER],
                  },
                },
              ],
            },
          ],
        },
      ]),
  };
  const files = Object.keys(changes);
  for (const file of files) changes[file]!(0);
  const config = {
    node: { id: 'a', cluster: 'b' },
    admin: { address: LOOPBACK },
    dynamic_resources: { lds_config: source('lds.json') },
    static_resources: {
      clusters: ports.map((port, index) => ({ name: `c${index}`, load_assignment: endpointsOf(`c${index}`, [port]) })),
    },
  };
  const program = { name: 'nuncio', command: nuncioCommand() };
  const flags = ['--concurrency', '2', '--drain-time-s', '1'];
  const proxy = await ProxyProcess.start(program, folder, JSON.stringify(config), flags);
  cleanups.push(() => proxy.stop());
  const port = (await proxy.listenerPorts()).get('a')!;
  const clients = Array.from({ length: 4 }, () => new SteadyClient(port));
  const running = clients.map((client) => client.run());
  for (let version = 1; version <= 240; version++) {
    changes[files[version % files.length]!]!(Math.ceil(version / files.length));
    await Bun.sleep(8);
  }
  const last = [
    ['extension_config_discovery.http_filter.http', 10],
    ['extension_config_discovery.network_filter.network', 10],
    ['extension_config_discovery.tcp_listener_filter.listen', 10],
    ['http.a0.scoped_rds.scopes', 10],
    ['listener_manager.lds', 10],
  ] as const;
  for (const [scopeName, least] of last) {
    const deadline = performance.now() + 5000;
    for (;;) {
      const { body } = await proxy.admin(`/stats?filter=${scopeName}.update_success$`);
      if (Number(/: (\d+)/.exec(body)?.[1] ?? 0) > least) break;
      if (performance.now() > deadline) throw new Error(`too few updates: ${body}`);
      await Bun.sleep(20);
    }
  }
  for (const client of clients) client.stop();
  await Promise.all(running);
  expect(clients.flatMap((client) => client.failures)).toEqual([]);
  expect(clients.reduce((sum, client) => sum + client.answered, 0)).toBeGreaterThan(500);
  const { body } = await proxy.admin('/stats?filter=rejected|update_failure|config_conflict|config_missing|envoy_bug');
  expect(body.split('\n').filter((line) => /: [1-9]/.test(line))).toEqual([]);
}, 30_000);

test.each(['GRPC', 'DELTA_GRPC'])(
  'a control plane that changes everything, and is restarted: %s',
  async (apiType) => {
    const folder = mkdtempSync(join(tmpdir(), 'nuncio-ads-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const ports = [upstream(), upstream(), upstream()];
    const plane = new ScriptedControlPlane();
    const planePort = plane.start();
    cleanups.push(() => plane.stop());
    const ads = { ads: {}, resource_api_version: 'V3' };
    const set = (type: string, version: number, resources: readonly Fields[]): void => {
      const typed = resources.map((each): JsonResource => ({ '@type': `${TYPE}${type}`, ...each }));
      plane.set(`${TYPE}${type}`, String(version), typed);
    };
    const changes: readonly ((version: number) => void)[] = [
      (version) =>
        set('config.cluster.v3.Cluster', version, [
          { name: 'e', type: 'EDS', eds_cluster_config: { eds_config: ads }, connect_timeout: `${1 + (version % 3)}s` },
          { name: 's', load_assignment: endpointsOf('s', [ports[version % 3]!]) },
        ]),
      (version) => set('config.endpoint.v3.ClusterLoadAssignment', version, [endpointsOf('e', [ports[version % 3]!])]),
      (version) =>
        set('config.route.v3.RouteConfiguration', version, [
          {
            name: 'r',
            virtual_hosts: [
              {
                name: 'v',
                domains: ['*'],
                routes: [{ match: { prefix: '/' }, route: { cluster: Math.floor(version / 4) % 2 === 0 ? 'e' : 's' } }],
              },
            ],
          },
        ]),
      (version) =>
        set('config.listener.v3.Listener', version, [
          {
            name: 'a',
            address: LOOPBACK,
            per_connection_buffer_limit_bytes: 100_000 + Math.floor(version / 8),
            filter_chains: [
              {
                filters: [
                  {
                    name: 'hcm',
                    typed_config: {
                      '@type': HCM,
                      stat_prefix: `a${Math.floor(version / 4) % 2}`,
                      rds: { route_config_name: 'r', config_source: ads },
                      http_filters: [ROUTER],
                    },
                  },
                ],
              },
            ],
          },
        ]),
    ];
    for (const change of changes) change(0);
    const config = {
      node: { id: 'a', cluster: 'b' },
      admin: { address: LOOPBACK },
      dynamic_resources: {
        lds_config: ads,
        cds_config: ads,
        ads_config: {
          api_type: apiType,
          transport_api_version: 'V3',
          grpc_services: [
            {
              envoy_grpc: {
                cluster_name: 'plane',
                retry_policy: { retry_back_off: { base_interval: '0.01s', max_interval: '0.05s' } },
              },
            },
          ],
        },
      },
      static_resources: {
        clusters: [
          {
            name: 'plane',
            http2_protocol_options: {},
            load_assignment: endpointsOf('plane', [planePort]),
          },
        ],
      },
    };
    const program = { name: 'nuncio', command: nuncioCommand() };
    const flags = ['--concurrency', '2', '--drain-time-s', '1'];
    const proxy = await ProxyProcess.start(program, folder, JSON.stringify(config), flags);
    cleanups.push(() => proxy.stop());
    const port = (await proxy.listenerPorts()).get('a')!;
    const clients = Array.from({ length: 3 }, () => new SteadyClient(port));
    const running = clients.map((client) => client.run());
    for (let version = 1; version <= 160; version++) {
      changes[version % changes.length]!(version);
      if (version % 40 === 20) {
        plane.stop();
        await Bun.sleep(30);
        plane.start();
      } else if (version % 40 === 0) {
        plane.cut();
      }
      await Bun.sleep(8);
    }
    const deadline = performance.now() + 5000;
    for (;;) {
      const { body } = await proxy.admin('/config_dump?resource=dynamic_route_configs');
      if (body.includes('"version_info": "158"')) break;
      if (performance.now() > deadline) throw new Error(`the last routes have not come: ${body}`);
      await Bun.sleep(20);
    }
    for (const client of clients) client.stop();
    await Promise.all(running);
    expect(clients.flatMap((client) => client.failures)).toEqual([]);
    expect(clients.reduce((sum, client) => sum + client.answered, 0)).toBeGreaterThan(300);
    const { body } = await proxy.admin('/stats?filter=rejected|envoy_bug');
    expect(body.split('\n').filter((line) => /: [1-9]/.test(line))).toEqual([]);
  },
  30_000,
);
