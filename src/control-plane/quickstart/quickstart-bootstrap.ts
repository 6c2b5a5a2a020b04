import type { QuickstartDirectory, ServiceEndpoint } from './quickstart-directory.ts';

const TYPE = 'type.googleapis.com/';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';

export interface Place {
  readonly host: string;
  readonly port: number;
}

const socketAddress = ({ host, port }: Place): object => ({ socket_address: { address: host, port_value: port } });

/** A service that answers every request with its name. */
function playedListener({ service, address, port }: ServiceEndpoint): object {
  const route = { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: `${service}\n` } } };
  return {
    name: `demo ${service} ${address}:${port}`,
    address: socketAddress({ host: address, port }),
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type': `${TYPE}${HCM}`,
              stat_prefix: 'demo',
              route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
              http_filters: [{ name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}${ROUTER}` } }],
            },
          },
        ],
      },
    ],
  };
}

/**
 * The bootstrap of a proxy that follows the control plane beside it; JSON.
 * @param played services that the proxy plays itself
 */
export function quickstartBootstrap(
  { cluster }: QuickstartDirectory,
  pilot: Place,
  admin: Place,
  played: readonly ServiceEndpoint[],
): string {
  const source = { ads: {}, resource_api_version: 'V3' };
  return JSON.stringify({
    node: { id: 'quickstart', cluster },
    admin: { address: socketAddress(admin) },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'pilot' } }],
      },
      lds_config: source,
      cds_config: source,
    },
    static_resources: {
      listeners: played.map(playedListener),
      clusters: [
        {
          name: 'pilot',
          connect_timeout: '1s',
          typed_extension_protocol_options: {
            [HTTP_OPTIONS]: { '@type': `${TYPE}${HTTP_OPTIONS}`, explicit_http_config: { http2_protocol_options: {} } },
          },
          load_assignment: {
            cluster_name: 'pilot',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(pilot) } }] }],
          },
        },
      ],
    },
  });
}
