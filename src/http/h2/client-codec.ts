import type { Random } from '../../base/random.ts';
import type { TimerWheel } from '../../base/timer-wheel.ts';
import type { ClientCodec, ClientCodecEvents, CodecTransport, RequestEncoder, ResponseDecoder } from '../codec.ts';
import { isUpgrade } from '../h1/message-writer.ts';
import type { RequestHeaders } from '../header-map.ts';
import { MAX_STREAM_ID, PREFACE, SettingId } from './frame/frame-types.ts';
import { encodedBound } from './frame/header-writer.ts';
import { Http2Connection } from './http2-connection.ts';
import type { Http2Options } from './http2-options.ts';
import type { Http2CodecStats } from './http2-stats.ts';
import { BlockKind, NO_CONTENT_LENGTH, Verdict } from './stream/header-block.ts';
import { Http2Stream } from './stream/http2-stream.ts';
import { StreamEvent, StreamState } from './stream/stream-state.ts';
import { upgradeResponse } from './upgrade.ts';

/** Names and framing of the pseudo-headers; their values come on top. */
const PSEUDO_BOUND = 5 * 32;

/** One request with its response. */
export class Http2ClientStream extends Http2Stream implements RequestEncoder {
  readonly #codec: Http2ClientCodec;
  readonly decoder: ResponseDecoder;
  /** HEAD: the response has no body whatever its Content-Length says. */
  headRequest = false;
  /** Value of `upgrade` that went out as `:protocol`; null: none. */
  upgrade: string | null = null;

  constructor(codec: Http2ClientCodec, decoder: ResponseDecoder) {
    super(codec, StreamState.Idle);
    this.#codec = codec;
    this.decoder = decoder;
    this.body = decoder;
  }

  encodeHeaders(headers: RequestHeaders, end: boolean): string | null {
    if (this.state !== StreamState.Idle) return null;
    return this.#codec.writeRequest(this, headers, end);
  }

  /** DATA frames carry a tunnel's bytes as well. */
  enableTcpTunneling(): void {}
}

/**
 * Client side of HTTP/2. A stream gets its id with its HEADERS. For bounds see Http2Connection; that no more streams are opened
 * than `maxStreams` is up to the owner.
 */
export class Http2ClientCodec extends Http2Connection implements ClientCodec {
  readonly #events: ClientCodecEvents;
  #nextId = 1;
  #mustClose = false;
  #goAwayReceived = false;
  #toldMaxStreams: number;
  protected readonly defersResets = false;

  constructor(
    transport: CodecTransport,
    events: ClientCodecEvents,
    options: Http2Options,
    stats: Http2CodecStats,
    timers: TimerWheel,
    random: Random,
  ) {
    super(transport, events, options, stats, timers, random, false);
    this.#events = events;
    this.#toldMaxStreams = options.maxConcurrentStreams;
  }

  get mustClose(): boolean {
    return this.#mustClose || this.failure !== null;
  }

  get maxStreams(): number {
    return Math.min(this.peerMaxStreams, this.options.maxConcurrentStreams);
  }

  protected get nextLocalId(): number {
    return this.#nextId;
  }

  protected isLocalId(id: number): boolean {
    return (id & 1) === 1;
  }

  newStream(decoder: ResponseDecoder): RequestEncoder {
    this.keepaliveBeforeStream();
    return new Http2ClientStream(this, decoder);
  }

  override goAway(): void {
    this.#mustClose = true;
    super.goAway();
  }

  protected writePreface(): void {
    this.frames.raw(PREFACE);
    const pairs: number[] = [SettingId.EnablePush, 0];
    this.ourSettings(pairs);
    this.frames.settings(pairs);
  }

  protected onEnablePush(value: number): void {
    // A server must not ask for it (RFC 9113 section 6.5.2).
    if (value !== 0) this.protocolError('SETTINGS_ENABLE_PUSH of a server');
  }

