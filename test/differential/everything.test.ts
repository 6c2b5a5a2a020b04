/** Everything that can be discovered, at once: which stats there are, and what admin shows of it. */
import { altNames, dns, makeCertificate } from '../support/certificate-maker.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { type Fields, http, httpFilter, httpListener, router, to, typed } from './configs.ts';
import {
  ADS,
  apiType,
  CLUSTER,
  clusterResource,
  ENDPOINTS,
  endpoints,
  LISTENER,
  planeApi,
  planeCluster,
  ROUTES,
  says,
  tell,
} from './discovery.ts';
import { type Exchange, sortedJson } from './exchange.ts';
import { steps, suite } from './harness.ts';
import type { Side } from './side.ts';

const url = (type: string): string => `type.googleapis.com/${type}`;
const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
const RUNTIME = 'envoy.service.runtime.v3.Runtime';
const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const HOST = 'envoy.config.route.v3.VirtualHost';
const EXTENSION = 'envoy.config.core.v3.TypedExtensionConfig';
const certificate = makeCertificate({ cn: 'everything', extensions: [altNames(dns('everything'))] });
const upstreams = { u1: httpUpstream(() => reply(200, 'one')), u2: httpUpstream(() => reply(200, 'two')) };
const own = (type: string): Fields => ({ api_config_source: planeApi(type), resource_api_version: 'V3' });

function config(delta: boolean): Fields {
  return {
    node: { id: 'node-1', cluster: 'tests', locality: { region: 'r', zone: 'z' } },
    dynamic_resources: { ads_config: planeApi(apiType(delta)), lds_config: ADS, cds_config: ADS },
    layered_runtime: {
      layers: [
        { name: 'fixed', static_layer: { a: 1 } },
        { name: 'told', rtds_layer: { name: 'told', rtds_config: ADS } },
        { name: 'by-hand', admin_layer: {} },
      ],
    },
    cluster_manager: { load_stats_config: planeApi('GRPC') },
    static_resources: { clusters: [planeCluster], secrets: [] },
  };
}

const eds = (name: string, source: Fields, more: Fields = {}): Fields =>
  typed(CLUSTER, { name, type: 'EDS', connect_timeout: '1s', eds_cluster_config: { eds_config: source }, ...more });

const common = { common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'cert', sds_config: ADS }] } };
const upstreamTls: Fields = {
  transport_socket: {
    name: 'tls',
    typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
      common_tls_context: { validation_context_sds_secret_config: { name: 'ca', sds_config: own('GRPC') } },
    }),
  },
};

const placed: Fields = {
  ...endpoints('c1', []),
  endpoints: [
    {
      locality: { region: 'r', zone: 'z', sub_zone: 's' },
      load_balancing_weight: 3,
      lb_endpoints: [
        { endpoint: { address: '{{upstream:u1}}', hostname: 'one' }, load_balancing_weight: 2 },
        { endpoint: { address: '{{upstream:u2}}' }, health_status: 'DRAINING' },
      ],
    },
    { locality: { region: 'r', zone: 'y' }, lb_endpoints: [{ endpoint: { address: '{{upstream:u2}}' } }] },
    { priority: 1, lb_endpoints: [{ endpoint: { address: '{{upstream:u2}}' } }] },
  ],
  policy: { overprovisioning_factor: 200, drop_overloads: [{ category: 'x', drop_percentage: { numerator: 1 } }] },
};

