import type { TokenBucket } from '../../../base/token-bucket.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../../net/filter.ts';
import type { Counter } from '../../../stats/counter.ts';

/** What the connections of one listener share. */
export interface AcceptRate {
  readonly rateLimited: Counter;
  readonly bucket: TokenBucket;
  /** Milliseconds of a clock that all workers agree on. */
  readonly nowMs: () => number;
  readonly enabled: () => boolean;
}

/** Closes connections that come faster than the bucket fills, before anything is read from them. Stateless: one for all. */
export class LocalRateLimitFilter extends ListenerFilter {
  readonly maxPeekBytes = 0;
  readonly #rate: AcceptRate;

  constructor(rate: AcceptRate) {
    super();
    this.#rate = rate;
  }

  override onAccept(_socket: AcceptedSocket): PeekStatus {
    const rate = this.#rate;
    if (!rate.enabled() || rate.bucket.take(rate.nowMs())) return PeekStatus.Continue;
    rate.rateLimited.inc();
    return PeekStatus.Close;
  }
}
