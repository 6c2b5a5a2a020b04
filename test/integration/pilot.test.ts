/** `nuncio pilot` and the real Envoy that follows it: files and manifests in, traffic out, and no request lost between. */
import { afterEach, describe, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Server, Subprocess } from 'bun';
import { installEnvoy } from '../../tools/envoy.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';

function freePort(): number {
  const server = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  const { port } = server;
  server.stop(true);
  return port;
}

async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  for (const deadline = performance.now() + timeoutMs; !(await condition()); await Bun.sleep(5)) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
  }
}

/** Everything that a test starts, ended behind it. */
class Stage {
  readonly directory = mkdtempSync(join(tmpdir(), 'pilot-'));
  readonly #ends: (() => Promise<unknown> | unknown)[] = [];

  /** Moved into place, as everybody should. */
  write(name: string, content: unknown): void {
    const path = join(this.directory, name);
    mkdirSync(dirname(path), { recursive: true });
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  }

  upstream(answer: string): number {
    const server: Server<undefined> = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response(answer) });
    this.#ends.push(() => server.stop(true));
    return server.port ?? 0;
  }

  /** @returns its port, and its log so far */
  async pilot(...flags: string[]): Promise<{ port: number; log: () => string }> {
    const command = [...nuncioCommand(), 'pilot', '--listen', '127.0.0.1:0', ...flags];
    const child: Subprocess<'ignore', 'inherit', 'pipe'> = Bun.spawn(command, { stdio: ['ignore', 'inherit', 'pipe'] });
    let log = '';
    void (async () => {
      for await (const bytes of child.stderr) log += Buffer.from(bytes).toString();
    })();
    this.#ends.push(async () => {
      child.kill();
      await child.exited;
    });
    const served = (): string | undefined => /served on 127\.0\.0\.1:(\d+)/.exec(log)?.[1];
    await until('the pilot', () => {
      if (child.exitCode !== null) throw new Error(`the pilot ended: ${log}`);
      return served() !== undefined;
    });
    return { port: Number(served()), log: () => log };
  }

  /** A proxy that follows the control plane at `port`. */
  async follow(command: readonly string[], port: number, api: string, cluster: string): Promise<ProxyProcess> {
    const source = { ads: {}, resource_api_version: 'V3' };
    const bootstrap = {
      node: { id: 'test', cluster },
      admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
      dynamic_resources: {
        ads_config: {
          api_type: api,
          transport_api_version: 'V3',
          grpc_services: [{ envoy_grpc: { cluster_name: 'pilot' } }],
        },
        lds_config: source,
        cds_config: source,
      },
      static_resources: {
        clusters: [
          {
            name: 'pilot',
            type: 'STATIC',
            connect_timeout: '1s',
            typed_extension_protocol_options: {
              [HTTP_OPTIONS]: {
                '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
                explicit_http_config: { http2_protocol_options: {} },
              },
            },
            load_assignment: { cluster_name: 'pilot', endpoints: [{ lb_endpoints: [endpoint(port)] }] },
          },
        ],
      },
    };
    const proxy = await ProxyProcess.start({ name: 'proxy', command }, this.directory, JSON.stringify(bootstrap));
    this.#ends.push(() => proxy.stop());
    return proxy;
  }

  async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const endpoint = (port: number): object => ({
  endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
});

const ADS = { ads: {}, resource_api_version: 'V3' };
const resources = (...list: object[]): object => ({ resources: list });
const ofType = (type: string, fields: object): object => ({
  '@type': `type.googleapis.com/envoy.config.${type}`,
  ...fields,
});

const cluster = (name: string): object =>
  ofType('cluster.v3.Cluster', {
    name,
    type: 'EDS',
    connect_timeout: '1s',
    eds_cluster_config: { eds_config: ADS },
  });
const endpoints = (name: string, port: number): object =>
  ofType('endpoint.v3.ClusterLoadAssignment', { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint(port)] }] });
