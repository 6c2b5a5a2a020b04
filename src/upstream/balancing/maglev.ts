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

export interface MaglevSettings extends ConsistentHashSettings {
  /** A prime; 65,537 by default. */
  readonly tableSize: number;
}

const FREE = 0xffff_ffff;

/** Each host fills the table in an order of its own, in turns by weight. Source: "Maglev", section 3.4; Envoy, MaglevTable. */
class MaglevTable implements HashTable {
  readonly #hosts: Host[];
  readonly #table: Uint32Array;
  minPerHost = Number.POSITIVE_INFINITY;
  maxPerHost = 0;

  constructor(unsorted: readonly HostShare[], settings: MaglevSettings) {
    // A host that is alone needs no table: Envoy's has one entry then, and says so.
    const size = unsorted.length === 1 ? 1 : settings.tableSize;
    // The table is filled in order: sorted by key, as in Envoy, it does not depend on the order of the endpoints.
    const keyOf = (each: HostShare): string => hashKeyOf(each.host, settings.useHostname);
    const shares = unsorted.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : keyOf(a) > keyOf(b) ? 1 : 0));
    this.#hosts = shares.map(({ host }) => host);
    this.#table = new Uint32Array(size).fill(FREE);
    const count = shares.length;
    const offsets = new Float64Array(count);
    const skips = new Float64Array(count);
    const next = new Float64Array(count);
    const targets = new Float64Array(count);
    const filled = new Uint32Array(count);
    let heaviest = 0;
    shares.forEach(({ host, share }, i) => {
      const key = hashKeyOf(host, settings.useHostname);
      offsets[i] = Number(settings.hash(key) % BigInt(size));
      skips[i] = size === 1 ? 1 : Number(settings.hash(key, 1n) % BigInt(size - 1)) + 1;
      heaviest = Math.max(heaviest, share);
    });
    let used = 0;
    for (let round = 1; used < size; round++) {
      for (let i = 0; i < count && used < size; i++) {
        // The heaviest host has a turn in every round, one of a third of its weight in every third.
        if (round * shares[i]!.share < targets[i]!) continue;
        targets[i] = targets[i]! + heaviest;
        let place = (offsets[i]! + skips[i]! * next[i]!) % size;
        while (this.#table[place] !== FREE) {
          next[i] = next[i]! + 1;
          place = (offsets[i]! + skips[i]! * next[i]!) % size;
        }
        this.#table[place] = i;
        next[i] = next[i]! + 1;
        filled[i] = filled[i]! + 1;
        used++;
      }
    }
    for (const entries of filled) {
      this.minPerHost = Math.min(this.minPerHost, entries);
      this.maxPerHost = Math.max(this.maxPerHost, entries);
    }
  }

  lookup(hash: bigint, attempt: number): Host {
    let mixed = hash;
    if (attempt > 0) mixed = BigInt.asUintN(64, hash ^ (0xffff_ffff_ffff_ffffn - BigInt(attempt) + 1n));
    return this.#hosts[this.#table[Number(mixed % BigInt(this.#table.length))]!]!;
  }
}

/** envoy.load_balancing_policies.maglev. */
export class MaglevPolicy implements BalancerPolicy {
  readonly name = 'envoy.load_balancing_policies.maglev';
  readonly settings: MaglevSettings;

  constructor(settings: MaglevSettings) {
    this.settings = settings;
  }

  build(hosts: PrioritySet, environment: BalancerEnvironment, _previous: LoadBalancer | null): LoadBalancer {
    const min = environment.scope.gauge('maglev_lb.min_entries_per_host', GaugeImportMode.NeverImport);
    const max = environment.scope.gauge('maglev_lb.max_entries_per_host', GaugeImportMode.NeverImport);
    return new HashBalancer(hosts, environment, this.settings.localityWeighted, (shares) => {
      const table = new MaglevTable(shares, this.settings);
      min.set(table.minPerHost);
      max.set(table.maxPerHost);
      return table;
    });
  }
}
