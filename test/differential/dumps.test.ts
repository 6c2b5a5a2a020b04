/** `/config_dump` and `/init_dump` of what is discovered: whole messages, as far as they do not speak of time. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, to, typed } from './configs.ts';
import {
  ADS,
  adsBootstrap,
  apiType,
  CLUSTER,
  clusterResource,
  ENDPOINTS,
  endpoints,
  LISTENER,
  listenerResource,
  planeApi,
  planeCluster,
  ROUTES,
  routes,
} from './discovery.ts';
import { type Exchange, sortedJson } from './exchange.ts';
import { steps, suite } from './harness.ts';
import { fillIn, type Side } from './side.ts';

const upstreams = { u1: httpUpstream(() => reply(200, 'one')), u2: httpUpstream(() => reply(200, 'two')) };
const url = (type: string): string => `type.googleapis.com/${type}`;
const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
const ads = { ...ADS, initial_fetch_timeout: '0s' };

function config(delta: boolean): Fields {
  const clusters = [
    planeCluster,
    { ...cluster('u1'), name: 'fixed' },
    { name: 'by-eds', type: 'EDS', connect_timeout: '1s', eds_cluster_config: { eds_config: ads } },
  ];
  const sources = { lds_config: ads, cds_config: ads };
  return adsBootstrap(planeApi(apiType(delta)), sources, { static_resources: { clusters } });
}

const eds = (name: string, more: Fields = {}): Fields => ({
  '@type': url(CLUSTER),
  name,
  type: 'EDS',
  connect_timeout: '1s',
  eds_cluster_config: { eds_config: ads, ...more },
});

const tls = (name: string): Fields => ({
  transport_socket: {
    name: 'tls',
    typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
      common_tls_context: { validation_context_sds_secret_config: { name, sds_config: ads } },
    }),
  },
});

function say(side: Side, type: string, version: string, resources: readonly Fields[]): void {
  side.controlPlane!.set(url(type), version, JSON.parse(fillIn(resources, side.tmp, side.ports)) as Fields[]);
}

const byRds = (name: string): Fields => ({
  route_config: undefined,
  rds: { route_config_name: name, config_source: ads },
});

const placed: Fields = {
  ...endpoints('c1', []),
  endpoints: [
    {
      locality: { region: 'r', zone: 'z', sub_zone: 's' },
      load_balancing_weight: 3,
      lb_endpoints: [
        {
          endpoint: { address: '{{upstream:u1}}', hostname: 'one' },
          health_status: 'HEALTHY',
          load_balancing_weight: 2,
          metadata: { filter_metadata: { 'envoy.lb': { canary: true, stage: 'x' } } },
        },
        { endpoint: { address: '{{upstream:u2}}' }, health_status: 'DRAINING' },
      ],
    },
    { priority: 1, lb_endpoints: [{ endpoint: { address: '{{upstream:u2}}' } }] },
  ],
};

function everything(side: Side): void {
  say(side, CLUSTER, '1', [eds('c1'), eds('c2', { service_name: 's2' }), clusterResource('c3', 'u2')]);
  say(side, ENDPOINTS, '1', [placed, endpoints('s2', ['u2']), endpoints('by-eds', ['u1'])]);
  say(side, LISTENER, '1', [listenerResource({ hcm: byRds('r1') })]);
  say(side, ROUTES, '1', [routes('r1', [to('c1')])]);
}

/** Settled, as far as the start goes. */
async function live(exchange: Exchange): Promise<void> {
  await exchange.expect('LIVE', async () => (await exchange.proxy.admin('/ready')).status === 200);
  await exchange.refreshListeners();
}

const TIMES = /"(last_updated|last_update_attempt)": "[^"]+"/g;

/** A dump without the bootstrap, without times, without the words of refusals. */
async function dump(exchange: Exchange, query = '', path = '/config_dump'): Promise<void> {
  const answer = await exchange.proxy.admin(`${path}${query}`);
  if (answer.status !== 200) {
    exchange.note(`${path}${query}`, `${answer.status} ${answer.body}`);
    return;
  }
  const whole = JSON.parse(answer.body) as { configs?: Fields[] };
  const configs = (whole.configs ?? []).filter((each) => !String(each['@type']).endsWith('BootstrapConfigDump'));
  // Envoy keeps routes in no order.
  configs.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  let text = sortedJson(JSON.stringify('configs' in whole ? configs : whole));
  text = text.replace(TIMES, '"$1": "T"').replace(/"details": ".*"/g, '"details": "D"');
  for (const [name, port] of exchange.side.ports)
    text = text.replaceAll(`"port_value": ${port}`, `"port_value": "${name}"`);
  exchange.note(`${path}${query}`, text);
}

