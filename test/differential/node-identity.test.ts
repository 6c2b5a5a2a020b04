/** Who discovers anything says who it is: `node.id` and `node.cluster`, or their flags. */

import { bootstrap, cluster, type Fields, http2Options, httpListener, to, typed } from './configs.ts';
import { planeApi } from './discovery.ts';
import { accepted, refused, type ValidateCase, validateSuite } from './harness.ts';

const xds = cluster('xds', ['{{refused}}'], http2Options());
const sources: Readonly<Record<string, Fields>> = {
  'a file': { path_config_source: { path: '/dev/null' } },
  'a stream': { api_config_source: planeApi('GRPC') },
  'a delta stream': { api_config_source: planeApi('DELTA_GRPC') },
  REST: { api_config_source: { ...planeApi('REST'), grpc_services: [], cluster_names: ['xds'], refresh_delay: '1s' } },
};
const both = { node: { id: 'me', cluster: 'us' } };

const listen = (hcm: Fields, more: Fields = {}): Fields =>
  bootstrap([{ ...httpListener({ hcm, routes: [to('xds')] }), ...more }], [xds], { admin: { address: '{{admin}}' } });
const secret = (context: string, field: string, source: Fields): Fields => ({
  transport_socket: {
    name: 'tls',
    typed_config: typed(`envoy.extensions.transport_sockets.tls.v3.${context}TlsContext`, {
      common_tls_context: { [field]: field.endsWith('s') ? [source] : source },
    }),
  },
});
const sds = (source: Fields): Fields => ({ name: 's', sds_config: source });
const downstream = (source: Fields): Fields =>
  listen(
    {},
    {
      filter_chains: [
        {
          filters: (httpListener({ routes: [to('xds')] }) as { filter_chains: Fields[] }).filter_chains[0]!.filters,
          ...secret('Downstream', 'tls_certificate_sds_secret_configs', sds(source)),
        },
      ],
    },
  );

/** Every place where something may be discovered. */
const places: Readonly<Record<string, (source: Fields) => Fields>> = {
  clusters: (source) => bootstrap([], [xds], { dynamic_resources: { cds_config: source } }),
  endpoints: (source) =>
    bootstrap([], [xds, { name: 'e', type: 'EDS', connect_timeout: '1s', eds_cluster_config: { eds_config: source } }]),
  routes: (source) => listen({ route_config: undefined, rds: { route_config_name: 'r', config_source: source } }),
  scopes: (source) =>
    listen({
      route_config: undefined,
      scoped_routes: {
        name: 's',
        scope_key_builder: { fragments: [{ header_value_extractor: { name: 'a', element_separator: ',', index: 0 } }] },
        rds_config_source: source,
        scoped_rds: { scoped_rds_config_source: source },
      },
    }),
  filters: (source) =>
    listen({
      http_filters: [
        {
          name: 'router',
          config_discovery: {
            config_source: source,
            type_urls: ['type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'],
          },
        },
      ],
    }),
  'a certificate': downstream,
  'an authority': (source) =>
    bootstrap([], [{ ...xds, ...secret('Upstream', 'validation_context_sds_secret_config', sds(source)) }]),
  'the runtime': (source) =>
    bootstrap([], [xds], {
      layered_runtime: { layers: [{ name: 'r', rtds_layer: { name: 'r', rtds_config: source } }] },
    }),
};

const cases: ValidateCase[] = [];
for (const [place, make] of Object.entries(places)) {
  for (const [kind, source] of Object.entries(sources)) {
    // How an answer comes makes no difference to where it is asked for.
    if (place !== 'clusters' && !['a file', 'a stream'].includes(kind)) continue;
    cases.push(refused(`${place} from ${kind}, nameless`, make(source)));
    if (kind === 'a file') cases.push(accepted(`${place} from ${kind}`, { ...make(source), ...both }));
  }
}
const ads = (more: Fields = {}): Fields =>
  bootstrap([], [xds], { dynamic_resources: { ads_config: planeApi('GRPC') }, ...more });
const clusters = (node: Fields): Fields => ({ ...places.clusters!(sources['a stream']!), node });
const filesOf = bootstrap([], [xds], { dynamic_resources: { lds_config: sources['a file'] } });

validateSuite('discovery without a name', [
  ...cases,
  refused('ADS that nobody uses', ads()),
  accepted('ADS that nobody uses, named', ads(both)),
  refused('an id alone', clusters({ id: 'me' })),
  refused('a cluster alone', clusters({ cluster: 'us' })),
  refused('empty ones', clusters({ id: '', cluster: 'us' })),
  accepted('by flags', clusters({}), ['--service-node', 'me', '--service-cluster', 'us']),
  accepted('half by flags', clusters({ cluster: 'us' }), ['--service-node', 'me']),
  refused('the half that is there already', clusters({ cluster: 'us' }), ['--service-cluster', 'us']),
  // They are not looked at where nothing is started.
  accepted('listeners from a file', filesOf),
  accepted('load reports', bootstrap([], [xds], { cluster_manager: { load_stats_config: planeApi('GRPC') } })),
]);
