import type { Host } from '../host.ts';
import type { BalancerEnvironment, BalancerPolicy, LoadBalancer } from '../load-balancer.ts';
import type { PrioritySet } from '../priority-set.ts';
import {
  type HostSource,
  HostSourceBalancer,
  type LocalitySettings,
  type SlowStartSettings,
} from './host-source-balancer.ts';

class RoundRobinBalancer extends HostSourceBalancer {
  protected pickFrom(source: HostSource): Host | null {
    if (source.scheduler !== null) return source.scheduler.pick();
    const count = source.hosts.length;
    if (count === 0) return null;
    source.index = (source.index + 1) % count;
    return source.hosts[source.index]!;
  }
}

/** envoy.load_balancing_policies.round_robin. */
export class RoundRobinPolicy implements BalancerPolicy {
  readonly name = 'envoy.load_balancing_policies.round_robin';
  readonly locality: LocalitySettings;
  readonly slowStart: SlowStartSettings | null;

  constructor(locality: LocalitySettings, slowStart: SlowStartSettings | null) {
    this.locality = locality;
    this.slowStart = slowStart;
  }

  build(hosts: PrioritySet, environment: BalancerEnvironment, previous: LoadBalancer | null): LoadBalancer {
    return new RoundRobinBalancer(hosts, environment, previous, this.locality, this.slowStart, true);
  }
}
