import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { SharedCell } from '../../../base/shared-table.ts';
import type { Timer, TimerTarget } from '../../../base/timer-wheel.ts';
import { CloseType } from '../../../net/connection.ts';
import { FilterStatus, NetworkFilter } from '../../../net/filter.ts';
import { defineStats } from '../../../stats/stat-group.ts';

export const CONNECTION_LIMIT_STATS = defineStats({
  counters: ['limited_connections'],
  gauges: ['active_connections'],
} as const);

/** What the connections of one filter chain share. */
export class ConnectionLimit {
  readonly stats: ReturnType<typeof CONNECTION_LIMIT_STATS.create>;
  readonly max: number;
  /** Ms that a connection over the limit is kept before it is closed. */
  readonly delayMs: number;
  readonly enabled: () => boolean;
  /** Connections of all workers. */
  readonly active: SharedCell;

  constructor(
    stats: ReturnType<typeof CONNECTION_LIMIT_STATS.create>,
    max: number,
    delayMs: number,
    enabled: () => boolean,
    active: SharedCell,
  ) {
    this.stats = stats;
    this.max = max;
    this.delayMs = delayMs;
    this.enabled = enabled;
    this.active = active;
  }
}

/** Closes connections beyond a number. Source: Envoy, extensions/filters/network/connection_limit. */
export class ConnectionLimitFilter extends NetworkFilter implements TimerTarget {
  readonly #limit: ConnectionLimit;
  #counted = false;
  #rejected = false;
  #timer: Timer | null = null;

  constructor(limit: ConnectionLimit) {
    super();
    this.#limit = limit;
  }

  override onNewConnection(): FilterStatus {
    const limit = this.#limit;
    if (!limit.enabled()) return FilterStatus.Continue;
    limit.stats.active_connections.inc();
    this.#counted = true;
    if (limit.active.add(1) < limit.max) return FilterStatus.Continue;
    limit.stats.limited_connections.inc();
    this.#rejected = true;
    if (limit.delayMs > 0) {
      this.#timer = this.callbacks.connection.dispatcher.timerPool.take(this);
      this.#timer.enable(limit.delayMs);
    } else {
      this.#close();
    }
    return FilterStatus.Stop;
  }

  override onRead(_data: ByteBuffer): FilterStatus {
    return this.#rejected ? FilterStatus.Stop : FilterStatus.Continue;
  }

  onTimer(_timer: Timer): void {
    this.#close();
  }

  #close(): void {
    this.callbacks.connection.close(CloseType.NoFlush, 'over_connection_limit');
  }

  override onClose(): void {
    if (this.#timer !== null) this.callbacks.connection.dispatcher.timerPool.give(this.#timer);
    this.#timer = null;
    if (!this.#counted) return;
    this.#counted = false;
    this.#limit.active.add(-1);
    this.#limit.stats.active_connections.dec();
  }
}
