import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import { ipAddress } from '../../net/address.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { GaugeImportMode } from '../../stats/gauge.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type { ClusterFacts } from '../../upstream/cluster-spec.ts';
import type { DnsSpec, DnsTarget } from '../../upstream/dns-spec.ts';
import type { HostSpec } from '../../upstream/host.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import type { DnsAddress, DnsAnswer, DnsResolver } from './dns-resolver.ts';

/** Counted where the names are resolved; workers announce the same names, and the sums meet in the merged store. */
const UPDATE_STATS = defineStats({
  counters: ['update_attempt', 'update_success', 'update_failure', 'update_no_rebuild'],
} as const);

/** Told of what DNS says about a cluster. */
export interface DnsDiscoveryEvents {
  /** To be posted to every worker. */
  onHosts(update: HostUpdate): void;
  /** Once: the first lookup has ended, well or not. Startup waits for it (`wait_for_warm_on_init`). */
  onFirstAnswer(): void;
}

/** One name of the cluster, looked up again and again. */
class TargetLookup implements TimerTarget {
  readonly target: DnsTarget;
  readonly #discovery: DnsDiscovery;
  readonly #timer: Timer;
  addresses: readonly DnsAddress[] = [];
  #backoffMs: number;

  constructor(discovery: DnsDiscovery, target: DnsTarget, dispatcher: Dispatcher) {
    this.#discovery = discovery;
    this.target = target;
    this.#timer = dispatcher.createTimer(this);
    this.#backoffMs = discovery.spec.failureBaseMs;
  }

  onTimer(): void {
    this.#discovery.lookUp(this);
  }

  wait(ms: number): void {
    this.#timer.enable(ms);
  }

  stop(): void {
    this.#timer.destroy();
  }

  resetBackoff(): void {
    this.#backoffMs = this.#discovery.spec.failureBaseMs;
  }

  /** Full jitter, doubling up to the limit (Envoy: JitteredExponentialBackOffStrategy). */
  nextBackoffMs(random: () => number): number {
    const { failureBaseMs, failureMaxMs } = this.#discovery.spec;
    // Without a failure rate of its own, a failure waits as long as a success.
    if (failureBaseMs === failureMaxMs) return failureBaseMs;
    const bound = this.#backoffMs;
    this.#backoffMs = bound < failureMaxMs / 2 ? bound * 2 : failureMaxMs;
    return Math.floor(random() * bound);
  }
}

/** Keeps the hosts of one STRICT_DNS or LOGICAL_DNS cluster up to date, on main. Source: Envoy's service discovery docs. */
export class DnsDiscovery {
  readonly spec: DnsSpec;
  readonly #cluster: string;
  readonly #dispatcher: Dispatcher;
  readonly #resolver: DnsResolver;
  readonly #events: DnsDiscoveryEvents;
  readonly #lookups: readonly TargetLookup[];
  readonly #stats;
  readonly #scope: Scope;
  /** By priority: what was last published. */
  readonly #published: string[] = [];
  #answered = false;
  #stopped = false;

  /** @param stats root scope of main's store */
  constructor(
    cluster: Pick<ClusterFacts, 'name' | 'statName' | 'dns'>,
    resolver: DnsResolver,
    dispatcher: Dispatcher,
    stats: Scope,
    events: DnsDiscoveryEvents,
  ) {
    if (cluster.dns === null) throw new Error(`cluster ${cluster.name} has no names to resolve`);
    this.spec = cluster.dns;
    this.#cluster = cluster.name;
    this.#dispatcher = dispatcher;
    this.#resolver = resolver;
    this.#events = events;
    this.#scope = stats.createScope(`cluster.${cluster.statName}`);
    this.#stats = UPDATE_STATS.create(this.#scope);
    this.#lookups = this.spec.targets.map((target) => new TargetLookup(this, target, dispatcher));
  }

