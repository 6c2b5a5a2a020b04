/** Every type that `nuncio pilot` serves, taken by the real Envoy and by Nuncio, and changed while they run. */
import { afterEach, describe, expect, test } from 'bun:test';
import { freePort } from '../support/free-port.ts';
import {
  ADS,
  ask,
  endStages,
  type Following,
  followers,
  HCM,
  ofType,
  ROUTER,
  resources,
  type Stage,
  stage,
  until,
} from '../support/pilot-stage.ts';

afterEach(endStages);

const answer = (text: string): object => ({
  match: { prefix: '/' },
  direct_response: { status: 200, body: { inline_string: text } },
});
const hosts = (text: string): object => ({
  virtual_hosts: [{ name: 'all', domains: ['*'], routes: [answer(text)] }],
});

function listener(name: string, port: number, manager: object, filters: object[] = []): object {
  return ofType('listener.v3.Listener', {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': `type.googleapis.com/${HCM}`,
              stat_prefix: name,
              ...manager,
              http_filters: [
                ...filters,
                { name: 'router', typed_config: { '@type': `type.googleapis.com/${ROUTER}` } },
              ],
            },
          },
        ],
      },
    ],
  });
}

const each = describe.each([
  ['Envoy', 'GRPC'],
  ['Envoy', 'DELTA_GRPC'],
  ['Nuncio', 'GRPC'],
  ['Nuncio', 'DELTA_GRPC'],
]);

each('%s over %s', (follower, api) => {
  /** A proxy on what `put` writes, until it answers. */
  async function follow(scene: Stage, port: number, more: Following = {}): ReturnType<Stage['follow']> {
    const pilot = await scene.pilot('--resources', scene.path('config'));
    const proxy = await scene.follow(await followers[follower]!(), pilot.port, api, 'any', more);
    await until('any answer', async () => (await ask(port)) !== 'refused');
    return proxy;
  }

  test('scopes of routes: one changes, the others stay', async () => {
    const scene = stage();
    const port = freePort();
    const scope = (key: string): object =>
      ofType('route.v3.ScopedRouteConfiguration', {
        name: `scope-${key}`,
        route_configuration_name: `routes-${key}`,
        key: { fragments: [{ string_key: key }] },
      });
    const routes = (key: string): object =>
      ofType('route.v3.RouteConfiguration', { name: `routes-${key}`, ...hosts(`this is ${key}`) });
    const put = (...keys: string[]): void =>
      scene.write('config/scopes.yaml', resources(...keys.flatMap((key) => [scope(key), routes(key)])));
    const extractor = { header_value_extractor: { name: 'x-scope', index: 0 } };
    const scoped = {
      name: 'scopes',
      scope_key_builder: { fragments: [extractor] },
      rds_config_source: ADS,
      scoped_rds: { scoped_rds_config_source: ADS },
    };
    scene.write('config/listener.yaml', resources(listener('scoped', port, { scoped_routes: scoped })));
    put('a', 'b');
    await follow(scene, port);
    const of = (key: string): Promise<string> => ask(port, { 'x-scope': key });
    await until('both scopes', async () => (await of('a')) === 'this is a' && (await of('b')) === 'this is b');
    put('a', 'b', 'c');
    await until('the third scope', async () => (await of('c')) === 'this is c');
    expect([await of('a'), await of('b')]).toEqual(['this is a', 'this is b']);
    put('b', 'c');
    await until('the first to go', async () => (await of('a')) !== 'this is a');
    expect([await of('b'), await of('c')]).toEqual(['this is b', 'this is c']);
  }, 60_000);

  test('extension configurations: a filter that is discovered is changed', async () => {
    const scene = stage();
    const port = freePort();
    const mutation = 'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation';
    const put = (value: string): void =>
      scene.write(
        'config/filter.yaml',
        resources(
          ofType('core.v3.TypedExtensionConfig', {
            name: 'tag',
            typed_config: {
              '@type': `type.googleapis.com/${mutation}`,
              mutations: {
                response_mutations: [{ append: { header: { key: 'x-tag', value } } }],
              },
            },
          }),
        ),
      );
    const filter = {
      name: 'tag',
      config_discovery: { config_source: ADS, type_urls: [`type.googleapis.com/${mutation}`] },
    };
    const routes = { route_config: hosts('here') };
    scene.write('config/listener.yaml', resources(listener('tagged', port, routes, [filter])));
    put('one');
    await follow(scene, port);
    const tag = async (): Promise<string | null> =>
      (await fetch(`http://127.0.0.1:${port}/`).catch(() => null))?.headers.get('x-tag') ?? null;
    await until('the tag', async () => (await tag()) === 'one');
    put('two');
    await until('the other tag', async () => (await tag()) === 'two');
  }, 60_000);

  test('runtimes: a layer that is discovered is changed', async () => {
    const scene = stage();
    const port = freePort();
    const put = (percent: number): void =>
      scene.write(
        'config/runtime.yaml',
        resources({
          '@type': 'type.googleapis.com/envoy.service.runtime.v3.Runtime',
          name: 'layer',
          layer: { share: percent },
        }),
      );
    const share = {
      match: {
        prefix: '/',
        runtime_fraction: { runtime_key: 'share', default_value: { numerator: 0, denominator: 'HUNDRED' } },
      },
      direct_response: { status: 200, body: { inline_string: 'by runtime' } },
    };
    const virtual = { name: 'all', domains: ['*'], routes: [share, answer('by default')] };
    scene.write(
      'config/listener.yaml',
      resources(listener('runtime', port, { route_config: { virtual_hosts: [virtual] } })),
    );
    put(0);
    const layered = { layers: [{ name: 'layer', rtds_layer: { name: 'layer', rtds_config: ADS } }] };
    await follow(scene, port, { bootstrap: { layered_runtime: layered } });
    expect(await ask(port)).toBe('by default');
    put(100);
    await until('the runtime', async () => (await ask(port)) === 'by runtime');
  }, 60_000);
});

