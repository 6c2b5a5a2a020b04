import type { ClusterLookup } from '../grpc/grpc-client-settings.ts';
import type { Address } from '../net/address.ts';
import type { Cluster } from '../upstream/cluster.ts';
import type { HostStats, Locality } from '../upstream/host.ts';
import type { MetricSum } from '../upstream/orca-report.ts';

/** What one host has carried. */
export interface HostLoad {
  readonly priority: number;
  readonly locality: Locality;
  readonly address: Address;
  /** Since it was asked last. */
  readonly succeeded: number;
  readonly failed: number;
  readonly issued: number;
  /** Now. */
  readonly active: number;
  /** What it said of its own load, by `lrs_report_endpoint_metrics`. */
  readonly metrics: ReadonlyMap<string, MetricSum>;
}

/** What one cluster has carried in one worker. */
export interface ClusterLoad {
  readonly cluster: string;
  readonly dropped: number;
  readonly droppedByOverload: number;
  readonly dropCategory: string;
  /** Those that have anything to tell. */
  readonly hosts: readonly HostLoad[];
}

const NO_METRICS: ReadonlyMap<string, MetricSum> = new Map();

interface SeenHost {
  succeeded: number;
  failed: number;
  issued: number;
  active: number;
}

interface SeenCluster {
  dropped: number;
  byOverload: number;
}

/** One worker's counts for load reports: what came since the last time. Source: Envoy, LoadStatsReporterImpl (latch). */
export class LoadCounts {
  readonly #hosts = new WeakMap<HostStats, SeenHost>();
  readonly #clusters = new WeakMap<Cluster, SeenCluster>();

  /** Clusters that are not here, or have carried nothing, are left out: there may be many thousands. */
  take(clusters: ClusterLookup, names: readonly string[]): ClusterLoad[] {
    const loads: ClusterLoad[] = [];
    for (const name of names) {
      const cluster = clusters.get(name);
      if (cluster === null) continue;
      const load = this.#takeOne(cluster);
      if (load.dropped > 0 || load.hosts.length > 0) loads.push(load);
    }
    return loads;
  }

  #takeOne(cluster: Cluster): ClusterLoad {
    let seen = this.#clusters.get(cluster);
    if (seen === undefined) {
      seen = { dropped: 0, byOverload: 0 };
      this.#clusters.set(cluster, seen);
    }
    const { total, byOverload } = cluster.dropped;
    const load = {
      cluster: cluster.name,
      dropped: total - seen.dropped,
      droppedByOverload: byOverload - seen.byOverload,
      dropCategory: cluster.dropCategory,
      hosts: this.#takeHosts(cluster),
    };
    seen.dropped = total;
    seen.byOverload = byOverload;
    return load;
  }

  #takeHosts(cluster: Cluster): HostLoad[] {
    const loads: HostLoad[] = [];
    for (const host of cluster.priorities.allHosts()) {
      const stats = host.countsSoFar;
      // Most hosts of a large cluster have done nothing since.
      if (stats === null || stats.rqTotal + stats.rqError + stats.rqSuccess === 0) continue;
      let seen = this.#hosts.get(stats);
      if (seen === undefined) {
        seen = { succeeded: 0, failed: 0, issued: 0, active: 0 };
        this.#hosts.set(stats, seen);
      }
      const load = {
        priority: host.priority,
        locality: host.locality,
        address: host.address,
        succeeded: stats.rqSuccess - seen.succeeded,
        failed: stats.rqError - seen.failed,
        issued: stats.rqTotal - seen.issued,
        active: stats.rqActive,
        metrics: NO_METRICS,
      };
      seen.succeeded = stats.rqSuccess;
      seen.failed = stats.rqError;
      seen.issued = stats.rqTotal;
      // Errors alone are of requests that it was never asked for, unless it had any.
      const wasAsked = load.succeeded + load.issued + load.active > 0 || (load.failed > 0 && seen.active > 0);
      seen.active = load.active;
      if (!wasAsked) continue;
      loads.push(host.loadMetrics === null ? load : { ...load, metrics: host.loadMetrics.take() });
    }
    return loads;
  }
}
