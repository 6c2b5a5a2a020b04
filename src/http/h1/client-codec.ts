import { ByteBuffer } from '../../base/byte-buffer.ts';
import {
  type ClientCodec,
  type ClientCodecEvents,
  type CodecTransport,
  Protocol,
  type ProtocolError,
  type RequestEncoder,
  type ResetReason,
  type ResponseDecoder,
} from '../codec.ts';
import { type HeaderMap, type RequestHeaders, ResponseHeaders } from '../header-map.ts';
import { hasToken } from '../token-list.ts';
import { equalsIgnoreCase } from './field-text.ts';
import type { Http1CodecStats, Http1Options } from './http1-options.ts';
import { SINGLE_IN_RESPONSE } from './known-names.ts';
import { MessageParser, ParserState } from './message-parser.ts';
import { FieldFacts, isUpgrade, MessageWriter } from './message-writer.ts';
import { splitFirstLine, versionIsValid } from './request-target.ts';

/** One request with its response, seen from the client: encoder and stream are the same object. */
export class Http1ClientStream extends MessageWriter implements RequestEncoder {
  readonly #codec: Http1ClientCodec;
  decoder: ResponseDecoder | null;
  headRequest = false;
  connectRequest = false;
  upgradeRequest = false;
  responseComplete = false;

  constructor(
    codec: Http1ClientCodec,
    transport: CodecTransport,
    options: Http1Options,
    above: boolean,
    decoder: ResponseDecoder,
  ) {
    super(transport, options.headerKeyFormat, options.enableTrailers, Protocol.Http11, above);
    this.#codec = codec;
    this.decoder = decoder;
  }

  get stream(): this {
    return this;
  }

  encodeMetadata(): void {
    this.#codec.dropMetadata();
  }

  encodeHeaders(headers: RequestHeaders, end: boolean): string | null {
    if (this.ended) return null;
    const method = headers.method;
    if (method === '') return 'missing required header: :method';
    const connect = method === 'CONNECT' && headers.protocol === null;
    if (connect) {
      if (headers.authority === null) return 'missing required header: :authority';
    } else if (headers.path === null) return 'missing required header: :path';
    this.headRequest = method === 'HEAD';
    this.connectRequest = connect;
    let target = connect ? headers.authority! : headers.path!;
    if (!connect && this.#codec.fullyQualified) target = `${headers.scheme}://${headers.authority ?? ''}${target}`;
    let host = '';
    if (headers.authority !== null) {
      const formatter = headers.headerCase ?? this.formatter;
      const name = formatter === null ? 'host' : formatter.format('host', headers.authorityWireName);
      host = `${name}: ${headers.authority}\r\n`;
    }
    const fieldBytes = this.measure(headers);
    const facts = this.facts;
    if ((facts & FieldFacts.ConnectionClose) !== 0) this.#codec.onCloseAsked();
    this.upgradeRequest =
      (facts & FieldFacts.Upgrade) !== 0 && (facts & FieldFacts.Connection) !== 0 && isUpgrade(headers);
    let framing = '';
    this.chunking = false;
    if ((facts & FieldFacts.ContentLength) === 0 && !connect) {
      if (end) {
        if (!bodiless(method)) framing = this.own('content-length', '0', headers);
      } else if (!this.upgradeRequest) {
        framing = this.own('transfer-encoding', 'chunked', headers);
        this.chunking = true;
      }
    }
    this.writeHead(`${method} ${target} HTTP/1.1\r\n`, host, headers, fieldBytes, framing);
    if (end) this.finish();
    return null;
  }

  enableTcpTunneling(): void {
    this.chunking = false;
  }

  /** The response is complete before the request: what is encoded further is dropped. */
  abandon(): void {
    this.ended = true;
  }

  protected pauseTransport(): void {
    this.#codec.transport.pauseReads();
  }

  protected resumeTransport(): void {
    this.#codec.transport.resumeReads();
  }

  protected onEncodeComplete(): void {
    this.#codec.onRequestComplete(this);
  }

  /** The connection cannot be used further: `mustClose` is true from here on. Does not call the stream's events. */
  reset(_reason: ResetReason): void {
    this.ended = true;
    this.events = null;
    this.decoder = null;
    this.#codec.onStreamDead(this);
  }
}

/** Requests of which no body is expected: no `content-length: 0` is added (RFC 9110 section 8.6). */
function bodiless(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'DELETE' || method === 'TRACE' || method === 'CONNECT';
}

/**
 * Client side of HTTP/1: one request at a time. `mustClose` tells when the connection may carry no further one.
 *
 * Bounds: a head or trailers at most `maxHeadersBytes`; a body is handed on in the same turn and never kept.
 */
export class Http1ClientCodec extends MessageParser implements ClientCodec {
  readonly transport: CodecTransport;
  readonly #events: ClientCodecEvents;
  #stream: Http1ClientStream | null = null;
  protocol: Protocol = Protocol.Http11;
  #status = 0;
  #reason = '';
  #above = false;
  #mustClose = false;

