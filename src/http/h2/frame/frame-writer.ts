import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { ByteSink } from '../../codec.ts';
import { DEFAULT_MAX_FRAME_BYTES, FRAME_HEADER_BYTES, FrameFlag, FrameType } from './frame-types.ts';
import type { OutboundFrames } from './outbound-frames.ts';

/** Writes frames into the connection's output. Nothing is kept here. */
export class FrameWriter {
  readonly #sink: ByteSink;
  readonly #outbound: OutboundFrames;
  /** The peer's SETTINGS_MAX_FRAME_SIZE, but never more than ours: larger frames only delay other streams. */
  maxFrameBytes = DEFAULT_MAX_FRAME_BYTES;

  constructor(sink: ByteSink, outbound: OutboundFrames) {
    this.#sink = sink;
    this.#outbound = outbound;
  }

  raw(bytes: Buffer): void {
    this.#sink.output.append(Buffer.from(bytes));
    this.#outbound.add(bytes.length, false);
    this.#sink.written();
  }

  /** @param pairs identifier, value, identifier, value */
  settings(pairs: readonly number[]): void {
    const size = (pairs.length >> 1) * 6;
    this.#outbound.add(FRAME_HEADER_BYTES + size, false);
    const output = this.#sink.output;
    const tail = output.reserve(FRAME_HEADER_BYTES + size);
    const bytes = tail.bytes;
    let at = writeHeader(bytes, tail.end, size, FrameType.Settings, 0, 0);
    for (let i = 0; i < pairs.length; i += 2) {
      bytes[at] = pairs[i]! >>> 8;
      bytes[at + 1] = pairs[i]!;
      write32(bytes, at + 2, pairs[i + 1]!);
      at += 6;
    }
    output.commit(tail, FRAME_HEADER_BYTES + size);
    this.#sink.written();
  }

  settingsAck(): void {
    this.#control(0, FrameType.Settings, FrameFlag.Ack, 0, 0, 0, true);
  }

  ping(ack: boolean, high: number, low: number): void {
    this.#control(8, FrameType.Ping, ack ? FrameFlag.Ack : 0, 0, high, low, ack);
  }

  goAway(lastStreamId: number, code: number): void {
    this.#control(8, FrameType.GoAway, 0, 0, lastStreamId, code, false);
  }

  rstStream(id: number, code: number): void {
    this.#control(4, FrameType.RstStream, 0, id, code, 0, true);
  }

  windowUpdate(id: number, bytes: number): void {
    this.#control(4, FrameType.WindowUpdate, 0, id, bytes, 0, false);
  }

  /** One DATA frame with the first `size` bytes of `data`. */
  data(id: number, data: ByteBuffer, size: number, end: boolean): void {
    const outbound = this.#outbound;
    outbound.add(FRAME_HEADER_BYTES + size, false);
    outbound.dataFrames++;
    const output = this.#sink.output;
    const tail = output.reserve(FRAME_HEADER_BYTES);
    writeHeader(tail.bytes, tail.end, size, FrameType.Data, end ? FrameFlag.EndStream : 0, id);
    output.commit(tail, FRAME_HEADER_BYTES);
    if (size > 0) output.moveFrom(data, size);
    this.#sink.written();
  }

  /** An empty DATA frame that ends its stream. */
  end(id: number): void {
    this.#outbound.dataFrames++;
    this.#control(0, FrameType.Data, FrameFlag.EndStream, id, 0, 0, false);
  }

  /** A header block that was encoded elsewhere: HEADERS and as many CONTINUATION frames as it takes. @returns bytes on the wire */
  splitHeaders(id: number, block: Buffer, size: number, end: boolean): number {
    const output = this.#sink.output;
    const max = this.maxFrameBytes;
    let from = 0;
    let total = 0;
    do {
      const part = Math.min(max, size - from);
      const flags = (from + part === size ? FrameFlag.EndHeaders : 0) | (from === 0 && end ? FrameFlag.EndStream : 0);
      this.#outbound.add(FRAME_HEADER_BYTES + part, false);
      const tail = output.reserve(FRAME_HEADER_BYTES + part);
      const at = writeHeader(
        tail.bytes,
        tail.end,
        part,
        from === 0 ? FrameType.Headers : FrameType.Continuation,
        flags,
        id,
      );
      block.copy(tail.bytes, at, from, from + part);
      output.commit(tail, FRAME_HEADER_BYTES + part);
      from += part;
      total += FRAME_HEADER_BYTES + part;
    } while (from < size);
    this.#sink.written();
    return total;
  }

  /** One METADATA message in as many frames as it takes. */
  metadata(id: number, payload: Buffer): void {
    const output = this.#sink.output;
    const max = this.maxFrameBytes;
    let from = 0;
    do {
      const part = Math.min(max, payload.length - from);
      const flags = from + part === payload.length ? FrameFlag.EndHeaders : 0;
      this.#outbound.add(FRAME_HEADER_BYTES + part, false);
      const tail = output.reserve(FRAME_HEADER_BYTES + part);
      const at = writeHeader(tail.bytes, tail.end, part, FrameType.Metadata, flags, id);
      payload.copy(tail.bytes, at, from, from + part);
      output.commit(tail, FRAME_HEADER_BYTES + part);
      from += part;
    } while (from < payload.length);
    this.#sink.written();
  }

  #control(
    size: number,
    type: number,
    flags: number,
    id: number,
    first: number,
    second: number,
    counted: boolean,
  ): void {
    const total = FRAME_HEADER_BYTES + size;
    this.#outbound.add(total, counted);
    const output = this.#sink.output;
    const tail = output.reserve(total);
    const at = writeHeader(tail.bytes, tail.end, size, type, flags, id);
    if (size >= 4) write32(tail.bytes, at, first);
    if (size >= 8) write32(tail.bytes, at + 4, second);
    output.commit(tail, total);
    this.#sink.written();
  }
}

/** @returns where the payload begins */
export function writeHeader(bytes: Buffer, at: number, size: number, type: number, flags: number, id: number): number {
  bytes[at] = size >>> 16;
  bytes[at + 1] = size >>> 8;
  bytes[at + 2] = size;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  write32(bytes, at + 5, id);
  return at + FRAME_HEADER_BYTES;
}

function write32(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
