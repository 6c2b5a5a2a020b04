import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { ProtocolError } from '../codec.ts';
import { HeaderMap } from '../header-map.ts';
import {
  BAD_LENGTH,
  cleanValue,
  equalsIgnoreCase,
  hexDigit,
  joined,
  lowerName,
  NO_LENGTH,
  parseLength,
  trimmed,
} from './field-text.ts';
import { type Http1CodecStats, type Http1Options, UnderscoreAction } from './http1-options.ts';
import { CLASS, FORBIDDEN, KNOWN_NAMES, knownName, NAME_BYTE, NameId, TOKEN } from './known-names.ts';

/** Where the parser stands in the message. */
export const ParserState = {
  /** Before the first byte of a message. */
  Start: 0,
  /** A head has begun whose end has not come; its bytes are in `#held`. */
  Head: 1,
  FixedBody: 2,
  ChunkSize: 3,
  ChunkExtension: 4,
  ChunkData: 5,
  /** The line end behind a chunk's data. */
  ChunkEnd: 6,
  /** Behind the last chunk's line: a blank line or trailers. */
  LastChunk: 7,
  Trailers: 8,
  UntilClose: 9,
  /** Upgraded or CONNECT: bytes pass as they are. */
  Raw: 10,
  /** The message is whole; the next one waits until the codec says `nextMessage`. */
  Complete: 11,
  /** After an error or a reset: what comes is dropped. */
  Dead: 12,
  /** A message has begun by blank lines; its head has not. */
  BlankLines: 13,
} as const;
export type ParserState = (typeof ParserState)[keyof typeof ParserState];

const CR = 13;
const LF = 10;
/** Envoy's header byte counts: name, value, and three bytes for the colon and the line end; a head without fields counts as one. */
const HEADER_MARKS = 3;

/**
 * Index behind the first CR LF CR LF; -1: there is none. Looks at every fourth byte where there is neither: for heads of the usual
 * size that is several times cheaper than the native search.
 */
function endOfHead(bytes: Buffer, start: number, end: number): number {
  let at = start + 3;
  while (at < end) {
    const byte = bytes[at]!;
    if (byte > CR) {
      at += 4;
    } else if (byte === LF) {
      if (bytes[at - 1] === CR && bytes[at - 2] === LF && bytes[at - 3] === CR) return at + 1;
      at += 2;
    } else {
      at += byte === CR ? 1 : 4;
    }
  }
  return -1;
}

/**
 * (Longer than most files: one state machine, whose states share what they hold.)
 *
 * Framing of HTTP/1 messages in both directions, with the tolerance and the strictness of Envoy's BalsaParser, quirks included:
 * line ends may be bare LF, obs-fold is unfolded, whitespace before the colon is refused, and so on. What to do with a message
 * is the subclass's.
 *
 * A head that lies whole in the first slice of the input takes the fast way: one pass, no copy. Everything else (split heads,
 * anything unusual or wrong) is collected in `#held` (at most `maxHeadersBytes`) and takes the careful way, which alone decides
 * about errors. Both ways give the same result for the same bytes, however they are split.
 */
export abstract class MessageParser {
  protected readonly options: Http1Options;
  protected readonly stats: Http1CodecStats;
  protected state: ParserState = ParserState.Start;

  // Facts of the present head.
  /** Joined value of Host; null when absent. */
  protected host: string | null = null;
  protected hostWireName: string | null = null;
  /** Digits as received; null when absent. */
  protected contentLengthText: string | null = null;
  /** -1: none; -2: not a number. */
  protected contentLength: number = NO_LENGTH;
  /** Joined value of Transfer-Encoding; null when absent. */
  protected transferEncoding: string | null = null;
  /** The last Transfer-Encoding line is `chunked`. */
  protected chunked = false;
  protected hasConnection = false;
  protected hasUpgrade = false;
  protected headerBytes = 0;