function everything(delta: boolean, side: Side): void {
  const stream = own(delta ? 'DELTA_GRPC' : 'GRPC');
  tell(side, CLUSTER, '1', [
    eds('c1', ADS),
    eds('c2', stream, { common_lb_config: { locality_weighted_lb_config: {} } }),
    clusterResource('c3', 'u2', upstreamTls),
    clusterResource('c4', 'u2', {
      type: 'STRICT_DNS',
      load_assignment: {
        cluster_name: 'c4',
        endpoints: [
          { lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: 1 } } } }] },
        ],
      },
    }),
  ]);
  tell(side, ENDPOINTS, '1', [placed, { ...placed, cluster_name: 'c2' }]);
  tell(side, SECRET, '1', [
    {
      name: 'cert',
      tls_certificate: {
        certificate_chain: { inline_string: certificate.pem },
        private_key: { inline_string: certificate.keyPem },
      },
    },
    { name: 'ca', validation_context: { trusted_ca: { inline_string: certificate.pem } } },
  ]);
  tell(side, RUNTIME, '1', [{ name: 'told', layer: { b: 2 } }]);
  tell(side, EXTENSION, '1', [
    { name: 'fault', typed_config: typed('envoy.extensions.filters.http.fault.v3.HTTPFault') },
  ]);
  const fault = {
    name: 'fault',
    config_discovery: { config_source: ADS, type_urls: [url('envoy.extensions.filters.http.fault.v3.HTTPFault')] },
  };
  const filters = [fault, httpFilter('on_demand', 'OnDemand')];
  const byRds = { route_config: undefined, rds: { route_config_name: 'r1', config_source: ADS } };
  const byOwn = {
    stat_prefix: 'own',
    route_config: undefined,
    rds: { route_config_name: 'r2', config_source: stream },
  };
  const scoped = {
    stat_prefix: 'scoped',
    route_config: undefined,
    scoped_routes: {
      name: 'scopes',
      scope_key_builder: { fragments: [{ header_value_extractor: { name: 'x-scope', index: 0 } }] },
      rds_config_source: ADS,
      scoped_rds: { scoped_rds_config_source: ADS },
    },
  };
  const secured = httpListener({ name: 'b', hcm: byOwn }) as { filter_chains: Fields[] };
  tell(side, LISTENER, '1', [
    httpListener({ hcm: byRds, filters }),
    {
      ...secured,
      filter_chains: [
        {
          ...secured.filter_chains[0],
          transport_socket: {
            name: 'tls',
            typed_config: typed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', common),
          },
        },
      ],
    },
    httpListener({ name: 'c', hcm: scoped, filters: [httpFilter('on_demand', 'OnDemand'), router()].slice(0, 1) }),
  ]);
  tell(side, ROUTES, '1', [
    {
      name: 'r1',
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [says('x', '/x'), to('c1')] }],
    },
    {
      name: 'r2',
      virtual_hosts: [{ name: 'all', domains: ['b.com'], routes: [to('c2')] }],
      ...(delta ? { vhds: { config_source: { ...ADS, initial_fetch_timeout: '0.2s' } } } : {}),
    },
    { name: 'r3', virtual_hosts: [{ name: 'all', domains: ['*'], routes: [to('c3')] }] },
  ]);
  tell(side, SCOPE, '1', [
    { name: 's1', key: { fragments: [{ string_key: 'one' }] }, route_configuration_name: 'r3' },
    {
      name: 's0',
      key: { fragments: [{ string_key: 'two' }] },
      route_configuration: { name: 'inline', virtual_hosts: [{ name: 'v', domains: ['*'], routes: [says('two')] }] },
    },
  ]);
}

async function settled(exchange: Exchange): Promise<void> {
  await exchange.expect('LIVE', async () => (await exchange.proxy.admin('/ready')).status === 200);
  await exchange.expectStat('listener_manager.total_listeners_active', 3);
  await exchange.expectStat('cluster_manager.active_clusters', 5);
  // Discovery in all its streams, and the reports of load.
  await exchange.expectStat('cluster.xds.upstream_rq_active', 5);
  await exchange.refreshListeners();
}

/** Names of all that is counted, without values. */
async function names(exchange: Exchange): Promise<void> {
  const { body } = await exchange.proxy.admin('/stats?format=text');
  const list = body
    .split('\n')
    .map((line) => line.slice(0, line.indexOf(': ')))
    .filter((name) => name !== '');
  exchange.note('names', list.sort().join('\n'));
}

const TIMES = /"(last_updated|last_update_attempt)": "([^"]+)"/g;

const nameOf = (entry: Fields): string => String((entry.route_config as Fields).name);

/** Every time in a dump is one of this test. */
function sinceWhen(found: string, field: string, time: string): string {
  const ageMs = Date.now() - Date.parse(time);
  return ageMs >= -1000 && ageMs < 60_000 ? `"${field}": "just now"` : found;
}

/** A page in order, without times and without the bootstrap, which tells what each proxy is made of. */
async function page(exchange: Exchange, path: string): Promise<void> {
  const { body, status } = await exchange.proxy.admin(path);
  // Protobuf changes the white space of what is for people, on purpose.
  let text = `${status} ${body.replace(/goo.gle\/debug\w+\s+/g, '')}`;
  if (status === 200) {
    const whole = JSON.parse(body) as { configs?: Fields[]; cluster_statuses?: Fields[]; listener_statuses?: Fields[] };
    for (const each of whole.configs ?? []) {
      (each.dynamic_route_configs as Fields[] | undefined)?.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
    }
    // Nor clusters.
    whole.cluster_statuses?.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
    const configs = whole.configs
      ?.filter((each) => !String(each['@type']).endsWith('BootstrapConfigDump'))
      .map((each) => sortedJson(JSON.stringify(each)).replace(TIMES, sinceWhen));
    // Envoy keeps routes and secrets in no order.
    text = configs === undefined ? sortedJson(JSON.stringify(whole)) : configs.sort().join('\n');
  }
  for (const [name, port] of [...exchange.side.ports, ...exchange.side.listeners]) {
    text = text.replaceAll(`"port_value": ${port}`, `"port_value": "${name}"`);
  }
  exchange.note(path, text);
}

