import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { type Fields, fileLog, http, httpFilter, httpListener, tcpListener, tcpProxy, to } from './configs.ts';
import {
  ADS,
  adsBootstrap,
  answered,
  apiType,
  asked,
  CLUSTER,
  clusterResource,
  dumpStates,
  LISTENER,
  planeApi,
  planeCluster,
  ROUTES,
  says,
  tell,
} from './discovery.ts';
import { type Case, refused, steps, suite, validateSuite } from './harness.ts';
import type { Side } from './side.ts';

const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const HOST = 'envoy.config.route.v3.VirtualHost';
const node: Fields = { id: 'node-1', cluster: 'tests' };
const url = (type: string): string => `type.googleapis.com/${type}`;
const onDemand = (fields: Fields = {}): Fields => httpFilter('on_demand', 'OnDemand', fields);
const log = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)%';

const byAds = (delta: boolean): Fields => adsBootstrap(planeApi(apiType(delta)), { lds_config: ADS });

const counts = /(?!.*(update_time|\.version$|reload_time|update_duration))/.source;
const table = (name: string, body: string): Fields => ({
  name,
  virtual_hosts: [{ name: 'v', domains: ['*'], routes: [says(body)] }],
});
const lazy = (name: string, routes: string): Fields => ({
  name,
  on_demand: true,
  route_configuration_name: routes,
  key: { fragments: [{ string_key: name }] },
});

const scoped: Fields = {
  route_config: undefined,
  scoped_routes: {
    name: 'scopes',
    scope_key_builder: { fragments: [{ header_value_extractor: { name: 'x-scope', index: 0 } }] },
    rds_config_source: ADS,
    scoped_rds: { scoped_rds_config_source: ADS },
  },
};
const inScope = (name: string, start = 'GET /', body = ''): string =>
  http(start, [`x-scope: ${name}`, ...(body === '' ? [] : [`content-length: ${body.length}`])], body);

function scopeCases(): Case[] {
  return [
    steps('the first request fetches the routes', async (exchange) => {
      await answered(exchange, 'SRDS', 2);
      await exchange.request(inScope('a'));
      await exchange.request(inScope('a'));
      await answered(exchange, 'RDS', 2);
      asked(exchange, 'RDS');
      await dumpStates(exchange);
      exchange.expectLog('access.log', 2);
    }),
    steps('a request with a body', async (exchange) => {
      await answered(exchange, 'SRDS', 2);
      await exchange.request(inScope('a', 'POST /', 'hello'));
      exchange.expectLog('access.log', 1);
    }),
    steps('no such scope', async (exchange) => {
      await answered(exchange, 'SRDS', 2);
      await exchange.request(inScope('z'));
      await exchange.request(http('GET /'));
      exchange.expectLog('access.log', 2);
    }),
    steps('several wait for the same', async (exchange) => {
      await answered(exchange, 'SRDS', 2);
      const clients = await Promise.all([exchange.connect(), exchange.connect(), exchange.connect()]);
      for (const client of clients) client.send(inScope('late'));
      await answered(exchange, 'RDS', 1);
      tell(exchange.side, ROUTES, '2', [table('ra', 'a'), table('rl', 'late')]);
      for (const client of clients) await exchange.expectResponse(client);
      await exchange.request(inScope('late'));
      exchange.expectLog('access.log', 4);
    }),
    steps('a client that does not wait', async (exchange) => {
      await answered(exchange, 'SRDS', 2);
      const client = await exchange.connect();
      client.send(inScope('late'));
      await answered(exchange, 'RDS', 1);
      client.end();
      await exchange.expectClose(client);
      tell(exchange.side, ROUTES, '2', [table('ra', 'a'), table('rl', 'late')]);
      await exchange.expectStat('http.ingress.rds.rl.config_reload', 1);
      await exchange.request(inScope('late'));
      exchange.expectLog('access.log', 2);
    }),
  ];
}