  /** Decoded body that has not been delivered; emptied before `dispatch` returns. */
  protected body: ByteBuffer | null = null;
  /** Bytes left of a fixed body or of the present chunk. */
  #remaining = 0;
  #sawChunkDigit = false;
  /** Digits of the chunk size without leading zeros. */
  #chunkDigits = 0;
  /** Line-end bytes seen last, as quiche's framer keeps them. */
  #lineEnds = 0;
  #previousCr = false;

  /** A head or trailers in the making. */
  #held: Buffer | null = null;
  #heldLength = 0;
  #lineLength = 0;
  /** End of the first line inside `#held`; 0 until it is there. */
  #firstLineEnd = 0;
  #seen = 0;
  #dispatching = false;

  constructor(options: Http1Options, stats: Http1CodecStats) {
    this.options = options;
    this.stats = stats;
  }

  /** HTTP/1 has no way to say metadata (Envoy: Http1::StreamEncoderImpl::encodeMetadata). */
  dropMetadata(): void {
    this.stats.metadataNotSupportedError.inc();
  }

  /** A message begins. @param available bytes that have come, of this message and maybe of others behind it */
  protected abstract onMessageBegin(available: number): void;
  /** First byte of a message's head. @returns an error when none can begin with it */
  protected abstract onHeadBegin(byte: number): ProtocolError | null;
  /** An empty target for the fields that follow. */
  protected abstract newHeaders(): HeaderMap;
  /**
   * The line at the front of `bytes[start..end)`, which is `text`. @returns offset of the first field line if the line is a plain one and
   * right, -1 otherwise. Must have no effects when it returns -1.
   */
  protected abstract fastFirstLine(bytes: Buffer, text: string, start: number, end: number): number;
  /** The same with all rules. @returns an error; `headOnly` is to be set when no fields follow (HTTP/0.9) */
  protected abstract firstLine(line: string): ProtocolError | null;
  /** All fields are there. The subclass calls `beginBody` or changes the state itself. */
  protected abstract onHead(headers: HeaderMap): ProtocolError | null;
  /**
   * Bytes came while a message was under way; told before what they lead to. They all count for that message, also when others follow
   * it in the same bytes (Envoy: ConnectionImpl::dispatch).
   */
  protected abstract countReceived(bytes: number): void;
  /** Part of the body; `end` at most once. */
  protected abstract onBody(data: ByteBuffer, end: boolean): void;
  protected abstract onTrailers(trailers: HeaderMap): void;
  /** The message has ended without its end having been told by `onBody` or `onTrailers`. */
  protected abstract onEnd(): void;
  protected abstract fail(details: string, status: number, message: string): ProtocolError;
  /** Bodies of this kind of message may be told to have none although their framing says so (HEAD, 204, ...). */
  protected abstract readonly bodyForbidden: boolean;

  /** No message is to begin now: too much unsent output. */
  protected abstract readonly holdsBack: boolean;
  /** Blank lines in front of a message are passed over (requests: RFC 9112 section 2.2). */
  protected abstract readonly skipsBlankLines: boolean;

  /** HTTP/0.9: the message is its first line. */
  protected headOnly = false;

  /** Ready for the next message. */
  protected nextMessage(): void {
    this.state = ParserState.Start;
  }

  /** Sets the state that the head's framing facts ask for. @returns whether a body follows */
  protected beginBody(untilClose: boolean): boolean {
    if (this.chunked) {
      this.#sawChunkDigit = false;
      this.#chunkDigits = 0;
      this.#remaining = 0;
      this.state = ParserState.ChunkSize;
      return true;
    }
    if (this.contentLength > 0) {
      this.#remaining = this.contentLength;
      this.state = ParserState.FixedBody;
      return true;
    }
    if (untilClose && this.contentLength === NO_LENGTH) {
      this.state = ParserState.UntilClose;
      return true;
    }
    this.state = ParserState.Complete;
    return false;
  }

