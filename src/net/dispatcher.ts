import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { SlabPool } from '../base/slab-pool.ts';
import { Timer, TimerPool, type TimerTarget, TimerWheel } from '../base/timer-wheel.ts';

/** Something to be done before the present turn ends, such as flushing a connection. */
export interface TurnTask {
  onTurnEnd(): void;
}

/** So many tasks at most wait for the end of a poll: what a thousand ready sockets write is not to wait for the last of them. */
const MOST_POLL_TASKS = 64;

/**
 * One thread's event loop as the proxy sees it: time (read once per turn), timers, and work put off to the turn's end.
 * The socket runtime wraps each native callback in `enter`/`leave`; code called from elsewhere (a promise) may call `defer`
 * at any time: outside a turn it opens one by a microtask.
 */
export class Dispatcher {
  readonly clock: Clock;
  readonly random: Random;
  readonly slabs: SlabPool;
  readonly timers: TimerWheel;
  /** For timers that live as long as one request. */
  readonly timerPool: TimerPool;
  /** Monotonic milliseconds at the beginning of this turn. */
  nowMs: number;
  /** Called with what a callback threw: our own bug. Tests rethrow, production counts and logs. */
  onBug: (error: unknown) => void = (error) => {
    throw error;
  };
  /** Turns that began: how busy the thread is, between two looks. */
  turns = 0;
  /** Connections of this thread are numbered from here. */
  nextConnectionId = 0;
  #scratch: Buffer | null = null;
  #depth = 0;
  #tasks: TurnTask[] = [];
  #spare: TurnTask[] = [];
  #microtaskQueued = false;
  readonly #runMicrotask: () => void;
  /** Of {@link deferToPollEnd}. */
  readonly #pollTasks: TurnTask[] = [];
  #pollEndQueued = false;
  readonly #runPollEnd: () => void;
  readonly #isManual: boolean;

  constructor(clock: Clock, random: Random, manualTimers = false) {
    this.clock = clock;
    this.random = random;
    this.#isManual = manualTimers;
    this.slabs = new SlabPool();
    this.nowMs = clock.monotonicMs();
    this.timers = new TimerWheel(
      clock,
      () => this.enter(),
      () => this.leave(),
      manualTimers,
      (error) => this.onBug(error),
    );
    this.timerPool = new TimerPool(this.timers);
    this.#runMicrotask = () => {
      this.#microtaskQueued = false;
      this.enter();
      this.leave();
    };
    this.#runPollEnd = () => {
      this.#pollEndQueued = false;
      this.enter();
      this.#deferPollTasks();
      this.leave();
    };
  }

  /** Wall-clock milliseconds since the epoch, at the beginning of this turn; outside a turn, now. */
  get wallMs(): number {
    return this.#depth > 0 ? this.clock.wallAt(this.nowMs) : this.clock.wallMs();
  }

  /** A buffer of at least `bytes` for use within one call; its content is anybody's afterwards. */
  scratch(bytes: number): Buffer {
    if (this.#scratch === null || this.#scratch.length < bytes) this.#scratch = Buffer.allocUnsafeSlow(bytes);
    return this.#scratch;
  }

  createTimer(target: TimerTarget): Timer {
    return new Timer(this.timers, target);
  }

  /** Inside `enter`/`leave`: what is deferred now runs before control goes back to the runtime. */
  get isInTurn(): boolean {
    return this.#depth > 0;
  }

  enter(): void {
    if (this.#depth++ > 0) return;
    this.turns++;
    this.nowMs = this.clock.monotonicMs();
    this.timers.turnMs = this.nowMs;
  }

  leave(): void {
    try {
      if (this.#depth === 1 && this.#tasks.length > 0) this.#runTasks();
    } finally {
      if (--this.#depth === 0) this.timers.turnMs = -1;
    }
  }

  /** Calls `task.onTurnEnd()` before control goes back to the runtime. Tasks may defer further ones. */
  defer(task: TurnTask): void {
    this.#tasks.push(task);
    if (this.#depth === 0 && !this.#microtaskQueued) {
      this.#microtaskQueued = true;
      queueMicrotask(this.#runMicrotask);
    }
  }

  /**
   * Calls `task.onTurnEnd()` once the sockets that are ready now (or many of them) have had their turns: for what several of them
   * contribute to, such as the frames that one HTTP/2 connection gets from many upstreams, and for writes that are cheaper in a
   * row than one by one.
   */
  deferToPollEnd(task: TurnTask): void {
    if (this.#isManual) {
      this.defer(task);
      return;
    }
    this.#pollTasks.push(task);
    if (this.#pollTasks.length >= MOST_POLL_TASKS && this.#depth > 0) {
      this.#deferPollTasks();
      return;
    }
    if (this.#pollEndQueued) return;
    this.#pollEndQueued = true;
    setImmediate(this.#runPollEnd);
  }

  /** Their wait is over: they are done at the end of the present turn. */
  #deferPollTasks(): void {
    const tasks = this.#pollTasks;
    for (let i = 0; i < tasks.length; i++) this.#tasks.push(tasks[i]!);
    tasks.length = 0;
  }

  #runTasks(): void {
    let thrown: unknown;
    let hasThrown = false;
    while (this.#tasks.length > 0) {
      const tasks = this.#tasks;
      this.#tasks = this.#spare;
      for (let i = 0; i < tasks.length; i++) {
        try {
          tasks[i]!.onTurnEnd();
        } catch (error) {
          try {
            this.onBug(error);
          } catch (rethrown) {
            // The others' work is still done: one faulty task must not leave connections unflushed.
            thrown = rethrown;
            hasThrown = true;
          }
        }
      }
      tasks.length = 0;
      this.#spare = tasks;
    }
    if (hasThrown) throw thrown;
  }
}
