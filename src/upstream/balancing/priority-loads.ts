import type { PriorityLoads } from '../load-balancer.ts';
import type { HostSet } from '../priority-set.ts';

/** How load spreads over priorities, and which of them are in panic. */
export interface PriorityState {
  readonly loads: PriorityLoads;
  readonly panic: readonly boolean[];
}

/** Hosts that count: those that wait for their first health check do not. */
function countedHosts(set: HostSet): number {
  return set.hosts.length - set.excludedHosts.length;
}

function totalWeight(hosts: HostSet['hosts']): number {
  let sum = 0;
  for (const host of hosts) sum += host.weight;
  return sum;
}

/** Share of available hosts times the overprovisioning factor, in percent, at most 100. */
function availability(set: HostSet): { healthy: number; degraded: number } {
  const counted = countedHosts(set);
  if (counted <= 0) return { healthy: 0, degraded: 0 };
  let healthy = set.healthyHosts.length;
  let degraded = set.degradedHosts.length;
  let total = counted;
  if (set.weightedPriorityHealth) {
    healthy = totalWeight(set.healthyHosts);
    degraded = totalWeight(set.degradedHosts);
    total = totalWeight(set.hosts) - totalWeight(set.excludedHosts);
    if (total <= 0) return { healthy: 0, degraded: 0 };
  }
  const factor = set.overprovisioningFactor;
  return {
    healthy: Math.min(100, Math.floor((healthy * factor) / total)),
    degraded: Math.min(100, Math.floor((degraded * factor) / total)),
  };
}

function isInPanic(set: HostSet, thresholdPercent: number): boolean {
  const counted = countedHosts(set);
  const healthy = counted === 0 ? 0 : (100 * set.healthyHosts.length) / counted;
  const degraded = counted === 0 ? 0 : (100 * set.degradedHosts.length) / counted;
  return healthy + degraded < thresholdPercent;
}

/** Gives each priority what it can take, in order. @returns what is left over, and the first priority that takes any */
function distribute(
  loads: number[],
  available: readonly number[],
  total: number,
  normalized: number,
): { first: number; left: number } {
  let first = -1;
  for (let i = 0; i < available.length; i++) {
    if (first < 0 && available[i]! > 0) first = i;
    loads[i] = Math.min(total, Math.floor((available[i]! * 100) / normalized));
    total -= loads[i]!;
  }
  return { first, left: total };
}

/** Availability of every priority, in percent, at most 100 each. */
export interface Availability {
  readonly healthy: number[];
  readonly degraded: number[];
}

export function computeAvailability(sets: readonly HostSet[]): Availability {
  const out: Availability = { healthy: [], degraded: [] };
  for (const set of sets) {
    const { healthy, degraded } = availability(set);
    out.healthy.push(healthy);
    out.degraded.push(degraded);
  }
  return out;
}

/** All of it together, at most 100. */
export function totalAvailability(available: Availability): number {
  let sum = 0;
  for (const percent of available.healthy) sum += percent;
  for (const percent of available.degraded) sum += percent;
  return Math.min(100, sum);
}

/** Spreads 100 over the priorities in order: healthy hosts first, then degraded ones. All zero when nothing is available. */
export function spreadLoad(available: Availability): { healthy: number[]; degraded: number[] } {
  const count = available.healthy.length;
  const healthy = new Array<number>(count).fill(0);
  const degraded = new Array<number>(count).fill(0);
  const normalized = totalAvailability(available);
  if (normalized > 0) {
    const first = distribute(healthy, available.healthy, 100, normalized);
    const second = distribute(degraded, available.degraded, first.left, normalized);
    // What still remains are rounding errors.
    if (second.left > 0) {
      if (first.first >= 0) healthy[first.first]! += second.left;
      else degraded[second.first]! += second.left;
    }
  }
  return { healthy, degraded };
}

/** Source: Envoy's documentation, "Priority levels", "Degraded endpoints", "Panic threshold"; LoadBalancerBase. */
export function computePriorityState(sets: readonly HostSet[], panicThresholdPercent: number): PriorityState {
  const count = sets.length;
  const available = computeAvailability(sets);
  const normalized = totalAvailability(available);
  const { healthy, degraded } = spreadLoad(available);
  const threshold = Math.min(100, panicThresholdPercent);
  const panic = new Array<boolean>(count).fill(false);
  if (threshold === 0 && normalized === 0) {
    // Panic is off and nobody is there: the load must go somewhere, to find no host.
    healthy[0] = 100;
    return { loads: { healthy, degraded }, panic };
  }
  let totalPanic = true;
  for (let i = 0; i < count; i++) {
    panic[i] = normalized === 100 ? false : isInPanic(sets[i]!, threshold);
    totalPanic = totalPanic && panic[i]!;
  }
  if (totalPanic) spreadByHostCount(sets, healthy, degraded);
  return { loads: { healthy, degraded }, panic };
}

/** Every priority is in panic: load follows the number of hosts, healthy or not. */
function spreadByHostCount(sets: readonly HostSet[], healthy: number[], degraded: number[]): void {
  healthy.fill(0);
  degraded.fill(0);
  let total = 0;
  for (const set of sets) total += set.hosts.length;
  if (total === 0) {
    healthy[0] = 100;
    return;
  }
  let left = 100;
  let firstNonEmpty = -1;
  for (let i = 0; i < sets.length; i++) {
    const hosts = sets[i]!.hosts.length;
    if (firstNonEmpty < 0 && hosts > 0) firstNonEmpty = i;
    healthy[i] = Math.floor((100 * hosts) / total);
    left -= healthy[i]!;
  }
  healthy[firstNonEmpty]! += left;
}
