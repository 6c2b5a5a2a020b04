import { xxHash64 } from '../base/xxhash64.ts';
import { HistogramUnit } from '../stats/histogram.ts';
import { defineStats } from '../stats/stat-group.ts';
import type { Scope } from '../stats/store.ts';

const STATS = defineStats({
  counters: ['init_fetch_timeout', 'update_attempt', 'update_failure', 'update_rejected', 'update_success'],
  neverImportGauges: ['update_time', 'version'],
  histograms: { update_duration: HistogramUnit.Milliseconds },
  textReadouts: ['version_text'],
} as const);

/** What every subscription counts. Source: Envoy, configuration/overview "xDS subscription statistics". */
export class SubscriptionStats {
  readonly #stats;

  /** @param scope such as `listener_manager.lds` */
  constructor(scope: Scope) {
    this.#stats = STATS.create(scope);
  }

  onAttempt(): void {
    this.#stats.update_attempt.inc();
  }

  onFailure(): void {
    this.#stats.update_failure.inc();
  }

  onRejected(): void {
    this.#stats.update_rejected.inc();
  }

  onTimeout(): void {
    this.#stats.init_fetch_timeout.inc();
  }

  /** @param durationMs how long applying took; negative: not measured */
  onSuccess(version: string, nowMs: number, durationMs: number): void {
    const stats = this.#stats;
    stats.update_success.inc();
    stats.update_time.set(nowMs);
    stats.version.setWide(xxHash64(Buffer.from(version, 'utf8').toString('latin1')));
    stats.version_text.set(version);
    if (durationMs >= 0) stats.update_duration.recordValue(durationMs);
  }
}