for (const delta of [false, true]) {
  suite(
    delta ? 'scopes on demand over delta ADS' : 'scopes on demand over ADS',
    {
      config: byAds(delta),
      controlPlane: (_plane, side) => {
        tell(side, SCOPE, '1', [lazy('a', 'ra'), lazy('late', 'rl')]);
        tell(side, ROUTES, '1', [table('ra', 'a')]);
        tell(side, LISTENER, '1', [httpListener({ hcm: scoped, filters: [onDemand()], log })]);
      },
      stats: [
        new RegExp(
          `^http\\.ingress\\.(scoped_rds|rds|downstream_rq_(total|completed|rx_reset|tx_reset|active))${counts}`,
        ),
      ],
      fresh: true,
      log: 'access.log',
    },
    scopeCases(),
  );
}

const upstreams = { u1: httpUpstream(() => reply(200, 'one')), u2: httpUpstream(() => reply(200, 'two')) };
const byHeader = (fields: Fields = {}): Fields => ({
  match: { prefix: '/' },
  route: { cluster_header: 'x-cluster' },
  ...fields,
});
const toCluster = (name: string, start = 'GET /', body = ''): string =>
  http(start, [`x-cluster: ${name}`, ...(body === '' ? [] : [`content-length: ${body.length}`])], body);

/** A source of its own, over a delta stream. */
const deltaSource: Fields = {
  api_config_source: {
    api_type: 'DELTA_GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
  },
  resource_api_version: 'V3',
};

const clusterStats = [
  new RegExp(`^cluster_manager\\.odcds\\.${counts}`),
  /^cluster_manager\.(cluster_added|cluster_modified|cluster_removed|active_clusters|warming_clusters)$/,
  /^http\.ingress\.(no_cluster|rq_redirect|downstream_rq_(total|completed|rx_reset|tx_reset|active))$/,
];

