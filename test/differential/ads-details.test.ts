/** The finer points of the protocol: times to live, deadlines, rates, the node, answers that say odd things. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { type Fields, http, to } from './configs.ts';
import {
  ADS,
  adsBootstrap,
  answered,
  apiType,
  asked,
  CLUSTER,
  clusterResource,
  dumpStates,
  ENDPOINTS,
  endpoints,
  LISTENER,
  listenerResource,
  planeApi,
  ROUTES,
  routes,
  says,
  tell,
} from './discovery.ts';
import { type Case, steps, suite } from './harness.ts';
import { fillIn, type Side } from './side.ts';

const upstreams = { u1: httpUpstream(() => reply(200, 'one')), u2: httpUpstream(() => reply(200, 'two')) };
const url = (type: string): string => `type.googleapis.com/${type}`;
const RESOURCE = url('envoy.service.discovery.v3.Resource');
const get = http('GET /');
const ads = (more: Fields = {}): Fields => ({ ...ADS, ...more });

const config = (delta: boolean, more: Fields = {}, source: Fields = ads()): Fields =>
  adsBootstrap(planeApi(apiType(delta), more), { lds_config: source, cds_config: source });

const filled = (side: Side, value: unknown): never => JSON.parse(fillIn(value as never, side.tmp, side.ports)) as never;

const eds = (name: string, source: Fields = ads()): Fields => ({
  '@type': url(CLUSTER),
  name,
  type: 'EDS',
  connect_timeout: '1s',
  eds_cluster_config: { eds_config: source },
});
const byRds = (source: Fields = ads()): Fields => ({
  route_config: undefined,
  rds: { route_config_name: 'r1', config_source: source },
});

function everything(side: Side): void {
  tell(side, CLUSTER, '1', [eds('c1')]);
  tell(side, ENDPOINTS, '1', [endpoints('c1', ['u1'])]);
  tell(side, LISTENER, '1', [listenerResource({ hcm: byRds() })]);
  tell(side, ROUTES, '1', [routes('r1', [to('c1')])]);
}

/** A resource that lives for a while. */
const mortal = (name: string, ttl: string, resource: Fields): Fields => ({ '@type': RESOURCE, name, ttl, resource });

const stats = [
  /^(listener_manager\.lds|cluster_manager\.cds|cluster\.c[12]|http\.ingress\.rds\.r1)\.(update_(attempt|success|failure|rejected|empty)|init_fetch_timeout|membership_total)/,
  /^control_plane\.(connected_state|rate_limit_enforced|pending_requests)$/,
];

function renewed(delta: boolean): Case {
  return steps('one that is renewed stays', async (exchange) => {
    await answered(exchange, 'RDS', 2);
    tell(exchange.side, CLUSTER, '2', [eds('c1'), mortal('c2', '0.5s', clusterResource('c2', 'u2'))]);
    await exchange.expectStat('cluster_manager.active_clusters', 3);
    for (let i = 0; i < 8; i++) {
      await Bun.sleep(100);
      exchange.side.controlPlane!.sayAsIs(url(CLUSTER), beat(delta, 'c2', '0.5s') as never);
    }
    exchange.note('there', String(await exchange.stat('cluster_manager.active_clusters')));
    await exchange.expectStat('cluster_manager.active_clusters', 2);
  });
}