  /** As the codec contracts have it. A call from within one is ignored: the outer one goes on. */
  dispatch(input: ByteBuffer): ProtocolError | null {
    if (this.#dispatching) return null;
    this.#dispatching = true;
    try {
      const error = this.parse(input);
      this.afterParse(input);
      return error;
    } finally {
      this.#dispatching = false;
    }
  }

  /** What is left of `input` waits. */
  protected afterParse(_input: ByteBuffer): void {}

  protected withWireNames<T extends HeaderMap>(headers: T): T {
    const format = this.options.headerKeyFormat;
    if (format?.keepsWireNames === true) {
      headers.wireNames = [];
      headers.headerCase = format;
    }
    return headers;
  }

  /** Consumes `input` up to the end of a message. */
  protected parse(input: ByteBuffer): ProtocolError | null {
    if (this.state !== ParserState.Complete) this.countReceived(input.length);
    while (input.length > 0) {
      let error: ProtocolError | null = null;
      switch (this.state) {
        case ParserState.Start:
          if (this.holdsBack) return null;
          this.onMessageBegin(input.length);
          error = this.#beginHead(input);
          break;
        case ParserState.BlankLines:
          error = this.#beginHead(input);
          break;
        case ParserState.Head:
          error = this.#holdHead(input);
          break;
        case ParserState.FixedBody:
          this.#fixedBody(input);
          break;
        case ParserState.ChunkSize:
        case ParserState.ChunkExtension:
        case ParserState.ChunkEnd:
        case ParserState.LastChunk:
          error = this.#chunkLines(input);
          break;
        case ParserState.ChunkData: {
          const size = Math.min(this.#remaining, input.length);
          this.#bodyBuffer().moveFrom(input, size);
          this.#remaining -= size;
          if (this.#remaining === 0) {
            this.state = ParserState.ChunkEnd;
            this.#previousCr = false;
          }
          break;
        }
        case ParserState.Trailers:
          error = this.#holdTrailers(input);
          break;
        case ParserState.UntilClose:
        case ParserState.Raw:
          this.#bodyBuffer().moveFrom(input);
          break;
        case ParserState.Complete:
          return null;
        case ParserState.Dead:
          input.clear();
          return null;
      }
      if (error !== null) return error;
    }
    this.#deliverBody(false);
    return null;
  }

  #beginHead(input: ByteBuffer): ProtocolError | null {
    const slice = input.firstSlice()!;
    const first = slice.bytes[slice.start]!;
    if ((first === CR || first === LF) && this.skipsBlankLines) {
      this.state = ParserState.BlankLines;
      input.drain(1);
      return null;
    }
    let error = this.onHeadBegin(first);
    if (error !== null) return error;
    this.state = ParserState.Head;
    this.#startHolding();
    const size = this.#fastHead(slice.bytes, slice.start, slice.end);
    if (size === 0) return this.#holdHead(input);
    input.drain(size);
    error = this.onHead(this.#headers!);
    this.#headers = null;
    return error;
  }

  #bodyBuffer(): ByteBuffer {
    this.body ??= new ByteBuffer();
    return this.body;
  }

  #deliverBody(end: boolean): void {
    const body = this.body;
    if (body === null || body.length === 0) {
      if (end) this.onEnd();
      return;
    }
    this.onBody(body, end);
    if (body.length > 0) body.clear();
  }

  /** The peer will send no more. @returns true when that ended a body that runs until close */
  protected endUntilClose(): boolean {
    if (this.state !== ParserState.UntilClose) return false;
    this.state = ParserState.Complete;
    this.#deliverBody(true);
    return true;
  }

  #fixedBody(input: ByteBuffer): void {
    const size = Math.min(this.#remaining, input.length);
    this.#remaining -= size;
    this.#bodyBuffer().moveFrom(input, size);
    if (this.#remaining === 0) {
      this.state = ParserState.Complete;
      this.#deliverBody(true);
    }
  }

