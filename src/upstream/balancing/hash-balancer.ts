import type { Host } from '../host.ts';
import type { BalancerEnvironment, LoadBalancer, LoadBalancerContext } from '../load-balancer.ts';
import type { HostSet, PrioritySet } from '../priority-set.ts';
import { choosePriority } from './host-source-balancer.ts';
import { computePriorityState, type PriorityState } from './priority-loads.ts';

/** A hash function over the bytes of a latin1 text (xxHash64). */
export type TextHash = (text: string, seed?: bigint) => bigint;

/** What consistent hashing policies have in common. */
export interface ConsistentHashSettings {
  readonly hash: TextHash;
  /** Hosts are placed by their name instead of their address. */
  readonly useHostname: boolean;
  readonly localityWeighted: boolean;
}

/** A host and its share: all shares of a table make 1. */
export interface HostShare {
  readonly host: Host;
  readonly share: number;
}

/** The place of every hash value: built for one priority's hosts. */
export interface HashTable {
  /** @param attempt counts from 0; further attempts (retries) give other places */
  lookup(hash: bigint, attempt: number): Host;
}

/** What a host is hashed by: `hash_key` of its `envoy.lb` metadata, else its name or address. */
export function hashKeyOf(host: Host, useHostname: boolean): string {
  const key = host.metadata['envoy.lb']?.hash_key;
  if (typeof key === 'string' && key !== '') return key;
  return useHostname ? host.hostname : host.address.text;
}

function sharesOf(hosts: readonly Host[], whole: number, out: HostShare[]): void {
  let sum = 0;
  for (const host of hosts) sum += host.weight;
  for (const host of hosts) out.push({ host, share: (host.weight * whole) / sum });
}

/** Shares by host weight, or by locality weight and then host weight. */
function hostShares(set: HostSet, inPanic: boolean, localityWeighted: boolean): HostShare[] {
  const out: HostShare[] = [];
  if (!localityWeighted || !set.hasLocalityWeights) {
    sharesOf(inPanic ? set.hosts : set.healthyHosts, 1, out);
    return out;
  }
  let sum = 0;
  for (const locality of set.localities) sum += locality.weight;
  for (const locality of set.localities) {
    if (locality.weight > 0) sharesOf(inPanic ? locality.hosts : locality.healthy, locality.weight / sum, out);
  }
  return out;
}

/** Picks by hash: the same key gives the same host as long as it is there. Source: Envoy, ThreadAwareLoadBalancerBase. */
export class HashBalancer implements LoadBalancer {
  readonly #environment: BalancerEnvironment;
  readonly #priorities: PrioritySet;
  readonly #state: PriorityState;
  readonly #tables: readonly (HashTable | null)[];

  /** @param build called with at least one share */
  constructor(
    priorities: PrioritySet,
    environment: BalancerEnvironment,
    localityWeighted: boolean,
    build: (shares: readonly HostShare[]) => HashTable,
  ) {
    this.#environment = environment;
    this.#priorities = priorities;
    const threshold = environment.runtime.integer(
      'upstream.healthy_panic_threshold',
      environment.healthyPanicThreshold,
    );
    const state = computePriorityState(priorities.hostSets, threshold);
    this.#state = state;
    this.#tables = priorities.hostSets.map((set, priority) => {
      const shares = hostShares(set, state.panic[priority]!, localityWeighted);
      return shares.length === 0 ? null : build(shares);
    });
  }

  chooseHost(context: LoadBalancerContext | null): Host | null {
    const random = this.#environment.random;
    const key = context === null ? null : context.hashKey();
    const hash = key ?? (BigInt(random.uint32()) << 32n) | BigInt(random.uint32());
    let loads = this.#state.loads;
    if (context !== null) loads = context.priorityLoad(this.#priorities, loads);
    let priority = 0;
    if (loads.healthy[0] !== 100) {
      const chosen = choosePriority(Number(hash % 100n) + 1, loads);
      if (chosen < 0) return null;
      priority = chosen % loads.healthy.length;
    }
    const table = this.#tables[priority] ?? null;
    if (table === null) return null;
    if (this.#state.panic[priority]!) this.#environment.stats.lb_healthy_panic.inc();
    const attempts = context === null ? 1 : context.hostSelectionRetryCount + 1;
    let host: Host | null = null;
    for (let attempt = 0; attempt < attempts; attempt++) {
      host = table.lookup(hash, attempt);
      if (context === null || !context.shouldSelectAnotherHost(host)) return host;
    }
    return host;
  }
}
