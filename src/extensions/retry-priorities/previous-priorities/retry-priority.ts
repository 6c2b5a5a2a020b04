import type { RetryPriority } from '../../../pipeline/router/retry-plugins.ts';
import { computeAvailability, spreadLoad, totalAvailability } from '../../../upstream/balancing/priority-loads.ts';
import type { Host } from '../../../upstream/host.ts';
import type { PriorityLoads } from '../../../upstream/load-balancer.ts';
import type { PrioritySet } from '../../../upstream/priority-set.ts';

/** Takes priorities that were tried out of the load, every `updateFrequency` attempts anew. */
export class PreviousPriorities implements RetryPriority {
  readonly #updateFrequency: number;
  readonly #attempted: Host[] = [];
  readonly #excluded = new Set<number>();
  #loads: PriorityLoads | null = null;

  constructor(updateFrequency: number) {
    this.#updateFrequency = updateFrequency;
  }

  onHostAttempted(host: Host): void {
    this.#attempted.push(host);
  }

  priorityLoad(priorities: PrioritySet, loads: PriorityLoads): PriorityLoads {
    const attempts = this.#attempted.length;
    if (attempts < this.#updateFrequency) return loads;
    if (attempts % this.#updateFrequency === 0) {
      for (const host of this.#attempted) this.#excluded.add(host.priority);
      this.#loads = this.#compute(priorities);
    }
    return this.#loads ?? loads;
  }

  /** @returns null when no priority has any host available */
  #compute(priorities: PrioritySet): PriorityLoads | null {
    let available = this.#available(priorities);
    if (totalAvailability(available) === 0) {
      // All have been tried: begin again with all of them.
      this.#excluded.clear();
      this.#attempted.length = 0;
      available = this.#available(priorities);
      if (totalAvailability(available) === 0) return null;
    }
    return spreadLoad(available);
  }

  #available(priorities: PrioritySet): { healthy: number[]; degraded: number[] } {
    const available = computeAvailability(priorities.hostSets);
    for (const priority of this.#excluded) {
      if (priority >= available.healthy.length) continue;
      available.healthy[priority] = 0;
      available.degraded[priority] = 0;
    }
    return available;
  }
}
