import { assert } from './assert.ts';
import type { Clock } from './clock.ts';

/** Receives expiries. One long-lived object serves several timers: it tells them apart by identity. */
export interface TimerTarget {
  onTimer(timer: Timer): void;
}

const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
const SLOT_MASK = SLOTS - 1;
const LEVELS = 4;
/** A timer is never put further ahead than this; a later one is moved on when its slot comes up. */
const MAX_SLOT_DISTANCE = 2 ** 31;
/**
 * A wake-up that comes this late, in milliseconds, comes from a thread that stalled: what its sockets have for it by then goes first,
 * as in libevent's loop, so that an answer which is already there is no timeout. The runtime would run the timers first.
 */
const LATE_MS = 8;
/** The longest delay that the runtime's own timer takes. */
const MAX_NATIVE_DELAY_MS = 2 ** 31 - 1;

/**
 * A restartable one-shot timer. Re-enabling to a later time only writes a number: the wheel moves the timer when its old
 * slot comes up. So an idle timeout that is pushed back on every byte costs nothing.
 */
export class Timer {
  readonly wheel: TimerWheel;
  /** Changed only while disabled (see TimerPool). */
  target: TimerTarget;
  /** Expiry in wheel milliseconds; Infinity when disabled. */
  deadline = Number.POSITIVE_INFINITY;
  /** Wheel tick of the slot that it is linked into; meaningful while linked. */
  slotTick = 0;
  next: Timer | null = null;
  previous: Timer | null = null;
  slot = -1;

  constructor(wheel: TimerWheel, target: TimerTarget) {
    this.wheel = wheel;
    this.target = target;
  }

  get enabled(): boolean {
    return this.deadline !== Number.POSITIVE_INFINITY;
  }

  /** Fires once, not before `delayMs` from now, at 1 ms resolution. Replaces an earlier deadline. */
  enable(delayMs: number): void {
    this.wheel.schedule(this, delayMs);
  }

  /** Stays linked until its slot comes up; cheap to enable again. Use `destroy` when it will not be. */
  disable(): void {
    this.deadline = Number.POSITIVE_INFINITY;
  }

  destroy(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    this.wheel.unlink(this);
  }
}

/** Hierarchical timing wheel, 1 ms resolution, over one runtime timer. One per thread. */
export class TimerWheel {
  readonly #clock: Clock;
  readonly #slots: (Timer | null)[] = new Array(SLOTS * LEVELS).fill(null);
  readonly #origin: number;
  /** Ticks up to and including this one have been processed. */
  #tick = 0;
  #linked = 0;
  #wakeTick = Number.POSITIVE_INFINITY;
  #native: ReturnType<typeof setTimeout> | null = null;
  #running = false;
  #thrown: unknown;
  #hasThrown = false;
  /** The clock's reading at the beginning of the owner's turn, from which delays count; -1 outside a turn: the clock is read. */
  turnMs = -1;
  /** Nothing is scheduled with the runtime: the owner calls `advance`, or the wheel was stopped. */
  #manual: boolean;
  readonly #onNative: () => void;
  readonly #onError: (error: unknown) => void;

