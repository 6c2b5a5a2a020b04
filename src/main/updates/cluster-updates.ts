import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { LoggerRegistry } from '../../base/log.ts';
import type { SecretDependency } from '../../config/secrets/secret-dependency.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import { type ClusterFacts, DiscoveryType, factsOf } from '../../upstream/cluster-spec.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import type { DiscoveredResource, ResourceRefusal, ResourceUpdate } from '../../xds/resource-source.ts';
import { CLUSTER_TYPE } from '../../xds/resource-type.ts';
import { DnsDiscoveries } from '../dns-discoveries.ts';
import type { ClusterDiscovery } from './cluster-discovery.ts';
import { EndpointDiscovery, emptied } from './endpoint-discovery.ts';
import { type InitTarget, InitTargets } from './init-targets.ts';
import type { ResourceBuilds } from './resource-builds.ts';
import type { SecretUpdates } from './secret-updates.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { WorkerOrders } from './worker-orders.ts';

/** `cluster_manager.*`; `cluster_updated` and the like are counted where hosts are applied. */
const MANAGER_STATS = defineStats({
  counters: ['cluster_added', 'cluster_modified', 'cluster_removed'],
  neverImportGauges: ['active_clusters', 'warming_clusters'],
} as const);

/** One version of a cluster. There may be many thousands: the message is kept as bytes alone, of its settings little. */
export interface ClusterVersion {
  readonly spec: ClusterFacts;
  readonly bytes: Uint8Array;
  /** Of the answer that brought it; empty in the bootstrap. */
  readonly version: string;
  /** Wall-clock ms. */
  readonly updatedMs: number;
  /** What its transport sockets take from the workers' feeds. */
  readonly secrets: readonly SecretDependency[];
}

/** The last update of a cluster that was refused. */
export interface ClusterError {
  readonly name: string;
  readonly details: string;
  /** Wall-clock ms. */
  readonly attemptedMs: number;
}

/** A cluster that waits for its first hosts, and for its secrets. */
class Warming {
  readonly version: ClusterVersion;
  /** By priority: while it waits, the last word counts. */
  readonly hosts = new Map<number, HostUpdate>();
  readonly targets: InitTargets;
  /** During the start: what waits for it. */
  initial: InitTarget | null = null;
  discovery: ClusterDiscovery | null = null;

  constructor(version: ClusterVersion) {
    this.version = version;
    this.targets = new InitTargets(`Cluster ${version.spec.name}`);
  }
}

export interface ClusterUpdatesParts {
  readonly dispatcher: Dispatcher;
  /** Root of main's store. */
  readonly stats: Scope;
  readonly loggers: LoggerRegistry;
  readonly builds: ResourceBuilds;
  readonly subscriptions: Subscriptions;
  readonly secrets: SecretUpdates;
  readonly orders: WorkerOrders;
  /** What the start waits for. */
  readonly init: InitTargets;
  /** Told how many clusters serve. */
  onCount(active: number): void;
  /** An update brought something and was taken as a whole. */
  onReload(): void;
}

/** The clusters of the process, on main: versions, warming, what workers are told. Source: Envoy, ClusterManagerImpl. */
export class ClusterUpdates {
  readonly active = new Map<string, ClusterVersion>();
  readonly warming = new Map<string, Warming>();
  /** By name: the last refusal of each cluster since it was last taken. */
  readonly errors = new Map<string, ClusterError>();
  /** `version_info` of the last update that changed anything. */
  version = '';
  readonly #parts: ClusterUpdatesParts;
  readonly #stats;
  readonly #dns: DnsDiscoveries;
  readonly #discoveries = new Map<string, ClusterDiscovery>();
  #started = false;
  /** Warm, by name: another version that is warm takes the place of one that waits. */
  readonly #ready = new Map<string, Warming>();
  #activating = false;
  /** Those that workers have. */
  readonly #inWorkers = new Set<string>();
  /** By cluster: who is told when it serves. */
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(parts: ClusterUpdatesParts) {
    this.#parts = parts;
    this.#stats = MANAGER_STATS.create(parts.stats, 'cluster_manager');
    this.#dns = new DnsDiscoveries(parts.dispatcher, parts.stats);
    this.#countGauges();
  }

  /** The start is over: from now on a cluster warms before anybody sees it. */
  onStarted(): void {
    this.#started = true;
  }