describe.each(['Envoy', 'Nuncio'])('%s', (follower) => {
  test('virtual hosts: those of a route configuration, and one that is asked for on demand', async () => {
    const scene = stage();
    const port = freePort();
    const vhost = (name: string, domain: string): object =>
      ofType('route.v3.VirtualHost', { name: `web/${name}`, domains: [domain], routes: [answer(`this is ${name}`)] });
    const put = (...names: string[]): void =>
      scene.write('config/hosts.yaml', resources(...names.map((name) => vhost(name, `${name}.test`))));
    const onDemand = 'envoy.extensions.filters.http.on_demand.v3.OnDemand';
    const filter = { name: 'on_demand', typed_config: { '@type': `type.googleapis.com/${onDemand}` } };
    const routes = ofType('route.v3.RouteConfiguration', { name: 'web', vhds: { config_source: ADS } });
    const rds = { rds: { route_config_name: 'web', config_source: ADS } };
    scene.write('config/listener.yaml', resources(listener('virtual', port, rds, [filter]), routes));
    put('one');
    const pilot = await scene.pilot('--resources', scene.path('config'));
    await scene.follow(await followers[follower]!(), pilot.port, 'DELTA_GRPC', 'any');
    const of = (name: string): Promise<string> => ask(port, { host: `${name}.test` });
    await until('the first', async () => (await of('one')) === 'this is one');
    // Nobody has it: that is told, and the request does not wait for a time-out.
    const begun = performance.now();
    const missing = await fetch(`http://127.0.0.1:${port}/`, { headers: { host: 'two.test' } });
    expect(missing.status).toBe(404);
    expect(performance.now() - begun).toBeLessThan(10_000);
    put('one', 'two');
    await until('the second', async () => (await of('two')) === 'this is two');
    put('two');
    await until('the first to go', async () => (await of('one')) !== 'this is one');
    expect(await of('two')).toBe('this is two');
  }, 60_000);
});
