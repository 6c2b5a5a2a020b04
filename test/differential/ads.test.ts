import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { type Fields, http, to } from './configs.ts';
import {
  ADS,
  adsBootstrap,
  answered,
  apiType,
  asked,
  BACK_SOON,
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
import type { Side } from './side.ts';

const upstreams = {
  u1: httpUpstream(() => reply(200, 'one')),
  u2: httpUpstream(() => reply(200, 'two')),
};
const stats = [
  /^(listener_manager|cluster_manager)\.(?!.*(update_time|\.version$|reload_time|update_duration|workers_started))/,
  /^http\.ingress\.rds\.(?!.*(update_time|\.version$|reload_time|update_duration))/,
  /^cluster\.(c1|c2)\.(update_(attempt|success|failure|rejected|empty)|membership_(total|healthy|change))$/,
  /^control_plane\.(connected_state|rate_limit_enforced|pending_requests)$/,
];
const get = http('GET /');
const url = (type: string): string => `type.googleapis.com/${type}`;

const byAds = (delta: boolean, more: Fields = {}): Fields => adsBootstrap(planeApi(apiType(delta), more, BACK_SOON));

const rds = {
  route_config: undefined,
  rds: { route_config_name: 'r1', config_source: ADS },
};
const eds = (name: string, more: Fields = {}): Fields => ({
  '@type': url(CLUSTER),
  name,
  type: 'EDS',
  connect_timeout: '1s',
  eds_cluster_config: { eds_config: ADS },
  ...more,
});

function everything(side: Side): void {
  tell(side, CLUSTER, '1', [eds('c1')]);
  tell(side, ENDPOINTS, '1', [endpoints('c1', ['u1'])]);
  tell(side, LISTENER, '1', [listenerResource({ hcm: rds })]);
  tell(side, ROUTES, '1', [routes('r1', [to('c1')])]);
}

function cases(delta: boolean): Case[] {
  /** Requests that the start makes for each type: the first one, and the ACK. */
  const start = 2;
  return [
    steps('the start', async (exchange) => {
      await answered(exchange, 'RDS', start);
      await exchange.request(get);
      asked(exchange, 'CDS', 'EDS', 'LDS', 'RDS');
      await dumpStates(exchange);
    }),
    steps('clusters: one is added, one changes, one is removed', async (exchange) => {
      await answered(exchange, 'RDS', start);
      tell(exchange.side, CLUSTER, '2', [eds('c1'), clusterResource('c2', 'u2')]);
      await answered(exchange, 'CDS', start + 1);
      tell(exchange.side, CLUSTER, '3', [eds('c1'), clusterResource('c2', 'u2', { connect_timeout: '2s' })]);
      await answered(exchange, 'CDS', start + 2);
      await exchange.request(get);
      tell(exchange.side, CLUSTER, '4', [eds('c1')]);
      await answered(exchange, 'CDS', start + 3);
      await exchange.request(get);
      asked(exchange, 'CDS');
      await dumpStates(exchange);
    }),
    steps('endpoints change', async (exchange) => {
      await answered(exchange, 'RDS', start);
      await exchange.request(get);
      tell(exchange.side, ENDPOINTS, '2', [endpoints('c1', ['u2'])]);
      await answered(exchange, 'EDS', start + 1);
      await exchange.request(get);
      asked(exchange, 'CDS', 'EDS', 'LDS', 'RDS');
    }),
    steps('routes change', async (exchange) => {
      await answered(exchange, 'RDS', start);
      tell(exchange.side, ROUTES, '2', [routes('r1', [says('second')])]);
      await answered(exchange, 'RDS', start + 1);
      await exchange.request(get);
      asked(exchange, 'CDS', 'EDS', 'LDS', 'RDS');
      await dumpStates(exchange);
    }),
    steps('listeners: another one, then only that', async (exchange) => {
      await answered(exchange, 'RDS', start);
      tell(exchange.side, LISTENER, '2', [
        listenerResource({ hcm: rds }),
        listenerResource({ name: 'b', routes: [says('b')] }),
      ]);
      await answered(exchange, 'LDS', start + 1);
      await exchange.request(get, { listener: 'b' });
      tell(exchange.side, LISTENER, '3', [listenerResource({ name: 'b', routes: [says('b')] })]);
      await answered(exchange, 'LDS', start + 2);
      await exchange.request(get, { listener: 'b' });
      asked(exchange, 'LDS');
      await dumpStates(exchange);
    }),
    steps('a refused cluster, then a good one', async (exchange) => {
      await answered(exchange, 'RDS', start);
      tell(exchange.side, CLUSTER, '2', [eds('c1'), { '@type': url(CLUSTER), name: 'c2', type: 'EDS' }]);
      await answered(exchange, 'CDS', start + 1);
      await exchange.request(get);
      tell(exchange.side, CLUSTER, '3', [eds('c1'), clusterResource('c2', 'u2')]);
      await answered(exchange, 'CDS', start + 2);
      asked(exchange, 'CDS');
      await dumpStates(exchange);
    }),
    steps('refused routes: the last good ones stay', async (exchange) => {
      await answered(exchange, 'RDS', start);
      const bad = routes('r1', [{ match: { safe_regex: { regex: '(' } }, direct_response: { status: 200 } }]);
      tell(exchange.side, ROUTES, '2', [bad]);
      await answered(exchange, 'RDS', start + 1);
      await exchange.request(get);
      asked(exchange, 'RDS');
      await dumpStates(exchange);
    }),
    steps(
      'a listener warms until its routes are there',
      async (exchange) => {
        await answered(exchange, 'RDS', start);
        const waiting = listenerResource({ name: 'b', hcm: { ...rds, rds: { ...rds.rds, route_config_name: 'r2' } } });
        tell(exchange.side, LISTENER, '2', [listenerResource({ hcm: rds }), waiting]);
        await answered(exchange, 'LDS', start + 1);
        await exchange.expectStat('listener_manager.total_listeners_warming', 1);
        await dumpStates(exchange);
        await exchange.admin('/init_dump');
        tell(exchange.side, ROUTES, '2', [routes('r1', [to('c1')]), routes('r2', [says('two')])]);
        await exchange.expectStat('listener_manager.total_listeners_active', 2);
        await exchange.refreshListeners();
        await exchange.request(get, { listener: 'b' });
        await dumpStates(exchange);
        await exchange.admin('/init_dump');
        // The number is a hash of the listener.
      },
      { rewrite: [[/(init-manager \w+) \d+/g, '$1 <hash>']] },
    ),
    steps('a cluster warms until its endpoints are there', async (exchange) => {
      await answered(exchange, 'RDS', start);
      tell(exchange.side, CLUSTER, '2', [eds('c1'), eds('c2')]);
      await exchange.expectStat('cluster_manager.warming_clusters', 1);
      await dumpStates(exchange);
      tell(exchange.side, ENDPOINTS, '2', [endpoints('c1', ['u1']), endpoints('c2', ['u2'])]);
      await exchange.expectStat('cluster_manager.warming_clusters', 0);
      await dumpStates(exchange);
    }),
    steps('a warming cluster is taken back', async (exchange) => {
      await answered(exchange, 'RDS', start);
      tell(exchange.side, CLUSTER, '2', [eds('c1'), eds('c2')]);
      await exchange.expectStat('cluster_manager.warming_clusters', 1);
      tell(exchange.side, CLUSTER, '3', [eds('c1')]);
      await exchange.expectStat('cluster_manager.warming_clusters', 0);
      await dumpStates(exchange);
      await exchange.request(get);
    }),
    steps('the stream is cut: everything is asked for again', async (exchange) => {
      await answered(exchange, 'RDS', start);
      exchange.side.controlPlane!.cut();
      await answered(exchange, 'RDS', start + (delta ? 1 : 2));
      await exchange.request(get);
      asked(exchange, 'CDS', 'LDS', 'RDS', 'EDS');
    }),
  ];
}

/** Every subscription on a stream of its own. */
function byStreams(delta: boolean): { readonly config: Fields; readonly source: Fields } {
  const { static_resources, node, dynamic_resources } = byAds(delta) as Record<string, Fields>;
  const { ads_config } = dynamic_resources as Record<string, Fields>;
  const source = { api_config_source: ads_config, resource_api_version: 'V3' };
  return { config: { node, static_resources, dynamic_resources: { lds_config: source, cds_config: source } }, source };
}

for (const delta of [false, true]) {
  const { config, source } = byStreams(delta);
  suite(
    delta ? 'each type over a delta stream' : 'each type over a stream',
    {
      config,
      upstreams,
      controlPlane: (_plane, side) => {
        tell(side, CLUSTER, '1', [eds('c1', { eds_cluster_config: { eds_config: source } })]);
        tell(side, ENDPOINTS, '1', [endpoints('c1', ['u1'])]);
        const hcm = { route_config: undefined, rds: { route_config_name: 'r1', config_source: source } };
        tell(side, LISTENER, '1', [listenerResource({ hcm })]);
        tell(side, ROUTES, '1', [routes('r1', [to('c1')])]);
      },
      stats: [...stats, /control_plane\.(connected_state|rate_limit_enforced|pending_requests)$/],
      fresh: true,
      upstreamBytes: false,
    },
    [
      steps('the start', async (exchange) => {
        await answered(exchange, 'RDS', 2);
        await exchange.request(get);
        asked(exchange, 'CDS', 'EDS', 'LDS', 'RDS');
        await dumpStates(exchange);
        await exchange.admin('/stats?filter=control_plane.*(connected_state|identifier)');
      }),
      steps('endpoints and routes change', async (exchange) => {
        await answered(exchange, 'RDS', 2);
        tell(exchange.side, ENDPOINTS, '2', [endpoints('c1', ['u2'])]);
        await answered(exchange, 'EDS', 3);
        await exchange.request(get);
        tell(exchange.side, ROUTES, '2', [routes('r1', [says('second')])]);
        await answered(exchange, 'RDS', 3);
        await exchange.request(get);
        asked(exchange, 'CDS', 'EDS', 'LDS', 'RDS');
      }),
    ],
  );
}

for (const delta of [false, true]) {
  suite(
    delta ? 'everything over delta ADS' : 'everything over ADS',
    {
      config: byAds(delta, { set_node_on_first_message_only: true }),
      upstreams,
      controlPlane: (_plane, side) => everything(side),
      stats,
      fresh: true,
      upstreamBytes: false,
    },
    cases(delta),
  );
}

suite(
  'ADS over google_grpc',
  {
    config: byAds(false, {
      grpc_services: [{ google_grpc: { target_uri: '127.0.0.1:{{port:xds}}', stat_prefix: 'xds' } }],
    }),
    upstreams,
    controlPlane: (_plane, side) => everything(side),
    stats,
    fresh: true,
    upstreamBytes: false,
  },
  [
    steps('the start, and other routes', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      await exchange.request(get);
      tell(exchange.side, ROUTES, '2', [routes('r1', [says('second')])]);
      await answered(exchange, 'RDS', 3);
      await exchange.request(get);
      asked(exchange, 'CDS', 'EDS', 'LDS', 'RDS');
    }),
  ],
);
