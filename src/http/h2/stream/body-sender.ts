import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { HeaderMap } from '../../header-map.ts';
import { DEFAULT_WINDOW, FRAME_HEADER_BYTES, MAX_WINDOW } from '../frame/frame-types.ts';
import type { FrameWriter } from '../frame/frame-writer.ts';
import type { Http2CodecStats } from '../http2-stats.ts';
import type { Http2Stream } from './http2-stream.ts';

/** What a stream's end leads to is the connection's. */
export interface BodySenderOwner {
  /** END_STREAM has been written. */
  onEndSent(stream: Http2Stream): void;
  writeTrailers(stream: Http2Stream, trailers: HeaderMap): void;
}

/**
 * Sends the streams' data as far as the windows go (RFC 9113 section 5.2). What is held back waits in its stream; when it is the
 * connection's window that was short, streams take turns, a frame each.
 */
export class BodySender {
  readonly #owner: BodySenderOwner;
  readonly #frames: FrameWriter;
  readonly #stats: Http2CodecStats;
  /** What the peer lets us send on all streams together. */
  #window = DEFAULT_WINDOW;
  /** Streams with data that waits for a window, in the order in which they take turns. */
  readonly #waiting: Http2Stream[] = [];
  #turn = 0;

  constructor(owner: BodySenderOwner, frames: FrameWriter, stats: Http2CodecStats) {
    this.#owner = owner;
    this.#frames = frames;
    this.#stats = stats;
  }

  /** WINDOW_UPDATE of the connection. @returns false when the window overflows */
  widen(increment: number): boolean {
    this.#window += increment;
    if (this.#window > MAX_WINDOW) return false;
    this.sendWaiting();
    return true;
  }

  /** Takes everything out of `data`. */
  send(stream: Http2Stream, data: ByteBuffer, end: boolean): void {
    if (!stream.queued && this.#sendFrom(stream, data, end, Number.POSITIVE_INFINITY)) return;
    if (!stream.queued) {
      stream.queued = true;
      this.#waiting.push(stream);
    }
    this.#stats.pendingSendBytes.add(data.length);
    stream.pendingBuffer().moveFrom(data);
  }

  sendTrailers(stream: Http2Stream, trailers: HeaderMap): void {
    if (!stream.queued) this.#endWithTrailers(stream, trailers);
    // Without any, the end goes out with the last DATA frame.
    else if (trailers.list.length > 0) stream.pendingTrailers = trailers.clone();
  }

  /** The stream's window has become larger. */
  onStreamWindow(stream: Http2Stream): void {
    // Others do not wait for this window; if they wait for the connection's, it is used up.
    while (stream.queued && stream.sendWindow > 0 && this.#window > 0) this.#sendPending(stream);
  }

  /** The stream is gone, and what waited with it. */
  forget(stream: Http2Stream): void {
    stream.pendingTrailers = null;
    const pending = stream.pending;
    if (pending !== null) {
      stream.pending = null;
      if (pending.length > 0) {
        this.#stats.pendingSendBytes.add(-pending.length);
        pending.setWatermarks(0, null);
        pending.clear();
      }
    }
    if (stream.queued) this.#unqueue(stream);
  }

  /** One frame of each stream that has something waiting, in turn, until the windows are used up. */
  sendWaiting(): void {
    const waiting = this.#waiting;
    let passed = 0;
    while (waiting.length > passed && this.#window > 0) {
      if (this.#turn >= waiting.length) this.#turn = 0;
      const stream = waiting[this.#turn++]!;
      if (stream.sendWindow <= 0) {
        passed++;
        continue;
      }
      passed = 0;
      this.#sendPending(stream);
    }
  }

  #unqueue(stream: Http2Stream): void {
    stream.queued = false;
    const at = this.#waiting.indexOf(stream);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    if (at < this.#turn) this.#turn--;
  }

  /** Sends up to `maxFrames` frames. @returns whether nothing is left */
  #sendFrom(stream: Http2Stream, data: ByteBuffer, end: boolean, maxFrames: number): boolean {
    const frames = this.#frames;
    const meter = stream.meter;
    let left = data.length;
    if (left === 0) {
      if (end) this.#sendEnd(stream);
      return true;
    }
    for (let sent = 0; left > 0 && sent < maxFrames; sent++) {
      let size = left;
      if (size > frames.maxFrameBytes) size = frames.maxFrameBytes;
      if (size > stream.sendWindow) size = stream.sendWindow;
      if (size > this.#window) size = this.#window;
      if (size <= 0) return false;
      left -= size;
      stream.sendWindow -= size;
      this.#window -= size;
      meter.wireBytesSent += FRAME_HEADER_BYTES + size;
      const last = end && left === 0;
      frames.data(stream.id, data, size, last);
      if (last) this.#owner.onEndSent(stream);
    }
    return left === 0;
  }

  #sendPending(stream: Http2Stream): void {
    const pending = stream.pending!;
    const trailers = stream.pendingTrailers;
    const size = Math.min(pending.length, this.#frames.maxFrameBytes, stream.sendWindow, this.#window);
    this.#stats.pendingSendBytes.add(-size);
    // Before the buffer tells its owner that there is room: what comes then follows at once.
    if (size === pending.length) this.#unqueue(stream);
    const done = this.#sendFrom(stream, pending, stream.localEnded && trailers === null, 1);
    if (!done || trailers === null || stream.pendingTrailers === null) return;
    stream.pendingTrailers = null;
    this.#endWithTrailers(stream, trailers);
  }

  #endWithTrailers(stream: Http2Stream, trailers: HeaderMap): void {
    if (trailers.list.length === 0) {
      this.#sendEnd(stream);
      return;
    }
    this.#owner.writeTrailers(stream, trailers);
    this.#owner.onEndSent(stream);
  }

  #sendEnd(stream: Http2Stream): void {
    this.#frames.end(stream.id);
    stream.meter.wireBytesSent += FRAME_HEADER_BYTES;
    this.#owner.onEndSent(stream);
  }
}