for (const delta of [false, true]) {
  suite(
    `dumps of what is discovered, ${delta ? 'delta' : 'state of the world'}`,
    {
      config: config(delta),
      upstreams,
      controlPlane: (_plane, side) => everything(side),
      fresh: true,
      upstreamBytes: false,
    },
    [
      steps('clusters, listeners, routes', async (exchange) => {
        await live(exchange);
        await dump(exchange);
      }),
      steps('endpoints', async (exchange) => {
        await live(exchange);
        await dump(exchange, '?include_eds&resource=dynamic_endpoint_configs');
        await dump(exchange, '?include_eds&resource=static_endpoint_configs');
        await dump(exchange, '?include_eds&name_regex=s.*&mask=dynamic_endpoint_configs');
        await dump(exchange, '?resource=dynamic_endpoint_configs');
      }),
      steps('by name, by mask', async (exchange) => {
        await live(exchange);
        await dump(exchange, '?name_regex=c1');
        await dump(exchange, '?name_regex=.*1');
        await dump(exchange, '?resource=dynamic_active_clusters&mask=cluster.name,version_info');
        await dump(exchange, '?resource=dynamic_active_clusters&name_regex=c[23]');
        await dump(exchange, '?resource=dynamic_route_configs&mask=route_config.virtual_hosts');
        await dump(exchange, '?resource=dynamic_listeners&mask=active_state.version_info');
        await dump(exchange, '?mask=dynamic_active_clusters');
        await dump(exchange, '?resource=version_info');
        await dump(exchange, '?resource=nothing');
      }),
      steps('a cluster that waits for its endpoints', async (exchange) => {
        await live(exchange);
        say(exchange.side, CLUSTER, '2', [eds('c1'), eds('c4')]);
        await exchange.expectStat('cluster_manager.warming_clusters', 1);
        await dump(exchange, '?resource=dynamic_warming_clusters');
        await dump(exchange, '?mask=version_info');
      }),
      steps('a cluster that waits for its secret', async (exchange) => {
        await live(exchange);
        say(exchange.side, CLUSTER, '2', [eds('c1'), { ...clusterResource('c4', 'u1'), ...tls('ca') }]);
        await exchange.expectStat('cluster_manager.warming_clusters', 1);
        await dump(exchange, '?resource=dynamic_warming_clusters&mask=cluster.name,version_info');
        await dump(exchange, '?resource=dynamic_warming_secrets');
        await dump(exchange, '?resource=dynamic_active_secrets');
        say(exchange.side, SECRET, '1', [
          typed(SECRET, {
            name: 'ca',
            validation_context: { trust_chain_verification: 'ACCEPT_UNTRUSTED' },
          }),
        ]);
        await exchange.expectStat('cluster_manager.warming_clusters', 0);
        await dump(exchange, '?resource=dynamic_warming_secrets');
        await dump(exchange, '?resource=dynamic_active_secrets');
      }),
      steps('a listener that waits for its routes', async (exchange) => {
        await live(exchange);
        say(exchange.side, LISTENER, '2', [
          listenerResource({ hcm: byRds('r1') }),
          listenerResource({ name: 'b', hcm: byRds('r2') }),
        ]);
        await exchange.expectStat('listener_manager.total_listeners_warming', 1);
        await dump(
          exchange,
          '?resource=dynamic_listeners&mask=name,warming_state.version_info,active_state.version_info',
        );
        await dump(exchange, '?resource=dynamic_route_configs&mask=version_info');
        say(exchange.side, ROUTES, '2', [routes('r1', [to('c1')]), routes('r2', [to('c2')])]);
        await exchange.expectStat('listener_manager.total_listeners_warming', 0);
        await dump(exchange, '?resource=dynamic_route_configs&mask=version_info,route_config.name');
      }),
      steps('a listener and a cluster that are refused', async (exchange) => {
        await live(exchange);
        say(exchange.side, LISTENER, '2', [
          listenerResource({ hcm: byRds('r1') }),
          { ...listenerResource({ name: 'b' }), filter_chains: [{ filters: [{ name: 'nothing' }] }] },
        ]);
        await exchange.expectStat('listener_manager.lds.update_rejected', 1);
        await dump(exchange, '?resource=dynamic_listeners');
        say(exchange.side, CLUSTER, '2', [eds('c1'), { ...eds('c4'), lb_policy: 'CLUSTER_PROVIDED' }]);
        await exchange.expectStat('cluster_manager.cds.update_rejected', 1);
        await dump(exchange, '?mask=version_info');
        await dump(
          exchange,
          '?resource=dynamic_active_clusters&mask=cluster.name,version_info,error_state,client_status',
        );
      }),
    ],
  );
}
