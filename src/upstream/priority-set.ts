import {
  Host,
  HostHealth,
  type HostObserver,
  type HostSpec,
  hostIdentity,
  type Locality,
  localityKey,
} from './host.ts';
import type { LocalityWeight } from './host-update.ts';

export const DEFAULT_OVERPROVISIONING = 140;

/** The hosts of one locality; `weight` is 0 when none was given. */
export interface LocalityHosts {
  readonly locality: Locality;
  readonly weight: number;
  readonly hosts: readonly Host[];
  readonly healthy: readonly Host[];
  readonly degraded: readonly Host[];
  readonly excluded: number;
}

/** The hosts of one priority, sorted by health. The arrays are replaced, never changed. */
export class HostSet {
  readonly priority: number;
  hosts: readonly Host[] = [];
  healthyHosts: readonly Host[] = [];
  degradedHosts: readonly Host[] = [];
  excludedHosts: readonly Host[] = [];
  localities: readonly LocalityHosts[] = [];
  /** Some locality was given a weight. */
  hasLocalityWeights = false;
  /** Percent. */
  overprovisioningFactor = DEFAULT_OVERPROVISIONING;
  weightedPriorityHealth = false;
  #weights: readonly LocalityWeight[] = [];

  constructor(priority: number) {
    this.priority = priority;
  }

  /** New membership. */
  set(
    hosts: readonly Host[],
    weights: readonly LocalityWeight[],
    overprovisioning: number,
    weightedPriorityHealth: boolean,
  ): void {
    this.hosts = hosts;
    this.#weights = weights;
    this.hasLocalityWeights = weights.length > 0;
    this.overprovisioningFactor = overprovisioning;
    this.weightedPriorityHealth = weightedPriorityHealth;
    this.partition();
  }

  /**
   * Takes from `source` the hosts that are among `members`.
   * @param weighted localities keep their weights; `scaled`: in proportion to the hosts that are left of them
   */
  takeFrom(source: HostSet, members: ReadonlySet<Host> | null, weighted: boolean, scaled: boolean): void {
    const hosts = members === null ? source.hosts : source.hosts.filter((host) => members.has(host));
    let weights = weighted ? source.#weights : [];
    if (weighted && scaled) {
      const before = countByLocality(source.hosts);
      const after = countByLocality(hosts);
      weights = weights.map(({ locality, weight }) => {
        const key = localityKey(locality);
        const share = (after.get(key) ?? 0) / (before.get(key) ?? 1);
        return { locality, weight: weight === 0 ? 0 : Math.max(1, Math.round(weight * share)) };
      });
    }
    this.set(hosts, weights, source.overprovisioningFactor, source.weightedPriorityHealth);
  }

