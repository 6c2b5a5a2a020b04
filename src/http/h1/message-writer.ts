import type { ByteBuffer } from '../../base/byte-buffer.ts';
import {
  type ByteSink,
  BytesMeter,
  type CodecStream,
  type Protocol,
  type ResetReason,
  type StreamEvents,
} from '../codec.ts';
import type { HeaderMap } from '../header-map.ts';
import { hasToken } from '../token-list.ts';
import type { HeaderCaseFormatter } from './http1-options.ts';

/** `upgrade` among the tokens of Connection, beside an Upgrade header (RFC 9110 section 7.8). */
export function isUpgrade(headers: HeaderMap): boolean {
  if (!headers.has('upgrade')) return false;
  const connection = headers.getJoined('connection');
  return connection !== null && hasToken(connection, 'upgrade');
}

/** What `measure` learned on its way. */
export const FieldFacts = {
  ContentLength: 1,
  ConnectionClose: 2,
  Connection: 4,
  Upgrade: 8,
  TransferEncoding: 16,
} as const;

/** Colon, space and line end of a field. */
const FIELD_MARKS = 4;
/** Longer texts are copied by a native call, which costs more than the bytes of a short one. */
const SHORT_TEXT = 48;

/** Writes each UTF-16 unit's low byte (see ByteBuffer.appendLatin1). @returns the index behind it */
function putText(bytes: Buffer, at: number, text: string): number {
  const size = text.length;
  if (size > SHORT_TEXT) {
    bytes.latin1Write(text, at, size);
  } else {
    for (let i = 0; i < size; i++) bytes[at + i] = text.charCodeAt(i);
  }
  return at + size;
}

/**
 * Both sides' way of writing a message: head, body with or without chunks, trailers; and the stream's pause and watermark
 * book-keeping.
 */
export abstract class MessageWriter implements CodecStream {
  readonly id = 0;
  protocol: Protocol;
  readonly meter: BytesMeter;
  protected readonly sink: ByteSink;
  /** For messages that bring none of their own. */
  protected readonly formatter: HeaderCaseFormatter | null;
  protected readonly trailersEnabled: boolean;
  protected events: StreamEvents | null = null;
  /** The body goes out in chunks. */
  protected chunking = false;
  /** This direction has ended; what is encoded further is dropped. */
  protected ended = false;
  /** Set by `measure`. */
  protected facts = 0;
  /** -1: the stream is over, the connection is another's. */
  #pauses = 0;
  #above: boolean;

  constructor(
    sink: ByteSink,
    formatter: HeaderCaseFormatter | null,
    trailersEnabled: boolean,
    protocol: Protocol,
    above: boolean,
  ) {
    this.sink = sink;
    this.formatter = formatter?.keepsWireNames === true ? null : formatter;
    this.trailersEnabled = trailersEnabled;
    this.protocol = protocol;
    this.meter = new BytesMeter();
    this.#above = above;
  }

  get isEnded(): boolean {
    return this.ended;
  }

  protected abstract pauseTransport(): void;
  protected abstract resumeTransport(): void;
  /** The message has been written to its end. */
  protected abstract onEncodeComplete(): void;
  abstract reset(reason: ResetReason): void;

