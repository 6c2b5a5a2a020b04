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

/** What `formatFields` learned on its way. */
export const FieldFacts = { ContentLength: 1, ConnectionClose: 2, Connection: 4, Upgrade: 8 } as const;

/**
 * Both sides' way of writing a message: head, body with or without chunks, trailers; and the stream's pause and watermark
 * book-keeping.
 */
export abstract class MessageWriter implements CodecStream {
  readonly id = 0;
  protocol: Protocol;
  readonly meter: BytesMeter;
  protected readonly sink: ByteSink;
  protected readonly formatter: HeaderCaseFormatter | null;
  protected readonly trailersEnabled: boolean;
  protected events: StreamEvents | null = null;
  /** The body goes out in chunks. */
  protected chunking = false;
  /** This direction has ended; what is encoded further is dropped. */
  protected ended = false;
  /** Set by `fields`. */
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
    this.formatter = formatter;
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

  /** `head` with all entries of `headers` behind it. Learns `facts`. */
  protected fields(head: string, headers: HeaderMap, trailers = false): string {
    const list = headers.list;
    const size = list.length;
    let facts = 0;
    const formatter = this.formatter;
    const wireNames = headers.wireNames;
    for (let i = 0; i < size; i += 2) {
      const name = list[i]!;
      const value = list[i + 1]!;
      switch (name) {
        case 'content-length':
          facts |= FieldFacts.ContentLength;
          break;
        case 'transfer-encoding':
          // The framing is ours: a coding that came from the other side never goes on.
          if (!trailers) continue;
          break;
        case 'connection':
          facts |= FieldFacts.Connection;
          if (hasToken(value, 'close')) facts |= FieldFacts.ConnectionClose;
          break;
        case 'upgrade':
          facts |= FieldFacts.Upgrade;
          break;
      }
      if (formatter === null) head += `${name}: ${value}\r\n`;
      else head += `${formatter.format(name, wireNames === null ? null : wireNames[i >> 1]!)}: ${value}\r\n`;
    }
    this.facts = facts;
    return head;
  }

  /** A header of the codec's own. */
  protected own(name: string, value: string): string {
    return `${this.formatter === null ? name : this.formatter.format(name, null)}: ${value}\r\n`;
  }

  /** @param firstLine its length with its line end: Envoy does not count it among the header bytes, nor the blank line */
  protected writeHead(head: string, firstLine: number): void {
    this.sink.output.appendLatin1(head);
    const meter = this.meter;
    const size = head.length;
    meter.wireBytesSent += size;
    meter.headerBytesSent += size - firstLine - 2;
    meter.decompressedHeaderBytesSent += size - firstLine - 2;
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
      let text = '0\r\n';
      if (this.trailersEnabled) text = this.fields(text, trailers, true);
      text += '\r\n';
      this.sink.output.appendLatin1(text);
      this.meter.wireBytesSent += text.length;
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