  /** Chunk sizes, extensions and line ends, byte by byte (RFC 9112 section 7.1). */
  #chunkLines(input: ByteBuffer): ProtocolError | null {
    const slice = input.firstSlice()!;
    const bytes = slice.bytes;
    const start = slice.start;
    const end = slice.end;
    let at = start;
    let state: ParserState = this.state;
    let error: string | null = null;
    scan: while (at < end) {
      const c = bytes[at]!;
      switch (state) {
        case ParserState.ChunkSize: {
          const digit = hexDigit(c);
          if (digit >= 0) {
            this.#sawChunkDigit = true;
            // 2^64 and more is an error, as in Envoy. Sizes beyond 2^53 are not exact: such a chunk never ends anyway.
            if (this.#chunkDigits > 0 || digit > 0) this.#chunkDigits++;
            if (this.#chunkDigits > 16) {
              error = 'CHUNK_LENGTH_OVERFLOW';
              break scan;
            }
            this.#remaining = this.#remaining * 16 + digit;
            at++;
            break;
          }
          if (!this.#sawChunkDigit || (c !== 9 && c !== LF && c !== CR && c !== 32 && c !== 59)) {
            error = 'HPE_INVALID_CHUNK_SIZE';
            break scan;
          }
          this.#previousCr = false;
          state = ParserState.ChunkExtension;
          break;
        }
        case ParserState.ChunkExtension:
          at++;
          // The line ends by CR LF; neither may stand alone.
          if (this.#previousCr !== (c === LF)) {
            error = 'INVALID_CHUNK_EXTENSION';
            break scan;
          }
          this.#previousCr = c === CR;
          if (c === LF) {
            this.#sawChunkDigit = false;
            this.#chunkDigits = 0;
            if (this.#remaining > 0) {
              state = ParserState.ChunkData;
              break scan;
            }
            this.#lineEnds = LF;
            state = ParserState.LastChunk;
          }
          break;
        case ParserState.ChunkEnd:
          at++;
          if (c === LF) {
            state = ParserState.ChunkSize;
            this.#remaining = 0;
          }
          break;
        default:
          // LastChunk. Ends by LF LF or LF CR LF; the first other byte begins the trailers.
          if (c !== CR && c !== LF) {
            state = ParserState.Trailers;
            this.#startHolding();
            break scan;
          }
          at++;
          this.#lineEnds = ((this.#lineEnds << 8) | c) & 0xffffff;
          if ((this.#lineEnds & 0xffff) === 0x0a0a || this.#lineEnds === 0x0a0d0a) {
            state = ParserState.Complete;
            break scan;
          }
      }
    }
    this.state = state;
    input.drain(at - start);
    if (error !== null) {
      // As in Envoy, the size of the last chunk hands on the body before what follows it is looked at.
      if (state === ParserState.ChunkExtension && this.#remaining === 0) this.#deliverBody(false);
      return this.fail('http1.codec_error', 400, error);
    }
    if (state === ParserState.Complete) this.#deliverBody(true);
    return null;
  }

  // ---- heads ----

  #headers: HeaderMap | null = null;

  #startHolding(): void {
    this.#heldLength = 0;
    this.#lineLength = 0;
    this.#firstLineEnd = 0;
    this.#previousCr = false;
  }

  #resetFacts(): void {
    this.host = null;
    this.hostWireName = null;
    this.contentLengthText = null;
    this.contentLength = NO_LENGTH;
    this.transferEncoding = null;
    this.chunked = false;
    this.hasConnection = false;
    this.hasUpgrade = false;
    this.headOnly = false;
    this.headerBytes = 0;
    this.#seen = 0;
  }