  start(): void {
    if (this.#lookups.length === 0) this.#firstAnswer();
    for (const lookup of this.#lookups) this.lookUp(lookup);
  }

  /** The latest membership again, for a worker that comes later. */
  current(): HostUpdate[] {
    const priorities = new Set(this.#lookups.map((lookup) => lookup.target.template.priority));
    return [...priorities].sort((a, b) => a - b).map((priority) => this.#updateOf(priority));
  }

  stop(): void {
    this.#stopped = true;
    for (const lookup of this.#lookups) lookup.stop();
    this.#scope.close();
  }

  /** Called by a lookup when its time has come. */
  lookUp(lookup: TargetLookup): void {
    this.#stats.update_attempt.inc();
    this.#resolver.resolve(lookup.target.name, this.spec.family).then(
      (answer) => this.#onAnswer(lookup, answer),
      (error: unknown) => this.#onAnswer(lookup, { completed: false, reason: String(error) }),
    );
  }

  #onAnswer(lookup: TargetLookup, answer: DnsAnswer): void {
    if (this.#stopped) return;
    this.#dispatcher.enter();
    try {
      // A logical host needs an address; a strict cluster may well become empty.
      if (answer.completed && !(this.spec.logical && answer.addresses.length === 0)) {
        this.#onAddresses(lookup, answer.addresses);
      } else {
        this.#stats.update_failure.inc();
        lookup.wait(lookup.nextBackoffMs(() => this.#dispatcher.random.float()));
      }
      this.#firstAnswer();
    } finally {
      this.#dispatcher.leave();
    }
  }

  #firstAnswer(): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#events.onFirstAnswer();
  }

  #onAddresses(lookup: TargetLookup, addresses: readonly DnsAddress[]): void {
    this.#stats.update_success.inc();
    lookup.resetBackoff();
    lookup.addresses = addresses;
    const { priority } = lookup.target.template;
    const update = this.#updateOf(priority);
    const key = JSON.stringify(update.hosts);
    // Logical hosts are no dynamic list in Envoy: they leave the gauge alone.
    if (!this.spec.logical) this.#countHeaviest(update);
    if ((this.#published[priority] ?? '[]') === key) {
      this.#stats.update_no_rebuild.inc();
    } else {
      this.#published[priority] = key;
      this.#events.onHosts(update);
    }
    lookup.wait(this.#refreshMs(addresses));
  }

  #countHeaviest(update: HostUpdate): void {
    let heaviest = 1;
    for (const host of update.hosts) heaviest = Math.max(heaviest, host.weight);
    this.#scope.gauge('max_host_weight', GaugeImportMode.NeverImport).set(heaviest);
  }

  #refreshMs(addresses: readonly DnsAddress[]): number {
    const { respectTtl, refreshMs, minRefreshMs, jitterMs } = this.spec;
    let delay = refreshMs;
    if (respectTtl) {
      let ttl = Number.POSITIVE_INFINITY;
      for (const address of addresses) ttl = Math.min(ttl, address.ttlSeconds * 1000);
      if (ttl > 0 && ttl !== Number.POSITIVE_INFINITY) delay = ttl;
    }
    delay = Math.max(delay, minRefreshMs);
    return jitterMs > 0 ? delay + Math.floor(this.#dispatcher.random.float() * jitterMs) : delay;
  }

  #updateOf(priority: number): HostUpdate {
    const hosts: HostSpec[] = [];
    const seen = new Set<string>();
    for (const { target, addresses } of this.#lookups) {
      if (target.template.priority !== priority || addresses.length === 0) continue;
      const all = addresses.map(({ ip }) => ipAddress(ip, target.port));
      if (this.spec.logical) {
        hosts.push({
          ...target.template,
          identity: `${target.name}:${target.port}`,
          address: all[0]!,
          additionalAddresses: all.slice(1),
        });
        continue;
      }
      for (const address of all) {
        if (seen.has(address.text)) continue;
        seen.add(address.text);
        hosts.push({ ...target.template, address });
      }
    }
    return {
      cluster: this.#cluster,
      priority,
      hosts,
      localityWeights: this.spec.localityWeights[priority] ?? [],
      overprovisioningFactor: this.spec.overprovisioningFactor,
      weightedPriorityHealth: this.spec.weightedPriorityHealth,
      dropOverload: this.spec.dropOverload,
      dropCategory: this.spec.dropCategory,
    };
  }
}