const listener = (port: number): object =>
  ofType('listener.v3.Listener', {
    name: 'web',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': `type.googleapis.com/${HCM}`,
              stat_prefix: 'web',
              rds: { route_config_name: 'all', config_source: ADS },
              http_filters: [{ name: 'router', typed_config: { '@type': `type.googleapis.com/${ROUTER}` } }],
            },
          },
        ],
      },
    ],
  });
const route = (to: string): object =>
  ofType('route.v3.RouteConfiguration', {
    name: 'all',
    virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: to } }] }],
  });

async function ask(port: number, headers: Record<string, string> = {}, path = '/'): Promise<string> {
  return fetch(`http://127.0.0.1:${port}${path}`, { headers }).then(
    (response) => response.text(),
    () => 'refused',
  );
}

const stages: Stage[] = [];
function stage(): Stage {
  const made = new Stage();
  stages.push(made);
  return made;
}
afterEach(async () => {
  for (const each of stages.splice(0)) await each.end();
});

/** Who follows: the real Envoy, or Nuncio itself. */
const followers: Readonly<Record<string, () => Promise<readonly string[]>>> = {
  Envoy: async () => [await installEnvoy()],
  Nuncio: async () => nuncioCommand(),
};

describe.each([
  ['Envoy', 'GRPC'],
  ['Envoy', 'DELTA_GRPC'],
  ['Nuncio', 'GRPC'],
  ['Nuncio', 'DELTA_GRPC'],
])('nuncio pilot and %s over %s', (follower, api) => {
  test('resources from a directory: clusters come and go, and no request is lost', async () => {
    const command = await followers[follower]!();
    const scene = stage();
    const port = freePort();
    const answers = new Map(['one', 'two'].map((name) => [name, scene.upstream(name)]));
    const point = (name: string): void => {
      // One file, so that no moment has a route without its cluster.
      scene.write('config/web.yaml', resources(cluster(name), endpoints(name, answers.get(name)!), route(name)));
    };
    scene.write('config/listener.yaml', resources(listener(port)));
    point('one');
    const { port: pilot, log } = await scene.pilot('--resources', join(scene.directory, 'config'));
    const proxy = await scene.follow(command, pilot, api, 'anything');
    await until('the first answer', async () => (await ask(port)) === 'one');

    const seen = new Set<string>();
    let asking = true;
    const load = (async () => {
      while (asking) seen.add(await ask(port));
    })();
    for (let round = 0; round < 10; round++) {
      const name = round % 2 === 0 ? 'two' : 'one';
      point(name);
      await until(`${name} to answer`, async () => (await ask(port)) === name);
    }
    asking = false;
    await load;
    expect([...seen].sort()).toEqual(['one', 'two']);

    // A mistake changes nothing, and is told with its place.
    scene.write(
      'config/web.yaml',
      '{ "resources": [\n { "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",\n   "nmae": "all" } ] }',
    );
    await until('the complaint', () => /web\.yaml:3:\d+.*nmae/.test(log()));
    expect(await ask(port)).toBe('one');
    point('one');

    // What a proxy refuses is told as well.
    scene.write(
      'config/listener.yaml',
      resources(listener(port), {
        ...listener(port),
        name: 'broken',
        filter_chains: [
          { filters: [{ name: 'x', typed_config: { '@type': 'type.googleapis.com/envoy.config.core.v3.Node' } }] },
        ],
      }),
    );
    await until('the refusal', () => /node test refuses .*Listener/.test(log()));
    expect(await ask(port)).toBe('one');
    const stats = (await proxy.admin('/stats?filter=update_rejected')).body;
    expect(stats).toMatch(/listener_manager\.lds\.update_rejected: 1\n/);
  }, 60_000);
});

