import type { DrainDecision, WorkerEnvironment } from '../pipeline/environment.ts';

/**
 * A listener's drain sequence: once begun, each response closes its connection with a probability that grows to 1 over the
 * drain time (`gradual`), or always (`immediate`). Source: Envoy, DrainManagerImpl::drainClose.
 */
export class DrainState implements DrainDecision {
  readonly #environment: WorkerEnvironment;
  #startMs = -1;
  #durationMs = 0;

  constructor(environment: WorkerEnvironment) {
    this.#environment = environment;
  }

  get draining(): boolean {
    return this.#startMs >= 0;
  }

  /** @param durationMs 0: every answer closes from now on */
  begin(durationMs: number): void {
    if (this.#startMs >= 0) return;
    this.#startMs = this.#environment.dispatcher.nowMs;
    this.#durationMs = durationMs;
  }

  drainClose(): boolean {
    if (this.#startMs < 0) return false;
    if (this.#durationMs <= 0) return true;
    const elapsed = this.#environment.dispatcher.nowMs - this.#startMs;
    return elapsed >= this.#durationMs || this.#environment.dispatcher.random.float() < elapsed / this.#durationMs;
  }
}
