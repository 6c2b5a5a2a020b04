import type { RuntimeReader } from '../routing/runtime-fraction.ts';
import type { StreamInfo } from './stream-info.ts';

/** Envoy's limits, changed by the runtime. */
const TOTAL_KEY = 'overload.premature_reset_total_stream_count';
const TOTAL = 500;
const LIFETIME_KEY = 'overload.premature_reset_min_stream_lifetime_seconds';
const LIFETIME_SECONDS = 1;

/**
 * Streams of one connection that ended before any answer: a client that opens streams only to reset them makes work (CVE-2023-44487).
 * Source: Envoy, ConnectionManagerImpl::maybeDrainDueToPrematureResets.
 */
export class PrematureResets {
  #ended = 0;
  #premature = 0;

  /** @returns whether half of {@link TOTAL} streams, or half of however many there were beyond that, ended so */
  onStreamEnd(info: StreamInfo, runtime: RuntimeReader): boolean {
    this.#ended++;
    if (info.responseCode !== 0) return false;
    const seconds = Math.floor((info.endMs - info.startMs) / 1000);
    if (seconds > runtime.integer(LIFETIME_KEY, LIFETIME_SECONDS)) return false;
    this.#premature++;
    return this.#premature * 2 >= Math.max(runtime.integer(TOTAL_KEY, TOTAL), this.#ended);
  }
}
