/** What the rows of dynamic configuration serve. */
import type { JsonObject } from '@bufbuild/protobuf';

export const ENDPOINTS_EACH = 5;

const ADS = { ads: {}, resource_api_version: 'V3' };

export function endpointsOf(name: string, addresses: readonly (readonly [string, number])[]): JsonObject {
  return {
    cluster_name: name,
    endpoints: [
      {
        lb_endpoints: addresses.map(([address, port]) => ({
          endpoint: { address: { socket_address: { address, port_value: port } } },
        })),
      },
    ],
  };
}

export function edsCluster(name: string): JsonObject {
  return { name, type: 'EDS', connect_timeout: '2s', eds_cluster_config: { eds_config: ADS } };
}

/** Five addresses that nobody connects to. */
export function farEndpoints(index: number): (readonly [string, number])[] {
  return Array.from({ length: ENDPOINTS_EACH }, (_, i) => [`10.${index >> 8}.${index & 255}.${i + 1}`, 8080] as const);
}
