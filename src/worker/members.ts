import type { ClusterManager } from '../upstream/cluster-manager.ts';
import { type Host, HostStats } from '../upstream/host.ts';
import { DEFAULT_OVERPROVISIONING } from '../upstream/priority-set.ts';
import type { ClusterPolicy, HostStatus, Members } from './messages.ts';

/** All hosts of all clusters with what this thread has counted, and what holds for each cluster as a whole. */
export function membersOf(clusters: ClusterManager): Members {
  const hosts: HostStatus[] = [];
  const policies: ClusterPolicy[] = [];
  for (const cluster of clusters.all()) {
    const { spec, dropOverload, dropCategory, priorities } = cluster;
    const overprovisioningFactor = priorities.hostSets.at(-1)?.overprovisioningFactor ?? DEFAULT_OVERPROVISIONING;
    policies.push({ cluster: spec.name, overprovisioningFactor, dropOverload, dropCategory });
    for (const set of priorities.hostSets) {
      const weights = new Map<Host, number>();
      if (set.hasLocalityWeights) {
        for (const { hosts: members, weight } of set.localities) for (const host of members) weights.set(host, weight);
      }
      for (const host of set.hosts) hosts.push(statusOf(spec.name, host, weights.get(host) ?? 0));
    }
  }
  return { hosts, policies };
}

const NOTHING_COUNTED = new HostStats();

function statusOf(cluster: string, host: Host, localityWeight: number): HostStatus {
  const stats = host.countsSoFar ?? NOTHING_COUNTED;
  return {
    cluster,
    address: host.address,
    hostname: host.hostname,
    healthFlags: host.healthFlags,
    edsHealth: host.edsHealth,
    weight: host.weight,
    locality: host.locality,
    localityWeight,
    metadata: host.metadata,
    priority: host.priority,
    canary: host.isCanary,
    counts: {
      cx_active: stats.cxActive,
      cx_connect_fail: stats.cxConnectFail,
      cx_total: stats.cxTotal,
      rq_active: stats.rqActive,
      rq_error: stats.rqError,
      rq_pending_active: stats.rqPendingActive,
      rq_success: stats.rqSuccess,
      rq_timeout: stats.rqTimeout,
      rq_total: stats.rqTotal,
    },
  };
}
