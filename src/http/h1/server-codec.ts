import { ByteBuffer } from '../../base/byte-buffer.ts';
import {
  type CodecTransport,
  Protocol,
  type ProtocolError,
  type RequestDecoder,
  type ResetReason,
  type ResponseEncoder,
  type ServerCodec,
  type ServerCodecEvents,
} from '../codec.ts';
import { type HeaderMap, RequestHeaders, type ResponseHeaders } from '../header-map.ts';
import { removeUpgrade, sanitizeConnection } from './connection-header.ts';
import { equalsIgnoreCase } from './field-text.ts';
import type { Http1CodecStats, Http1Options } from './http1-options.ts';
import { SINGLE_IN_REQUEST } from './known-names.ts';
import { MessageParser, ParserState } from './message-parser.ts';
import { FieldFacts, isUpgrade, MessageWriter } from './message-writer.ts';
import { statusLine } from './reason-phrases.ts';
import {
  authorityIsValid,
  methodIsValid,
  parseAbsoluteTarget,
  splitFirstLine,
  targetIsValid,
  versionIsValid,
} from './request-target.ts';

/** One request with its response: the encoder and the stream are the same object. */
export class Http1ServerStream extends MessageWriter implements ResponseEncoder {
  readonly #codec: Http1ServerCodec;
  decoder: RequestDecoder | null = null;
  /** The request has been received to its end. */
  remoteComplete = false;
  responseStarted = false;
  headRequest = false;
  connectRequest = false;
  closesConnection = false;

  constructor(codec: Http1ServerCodec, transport: CodecTransport, options: Http1Options, above: boolean) {
    super(transport, options.headerKeyFormat, options.enableTrailers, Protocol.Http11, above);
    this.#codec = codec;
  }

  get stream(): this {
    return this;
  }

  encodeMetadata(): void {
    this.#codec.dropMetadata();
  }

  get streamErrorOnInvalidHttpMessage(): boolean {
    return this.#codec.streamErrorOnInvalidHttpMessage;
  }

  setFlushTimeout(_ms: number): void {}

  encode1xxHeaders(headers: ResponseHeaders): void {
    if (this.ended) return;
    this.writeHead(this.#statusLine(headers), '', headers, this.measure(headers), '');
  }

  encodeHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.ended) return;
    this.responseStarted = true;
    const status = headers.status;
    const fieldBytes = this.measure(headers);
    const facts = this.facts;
    if ((facts & FieldFacts.ConnectionClose) !== 0) this.closesConnection = true;
    const connect = this.connectRequest && status < 300;
    let framing = '';
    this.chunking = false;
    if ((facts & FieldFacts.ContentLength) === 0 && status >= 200 && status !== 204 && status !== 304) {
      if (end && !this.headRequest) {
        framing = this.own('content-length', '0', headers);
      } else if (this.protocol !== Protocol.Http10 && !connect) {
        framing = this.own('transfer-encoding', 'chunked', headers);
        this.chunking = !this.headRequest && !((facts & FieldFacts.Upgrade) !== 0 && isUpgrade(headers));
      }
    }
    this.writeHead(this.#statusLine(headers), '', headers, fieldBytes, framing);
    if (end) this.finish();
  }

  #statusLine(headers: ResponseHeaders): string {
    const http10 = this.protocol === Protocol.Http10 && this.#codec.acceptsHttp10;
    if (headers.reasonPhrase === null) {
      return statusLine(headers.status, http10);
    }
    return `HTTP/1.${http10 ? 0 : 1} ${headers.status} ${headers.reasonPhrase}\r\n`;
  }

  protected pauseTransport(): void {
    this.#codec.transport.pauseReads();
  }

  protected resumeTransport(): void {
    this.#codec.transport.resumeReads();
  }

  protected onEncodeComplete(): void {
    this.#codec.onResponseComplete(this);
  }

  /** The connection cannot be used further: the owner closes it. Does not call the stream's events. */
  reset(_reason: ResetReason): void {
    this.ended = true;
    this.events = null;
    this.decoder = null;
    this.#codec.onStreamDead(this);
  }
}

/**
 * Server side of HTTP/1. One request at a time: with a response outstanding, further input stays in the caller's buffer and, if
 * there is any, the transport's reads are paused. When the response has been encoded the codec resumes the reads, whereupon
 * `dispatch` is to be called again with what the buffer holds (a net Connection does so by itself). Nor does a request begin
 * while the connection's output is above its high watermark: a peer that sends without reading is held, its responses bounded. Calls of `dispatch` from within one are ignored: the outer one goes on.
 * Behind a response with `connection: close` no further request is taken.
 *
 * Bounds: a head or trailers at most `maxHeadersBytes`; a body is handed on in the same turn and never kept.
 */
