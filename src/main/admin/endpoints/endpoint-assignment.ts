import type { JsonObject } from '@bufbuild/protobuf';
import { HostHealth, healthOfFlags } from '../../../upstream/host.ts';
import { DEFAULT_OVERPROVISIONING } from '../../../upstream/priority-set.ts';
import type { ClusterPolicy } from '../../../worker/messages.ts';
import { type ClusterHost, localityJson } from './clusters.ts';
import { addressJson } from './listeners.ts';

/** What balancers make of all that is known of the host. */
function coarseHealth({ healthFlags }: ClusterHost): string {
  const health = healthOfFlags(healthFlags);
  if (health === HostHealth.Healthy) return 'HEALTHY';
  return health === HostHealth.Degraded ? 'DEGRADED' : 'UNHEALTHY';
}

/** Hosts as a ClusterLoadAssignment, as Envoy reports them: grouped by priority and locality. */
export function assignmentJson(
  name: string,
  hosts: readonly ClusterHost[],
  policy: ClusterPolicy | undefined,
  hasMetadata: boolean,
): JsonObject {
  const groups = new Map<string, ClusterHost[]>();
  for (const host of hosts) {
    const key = `${host.priority}|${JSON.stringify(host.locality)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [host]);
    else group.push(host);
  }
  const endpoints = [...groups.values()].map((group) => ({
    locality: localityJson(group[0]!.locality) as JsonObject,
    lb_endpoints: group.map((host) => ({
      endpoint: {
        address: addressJson(host.address.text) as JsonObject,
        health_check_config: {},
        ...(host.hostname === '' ? {} : { hostname: host.hostname }),
      },
      health_status: coarseHealth(host),
      ...metadataJson(host, hasMetadata),
      load_balancing_weight: host.weight,
    })),
    load_balancing_weight: group[0]!.localityWeight,
    ...(group[0]!.priority === 0 ? {} : { priority: group[0]!.priority }),
  }));
  return {
    cluster_name: name,
    ...(endpoints.length === 0 ? {} : { endpoints }),
    policy: policyJson(policy),
  };
}

function metadataJson({ metadata }: ClusterHost, always: boolean): JsonObject {
  if (Object.keys(metadata).length > 0) return { metadata: { filter_metadata: metadata as unknown as JsonObject } };
  return always ? { metadata: {} } : {};
}

const MILLION = 1_000_000;

function policyJson(policy: ClusterPolicy | undefined): JsonObject {
  if (policy === undefined) return { overprovisioning_factor: DEFAULT_OVERPROVISIONING };
  const { overprovisioningFactor, dropOverload, dropCategory } = policy;
  const drop = {
    ...(dropCategory === '' ? {} : { category: dropCategory }),
    drop_percentage: { numerator: Math.round(dropOverload * MILLION), denominator: 'MILLION' },
  };
  return {
    ...(dropOverload > 0 ? { drop_overloads: [drop] } : {}),
    overprovisioning_factor: overprovisioningFactor,
  };
}
