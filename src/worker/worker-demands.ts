import type { DemandWaiter, OnDemand } from '../pipeline/on-demand.ts';
import type { Demand, DemandOutcome } from '../routing/on-demand.ts';
import type { FromWorker } from './messages.ts';

interface OpenDemand {
  readonly demandId: number;
  readonly key: string;
  readonly waiters: Set<DemandWaiter>;
}

function keyOf(demand: Demand): string {
  switch (demand.kind) {
    case 'scope':
      return `scope|${demand.scopes}|${demand.name}`;
    case 'virtual-host':
      return `virtual-host|${demand.routes}|${demand.host}`;
    case 'cluster':
      return `cluster|${Buffer.from(demand.source).toString('latin1')}|${demand.timeoutMs}|${demand.name}`;
  }
}

/** What requests of one worker wait for: main is asked once for each thing, however many requests need it. */
export class WorkerDemands implements OnDemand {
  readonly #post: (message: FromWorker) => void;
  readonly #byKey = new Map<string, OpenDemand>();
  readonly #byId = new Map<number, OpenDemand>();
  readonly #byWaiter = new Map<DemandWaiter, OpenDemand>();
  #next = 1;

  constructor(post: (message: FromWorker) => void) {
    this.#post = post;
  }

  ask(demand: Demand, waiter: DemandWaiter): void {
    const key = keyOf(demand);
    let open = this.#byKey.get(key);
    const isNew = open === undefined;
    if (open === undefined) {
      open = { demandId: this.#next++, key, waiters: new Set() };
      this.#byKey.set(key, open);
      this.#byId.set(open.demandId, open);
    }
    open.waiters.add(waiter);
    this.#byWaiter.set(waiter, open);
    if (isNew) this.#post({ kind: 'demand', demandId: open.demandId, demand });
  }

  forget(waiter: DemandWaiter): void {
    this.#byWaiter.get(waiter)?.waiters.delete(waiter);
    this.#byWaiter.delete(waiter);
  }

  /** Main has answered. @throws what the first of them throws that fails (a bug), when all have been told */
  settle(demandId: number, outcome: DemandOutcome): void {
    const open = this.#byId.get(demandId);
    if (open === undefined) return;
    this.#byId.delete(demandId);
    this.#byKey.delete(open.key);
    const faults: unknown[] = [];
    for (const waiter of [...open.waiters]) {
      if (this.#byWaiter.get(waiter) !== open) continue;
      this.#byWaiter.delete(waiter);
      try {
        waiter.onDemandSettled(outcome);
      } catch (error) {
        faults.push(error);
      }
    }
    if (faults.length > 0) throw faults[0];
  }
}
