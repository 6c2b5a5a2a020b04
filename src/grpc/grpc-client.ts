import type { HeaderMap, ResponseHeaders } from '../http/header-map.ts';

/**
 * Calls to one gRPC service of one cluster. Bytes in, bytes out: the caller encodes and decodes its messages.
 *
 * No method of the handler is ever called inside `open`, or inside a method of {@link GrpcCall}: what fails at once is told at
 * the end of the present turn of the event loop.
 */
export interface GrpcClient {
  /**
   * Begins a call. Unary, client-, server- and two-way streaming are the same here: they differ in how many messages are sent
   * before `endSend`, and in how many come back.
   *
   * @param method full name as on the wire: `/package.Service/Method`
   */
  open(method: string, handler: GrpcCallHandler, options?: GrpcCallOptions): GrpcCall;
}

export interface GrpcCallOptions {
  /** The whole call must be over within this time, ms; it is sent on as `grpc-timeout`. 0 (default): no deadline. */
  readonly timeoutMs?: number;
  /** Request headers beside those of the client: lower-case names; binary values (`-bin`) in base64. */
  readonly metadata?: readonly (readonly [name: string, value: string])[];
  /** A larger message of the peer's ends the call with RESOURCE_EXHAUSTED, bytes; default: the client's limit. */
  readonly maxMessageBytes?: number;
}

/** One call under way. After {@link GrpcCallHandler.onStatus}, or `cancel`, every method does nothing. */
export interface GrpcCall {
  /**
   * Sends one message, or keeps it until there is a connection. Takes ownership of the bytes.
   *
   * @returns false: what waits to be sent has passed the high watermark. The message is sent all the same; whoever can wait
   *   sends the next one when told `onReady`.
   */
  send(message: Uint8Array): boolean;
  /** No further message comes from here (half-close). */
  endSend(): void;
  /** Gives the call up: the stream is reset, the handler hears nothing more. */
  cancel(): void;
  /** Asks the peer to stop sending, by flow control; counted. Messages that have arrived already wait as well. */
  pauseReads(): void;
  resumeReads(): void;
  /** The call is over: by status or by `cancel`. */
  readonly isOver: boolean;
  /** Messages are above the high watermark (see `send`). */
  readonly isFull: boolean;
}

/** Hears of one call. One long-lived object may serve many calls: it tells them apart by the first argument. */
export interface GrpcCallHandler {
  /** The server's headers; not called for an answer that is a status only. Read, do not keep: they belong to the call. */
  onInitialMetadata(call: GrpcCall, metadata: ResponseHeaders): void;
  /** One whole message; the bytes are the handler's. */
  onMessage(call: GrpcCall, message: Uint8Array): void;
  /** Sending has room again, after `send` answered false; told once for each time. */
  onReady(call: GrpcCall): void;
  /**
   * The end; exactly once unless cancelled, nothing comes after it.
   *
   * @param status {@link GrpcStatus}, or another number that the peer sent; 0: success
   * @param message the peer's words, percent-decoded, or ours; for people
   * @param trailers the peer's, null when the status is ours
   */
  onStatus(call: GrpcCall, status: number, message: string, trailers: HeaderMap | null): void;
}
