import type { HostUpdate } from '../../upstream/host-update.ts';

/** Told of the hosts of one cluster. */
export interface DiscoveryEvents {
  onHosts(updates: readonly HostUpdate[]): void;
  /** Once: there was an answer, or none will be waited for. */
  onFirstAnswer(): void;
  /** What came was refused. */
  onRefused(details: string): void;
}

/** What finds the hosts of one cluster, on main: names, EDS. */
export interface ClusterDiscovery {
  start(): void;
  stop(): void;
}
