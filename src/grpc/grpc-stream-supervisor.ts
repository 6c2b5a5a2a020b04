import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { HeaderMap, ResponseHeaders } from '../http/header-map.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { GrpcCall, GrpcCallHandler, GrpcCallOptions, GrpcClient } from './grpc-client.ts';

/** Back-off between attempts to open a long-lived stream. Source: Envoy, GrpcStream with JitteredExponentialBackOffStrategy. */
export interface BackoffSettings {
  /** First upper bound, ms. Envoy: 500. */
  readonly baseMs: number;
  /** Largest upper bound, ms. Envoy: 30000. */
  readonly maxMs: number;
}

/** Envoy's defaults for xDS streams. */
const DEFAULT_BACKOFF: BackoffSettings = { baseMs: 500, maxMs: 30_000 };

/** Who uses a long-lived stream. May call `send`, `stop` and `restart` from any of these. */
export interface SupervisedStreamHandler {
  /** A new stream has been opened: send what the peer must know again. Messages wait until there is a connection. */
  onStreamStarted(): void;
  /** The server has answered with headers. */
  onInitialMetadata(metadata: ResponseHeaders): void;
  onMessage(message: Uint8Array): void;
  /** Sending has room again, after `send` answered false. */
  onReady(): void;
  /**
   * The stream is gone; the next one is opened after `retryMs`. Not called for `stop`.
   *
   * @param wasUp whether any message was received on it
   */
  onStreamEnded(status: number, message: string, retryMs: number, wasUp: boolean): void;
}

/**
 * Keeps one stream open: when it ends, for whatever reason, it is opened again after a wait that is drawn at random below a
 * bound, which doubles up to a maximum and begins anew with the first message received.
 */
export class GrpcStreamSupervisor implements GrpcCallHandler, TimerTarget {
  readonly #client: GrpcClient;
  readonly #dispatcher: Dispatcher;
  readonly #method: string;
  readonly #handler: SupervisedStreamHandler;
  readonly #backoff: BackoffSettings;
  readonly #options: GrpcCallOptions | undefined;
  readonly #timer: Timer;
  #call: GrpcCall | null = null;
  #boundMs: number;
  #wasUp = false;
  #running = false;

  /** @param method `/package.Service/Method` */
  constructor(
    client: GrpcClient,
    dispatcher: Dispatcher,
    method: string,
    handler: SupervisedStreamHandler,
    backoff: BackoffSettings = DEFAULT_BACKOFF,
    options?: GrpcCallOptions,
  ) {
    this.#client = client;
    this.#dispatcher = dispatcher;
    this.#method = method;
    this.#handler = handler;
    this.#backoff = backoff;
    this.#options = options;
    this.#boundMs = backoff.baseMs;
    this.#timer = dispatcher.createTimer(this);
  }

  /** Opens the stream. `onStreamStarted` is called inside. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#open();
  }

  /** Gives the stream up for good; the handler hears nothing more. `start` begins again. */
  stop(): void {
    this.#running = false;
    this.#timer.destroy();
    const call = this.#call;
    this.#call = null;
    call?.cancel();
  }

  /** Ends the present stream, if any, and opens a new one at once. */
  restart(): void {
    this.stop();
    this.start();
  }

  /**
   * What the peer says is not to be borne: the stream is given up, and the next one opened after the usual wait, as if the peer
   * had ended it with `status`. What was received last does not count as a sign of health.
   */
  abandon(status: number, message: string): void {
    const call = this.#call;
    if (call === null) return;
    call.cancel();
    this.#onEnded(status, message);
  }

  /** There is a stream, though perhaps no connection yet: `send` will not be in vain. */
  get isOpen(): boolean {
    return this.#call !== null;
  }

  /** @returns as {@link GrpcCall.send}; false also when there is no stream, and then the message is dropped */
  send(message: Uint8Array): boolean {
    return this.#call === null ? false : this.#call.send(message);
  }

  pauseReads(): void {
    this.#call?.pauseReads();
  }

  resumeReads(): void {
    this.#call?.resumeReads();
  }

  #open(): void {
    this.#wasUp = false;
    this.#call = this.#client.open(this.#method, this, this.#options);
    this.#handler.onStreamStarted();
  }

  onTimer(_timer: Timer): void {
    if (this.#running && this.#call === null) this.#open();
  }

  /** Fully jittered, doubling up to the maximum. */
  #nextWaitMs(): number {
    const bound = this.#boundMs;
    this.#boundMs = Math.min(bound * 2, this.#backoff.maxMs);
    return bound <= 0 ? 0 : this.#dispatcher.random.uint32() % bound;
  }

  // --- GrpcCallHandler; a call that was given up says nothing ---

  onInitialMetadata(call: GrpcCall, metadata: ResponseHeaders): void {
    if (call === this.#call) this.#handler.onInitialMetadata(metadata);
  }

  onMessage(call: GrpcCall, message: Uint8Array): void {
    if (call !== this.#call) return;
    this.#wasUp = true;
    this.#handler.onMessage(message);
    // One that made the handler give the stream up does not shorten the wait: it would be a loop without a pause.
    if (call === this.#call) this.#boundMs = this.#backoff.baseMs;
  }

  onReady(call: GrpcCall): void {
    if (call === this.#call) this.#handler.onReady();
  }

  onStatus(call: GrpcCall, status: number, message: string, _trailers: HeaderMap | null): void {
    if (call === this.#call) this.#onEnded(status, message);
  }

  #onEnded(status: number, message: string): void {
    this.#call = null;
    const waitMs = this.#nextWaitMs();
    this.#timer.enable(waitMs);
    this.#handler.onStreamEnded(status, message, waitMs, this.#wasUp);
  }
}
