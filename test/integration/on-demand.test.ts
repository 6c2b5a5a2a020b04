/** What requests of several workers need is fetched once for all of them. */
import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectRaw } from '../support/raw-client.ts';
import { type JsonResource, ScriptedControlPlane } from '../support/scripted-control-plane.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const TYPE = 'type.googleapis.com/envoy.';
const LOOPBACK = { socket_address: { address: '127.0.0.1', port_value: 0 } };
const ADS = { ads: {}, resource_api_version: 'V3' };

type Fields = Readonly<Record<string, unknown>>;

function endpoints(name: string, port: number): Fields {
  const address = { socket_address: { address: '127.0.0.1', port_value: port } };
  return { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] };
}

function listener(routes: Fields): Fields {
  return {
    name: 'a',
    address: LOOPBACK,
    filter_chains: [
      {
        filters: [
          {
            name: 'hcm',
            typed_config: {
              '@type': `${TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: 'p',
              ...routes,
              http_filters: [
                {
                  name: 'on_demand',
                  typed_config: {
                    '@type': `${TYPE}extensions.filters.http.on_demand.v3.OnDemand`,
                    odcds: { source: ADS },
                  },
                },
                { name: 'router', typed_config: { '@type': `${TYPE}extensions.filters.http.router.v3.Router` } },
              ],
            },
          },
        ],
      },
    ],
  };
}

async function stage(): Promise<{ plane: ScriptedControlPlane; start: () => Promise<number> }> {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-on-demand-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const plane = new ScriptedControlPlane();
  const port = plane.start();
  cleanups.push(() => plane.stop());
  const config = {
    node: { id: 'a', cluster: 'b' },
    admin: { address: LOOPBACK },
    dynamic_resources: {
      lds_config: ADS,
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'plane' } }],
      },
    },
    static_resources: {
      clusters: [{ name: 'plane', http2_protocol_options: {}, load_assignment: endpoints('plane', port) }],
    },
  };
  const program = { name: 'nuncio', command: nuncioCommand() };
  const start = async (): Promise<number> => {
    const proxy = await ProxyProcess.start(program, folder, JSON.stringify(config), ['--concurrency', '3']);
    cleanups.push(() => proxy.stop());
    return (await proxy.listenerPorts()).get('a')!;
  };
  return { plane, start };
}

function set(plane: ScriptedControlPlane, type: string, named: readonly (readonly [string, Fields])[]): void {
  const typed = named.map(([name, fields]): [string, JsonResource] => [name, { '@type': TYPE + type, ...fields }]);
  plane.setNamed(TYPE + type, '1', typed);
}

async function statuses(port: number, host: string, header: string, count: number): Promise<number[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => connectRaw({ port })));
  const answers = clients.map(async (client) => {
    client.send(`GET / HTTP/1.1\r\nhost: ${host}\r\n${header}\r\n\r\n`);
    const text = await client.finalResponse({ timeoutMs: 5000 });
    client.reset();
    return Number(text.slice(9, 12));
  });
  return Promise.all(answers);
}

const subscribed = (plane: ScriptedControlPlane, short: string): unknown[] =>
  (plane.requests.get(short) ?? []).flatMap((request) => request.subscribe as unknown[]);

test('clusters and virtual hosts, for many connections of three workers', async () => {
  const upstream = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('ok') });
  cleanups.push(() => upstream.stop(true));
  const { plane, start } = await stage();
  plane.byNameOnly.add(`${TYPE}config.route.v3.VirtualHost`);
  plane.byNameOnly.add(`${TYPE}config.cluster.v3.Cluster`);
  const rds = { rds: { route_config_name: 'r', config_source: ADS } };
  set(plane, 'config.listener.v3.Listener', [['a', listener(rds)]]);
  const vhds = { config_source: { ...ADS, initial_fetch_timeout: '0.05s' } };
  set(plane, 'config.route.v3.RouteConfiguration', [['r', { name: 'r', vhds }]]);
  const routes = [{ match: { prefix: '/' }, route: { cluster_header: 'x-cluster' } }];
  const hosts = ['one.com', 'two.com'].map((name) => [`r/${name}`, { name, domains: [name], routes }] as const);
  set(plane, 'config.route.v3.VirtualHost', hosts);
  const clusters = ['c', 'd'].map(
    (name) => [name, { name, load_assignment: endpoints(name, upstream.port!) }] as const,
  );
  set(plane, 'config.cluster.v3.Cluster', clusters);
  const port = await start();
  const [first, second] = await Promise.all([
    statuses(port, 'one.com', 'x-cluster: c', 40),
    statuses(port, 'two.com', 'x-cluster: d', 40),
  ]);
  expect([...first, ...second]).toEqual(Array.from({ length: 80 }, () => 200));
  expect([...new Set(subscribed(plane, 'VHDS'))].sort()).toEqual(['r/one.com', 'r/two.com']);
  expect([...new Set(subscribed(plane, 'CDS'))].sort()).toEqual(['c', 'd']);
}, 20_000);

test('routes of a scope, for many connections of three workers', async () => {
  const { plane, start } = await stage();
  const scopedRoutes = {
    scoped_routes: {
      name: 's',
      scope_key_builder: { fragments: [{ header_value_extractor: { name: 'x-scope', index: 0 } }] },
      rds_config_source: ADS,
      scoped_rds: { scoped_rds_config_source: ADS },
    },
  };
  set(plane, 'config.listener.v3.Listener', [['a', listener(scopedRoutes)]]);
  const scope = { on_demand: true, route_configuration_name: 'r', key: { fragments: [{ string_key: 'k' }] } };
  set(plane, 'config.route.v3.ScopedRouteConfiguration', [['s', { name: 's', ...scope }]]);
  const routes = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];
  const table = { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes }] };
  set(plane, 'config.route.v3.RouteConfiguration', [['r', table]]);
  const port = await start();
  expect(await statuses(port, 'h', 'x-scope: k', 60)).toEqual(Array.from({ length: 60 }, () => 200));
  expect(await statuses(port, 'h', 'x-scope: other', 3)).toEqual([404, 404, 404]);
  expect(subscribed(plane, 'RDS')).toEqual(['r']);
}, 20_000);