  /** @returns size of the head, now parsed into `#headers`; 0 when the careful way has to be taken */
  #fastHead(bytes: Buffer, start: number, end: number): number {
    const headEnd = endOfHead(bytes, start, end);
    if (headEnd < 0 || headEnd - start > this.options.maxHeadersBytes) return 0;
    this.#resetFacts();
    const text = bytes.latin1Slice(start, headEnd);
    let at = this.fastFirstLine(bytes, text, start, headEnd);
    if (at < 0) return 0;
    const headers = this.newHeaders();
    const last = headEnd - 2;
    const underscores = this.options.headersWithUnderscores === UnderscoreAction.Allow;
    const maxCount = this.options.maxHeadersCount;
    const keepNames = headers.wireNames !== null;
    let count = 0;
    while (at < last) {
      const nameStart = at;
      let hash = 0;
      let lower = NAME_BYTE[bytes[at]!]!;
      // A line that begins with whitespace (obs-fold) has no name, and leaves here too.
      while (lower !== 0) {
        hash = (Math.imul(hash, 31) + lower) | 0;
        lower = NAME_BYTE[bytes[++at]!]!;
      }
      if (bytes[at] !== 58 || at === nameStart) return 0;
      const nameEnd = at;
      let c = bytes[++at]!;
      while (c === 32 || c === 9) c = bytes[++at]!;
      const valueStart = at;
      for (;;) {
        if (c < 32) {
          if (c === CR) break;
          if (c !== 9) return 0;
        } else if (c === 127) return 0;
        c = bytes[++at]!;
      }
      if (bytes[at + 1] !== LF) return 0;
      let valueEnd = at;
      at += 2;
      if (valueEnd > valueStart) {
        let tail = bytes[valueEnd - 1]!;
        while (tail === 32 || tail === 9) tail = bytes[--valueEnd - 1]!;
      }
      if (++count > maxCount) return 0;
      const value = text.substring(valueStart - start, valueEnd - start);
      const id = knownName(bytes, nameStart, nameEnd, hash);
      if (id >= 0 && id <= NameId.TransferEncoding) {
        if (id === NameId.ContentLength) {
          if (this.contentLengthText !== null) return 0;
          this.contentLength = parseLength(value);
          if (this.contentLength < 0) return 0;
        } else if (id === NameId.TransferEncoding) {
          this.chunked = equalsIgnoreCase(value, 'chunked');
        }
      }
      if (id < 0 && !underscores && text.substring(nameStart - start, nameEnd - start).includes('_')) return 0;
      this.headerBytes += nameEnd - nameStart + value.length + HEADER_MARKS;
      const name = id >= 0 ? KNOWN_NAMES[id]! : lowerName(text, bytes, nameStart, nameEnd, start);
      this.#add(headers, id, name, keepNames ? text.substring(nameStart - start, nameEnd - start) : null, value);
    }
    if (count === 0) this.headerBytes += HEADER_MARKS;
    this.#headers = headers;
    return headEnd - start;
  }

  /** Enters one field, joining those of which Envoy keeps a single entry. */
  #add(headers: HeaderMap, id: number, name: string, wireName: string | null, value: string): void {
    if (id >= 0 && this.single[id] === 1) {
      // A set of bits of names seen says cheaply that there is surely none yet.
      const bit = 1 << (id & 31);
      let again = false;
      if ((this.#seen & bit) === 0) this.#seen |= bit;
      else again = id === NameId.Host ? this.host !== null : headers.has(name);
      switch (id) {
        case NameId.Host:
          if (again) this.host = joined(this.host!, value);
          else {
            this.host = value;
            this.hostWireName = wireName;
          }
          if (this.hostInList) break;
          return;
        case NameId.ContentLength:
          this.contentLengthText = again ? joined(this.contentLengthText!, value) : value;
          break;
        case NameId.TransferEncoding:
          this.transferEncoding = again ? joined(this.transferEncoding!, value) : value;
          headers.codingWireName ??= wireName;
          break;
        case NameId.Connection:
          this.hasConnection = true;
          break;
        case NameId.Upgrade:
          this.hasUpgrade = true;
          break;
      }
      if (again) {
        headers.append(name, value);
        return;
      }
    }
    headers.list.push(name, value);
    if (wireName !== null) headers.wireNames!.push(wireName);
  }

  /** By name id: 1 when a message has one entry of it, to which further ones are joined. */
  protected abstract readonly single: Uint8Array;
  /** Responses may hold a `host` like any other header. */
  protected abstract readonly hostInList: boolean;

  /** Copies head bytes out of `input` until the head ends. */
  #holdHead(input: ByteBuffer): ProtocolError | null {
    while (input.length > 0) {
      const slice = input.firstSlice()!;
      const from = this.#heldLength;
      const { taken, ended } = this.#hold(slice.bytes, slice.start, slice.end);
      input.drain(taken);
      if (this.#firstLineEnd === 0 && this.#heldLength > from) {
        const at = this.#held!.indexOf(LF, from);
        if (at >= 0 && at < this.#heldLength) {
          this.#resetFacts();
          this.#firstLineEnd = at + 1;
          const error = this.firstLine(this.#held!.latin1Slice(0, at + 1));
          if (error !== null) return error;
          if (this.headOnly) {
            // What was held behind the line belongs to the next message.
            if (this.#heldLength > at + 1) {
              input.prepend(Buffer.from(this.#held!.subarray(at + 1, this.#heldLength)));
              this.#heldLength = at + 1;
            }
            return this.#heldHead(this.newHeaders(), at + 1);
          }
        }
      }
      if (ended) return this.#heldHead(this.newHeaders(), this.#firstLineEnd);
      if (this.#heldLength >= this.options.maxHeadersBytes) {
        return this.fail('http1.headers_too_large', 431, 'headers size exceeds limit');
      }
    }
    return null;
  }

  #holdTrailers(input: ByteBuffer): ProtocolError | null {
    while (input.length > 0) {
      const slice = input.firstSlice()!;
      const { taken, ended } = this.#hold(slice.bytes, slice.start, slice.end);
      input.drain(taken);
      if (ended) {
        // The body has gone on when trailers are judged, as in Envoy.
        this.#deliverBody(false);
        if (this.state !== ParserState.Trailers) return null;
        const trailers = this.withWireNames(new HeaderMap());
        const error = this.#carefulFields(trailers, 0, true);
        this.#held = null;
        if (error !== null) return error;
        this.state = ParserState.Complete;
        this.#deliverBody(!this.options.enableTrailers);
        if (this.options.enableTrailers) this.onTrailers(trailers);
        return null;
      }
      if (this.#heldLength >= this.options.maxHeadersBytes) {
        this.#deliverBody(false);
        return this.fail('http1.headers_too_large', 431, 'trailers size exceeds limit');
      }
    }
    return null;
  }

  /** Takes bytes up to the blank line, at most up to the limit. */
  #hold(bytes: Buffer, start: number, end: number): { taken: number; ended: boolean } {
    const limit = Math.min(end, start + this.options.maxHeadersBytes - this.#heldLength);
    let at = start;
    let ended = false;
    while (at < limit) {
      const c = bytes[at++]!;
      if (c !== LF) {
        this.#lineLength++;
        this.#previousCr = c === CR;
        continue;
      }
      const size = this.#lineLength + 1;
      this.#lineLength = 0;
      if (size === 1 || (size === 2 && this.#previousCr)) {
        ended = true;
        break;
      }
    }
    const taken = at - start;
    const needed = this.#heldLength + taken;
    if (this.#held === null || this.#held.length < needed) {
      const grown = Buffer.allocUnsafeSlow(Math.max(512, needed * 2));
      if (this.#held !== null) this.#held.copy(grown, 0, 0, this.#heldLength);
      this.#held = grown;
    }
    bytes.copy(this.#held, this.#heldLength, start, at);
    this.#heldLength = needed;
    return { taken, ended };
  }

  #heldHead(headers: HeaderMap, fieldsStart: number): ProtocolError | null {
    const error = this.#carefulFields(headers, fieldsStart, false);
    this.#held = null;
    if (error !== null) return error;
    return this.onHead(headers);
  }

  /** Fields of a held head or of trailers, with every rule, in the order in which quiche and Envoy apply them. */
  #carefulFields(headers: HeaderMap, from: number, trailers: boolean): ProtocolError | null {
    const bytes = this.#held!;
    const end = this.#heldLength;
    for (let i = 0; i < end; i++) {
      if (CLASS[bytes[i]!] === FORBIDDEN) {
        return this.fail('http1.invalid_characters', 400, 'header value contains invalid chars');
      }
    }
    const text = bytes.latin1Slice(0, end);
    const names: string[] = [];
    const values: string[] = [];
    const starts: number[] = [];
    const ends: number[] = [];
    let at = from;
    let lengthSeen = false;
    while (at < end) {
      const lineStart = at;
      let lineEnd = text.indexOf('\n', at) + 1;
      if (lineEnd === 0) lineEnd = end;
      if (lineEnd >= end) break; // the blank line
      at = lineEnd;
      // Lines that begin with whitespace belong to the one before (obs-fold).
      while (at < end) {
        const c = bytes[at]!;
        if (c > 32) break;
        const nextEnd = text.indexOf('\n', at) + 1;
        if (nextEnd >= end) break;
        if (c !== 32 && c !== 9) return this.fail('http1.codec_error', 400, 'INVALID_HEADER_FORMAT');
        at = nextEnd;
      }
      const valueEnd = at;
      const colon = text.indexOf(':', lineStart);
      if (colon < 0 || colon >= valueEnd) {
        return this.fail('http1.codec_error', 400, trailers ? 'HPE_INVALID_HEADER_TOKEN' : 'HEADER_MISSING_COLON');
      }
      for (let i = lineStart; i < colon; i++) {
        if (CLASS[bytes[i]!] !== TOKEN) {
          return this.fail('http1.codec_error', 400, 'INVALID_HEADER_NAME_CHARACTER');
        }
      }
      if (colon === lineStart) return this.fail('http1.codec_error', 400, 'INVALID_HEADER_FORMAT');
      names.push(text.substring(lineStart, colon));
      starts.push(colon + 1);
      ends.push(valueEnd);
      values.push(cleanValue(text, colon + 1, valueEnd));
    }
    for (let i = 0; i < names.length && !trailers; i++) {
      if (!equalsIgnoreCase(names[i]!, 'content-length')) continue;
      // Line ends inside a value are no part of it elsewhere; the framing is read with them (as quiche does).
      const length = parseLength(trimmed(text, starts[i]!, ends[i]!));
      if (lengthSeen) return this.fail('http1.codec_error', 400, 'HPE_UNEXPECTED_CONTENT_LENGTH');
      lengthSeen = true;
      this.contentLength = length;
    }
    for (let i = 0; i < names.length && !trailers; i++) {
      if (equalsIgnoreCase(names[i]!, 'transfer-encoding')) {
        this.chunked = equalsIgnoreCase(trimmed(text, starts[i]!, ends[i]!), 'chunked');
      }
    }
    if (!trailers && this.contentLength === BAD_LENGTH && !this.chunked && !this.bodyForbidden) {
      return this.fail('http1.codec_error', 400, 'UNPARSABLE_CONTENT_LENGTH');
    }
    if (trailers && !this.options.enableTrailers) return null;
    if (trailers) this.#seen = 0;
    if (names.length === 0) this.headerBytes += HEADER_MARKS;
    let count = 0;
    for (let i = 0; i < names.length; i++) {
      const wire = names[i]!;
      const name = wire.toLowerCase();
      const value = values[i]!;
      this.headerBytes += name.length + value.length + HEADER_MARKS;
      if (this.options.headersWithUnderscores !== UnderscoreAction.Allow && name.includes('_')) {
        if (this.options.headersWithUnderscores !== UnderscoreAction.RejectRequest) {
          this.stats.droppedHeadersWithUnderscores.inc();
          continue;
        }
        this.stats.requestsRejectedWithUnderscoresInHeaders.inc();
        return this.fail('http1.unexpected_underscore', 400, 'header name contains underscores');
      }
      if (trailers) {
        headers.list.push(name, value);
        headers.wireNames?.push(wire);
      } else {
        this.#add(headers, KNOWN_NAMES.indexOf(name), name, headers.wireNames === null ? null : wire, value);
      }
      count = headers.size + (this.host !== null && !this.hostInList && !trailers ? 1 : 0);
      if (count > this.options.maxHeadersCount) {
        const kind = trailers ? 'trailers' : 'headers';
        return this.fail('http1.too_many_headers', 431, `${kind} count exceeds limit`);
      }
    }
    return null;
  }
}
