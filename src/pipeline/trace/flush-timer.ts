import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import type { RuntimeReader } from '../../routing/runtime-fraction.ts';

const DEFAULT_INTERVAL_MS = 5_000;
/** A tracer whose configuration is gone must not be held by its timer for ever. */
const MAX_IDLE_TICKS = 60;

/** Calls a reporter at intervals, which a runtime key may change, until it has been idle for long. */
export class FlushTimer implements TimerTarget {
  readonly #timer: Timer;
  readonly #runtime: RuntimeReader;
  readonly #intervalKey: string;
  readonly #flush: () => void;
  #idleTicks = 0;

  constructor(dispatcher: Dispatcher, runtime: RuntimeReader, intervalKey: string, flush: () => void) {
    this.#timer = dispatcher.timerPool.take(this);
    this.#runtime = runtime;
    this.#intervalKey = intervalKey;
    this.#flush = flush;
    this.#arm();
  }

  /** There is something to flush. */
  touch(): void {
    this.#idleTicks = 0;
    if (!this.#timer.enabled) this.#arm();
  }

  #arm(): void {
    this.#timer.enable(Math.max(1, this.#runtime.integer(this.#intervalKey, DEFAULT_INTERVAL_MS)));
  }

  onTimer(_timer: Timer): void {
    this.#flush();
    if (++this.#idleTicks < MAX_IDLE_TICKS) this.#arm();
  }
}