function ttlCases(delta: boolean): Case[] {
  return [
    steps('a cluster that is not renewed goes', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      tell(exchange.side, CLUSTER, '2', [eds('c1'), mortal('c2', '0.3s', clusterResource('c2', 'u2'))]);
      await exchange.expectStat('cluster_manager.active_clusters', 3);
      await exchange.expectStat('cluster_manager.active_clusters', 2);
      await dumpStates(exchange);
      asked(exchange, 'CDS');
    }),
    // Envoy removes every other cluster when a state of the world holds a heartbeat alone.
    ...(delta ? [renewed(delta)] : []),
    steps('a listener, routes and endpoints that are not renewed', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      await exchange.request(get);
      // Envoy dies when the time of endpoints or routes is over that a state of the world brought.
      if (delta) {
        tell(exchange.side, ENDPOINTS, '2', [mortal('c1', '0.2s', endpoints('c1', ['u2']))]);
        await answered(exchange, 'EDS', 3);
        await Bun.sleep(500);
        await exchange.request(get);
        tell(exchange.side, ROUTES, '2', [mortal('r1', '0.2s', routes('r1', [says('mortal')]))]);
        await answered(exchange, 'RDS', 3);
        await exchange.request(get);
        await Bun.sleep(500);
        await exchange.request(get);
      }
      tell(exchange.side, LISTENER, '2', [mortal('a', '0.2s', listenerResource({ routes: [says('x')] }))]);
      await answered(exchange, 'LDS', 3);
      await exchange.expectStat('listener_manager.total_listeners_active', 0);
      await dumpStates(exchange);
    }),
  ];
}

/** A heartbeat, in the form of the protocol. */
function beat(delta: boolean, name: string, ttl: string): Fields {
  if (delta) return { system_version_info: '2', resources: [{ name, version: '2', ttl }] };
  return { version_info: '2', resources: [{ '@type': RESOURCE, name, version: '2', ttl }] };
}

