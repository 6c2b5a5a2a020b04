import type { Random } from '../../base/random.ts';
import { Timer, type TimerTarget, type TimerWheel } from '../../base/timer-wheel.ts';
import type { Http2Options } from './http2-options.ts';

export interface KeepaliveOwner {
  sendKeepalivePing(): void;
  onKeepaliveTimeout(): void;
}

/** PINGs by interval, and before a stream on a connection that was idle for long; what comes in puts the timeout off. */
export class Keepalive implements TimerTarget {
  readonly #owner: KeepaliveOwner;
  readonly #options: Http2Options;
  readonly #random: Random;
  readonly #interval: Timer | null;
  readonly #timeout: Timer;
  /** Runs while the connection counts as in use. */
  readonly #idle: Timer | null;

  constructor(owner: KeepaliveOwner, options: Http2Options, timers: TimerWheel, random: Random) {
    this.#owner = owner;
    this.#options = options;
    this.#random = random;
    this.#interval = options.keepaliveIntervalMs > 0 ? new Timer(timers, this) : null;
    this.#timeout = new Timer(timers, this);
    this.#idle = options.keepaliveIdleIntervalMs > 0 ? new Timer(timers, this) : null;
    this.#arm();
    this.#idle?.enable(options.keepaliveIdleIntervalMs);
  }

  #arm(): void {
    const interval = this.#interval;
    if (interval === null) return;
    let delay = this.#options.keepaliveIntervalMs;
    const jitter = Math.floor((this.#options.keepaliveJitterPercent * delay) / 100);
    if (jitter > 0) delay += this.#random.uint32() % jitter;
    interval.enable(delay);
  }

  #ping(): void {
    if (this.#timeout.enabled) return;
    this.#owner.sendKeepalivePing();
    this.#timeout.enable(this.#options.keepaliveTimeoutMs);
  }

  onTimer(timer: Timer): void {
    if (timer === this.#interval) this.#ping();
    else if (timer === this.#timeout) this.#owner.onKeepaliveTimeout();
  }

  onNewStream(): void {
    if (this.#idle !== null && !this.#idle.enabled) this.#ping();
  }

  onReceived(): void {
    this.#idle?.enable(this.#options.keepaliveIdleIntervalMs);
  }

  /** Anything but the answer itself: the answer may stand behind it. */
  onFrame(): void {
    if (this.#timeout.enabled) this.#timeout.enable(this.#options.keepaliveTimeoutMs);
  }

  onAnswer(): void {
    this.#timeout.disable();
    this.#arm();
  }

  destroy(): void {
    this.#interval?.destroy();
    this.#timeout.destroy();
    this.#idle?.destroy();
  }
}
