import type { Random } from '../../base/random.ts';
import type { TimerWheel } from '../../base/timer-wheel.ts';
import {
  type CodecTransport,
  type RequestDecoder,
  ResetReason,
  type ResponseEncoder,
  type ServerCodec,
  type ServerCodecEvents,
} from '../codec.ts';
import type { HeaderMap, ResponseHeaders } from '../header-map.ts';
import { ErrorCode } from './frame/frame-types.ts';
import { encodedBound } from './frame/header-writer.ts';
import { Http2Connection } from './http2-connection.ts';
import type { Http2Options } from './http2-options.ts';
import type { Http2CodecStats } from './http2-stats.ts';
import { BlockKind, NO_CONTENT_LENGTH, Verdict } from './stream/header-block.ts';
import { Http2Stream } from './stream/http2-stream.ts';
import { StreamEvent, StreamState } from './stream/stream-state.ts';
import { answersUpgrade, upgradeFromExtendedConnect } from './upgrade.ts';

const STATUS_TEXT: string[] = [];
for (let status = 0; status < 1000; status++) STATUS_TEXT.push(String(status));
/** `:status` with its value. */
const STATUS_BOUND = 32;

/** One request with its response. */
export class Http2ServerStream extends Http2Stream implements ResponseEncoder {
  readonly #codec: Http2ServerCodec;
  /** Null for as long as the stream is being made. */
  decoder: RequestDecoder | null = null;

  constructor(codec: Http2ServerCodec, id: number) {
    super(codec, StreamState.Open);
    this.#codec = codec;
    this.id = id;
  }

  get streamErrorOnInvalidHttpMessage(): boolean {
    return this.#codec.streamErrorOnInvalidHttpMessage;
  }

  setFlushTimeout(ms: number): void {
    this.flushTimeoutMs = ms;
  }

  encode1xxHeaders(headers: ResponseHeaders): void {
    if (this.localEnded || this.state === StreamState.Closed) return;
    this.#codec.writeResponse(this, headers, false);
  }

  encodeHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.localEnded || this.state === StreamState.Closed) return;
    this.#codec.writeResponse(this, headers, end);
  }
}

/**
 * Server side of HTTP/2. Streams are answered in any order; a pause of a stream's reads holds back its window, never the
 * connection. For bounds see Http2Connection.
 */
export class Http2ServerCodec extends Http2Connection implements ServerCodec {
  readonly #events: ServerCodecEvents;
  #goAwayReceived = false;
  protected readonly nextLocalId = 2;
  protected readonly defersResets = true;

  constructor(
    transport: CodecTransport,
    events: ServerCodecEvents,
    options: Http2Options,
    stats: Http2CodecStats,
    timers: TimerWheel,
    random: Random,
  ) {
    super(transport, events, options, stats, timers, random, true);
    this.#events = events;
  }

  get streamErrorOnInvalidHttpMessage(): boolean {
    return this.options.streamErrorOnInvalidHttpMessage;
  }

  protected writePreface(): void {
    const pairs: number[] = [];
    this.ourSettings(pairs);
    this.frames.settings(pairs);
  }

  protected onEnablePush(_value: number): void {}
  protected onPeerSettings(): void {}

  get hasStreams(): boolean {
    return this.streams.size > 0;
  }

  protected onStreamGone(): void {
    if (this.streams.size === 0) this.#events.onLastStreamGone();
  }

  protected isLocalId(id: number): boolean {
    return (id & 1) === 0;
  }

  protected override onRstStream(id: number, code: number): void {
    super.onRstStream(id, code);
    if (this.failure !== null || this.goAwaySent || this.limits.takesReset(this.timers.nowMs)) return;
    this.connectionError(ErrorCode.InternalError, 'too many RST_STREAM');
  }

