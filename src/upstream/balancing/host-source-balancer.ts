import type { Host } from '../host.ts';
import type { BalancerEnvironment, LoadBalancer, LoadBalancerContext, PriorityLoads } from '../load-balancer.ts';
import type { HostSet, LocalityHosts, PrioritySet } from '../priority-set.ts';
import { EdfScheduler, type WeightSource } from './edf-scheduler.ts';
import { computePriorityState } from './priority-loads.ts';

/** What a policy says about localities and panic. */
export interface LocalitySettings {
  /** `locality_weighted_lb_config` is present. */
  readonly localityWeighted: boolean;
  /** `zone_aware_lb_config.fail_traffic_on_panic`. */
  readonly failTrafficOnPanic: boolean;
}
export const NO_LOCALITY_SETTINGS: LocalitySettings = { localityWeighted: false, failTrafficOnPanic: false };

/** Envoy's `slow_start_config`: a new host's weight grows over a window. */
export interface SlowStartSettings {
  readonly windowMs: number;
  /** 1: linear growth. */
  readonly aggression: number;
  /** 0-1; 0.1 by default. */
  readonly minWeight: number;
}

/** A group of hosts that a pick may fall on. */
export class HostSource {
  readonly hosts: readonly Host[];
  /** Null: all hosts weigh the same. */
  readonly scheduler: EdfScheduler | null;
  /** Rotation position. */
  index: number;

  constructor(hosts: readonly Host[], scheduler: EdfScheduler | null, index: number) {
    this.hosts = hosts;
    this.scheduler = scheduler;
    this.index = index;
  }
}

/** Localities of one host set, drawn by weight times availability. */
class LocalityPicker {
  readonly #sources: readonly HostSource[];
  readonly #weights: readonly number[];
  readonly #deadlines: number[];

  constructor(sources: readonly HostSource[], weights: readonly number[]) {
    this.#sources = sources;
    this.#weights = weights;
    this.#deadlines = weights.map((weight) => 1 / weight);
  }

  /** Few localities: a scan is as good as a heap. */
  pick(): HostSource {
    let best = 0;
    for (let i = 1; i < this.#deadlines.length; i++) {
      if (this.#deadlines[i]! < this.#deadlines[best]!) best = i;
    }
    this.#deadlines[best]! += 1 / this.#weights[best]!;
    return this.#sources[best]!;
  }
}

interface SetSources {
  readonly all: HostSource;
  readonly healthy: HostSource;
  readonly degraded: HostSource;
  readonly healthyLocalities: LocalityPicker | null;
  readonly degradedLocalities: LocalityPicker | null;
}

/**
 * What the policies that pick by priority, health and locality share: round robin, least request and random. A balancer is
 * built for one membership and thrown away with it. Source: Envoy, LoadBalancerBase, ZoneAwareLoadBalancerBase.
 */
export abstract class HostSourceBalancer implements LoadBalancer, WeightSource {
  protected readonly environment: BalancerEnvironment;
  readonly #priorities: PrioritySet;
  readonly #loads: PriorityLoads;
  readonly #panic: readonly boolean[];
  readonly #sets: SetSources[] = [];
  readonly #locality: LocalitySettings;
  readonly #slowStart: SlowStartSettings | null;
  /** A weighted pick may be needed although weights are equal, as long as a host is in its window. */
  readonly #slowStartUntilMs: number;
  readonly #weighted: boolean;

  /** @param weighted whether hosts' weights (and slow start) matter to the policy */
  constructor(
    priorities: PrioritySet,
    environment: BalancerEnvironment,
    previous: LoadBalancer | null,
    locality: LocalitySettings,
    slowStart: SlowStartSettings | null,
    weighted: boolean,
  ) {
    this.environment = environment;
    this.#priorities = priorities;
    this.#locality = locality;
    this.#slowStart = slowStart;
    this.#weighted = weighted;
    this.#slowStartUntilMs = this.#findSlowStartEnd(priorities);
    const threshold = environment.runtime.integer(
      'upstream.healthy_panic_threshold',
      environment.healthyPanicThreshold,
    );
    const state = computePriorityState(priorities.hostSets, threshold);
    this.#loads = state.loads;
    this.#panic = state.panic;
    const before = previous instanceof HostSourceBalancer ? previous.#sets : [];
    for (let i = 0; i < priorities.hostSets.length; i++) {
      this.#sets.push(this.#buildSet(priorities.hostSets[i]!, before[i] ?? null));
    }
  }

  protected abstract pickFrom(source: HostSource): Host | null;

  /** The weight that scheduling works with. */
  weightOf(host: Host): number {
    return this.slowStartFactor(host) * host.weight;
  }