export class Http1ServerCodec extends MessageParser implements ServerCodec {
  readonly transport: CodecTransport;
  readonly #events: ServerCodecEvents;
  #stream: Http1ServerStream | null = null;
  protocol: Protocol = Protocol.Http11;
  #method = '';
  #target = '';
  #pausedForResponse = false;
  #above = false;
  #closing = false;
  /** TLS or not: for `validateScheme`. */
  readonly #secure: boolean;

  /** @param secure the connection is TLS: absolute-form `https` targets are then allowed */
  constructor(
    transport: CodecTransport,
    events: ServerCodecEvents,
    options: Http1Options,
    stats: Http1CodecStats,
    secure = false,
  ) {
    super(options, stats);
    this.transport = transport;
    this.#events = events;
    this.#secure = secure;
  }

  get streamErrorOnInvalidHttpMessage(): boolean {
    return this.options.streamErrorOnInvalidHttpMessage;
  }

  get acceptsHttp10(): boolean {
    return this.options.acceptHttp10;
  }

  protected override afterParse(input: ByteBuffer): void {
    if (input.length === 0 || !this.#mustWait() || this.#pausedForResponse || this.#closing) return;
    this.#pausedForResponse = true;
    this.transport.pauseReads();
  }

  /** For the response to the request before, or until a peer that sends but does not read has read. */
  #mustWait(): boolean {
    return this.state === ParserState.Complete || (this.#above && this.state === ParserState.Start);
  }

  onPeerEnd(): ProtocolError | null {
    if (this.state === ParserState.Raw) {
      this.state = ParserState.Complete;
      const stream = this.#stream;
      if (stream !== null) {
        stream.remoteComplete = true;
        this.onEnd();
        this.#maybeDone(stream);
      }
      return null;
    }
    const { state } = this;
    if (state === ParserState.Start || state === ParserState.Complete || state === ParserState.Dead) return null;
    if (state === ParserState.BlankLines) return null;
    this.state = ParserState.Dead;
    return {
      scope: 'connection',
      initiator: 'peer',
      details: 'http1.codec_error',
      status: 0,
      message: 'http/1.1 protocol error: HPE_INVALID_EOF_STATE',
    };
  }

  shutdownNotice(): void {}
  goAway(): void {}
  onConnectionClosed(): void {}

  /** What is encoded stands in the connection's output. */
  get hasStreams(): boolean {
    return false;
  }

  onOutputChanged(): void {}

  onUnderlyingAboveWriteHighWatermark(): void {
    this.#above = true;
    this.#stream?.onAboveHigh();
  }

  onUnderlyingBelowWriteLowWatermark(): void {
    this.#above = false;
    this.#stream?.onBelowLow();
    if (this.#pausedForResponse && !this.#mustWait()) {
      this.#pausedForResponse = false;
      this.transport.resumeReads();
    }
  }

  /** Called by the stream. */
  onResponseComplete(stream: Http1ServerStream): void {
    if (stream.closesConnection) this.#closing = true;
    this.#maybeDone(stream);
  }

  #maybeDone(stream: Http1ServerStream): void {
    if (this.#stream !== stream || !stream.remoteComplete || !stream.isEnded) return;
    this.#stream = null;
    stream.decoder = null;
    stream.releasePauses();
    if (this.#closing) {
      this.state = ParserState.Dead;
    } else if (this.state === ParserState.Complete) {
      this.nextMessage();
    }
    if (this.#pausedForResponse) {
      this.#pausedForResponse = false;
      this.transport.resumeReads();
    }
  }

  /** Called by the stream: it was reset. */
  onStreamDead(stream: Http1ServerStream): void {
    if (this.#stream !== stream) return;
    this.#stream = null;
    this.state = ParserState.Dead;
    stream.releasePauses();
    if (this.#pausedForResponse) {
      this.#pausedForResponse = false;
      this.transport.resumeReads();
    }
  }

  // ---- parser ----

  protected get hostInList(): boolean {
    return false;
  }

  protected get single(): Uint8Array {
    return SINGLE_IN_REQUEST;
  }

  protected get holdsBack(): boolean {
    return this.#above;
  }

  protected get skipsBlankLines(): boolean {
    return true;
  }

  protected countReceived(bytes: number): void {
    const stream = this.#stream;
    if (stream !== null) stream.meter.wireBytesReceived += bytes;
  }

  protected get bodyForbidden(): boolean {
    return false;
  }

  protected onMessageBegin(available: number): void {
    this.protocol = Protocol.Http11;
    this.#begin().meter.wireBytesReceived = available;
  }

  protected onHeadBegin(byte: number): ProtocolError | null {
    return byte <= 32 ? this.fail('http1.codec_error', 400, 'NO_REQUEST_LINE_IN_REQUEST') : null;
  }

  #begin(): Http1ServerStream {
    const stream = new Http1ServerStream(this, this.transport, this.options, this.#above);
    this.#stream = stream;
    stream.decoder = this.#events.onNewStream(stream);
    return stream;
  }

  protected newHeaders(): RequestHeaders {
    return this.withWireNames(new RequestHeaders());
  }

  protected fastFirstLine(bytes: Buffer, text: string, start: number, end: number): number {
    let at = start;
    let c = bytes[at]!;
    while (c > 32) c = bytes[++at]!;
    if (c !== 32) return -1;
    const methodEnd = at;
    c = bytes[++at]!;
    const targetStart = at;
    if (c !== 47) return -1;
    while (c > 32 && c < 127) c = bytes[++at]!;
    if (c !== 32) return -1;
    if (
      at + 11 > end ||
      bytes[at + 1] !== 72 ||
      bytes[at + 2] !== 84 ||
      bytes[at + 3] !== 84 ||
      bytes[at + 4] !== 80 ||
      bytes[at + 5] !== 47 ||
      bytes[at + 6] !== 49 ||
      bytes[at + 7] !== 46 ||
      bytes[at + 8] !== 49 ||
      bytes[at + 9] !== 13 ||
      bytes[at + 10] !== 10
    ) {
      return -1;
    }
    const size = methodEnd - start;
    if (size === 3 && bytes[start] === 71 && bytes[start + 1] === 69 && bytes[start + 2] === 84) {
      this.#method = 'GET';
    } else if (size === 4 && bytes[start] === 80 && bytes[start + 1] === 79 && bytes[start + 2] === 83) {
      if (bytes[start + 3] !== 84) return -1;
      this.#method = 'POST';
    } else {
      const method = text.substring(0, size);
      if (!methodIsValid(method, this.options.allowCustomMethods)) return -1;
      if (method === 'CONNECT') return -1;
      this.#method = method;
    }
    this.#target = text.substring(targetStart - start, at - start);
    return at + 11;
  }

  protected firstLine(line: string): ProtocolError | null {
    if (line.includes('\0')) return this.fail('http1.invalid_characters', 400, 'INVALID_HEADER_CHARACTER');
    const [method, target, version] = splitFirstLine(line);
    if (!methodIsValid(method, this.options.allowCustomMethods)) {
      return this.fail('http1.codec_error', 400, 'HPE_INVALID_METHOD');
    }
    if (!targetIsValid(target, method === 'CONNECT')) return this.fail('http1.codec_error', 400, 'HPE_INVALID_URL');
    if (!versionIsValid(version)) return this.fail('http1.codec_error', 400, 'HPE_INVALID_VERSION');
    this.#method = method;
    this.#target = target;
    if (version !== 'HTTP/1.1') this.protocol = Protocol.Http10;
    this.headOnly = version === '';
    return null;
  }

  protected onHead(map: HeaderMap): ProtocolError | null {
    const headers = map as RequestHeaders;
    const stream = this.#stream;
    if (stream === null) return null;
    stream.protocol = this.protocol;
    stream.meter.headerBytesReceived += this.headerBytes;
    stream.meter.decompressedHeaderBytesReceived += this.headerBytes;
    const method = this.#method;
    headers.authority = this.host;
    if (headers.wireNames !== null) headers.authorityWireName = this.hostWireName;
    let raw = false;
    if (this.hasUpgrade && this.hasConnection && isUpgrade(headers)) raw = !this.#ignoredUpgrade(headers);
    const connect = method === 'CONNECT';
    if (connect) {
      if (this.contentLengthText !== null) {
        if (this.contentLengthText !== '0') {
          return this.fail('http1.body_disallowed', 400, 'unsupported content length');
        }
        headers.remove('content-length');
        this.contentLengthText = null;
      }
      raw = true;
    }
    const coding = this.transferEncoding;
    if (coding !== null) {
      if (this.contentLengthText !== null) {
        if (!this.chunked || !this.options.allowChunkedLength) {
          return this.fail(
            'http1.content_length_and_chunked_not_allowed',
            400,
            "both 'Content-Length' and 'Transfer-Encoding' are set.",
          );
        }
        headers.remove('content-length');
      }
      if (!equalsIgnoreCase(coding, 'chunked') || connect) {
        return this.fail('http1.invalid_transfer_encoding', 501, 'unsupported transfer encoding');
      }
    }
    if (!raw && this.hasConnection && !sanitizeConnection(headers)) {
      return this.fail('http1.connection_header_rejected', 400, 'Invalid nominated headers in Connection.');
    }
    stream.headRequest = method === 'HEAD';
    stream.connectRequest = connect;
    const error = this.#setPath(headers, connect);
    if (error !== null) return error;
    headers.method = method;
    if (this.protocol === Protocol.Http10) {
      if (!this.options.acceptHttp10) return this.fail('low_version', 426, 'Upgrade required for HTTP/1.0 or HTTP/0.9');
      if (headers.authority === null && this.options.defaultHostForHttp10 !== '') {
        headers.authority = this.options.defaultHostForHttp10;
      }
    }
    if (headers.authority !== null && !authorityIsValid(headers.authority)) {
      return this.fail('http.invalid_authority', 400, 'request headers failed spec compliance checks');
    }
    let end = false;
    if (raw) this.state = ParserState.Raw;
    else end = !this.beginBody(false);
    if (end) stream.remoteComplete = true;
    stream.decoder?.onHeaders(headers, end);
    if (end) this.#maybeDone(stream);
    return null;
  }

  /** Upgrades that Envoy does not pass on: h2c, and those of the configuration. Removes their headers. */
  #ignoredUpgrade(headers: RequestHeaders): boolean {
    const upgrade = headers.getJoined('upgrade')!;
    const h2c = equalsIgnoreCase(upgrade, 'h2c');
    if (!h2c && this.options.ignoreHttp11Upgrade?.(upgrade) !== true) return false;
    removeUpgrade(headers);
    return true;
  }

  #setPath(headers: RequestHeaders, connect: boolean): ProtocolError | null {
    const target = this.#target;
    const first = target.charCodeAt(0);
    if (!connect && (first === 47 || (first === 42 && this.#method === 'OPTIONS'))) {
      headers.path = target;
      return null;
    }
    if (!connect && !this.options.allowAbsoluteUrl) {
      headers.path = target;
      return null;
    }
    const parts = parseAbsoluteTarget(target, connect);
    if (parts === null) return this.fail('http1.invalid_url', 400, 'invalid url in request line');
    headers.authority = parts.host;
    if (!connect) {
      headers.scheme = parts.scheme;
      if (parts.scheme !== 'http' && parts.scheme !== 'https') {
        return this.fail('http1.invalid_scheme', 400, 'invalid scheme');
      }
      if (this.options.validateScheme && parts.scheme === 'https' && !this.#secure) {
        return this.fail('http1.https_url_on_plaintext_connection', 403, 'https in the clear');
      }
    }
    if (parts.path !== '') headers.path = parts.path;
    return null;
  }

  protected onBody(data: ByteBuffer, end: boolean): void {
    const stream = this.#stream;
    if (stream === null) return;
    if (end) stream.remoteComplete = true;
    stream.decoder?.onData(data, end);
    if (end) this.#maybeDone(stream);
  }

  #nothing: ByteBuffer | null = null;

  protected onEnd(): void {
    const stream = this.#stream;
    if (stream === null) return;
    stream.remoteComplete = true;
    this.#nothing ??= new ByteBuffer();
    stream.decoder?.onData(this.#nothing, true);
    this.#maybeDone(stream);
  }

  protected onTrailers(trailers: HeaderMap): void {
    const stream = this.#stream;
    if (stream === null) return;
    stream.remoteComplete = true;
    stream.decoder?.onTrailers(trailers);
    this.#maybeDone(stream);
  }

  /** The owner answers by the encoder of the stream that is open (one is opened if there is none), unless `status` is 0. */
  protected fail(details: string, status: number, message: string): ProtocolError {
    this.state = ParserState.Dead;
    const stream = this.#stream ?? this.#begin();
    stream.protocol = this.protocol;
    return {
      scope: 'connection',
      initiator: 'peer',
      details,
      status: stream.responseStarted ? 0 : status,
      message: `http/1.1 protocol error: ${message}`,
    };
  }
}