  protected onPeerSettings(): void {
    const max = this.maxStreams;
    if (max === this.#toldMaxStreams) return;
    this.#toldMaxStreams = max;
    this.#events.onMaxStreamsChanged();
  }

  protected onStreamGone(): void {
    this.#events.onStreamsChanged();
  }

  protected onGoAwayFrame(lastStreamId: number, _code: number): void {
    this.#mustClose = true;
    // First: those whose streams are refused may ask for others at once.
    if (!this.#goAwayReceived) {
      this.#goAwayReceived = true;
      this.#events.onGoAway();
    }
    this.refuseAbove(lastStreamId);
  }

  /** A response has its stream already. */
  protected onHeadersBegin(_id: number): void {}

  protected onHeaderBlock(
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
    endStream: boolean,
    wireBytes: number,
  ): void {
    const stream = this.streams.get(id) as Http2ClientStream | undefined;
    if (stream === undefined) {
      if (this.isIdle(id)) {
        this.protocolError('HEADERS on an idle stream');
        return;
      }
      this.onClosedStreamBlock(id, bytes, start, end);
      return;
    }
    if (stream.headReceived) {
      this.onTrailerBlock(stream, bytes, start, end, endStream, wireBytes);
      return;
    }
    const block = this.block;
    block.begin(BlockKind.Response);
    if (!this.decodeBlock(bytes, start, end)) return;
    this.countFields(stream);
    let verdict = block.finish(endStream);
    const headers = block.takeResponse();
    const status = headers.status;
    let length = block.contentLength;
    const bodiless = stream.headRequest || status === 304 || status === 204;
    if (bodiless) length = 0;
    if (verdict === Verdict.Ok && endStream && length > 0) verdict = Verdict.InvalidMessage;
    if (verdict !== Verdict.Ok) {
      this.failMessage(stream, verdict);
      return;
    }
    this.countBlock(stream, wireBytes);
    if (status < 200) {
      stream.decoder.on1xxHeaders(headers);
      return;
    }
    stream.headReceived = true;
    if (length !== NO_CONTENT_LENGTH) stream.contentLeft = length;
    if (stream.upgrade !== null) upgradeResponse(headers, stream.upgrade);
    if (endStream) stream.transition(StreamEvent.ReceiveEnd);
    stream.decoder.onHeaders(headers, endStream);
    if (endStream) this.settle(stream);
  }

  /** By a stream. @returns why the headers cannot be encoded, or null */
  writeRequest(stream: Http2ClientStream, headers: RequestHeaders, end: boolean): string | null {
    const connect = headers.method === 'CONNECT';
    if (headers.method === '') return 'missing required header: :method';
    if (connect) {
      if (headers.authority === null) return 'missing required header: :authority';
    } else if (headers.path === null || headers.path === '') {
      return 'missing required header: :path';
    }
    if (this.failure !== null) return null;
    this.start();
    const id = this.#nextId;
    stream.id = id;
    this.#nextId = id + 2;
    if (this.#nextId > MAX_STREAM_ID) this.#mustClose = true;
    stream.transition(StreamEvent.Open);
    // SETTINGS may have come since the stream was made.
    stream.sendWindow = this.peerInitialWindow;
    stream.headRequest = headers.method === 'HEAD';
    this.addStream(stream);
    const upgrade = isUpgrade(headers) ? headers.get('upgrade') : null;
    stream.upgrade = upgrade;
    const writer = this.headerWriter;
    const list = headers.list;
    const authority = headers.authority;
    const path = headers.path;
    const values =
      headers.method.length +
      headers.scheme.length +
      (authority === null ? 0 : authority.length) +
      (path === null ? 0 : path.length) +
      (upgrade === null ? 0 : upgrade.length);
    writer.open(encodedBound(list) + values + PSEUDO_BOUND);
    if (upgrade !== null) {
      // Whether the peer has said SETTINGS_ENABLE_CONNECT_PROTOCOL or not: it may not have said anything yet, and Envoy asks neither.
      writer.field(':method', 'CONNECT');
      writer.field(':protocol', upgrade);
    } else {
      writer.field(':method', headers.method);
    }
    if (!connect) {
      writer.field(':scheme', headers.scheme === '' ? 'http' : headers.scheme);
    }
    if (authority !== null) writer.field(':authority', authority);
    if (!connect && path !== null) writer.field(':path', path);
    if (upgrade === null) {
      writer.fields(list);
    } else {
      for (let i = 0; i < list.length; i += 2) {
        if (list[i] === 'content-length' && list[i + 1] === '0') continue;
        writer.field(list[i]!, list[i + 1]!);
      }
    }
    this.countHeadSent(stream, writer.close(id, end));
    this.afterHead(stream, end);
    return null;
  }
}