for (const delta of [false, true]) {
  suite(
    `everything at once, ${delta ? 'delta' : 'state of the world'}`,
    {
      config: config(delta),
      upstreams,
      controlPlane: (plane, side) => {
        plane.byNameOnly.add(url(HOST));
        everything(delta, side);
      },
      upstreamBytes: false,
    },
    [
      steps('names of stats', async (exchange) => {
        await settled(exchange);
        // Answered here: which host takes a request, or whether it is dropped, is drawn.
        await exchange.request(http('GET /x'));
        await names(exchange);
      }),
      ...[
        '/config_dump?resource=dynamic_active_clusters',
        '/config_dump?resource=dynamic_listeners',
        '/config_dump?resource=dynamic_route_configs',
        '/config_dump?resource=dynamic_scoped_route_configs',
        '/config_dump?resource=dynamic_active_secrets',
        '/config_dump?resource=ecds_filters',
        '/config_dump?include_eds&resource=dynamic_endpoint_configs',
        '/config_dump?include_eds&resource=static_endpoint_configs',
        '/config_dump?include_eds&mask=dynamic_endpoint_configs.endpoint_config.policy',
        '/config_dump?resource=dynamic_endpoint_configs',
        '/config_dump?mask=dynamic_listeners.name',
        '/config_dump?mask=configs',
        '/config_dump?resource=dynamic_listeners&mask=nothing',
        '/config_dump?resource=dynamic_active_clusters&mask=cluster.name,cluster.type,version_info&name_regex=c[12]',
        '/config_dump?name_regex=r[12]',
        '/init_dump',
        '/init_dump?mask=listener',
        '/clusters?format=json',
        '/runtime',
        '/listeners?format=json',
      ].map((path) =>
        steps(path, async (exchange) => {
          await settled(exchange);
          await page(exchange, path);
        }),
      ),
    ],
  );
}

const fixedCluster = (more: Fields = {}): Fields => clusterResource('c1', 'u1', more);
for (const delta of [false, true]) {
  suite(
    `a cluster changes its kind, ${delta ? 'delta' : 'state of the world'}`,
    {
      config: config(delta),
      upstreams,
      controlPlane: (_plane, side) => {
        tell(side, CLUSTER, '1', [eds('c1', ADS)]);
        tell(side, ENDPOINTS, '1', [endpoints('c1', ['u1'])]);
        tell(side, LISTENER, '1', [httpListener({ routes: [to('c1')] })]);
        tell(side, RUNTIME, '1', [{ name: 'told', layer: { b: 2 } }]);
      },
      stats: [
        // What is counted by status goes with the old cluster, once its last connection has ended.
        /^cluster\.c1\.(update_(attempt|success|failure|rejected|empty|no_rebuild)|membership|assignment|max_host_weight)/,
        'cluster_manager.cluster_',
      ],
      fresh: true,
      upstreamBytes: false,
    },
    [
      steps('from EDS to STATIC, and back', async (exchange) => {
        await exchange.expect('LIVE', async () => (await exchange.proxy.admin('/ready')).status === 200);
        await exchange.refreshListeners();
        await exchange.request(http('GET /'));
        await counts(exchange, 'EDS');
        tell(exchange.side, CLUSTER, '2', [fixedCluster()]);
        await exchange.expectStat('cluster_manager.cluster_modified', 1);
        await exchange.expectStat('cluster_manager.warming_clusters', 0);
        await exchange.request(http('GET /'));
        await counts(exchange, 'STATIC');
        tell(exchange.side, ENDPOINTS, '2', [endpoints('c1', ['u2'])]);
        tell(exchange.side, CLUSTER, '3', [eds('c1', ADS)]);
        await exchange.expectStat('cluster_manager.cluster_modified', 2);
        await exchange.expectStat('cluster_manager.warming_clusters', 0);
        await exchange.request(http('GET /'));
        await counts(exchange, 'EDS again');
      }),
      steps('it goes, and comes again', async (exchange) => {
        await exchange.expect('LIVE', async () => (await exchange.proxy.admin('/ready')).status === 200);
        await exchange.refreshListeners();
        await exchange.request(http('GET /'));
        tell(exchange.side, CLUSTER, '2', []);
        await exchange.expectStat('cluster_manager.cluster_removed', 1);
        await exchange.request(http('GET /'));
        await counts(exchange, 'gone');
        tell(exchange.side, CLUSTER, '3', [fixedCluster()]);
        await exchange.expectStat('cluster_manager.cluster_added', 3);
        await exchange.request(http('GET /'));
        await counts(exchange, 'there again');
      }),
    ],
  );
}

async function counts(exchange: Exchange, when: string): Promise<void> {
  const { body } = await exchange.proxy.admin(
    '/stats?filter=^cluster.c1.(update_(att|suc|rej|fail|empty|no)|member|version_text|upstream_rq_total|assignment)',
  );
  exchange.note(
    when,
    body
      .split('\n')
      .filter((line) => !/duration|update_time/.test(line))
      .join('\n'),
  );
}