  /** 1 outside a slow-start window. */
  protected slowStartFactor(host: Host): number {
    const settings = this.#slowStart;
    if (settings === null) return 1;
    const age = this.environment.nowMs() - host.createdMs;
    if (age >= settings.windowMs) return 1;
    // Source: Envoy, "Slow start mode": time factor at least one second of the window, to the power of 1 / aggression.
    const timeFactor = Math.max(age / 1000, 1) / (settings.windowMs / 1000);
    return Math.max(Math.min(timeFactor, 1) ** (1 / settings.aggression), settings.minWeight);
  }

  #findSlowStartEnd(priorities: PrioritySet): number {
    const settings = this.#slowStart;
    if (settings === null) return 0;
    let until = 0;
    for (const host of priorities.allHosts()) until = Math.max(until, host.createdMs + settings.windowMs);
    return until;
  }

  #buildSet(set: HostSet, before: SetSources | null): SetSources {
    const all = this.#buildSource(set.hosts, before?.all ?? null);
    const healthy = this.#buildSource(set.healthyHosts, before?.healthy ?? null);
    const degraded = this.#buildSource(set.degradedHosts, before?.degraded ?? null);
    const localities = this.#locality.localityWeighted && set.hasLocalityWeights;
    return {
      all,
      healthy,
      degraded,
      healthyLocalities: localities ? this.#buildLocalities(set, (entry) => entry.healthy) : null,
      degradedLocalities: localities ? this.#buildLocalities(set, (entry) => entry.degraded) : null,
    };
  }

  #buildSource(hosts: readonly Host[], before: HostSource | null): HostSource {
    const index = before?.index ?? this.environment.random.uint32();
    let scheduler: EdfScheduler | null = null;
    if (this.#weighted && hosts.length > 0 && (this.#anySlowStart() || !sameWeights(hosts))) {
      scheduler = new EdfScheduler(hosts, this);
      // Workers and rebuilds must not all begin with the heaviest host.
      for (let skip = this.environment.random.uint32() % hosts.length; skip > 0; skip--) scheduler.pick();
    }
    return new HostSource(hosts, scheduler, index);
  }

  #anySlowStart(): boolean {
    return this.#slowStart !== null && this.environment.nowMs() < this.#slowStartUntilMs;
  }

  #buildLocalities(set: HostSet, hostsOf: (entry: LocalityHosts) => readonly Host[]): LocalityPicker | null {
    const sources: HostSource[] = [];
    const weights: number[] = [];
    for (const entry of set.localities) {
      const counted = entry.hosts.length - entry.excluded;
      const hosts = hostsOf(entry);
      if (counted <= 0 || hosts.length === 0 || entry.weight === 0) continue;
      const availability = Math.min(1, (set.overprovisioningFactor / 100) * (hosts.length / counted));
      sources.push(this.#buildSource(hosts, null));
      weights.push(entry.weight * availability);
    }
    return sources.length === 0 ? null : new LocalityPicker(sources, weights);
  }

  chooseHost(context: LoadBalancerContext | null): Host | null {
    let attempts = context === null ? 1 : context.hostSelectionRetryCount + 1;
    let host: Host | null = null;
    while (attempts-- > 0) {
      const source = this.#chooseSource(context);
      host = source === null ? null : this.pickFrom(source);
      if (host === null || context === null || !context.shouldSelectAnotherHost(host)) return host;
    }
    // None was to its liking: the last one, as Envoy does.
    return host;
  }

  #chooseSource(context: LoadBalancerContext | null): HostSource | null {
    let loads = this.#loads;
    if (context !== null) loads = context.priorityLoad(this.#priorities, loads);
    let priority = 0;
    let degraded = false;
    if (loads.healthy[0] !== 100) {
      const draw = (this.environment.random.uint32() % 100) + 1;
      const chosen = choosePriority(draw, loads);
      if (chosen < 0) return null;
      degraded = chosen >= loads.healthy.length;
      priority = degraded ? chosen - loads.healthy.length : chosen;
    }
    const sources = this.#sets[priority];
    if (sources === undefined) return null;
    if (this.#panic[priority]!) {
      this.environment.stats.lb_healthy_panic.inc();
      return this.#locality.failTrafficOnPanic ? null : sources.all;
    }
    const localities = degraded ? sources.degradedLocalities : sources.healthyLocalities;
    if (localities !== null) return localities.pick();
    return degraded ? sources.degraded : sources.healthy;
  }
}

/** @returns index into healthy, then degraded; -1 when the loads do not reach `draw` */
export function choosePriority(draw: number, loads: PriorityLoads): number {
  let reached = 0;
  const count = loads.healthy.length;
  for (let i = 0; i < count; i++) {
    reached += loads.healthy[i]!;
    if (draw <= reached) return i;
  }
  for (let i = 0; i < loads.degraded.length; i++) {
    reached += loads.degraded[i]!;
    if (draw <= reached) return count + i;
  }
  return -1;
}

function sameWeights(hosts: readonly Host[]): boolean {
  const first = hosts[0]!.weight;
  for (let i = 1; i < hosts.length; i++) if (hosts[i]!.weight !== first) return false;
  return true;
}