  /** A stream born while the connection's write buffer is full is told so at once. */
  setEvents(events: StreamEvents): void {
    this.events = events;
    if (this.#above) events.onAboveWriteHighWatermark();
  }

  pauseReads(): void {
    if (this.#pauses < 0) return;
    this.#pauses++;
    this.pauseTransport();
  }

  resumeReads(): void {
    if (this.#pauses <= 0) return;
    this.#pauses--;
    this.resumeTransport();
  }

  /** Gives back the pauses that a stream still holds when it ends; it can make no further ones. */
  releasePauses(): void {
    while (this.#pauses > 0) this.resumeReads();
    this.#pauses = -1;
  }

  onAboveHigh(): void {
    this.#above = true;
    this.events?.onAboveWriteHighWatermark();
  }

  onBelowLow(): void {
    this.#above = false;
    this.events?.onBelowWriteLowWatermark();
  }

  raiseReset(reason: ResetReason, details: string): void {
    const events = this.events;
    this.events = null;
    this.ended = true;
    events?.onStreamReset(reason, details);
  }

  /** Learns `facts`. @returns bytes that `putFields` may need at most */
  protected measure(headers: HeaderMap): number {
    const list = headers.list;
    let facts = 0;
    let size = 0;
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i]!;
      const value = list[i + 1]!;
      size += name.length + value.length + FIELD_MARKS;
      switch (name.length) {
        case 7:
          if (name === 'upgrade') facts |= FieldFacts.Upgrade;
          break;
        case 10:
          if (name !== 'connection') break;
          facts |= FieldFacts.Connection;
          if (hasToken(value, 'close')) facts |= FieldFacts.ConnectionClose;
          break;
        case 14:
          if (name === 'content-length') facts |= FieldFacts.ContentLength;
          break;
        case 17:
          if (name === 'transfer-encoding') facts |= FieldFacts.TransferEncoding;
          break;
      }
    }
    this.facts = facts;
    return size;
  }

  /**
   * Writes all entries at `at`. The framing is ours: a transfer coding that came from the other side goes on in trailers only.
   * @returns where the next byte goes
   */
  protected putFields(bytes: Buffer, at: number, headers: HeaderMap, trailers = false): number {
    const { list, wireNames } = headers;
    const formatter = headers.headerCase ?? this.formatter;
    const skips = !trailers && (this.facts & FieldFacts.TransferEncoding) !== 0;
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i]!;
      if (skips && name === 'transfer-encoding') continue;
      at = putText(
        bytes,
        at,
        formatter === null ? name : formatter.format(name, wireNames === null ? null : wireNames[i >> 1]! || null),
      );
      bytes[at] = 58;
      bytes[at + 1] = 32;
      at = putText(bytes, at + 2, list[i + 1]!);
      bytes[at] = 13;
      bytes[at + 1] = 10;
      at += 2;
    }
    return at;
  }

  /** A header of the codec's own. The peer may have sent one of the same name, which it replaces. */
  protected own(name: string, value: string, headers: HeaderMap): string {
    const formatter = headers.headerCase ?? this.formatter;
    if (formatter === null) return `${name}: ${value}\r\n`;
    return `${formatter.format(name, name === 'transfer-encoding' ? headers.codingWireName : null)}: ${value}\r\n`;
  }

  /** First line, Host where it is not among the fields, the fields, and `framing`, what the codec says itself. */
  protected writeHead(line: string, host: string, headers: HeaderMap, fieldBytes: number, framing: string): void {
    const { output } = this.sink;
    const slice = output.reserve(line.length + host.length + fieldBytes + framing.length + 2);
    const { bytes, end } = slice;
    let at = putText(bytes, end, line);
    if (host !== '') at = putText(bytes, at, host);
    at = this.putFields(bytes, at, headers);
    if (framing !== '') at = putText(bytes, at, framing);
    bytes[at] = 13;
    bytes[at + 1] = 10;
    const size = at + 2 - end;
    const { meter } = this;
    meter.wireBytesSent += size;
    // Envoy counts neither the first line nor the blank one among the header bytes.
    meter.headerBytesSent += size - line.length - 2;
    meter.decompressedHeaderBytesSent += size - line.length - 2;
    output.commit(slice, size);
    this.sink.written();
  }

  /** Takes everything out of `data`. */
  encodeData(data: ByteBuffer, end: boolean): void {
    if (this.ended) {
      data.clear();
      return;
    }
    const size = data.length;
    const output = this.sink.output;
    if (size > 0) {
      this.meter.wireBytesSent += size;
      if (this.chunking) {
        const line = `${size.toString(16)}\r\n`;
        output.appendLatin1(line);
        output.moveFrom(data);
        output.appendLatin1(end ? '\r\n0\r\n\r\n' : '\r\n');
        this.meter.wireBytesSent += line.length + (end ? 7 : 2);
      } else {
        output.moveFrom(data);
      }
      this.sink.written();
    } else if (end && this.chunking) {
      output.appendLatin1('0\r\n\r\n');
      this.meter.wireBytesSent += 5;
      this.sink.written();
    }
    if (end) this.finish();
  }

  /** Ends the message; trailers go out only in chunked messages and when enabled. */
  encodeTrailers(trailers: HeaderMap): void {
    if (this.ended) return;
    if (this.chunking) {
      const { output } = this.sink;
      const slice = output.reserve((this.trailersEnabled ? this.measure(trailers) : 0) + 5);
      const { bytes, end } = slice;
      let at = putText(bytes, end, '0\r\n');
      if (this.trailersEnabled) at = this.putFields(bytes, at, trailers, true);
      at = putText(bytes, at, '\r\n');
      this.meter.wireBytesSent += at - end;
      output.commit(slice, at - end);
      this.sink.written();
    }
    this.finish();
  }

  protected finish(): void {
    if (this.ended) return;
    this.ended = true;
    this.onEncodeComplete();
  }
}
