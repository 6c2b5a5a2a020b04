import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { httpUpstream, reply, type SeenRequest } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, to, typed } from './configs.ts';
import {
  answer,
  CLUSTER,
  clusterResource,
  dumpStates,
  endpoints,
  listenerResource,
  routes,
  says,
} from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { accepted, type Case, refused, steps, suite, validateSuite } from './harness.ts';

/** What each side's control plane was asked, by the side's folder, which is the node's id. */
const asked = new Map<string, SeenRequest[]>();

interface Ask {
  readonly version_info?: string;
  readonly node?: { readonly id?: string; readonly cluster?: string };
  readonly resource_names?: readonly string[];
  readonly type_url?: string;
}

/** Serves `<what>.json` of the side's folder as `/v3/discovery:<what>`, with the status in `<what>.status`. */
const plane = httpUpstream(async (request) => {
  const tmp = (JSON.parse(request.body) as Ask).node?.id ?? '';
  const list = asked.get(tmp);
  if (list === undefined) asked.set(tmp, [request]);
  else list.push(request);
  const what = request.path.replace('/v3/discovery:', '');
  const read = (name: string): string | null => {
    const path = join(tmp, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : null;
  };
  const status = read(`${what}.status`)?.trim() ?? '200';
  if (status === 'silence') {
    await new Promise(() => {});
    return undefined;
  }
  const body = read(`${what}.json`);
  if (body === null) return reply(404, 'nothing here');
  return reply(Number(status), status === '304' ? '' : body, ['content-type: application/json']);
});

const upstreams = {
  rest: plane,
  u1: httpUpstream(() => reply(200, 'one')),
  u2: httpUpstream(() => reply(200, 'two')),
};

function rest(more: Fields = {}, source: Fields = {}): Fields {
  return {
    resource_api_version: 'V3',
    api_config_source: {
      api_type: 'REST',
      transport_api_version: 'V3',
      cluster_names: ['plane'],
      refresh_delay: '0.04s',
      // On a busy machine the default, a second, is at times not enough.
      request_timeout: '4s',
      ...more,
    },
    ...source,
  };
}

function bootstrap(cds: Fields = rest(), lds: Fields = rest()): Fields {
  return {
    node: { id: '{{tmp}}', cluster: 'tests' },
    dynamic_resources: { cds_config: cds, lds_config: lds },
    static_resources: { clusters: [{ ...cluster('rest'), name: 'plane' }] },
  };
}

const eds: Fields = {
  '@type': `type.googleapis.com/${CLUSTER}`,
  name: 'c1',
  type: 'EDS',
  connect_timeout: '1s',
  eds_cluster_config: { eds_config: rest(), service_name: 's1' },
};
const byRds = { route_config: undefined, rds: { route_config_name: 'r1', config_source: rest() } };
const files = {
  'clusters.json': answer('c-1', [eds]),
  'endpoints.json': answer('e-1', [endpoints('s1', ['u1'])]),
  'listeners.json': answer('l-1', [listenerResource({ hcm: byRds })]),
  'routes.json': answer('r-1', [routes('r1', [to('c1')])]),
};
const get = http('GET /');

/** What is said of one kind of resource: each request once, in order. */
function noteAsked(exchange: Exchange, what: string, kinds = 1): void {
  const lines: string[] = [];
  for (const request of asked.get(exchange.side.tmp) ?? []) {
    if (request.path !== `/v3/discovery:${what}`) continue;
    const ask = JSON.parse(request.body) as Ask;
    const heads = request.text
      .slice(0, request.text.indexOf('\r\n\r\n'))
      .split('\r\n')
      .map((line) => line.replace(/^(content-length): \d+/i, '$1: N'));
    const said = [
      ...heads,
      ask.version_info ?? '-',
      ask.type_url,
      ask.resource_names?.join() ?? '-',
      ask.node?.cluster,
    ];
    const text = said.join('\n');
    if (lines.at(-1) !== text) lines.push(text);
  }
  exchange.note(`asked for ${what}`, lines.slice(0, kinds).join('\n\n'));
}

/** Waits until a later request tells the version. */
function told(exchange: Exchange, what: string, version: string): Promise<void> {
  return exchange.expect(`${version} of ${what} to be told`, () =>
    (asked.get(exchange.side.tmp) ?? []).some(
      (request) =>
        request.path === `/v3/discovery:${what}` && (JSON.parse(request.body) as Ask).version_info === version,
    ),
  );
}

async function until(exchange: Exchange, stat: string): Promise<void> {
  await exchange.expect(`${stat} to be counted`, async () => (await exchange.stat(stat)) > 0);
}

async function noteStats(exchange: Exchange, pattern: RegExp): Promise<void> {
  const { body } = await exchange.proxy.admin('/stats');
  const lines = body.split('\n').filter((line) => pattern.test(line));
  // Numbers of attempts are left to chance.
  exchange.note('counted', lines.map((line) => line.replace(/: [1-9]\d*$/, ': some')).join('\n'));
}

const updates =
  /^(cluster_manager\.cds|listener_manager\.lds|cluster\.c1|http\.ingress\.rds\.r1)\.(update_(success|rejected)|init_fetch_timeout|version_text)/;

function cases(): Case[] {
  return [
    steps('the start', async (exchange) => {
      const versions = { clusters: 'c-1', endpoints: 'e-1', listeners: 'l-1', routes: 'r-1' };
      for (const [what, version] of Object.entries(versions)) await told(exchange, what, version);
      await exchange.refreshListeners();
      await exchange.request(get);
      for (const what of Object.keys(versions)) noteAsked(exchange, what, 2);
      await dumpStates(exchange);
      await noteStats(exchange, updates);
    }),
    steps('a cluster is added, then removed', async (exchange) => {
      exchange.side.write('clusters.json', answer('c-2', [eds, clusterResource('c2', 'u2')]));
      await told(exchange, 'clusters', 'c-2');
      exchange.side.write('routes.json', answer('r-2', [routes('r1', [to('c2')])]));
      await told(exchange, 'routes', 'r-2');
      await exchange.refreshListeners();
      await exchange.request(get);
      exchange.side.write('clusters.json', answer('c-3', [eds]));
      await told(exchange, 'clusters', 'c-3');
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('endpoints change', async (exchange) => {
      await told(exchange, 'endpoints', 'e-1');
      await exchange.refreshListeners();
      await exchange.request(get);
      exchange.side.write('endpoints.json', answer('e-2', [endpoints('s1', ['u2'])]));
      await told(exchange, 'endpoints', 'e-2');
      await exchange.request(get);
    }),
    steps('a listener goes', async (exchange) => {
      await told(exchange, 'routes', 'r-1');
      exchange.side.write('listeners.json', answer('l-2', []));
      await told(exchange, 'listeners', 'l-2');
      await dumpStates(exchange);
    }),
    steps('a cluster that is refused: the last version is told again', async (exchange) => {
      await told(exchange, 'clusters', 'c-1');
      exchange.side.write('clusters.json', answer('c-2', [eds, { ...eds, name: 'c2', lb_policy: 'CLUSTER_PROVIDED' }]));
      await until(exchange, 'cluster_manager.cds.update_rejected');
      const before = asked.get(exchange.side.tmp)?.length ?? 0;
      await exchange.expect('more', () => (asked.get(exchange.side.tmp)?.length ?? 0) > before + 8);
      noteAsked(exchange, 'clusters', 5);
      await dumpStates(exchange);
      await noteStats(exchange, updates);
    }),
    steps('what is no answer', async (exchange) => {
      await told(exchange, 'routes', 'r-1');
      exchange.side.write('clusters.json', '{"version_info": ');
      await until(exchange, 'cluster_manager.cds.update_rejected');
      exchange.side.write('listeners.json', answer('l-2', [eds]));
      await until(exchange, 'listener_manager.lds.update_rejected');
      exchange.side.write('endpoints.json', answer('e-2', [endpoints('s1', ['u1']), endpoints('s2', ['u1'])]));
      await until(exchange, 'cluster.c1.update_rejected');
      exchange.side.write('routes.json', answer('r-2', [routes('another', [says('x')])]));
      await until(exchange, 'http.ingress.rds.r1.update_rejected');
      await exchange.refreshListeners();
      await exchange.request(get);
      await noteStats(exchange, updates);
    }),
    steps('nothing new, by status 304', async (exchange) => {
      await told(exchange, 'clusters', 'c-1');
      exchange.side.write('clusters.status', '304');
      const count = (name: string): Promise<number> => exchange.stat(`cluster_manager.cds.update_${name}`);
      const [attempts, successes, failures] = [await count('attempt'), await count('success'), await count('failure')];
      await exchange.expect('more attempts', async () => (await count('attempt')) > attempts + 5);
      exchange.note('successes', String((await count('success')) - successes < 3));
      exchange.note('failures', String((await count('failure')) - failures));
      await noteStats(exchange, /^cluster_manager\.cds\.(update_rejected|version_text)/);
      exchange.side.write('clusters.json', answer('c-2', [eds, clusterResource('c2', 'u2')]));
      exchange.side.write('clusters.status', '200');
      await told(exchange, 'clusters', 'c-2');
    }),
    steps('errors of the server, and back', async (exchange) => {
      await told(exchange, 'clusters', 'c-1');
      exchange.side.write('clusters.status', '500');
      await until(exchange, 'cluster_manager.cds.update_failure');
      await noteStats(exchange, /^cluster_manager\.cds\.update_(failure|rejected|success)/);
      exchange.side.write('clusters.json', answer('c-2', [eds, clusterResource('c2', 'u2')]));
      exchange.side.write('clusters.status', '200');
      await told(exchange, 'clusters', 'c-2');
      await dumpStates(exchange);
    }),
  ];
}

suite('REST discovery', { config: bootstrap(), files, upstreams, fresh: true, upstreamBytes: false }, cases());

suite(
  'REST discovery, asked once',
  {
    config: bootstrap(rest({ refresh_delay: '1000s' }), rest({ refresh_delay: '1000s' })),
    files: { ...files, 'clusters.json': answer('c-1', [clusterResource('c1', 'u1')]) },
    upstreams,
    fresh: true,
    upstreamBytes: false,
  },
  [
    steps(
      'counts',
      async (exchange) => {
        await told(exchange, 'routes', 'r-1');
        await exchange.admin('/stats', {
          pick: /^(cluster_manager\.cds|listener_manager\.lds)\.(update_(attempt|success|failure|rejected)|init_fetch_timeout|version_text|version):|^control_plane/,
        });
        await exchange.admin('/stats', {
          pick: /^cluster\.plane\.(upstream_rq_(200|2xx|completed|total)|internal\.upstream_rq_200|external\.upstream_rq_200)/,
        });
      },
      { rewrite: [[/(upstream_rq_\w+: )\d+/g, '$1N']] },
    ),
  ],
);

suite(
  'REST discovery that does not answer',
  {
    config: bootstrap(
      rest({ request_timeout: '0.03s' }, { initial_fetch_timeout: '0.2s' }),
      rest({ request_timeout: '0.03s' }, { initial_fetch_timeout: '0.2s' }),
    ),
    files: { 'clusters.status': 'silence' },
    upstreams,
    fresh: true,
    upstreamBytes: false,
  },
  [
    steps('the start goes on', async (exchange) => {
      await until(exchange, 'cluster_manager.cds.init_fetch_timeout');
      await exchange.expect('LIVE', async () => (await exchange.proxy.admin('/ready')).status === 200);
      await noteStats(
        exchange,
        /^(cluster_manager\.cds|listener_manager\.lds)\.(update_(success|failure|rejected)|init_fetch_timeout)/,
      );
      await noteStats(exchange, /^cluster\.plane\.(upstream_rq_timeout|upstream_rq_(504|404|5xx|4xx))/);
      exchange.side.write('clusters.json', answer('c-1', [clusterResource('c1', 'u1')]));
      exchange.side.write('clusters.status', '200');
      await told(exchange, 'clusters', 'c-1');
      await dumpStates(exchange);
    }),
  ],
);

const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const EXTENSION = 'envoy.config.core.v3.TypedExtensionConfig';

suite(
  'REST discovery of secrets, scopes and filters',
  {
    config: bootstrap(),
    files: {
      'clusters.json': answer('c-1', [
        clusterResource('c1', 'u1', {
          transport_socket_matches: [
            {
              name: 'never',
              match: { secure: true },
              transport_socket: {
                name: 'tls',
                typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
                  common_tls_context: { validation_context_sds_secret_config: { name: 'ca', sds_config: rest() } },
                }),
              },
            },
          ],
        }),
      ]),
      'secrets.json': answer('s-1', [
        typed(SECRET, { name: 'ca', validation_context: { trust_chain_verification: 'ACCEPT_UNTRUSTED' } }),
      ]),
      'listeners.json': answer('l-1', [
        listenerResource({
          hcm: {
            route_config: undefined,
            scoped_routes: {
              name: 'scopes',
              scope_key_builder: {
                fragments: [{ header_value_extractor: { name: 'x-scope', element_separator: ',', index: 0 } }],
              },
              rds_config_source: rest(),
              scoped_rds: { scoped_rds_config_source: rest() },
            },
          },
          filters: [
            {
              name: 'late',
              config_discovery: {
                config_source: rest(),
                type_urls: ['type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'],
              },
            },
          ],
        }),
      ]),
      'scoped-routes.json': answer('o-1', [
        typed(SCOPE, { name: 'one', route_configuration_name: 'r1', key: { fragments: [{ string_key: 'one' }] } }),
      ]),
      'extension_configs.json': answer('x-1', [
        typed(EXTENSION, {
          name: 'late',
          typed_config: typed('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
            mutations: { response_mutations: [{ append: { header: { key: 'x-late', value: 'here' } } }] },
          }),
        }),
      ]),
      'routes.json': answer('r-1', [routes('r1', [to('c1')])]),
    },
    upstreams,
    fresh: true,
    upstreamBytes: false,
  },
  [
    steps('all are asked for and taken', async (exchange) => {
      const versions = {
        secrets: 's-1',
        'scoped-routes': 'o-1',
        extension_configs: 'x-1',
        routes: 'r-1',
      };
      for (const [what, version] of Object.entries(versions)) await told(exchange, what, version);
      await exchange.refreshListeners();
      await exchange.request(http('GET /', ['x-scope: one']));
      await exchange.request(http('GET /', ['x-scope: two']));
      for (const what of Object.keys(versions)) noteAsked(exchange, what, 2);
    }),
  ],
);

