/** Names of stats, their existence, tags and matchers. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, http, httpListener, httpProxy, tcpListener, tcpProxy } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const upstream = httpUpstream((seen) => {
  const status = Number(/^\/(\d{3})/.exec(seen.path)?.[1] ?? '200');
  return reply(status, status === 204 ? '' : 'body').replace(status === 204 ? 'content-length: 0\r\n' : '\0', '');
});

/** Names that exist before anything happened, which dashboards rely on. */
function names(name: string, pattern: RegExp, skip = /$^/): ReturnType<typeof steps> {
  return steps(name, async (exchange) => {
    const { body } = await exchange.proxy.admin('/stats');
    const found = body
      .split('\n')
      .map((line) => line.slice(0, line.indexOf(': ')))
      .filter((stat) => pattern.test(stat) && !skip.test(stat));
    exchange.note('names', found.sort().join('\n'));
  });
}

suite(
  'names that exist',
  {
    config: bootstrap(
      [httpListener({ log: 'x' }), tcpListener([tcpProxy({ cluster: 'u1' })], { name: 'tcp' })],
      [cluster('u1')],
    ),
    upstreams: { u1: upstream },
  },
  [
    names('of a connection manager', /^http\.ingress\./, /\.tracing\.|_http2_|_http3_|\.rq_|http3|_ssl_/),
    names('of a router', /^http\.ingress\.(rq_|no_|passthrough)/),
    names('of a cluster', /^cluster\.u1\./, /http2|http3|ssl|\.client_ssl/),
    names('of a listener', /^listener\.127\.0\.0\.1_0\./, /ssl/),
    names('of the listener manager', /^listener_manager\./),
    names('of the cluster manager', /^cluster_manager\./),
    names('of the server', /^server\./),
    names('of runtime', /^runtime\./),
    names('of tcp_proxy', /^tcp\.tcp\./),
    names('of file access logs', /^access_log|^filesystem\./),
    names('of vhosts', /^vhost\./),
  ],
);

suite(
  'response codes',
  { config: httpProxy(), upstreams: { u1: upstream }, stats: ['http.ingress.', 'cluster.u1.', 'listener.', 'http1.'] },
  ['/200', '/204', '/302', '/404', '/429', '/500', '/503'].map((path) => request(path, http(`GET ${path}`))),
);

suite(
  'canary and zone',
  {
    config: httpProxy(
      {},
      [
        {
          ...cluster('u1'),
          load_assignment: {
            cluster_name: 'u1',
            endpoints: [
              {
                locality: { region: 'r', zone: 'z2' },
                lb_endpoints: [
                  {
                    endpoint: { address: '{{upstream:u1}}' },
                    metadata: { filter_metadata: { 'envoy.lb': { canary: true } } },
                  },
                ],
              },
            ],
          },
        } as Fields,
      ],
      { node: { id: 'n', cluster: 'c', locality: { zone: 'z1' } } },
    ),
    upstreams: { u1: upstream },
    stats: ['cluster.u1.'],
  },
  [request('a request', http('GET /200')), request('canary in the response', http('GET /500'))],
);

suite(
  'stats configuration',
  {
    config: httpProxy({ hcm: { stat_prefix: 'edge.proxy' } }, [cluster('u1')], {
      stats_config: {
        stats_tags: [
          { tag_name: 'my_tag', fixed_value: 'fixed' },
          { tag_name: 'prefix', regex: '^http\\.((.*?)\\.)downstream' },
        ],
        stats_matcher: { exclusion_list: { patterns: [{ suffix: 'upstream_rq_total' }, { contains: 'lb_' }] } },
      },
    }),
    upstreams: { u1: upstream },
    stats: ['http.', 'cluster.u1.'],
    flags: ['--stats-tag', 'cli:tag'],
  },
  [
    request('excluded stats', http('GET /200')),
    steps('tags in Prometheus form', async (exchange) => {
      await exchange.request(http('GET /200'));
      await exchange.admin(
        '/stats/prometheus?filter=^(http\\.edge\\.proxy\\.downstream_rq_total|cluster\\.u1\\.membership_total|cluster\\.u1\\.upstream_rq_total)',
      );
    }),
  ],
);

suite(
  'an inclusion list',
  {
    config: httpProxy({}, [cluster('u1')], {
      stats_config: {
        stats_matcher: {
          inclusion_list: {
            patterns: [{ prefix: 'cluster.u1.upstream_rq' }, { exact: 'http.ingress.downstream_rq_total' }],
          },
        },
      },
    }),
    upstreams: { u1: upstream },
    stats: ['http.', 'cluster.', 'listener.'],
  },
  [request('included stats', http('GET /200')), names('names', /^(http|cluster|listener)\./)],
);

suite(
  'timeouts budget and request size',
  {
    config: httpProxy({}, [
      cluster('u1', undefined, { track_cluster_stats: { timeout_budgets: true, request_response_sizes: true } }),
    ]),
    upstreams: { u1: upstream },
  },
  [
    names(
      'names of optional stats',
      /^cluster\.u1\.(upstream_rq_timeout_budget|upstream_rq_headers|upstream_rq_body|upstream_rs)/,
    ),
    names('all', /^cluster\.u1\.upstream_rq_(headers|body)/),
  ],
);
