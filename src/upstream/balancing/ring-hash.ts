import { GaugeImportMode } from '../../stats/gauge.ts';
import type { Host } from '../host.ts';
import type { BalancerEnvironment, BalancerPolicy, LoadBalancer } from '../load-balancer.ts';
import type { PrioritySet } from '../priority-set.ts';
import {
  type ConsistentHashSettings,
  HashBalancer,
  type HashTable,
  type HostShare,
  hashKeyOf,
} from './hash-balancer.ts';

export interface RingHashSettings extends ConsistentHashSettings {
  /** 1024 by default. */
  readonly minimumRingSize: number;
  /** 8,388,608 by default. */
  readonly maximumRingSize: number;
}

/** Points of all hosts on a circle of 2^64; a key belongs to the next point. Source: Envoy, RingHashLoadBalancer. */
class HashRing implements HashTable {
  readonly #hosts: Host[] = [];
  /** Halves of the points, ascending: numbers compare without allocation. */
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  readonly #owner: Uint32Array;
  minPerHost = Number.POSITIVE_INFINITY;
  maxPerHost = 0;

  constructor(shares: readonly HostShare[], settings: RingHashSettings) {
    let smallest = 1;
    for (const { share } of shares) smallest = Math.min(smallest, share);
    // The lightest host gets a whole number of points, unless the ring would become too large.
    const scale = Math.min(Math.ceil(smallest * settings.minimumRingSize) / smallest, settings.maximumRingSize);
    const points: { point: bigint; owner: number }[] = [];
    let target = 0;
    for (const { host, share } of shares) {
      const prefix = `${hashKeyOf(host, settings.useHostname)}_`;
      const owner = this.#hosts.push(host) - 1;
      target += scale * share;
      let count = 0;
      while (points.length < target) points.push({ point: settings.hash(prefix + count++), owner });
      this.minPerHost = Math.min(this.minPerHost, count);
      this.maxPerHost = Math.max(this.maxPerHost, count);
    }
    points.sort((a, b) => (a.point < b.point ? -1 : a.point > b.point ? 1 : 0));
    this.#high = Uint32Array.from(points, ({ point }) => Number(point >> 32n));
    this.#low = Uint32Array.from(points, ({ point }) => Number(point & 0xffff_ffffn));
    this.#owner = Uint32Array.from(points, ({ owner }) => owner);
  }

  get size(): number {
    return this.#owner.length;
  }

  lookup(hash: bigint, attempt: number): Host {
    const high = Number(hash >> 32n);
    const low = Number(hash & 0xffff_ffffn);
    // The first point at or behind the hash; behind the last one comes the first.
    let from = 0;
    let to = this.#owner.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const h = this.#high[middle]!;
      if (h < high || (h === high && this.#low[middle]! < low)) from = middle + 1;
      else to = middle;
    }
    const at = from === this.#owner.length ? 0 : from;
    return this.#hosts[this.#owner[(at + attempt) % this.#owner.length]!]!;
  }
}

/** envoy.load_balancing_policies.ring_hash. */
export class RingHashPolicy implements BalancerPolicy {
  readonly name = 'envoy.load_balancing_policies.ring_hash';
  readonly settings: RingHashSettings;

  constructor(settings: RingHashSettings) {
    this.settings = settings;
  }

  build(hosts: PrioritySet, environment: BalancerEnvironment, _previous: LoadBalancer | null): LoadBalancer {
    // Every thread's ring is the same.
    const gauge = (name: string) => environment.scope.gauge(`ring_hash_lb.${name}`, GaugeImportMode.NeverImport);
    const size = gauge('size');
    const min = gauge('min_hashes_per_host');
    const max = gauge('max_hashes_per_host');
    return new HashBalancer(hosts, environment, this.settings.localityWeighted, (shares) => {
      const ring = new HashRing(shares, this.settings);
      size.set(ring.size);
      min.set(ring.minPerHost);
      max.set(ring.maxPerHost);
      return ring;
    });
  }
}