const grpc = { grpc_services: [{ envoy_grpc: { cluster_name: 'plane' } }] };
const validConfig = (cds: Fields, more: Fields = {}): Fields => {
  const whole = bootstrap(cds);
  const clusters = [{ ...cluster('u1'), name: 'plane' }];
  return { ...whole, static_resources: { clusters }, dynamic_resources: { cds_config: cds }, ...more };
};

validateSuite('REST sources', [
  accepted('one cluster and a delay', validConfig(rest())),
  accepted('a request timeout', validConfig(rest({ request_timeout: '5s' }))),
  accepted(
    'settings of streams beside it',
    validConfig(rest({ set_node_on_first_message_only: true, rate_limit_settings: {} })),
  ),
  accepted(
    'for endpoints',
    validConfig(rest(), {
      static_resources: {
        clusters: [
          { ...cluster('u1'), name: 'plane' },
          { ...eds, '@type': undefined },
        ],
      },
    }),
  ),
  refused('no delay', validConfig(rest({ refresh_delay: undefined }))),
  refused('a negative delay', validConfig(rest({ refresh_delay: '-1s' }))),
  refused('a request timeout of 0', validConfig(rest({ request_timeout: '0s' }))),
  refused('two clusters', validConfig(rest({ cluster_names: ['plane', 'other'] }))),
  refused('no cluster', validConfig(rest({ cluster_names: [] }))),
  refused('a cluster that is not there', validConfig(rest({ cluster_names: ['nowhere'] }))),
  refused('a gRPC service beside it', validConfig(rest(grpc))),
  refused('version 2', validConfig(rest({ transport_api_version: 'V2' }))),
  refused('as ads_config', { ...validConfig(rest()), dynamic_resources: { ads_config: rest().api_config_source } }),
  refused(
    'aggregated',
    validConfig(rest({ api_type: 'AGGREGATED_GRPC', cluster_names: undefined, refresh_delay: undefined, ...grpc })),
  ),
]);
