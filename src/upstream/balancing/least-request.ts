import type { Host } from '../host.ts';
import type { BalancerEnvironment, BalancerPolicy, LoadBalancer } from '../load-balancer.ts';
import type { PrioritySet } from '../priority-set.ts';
import {
  type HostSource,
  HostSourceBalancer,
  type LocalitySettings,
  type SlowStartSettings,
} from './host-source-balancer.ts';

export interface LeastRequestSettings {
  /** At least 2 (Envoy's default); how many random hosts are compared. */
  readonly choiceCount: number;
  /** FULL_SCAN: every host is compared. */
  readonly fullScan: boolean;
  /** 1.0; how strongly active requests lower a weight when weights differ. */
  readonly activeRequestBias: number;
  readonly locality: LocalitySettings;
  readonly slowStart: SlowStartSettings | null;
}

class LeastRequestBalancer extends HostSourceBalancer {
  readonly #settings: LeastRequestSettings;
  readonly #bias: number;

  constructor(
    hosts: PrioritySet,
    environment: BalancerEnvironment,
    previous: LoadBalancer | null,
    settings: LeastRequestSettings,
  ) {
    // The base asks for weights while it builds its schedules, before the fields of this class are set.
    super(hosts, environment, previous, settings.locality, settings.slowStart, true);
    this.#settings = settings;
    this.#bias = settings.activeRequestBias;
  }

  override weightOf(host: Host): number {
    const bias = #bias in this ? this.#bias : 1;
    const load = host.stats.rqActive + 1;
    const divisor = bias === 1 ? load : load ** bias;
    return super.weightOf(host) / divisor;
  }

  protected pickFrom(source: HostSource): Host | null {
    if (source.scheduler !== null) return source.scheduler.pick();
    const hosts = source.hosts;
    const count = hosts.length;
    if (count === 0) return null;
    return this.#settings.fullScan ? this.#scan(hosts) : this.#sample(hosts);
  }

  #sample(hosts: readonly Host[]): Host {
    const random = this.environment.random;
    let best = hosts[random.uint32() % hosts.length]!;
    for (let i = 1; i < this.#settings.choiceCount; i++) {
      const other = hosts[random.uint32() % hosts.length]!;
      if (other.stats.rqActive < best.stats.rqActive) best = other;
    }
    return best;
  }

  /** Ties are broken at random: each of n equals with chance 1/n. */
  #scan(hosts: readonly Host[]): Host {
    const random = this.environment.random;
    let best = hosts[0]!;
    let equals = 1;
    for (let i = 1; i < hosts.length; i++) {
      const other = hosts[i]!;
      if (other.stats.rqActive > best.stats.rqActive) continue;
      if (other.stats.rqActive < best.stats.rqActive) {
        best = other;
        equals = 1;
      } else if (random.uint32() % ++equals === 0) {
        best = other;
      }
    }
    return best;
  }
}

/** envoy.load_balancing_policies.least_request. */
export class LeastRequestPolicy implements BalancerPolicy {
  readonly name = 'envoy.load_balancing_policies.least_request';
  readonly settings: LeastRequestSettings;

  constructor(settings: LeastRequestSettings) {
    this.settings = settings;
  }

  build(hosts: PrioritySet, environment: BalancerEnvironment, previous: LoadBalancer | null): LoadBalancer {
    return new LeastRequestBalancer(hosts, environment, previous, this.settings);
  }
}