for (const delta of [false, true]) {
  const of = delta ? 'delta ADS' : 'ADS';
  const stage = { upstreams, stats, fresh: true, upstreamBytes: false } as const;
  suite(
    `${of}: times to live`,
    {
      ...stage,
      stats: [],
      config: config(delta),
      controlPlane: (_plane, side) => everything(side),
    },
    ttlCases(delta),
  );

  const soon = ads({ initial_fetch_timeout: '0.2s' });
  suite(
    `${of}: nothing comes in time`,
    {
      ...stage,
      config: config(delta, {}, soon),
      controlPlane: () => {},
    },
    [
      steps('of clusters and listeners', async (exchange) => {
        await exchange.expect('LIVE', async () => (await exchange.proxy.admin('/ready')).status === 200);
        tell(exchange.side, CLUSTER, '1', [clusterResource('c1', 'u1')]);
        tell(exchange.side, LISTENER, '1', [listenerResource({ routes: [to('c1')] })]);
        await answered(exchange, 'LDS', 2);
        await exchange.request(get);
        asked(exchange, 'CDS', 'LDS');
      }),
      steps('of endpoints and routes', async (exchange) => {
        tell(exchange.side, CLUSTER, '1', [eds('c1', soon)]);
        tell(exchange.side, LISTENER, '1', [listenerResource({ hcm: byRds(soon) })]);
        await exchange.expectStat('listener_manager.total_listeners_active', 1);
        await exchange.refreshListeners();
        await exchange.request(get);
        tell(exchange.side, ROUTES, '1', [routes('r1', [to('c1')])]);
        await answered(exchange, 'RDS', 2);
        await exchange.request(get);
        tell(exchange.side, ENDPOINTS, '1', [endpoints('c1', ['u1'])]);
        await answered(exchange, 'EDS', 2);
        await exchange.request(get);
        asked(exchange, 'RDS', 'EDS');
      }),
    ],
  );

  suite(
    `${of}: the node in every message, a rate`,
    {
      ...stage,
      config: config(delta, {
        set_node_on_first_message_only: false,
        rate_limit_settings: { max_tokens: 3, fill_rate: 5 },
      }),
      controlPlane: (_plane, side) => everything(side),
    },
    [
      steps(
        'the start',
        async (exchange) => {
          await answered(exchange, 'RDS', 2);
          await exchange.expectStat('control_plane.pending_requests', 0);
          asked(exchange, 'CDS', 'EDS', 'LDS', 'RDS');
          exchange.note('held back', String((await exchange.stat('control_plane.rate_limit_enforced')) > 0));
        },
        { stats: [] },
      ),
    ],
  );

  suite(`${of}: odd answers`, { ...stage, config: config(delta), controlPlane: (_plane, side) => everything(side) }, [
    steps('errors of resources', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      const errors = [{ resource_name: { name: 'c1' }, error_detail: { code: 7, message: 'not for you' } }];
      const version = delta ? { system_version_info: '2' } : { version_info: '2' };
      exchange.side.controlPlane!.sayAsIs(url(ENDPOINTS), { ...version, resource_errors: errors } as never);
      await answered(exchange, 'EDS', 3);
      await exchange.request(get);
      asked(exchange, 'EDS');
    }),
    steps('an answer for a type that nobody asked for', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      const type = url('envoy.extensions.transport_sockets.tls.v3.Secret');
      exchange.side.controlPlane!.sayAsIs(type, {});
      exchange.side.controlPlane!.sayAsIs('type.googleapis.com/what.is.This', {});
      tell(exchange.side, ROUTES, '2', [routes('r1', [says('second')])]);
      await answered(exchange, 'RDS', 3);
      await exchange.request(get);
      asked(exchange, 'RDS', 'SDS');
    }),
    steps('an empty answer', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      const version = delta ? { system_version_info: '2' } : { version_info: '2' };
      exchange.side.controlPlane!.sayAsIs(url(ENDPOINTS), version as never);
      await answered(exchange, 'EDS', 3);
      exchange.side.controlPlane!.sayAsIs(url(ROUTES), version as never);
      await answered(exchange, 'RDS', 3);
      await exchange.request(get);
      asked(exchange, 'EDS', 'RDS');
    }),
    steps('the same version again, and an older one', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      tell(exchange.side, ROUTES, '5', [routes('r1', [says('five')])]);
      await answered(exchange, 'RDS', 3);
      tell(exchange.side, ROUTES, '5', [routes('r1', [says('five again')])]);
      await answered(exchange, 'RDS', 4);
      await exchange.request(get);
      tell(exchange.side, ROUTES, '4', [routes('r1', [says('four')])]);
      await answered(exchange, 'RDS', 5);
      await exchange.request(get);
      asked(exchange, 'RDS');
      await dumpStates(exchange);
    }),
    steps('a resource of another type', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      const resource = filled(exchange.side, endpoints('r1', ['u1']));
      const body = delta
        ? { system_version_info: '2', resources: [{ name: 'r1', version: '2', resource }] }
        : { version_info: '2', resources: [resource] };
      exchange.side.controlPlane!.sayAsIs(url(ROUTES), body as never);
      await answered(exchange, 'RDS', 3);
      await exchange.request(get);
      asked(exchange, 'RDS');
    }),
    steps('resources that nobody asked for', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      const version = delta ? { system_version_info: '2' } : { version_info: '2' };
      const wrap = (name: string, value: Fields): Fields => {
        const resource = filled(exchange.side, value) as Fields;
        return delta ? { name, version: '2', resource } : resource;
      };
      const resources = [wrap('other', endpoints('other', ['u2'])), wrap('c1', endpoints('c1', ['u2']))];
      exchange.side.controlPlane!.sayAsIs(url(ENDPOINTS), { ...version, resources } as never);
      await answered(exchange, 'EDS', 3);
      await exchange.request(get);
      asked(exchange, 'EDS');
    }),
    steps('a name twice', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      const version = delta ? { system_version_info: '2' } : { version_info: '2' };
      const wrap = (name: string, value: Fields): Fields => {
        const resource = filled(exchange.side, value) as Fields;
        return delta ? { name, version: '2', resource } : resource;
      };
      const resources = [
        wrap('c1', eds('c1')),
        wrap('c2', clusterResource('c2', 'u1')),
        wrap('c2', clusterResource('c2', 'u2')),
      ];
      exchange.side.controlPlane!.sayAsIs(url(CLUSTER), { ...version, resources } as never);
      await answered(exchange, 'CDS', 3);
      asked(exchange, 'CDS');
      await dumpStates(exchange);
    }),
  ]);
}
