import { createHash } from 'node:crypto';
import type { SourceSpec } from '../../config/builders/config-source.ts';
import { type Gauge, GaugeImportMode } from '../../stats/gauge.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type { ClusterFacts } from '../../upstream/cluster-spec.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { ENDPOINT_TYPE } from '../../xds/resource-type.ts';
import type { ClusterDiscovery, DiscoveryEvents } from './cluster-discovery.ts';
import type { ResourceBuilds } from './resource-builds.ts';
import type { Subscriptions } from './subscriptions.ts';

/** Counted on main; workers announce the same names and leave them alone. */
const UPDATE_STATS = defineStats({ counters: ['update_empty', 'update_no_rebuild'] } as const);

/** The endpoints of one EDS cluster. Source: Envoy, EdsClusterImpl. */
export class EndpointDiscovery implements ClusterDiscovery, ResourceWatcher {
  readonly #spec: ClusterFacts;
  readonly #builds: ResourceBuilds;
  readonly #events: DiscoveryEvents;
  readonly #scope: Scope;
  readonly #stats;
  readonly #maxHostWeight: Gauge;
  readonly #subscription: Subscription;
  /** Priorities of the last assignment. */
  #priorities = 0;
  /** Digest of what was published last. */
  #last = '';
  #answered = false;
  /** For `/config_dump?include_eds`. */
  version = '';

  constructor(
    spec: ClusterFacts,
    source: SourceSpec,
    subscriptions: Subscriptions,
    builds: ResourceBuilds,
    stats: Scope,
    events: DiscoveryEvents,
  ) {
    this.#spec = spec;
    this.#builds = builds;
    this.#events = events;
    this.#scope = stats.createScope(`cluster.${spec.statName}`);
    this.#stats = UPDATE_STATS.create(this.#scope);
    this.#maxHostWeight = this.#scope.gauge('max_host_weight', GaugeImportMode.NeverImport);
    const interest = { type: ENDPOINT_TYPE, names: [this.#resourceName], hearsRemovals: true };
    this.#subscription = subscriptions.open(source, interest, this, this.#scope);
  }

  get #resourceName(): string {
    return this.#spec.serviceName === '' ? this.#spec.name : this.#spec.serviceName;
  }

  start(): void {
    this.#subscription.start();
  }

  stop(): void {
    this.#subscription.stop();
    this.#scope.close();
  }

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const refusal = this.#take(update);
    if (refusal !== '') return Promise.resolve([{ name: this.#resourceName, details: refusal }]);
    this.#answer();
    return Promise.resolve([]);
  }

  /** @returns why not; empty: taken */
  #take(update: ResourceUpdate): string {
    const [resource] = update.changed;
    if (resource === undefined) {
      // Removed: what is in force stays; who waits for a first answer has it.
      this.#stats.update_empty.inc();
      return '';
    }
    if (update.changed.length > 1) return `Unexpected EDS resource length: ${update.changed.length}`;
    if (resource.name !== this.#resourceName) {
      return `Unexpected EDS cluster (expecting ${this.#resourceName}): ${resource.name}`;
    }
    const built = this.#builds.assignment(resource, this.#spec.name);
    if (!built.ok) return built.error;
    this.version = update.version;
    const updates = withoutDuplicates(built.value);
    const key = createHash('sha1').update(JSON.stringify(updates)).digest('base64');
    if (key === this.#last) {
      this.#stats.update_no_rebuild.inc();
      return '';
    }
    this.#last = key;
    const count = updates.length;
    // Priorities that the new assignment does not have become empty.
    for (let priority = count; priority < this.#priorities; priority++)
      updates.push(emptied(this.#spec.name, priority));
    this.#priorities = count;
    // As Envoy, which counts one priority after the other.
    const last = updates.at(-1)?.hosts ?? [];
    this.#maxHostWeight.set(last.reduce((heaviest, { weight }) => Math.max(heaviest, weight), 1));
    this.#events.onHosts(updates);
    return '';
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    if (reason === 'connection') return;
    this.#events.onRefused(details);
    this.#answer();
  }

  #answer(): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#events.onFirstAnswer();
  }
}

/** Of endpoints at the same address the first one counts, whatever the priority of the others. Source: Envoy, EdsClusterImpl. */
function withoutDuplicates(updates: readonly HostUpdate[]): HostUpdate[] {
  const seen = new Set<string>();
  return updates.map((update) => {
    const hosts = update.hosts.filter(({ address }) => {
      if (seen.has(address.text)) return false;
      seen.add(address.text);
      return true;
    });
    return hosts.length === update.hosts.length ? update : { ...update, hosts };
  });
}

export function emptied(cluster: string, priority: number): HostUpdate {
  return {
    cluster,
    priority,
    hosts: [],
    localityWeights: [],
    overprovisioningFactor: 140,
    weightedPriorityHealth: false,
  };
}
