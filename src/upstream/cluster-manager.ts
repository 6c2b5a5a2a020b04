import { defineStats } from '../stats/stat-group.ts';
import { Cluster } from './cluster.ts';
import type { ClusterSpec } from './cluster-spec.ts';
import type { HostUpdate } from './host-update.ts';
import type { UpstreamEnvironment } from './upstream-environment.ts';

/** `cluster_manager.*`, as far as it is counted where hosts are applied: main counts clusters. */
const MANAGER_STATS = defineStats({
  counters: ['cluster_updated', 'cluster_updated_via_merge', 'update_merge_cancelled', 'update_out_of_merge_window'],
} as const);

/** All clusters of one worker. */
export class ClusterManager {
  readonly #environment: UpstreamEnvironment;
  readonly #clusters = new Map<string, Cluster>();
  readonly #stats;
  /** What was asked for last: a request asks several times for the same. */
  #latestName = '';
  #latest: Cluster | null = null;

  constructor(environment: UpstreamEnvironment) {
    this.#environment = environment;
    this.#stats = MANAGER_STATS.create(environment.stats, 'cluster_manager');
  }

  get(name: string): Cluster | null {
    if (name === this.#latestName && this.#latest !== null) return this.#latest;
    const cluster = this.#clusters.get(name) ?? null;
    this.#latestName = name;
    this.#latest = cluster;
    return cluster;
  }

  all(): IterableIterator<Cluster> {
    return this.#clusters.values();
  }

  /** A cluster of the same name is replaced: its streams end on the old connections. */
  set(spec: ClusterSpec): Cluster {
    const previous = this.#clusters.get(spec.name);
    const cluster = new Cluster(spec, this.#environment);
    this.#clusters.set(spec.name, cluster);
    this.#latest = null;
    previous?.drain();
    return cluster;
  }

  /** @returns whether there was one */
  remove(name: string): boolean {
    const cluster = this.#clusters.get(name);
    if (cluster === undefined) return false;
    this.#clusters.delete(name);
    this.#latest = null;
    cluster.drain();
    return true;
  }

  /** Membership from main (DNS, EDS). @returns false when the cluster is not (or no longer) here */
  applyHosts(update: HostUpdate): boolean {
    const cluster = this.#clusters.get(update.cluster);
    if (cluster === undefined) return false;
    this.#stats.cluster_updated.inc();
    cluster.applyHosts(update);
    return true;
  }

  /** Before stats are reported: gauges of counts that all workers share may be out of date here. */
  refreshGauges(): void {
    for (const cluster of this.#clusters.values()) cluster.refreshGauges();
  }

  /** Closes every upstream connection (the worker ends). */
  close(): void {
    for (const cluster of this.#clusters.values()) cluster.close();
  }
}
