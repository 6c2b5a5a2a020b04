import { SharedCell } from './shared-table.ts';

/**
 * Tokens that come back evenly over time, up to a maximum; it begins full. All of its state is one number, the moment at which
 * it would have been empty, so that workers can share it. Source: Envoy, AtomicTokenBucketImpl.
 */
export class TokenBucket {
  readonly maxTokens: number;
  readonly tokensPerMs: number;
  readonly #emptyAt: SharedCell;

  /** @param cell where several workers share the bucket: they must then give times of one clock */
  constructor(
    maxTokens: number,
    tokensPerFill: number,
    fillIntervalMs: number,
    cell: SharedCell = SharedCell.private(),
  ) {
    this.maxTokens = maxTokens;
    this.tokensPerMs = tokensPerFill / fillIntervalMs;
    this.#emptyAt = cell;
  }

  #tokens(nowMs: number, emptyAt: number): number {
    // 0: nobody has taken anything yet.
    if (emptyAt === 0) return this.maxTokens;
    return Math.min(this.maxTokens, Math.max(0, (nowMs - emptyAt) * this.tokensPerMs));
  }

  /** Never 0, which stands for an untouched bucket. */
  #emptyAtFor(nowMs: number, tokens: number): number {
    return nowMs - tokens / this.tokensPerMs || Number.MIN_VALUE;
  }

  /** Takes `count` tokens, or none when there are fewer. @param nowMs any clock that does not go back */
  take(nowMs: number, count = 1): boolean {
    for (;;) {
      const before = this.#emptyAt.load();
      const tokens = this.#tokens(nowMs, before);
      if (tokens < count) return false;
      if (count === 0 || this.#emptyAt.swap(before, this.#emptyAtFor(nowMs, tokens - count))) return true;
    }
  }

  /** Takes as many whole tokens as there are, at most `count`. @returns how many */
  takeUpTo(nowMs: number, count: number): number {
    for (;;) {
      const before = this.#emptyAt.load();
      const tokens = this.#tokens(nowMs, before);
      const taken = Math.min(count, Math.floor(tokens));
      if (taken === 0 || this.#emptyAt.swap(before, this.#emptyAtFor(nowMs, tokens - taken))) return taken;
    }
  }

  /** Puts tokens back, up to the maximum. */
  giveBack(nowMs: number, count: number): void {
    for (;;) {
      const before = this.#emptyAt.load();
      const tokens = Math.max(0, Math.min(this.maxTokens, this.#tokens(nowMs, before) + count));
      if (this.#emptyAt.swap(before, this.#emptyAtFor(nowMs, tokens))) return;
    }
  }

  /** Sets how many tokens there are now. */
  reset(nowMs: number, count: number): void {
    this.giveBack(nowMs, Number.NEGATIVE_INFINITY);
    this.giveBack(nowMs, count);
  }

  /** Until a whole token is there, ms; 0: now. */
  msUntilToken(nowMs: number): number {
    return Math.max(0, (1 - this.#tokens(nowMs, this.#emptyAt.load())) / this.tokensPerMs);
  }

  /** Whole tokens left. */
  remaining(nowMs: number): number {
    return Math.floor(this.#tokens(nowMs, this.#emptyAt.load()));
  }
}
