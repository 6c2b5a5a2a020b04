import { create, type DescMessage, fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { ClusterStats } from '../../api/gen/envoy/config/endpoint/v3/load_report_pb.d.ts';
import type { LoadStatsRequest } from '../../api/gen/envoy/service/load_stats/v3/lrs_pb.d.ts';
import type { Locality } from '../../upstream/host.ts';
import type { MetricSum } from '../../upstream/orca-report.ts';
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

/** Counts of several hosts, or of one in several workers. */
class Sums {
  succeeded = 0;
  failed = 0;
  active = 0;
  issued = 0;
  readonly metrics = new Map<string, MetricSum>();

  add(load: HostLoad): void {
    this.succeeded += load.succeeded;
    this.failed += load.failed;
    this.active += load.active;
    this.issued += load.issued;
    for (const [name, { count, total }] of load.metrics) {
      const sum = this.metrics.get(name);
      if (sum === undefined) this.metrics.set(name, { count, total });
      else {
        sum.count += count;
        sum.total += total;
      }
    }
  }

  get json(): JsonObject {
    return {
      total_successful_requests: String(this.succeeded),
      total_requests_in_progress: String(this.active),
      total_error_requests: String(this.failed),
      total_issued_requests: String(this.issued),
      load_metric_stats: [...this.metrics].map(([name, { count, total }]) => ({
        metric_name: name,
        num_requests_finished_with_metric: String(count),
        total_metric_value: total,
      })),
    };
  }
}

/** The hosts of one priority and locality. */
class LocalityGroup {
  readonly locality: Locality;
  readonly priority: number;
  readonly sums = new Sums();
  /** By address. */
  readonly endpoints = new Map<string, { readonly host: HostLoad; readonly sums: Sums }>();

  constructor({ locality, priority }: HostLoad) {
    this.locality = locality;
    this.priority = priority;
  }

  add(load: HostLoad): void {
    this.sums.add(load);
    let endpoint = this.endpoints.get(load.address.text);
    if (endpoint === undefined) {
      endpoint = { host: load, sums: new Sums() };
      this.endpoints.set(load.address.text, endpoint);
    }
    endpoint.sums.add(load);
  }
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
  const localities = [...groups.values()].map(({ locality, priority, sums, endpoints }) => ({
    locality: { region: locality.region, zone: locality.zone, sub_zone: locality.subZone },
    ...sums.json,
    priority,
    ...(byEndpoint
      ? {
          upstream_endpoint_stats: [...endpoints.values()].map(({ host, sums: own }) => ({
            address: addressJson(host.address.text) as JsonObject,
            ...own.json,
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