  protected onGoAwayFrame(_lastStreamId: number, _code: number): void {
    if (this.#goAwayReceived) return;
    this.#goAwayReceived = true;
    this.#events.onGoAway();
  }

  protected onHeaderBlock(
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
    endStream: boolean,
    wireBytes: number,
  ): void {
    let stream = this.streams.get(id) as Http2ServerStream | undefined;
    if (stream === undefined) {
      if (this.isLocalId(id)) {
        this.protocolError('a stream of the client has an even id');
        return;
      }
      if (id <= this.lastPeerId) {
        this.onClosedStreamBlock(id, bytes, start, end);
        return;
      }
      if (!this.#takesStreams) {
        this.lastPeerId = id;
        this.#turnAway(id, bytes, start, end);
        return;
      }
      // Before the block is read: whatever is wrong with it is told as this request's end.
      stream = this.#begin(id);
    } else if (stream.headReceived) {
      if (!stream.remoteEnded) this.stats.trailers.inc();
      this.onTrailerBlock(stream, bytes, start, end, endStream, wireBytes);
      return;
    }
    const decoder = stream.decoder!;
    const block = this.block;
    block.begin(BlockKind.Request);
    if (!this.decodeBlock(bytes, start, end)) return;
    this.countFields(stream);
    let verdict = block.finish(endStream);
    const length = block.contentLength;
    if (endStream && length > 0 && verdict === Verdict.Ok) verdict = Verdict.InvalidMessage;
    if (stream.state === StreamState.Closed) return;
    if (verdict !== Verdict.Ok) {
      this.failMessage(stream, verdict);
      return;
    }
    this.countBlock(stream, wireBytes);
    stream.body = decoder;
    stream.headReceived = true;
    if (length !== NO_CONTENT_LENGTH) stream.contentLeft = length;
    const headers = block.takeRequest();
    if (headers.protocol !== null) upgradeFromExtendedConnect(headers);
    if (endStream) stream.transition(StreamEvent.ReceiveEnd);
    decoder.onHeaders(headers, endStream);
    if (endStream) this.settle(stream);
  }

  get #takesStreams(): boolean {
    return !this.goAwaySent && this.streams.size < this.options.maxConcurrentStreams;
  }

  /** The request counts, and its time runs, from its first byte on: a head in drops must not be able to wait for ever. */
  protected onHeadersBegin(id: number): void {
    if (id > this.lastPeerId && !this.isLocalId(id) && this.#takesStreams) this.#begin(id);
  }

  #begin(id: number): Http2ServerStream {
    this.lastPeerId = id;
    this.lastTakenId = id;
    const stream = new Http2ServerStream(this, id);
    this.addStream(stream);
    stream.decoder = this.#events.onNewStream(stream);
    return stream;
  }

  /** A stream that is not taken. */
  #turnAway(id: number, bytes: Buffer, start: number, end: number): void {
    // What comes behind our GOAWAY has been told that it will not be answered.
    const ignored = this.goAwaySent;
    if (!ignored && this.settingsAcked) {
      // Who knows the limit and passes it is cut off, as by Envoy; until then it is a race (RFC 9113 section 5.1.2).
      this.protocolError('more streams than SETTINGS_MAX_CONCURRENT_STREAMS');
      return;
    }
    this.block.begin(BlockKind.Ignored);
    if (!this.decodeBlock(bytes, start, end)) return;
    if (ignored) {
      this.ignore(id);
      return;
    }
    this.stats.streamRefusedErrors.inc();
    this.refuse(id, ErrorCode.RefusedStream);
  }

  /** A whole response makes the rest of its request needless, which is no error (RFC 9113 section 8.1). */
  protected override resetCode(stream: Http2Stream, reason: ResetReason): ErrorCode {
    if (reason === ResetReason.LocalReset && stream.state === StreamState.HalfClosedLocal) return ErrorCode.NoError;
    return super.resetCode(stream, reason);
  }

  /** By a stream. */
  writeResponse(stream: Http2ServerStream, headers: ResponseHeaders, end: boolean): void {
    if (this.failure !== null) return;
    const writer = this.headerWriter;
    const list = headers.list;
    writer.open(encodedBound(list) + STATUS_BOUND);
    let status = headers.status;
    // An upgrade that was accepted is a tunnel here (RFC 8441 section 5).
    const upgraded = answersUpgrade(headers);
    if (upgraded && status === 101) status = 200;
    writer.field(':status', STATUS_TEXT[status] ?? String(status));
    if (upgraded) writeWithoutEmptyLength(writer, headers);
    else writer.fields(list);
    this.countHeadSent(stream, writer.close(stream.id, end));
    this.afterHead(stream, end);
  }
}

/** nghttp2 refuses an upgrade's answer with a Content-Length; Envoy leaves out that of 0. */
function writeWithoutEmptyLength(writer: { field(name: string, value: string): void }, headers: HeaderMap): void {
  const list = headers.list;
  for (let i = 0; i < list.length; i += 2) {
    if (list[i] === 'content-length' && list[i + 1] === '0') continue;
    writer.field(list[i]!, list[i + 1]!);
  }
}
