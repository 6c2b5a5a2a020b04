/** `nuncio pilot` and the real Envoy that follows it: files and manifests in, traffic out, and no request lost between. */
import { afterEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { installEnvoy } from '../../tools/envoy.ts';
import { freePort } from '../support/free-port.ts';
import {
  ask,
  cluster,
  endpoints,
  endStages,
  followers,
  listener,
  resources,
  route,
  stage,
  until,
} from '../support/pilot-stage.ts';

afterEach(endStages);

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
