/** `xdstp://` names: resources by such a name are asked for over ADS as by any other. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpListener, to } from './configs.ts';
import { ADS, apiType, ENDPOINTS, endpoints, planeApi, planeCluster, ROUTES, routes } from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { accepted, refused, steps, suite, validateSuite } from './harness.ts';
import { fillIn, type Side } from './side.ts';

const upstreams = { u1: httpUpstream(() => reply(200, 'one')), u2: httpUpstream(() => reply(200, 'two')) };
const url = (type: string): string => `type.googleapis.com/${type}`;
const ENDPOINTS_AT = `xdstp://authority/${ENDPOINTS}`;
const ROUTES_AT = `xdstp://authority/${ROUTES}/some/routes`;

function config(delta: boolean, service: string): Fields {
  return {
    node: { id: 'node-1', cluster: 'tests' },
    dynamic_resources: { ads_config: planeApi(apiType(delta)) },
    static_resources: {
      clusters: [
        planeCluster,
        {
          name: 'c1',
          type: 'EDS',
          connect_timeout: '1s',
          eds_cluster_config: { eds_config: ADS, service_name: service },
        },
      ],
      listeners: [
        httpListener({
          hcm: { route_config: undefined, rds: { route_config_name: ROUTES_AT, config_source: ADS } },
        }),
      ],
    },
  };
}

function say(side: Side, type: string, version: string, resources: readonly Fields[]): void {
  side.controlPlane!.set(url(type), version, JSON.parse(fillIn(resources, side.tmp, side.ports)) as Fields[]);
}

function requests(exchange: Exchange): void {
  for (const short of ['EDS', 'RDS']) {
    const lines = (exchange.side.controlPlane!.requests.get(short) ?? []).map((each) => JSON.stringify(each));
    exchange.note(`requests ${short}`, lines.join('\n'));
  }
}

for (const delta of [false, true]) {
  for (const [title, service, answeredAs] of [
    ['plain', `${ENDPOINTS_AT}/one`, `${ENDPOINTS_AT}/one`],
    ['without authority', `xdstp:///${ENDPOINTS}/one`, `xdstp:///${ENDPOINTS}/one`],
    ['with context parameters in order', `${ENDPOINTS_AT}/one?a=1&b=2`, `${ENDPOINTS_AT}/one?a=1&b=2`],
  ] as const) {
    suite(
      `xdstp names, ${delta ? 'delta' : 'state of the world'}, ${title}`,
      {
        config: config(delta, service),
        upstreams,
        fresh: true,
        upstreamBytes: false,
        stats: [/^cluster\.c1\.(update_(attempt|success|rejected)|membership_total)/],
        controlPlane: (_plane, side) => {
          say(side, ENDPOINTS, '1', [endpoints(answeredAs, ['u1']), endpoints(service, ['u1'])]);
          say(side, ROUTES, '1', [routes(ROUTES_AT, [to('c1')])]);
        },
      },
      [
        steps('start, and other endpoints', async (exchange) => {
          await exchange.expectStat('cluster.c1.membership_total', 1);
          await exchange.refreshListeners();
          await exchange.request(http('GET /'));
          say(exchange.side, ENDPOINTS, '2', [endpoints(answeredAs, ['u2']), endpoints(service, ['u2'])]);
          await exchange.expect(
            'an answer to it',
            () => (exchange.side.controlPlane!.requests.get('EDS')?.length ?? 0) >= 3,
          );
          await exchange.request(http('GET /'));
          requests(exchange);
        }),
      ],
    );
  }
}

const bootstrap = (more: Fields, service = `${ENDPOINTS_AT}/one`, source: Fields | null = ADS): Fields => ({
  node: { id: 'node-1', cluster: 'tests' },
  static_resources: {
    clusters: [
      { ...cluster('u1'), name: 'xds' },
      {
        name: 'c1',
        type: 'EDS',
        connect_timeout: '1s',
        eds_cluster_config: { ...(source === null ? {} : { eds_config: source }), service_name: service },
      },
    ],
  },
  ...more,
});
const withAds = (more: Fields = {}): Fields => ({
  dynamic_resources: { ads_config: planeApi(apiType(true)), ...more },
});

validateSuite('xdstp names', [
  accepted('over ADS', bootstrap(withAds())),
  accepted('over a stream of its own', bootstrap({}, undefined, { api_config_source: planeApi(apiType(true)) })),
  refused('of endpoints, without a source', bootstrap(withAds(), undefined, null)),
  refused(
    'over a source of aggregated type',
    bootstrap({}, undefined, { api_config_source: { ...planeApi(apiType(true)), api_type: 'AGGREGATED_DELTA_GRPC' } }),
  ),
  refused(
    'a collection of another type',
    bootstrap(withAds({ cds_config: ADS, cds_resources_locator: `xdstp://a/${ENDPOINTS}/*` })),
  ),
  refused('a collection that is none', bootstrap(withAds({ cds_config: ADS, cds_resources_locator: 'nonsense' }))),
]);
