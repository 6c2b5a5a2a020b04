/** What one client may ask of the server. */
export interface ClientLimits {
  /** Names of one type on one stream; more end the stream. */
  readonly maxNames: number;
  /** Responses of one type that may wait for their acknowledgement; what comes later waits for one, and is the latest then. */
  readonly maxPendingResponses: number;
  /** Requests of one stream, each second, in the long run; more are read later. */
  readonly requestsPerSecond: number;
}

export const DEFAULT_LIMITS: ClientLimits = { maxNames: 200_000, maxPendingResponses: 32, requestsPerSecond: 1000 };

/** So many seconds' worth of requests may come at once: a proxy that starts has much to ask. */
const BURST_SECONDS = 2;

/** How many requests a stream may make now. */
export class RequestBudget {
  readonly #perSecond: number;
  #tokens: number;
  #atMs: number;

  constructor(perSecond: number, nowMs: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond * BURST_SECONDS;
    this.#atMs = nowMs;
  }

  /** @returns false: not now */
  take(nowMs: number): boolean {
    if (this.#tokens < 1) {
      const earned = ((nowMs - this.#atMs) / 1000) * this.#perSecond;
      this.#tokens = Math.min(this.#perSecond * BURST_SECONDS, this.#tokens + earned);
      this.#atMs = nowMs;
    }
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Until the next request may come, ms. */
  get waitMs(): number {
    return Math.max(1, Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000));
  }
}
