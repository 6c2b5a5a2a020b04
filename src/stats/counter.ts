/**
 * A monotonic count. The hot path is one plain field increment; deltas are taken by the store, never here.
 * Created by a `Scope` or a stat group; a `Counter` built directly is detached (counted, never reported).
 */
export class Counter {
  /** Total since creation, in this thread. */
  value: number;
  /** The part of `value` that the store has already handed over in a delta. Owned by `StatsStore`. */
  reported: number;
  /** Identity within the owning store; -1 when detached. */
  readonly id: number;

  constructor(id = -1) {
    this.value = 0;
    this.reported = 0;
    this.id = id;
  }

  inc(): void {
    this.value++;
  }

  add(amount: number): void {
    this.value += amount;
  }
}
