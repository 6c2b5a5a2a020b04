import type { Host } from '../host.ts';
import type { BalancerEnvironment, BalancerPolicy, LoadBalancer } from '../load-balancer.ts';
import type { PrioritySet } from '../priority-set.ts';
import { type HostSource, HostSourceBalancer, type LocalitySettings } from './host-source-balancer.ts';

class RandomBalancer extends HostSourceBalancer {
  protected pickFrom(source: HostSource): Host | null {
    const count = source.hosts.length;
    return count === 0 ? null : source.hosts[this.environment.random.uint32() % count]!;
  }
}

/** envoy.load_balancing_policies.random: weights of hosts do not matter. */
export class RandomPolicy implements BalancerPolicy {
  readonly name = 'envoy.load_balancing_policies.random';
  readonly locality: LocalitySettings;

  constructor(locality: LocalitySettings) {
    this.locality = locality;
  }

  build(hosts: PrioritySet, environment: BalancerEnvironment, previous: LoadBalancer | null): LoadBalancer {
    return new RandomBalancer(hosts, environment, previous, this.locality, null, false);
  }
}