  /** Names that routes may speak of. */
  names(): ReadonlySet<string> {
    return new Set([...this.active.keys(), ...this.warming.keys()]);
  }

  /** The bootstrap's clusters: workers have them at once, the start waits for their hosts. */
  async addStatic(versions: readonly ClusterVersion[]): Promise<void> {
    for (const version of versions) {
      this.active.set(version.spec.name, version);
      this.#stats.cluster_added.inc();
    }
    this.#countGauges();
    await this.#parts.orders.clusters(
      versions.map((version) => version.bytes),
      [],
      [],
    );
    for (const version of versions) this.#discoverAtStart(version);
  }

  #discoverAtStart(version: ClusterVersion): void {
    const { spec } = version;
    const target = spec.waitForWarmOnInit ? this.#parts.init.add(`Cluster ${spec.name}`) : null;
    let answered = false;
    const discovery = this.#createDiscovery(version, {
      onHosts: (updates) => {
        if (answered) this.#parts.orders.hosts(updates);
        else this.#parts.orders.firstHosts(updates);
      },
      onFirstAnswer: () => {
        answered = true;
        target?.ready();
      },
      onRefused: (details) => {
        if (target !== null) target.lastRefusal = details;
      },
    });
    if (discovery === null) {
      target?.ready();
      return;
    }
    this.#discoveries.set(spec.name, discovery);
    discovery.start();
  }

  #createDiscovery(version: ClusterVersion, events: ConstructorParameters<typeof EndpointDiscovery>[5]) {
    const { spec } = version;
    const { builds, subscriptions, stats } = this.#parts;
    if (spec.discovery === DiscoveryType.Eds) {
      const source = builds.endpointSource(builds.decode<Cluster>(CLUSTER_TYPE.typeName, version.bytes));
      if (source === null) return null;
      return new EndpointDiscovery(spec, source, subscriptions, builds, stats, events);
    }
    if (spec.dns === null) return null;
    return this.#dns.create(spec, {
      onHosts: (update) => events.onHosts([update]),
      onFirstAnswer: () => events.onFirstAnswer(),
    });
  }

  /** What CDS (or the watched file) says. Every resource stands for itself: one that is refused stops no other. */
  async apply(update: ResourceUpdate, name = 'cds', viaApi = true): Promise<readonly ResourceRefusal[]> {
    const log = this.#parts.loggers.get('upstream');
    const { changed, removed } = update;
    log.info(
      `${name}: response indicates ${changed.length} added/updated cluster(s), ${removed.length} removed cluster(s); applying changes`,
    );
    const refusals: ResourceRefusal[] = [];
    const seen = new Set<string>();
    let updated = 0;
    let skipped = 0;
    const ready: Warming[] = [];
    for (const resource of changed) {
      // The cluster's own, whatever its wrapper is called (Envoy: CdsApiHelper).
      const { name: own } = resource.message as Cluster;
      if (seen.has(own)) {
        refusals.push({ name: resource.name, details: `duplicate cluster ${own} found` });
        continue;
      }
      seen.add(own);
      const outcome = this.#addOrUpdate(resource, viaApi, ready);
      if (typeof outcome === 'string') {
        refusals.push({ name: resource.name, details: outcome });
        noteError(this.errors, { name: own, details: outcome, attemptedMs: Date.now() });
        continue;
      }
      this.errors.delete(own);
      if (outcome) updated++;
      else skipped++;
    }
    // In one order for all that need not warm: thousands of clusters are one message.
    await this.#activate(ready);
    const known = removed.filter((each) => this.#isOurs(each, viaApi));
    const gone = known.filter((each) => this.#remove(each));
    if (gone.length > 0) await this.#parts.orders.clusters([], gone, []);
    log.info(
      `${name}: added/updated ${updated} cluster(s) (skipped ${skipped} unmodified cluster(s)); removed ${known.length} cluster(s)`,
    );
    // The configuration file has no version, and says nothing of that of CDS; nor do clusters that come on demand.
    if (viaApi && name === 'cds' && (updated > 0 || known.length > 0)) this.version = update.version;
    if (viaApi && updated > 0 && refusals.length === 0) this.#parts.onReload();
    return refusals;
  }

  /** What of an edit of the configuration file would be refused; nothing is changed. */
  refusalsOf(changed: readonly DiscoveredResource[]): ResourceRefusal[] {
    return changed.flatMap((resource) => {
      const { name } = resource;
      const last = this.warming.get(name)?.version ?? this.active.get(name);
      if (last?.spec.addedViaApi === true) return { name, details: 'CDS has a cluster of this name' };
      const built = this.#parts.builds.cluster(resource, false);
      return built.ok ? [] : { name, details: built.error };
    });
  }

  /** @returns the refusal, or whether anything changed */
  #addOrUpdate(resource: DiscoveredResource, viaApi: boolean, ready: Warming[]): string | boolean {
    const { name } = resource.message as Cluster;
    const present = this.active.get(name);
    const warming = this.warming.get(name);
    const last = warming?.version ?? present;
    if (last !== undefined && (last.spec.addedViaApi !== viaApi || sameBytes(last.bytes, resource.bytes))) return false;
    // Envoy counts before it builds.
    if (present !== undefined) this.#stats.cluster_modified.inc();
    else if (warming === undefined) this.#stats.cluster_added.inc();
    const built = this.#parts.builds.cluster(resource, viaApi);
    if (!built.ok) return built.error;
    const version: ClusterVersion = {
      spec: factsOf(built.value.spec),
      secrets: built.value.secrets,
      bytes: resource.bytes,
      version: resource.version,
      updatedMs: Date.now(),
    };
    this.#warm(version, ready);
    // After the new one has asked: what is held for both is not forgotten in between.
    if (warming !== undefined) this.#abandon(warming);
    return true;
  }

  /** A version that will not serve. The start does not wait for it any longer. */
  #abandon({ version, discovery, initial }: Warming): void {
    discovery?.stop();
    this.#release(version);
    initial?.ready();
  }

  #release({ secrets }: ClusterVersion): void {
    for (const { key } of secrets) this.#parts.secrets.release(key);
  }

  #warm(version: ClusterVersion, ready: Warming[]): void {
    const { name } = version.spec;
    const entry = new Warming(version);
    this.warming.set(name, entry);
    const initial = this.#started ? null : this.#parts.init.add(`Cluster ${name}`);
    entry.initial = initial;
    const target = entry.targets.add(`Cluster ${name}`);
    for (const secret of version.secrets) {
      this.#parts.secrets.acquire(secret, entry.targets.add(`SdsApi ${secret.name}`));
    }
    let collecting = true;
    // In a turn of its own where it must wait: the start goes on when the cluster has been activated.
    entry.targets.whenReady(() => {
      if (!collecting && this.warming.get(name) === entry) this.#activateSoon(entry);
    });
    entry.discovery = this.#createDiscovery(version, {
      onHosts: (updates) => {
        if (this.warming.get(name) === entry) for (const each of updates) entry.hosts.set(each.priority, each);
        else this.#parts.orders.hosts(updates);
      },
      onFirstAnswer: () => {
        target.ready();
      },
      onRefused: (details) => {
        target.lastRefusal = details;
        if (initial !== null) initial.lastRefusal = details;
      },
    });
    if (entry.discovery === null) target.ready();
    else entry.discovery.start();
    collecting = false;
    if (entry.targets.isReady) ready.push(entry);
    this.#countGauges();
  }

  /** Thousands of clusters that get their hosts at once are one order; while workers carry it out, the next one is gathered. */
  #activateSoon(entry: Warming): void {
    this.#ready.set(entry.version.spec.name, entry);
    if (this.#activating) return;
    this.#activating = true;
    setImmediate(() => void this.#activateGathered());
  }

  async #activateGathered(): Promise<void> {
    while (this.#ready.size > 0) {
      const ready = [...this.#ready.values()];
      this.#ready.clear();
      try {
        await this.#activate(ready);
      } catch (error) {
        this.#parts.loggers.get('upstream').error(String(error));
      }
    }
    this.#activating = false;
  }

  /** The new versions take over in every worker, with their hosts. */
  async #activate(entries: readonly Warming[]): Promise<void> {
    if (entries.length === 0) return;
    const changed: Uint8Array[] = [];
    const hosts: HostUpdate[] = [];
    const hostsOnly: HostUpdate[] = [];
    const taken: ClusterVersion[] = [];
    for (const entry of entries) {
      const { version, discovery } = entry;
      const { name } = version.spec;
      if (this.warming.get(name) !== entry) continue;
      taken.push(version);
      this.warming.delete(name);
      const previous = this.active.get(name);
      this.active.set(name, version);
      this.#discoveries.get(name)?.stop();
      if (discovery === null) this.#discoveries.delete(name);
      else this.#discoveries.set(name, discovery);
      const membership = previous === undefined ? null : this.#onlyHostsDiffer(previous, version);
      if (membership !== null) {
        hostsOnly.push(...membership);
      } else {
        changed.push(version.bytes);
        hosts.push(...entry.hosts.values());
      }
      if (previous !== undefined) this.#release(previous);
      entry.initial?.ready();
    }
    this.#countGauges();
    // Pools and counts of hosts that stay are kept.
    hosts.push(...hostsOnly);
    if (changed.length + hosts.length > 0) await this.#parts.orders.clusters(changed, [], hosts);
    // One that was removed meanwhile, or replaced by one on its way, does not serve.
    for (const version of taken) if (this.active.get(version.spec.name) === version) this.#serves(version.spec.name);
  }

  /** The membership of a STATIC cluster whose new version differs in endpoints alone; null: something else differs. */
  #onlyHostsDiffer(previous: ClusterVersion, next: ClusterVersion): readonly HostUpdate[] | null {
    if (next.spec.discovery !== DiscoveryType.Static || previous.spec.discovery !== DiscoveryType.Static) return null;
    if (!sameBytes(bytesWithoutHosts(previous), bytesWithoutHosts(next))) return null;
    const updates = [...this.#parts.builds.clusterFrom(next.bytes).initialHosts];
    for (let priority = updates.length; priority < previous.spec.priorities; priority++) {
      updates.push(emptied(next.spec.name, priority));
    }
    return updates;
  }

  /** Calls `go` once the cluster serves in every worker: now, when it does already. @returns what takes it back */
  whenServes(name: string, go: () => void): () => void {
    if (this.active.has(name) && this.#inWorkers.has(name)) {
      go();
      return () => {};
    }
    const waiting = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, waiting.add(go));
    return () => {
      waiting.delete(go);
      if (waiting.size === 0 && this.#waiting.get(name) === waiting) this.#waiting.delete(name);
    };
  }

  #serves(name: string): void {
    this.#inWorkers.add(name);
    const waiting = this.#waiting.get(name);
    this.#waiting.delete(name);
    for (const go of waiting ?? []) go();
  }

  #isOurs(name: string, viaApi: boolean): boolean {
    return (this.warming.get(name)?.version ?? this.active.get(name))?.spec.addedViaApi === viaApi;
  }

  /** @returns whether workers must be told */
  #remove(name: string): boolean {
    this.errors.delete(name);
    const warming = this.warming.get(name);
    const active = this.active.get(name);
    if (warming !== undefined) {
      this.warming.delete(name);
      this.#abandon(warming);
    }
    if (active !== undefined) {
      this.active.delete(name);
      this.#inWorkers.delete(name);
      this.#release(active);
      this.#discoveries.get(name)?.stop();
      this.#discoveries.delete(name);
    }
    this.#stats.cluster_removed.inc();
    this.#countGauges();
    return active !== undefined;
  }

  #countGauges(): void {
    this.#stats.active_clusters.set(this.active.size);
    this.#parts.onCount(this.active.size);
    this.#stats.warming_clusters.set(this.warming.size);
  }

  stop(): void {
    for (const discovery of this.#discoveries.values()) discovery.stop();
    for (const entry of this.warming.values()) entry.discovery?.stop();
  }
}

/** Names whose refusals are remembered: a server that says no end of bad ones does not fill the memory. */
const MAX_ERRORS = 1000;

/** The last refusal of a resource goes to the end; the oldest ones go. */
export function noteError<E extends { readonly name: string }>(errors: Map<string, E>, error: E): void {
  errors.delete(error.name);
  errors.set(error.name, error);
  if (errors.size > MAX_ERRORS) errors.delete(errors.keys().next().value!);
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

const LOAD_ASSIGNMENT_FIELD = 33;

/** The cluster's encoding without its `load_assignment`: walks the fields of the message, which are few. */
function bytesWithoutHosts(version: ClusterVersion): Uint8Array {
  const { bytes } = version;
  const out: Uint8Array[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const tag = varint();
    switch (tag & 7) {
      case 0:
        varint();
        break;
      case 1:
        at += 8;
        break;
      case 2: {
        const length = varint();
        at += length;
        break;
      }
      default:
        at += 4;
    }
    if (Math.floor(tag / 8) !== LOAD_ASSIGNMENT_FIELD) out.push(bytes.subarray(start, at));
  }
  return Buffer.concat(out);
}
