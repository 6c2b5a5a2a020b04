/** Admin: config dumps, logging, runtime, and the stats settings, in their details and errors. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, http, httpProxy } from './configs.ts';
import { steps, suite } from './harness.ts';

const upstream = httpUpstream(() => reply(200, 'ok'));
/** What differs from process to process. */
const OWN: readonly (readonly [RegExp, string])[] = [
  [/"last_updated": ".*?"/g, '"last_updated": "<time>"'],
  [/"port_value": \d+/g, '"port_value": <port>'],
];

suite('config dumps', { config: httpProxy({}, [cluster('u1')]), upstreams: { u1: upstream }, rewrite: OWN }, [
  ...[
    'resource=bootstrap',
    'resource=static_clusters&name_regex=u.*',
    'resource=static_clusters&name_regex=nobody',
    'resource=static_clusters&name_regex=u1&mask=cluster.name,last_updated',
    'resource=static_clusters&mask=cluster.load_assignment',
    'resource=dynamic_active_clusters',
    'resource=static_listeners&mask=listener.name',
    'resource=dynamic_listeners',
    'resource=static_route_configs',
    'resource=static_route_configs&name_regex=nobody',
    'resource=static_secrets',
    'resource=static_endpoint_configs',
    'include_eds&resource=static_endpoint_configs',
    'include_eds&resource=static_endpoint_configs&name_regex=u1&mask=endpoint_config.cluster_name',
    'mask=rubbish',
    'mask=bootstrap.rubbish',
    'mask=bootstrap.static_resources.clusters.name',
    'mask=bootstrap.admin',
    'mask=static_clusters',
    'mask=last_updated',
  ].map((query) =>
    steps(query, async (exchange) => {
      await exchange.admin(`/config_dump?${query}`);
    }),
  ),
  ...['name_regex=(', 'resource=static_clusters&mask=rubbish', 'name_regex=(&resource=static_clusters'].map((query) =>
    steps(`${query} is an error`, async (exchange) => {
      await exchange.admin(`/config_dump?${query}`, { record: 'status' });
    }),
  ),
]);

suite(
  'admin corners',
  {
    config: {
      ...httpProxy({}, [cluster('u1')]),
      layered_runtime: {
        layers: [
          { name: 'base', static_layer: { 'x.y': 1, z: true } },
          { name: 'mine', admin_layer: {} },
          { name: 'top', static_layer: { 'x.y': 2 } },
        ],
      },
    },
    upstreams: { u1: upstream },
  },
  [
    steps('/logging', async (exchange) => {
      const options = { method: 'POST', pick: /^(error|usage|levels| {2}(http|main|admin|router): )/ } as const;
      for (const query of [
        '',
        '?level=',
        '?paths=',
        '?level=rubbish',
        '?level=warn',
        '?paths=http',
        '?paths=http:',
        '?paths=:debug',
        '?paths=rubbish:debug',
        '?paths=http:rubbish',
        '?group=http:debug',
        '?http=debug&router=debug',
        '?http=trace',
        '?level=warning',
      ]) {
        await exchange.admin(`/logging${query}`, options);
      }
    }),
    steps('a layer above the admin layer keeps its say', async (exchange) => {
      await exchange.admin('/runtime_modify?x.y=7&z=false', { method: 'POST' });
      await exchange.admin('/runtime', { record: 'json' });
      await exchange.admin('/runtime_modify?x.y=&z=', { method: 'POST' });
      await exchange.admin('/stats?filter=^runtime.(num|admin|load|override)');
    }),
    steps('/listeners in an unknown format', async (exchange) => {
      await exchange.admin('/listeners?format=rubbish');
    }),
    steps('/clusters by a filter', async (exchange) => {
      await exchange.admin('/clusters?filter=nobody');
      await exchange.admin('/clusters?filter=(');
      await exchange.admin('/clusters?filter=nobody&format=json');
    }),
    steps('profilers want a parameter', async (exchange) => {
      for (const name of ['cpuprofiler', 'heapprofiler', 'allocprofiler']) {
        await exchange.admin(`/${name}`, { method: 'POST' });
        await exchange.admin(`/${name}?enable=x`, { method: 'POST' });
      }
    }),
    steps('/healthcheck/fail and ok', async (exchange) => {
      await exchange.admin('/healthcheck/fail', { method: 'POST' });
      await exchange.admin('/ready');
      await exchange.admin('/stats?filter=^server.(live|state)$');
      await exchange.request(http('GET /'));
      await exchange.admin('/healthcheck/ok', { method: 'POST' });
      await exchange.admin('/ready');
      await exchange.request(http('GET /'));
    }),
    steps('methods and paths', async (exchange) => {
      await exchange.admin('/ready', { method: 'DELETE' });
      await exchange.admin('/quitquitquit', { method: 'PUT' });
      await exchange.admin('/stats/recentlookups/clear');
      await exchange.admin('//ready');
      await exchange.admin('/ready/', { record: 'status' });
      await exchange.admin('/contention');
      await exchange.admin('/init_dump?mask=listener');
    }),
  ],
);

suite(
  'stats settings',
  {
    config: {
      ...httpProxy({}, [cluster('u1')]),
      stats_config: {
        stats_tags: [
          { tag_name: 'my.cluster', regex: '^cluster\\.((u[0-9])\\.)' },
          { tag_name: 'place', fixed_value: 'here' },
        ],
        use_all_default_tags: false,
        stats_matcher: {
          inclusion_list: {
            patterns: [{ prefix: 'cluster.u1.upstream_rq' }, { safe_regex: { regex: 'http\\.ingress\\..*_total' } }],
          },
        },
        histogram_bucket_settings: [{ match: { suffix: 'upstream_rq_time' }, buckets: [1, 10, 100] }],
      },
      stats_flush_on_admin: true,
    },
    upstreams: { u1: upstream },
    flags: ['--stats-tag', 'team:blue'],
  },
  [
    steps('names that match exist', async (exchange) => {
      await exchange.request(http('GET /'));
      await exchange.admin('/stats?type=Counters&usedonly', { pick: /^(cluster|http|server)(?!.*_bytes_)/ });
      await exchange.admin('/stats?type=Gauges', { pick: /^(server|listener)/ });
    }),
    steps('tags are labels', async (exchange) => {
      await exchange.admin('/stats/prometheus?filter=upstream_rq_(total|pending_total)');
    }),
  ],
);