  constructor(transport: CodecTransport, events: ClientCodecEvents, options: Http1Options, stats: Http1CodecStats) {
    super(options, stats);
    this.transport = transport;
    this.#events = events;
  }

  get mustClose(): boolean {
    return this.#mustClose;
  }

  readonly maxStreams = 1;

  goAway(): void {}
  onConnectionClosed(): void {}

  /** A request is under way. */
  get busy(): boolean {
    return this.#stream !== null;
  }

  get fullyQualified(): boolean {
    return this.options.sendFullyQualifiedUrl;
  }

  newStream(decoder: ResponseDecoder): RequestEncoder {
    const stream = new Http1ClientStream(this, this.transport, this.options, this.#above, decoder);
    this.#stream = stream;
    return stream;
  }

  onPeerEnd(): ProtocolError | null {
    this.#mustClose = true;
    switch (this.state) {
      case ParserState.UntilClose:
      case ParserState.Raw:
        this.state = ParserState.UntilClose;
        this.endUntilClose();
        return null;
      case ParserState.Dead:
      case ParserState.Complete:
        return null;
      // Between messages (behind a 1xx too) the end is no fault of protocol: the stream sees the connection's end.
      case ParserState.Start:
        return null;
      default:
        return this.fail('http1.codec_error', 0, 'HPE_INVALID_EOF_STATE');
    }
  }

  onUnderlyingAboveWriteHighWatermark(): void {
    this.#above = true;
    this.#stream?.onAboveHigh();
  }

  onUnderlyingBelowWriteLowWatermark(): void {
    this.#above = false;
    this.#stream?.onBelowLow();
  }

  /** Called by the stream: its request said `connection: close`. */
  onCloseAsked(): void {
    this.#mustClose = true;
  }

  /** Called by the stream. */
  onRequestComplete(stream: Http1ClientStream): void {
    if (stream.responseComplete) this.#done(stream);
  }

  /** Called by the stream: it was reset. */
  onStreamDead(stream: Http1ClientStream): void {
    if (this.#stream !== stream) return;
    this.#stream = null;
    this.#mustClose = true;
    this.state = ParserState.Dead;
    stream.releasePauses();
    this.#events.onStreamsChanged();
  }

  #responseComplete(stream: Http1ClientStream): void {
    stream.responseComplete = true;
    // The rest of the request cannot be taken back: the connection is not reusable (as Envoy).
    if (!stream.isEnded) {
      this.#mustClose = true;
      stream.abandon();
    }
    this.#done(stream);
  }

  #done(stream: Http1ClientStream): void {
    if (this.#stream !== stream) return;
    this.#stream = null;
    stream.decoder = null;
    stream.releasePauses();
    if (this.#mustClose) this.state = ParserState.Dead;
    else this.nextMessage();
    this.#events.onStreamsChanged();
  }

  // ---- parser ----

  protected get hostInList(): boolean {
    return true;
  }

  protected get single(): Uint8Array {
    return SINGLE_IN_RESPONSE;
  }

  protected get holdsBack(): boolean {
    return false;
  }

  protected get skipsBlankLines(): boolean {
    return false;
  }

  protected countReceived(bytes: number): void {
    const stream = this.#stream;
    if (stream !== null) stream.meter.wireBytesReceived += bytes;
  }

  protected get bodyForbidden(): boolean {
    return this.#status < 200 || this.#status === 204 || this.#status === 304;
  }

  protected onMessageBegin(_available: number): void {
    this.protocol = Protocol.Http11;
  }

  protected onHeadBegin(byte: number): ProtocolError | null {
    if (byte !== 72) return this.fail('http1.codec_error', 0, 'HPE_INVALID_CONSTANT');
    if (this.#stream === null && !this.#mustClose) {
      // Nothing was asked. The head is read to its end for the sake of the message (408: the peer closes an idle connection).
      this.#mustClose = true;
      this.#events.onStreamsChanged();
    }
    return null;
  }

  protected newHeaders(): ResponseHeaders {
    return this.withWireNames(new ResponseHeaders());
  }

  protected fastFirstLine(bytes: Buffer, text: string, start: number, end: number): number {
    if (
      end - start < 16 ||
      bytes[start + 1] !== 84 ||
      bytes[start + 2] !== 84 ||
      bytes[start + 3] !== 80 ||
      bytes[start + 4] !== 47 ||
      bytes[start + 5] !== 49 ||
      bytes[start + 6] !== 46 ||
      bytes[start + 7] !== 49 ||
      bytes[start + 8] !== 32
    ) {
      return -1;
    }
    const a = bytes[start + 9]! - 48;
    const b = bytes[start + 10]! - 48;
    const c = bytes[start + 11]! - 48;
    if (a < 1 || a > 5 || b < 0 || b > 9 || c < 0 || c > 9 || bytes[start + 12] !== 32) return -1;
    let at = start + 13;
    let byte = bytes[at]!;
    while (byte >= 32 && byte < 127) byte = bytes[++at]!;
    if (byte !== 13 || bytes[at + 1] !== 10) return -1;
    this.#status = a * 100 + b * 10 + c;
    this.#reason = '';
    if (this.options.headerKeyFormat?.forwardsReasonPhrase === true) this.#reason = text.substring(13, at - start);
    return at + 2;
  }

  protected firstLine(line: string): ProtocolError | null {
    const [version, code, reason] = splitFirstLine(line);
    if (code === '') return this.fail('http1.codec_error', 0, 'FAILED_TO_FIND_WS_AFTER_RESPONSE_VERSION');
    // A plus sign is allowed, and more or fewer digits than three: so is it in Envoy.
    if (!/^\+?\d{1,9}$/.test(code)) return this.fail('http1.codec_error', 0, 'FAILED_CONVERTING_STATUS_CODE_TO_INT');
    if (!versionIsValid(version)) return this.fail('http1.codec_error', 0, 'HPE_INVALID_VERSION');
    if (version !== 'HTTP/1.1') this.protocol = Protocol.Http10;
    this.#status = Number(code);
    this.#reason = reason;
    return null;
  }

  protected onHead(map: HeaderMap): ProtocolError | null {
    const headers = map as ResponseHeaders;
    const stream = this.#stream;
    const status = this.#status;
    if (stream === null) return this.fail('http1.codec_error', 0, `premature response ${status}`);
    headers.status = status;
    if (this.options.headerKeyFormat?.forwardsReasonPhrase === true) headers.reasonPhrase = this.#reason;
    stream.protocol = this.protocol;
    stream.meter.headerBytesReceived += this.headerBytes;
    stream.meter.decompressedHeaderBytesReceived += this.headerBytes;
    let raw = stream.upgradeRequest && this.hasUpgrade && isUpgrade(headers);
    if (status >= 200 && status < 300 && stream.connectRequest) raw = true;
    const coding = this.transferEncoding;
    if (coding !== null) {
      if (this.contentLengthText !== null) {
        if (!this.chunked || !this.options.allowChunkedLength) {
          return this.fail(
            'http1.content_length_and_chunked_not_allowed',
            0,
            "both 'Content-Length' and 'Transfer-Encoding' are set.",
          );
        }
        headers.remove('content-length');
      }
      if (!equalsIgnoreCase(coding, 'chunked')) {
        return this.fail('http1.invalid_transfer_encoding', 0, 'unsupported transfer encoding');
      }
    }
    if (status < 200 || status === 204) {
      if (coding !== null) {
        return this.fail('http1.transfer_encoding_not_allowed', 0, 'transfer encoding not allowed in 1xx or 204');
      }
      if (this.contentLengthText !== null) {
        if (this.contentLengthText !== '0') {
          return this.fail('http1.content_length_not_allowed', 0, 'content length not allowed in 1xx or 204');
        }
        headers.remove('content-length');
      }
    }
    if (status >= 100 && status < 200 && status !== 101) {
      this.nextMessage();
      stream.decoder?.on1xxHeaders(headers);
      return null;
    }
    if (this.#closes(headers)) this.#mustClose = true;
    if (raw) {
      this.state = ParserState.Raw;
      this.#mustClose = true;
      stream.decoder?.onHeaders(headers, false);
      return null;
    }
    let end = true;
    if (stream.headRequest || this.bodyForbidden) this.state = ParserState.Complete;
    else end = !this.beginBody(true);
    // A body until close ends with the connection.
    if (this.state === ParserState.UntilClose) this.#mustClose = true;
    if (!end) {
      stream.decoder?.onHeaders(headers, false);
      return null;
    }
    stream.responseComplete = true;
    stream.decoder?.onHeaders(headers, true);
    this.#responseComplete(stream);
    return null;
  }

  #closes(headers: ResponseHeaders): boolean {
    if (this.protocol === Protocol.Http10) {
      const connection = headers.getJoined('connection');
      return connection === null || !hasToken(connection, 'keep-alive');
    }
    if (!this.hasConnection) {
      const proxy = headers.get('proxy-connection');
      return proxy !== null && hasToken(proxy, 'close');
    }
    return hasToken(headers.getJoined('connection')!, 'close');
  }

  protected onBody(data: ByteBuffer, end: boolean): void {
    const stream = this.#stream;
    if (stream === null) return;
    if (end) stream.responseComplete = true;
    stream.decoder?.onData(data, end);
    if (end) this.#responseComplete(stream);
  }

  #nothing: ByteBuffer | null = null;

  protected onEnd(): void {
    const stream = this.#stream;
    if (stream === null) return;
    stream.responseComplete = true;
    this.#nothing ??= new ByteBuffer();
    stream.decoder?.onData(this.#nothing, true);
    this.#responseComplete(stream);
  }

  protected onTrailers(trailers: HeaderMap): void {
    const stream = this.#stream;
    if (stream === null) return;
    stream.responseComplete = true;
    stream.decoder?.onTrailers(trailers);
    this.#responseComplete(stream);
  }

  protected fail(details: string, _status: number, message: string): ProtocolError {
    this.state = ParserState.Dead;
    this.#mustClose = true;
    return {
      scope: 'connection',
      initiator: 'peer',
      details,
      status: 0,
      message: `http/1.1 protocol error: ${message}`,
    };
  }
}