function clusterCases(): Case[] {
  return [
    steps('the first request fetches the cluster', async (exchange) => {
      await exchange.request(toCluster('c1'));
      await exchange.request(toCluster('c1'));
      await answered(exchange, 'CDS', 2);
      asked(exchange, 'CDS');
      await dumpStates(exchange);
      exchange.expectLog('access.log', 2);
    }),
    steps('a request with a body', async (exchange) => {
      await exchange.request(toCluster('c1', 'POST /', 'hello'));
      exchange.expectLog('access.log', 1);
    }),
    steps('two clusters', async (exchange) => {
      await exchange.request(toCluster('c1'));
      await exchange.request(toCluster('c2'));
      await answered(exchange, 'CDS', 4);
      asked(exchange, 'CDS');
      exchange.expectLog('access.log', 2);
    }),
    steps('one that does not come in time', async (exchange) => {
      await exchange.request(toCluster('none'));
      await exchange.request(toCluster('none'));
      exchange.expectLog('access.log', 2);
    }),
    steps('no header', async (exchange) => {
      await exchange.request(http('GET /'));
      exchange.expectLog('access.log', 1);
    }),
    steps('refused by the proxy', async (exchange) => {
      tell(exchange.side, CLUSTER, '2', [clusterResource('c1', 'u1', { type: 'EDS' })]);
      await exchange.request(toCluster('c1'));
      await dumpStates(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('changed, then removed', async (exchange) => {
      await exchange.request(toCluster('c1'));
      tell(exchange.side, CLUSTER, '2', [clusterResource('c1', 'u2')]);
      await exchange.expectStat('cluster_manager.cluster_modified', 1);
      await exchange.expectStat('cluster_manager.warming_clusters', 0);
      await exchange.request(toCluster('c1'));
      tell(exchange.side, CLUSTER, '3', []);
      await exchange.expectStat('cluster_manager.cluster_removed', 1);
      await exchange.request(toCluster('c1'));
      exchange.expectLog('access.log', 3);
    }),
  ];
}

suite(
  'clusters on demand over a stream of their own',
  {
    config: {
      node,
      static_resources: {
        clusters: [planeCluster],
        listeners: [
          httpListener({
            routes: [byHeader()],
            filters: [onDemand({ odcds: { source: deltaSource, timeout: '0.3s' } })],
            log,
          }),
        ],
      },
    },
    upstreams,
    controlPlane: (_plane, side) =>
      tell(side, CLUSTER, '1', [clusterResource('c1', 'u1'), clusterResource('c2', 'u2')]),
    stats: clusterStats,
    fresh: true,
    upstreamBytes: false,
    log: 'access.log',
  },
  clusterCases(),
);

suite(
  'clusters on demand, by route',
  {
    config: {
      node,
      static_resources: {
        clusters: [planeCluster],
        listeners: [
          httpListener({
            routes: [
              to(
                'c1',
                '/on',
                {},
                {
                  typed_per_filter_config: {
                    'envoy.filters.http.on_demand': {
                      '@type': url('envoy.extensions.filters.http.on_demand.v3.PerRouteConfig'),
                      odcds: { source: deltaSource, timeout: '0.3s' },
                    },
                  },
                },
              ),
              to('c2', '/off'),
              says('here', '/direct'),
            ],
            routeConfig: { validate_clusters: false },
            filters: [onDemand()],
            log,
          }),
        ],
      },
    },
    upstreams,
    controlPlane: (_plane, side) =>
      tell(side, CLUSTER, '1', [clusterResource('c1', 'u1'), clusterResource('c2', 'u2')]),
    stats: clusterStats,
    fresh: true,
    upstreamBytes: false,
    log: 'access.log',
  },
  [
    steps('only where the route says so', async (exchange) => {
      for (const path of ['/off', '/on', '/direct', '/other']) await exchange.request(http(`GET ${path}`));
      await answered(exchange, 'CDS', 2);
      asked(exchange, 'CDS');
      exchange.expectLog('access.log', 4);
    }),
  ],
);

const hosted = (name: string, hosts: readonly Fields[] = []): Fields => ({
  name,
  virtual_hosts: hosts,
  vhds: { config_source: { ...ADS, initial_fetch_timeout: '0.2s' } },
});
const host = (name: string, body: string, domains = [name]): Fields => ({ name, domains, routes: [says(body)] });

/** The scripted control plane knows resources by `name`, and virtual hosts by `<table>/<host>`. */
function tellHosts(side: Side, version: string, hosts: readonly Fields[]): void {
  const plane = side.controlPlane!;
  plane.setNamed(
    url(HOST),
    version,
    hosts.map(
      (each) =>
        [
          `r/${(each.domains as string[])[0]}`,
          { '@type': url(HOST), ...each, name: `r/${(each.domains as string[])[0]}` },
        ] as const,
    ),
  );
}

suite(
  'virtual hosts on demand',
  {
    config: byAds(true),
    controlPlane: (plane, side) => {
      plane.byNameOnly.add(url(HOST));
      tellHosts(side, '1', [host('a.com', 'a'), host('b.com', 'b')]);
      tell(side, ROUTES, '1', [hosted('r', [host('fixed.com', 'fixed')])]);
      const hcm = { route_config: undefined, rds: { route_config_name: 'r', config_source: ADS } };
      tell(side, LISTENER, '1', [httpListener({ hcm, filters: [onDemand()], log })]);
    },
    stats: [
      new RegExp(`^http\\.ingress\\.(vhds|rds|downstream_rq_(total|completed|rx_reset|tx_reset|active))${counts}`),
    ],
    fresh: true,
    log: 'access.log',
  },
  [
    steps('the first request fetches the host', async (exchange) => {
      await answered(exchange, 'VHDS', 1);
      await exchange.request(http('GET /', ['host: fixed.com']));
      await exchange.request(http('GET /', ['host: a.com']));
      await exchange.request(http('GET /', ['host: a.com']));
      await exchange.request(http('GET /', ['host: B.COM']));
      await answered(exchange, 'VHDS', 5);
      asked(exchange, 'VHDS');
      await dumpStates(exchange);
      exchange.expectLog('access.log', 4);
    }),
    steps('another version, and removal', async (exchange) => {
      await answered(exchange, 'VHDS', 1);
      await exchange.request(http('GET /', ['host: a.com']));
      tellHosts(exchange.side, '2', [host('a.com', 'new'), host('b.com', 'b')]);
      await exchange.expectStat('http.ingress.rds.vhds.r.config_reload', 2);
      await exchange.request(http('GET /', ['host: a.com']));
      tellHosts(exchange.side, '3', [host('b.com', 'b')]);
      await exchange.expectStat('http.ingress.rds.vhds.r.config_reload', 3);
      await exchange.expectStat('http.ingress.rds.r.config_reload', 4);
      await answered(exchange, 'VHDS', 5);
      asked(exchange, 'VHDS');
      exchange.expectLog('access.log', 2);
    }),
    steps('the table changes, the hosts stay', async (exchange) => {
      await answered(exchange, 'VHDS', 1);
      await exchange.request(http('GET /', ['host: a.com']));
      tell(exchange.side, ROUTES, '2', [hosted('r', [host('fixed.com', 'changed')])]);
      await exchange.expectStat('http.ingress.rds.r.config_reload', 3);
      await exchange.request(http('GET /', ['host: fixed.com']));
      await exchange.request(http('GET /', ['host: a.com']));
      exchange.expectLog('access.log', 3);
    }),
    steps('a host that the server does not have', async (exchange) => {
      await answered(exchange, 'VHDS', 1);
      const client = await exchange.connect();
      client.send(http('GET /', ['host: none.com']));
      await answered(exchange, 'VHDS', 2);
      exchange.side.controlPlane!.absent(url(HOST), ['r/none.com']);
      await exchange.expectResponse(client);
      await exchange.request(http('GET /', ['host: a.com']));
      exchange.expectLog('access.log', 2);
    }),
    steps('a host that is no good is refused', async (exchange) => {
      await answered(exchange, 'VHDS', 1);
      await exchange.request(http('GET /', ['host: a.com']));
      tellHosts(exchange.side, '2', [
        { ...host('a.com', 'x'), routes: [{ match: { prefix: '/' } }] },
        host('b.com', 'b'),
      ]);
      await exchange.expectStat('http.ingress.rds.vhds.r.update_rejected', 1);
      await exchange.request(http('GET /', ['host: a.com']));
      await answered(exchange, 'VHDS', 4);
      asked(exchange, 'VHDS');
      exchange.expectLog('access.log', 2);
    }),
  ],
);

suite(
  'a virtual host on demand, and the cluster that it needs',
  {
    config: byAds(true),
    upstreams,
    controlPlane: (plane, side) => {
      plane.byNameOnly.add(url(HOST));
      tellHosts(side, '1', [{ ...host('a.com', ''), routes: [to('c1')] }]);
      tell(side, CLUSTER, '1', [clusterResource('c1', 'u1')]);
      tell(side, ROUTES, '1', [hosted('r')]);
      const hcm = { route_config: undefined, rds: { route_config_name: 'r', config_source: ADS } };
      const mark = (name: string): Fields => ({
        name,
        disabled: true,
        typed_config: {
          '@type': url('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'),
          mutations: { response_mutations: [{ append: { header: { key: 'x-seen', value: name } } }] },
        },
      });
      const filters = [
        httpFilter('fault', 'HTTPFault'),
        mark('before'),
        onDemand({ odcds: { source: ADS, timeout: '0.5s' } }),
        mark('behind'),
      ];
      tell(side, LISTENER, '1', [httpListener({ hcm, filters, log })]);
    },
    stats: [],
    fresh: true,
    upstreamBytes: false,
    log: 'access.log',
  },
  [
    steps('what its route says of filters counts', async (exchange) => {
      await answered(exchange, 'VHDS', 1);
      const filterConfig = (type: string, fields: Fields): Fields => ({ '@type': url(type), ...fields });
      const fault = filterConfig('envoy.extensions.filters.http.fault.v3.HTTPFault', {
        abort: { http_status: 418, percentage: { numerator: 100 } },
      });
      const on = filterConfig('envoy.config.route.v3.FilterConfig', { config: {} });
      tellHosts(exchange.side, '1', [
        { ...host('a.com', 'a'), typed_per_filter_config: { before: on } },
        { ...host('b.com', 'b'), typed_per_filter_config: { behind: on } },
        { ...host('c.com', 'c'), typed_per_filter_config: { 'envoy.filters.http.fault': fault } },
      ]);
      for (const name of ['a.com', 'b.com', 'c.com']) {
        for (let i = 0; i < 2; i++) await exchange.request(http('GET /', [`host: ${name}`]));
      }
      exchange.expectLog('access.log', 6);
    }),
    steps('both', async (exchange) => {
      await answered(exchange, 'VHDS', 1);
      await exchange.request(http('GET /', ['host: a.com']));
      await exchange.request(http('GET /', ['host: a.com']));
      exchange.expectLog('access.log', 2);
    }),
  ],
);

const withFilter = (fields: Fields): Fields => ({
  node,
  static_resources: {
    listeners: [httpListener({ routes: [says('x')], filters: [onDemand(fields)] })],
  },
});
validateSuite('on demand: verdicts', [
  refused('a negative timeout', withFilter({ odcds: { source: ADS, timeout: '-1s' } })),
]);

const tcp = (fields: Fields = {}): Fields =>
  tcpListener([
    tcpProxy({
      cluster: 'c1',
      access_log: [fileLog('%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %BYTES_SENT%')],
      on_demand: { odcds_config: deltaSource, timeout: '0.3s' },
      ...fields,
    }),
  ]);

suite(
  'clusters of TCP on demand',
  {
    config: { node, static_resources: { clusters: [planeCluster], listeners: [tcp()] } },
    upstreams,
    controlPlane: () => {},
    stats: [...clusterStats, /^tcp\.tcp\.(on_demand|downstream_cx_(total|no_route))/],
    fresh: true,
    upstreamBytes: false,
    log: 'access.log',
  },
  [
    steps('a cluster that comes', async (exchange) => {
      tell(exchange.side, CLUSTER, '1', [clusterResource('c1', 'u1')]);
      for (let i = 0; i < 2; i++) {
        const client = await exchange.connect();
        client.send(http('GET /', ['connection: close']));
        await exchange.expectResponse(client);
        client.end();
        await exchange.expectClose(client);
      }
      await answered(exchange, 'CDS', 2);
      asked(exchange, 'CDS');
      exchange.expectLog('access.log', 2);
    }),
    steps('one that does not come in time', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('GET /'));
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('one that does not exist any more', async (exchange) => {
      tell(exchange.side, CLUSTER, '1', [clusterResource('c1', 'u1')]);
      const client = await exchange.connect();
      client.send(http('GET /', ['connection: close']));
      await exchange.expectResponse(client);
      client.end();
      await exchange.expectClose(client);
      tell(exchange.side, CLUSTER, '2', []);
      await exchange.expectStat('cluster_manager.cluster_removed', 1);
      await exchange.expectClose(await exchange.connect());
      exchange.expectLog('access.log', 2);
    }),
  ],
);

suite(
  'clusters on demand over ADS',
  {
    config: byAds(true),
    upstreams,
    controlPlane: (_plane, side) => {
      tell(side, CLUSTER, '1', [clusterResource('c1', 'u1')]);
      tell(side, LISTENER, '1', [
        httpListener({
          routes: [byHeader()],
          filters: [onDemand({ odcds: { source: ADS, timeout: '0.4s' } })],
          log,
        }),
      ]);
    },
    stats: [/^cluster_manager\.(cluster_added|cluster_modified|cluster_removed|active_clusters|warming_clusters)$/],
    fresh: true,
    upstreamBytes: false,
    log: 'access.log',
  },
  [
    steps('fetched, changed, missing', async (exchange) => {
      await answered(exchange, 'LDS', 2);
      await exchange.request(toCluster('c1'));
      tell(exchange.side, CLUSTER, '2', [clusterResource('c1', 'u2')]);
      await exchange.expectStat('cluster_manager.cluster_modified', 1);
      await exchange.expectStat('cluster_manager.warming_clusters', 0);
      await exchange.request(toCluster('c1'));
      await exchange.request(toCluster('none'));
      await answered(exchange, 'CDS', 4);
      asked(exchange, 'CDS');
      exchange.expectLog('access.log', 3);
    }),
  ],
);