  /**
   * @param beforeRun called before timers run from the runtime's own timer (a dispatcher refreshes its time there)
   * @param afterRun called after them
   * @param manual true: the owner calls `advance`; nothing is scheduled with the runtime (tests)
   * @param onError called with what a target threw; what it throws itself leaves `advance` once all due timers ran
   */
  constructor(
    clock: Clock,
    beforeRun: () => void,
    afterRun: () => void,
    manual = false,
    onError: (error: unknown) => void = (error) => {
      throw error;
    },
  ) {
    this.#clock = clock;
    this.#onError = onError;
    this.#origin = clock.monotonicMs();
    this.#manual = manual;
    const run = (): void => {
      this.#wakeTick = Number.POSITIVE_INFINITY;
      if (this.#manual) return;
      beforeRun();
      try {
        this.advance();
      } finally {
        afterRun();
      }
    };
    // The first is called before the sockets that became ready meanwhile, the second behind them.
    const runBehindSockets = (): void => {
      setImmediate(run);
    };
    this.#onNative = () => {
      this.#native = null;
      if (this.#clock.monotonicMs() - this.#origin - this.#wakeTick < LATE_MS) run();
      else setImmediate(runBehindSockets);
    };
  }

  /** Monotonic milliseconds, the same within a turn. */
  get nowMs(): number {
    return this.turnMs >= 0 ? this.turnMs : this.#clock.monotonicMs();
  }

  /** Timers that stand in the wheel, enabled or not: zero, once all owners are gone and pooled ones have run out. */
  get linkedCount(): number {
    return this.#linked;
  }

  schedule(timer: Timer, delayMs: number): void {
    assert(!Number.isNaN(delayMs), 'timer delay is not a number');
    const now = this.nowMs - this.#origin;
    const deadline = now + Math.max(delayMs, 0);
    timer.deadline = deadline;
    if (deadline === Number.POSITIVE_INFINITY) return;
    // While nothing was linked, time went by unnoticed.
    if (this.#linked === 0 && !this.#running) this.#tick = Math.max(this.#tick, Math.floor(now));
    if (timer.slot >= 0) {
      if (timer.slotTick <= Math.ceil(deadline)) return; // found again when its slot comes up
      this.unlink(timer);
    }
    this.#link(timer);
    this.#arm(timer.slotTick);
  }

  unlink(timer: Timer): void {
    const slot = timer.slot;
    if (slot < 0) return;
    if (timer.previous === null) this.#slots[slot] = timer.next;
    else timer.previous.next = timer.next;
    if (timer.next !== null) timer.next.previous = timer.previous;
    timer.next = null;
    timer.previous = null;
    timer.slot = -1;
    this.#linked--;
    if (this.#linked === 0 && this.#native !== null) {
      clearTimeout(this.#native);
      this.#native = null;
      this.#wakeTick = Number.POSITIVE_INFINITY;
    }
  }

  #link(timer: Timer): void {
    let due = Math.ceil(timer.deadline);
    if (due <= this.#tick) due = this.#tick + 1;
    if (due - this.#tick > MAX_SLOT_DISTANCE) due = this.#tick + MAX_SLOT_DISTANCE;
    const distance = due - this.#tick;
    let level = 0;
    if (distance >= 2 ** (SLOT_BITS * 3)) level = 3;
    else if (distance >= 2 ** (SLOT_BITS * 2)) level = 2;
    else if (distance >= 2 ** SLOT_BITS) level = 1;
    // A higher level's slot comes up at the slot's first tick; there the timer moves down a level.
    const span = 2 ** (SLOT_BITS * level);
    const unit = Math.floor(due / span);
    timer.slotTick = level === 0 ? due : unit * span;
    const slot = level * SLOTS + (unit & SLOT_MASK);
    timer.slot = slot;
    const head = this.#slots[slot]!;
    timer.next = head;
    timer.previous = null;
    if (head !== null) head.previous = timer;
    this.#slots[slot] = timer;
    this.#linked++;
  }

  #arm(tick: number): void {
    if (this.#manual || tick >= this.#wakeTick) return;
    if (this.#native !== null) clearTimeout(this.#native);
    this.#wakeTick = tick;
    const now = this.#clock.monotonicMs() - this.#origin;
    this.#native = setTimeout(this.#onNative, Math.min(Math.max(0, Math.ceil(tick - now)), MAX_NATIVE_DELAY_MS));
  }

  /** The thread's work is over: lets the runtime forget it. Timers that are left never run. */
  stop(): void {
    this.#manual = true;
    if (this.#native !== null) clearTimeout(this.#native);
    this.#native = null;
  }

  /** Runs everything that is due by the clock. */
  advance(): void {
    assert(!this.#running, 'a timer target called advance');
    this.#running = true;
    this.#runDue();
    this.#running = false;
    if (this.#linked > 0) this.#arm(this.#nextSlotTick());
    if (this.#hasThrown) {
      this.#hasThrown = false;
      const thrown = this.#thrown;
      this.#thrown = undefined;
      throw thrown;
    }
  }

  #runDue(): void {
    const now = Math.floor(this.#clock.monotonicMs() - this.#origin);
    while (this.#tick < now) {
      if (this.#linked === 0) {
        this.#tick = now;
        break;
      }
      const next = this.#nextSlotTick();
      if (next > now) {
        this.#tick = now;
        break;
      }
      this.#tick = next;
      this.#runTick(next);
    }
  }

  #fire(timer: Timer): void {
    timer.deadline = Number.POSITIVE_INFINITY;
    try {
      timer.target.onTimer(timer);
    } catch (error) {
      try {
        this.#onError(error);
      } catch (rethrown) {
        this.#thrown = rethrown;
        this.#hasThrown = true;
      }
    }
  }

  /** The earliest tick after the present one at which a non-empty slot comes up. */
  #nextSlotTick(): number {
    let best = Number.POSITIVE_INFINITY;
    for (let level = 0; level < LEVELS; level++) {
      const span = 2 ** (SLOT_BITS * level);
      const unit = Math.floor(this.#tick / span);
      for (let step = 1; step <= SLOTS; step++) {
        const tick = (unit + step) * span;
        if (tick >= best) break;
        if (this.#slots[level * SLOTS + ((unit + step) & SLOT_MASK)] !== null) {
          best = tick;
          break;
        }
      }
    }
    return best;
  }

  #runTick(tick: number): void {
    for (let level = LEVELS - 1; level >= 0; level--) {
      const span = 2 ** (SLOT_BITS * level);
      if (tick % span !== 0) continue;
      const slot = level * SLOTS + (Math.floor(tick / span) & SLOT_MASK);
      let timer = this.#slots[slot]!;
      // Detach the whole list first: a callback may link new timers into this very slot.
      const due: Timer[] = [];
      while (timer !== null) {
        const following: Timer | null = timer.next;
        if (timer.slotTick <= tick) due.push(timer);
        timer = following!;
      }
      for (const candidate of due) this.unlink(candidate);
      for (let i = due.length - 1; i >= 0; i--) {
        const candidate = due[i]!;
        if (candidate.slot >= 0 || !candidate.enabled) continue;
        if (candidate.deadline <= tick) this.#fire(candidate);
        else this.#link(candidate);
      }
    }
  }
}

/**
 * Timers that many short-lived owners take and give back. A timer given back stays linked, disabled, until its slot comes
 * up: taking it again costs a write. One pool per thread.
 */
export class TimerPool {
  readonly #wheel: TimerWheel;
  readonly #free: Timer[] = [];
  readonly #maxFree: number;

  /** @param maxFree how many unused timers are kept; more are unlinked and left to the garbage collector */
  constructor(wheel: TimerWheel, maxFree = 4096) {
    this.#wheel = wheel;
    this.#maxFree = maxFree;
  }

  take(target: TimerTarget): Timer {
    const timer = this.#free.pop();
    if (timer === undefined) return new Timer(this.#wheel, target);
    timer.target = target;
    return timer;
  }

  give(timer: Timer): void {
    timer.disable();
    timer.target = NO_TARGET;
    if (this.#free.length < this.#maxFree) this.#free.push(timer);
    else timer.destroy();
  }
}

const NO_TARGET: TimerTarget = { onTimer: () => {} };
