import type { TokenBucket } from '../../../base/token-bucket.ts';
import { CloseType } from '../../../net/connection.ts';
import { FilterStatus, NetworkFilter } from '../../../net/filter.ts';
import type { Counter } from '../../../stats/counter.ts';

/** What the connections of one filter chain (or of all with one `share_key`) share. */
export interface ConnectionRate {
  readonly rateLimited: Counter;
  readonly bucket: TokenBucket;
  /** Added to the worker's time: workers must agree on it. */
  readonly clockOffsetMs: number;
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
    if (!rate.enabled() || rate.bucket.take(connection.dispatcher.nowMs + rate.clockOffsetMs))
      return FilterStatus.Continue;
    rate.rateLimited.inc();
    connection.close(CloseType.NoFlush, 'local_ratelimit_close_over_connection_limit');
    return FilterStatus.Stop;
  }
}
