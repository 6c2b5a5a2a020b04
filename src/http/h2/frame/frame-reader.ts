import { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { ProtocolError } from '../../codec.ts';
import type { Http2Options } from '../http2-options.ts';
import { FrameParts } from './frame-parts.ts';
import {
  DEFAULT_MAX_FRAME_BYTES,
  ErrorCode,
  FRAME_HEADER_BYTES,
  FrameFlag,
  FrameType,
  LARGEST_MAX_FRAME_BYTES,
  MAX_WINDOW,
  PREFACE,
  SettingId,
} from './frame-types.ts';
import type { InboundLimits } from './inbound-limits.ts';

/** CONTINUATION frames that a header block may have: none of them is empty, but they may be small. */
const MAX_CONTINUATIONS = 1024;
/** How much larger than its fields' limit a header block may be: it is decoded, and its stream refused, only as a whole. */
const BLOCK_FACTOR = 4;
/** Envoy's words for whatever its library refused. */
const ENVOY_TEXT = 'The user callback function failed';
/** Entries of one SETTINGS frame: nobody needs more, and each of them may cost work on every stream (nghttp2's limit). */
const MAX_SETTINGS = 32;

/** Where the reader stands. */
const State = {
  /** The client's connection preface (RFC 9113 section 3.4). */
  Preface: 0,
  /** The peer's first frame, which is SETTINGS. */
  FirstSettings: 1,
  Frame: 2,
  /** Inside a DATA frame's payload. */
  Data: 3,
  /** Behind the data of a padded DATA frame. */
  Padding: 4,
  /** Between HEADERS and the last CONTINUATION. */
  HeaderBlock: 5,
  Dead: 6,
} as const;
type State = (typeof State)[keyof typeof State];

/**
 * Takes frames apart and checks what can be checked without knowing the streams (RFC 9113 sections 4 and 6).
 *
 * DATA passes through as it comes, without a copy; every other frame is taken once it is whole, which the input holds until then:
 * at most 16 KiB, the frame size that we allow. Header blocks over several frames are put together first: at most four times
 * `maxHeadersBytes` and 1025 frames, then the connection ends.
 *
 * (Longer than most files: one state machine, with a step for each type of frame.)
 */
export abstract class FrameReader {
  protected readonly options: Http2Options;
  protected failure: ProtocolError | null = null;
  protected abstract readonly limits: InboundLimits;
  #state: State;
  readonly #body = new ByteBuffer();
  // The present DATA frame.
  #dataStream = 0;
  #dataLeft = 0;
  #dataEnd = false;
  #paddingLeft = 0;
  // The present header block.
  readonly #block = new FrameParts();
  #blockStream = 0;
  #blockEnd = false;
  /** Bytes of its frames, headers of the frames included. */
  #blockWireBytes = 0;
  #continuations = 0;
  readonly #maxBlockBytes: number;

  constructor(options: Http2Options, expectsPreface: boolean) {
    this.options = options;
    this.#state = expectsPreface ? State.Preface : State.FirstSettings;
    this.#maxBlockBytes = BLOCK_FACTOR * Math.max(options.maxHeadersBytes, DEFAULT_MAX_FRAME_BYTES);
  }

  /**
   * A HEADERS frame has begun and its block is not whole yet. May be called more than once for one frame.
   */
  protected abstract onHeadersBegin(id: number): void;
  /** A whole header block in `bytes[start..end)`. `wireBytes`: of the frames it came in. */
  protected abstract onHeaderBlock(
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
    endStream: boolean,
    wireBytes: number,
  ): void;
  /** A DATA frame begins; `size` is its whole payload, which counts against the windows; `padding` of it is never passed on. */
  /** A part of a METADATA message; `last` ends it. Only where they are allowed. */
  protected abstract onMetadataFrame(id: number, bytes: Buffer, start: number, end: number, last: boolean): void;
  protected abstract onDataBegin(id: number, size: number, padding: number, endStream: boolean): void;
  /** A part of the present frame's data. What is left in `data` is dropped. `end`: the stream's last byte. */
  protected abstract onDataPart(id: number, data: ByteBuffer, end: boolean): void;
  protected abstract onRstStream(id: number, code: number): void;
  protected abstract onSetting(identifier: number, value: number): void;
  protected abstract onSettingsEnd(): void;
  protected abstract onSettingsAck(): void;
  protected abstract onPing(high: number, low: number): void;
  protected abstract onPingAck(): void;
  protected abstract onGoAwayFrame(lastStreamId: number, code: number): void;
  protected abstract onWindowUpdate(id: number, increment: number): void;
  /** The stream has never been used. */
  protected abstract isIdle(id: number): boolean;
  /** A frame of any kind but the answer to a PING begins. */
  protected abstract onFrameBegin(): void;
  /** Tells the peer why, and lets go of the connection: sets `failure`. */
  protected abstract failConnection(code: ErrorCode, message: string, envoyText: string): void;
  /** Too many frames of a kind: the connection ends without GOAWAY, as Envoy's does. */
  protected abstract failFlooded(envoyText: string): void;

  /** Takes what it can from `input`. */
  protected read(input: ByteBuffer): void {
    while (input.length > 0 && this.failure === null) {
      switch (this.#state) {
        case State.Preface:
          if (!this.#readPreface(input)) return;
          break;
        case State.Data:
          this.#readData(input);
          break;
        case State.Padding: {
          const size = Math.min(this.#paddingLeft, input.length);
          input.drain(size);
          this.#paddingLeft -= size;
          if (this.#paddingLeft === 0) this.#state = State.Frame;
          break;
        }
        case State.Dead:
          return;
        default:
          if (!this.#readFrame(input)) return;
      }
    }
  }

  /** Nothing further is read. */
  protected stopReading(): void {
    this.#state = State.Dead;
    this.#block.clear();
  }

  protected protocolError(message: string): void {
    this.failConnection(ErrorCode.ProtocolError, message, ENVOY_TEXT);
  }

  protected connectionError(code: ErrorCode, message: string): void {
    this.failConnection(code, message, ENVOY_TEXT);
  }

  #readPreface(input: ByteBuffer): boolean {
    const size = Math.min(input.length, PREFACE.length);
    const slice = input.linearize(size);
    for (let i = 0; i < size; i++) {
      if (slice.bytes[slice.start + i] !== PREFACE[i]) {
        this.failConnection(ErrorCode.ProtocolError, 'bad connection preface', 'Received bad client magic byte string');
        return false;
      }
    }
    if (size < PREFACE.length) return false;
    input.drain(size);
    this.#state = State.FirstSettings;
    return true;
  }

  /** @returns false when there is not enough of it yet */
  #readFrame(input: ByteBuffer): boolean {
    if (input.length < FRAME_HEADER_BYTES) return false;
    let slice = input.firstSlice()!;
    if (slice.end - slice.start < FRAME_HEADER_BYTES) slice = input.linearize(FRAME_HEADER_BYTES);
    let bytes = slice.bytes;
    let at = slice.start;
    const size = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    const type = bytes[at + 3]!;
    const flags = bytes[at + 4]!;
    const id = read31(bytes, at + 5);
    const error = this.#headerError(size, type, flags, id);
    if (error !== null) {
      const code = size > DEFAULT_MAX_FRAME_BYTES ? ErrorCode.FrameSizeError : ErrorCode.ProtocolError;
      this.connectionError(code, error);
      return false;
    }
    if (type === FrameType.Data) return this.#beginData(input, size, flags, id);
    const total = FRAME_HEADER_BYTES + size;
    if (input.length < total) {
      if (type === FrameType.Headers && id !== 0) this.#announceHeaders(input, size, flags, id);
      return false;
    }
    if (slice.end - slice.start < total) {
      slice = input.linearize(total);
      bytes = slice.bytes;
      at = slice.start;
    }
    if (type !== FrameType.Ping || (flags & FrameFlag.Ack) === 0) this.onFrameBegin();
    this.#dispatch(type, flags, id, bytes, at + FRAME_HEADER_BYTES, at + total);
    if (this.failure === null) input.drain(total);
    return true;
  }

  /** A HEADERS frame that has come in part, once what stands in front of its block is there and right. */
  #announceHeaders(input: ByteBuffer, size: number, flags: number, id: number): void {
    const padded = (flags & FrameFlag.Padded) !== 0 ? 1 : 0;
    const priority = (flags & FrameFlag.Priority) !== 0 ? 5 : 0;
    const front = padded + priority;
    if (front > 0) {
      if (input.length < FRAME_HEADER_BYTES + front || size < front) return;
      const { bytes, start } = input.linearize(FRAME_HEADER_BYTES + front);
      const at = start + FRAME_HEADER_BYTES;
      if (padded > 0 && bytes[at]! > size - front) return;
      if (priority > 0 && read31(bytes, at + padded) === id) return;
    }
    this.onHeadersBegin(id);
  }

  #headerError(size: number, type: number, flags: number, id: number): string | null {
    if (size > DEFAULT_MAX_FRAME_BYTES) return 'frame larger than SETTINGS_MAX_FRAME_SIZE';
    if (this.#state === State.HeaderBlock) {
      if (type !== FrameType.Continuation || id !== this.#blockStream) return 'CONTINUATION expected';
    } else if (type === FrameType.Continuation) {
      return 'CONTINUATION without HEADERS';
    }
    if (this.#state === State.FirstSettings) {
      if (type !== FrameType.Settings || (flags & FrameFlag.Ack) !== 0) return 'SETTINGS expected';
    }
    return null;
  }

  #dispatch(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    const size = end - start;
    switch (type) {
      case FrameType.Headers:
        this.#readHeaders(flags, id, bytes, start, end);
        break;
      case FrameType.Continuation:
        this.#readContinuation(flags, bytes, start, end);
        break;
      case FrameType.Priority: {
        if (id === 0) {
          this.protocolError('PRIORITY on stream 0');
          return;
        }
        if (size !== 5) {
          // RFC 9113 section 6.3 asks for the stream's end only, but the stream may be none any more (so nghttp2).
          this.connectionError(ErrorCode.FrameSizeError, 'PRIORITY of a wrong size');
          return;
        }
        if (read31(bytes, start) === id) {
          this.protocolError('stream depends on itself');
          return;
        }
        this.#limit(this.limits.onPriority());
        break;
      }
      case FrameType.RstStream:
        if (id === 0 || this.isIdle(id)) {
          this.protocolError('RST_STREAM on an idle stream');
          return;
        }
        if (size !== 4) {
          this.connectionError(ErrorCode.FrameSizeError, 'RST_STREAM of a wrong size');
          return;
        }
        this.onRstStream(id, read32(bytes, start));
        break;
      case FrameType.Settings:
        this.#readSettings(flags, id, bytes, start, end);
        break;
      case FrameType.PushPromise:
        // We always say SETTINGS_ENABLE_PUSH 0, and a client never sends it.
        this.protocolError('PUSH_PROMISE');
        return;
      case FrameType.Ping:
        if (id !== 0) {
          this.protocolError('PING on a stream');
          return;
        }
        if (size !== 8) {
          this.connectionError(ErrorCode.FrameSizeError, 'PING of a wrong size');
          return;
        }
        if ((flags & FrameFlag.Ack) !== 0) this.onPingAck();
        else this.onPing(read32(bytes, start), read32(bytes, start + 4));
        break;
      case FrameType.GoAway:
        if (id !== 0) {
          this.protocolError('GOAWAY on a stream');
          return;
        }
        if (size < 8) {
          this.connectionError(ErrorCode.FrameSizeError, 'GOAWAY of a wrong size');
          return;
        }
        this.onGoAwayFrame(read31(bytes, start), read32(bytes, start + 4));
        break;
      case FrameType.WindowUpdate: {
        if (size !== 4) {
          this.connectionError(ErrorCode.FrameSizeError, 'WINDOW_UPDATE of a wrong size');
          return;
        }
        if (id !== 0 && this.isIdle(id)) {
          this.protocolError('WINDOW_UPDATE on an idle stream');
          return;
        }
        if (this.#limit(this.limits.onWindowUpdate())) return;
        const increment = read31(bytes, start);
        if (increment === 0) {
          // RFC 9113 section 6.9 would end a stream alone; Envoy ends the connection.
          this.protocolError('WINDOW_UPDATE of 0');
          return;
        }
        this.onWindowUpdate(id, increment);
        break;
      }
      case FrameType.Metadata:
        if (this.options.allowMetadata) this.#readMetadata(flags, id, bytes, start, end);
        break;
      default:
      // Unknown frames are ignored (section 4.1).
    }
  }

  /** @returns whether the connection is over */
  #limit(envoyText: string | null): boolean {
    if (envoyText === null) return false;
    this.failFlooded(envoyText);
    return true;
  }

  #readHeaders(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) {
      this.protocolError('HEADERS on stream 0');
      return;
    }
    const wireBytes = FRAME_HEADER_BYTES + end - start;
    let at = start;
    let padding = 0;
    if ((flags & FrameFlag.Padded) !== 0) {
      if (at === end) {
        this.connectionError(ErrorCode.FrameSizeError, 'HEADERS without its padding length');
        return;
      }
      padding = bytes[at++]!;
    }
    if ((flags & FrameFlag.Priority) !== 0) {
      if (end - at < 5) {
        this.connectionError(ErrorCode.FrameSizeError, 'HEADERS without its priority');
        return;
      }
      if (read31(bytes, at) === id) {
        this.protocolError('stream depends on itself');
        return;
      }
      at += 5;
    }
    if (padding > end - at) {
      this.protocolError('HEADERS with more padding than payload');
      return;
    }
    const stop = end - padding;
    const endStream = (flags & FrameFlag.EndStream) !== 0;
    if (this.#limit(this.limits.onMessageFrame(end - start - padding, endStream))) return;
    if ((flags & FrameFlag.EndHeaders) !== 0) {
      this.onHeaderBlock(id, bytes, at, stop, endStream, wireBytes);
      return;
    }
    this.onHeadersBegin(id);
    if (this.failure !== null) return;
    this.#state = State.HeaderBlock;
    this.#blockStream = id;
    this.#blockEnd = endStream;
    this.#continuations = 0;
    this.#blockWireBytes = wireBytes;
    this.#block.clear();
    this.#block.add(bytes, at, stop);
  }

  #readMetadata(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if ((flags & FrameFlag.Padded) === 0) {
      this.onMetadataFrame(id, bytes, start, end, (flags & FrameFlag.EndHeaders) !== 0);
      return;
    }
    const padding = start === end ? 0 : bytes[start]! + 1;
    if (padding === 0 || padding > end - start) {
      this.protocolError('METADATA with more padding than payload');
      return;
    }
    this.onMetadataFrame(id, bytes, start + 1, end - padding + 1, (flags & FrameFlag.EndHeaders) !== 0);
  }

  #readContinuation(flags: number, bytes: Buffer, start: number, end: number): void {
    if (this.#limit(this.limits.onMessageFrame(end - start, false))) return;
    const size = this.#block.length + end - start;
    if (++this.#continuations > MAX_CONTINUATIONS || size > this.#maxBlockBytes) {
      this.connectionError(ErrorCode.EnhanceYourCalm, 'too large a header block');
      return;
    }
    this.#blockWireBytes += FRAME_HEADER_BYTES + end - start;
    this.#block.add(bytes, start, end);
    if ((flags & FrameFlag.EndHeaders) === 0) return;
    const { bytes: block, length } = this.#block;
    this.#block.clear();
    this.#state = State.Frame;
    this.onHeaderBlock(this.#blockStream, block, 0, length, this.#blockEnd, this.#blockWireBytes);
  }

  #readSettings(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.protocolError('SETTINGS on a stream');
      return;
    }
    const size = end - start;
    if ((flags & FrameFlag.Ack) !== 0) {
      if (size !== 0) {
        this.connectionError(ErrorCode.FrameSizeError, 'acknowledgement with a payload');
        return;
      }
      this.onSettingsAck();
      return;
    }
    if (size % 6 !== 0) {
      this.connectionError(ErrorCode.FrameSizeError, 'SETTINGS of a wrong size');
      return;
    }
    if (size > 6 * MAX_SETTINGS) {
      this.connectionError(ErrorCode.EnhanceYourCalm, 'too many SETTINGS');
      return;
    }
    if (this.#state === State.FirstSettings) this.#state = State.Frame;
    for (let at = start; at < end && this.failure === null; at += 6) {
      const identifier = (bytes[at]! << 8) | bytes[at + 1]!;
      const value = read32(bytes, at + 2);
      switch (identifier) {
        case SettingId.EnablePush:
        case SettingId.EnableConnectProtocol:
          if (value > 1) {
            this.protocolError('a switch among the SETTINGS is neither 0 nor 1');
            return;
          }
          break;
        case SettingId.InitialWindowSize:
          if (value > MAX_WINDOW) {
            this.connectionError(ErrorCode.FlowControlError, 'initial window too large');
            return;
          }
          break;
        case SettingId.MaxFrameSize:
          if (value < DEFAULT_MAX_FRAME_BYTES || value > LARGEST_MAX_FRAME_BYTES) {
            this.protocolError('bad maximum frame size');
            return;
          }
          break;
      }
      this.onSetting(identifier, value);
    }
    if (this.failure === null) this.onSettingsEnd();
  }

  #beginData(input: ByteBuffer, size: number, flags: number, id: number): boolean {
    const padded = (flags & FrameFlag.Padded) !== 0;
    let padding = 0;
    if (padded) {
      if (size === 0) {
        this.connectionError(ErrorCode.FrameSizeError, 'DATA without its padding length');
        return false;
      }
      if (input.length <= FRAME_HEADER_BYTES) return false;
      padding = input.byteAt(FRAME_HEADER_BYTES) + 1;
      if (padding > size) {
        this.protocolError('DATA with more padding than payload');
        return false;
      }
    }
    if (id === 0 || this.isIdle(id)) {
      this.protocolError('DATA on an idle stream');
      return false;
    }
    const end = (flags & FrameFlag.EndStream) !== 0;
    this.onFrameBegin();
    if (this.#limit(this.limits.onMessageFrame(size - padding, end))) return false;
    input.drain(padded ? FRAME_HEADER_BYTES + 1 : FRAME_HEADER_BYTES);
    const left = size - padding;
    this.#paddingLeft = padded ? padding - 1 : 0;
    this.#dataLeft = left;
    this.#dataStream = id;
    this.#dataEnd = end;
    this.onDataBegin(id, size, padding, end);
    if (left > 0) this.#state = State.Data;
    else {
      this.#state = this.#paddingLeft > 0 ? State.Padding : State.Frame;
      if (end && this.failure === null) this.onDataPart(id, this.#body, true);
    }
    return true;
  }

  #readData(input: ByteBuffer): void {
    const body = this.#body;
    const size = Math.min(this.#dataLeft, input.length);
    body.moveFrom(input, size);
    const left = this.#dataLeft - size;
    this.#dataLeft = left;
    if (left === 0) this.#state = this.#paddingLeft > 0 ? State.Padding : State.Frame;
    this.onDataPart(this.#dataStream, body, left === 0 && this.#dataEnd);
    if (body.length > 0) body.clear();
  }
}

function read32(bytes: Buffer, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** The reserved bit is ignored. */
function read31(bytes: Buffer, at: number): number {
  return ((bytes[at]! & 0x7f) << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
