import { ByteBuffer } from '../base/byte-buffer.ts';
import { GrpcStatus } from '../http/grpc-headers.ts';

/** Flag byte and length in front of every message. Source: gRPC over HTTP/2, "Length-Prefixed-Message". */
export const FRAME_PREFIX_BYTES = 5;
/** Set in the flag byte of a compressed message. */
const COMPRESSED = 1;

/** The five bytes in front of a message of `size` bytes; uncompressed unless `flags` say otherwise. */
export function framePrefix(size: number, flags = 0): Buffer {
  const prefix = Buffer.allocUnsafeSlow(FRAME_PREFIX_BYTES);
  prefix[0] = flags;
  prefix.writeUInt32BE(size, 1);
  return prefix;
}

/** Why no further message can be read, as a call ends with it. */
export interface FramingProblem {
  readonly status: GrpcStatus;
  readonly message: string;
}

/**
 * Takes whole messages out of a stream of bytes. What is kept never exceeds one message of the permitted size and the last
 * piece that was fed.
 */
export class MessageReader {
  readonly #maxBytes: number;
  readonly #compressed: boolean;
  /** Flag byte of the message that `next` gave last. */
  flags = 0;
  readonly #input = new ByteBuffer();
  /** Of the message whose prefix has been read; -1: at a prefix. */
  #size = -1;
  #problem: FramingProblem | null = null;

  /**
   * @param maxBytes largest message that is accepted
   * @param compressed whether compressed messages are given out too, as they are; by default they are refused: who offers no
   *   compression gets none
   */
  constructor(maxBytes: number, compressed = false) {
    this.#maxBytes = maxBytes;
    this.#compressed = compressed;
  }

  /** Takes everything out of `data`. */
  feed(data: ByteBuffer): void {
    if (this.#problem !== null) data.clear();
    else this.#input.moveFrom(data);
  }

  /** The next whole message, whose bytes are the caller's; null when there is none, or a {@link problem}. */
  next(): Uint8Array | null {
    if (this.#size < 0 && !this.#readPrefix()) return null;
    const size = this.#size;
    if (this.#input.length < size) return null;
    const message = Buffer.allocUnsafeSlow(size);
    this.#input.copyTo(message, 0, 0, size);
    this.#input.drain(size);
    this.#size = -1;
    return message;
  }

  #readPrefix(): boolean {
    const input = this.#input;
    if (this.#problem !== null || input.length < FRAME_PREFIX_BYTES) return false;
    const slice = input.linearize(FRAME_PREFIX_BYTES);
    const flags = slice.bytes[slice.start]!;
    const size = slice.bytes.readUInt32BE(slice.start + 1);
    if (flags === COMPRESSED && !this.#compressed)
      this.#fail(GrpcStatus.Internal, 'the message is compressed, which was not offered');
    else if (flags > COMPRESSED)
      this.#fail(GrpcStatus.Internal, `the message has flags ${flags} that gRPC does not know`);
    else if (size > this.#maxBytes) {
      this.#fail(GrpcStatus.ResourceExhausted, `the message has ${size} bytes, ${this.#maxBytes} are permitted`);
    }
    if (this.#problem !== null) return false;
    input.drain(FRAME_PREFIX_BYTES);
    this.flags = flags;
    this.#size = size;
    return true;
  }

  #fail(status: GrpcStatus, message: string): void {
    this.#problem = { status, message };
    this.#input.clear();
  }

  get problem(): FramingProblem | null {
    return this.#problem;
  }

  /** Between two messages: where a stream may end. */
  get isAtBoundary(): boolean {
    return this.#size < 0 && this.#input.length === 0;
  }

  /** Bytes that it holds. */
  get size(): number {
    return this.#input.length;
  }

  /** Forgets what it holds. */
  clear(): void {
    this.#input.clear();
  }
}

/**
 * Counts the messages that pass by without keeping any of them. A message counts with its first byte, whatever its flags.
 * Source: Envoy, Grpc::FrameInspector.
 */
export class MessageCounter {
  /** Messages begun. */
  count = 0;
  /** Bytes seen of the present prefix. */
  #prefixSeen = 0;
  #flags = 0;
  #length = 0;
  /** Bytes of the present message that are still to come. */
  #left = 0;

  /** Whether a message with these flags is one. */
  protected counts(_flags: number): boolean {
    return true;
  }

  /** Part of the message with these flags. */
  protected onPart(_flags: number, _bytes: Buffer, _start: number, _end: number): void {}

  /** Looks at `data` and leaves it as it is. @returns how many messages began in it */
  inspect(data: ByteBuffer): number {
    const before = this.count;
    for (let i = 0; i < data.sliceCount; i++) {
      const slice = data.sliceAt(i);
      this.#inspectBytes(slice.bytes, slice.start, slice.end);
    }
    return this.count - before;
  }

  #inspectBytes(bytes: Buffer, at: number, end: number): void {
    while (at < end) {
      if (this.#left > 0) {
        const skip = Math.min(this.#left, end - at);
        this.onPart(this.#flags, bytes, at, at + skip);
        this.#left -= skip;
        at += skip;
        continue;
      }
      const byte = bytes[at++]!;
      if (this.#prefixSeen === 0) {
        this.#length = 0;
        this.#flags = byte;
        if (this.counts(byte)) this.count++;
      } else {
        this.#length = this.#length * 256 + byte;
      }
      if (++this.#prefixSeen < FRAME_PREFIX_BYTES) continue;
      this.#prefixSeen = 0;
      this.#left = this.#length;
    }
  }
}