test('groups of nodes have resources of their own', async () => {
  const envoy = await installEnvoy();
  const scene = stage();
  const [one, two] = [freePort(), freePort()];
  const [common, own] = [scene.upstream('common'), scene.upstream('own')];
  scene.write('config/all.yaml', resources(cluster('c'), endpoints('c', common), route('c'), listener(one)));
  scene.write('config/groups/special/group.yaml', 'cluster: spec*\n');
  scene.write('config/groups/special/over.yaml', resources(endpoints('c', own), listener(two)));
  const { port } = await scene.pilot('--resources', join(scene.directory, 'config'));
  await scene.follow([envoy], port, 'DELTA_GRPC', 'usual');
  await until('the usual proxy', async () => (await ask(one)) === 'common');
  await scene.follow([envoy], port, 'DELTA_GRPC', 'special');
  await until('the special proxy', async () => (await ask(two)) === 'own');
}, 60_000);

test('a gateway of the Gateway API serves its routes, and statuses are written', async () => {
  const envoy = await installEnvoy();
  const scene = stage();
  const port = freePort();
  const gateway = 'gateway.networking.k8s.io/v1';
  const service = (name: string, answers: string): object[] => [
    { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: { ports: [{ name: 'http', port: 80 }] } },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, labels: { 'kubernetes.io/service-name': name } },
      ports: [{ name: 'http', port: scene.upstream(answers) }],
      endpoints: [{ addresses: ['127.0.0.1'] }],
    },
  ];
  const httpRoute = (rules: object[]): object => ({
    apiVersion: gateway,
    kind: 'HTTPRoute',
    metadata: { name: 'web' },
    spec: { parentRefs: [{ name: 'edge' }], hostnames: ['shop.example.com'], rules },
  });
  const to = (name: string): object[] => [{ name, port: 80 }];
  scene.write('manifests/gateway.json', {
    apiVersion: 'v1',
    kind: 'List',
    items: [
      {
        apiVersion: gateway,
        kind: 'GatewayClass',
        metadata: { name: 'nuncio' },
        spec: { controllerName: 'nuncio.dev/gateway-controller' },
      },
      {
        apiVersion: gateway,
        kind: 'Gateway',
        metadata: { name: 'edge' },
        spec: { gatewayClassName: 'nuncio', listeners: [{ name: 'http', port, protocol: 'HTTP' }] },
      },
      ...service('web', 'web'),
      ...service('api', 'api'),
    ],
  });
  const rules = [
    { matches: [{ path: { type: 'PathPrefix', value: '/' } }], backendRefs: to('web') },
    { matches: [{ path: { type: 'PathPrefix', value: '/api' } }], backendRefs: to('api') },
    { matches: [{ path: { type: 'PathPrefix', value: '/gone' } }], backendRefs: to('nobody') },
  ];
  scene.write('manifests/routes.json', httpRoute(rules));
  const status = join(scene.directory, 'status.yaml');
  const { port: pilot } = await scene.pilot('--gateway-api', join(scene.directory, 'manifests'), '--status', status);
  await scene.follow([envoy], pilot, 'DELTA_GRPC', 'default/edge');
  const host = { host: 'shop.example.com' };
  await until('the gateway', async () => (await ask(port, host)) === 'web');
  expect(await ask(port, host, '/api/x')).toBe('api');
  expect(await ask(port, host, '/apiary')).toBe('web');
  const gone = await fetch(`http://127.0.0.1:${port}/gone`, { headers: host });
  expect(gone.status).toBe(500);
  const stranger = await fetch(`http://127.0.0.1:${port}/`, { headers: { host: 'other.example.com' } });
  expect(stranger.status).toBe(404);
  expect(await Bun.file(status).text()).toContain('there is no Service default/nobody');

  const begun = performance.now();
  scene.write('manifests/routes.json', httpRoute([{ backendRefs: to('api') }]));
  await until('the change', async () => (await ask(port, host)) === 'api');
  console.log(`an edit changed traffic within ${Math.round(performance.now() - begun)} ms`);
}, 60_000);
