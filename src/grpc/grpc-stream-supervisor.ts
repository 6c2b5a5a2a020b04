import type { ResponseHeaders } from '../http/header-map.ts';

/** Back-off between attempts to open a long-lived stream. Source: Envoy, GrpcStream with JitteredExponentialBackOffStrategy. */
export interface BackoffSettings {
  /** First upper bound, ms. Envoy: 500. */
  readonly baseMs: number;
  /** Largest upper bound, ms. Envoy: 30000. */
  readonly maxMs: number;
}

/** Envoy's defaults for xDS streams. */
export const DEFAULT_BACKOFF: BackoffSettings = { baseMs: 500, maxMs: 30_000 };

/** Who uses a long-lived stream. */
export interface SupervisedStreamHandler {
  /** A new stream has been opened: send what the peer must know again. Messages wait until there is a connection. */
  onStreamStarted(): void;
  /** The server has answered with headers. */
  onInitialMetadata(metadata: ResponseHeaders): void;
  onMessage(message: Uint8Array): void;
  /** Sending has room again. */
  onReady(): void;
  /**
   * The stream is gone; the next one is opened after `retryMs`. Not called for `stop`.
   *
   * @param wasUp whether anything was received on it
   */
  onStreamEnded(status: number, message: string, retryMs: number, wasUp: boolean): void;
}
