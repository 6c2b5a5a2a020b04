import { ByteBuffer, type WatermarkObserver } from '../../../base/byte-buffer.ts';
import type { Timer } from '../../../base/timer-wheel.ts';
import { BytesMeter, type CodecStream, Protocol, type ResetReason, type StreamEvents } from '../../codec.ts';
import type { HeaderMap } from '../../header-map.ts';
import type { StreamMetadata } from '../../stream-metadata.ts';
import type { MetadataBlock } from '../frame/metadata-block.ts';
import type { Http2Connection } from '../http2-connection.ts';
import { nextState, type StreamEvent, StreamState } from './stream-state.ts';

/** Receives a message's body and trailers: what requests and responses have in common. */
export interface BodyDecoder {
  onData(data: ByteBuffer, end: boolean): void;
  onTrailers(trailers: HeaderMap): void;
  onMetadata?(metadata: StreamMetadata): void;
}

/**
 * One stream: encoder and stream in one object. Bounds: what its window does not let out waits in `pending`; the owner is told at
 * the stream's initial window size (Envoy's per-stream buffer limit) and is expected to stop.
 */
export abstract class Http2Stream implements CodecStream, WatermarkObserver {
  id = 0;
  readonly protocol = Protocol.Http2;
  readonly meter = new BytesMeter();
  protected readonly connection: Http2Connection;
  state: StreamState;
  events: StreamEvents | null = null;
  body: BodyDecoder | null = null;
  /** What the peer lets us send; below 0 after it made its initial window smaller. */
  sendWindow: number;
  /** What the peer may still send. */
  receiveWindow: number;
  /** Bytes that have been used up and not been given back to the peer. */
  consumed = 0;
  /** Bytes that the owner has got while its reads were paused: given back when they are resumed. */
  unconsumed = 0;
  /** Bytes that Content-Length still promises; it said nothing: -1 less the bytes that have come. */
  contentLeft = -1;
  pending: ByteBuffer | null = null;
  pendingTrailers: HeaderMap | null = null;
  /** The owner has encoded the end of its message; it may still wait in `pending`. */
  localEnded = false;
  /** Stands in the connection's list of streams that have something waiting. */
  queued = false;
  /** The other side's head has been passed on: a further one is the trailers. */
  headReceived = false;
  /** How long that may last, ms; 0: for ever. */
  flushTimeoutMs: number;
  /** Runs while the end waits for the window and nobody else watches over it. */
  flushTimer: Timer | null = null;
  /** {@link ResetReason} of the owner's reset that waits until the answer has gone out; -1: none. */
  deferredReset = -1;
  /** A METADATA message under way. */
  metadata: MetadataBlock | null = null;
  #pauses = 0;

  constructor(connection: Http2Connection, state: StreamState) {
    this.connection = connection;
    this.state = state;
    this.sendWindow = connection.peerInitialWindow;
    this.receiveWindow = connection.streamWindow;
    this.flushTimeoutMs = connection.flushTimeoutMs;
  }

  get stream(): this {
    return this;
  }

  /** The peer has ended its message. */
  get remoteEnded(): boolean {
    return this.state === StreamState.HalfClosedRemote || this.state === StreamState.Closed;
  }

  get paused(): boolean {
    return this.#pauses > 0;
  }

  transition(event: StreamEvent): void {
    this.state = nextState(this.state, event);
  }

  /** A stream born while the connection's write buffer is full is told so at once. */
  setEvents(events: StreamEvents): void {
    this.events = events;
    if (this.connection.isAboveWriteHighWatermark) events.onAboveWriteHighWatermark();
  }

  reset(reason: ResetReason): void {
    this.connection.resetStream(this, reason);
  }

  pauseReads(): void {
    if (this.state !== StreamState.Closed) this.#pauses++;
  }

  resumeReads(): void {
    if (this.#pauses === 0 || --this.#pauses > 0) return;
    const size = this.unconsumed;
    if (size === 0 || this.state === StreamState.Closed) return;
    this.unconsumed = 0;
    this.connection.consume(this, size);
  }

  /** The owner is gone without having undone its pauses: what still comes is used up at once. */
  dropPauses(): void {
    if (this.#pauses === 0) return;
    this.#pauses = 1;
    this.resumeReads();
  }

  /** Takes everything out of `data`. */
  encodeData(data: ByteBuffer, end: boolean): void {
    if (this.localEnded || this.state === StreamState.Closed) {
      data.clear();
      return;
    }
    if (end) this.localEnded = true;
    this.connection.sendData(this, data, end);
  }

  encodeTrailers(trailers: HeaderMap): void {
    if (this.localEnded || this.state === StreamState.Closed) return;
    this.localEnded = true;
    this.connection.sendTrailers(this, trailers);
  }

  /** No window holds it back. */
  encodeMetadata(metadata: StreamMetadata): void {
    if (this.localEnded || this.state === StreamState.Closed) return;
    this.connection.sendMetadata(this, metadata);
  }

  /** Where data waits for the window. */
  pendingBuffer(): ByteBuffer {
    let pending = this.pending;
    if (pending === null) {
      pending = new ByteBuffer();
      this.pending = pending;
      pending.setWatermarks(this.connection.streamBufferLimit, this);
    }
    return pending;
  }

  onAboveHighWatermark(): void {
    this.events?.onAboveWriteHighWatermark();
  }

  onBelowLowWatermark(): void {
    this.events?.onBelowWriteLowWatermark();
  }

  raiseReset(reason: ResetReason, details: string): void {
    const events = this.events;
    this.events = null;
    this.body = null;
    events?.onStreamReset(reason, details);
  }
}
