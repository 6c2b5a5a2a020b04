import { type Demand, DemandOutcome } from '../routing/on-demand.ts';

/** Waits for something that was asked for on demand. */
export interface DemandWaiter {
  /** Once, never inside `ask`. */
  onDemandSettled(outcome: DemandOutcome): void;
}

/** Asks main for what a request needs and nobody has fetched yet. */
export interface OnDemand {
  ask(demand: Demand, waiter: DemandWaiter): void;
  /** The waiter is not told any more. */
  forget(waiter: DemandWaiter): void;
}

/** Where nothing is fetched on demand: what was asked for is not found. */
export const NOTHING_ON_DEMAND: OnDemand = {
  ask: (_demand, waiter) => queueMicrotask(() => waiter.onDemandSettled(DemandOutcome.Missing)),
  forget: () => {},
};
