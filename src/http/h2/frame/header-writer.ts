import type { Slice } from '../../../base/byte-buffer.ts';
import type { ByteSink } from '../../codec.ts';
import { FIELD_OVERHEAD, type HpackEncoder, UPDATE_OVERHEAD } from '../hpack/hpack-encoder.ts';
import { FRAME_HEADER_BYTES, FrameFlag, FrameType } from './frame-types.ts';
import { type FrameWriter, writeHeader } from './frame-writer.ts';
import type { OutboundFrames } from './outbound-frames.ts';

const EMPTY = Buffer.alloc(0);

/** The most that the fields of `list` take, once encoded. */
export function encodedBound(list: readonly string[]): number {
  let bound = 0;
  for (let i = 0; i < list.length; i++) bound += list[i]!.length;
  return bound + (list.length >> 1) * FIELD_OVERHEAD;
}

/**
 * Writes one header block at a time: straight into the connection's output when it surely fits into one frame, otherwise into
 * room of its own. `open`, `field` and `fields`, `close`, without anything in between.
 */
export class HeaderWriter {
  readonly #sink: ByteSink;
  readonly #outbound: OutboundFrames;
  readonly #frames: FrameWriter;
  readonly #encoder: HpackEncoder;
  #tail: Slice | null = null;
  #bytes: Buffer = EMPTY;
  #start = 0;
  #at = 0;
  /** Bytes of the names and values of the block that was opened last, before HPACK. */
  fieldBytes = 0;

  constructor(sink: ByteSink, outbound: OutboundFrames, frames: FrameWriter, encoder: HpackEncoder) {
    this.#sink = sink;
    this.#outbound = outbound;
    this.#frames = frames;
    this.#encoder = encoder;
  }

  /** @param bound the most that the fields take (`encodedBound`) */
  open(bound: number): void {
    this.fieldBytes = 0;
    const room = bound + UPDATE_OVERHEAD + FRAME_HEADER_BYTES;
    if (room <= this.#frames.maxFrameBytes) {
      const tail = this.#sink.output.reserve(room);
      this.#tail = tail;
      this.#bytes = tail.bytes;
      this.#start = tail.end + FRAME_HEADER_BYTES;
    } else {
      this.#tail = null;
      this.#bytes = Buffer.allocUnsafeSlow(room);
      this.#start = 0;
    }
    this.#at = this.#encoder.begin(this.#bytes, this.#start);
  }

  field(name: string, value: string): void {
    this.fieldBytes += name.length + value.length;
    this.#at = this.#encoder.field(this.#bytes, this.#at, name, value);
  }

  fields(list: readonly string[]): void {
    const encoder = this.#encoder;
    const bytes = this.#bytes;
    let at = this.#at;
    let size = this.fieldBytes;
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i]!;
      const value = list[i + 1]!;
      size += name.length + value.length;
      at = encoder.field(bytes, at, name, value);
    }
    this.fieldBytes = size;
    this.#at = at;
  }

  /** @returns bytes on the wire */
  close(id: number, end: boolean): number {
    const size = this.#at - this.#start;
    const bytes = this.#bytes;
    const tail = this.#tail;
    this.#bytes = EMPTY;
    this.#tail = null;
    if (tail === null) return this.#frames.splitHeaders(id, bytes, size, end);
    const total = FRAME_HEADER_BYTES + size;
    const flags = end ? FrameFlag.EndHeaders | FrameFlag.EndStream : FrameFlag.EndHeaders;
    writeHeader(bytes, this.#start - FRAME_HEADER_BYTES, size, FrameType.Headers, flags, id);
    this.#outbound.add(total, false);
    this.#sink.output.commit(tail, total);
    this.#sink.written();
    return total;
  }
}
