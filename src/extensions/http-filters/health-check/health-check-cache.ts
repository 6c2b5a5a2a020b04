import type { SharedCell } from '../../../base/shared-table.ts';

/** Status and `degraded` in one number: status * 2 + degraded; times below it. */
const ANSWERS = 2048;

/**
 * The upstream's last answer to a health check, good until the running period of `cacheMs` is over; one for all workers.
 * Source: Envoy, HealthCheckCacheManager.
 */
export class HealthCheckCache {
  readonly #cacheMs: number;
  /** Period * ANSWERS + answer. */
  readonly #cell: SharedCell;

  constructor(cacheMs: number, cell: SharedCell) {
    this.#cacheMs = cacheMs;
    this.#cell = cell;
  }

  #period(nowMs: number): number {
    return Math.floor(nowMs / this.#cacheMs) + 1;
  }

  /** @param nowMs of one clock for all workers */
  store(nowMs: number, status: number, degraded: boolean): void {
    const value = this.#period(nowMs) * ANSWERS + status * 2 + (degraded ? 1 : 0);
    while (!this.#cell.swap(this.#cell.load(), value));
  }

  /** The status times two, plus one where degraded; null: nothing is cached. */
  answer(nowMs: number): number | null {
    const value = this.#cell.load();
    return Math.floor(value / ANSWERS) === this.#period(nowMs) ? value % ANSWERS : null;
  }
}
