import type { Timer, TimerPool, TimerTarget } from '../base/timer-wheel.ts';
import { formatGrpcTimeout, readGrpcTimeout } from '../http/grpc-headers.ts';
import type { RequestHeaders } from '../http/header-map.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { StreamDuration } from '../routing/route-policies.ts';

/** Told which of a stream's times is up. */
export interface StreamTimeouts {
  onStreamIdle(): void;
  onRequestTimeout(): void;
  onRequestHeadersTimeout(): void;
  onMaxStreamDuration(): void;
  onPeriodicLog(): void;
}

/** The timers of one stream. Most streams have one. */
export class StreamTimers implements TimerTarget {
  readonly #owner: StreamTimeouts;
  readonly #dispatcher: Dispatcher;
  #idleMs = 0;
  #idle: Timer | null = null;
  /** When something last moved. The idle timer looks at it only when it fires: moves are many, timeouts few. */
  #touchedMs = 0;
  #request: Timer | null = null;
  #headers: Timer | null = null;
  #duration: Timer | null = null;
  #periodicLogMs = 0;
  #periodicLog: Timer | null = null;

  constructor(owner: StreamTimeouts, dispatcher: Dispatcher) {
    this.#owner = owner;
    this.#dispatcher = dispatcher;
  }

  /** @param ms 0: no limit */
  setIdle(ms: number): void {
    if (ms <= 0) {
      this.#idle = this.#drop(this.#idle);
      return;
    }
    const shorter = ms < this.#idleMs;
    this.#idleMs = ms;
    this.#touchedMs = this.#dispatcher.nowMs;
    if (this.#idle !== null && !shorter) return;
    this.#idle ??= this.#pool.take(this);
    this.#idle.enable(ms);
  }

  /** Something moved: the idle time begins anew. */
  touch(): void {
    this.#touchedMs = this.#dispatcher.nowMs;
  }

  get #pool(): TimerPool {
    return this.#dispatcher.timerPool;
  }

  #onIdle(timer: Timer): void {
    const leftMs = this.#idleMs - (this.#dispatcher.nowMs - this.#touchedMs);
    // The wheel rounds up to whole milliseconds.
    if (leftMs >= 1) timer.enable(leftMs);
    else this.#owner.onStreamIdle();
  }

  startRequest(ms: number): void {
    this.#request = this.#pool.take(this);
    this.#request.enable(ms);
  }

  stopRequest(): void {
    if (this.#request !== null) this.#request = this.#drop(this.#request);
  }

  startHeaders(ms: number): void {
    this.#headers = this.#pool.take(this);
    this.#headers.enable(ms);
  }

  stopHeaders(): void {
    if (this.#headers !== null) this.#headers = this.#drop(this.#headers);
  }

  setDuration(ms: number): void {
    this.#duration ??= this.#pool.take(this);
    this.#duration.enable(Math.max(0, ms));
  }

  stopDuration(): void {
    if (this.#duration !== null) this.#duration = this.#drop(this.#duration);
  }

  startPeriodicLog(ms: number): void {
    this.#periodicLogMs = ms;
    this.#periodicLog = this.#pool.take(this);
    this.#periodicLog.enable(ms);
  }

  onTimer(timer: Timer): void {
    if (timer === this.#idle) this.#onIdle(timer);
    else if (timer === this.#request) this.#owner.onRequestTimeout();
    else if (timer === this.#headers) this.#owner.onRequestHeadersTimeout();
    else if (timer === this.#duration) this.#owner.onMaxStreamDuration();
    else if (timer === this.#periodicLog) {
      timer.enable(this.#periodicLogMs);
      this.#owner.onPeriodicLog();
    }
  }

  stopAll(): void {
    if (this.#idle !== null) this.#idle = this.#drop(this.#idle);
    this.stopRequest();
    this.stopHeaders();
    this.stopDuration();
    if (this.#periodicLog !== null) this.#periodicLog = this.#drop(this.#periodicLog);
  }

  #drop(timer: Timer | null): null {
    if (timer !== null) this.#pool.give(timer);
    return null;
  }
}

/**
 * How long the whole stream may last by its route, and by `grpc-timeout` where the route heeds it: then the header is capped,
 * for the upstream to know, and the offset leaves some for the way back. Source: Envoy, refreshDurationTimeout.
 * @param defaultMs the connection manager's
 * @returns ms from the stream's beginning; null: no limit
 */
export function streamDuration(
  duration: StreamDuration,
  headers: RequestHeaders,
  defaultMs: number,
  grpc: boolean,
): number | null {
  const maxMs = duration.grpcTimeoutHeaderMaxMs;
  const grpcMs = maxMs === null ? null : readGrpcTimeout(headers);
  if (maxMs === null || grpcMs === null) {
    const ms = duration.maxStreamDurationMs ?? defaultMs;
    if (ms > 0) {
      if (duration.configured && grpc) headers.set('grpc-timeout', formatGrpcTimeout(ms));
      return ms;
    }
    if (duration.configured && grpc && defaultMs > 0) headers.remove('grpc-timeout');
    return null;
  }
  let timeoutMs = maxMs !== 0 && grpcMs > maxMs ? maxMs : grpcMs;
  const offsetMs = duration.grpcTimeoutHeaderOffsetMs;
  if (timeoutMs !== 0 && offsetMs !== null) timeoutMs = Math.max(0, timeoutMs - offsetMs);
  if (duration.configured && grpc) headers.set('grpc-timeout', formatGrpcTimeout(timeoutMs));
  return timeoutMs;
}
