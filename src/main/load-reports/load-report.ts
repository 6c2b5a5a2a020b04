import { create, type DescMessage, fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { ClusterStats } from '../../api/gen/envoy/config/endpoint/v3/load_report_pb.d.ts';
import type { LoadStatsRequest } from '../../api/gen/envoy/service/load_stats/v3/lrs_pb.d.ts';
import type { Locality } from '../../upstream/host.ts';
import type { ClusterLoad, HostLoad } from '../../worker/load-counts.ts';
import { addressJson } from '../admin/endpoints/listeners.ts';

/** One cluster as it is reported. */
export interface ReportedCluster {
  readonly name: string;
  /** `eds_cluster_config.service_name`; empty: none. */
  readonly serviceName: string;
  /** Monotonic ms: what is reported came in between. */
  readonly sinceMs: number;
  readonly untilMs: number;
  /** Of every worker. */
  readonly loads: readonly ClusterLoad[];
}

interface Sums {
  succeeded: number;
  failed: number;
  active: number;
  issued: number;
}

function add(to: Sums, load: Sums | HostLoad): void {
  to.succeeded += load.succeeded;
  to.failed += load.failed;
  to.active += load.active;
  to.issued += load.issued;
}

/** The hosts of one priority and locality. */
class LocalityGroup {
  readonly locality: Locality;
  readonly priority: number;
  readonly sums: Sums = { succeeded: 0, failed: 0, active: 0, issued: 0 };
  /** By address. */
  readonly endpoints = new Map<string, { readonly host: HostLoad; readonly sums: Sums }>();

  constructor({ locality, priority }: HostLoad) {
    this.locality = locality;
    this.priority = priority;
  }

  add(load: HostLoad): void {
    add(this.sums, load);
    const present = this.endpoints.get(load.address.text);
    if (present !== undefined) add(present.sums, load);
    else this.endpoints.set(load.address.text, { host: load, sums: { ...load } });
  }
}

function counts({ succeeded, failed, active, issued }: Sums): JsonObject {
  return {
    total_successful_requests: String(succeeded),
    total_requests_in_progress: String(active),
    total_error_requests: String(failed),
    total_issued_requests: String(issued),
  };
}

function clusterJson(cluster: ReportedCluster, byEndpoint: boolean): JsonObject {
  const groups = new Map<string, LocalityGroup>();
  let dropped = 0;
  const byCategory = new Map<string, number>();
  for (const load of cluster.loads) {
    dropped += load.dropped;
    if (load.droppedByOverload > 0) {
      byCategory.set(load.dropCategory, (byCategory.get(load.dropCategory) ?? 0) + load.droppedByOverload);
    }
    for (const host of load.hosts) {
      const { region, zone, subZone } = host.locality;
      const key = JSON.stringify([host.priority, region, zone, subZone]);
      let group = groups.get(key);
      if (group === undefined) {
        group = new LocalityGroup(host);
        groups.set(key, group);
      }
      group.add(host);
    }
  }
  const localities = [...groups.values()]
    // Errors alone are of requests that no host was asked for. (Envoy also loses the successes of a period that issued nothing.)
    .filter(({ sums }) => sums.issued + sums.active + sums.succeeded > 0)
    .map(({ locality, priority, sums, endpoints }) => ({
      locality: { region: locality.region, zone: locality.zone, sub_zone: locality.subZone },
      ...counts(sums),
      priority,
      ...(byEndpoint
        ? {
            upstream_endpoint_stats: [...endpoints.values()].map(({ host, sums: own }) => ({
              address: addressJson(host.address.text) as JsonObject,
              ...counts(own),
            })),
          }
        : {}),
    }));
  return {
    cluster_name: cluster.name,
    ...(cluster.serviceName === '' ? {} : { cluster_service_name: cluster.serviceName }),
    upstream_locality_stats: localities,
    total_dropped_requests: String(dropped),
    dropped_requests: [...byCategory].map(([category, count]) => ({ category, dropped_count: String(count) })),
    load_report_interval: `${((cluster.untilMs - cluster.sinceMs) / 1000).toFixed(6)}s`,
  };
}

/** The bytes of a LoadStatsRequest. */
export function encodeReport(
  api: ApiRegistry,
  node: Node,
  clusters: readonly ReportedCluster[],
  byEndpoint: boolean,
): Uint8Array {
  const desc = api.message('envoy.service.load_stats.v3.LoadStatsRequest')!;
  const statsDesc: DescMessage = api.message('envoy.config.endpoint.v3.ClusterStats')!;
  const request = create(desc) as LoadStatsRequest;
  request.node = node;
  request.clusterStats = clusters.map(
    (cluster) => fromJson(statsDesc, clusterJson(cluster, byEndpoint)) as ClusterStats,
  );
  return toBinary(desc, request);
}