  /** Sorts by health anew. Lists that would hold the same hosts are one: most sets are healthy as a whole, and of one locality. */
  partition(): void {
    const healthy: Host[] = [];
    const degraded: Host[] = [];
    const excluded: Host[] = [];
    const groups = new Map<
      string,
      { locality: Locality; hosts: Host[]; healthy: Host[]; degraded: Host[]; excluded: number }
    >();
    for (const host of this.hosts) {
      const key = localityKey(host.locality);
      let group = groups.get(key);
      if (group === undefined) {
        group = { locality: host.locality, hosts: [], healthy: [], degraded: [], excluded: 0 };
        groups.set(key, group);
      }
      group.hosts.push(host);
      if (host.isExcluded) {
        excluded.push(host);
        group.excluded++;
      }
      const health = host.health;
      if (health === HostHealth.Healthy && !host.isExcluded) {
        healthy.push(host);
        group.healthy.push(host);
      } else if (health === HostHealth.Degraded && !host.isExcluded) {
        degraded.push(host);
        group.degraded.push(host);
      }
    }
    this.healthyHosts = sharedList(healthy, this.hosts);
    this.degradedHosts = sharedList(degraded, this.hosts);
    this.excludedHosts = sharedList(excluded, this.hosts);
    const weightOf = new Map(this.#weights.map((entry) => [localityKey(entry.locality), entry.weight]));
    // Lexicographic order keeps balancers stable from update to update.
    this.localities = [...groups.keys()].sort().map((key) => {
      const { locality, excluded: left, ...lists } = groups.get(key)!;
      const hosts = sharedList(lists.hosts, this.hosts);
      return {
        locality,
        weight: weightOf.get(key) ?? 0,
        hosts,
        healthy: sharedList(lists.healthy, hosts),
        degraded: sharedList(lists.degraded, hosts),
        excluded: left,
      };
    });
  }
}

const NO_HOSTS: readonly Host[] = [];

/** `part` of `whole`, in its order; the same list when it is all or nothing of it. */
function sharedList(part: readonly Host[], whole: readonly Host[]): readonly Host[] {
  return part.length === whole.length ? whole : part.length === 0 ? NO_HOSTS : part;
}

function countByLocality(hosts: readonly Host[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const host of hosts) {
    const key = localityKey(host.locality);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** Told of every change of hosts or of their health, once per batch. */
export interface MembershipObserver {
  onMembershipChange(priorities: PrioritySet, added: readonly Host[], removed: readonly Host[]): void;
}

/** All priorities of a cluster. Always has at least priority 0. */
export class PrioritySet implements HostObserver {
  readonly clusterName: string;
  readonly hostSets: HostSet[] = [new HostSet(0)];
  #observers: MembershipObserver[] = [];
  /** Every host by address text, over all priorities: host overrides look here. Null: nobody has asked since the last change. */
  #byAddress: Map<string, Host> | null = null;
  #batchDepth = 0;
  #batchDirty = false;
  #batchAdded: Host[] = [];
  #batchRemoved: Host[] = [];

  constructor(clusterName: string) {
    this.clusterName = clusterName;
  }

  /** Some of another's hosts as a set of their own: what it shows of the present is not kept up to date. See HostSet.takeFrom. */
  static viewOf(
    source: PrioritySet,
    members: ReadonlySet<Host> | null,
    weighted: boolean,
    scaled: boolean,
  ): PrioritySet {
    const view = new PrioritySet(source.clusterName);
    view.hostSets.length = 0;
    for (const set of source.hostSets) {
      const part = new HostSet(set.priority);
      part.takeFrom(set, members, weighted, scaled);
      view.hostSets.push(part);
    }
    return view;
  }

  observe(observer: MembershipObserver): void {
    this.#observers.push(observer);
  }

  hostByAddress(text: string): Host | null {
    if (this.#byAddress === null) {
      this.#byAddress = new Map();
      for (const host of this.allHosts()) this.#byAddress.set(host.address.text, host);
    }
    return this.#byAddress.get(text) ?? null;
  }

  /** Every host of every priority. */
  *allHosts(): IterableIterator<Host> {
    for (const set of this.hostSets) yield* set.hosts;
  }

  get hostCount(): number {
    let count = 0;
    for (const set of this.hostSets) count += set.hosts.length;
    return count;
  }

  /** Changes made inside `change` are announced once, afterwards. */
  batch(change: () => void): void {
    this.#batchDepth++;
    try {
      change();
    } finally {
      if (--this.#batchDepth === 0 && this.#batchDirty) this.#announce();
    }
  }

  /**
   * Replaces the membership of one priority. A host whose address was there already lives on. The same address given twice
   * stays two hosts, as in Envoy's static clusters; dynamic sources remove duplicates before they come here.
   */
  update(
    priority: number,
    specs: readonly HostSpec[],
    weights: readonly LocalityWeight[],
    overprovisioning: number,
    weightedPriorityHealth: boolean,
    nowMs: number,
  ): void {
    while (this.hostSets.length <= priority) this.hostSets.push(new HostSet(this.hostSets.length));
    const set = this.hostSets[priority]!;
    const previous = new Map<string, Host[]>();
    for (const host of set.hosts) {
      const list = previous.get(host.identity);
      if (list === undefined) previous.set(host.identity, [host]);
      else list.push(host);
    }
    const hosts: Host[] = [];
    const added: Host[] = [];
    for (const spec of specs) {
      let host = previous.get(hostIdentity(spec))?.shift();
      if (host === undefined) {
        host = new Host(spec, this.clusterName, nowMs);
        added.push(host);
      } else {
        host.update(spec);
      }
      host.observer = this;
      hosts.push(host);
    }
    const removed: Host[] = [];
    for (const left of previous.values()) removed.push(...left);
    for (const host of removed) host.observer = null;
    set.set(hosts, weights, overprovisioning, weightedPriorityHealth);
    this.#byAddress = null;
    this.#batchAdded.push(...added);
    this.#batchRemoved.push(...removed);
    this.#changed();
  }

  onHostChange(host: Host): void {
    const set = this.hostSets[host.priority];
    if (set === undefined || !set.hosts.includes(host)) return;
    set.partition();
    this.#changed();
  }

  #changed(): void {
    this.#batchDirty = true;
    if (this.#batchDepth === 0) this.#announce();
  }

  #announce(): void {
    const added = this.#batchAdded;
    const removed = this.#batchRemoved;
    this.#batchAdded = [];
    this.#batchRemoved = [];
    this.#batchDirty = false;
    for (const observer of this.#observers) observer.onMembershipChange(this, added, removed);
  }
}
