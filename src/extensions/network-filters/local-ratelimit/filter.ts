import { CloseType } from '../../../net/connection.ts';
import { FilterStatus, NetworkFilter } from '../../../net/filter.ts';
import type { Counter } from '../../../stats/counter.ts';

/** Tokens that come back evenly over time. Source: Envoy, AtomicTokenBucketImpl. */
export class TokenBucket {
  readonly #max: number;
  readonly #perMs: number;
  #tokens: number;
  #filledMs: number;

  /** @param nowMs monotonic; the bucket begins full */
  constructor(max: number, perFill: number, fillIntervalMs: number, nowMs: number) {
    this.#max = max;
    this.#perMs = perFill / fillIntervalMs;
    this.#tokens = max;
    this.#filledMs = nowMs;
  }

  take(nowMs: number): boolean {
    this.#tokens = Math.min(this.#max, this.#tokens + (nowMs - this.#filledMs) * this.#perMs);
    this.#filledMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** What the connections of one filter chain share in one worker. */
export interface ConnectionRate {
  readonly rateLimited: Counter;
  readonly bucket: TokenBucket;
  readonly enabled: () => boolean;
}

/** Closes connections that come faster than the bucket fills. Source: Envoy, extensions/filters/network/local_ratelimit. */
export class LocalRateLimitFilter extends NetworkFilter {
  readonly #rate: ConnectionRate;

  constructor(rate: ConnectionRate) {
    super();
    this.#rate = rate;
  }

  override onNewConnection(): FilterStatus {
    const rate = this.#rate;
    const { connection } = this.callbacks;
    if (!rate.enabled() || rate.bucket.take(connection.dispatcher.nowMs)) return FilterStatus.Continue;
    rate.rateLimited.inc();
    connection.close(CloseType.NoFlush, 'local_ratelimit_close_over_connection_limit');
    return FilterStatus.Stop;
  }
}
