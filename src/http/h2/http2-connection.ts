import type { ByteBuffer } from '../../base/byte-buffer.ts';
import type { Random } from '../../base/random.ts';
import { Timer, type TimerTarget, type TimerWheel } from '../../base/timer-wheel.ts';
import { type CodecTransport, Protocol, type ProtocolError, ResetReason } from '../codec.ts';
import type { HeaderMap } from '../header-map.ts';
import type { StreamMetadata } from '../stream-metadata.ts';
import { FrameReader } from './frame/frame-reader.ts';
import {
  DEFAULT_MAX_FRAME_BYTES,
  DEFAULT_WINDOW,
  ErrorCode,
  FRAME_HEADER_BYTES,
  MAX_STREAM_ID,
  MAX_WINDOW,
  SettingId,
} from './frame/frame-types.ts';
import { FrameWriter } from './frame/frame-writer.ts';
import { encodedBound, HeaderWriter } from './frame/header-writer.ts';
import { InboundLimits } from './frame/inbound-limits.ts';
import { MetadataBlock, metadataPayload } from './frame/metadata-block.ts';
import { OutboundFrames } from './frame/outbound-frames.ts';
import { DEFAULT_TABLE_SIZE, HpackDecoder } from './hpack/hpack-decoder.ts';
import { HpackEncoder } from './hpack/hpack-encoder.ts';
import type { Http2Options } from './http2-options.ts';
import type { Http2CodecStats } from './http2-stats.ts';
import { Keepalive, type KeepaliveOwner } from './keepalive.ts';
import { BodySender, type BodySenderOwner } from './stream/body-sender.ts';
import { ClosedBy, ClosedStreams } from './stream/closed-streams.ts';
import { BlockKind, HeaderBlock, NO_CONTENT_LENGTH, VERDICT_DETAILS, Verdict } from './stream/header-block.ts';
import type { Http2Stream } from './stream/http2-stream.ts';
import { StreamEvent, StreamState } from './stream/stream-state.ts';
import { StreamTable } from './stream/stream-table.ts';

const METADATA_FAILURE = 'codec_error:The_user_callback_function_failed';

/** What the owner of a codec hears when the codec gives up between two dispatches. */
interface FailureEvents {
  onCodecFailure(error: ProtocolError): void;
}

/**
 * (Longer than most files: windows, streams and settings change each other.)
 *
 * What both sides of an HTTP/2 connection do: settings, windows, the streams' bodies, resets, GOAWAY, PING.
 *
 * Bounds, per connection: streams by `maxConcurrentStreams` (a server refuses more, a client opens no more); received data is never
 * kept here, and what owners keep while they pause is bounded by the two windows, which are only given back for what was used up;
 * data to send by the streams' watermarks; frames in the output and cheap frames from the peer by Envoy's limits; the HPACK tables
 * by their size.
 */
export abstract class Http2Connection extends FrameReader implements BodySenderOwner, KeepaliveOwner, TimerTarget {
  readonly protocol = Protocol.Http2;
  protected readonly transport: CodecTransport;
  protected readonly stats: Http2CodecStats;
  readonly #failureEvents: FailureEvents;
  protected readonly outbound: OutboundFrames;
  protected readonly limits: InboundLimits;
  protected readonly frames: FrameWriter;
  protected readonly headerWriter: HeaderWriter;
  protected readonly block: HeaderBlock;
  readonly #decoder: HpackDecoder;
  readonly #encoder: HpackEncoder;
  readonly #keepalive: Keepalive | null;
  protected readonly timers: TimerWheel;
  #failureTimer: Timer | null = null;
  #failureTold = false;
  /** Of new streams. */
  readonly flushTimeoutMs: number;

  protected readonly streams = new StreamTable<Http2Stream>();
  readonly #closed = new ClosedStreams();
  readonly #bodies: BodySender;

  /** Bytes per stream that we let the peer send ahead. */
  readonly streamWindow: number;
  readonly streamBufferLimit: number;
  /** What new streams may send at first, by the peer's SETTINGS. */
  peerInitialWindow = DEFAULT_WINDOW;
  readonly #connectionWindow: number;
  #receiveWindow: number;
  #consumed = 0;

  /** The stream whose DATA frame is being read; null: nobody wants it. */
  #dataStream: Http2Stream | null = null;
  #started = false;
  #above = false;
  #goAwaySent = false;
  #dispatching = false;
  /** Streams whose whole answer is written and whose reset waits for the end of the dispatch. */
  readonly #deferredResets: Http2Stream[] = [];
  /** Highest id of a stream that the peer opened. */
  protected lastPeerId = 0;
  /** The highest of those that were taken: what GOAWAY says. */
  protected lastTakenId = 0;
  protected peerMaxStreams = Number.POSITIVE_INFINITY;

  constructor(
    transport: CodecTransport,
    events: FailureEvents,
    options: Http2Options,
    stats: Http2CodecStats,
    timers: TimerWheel,
    random: Random,
    server: boolean,
  ) {
    super(options, server);
    this.transport = transport;
    this.stats = stats;
    (server ? stats.downstreamConnections : stats.upstreamConnections).inc();
    this.#failureEvents = events;
    this.timers = timers;
    this.flushTimeoutMs = server ? options.streamFlushTimeoutMs : 0;
    this.outbound = new OutboundFrames(transport, options, stats);
    this.limits = new InboundLimits(options, stats, this.outbound, this.streams);
    this.frames = new FrameWriter(transport, this.outbound);
    this.#bodies = new BodySender(this, this.frames, stats);
    this.#decoder = new HpackDecoder(Math.max(options.hpackTableSize, DEFAULT_TABLE_SIZE), options.maxFieldBytes);
    this.#encoder = new HpackEncoder(options.hpackTableSize, options.huffman);
    this.headerWriter = new HeaderWriter(transport, this.outbound, this.frames, this.#encoder);
    this.block = new HeaderBlock(options, stats, server ? options.headersWithUnderscores : 0);
    this.streamWindow = options.initialStreamWindowSize;
    this.streamBufferLimit = options.initialStreamWindowSize;
    this.#connectionWindow = Math.max(options.initialConnectionWindowSize, DEFAULT_WINDOW);
    this.#receiveWindow = this.#connectionWindow;
    this.#keepalive =
      options.keepaliveIntervalMs > 0 || options.keepaliveIdleIntervalMs > 0
        ? new Keepalive(this, options, timers, random)
        : null;
  }

  // ---- the owner ----

  get isAboveWriteHighWatermark(): boolean {
    return this.#above;
  }

  /** Streams that are open. */
  get activeStreams(): number {
    return this.streams.size;
  }

  /** Consumes what it can from `input`. @returns the error that ends the connection */
  dispatch(input: ByteBuffer): ProtocolError | null {
    if (this.#dispatching || this.#failureTold) return null;
    if (this.failure !== null) return this.#tellFailure();
    this.#dispatching = true;
    try {
      this.start();
      this.#keepalive?.onReceived();
      this.read(input);
      if (this.#deferredResets.length > 0) this.#sendDeferredResets();
      this.#checkOutbound();
    } finally {
      this.#dispatching = false;
    }
    return this.failure === null ? null : this.#tellFailure();
  }

  #tellFailure(): ProtocolError | null {
    this.#failureTold = true;
    this.#failureTimer?.destroy();
    this.#keepalive?.destroy();
    return this.failure;
  }

  /** The peer has sent its FIN: its owner closes, as HTTP/2 has no half-open connections. */
  onPeerEnd(): ProtocolError | null {
    return null;
  }

  onUnderlyingAboveWriteHighWatermark(): void {
    if (this.#above) return;
    this.#above = true;
    for (const stream of this.streams.list()) stream.events?.onAboveWriteHighWatermark();
  }

  onUnderlyingBelowWriteLowWatermark(): void {
    if (!this.#above) return;
    this.#above = false;
    for (const stream of this.streams.list()) stream.events?.onBelowWriteLowWatermark();
  }

  /** First step of a graceful drain (RFC 9113 section 6.8): streams that are on their way are still taken. */
  shutdownNotice(): void {
    if (this.#goAwaySent || this.failure !== null) return;
    this.start();
    this.frames.goAway(MAX_STREAM_ID, ErrorCode.NoError);
    this.#afterWrite();
  }

  /** No stream of the peer's beyond those that have come. */
  goAway(): void {
    if (this.failure !== null) return;
    this.start();
    this.#goAwaySent = true;
    this.frames.goAway(this.lastTakenId, ErrorCode.NoError);
    this.stats.goawaySent.inc();
    this.#afterWrite();
  }

  protected get goAwaySent(): boolean {
    return this.#goAwaySent;
  }

  /**
   * The connection is gone: tells every stream that is left, and lets go of timers and gauges. For owners that do not keep a list
   * of their own; without streams left it only cleans up.
   */
  onConnectionClosed(reason: ResetReason = ResetReason.ConnectionTermination, details = ''): void {
    this.stopReading();
    this.#failureTold = true;
    this.#failureTimer?.destroy();
    this.#keepalive?.destroy();
    for (const stream of this.streams.list()) {
      stream.transition(StreamEvent.Reset);
      this.#remove(stream);
      stream.raiseReset(reason, details);
    }
    this.outbound.clear();
  }

  // ---- beginning ----

  protected abstract writePreface(): void;

  /** Sends SETTINGS before anything else. */
  protected start(): void {
    if (this.#started) return;
    this.#started = true;
    this.writePreface();
    const increment = this.#connectionWindow - DEFAULT_WINDOW;
    if (increment > 0) this.frames.windowUpdate(0, increment);
  }

  /** Our settings in Envoy's order. */
  protected ourSettings(pairs: number[]): void {
    const options = this.options;
    const named = [
      SettingId.HeaderTableSize,
      options.hpackTableSize,
      SettingId.EnableConnectProtocol,
      options.allowConnect ? 1 : 0,
      SettingId.MaxConcurrentStreams,
      options.maxConcurrentStreams,
      SettingId.InitialWindowSize,
      options.initialStreamWindowSize,
    ];
    for (const custom of options.customSettings) pairs.push(custom.identifier, custom.value);
    pairs.push(...named);
  }

  /** The peer knows our limits. */
  protected settingsAcked = false;

  protected onSettingsAck(): void {
    this.settingsAcked = true;
    this.#decoder.setMaxTableSize(this.options.hpackTableSize);
  }

  protected onSetting(identifier: number, value: number): void {
    switch (identifier) {
      case SettingId.HeaderTableSize:
        this.#encoder.setPeerLimit(value);
        break;
      case SettingId.EnablePush:
        this.onEnablePush(value);
        break;
      case SettingId.MaxConcurrentStreams:
        this.peerMaxStreams = value;
        break;
      case SettingId.InitialWindowSize:
        this.#setPeerInitialWindow(value);
        break;
      case SettingId.MaxFrameSize:
        this.frames.maxFrameBytes = Math.min(value, DEFAULT_MAX_FRAME_BYTES);
        break;
    }
  }

  protected abstract onEnablePush(value: number): void;
  protected abstract onPeerSettings(): void;

  protected onSettingsEnd(): void {
    this.frames.settingsAck();
    this.#checkOutbound();
    this.onPeerSettings();
    this.#bodies.sendWaiting();
  }

  /** Open streams' windows change by the difference and may fall below 0 (section 6.9.2). */
  #setPeerInitialWindow(value: number): void {
    const change = value - this.peerInitialWindow;
    this.peerInitialWindow = value;
    if (change === 0) return;
    for (const stream of this.streams.list()) {
      stream.sendWindow += change;
      if (stream.sendWindow > MAX_WINDOW) {
        this.connectionError(ErrorCode.FlowControlError, "a stream's window overflows");
        return;
      }
    }
  }

  // ---- PING ----

  protected onPing(high: number, low: number): void {
    this.frames.ping(true, high, low);
    this.#checkOutbound();
  }

  protected onPingAck(): void {
    this.#keepalive?.onAnswer();
  }

  protected onFrameBegin(): void {
    this.#keepalive?.onFrame();
  }

  protected keepaliveBeforeStream(): void {
    this.#keepalive?.onNewStream();
  }

  sendKeepalivePing(): void {
    this.start();
    const now = Date.now();
    this.frames.ping(false, Math.floor(now / 2 ** 32), now >>> 0);
    this.#afterWrite();
  }

  onKeepaliveTimeout(): void {
    this.stats.keepaliveTimeout.inc();
    this.#fail('http2 ping timeout', 'http2_ping_timeout', 'local', false);
  }

  // ---- failing ----

  protected failConnection(code: ErrorCode, message: string, envoyText: string): void {
    if (this.failure !== null) return;
    this.frames.goAway(this.lastTakenId, code);
    this.#fail(message, `codec_error:${envoyText.replaceAll(' ', '_')}`, 'peer', false);
  }

  protected failFlooded(envoyText: string): void {
    this.#fail(envoyText, `codec_error:${envoyText.replaceAll(' ', '_')}`, 'peer', true);
  }

  #fail(message: string, details: string, initiator: 'peer' | 'local', flood: boolean): void {
    if (this.failure !== null) return;
    const text = `http/2 protocol error: ${message}`;
    this.failure = { scope: 'connection', initiator, details, status: 0, message: text, flood };
    this.stopReading();
    if (this.#dispatching) return;
    // Whoever encodes just now must not find its connection closed under its hands.
    this.#failureTimer ??= new Timer(this.timers, this);
    this.#failureTimer.enable(0);
  }

  onTimer(): void {
    if (this.failure === null || this.#failureTold) return;
    const error = this.#tellFailure();
    if (error !== null) this.#failureEvents.onCodecFailure(error);
  }

  /** A peer that reads too little of what it makes us send is not told so: it would not read that either. */
  #checkOutbound(): void {
    const text = this.outbound.check();
    if (text !== null) this.failFlooded(text);
  }

  #afterWrite(): void {
    this.#checkOutbound();
  }

  /** What waits in the output behind a flush has become more or less: for the gauges. */
  onOutputChanged(): void {
    this.outbound.report();
  }

  protected failOpenStream(stream: Http2Stream, code: ErrorCode, reason: ResetReason, details: string): void {
    this.#writeReset(stream, code);
    stream.raiseReset(reason, details);
  }

  /** A message that is none: ends its stream or the connection, as configured. */
  protected failMessage(stream: Http2Stream, verdict: Verdict): void {
    const details = VERDICT_DETAILS[verdict];
    if (verdict === Verdict.InvalidField || verdict === Verdict.InvalidMessage) {
      this.stats.rxMessagingError.inc();
      if (!this.options.streamErrorOnInvalidHttpMessage) {
        // Without GOAWAY: nghttp2 is cut off in the middle.
        this.#fail(details, 'codec_error:The_user_callback_function_failed', 'peer', false);
        stream.transition(StreamEvent.Reset);
        this.#remove(stream);
        stream.raiseReset(ResetReason.ProtocolError, details);
        return;
      }
      this.failOpenStream(stream, ErrorCode.ProtocolError, ResetReason.ProtocolError, details);
      return;
    }
    this.failOpenStream(stream, ErrorCode.InternalError, ResetReason.RemoteReset, details);
  }

  // ---- streams ----

  protected abstract readonly nextLocalId: number;

  protected isIdle(id: number): boolean {
    return this.isLocalId(id) ? id >= this.nextLocalId : id > this.lastPeerId;
  }

  protected abstract isLocalId(id: number): boolean;
  /** A stream has ended, one way or another. */
  protected abstract onStreamGone(): void;

  protected addStream(stream: Http2Stream): void {
    this.streams.add(stream);
    this.stats.streamsActive.add(1);
  }

  /** Ends what has come to its end. */
  protected settle(stream: Http2Stream): void {
    if (stream.state === StreamState.Closed && this.#remove(stream)) {
      this.#closed.add(stream.id, true);
      stream.events = null;
      this.onStreamGone();
    }
  }

  #remove(stream: Http2Stream): boolean {
    if (!this.streams.delete(stream.id)) return false;
    this.stats.streamsActive.add(-1);
    this.#bodies.forget(stream);
    if (stream.flushTimer !== null) {
      stream.flushTimer.destroy();
      stream.flushTimer = null;
    }
    if (stream.unconsumed > 0) {
      const size = stream.unconsumed;
      stream.unconsumed = 0;
      this.#consumeConnection(size);
    }
    return true;
  }

  /** By the owner: does not call the stream's events. */
  resetStream(stream: Http2Stream, reason: ResetReason): void {
    stream.events = null;
    stream.body = null;
    if (stream.state === StreamState.Closed) return;
    if (stream.state === StreamState.Idle) {
      stream.transition(StreamEvent.Reset);
      this.onStreamGone();
      return;
    }
    if (this.defersResets && stream.localEnded && this.#deferReset(stream, reason)) return;
    this.#writeReset(stream, this.resetCode(stream, reason));
  }

  /** Servers: a reset may not overtake the end of the answer, and is needless where the request's end is in the same read. */
  protected abstract readonly defersResets: boolean;

  /** Source: Envoy, ServerStreamImpl::useDeferredReset. @returns false: there is nothing to wait for */
  #deferReset(stream: Http2Stream, reason: ResetReason): boolean {
    if (stream.deferredReset >= 0) return true;
    if (!stream.queued && !this.#dispatching) return false;
    stream.deferredReset = reason;
    stream.dropPauses();
    // A stream that waits for the window comes later, by `onEndSent`, or falls to the flush timeout.
    if (!stream.queued) this.#deferredResets.push(stream);
    return true;
  }

  #sendDeferredResets(): void {
    for (const stream of this.#deferredResets) this.#writeDeferredReset(stream);
    this.#deferredResets.length = 0;
  }

  #writeDeferredReset(stream: Http2Stream): void {
    this.#writeReset(stream, this.resetCode(stream, stream.deferredReset as ResetReason));
  }

  /** What the peer is told of a reset of ours; as Envoy 1.40 was seen to do. */
  protected resetCode(_stream: Http2Stream, reason: ResetReason): ErrorCode {
    switch (reason) {
      case ResetReason.LocalRefusedStreamReset:
        return ErrorCode.RefusedStream;
      case ResetReason.ConnectError:
        return ErrorCode.ConnectError;
      default:
        return ErrorCode.InternalError;
    }
  }

  #writeReset(stream: Http2Stream, code: ErrorCode): void {
    if (stream.state === StreamState.Closed) return;
    const peerEnded = stream.remoteEnded;
    stream.transition(StreamEvent.Reset);
    this.#remove(stream);
    this.#closed.add(stream.id, peerEnded);
    if (this.failure === null) {
      this.frames.rstStream(stream.id, code);
      this.stats.txReset.inc();
      this.#afterWrite();
    }
    this.onStreamGone();
  }

  /** Drops what comes for a stream that was never made. */
  protected ignore(id: number): void {
    this.#closed.add(id, false);
  }

  /** Refuses a stream that was never made. */
  protected refuse(id: number, code: ErrorCode): void {
    this.#closed.add(id, false);
    this.frames.rstStream(id, code);
    this.stats.txReset.inc();
    this.#checkOutbound();
  }

  protected onRstStream(id: number, code: number): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.stats.rxReset.inc();
    stream.meter.wireBytesReceived += FRAME_HEADER_BYTES + 4;
    stream.transition(StreamEvent.Reset);
    this.#remove(stream);
    this.#closed.add(id, true);
    switch (code) {
      case ErrorCode.RefusedStream:
        stream.raiseReset(ResetReason.RemoteRefusedStreamReset, 'http2.remote_refuse');
        break;
      case ErrorCode.ConnectError:
        stream.raiseReset(ResetReason.ConnectError, 'http2.remote_reset');
        break;
      case ErrorCode.ProtocolError:
        stream.raiseReset(ResetReason.ProtocolError, 'http2.remote_reset');
        break;
      case ErrorCode.NoError:
        // Said of nothing (Envoy).
        stream.raiseReset(ResetReason.RemoteReset, '');
        break;
      default:
        stream.raiseReset(ResetReason.RemoteReset, 'http2.remote_reset');
    }
    this.onStreamGone();
  }

  /** Streams that the peer will not answer, after its GOAWAY. */
  protected refuseAbove(lastId: number): void {
    for (const stream of this.streams.list()) {
      if (stream.id <= lastId || !this.isLocalId(stream.id) || stream.state === StreamState.Closed) continue;
      stream.transition(StreamEvent.Reset);
      this.#remove(stream);
      this.#closed.add(stream.id, false);
      stream.raiseReset(ResetReason.RemoteRefusedStreamReset, 'http2.remote_refuse');
      this.onStreamGone();
    }
  }

  // ---- receiving ----

  /** @returns false when the connection is over */
  protected decodeBlock(bytes: Buffer, start: number, end: number): boolean {
    if (this.#decoder.decode(bytes, start, end, this.block)) return true;
    this.connectionError(ErrorCode.CompressionError, 'malformed header block');
    return false;
  }

  /** HEADERS for a stream that is no more: only the table has to follow. */
  protected onClosedStreamBlock(id: number, bytes: Buffer, start: number, end: number): void {
    const closedBy = this.#closed.find(id);
    if (closedBy === ClosedBy.Peer) {
      this.connectionError(ErrorCode.StreamClosed, 'HEADERS on a closed stream');
      return;
    }
    if (closedBy === ClosedBy.Unknown && !this.isLocalId(id)) {
      this.protocolError('stream ids went back');
      return;
    }
    this.block.begin(BlockKind.Ignored);
    this.decodeBlock(bytes, start, end);
  }

  /** Fields count as they are read; the frame that brings them, like any other, only once nothing is wrong with it (Envoy: onFrameReceived). */
  protected countFields(stream: Http2Stream): void {
    stream.meter.decompressedHeaderBytesReceived += this.block.bytes;
  }

  protected countBlock(stream: Http2Stream, wireBytes: number): void {
    const meter = stream.meter;
    meter.wireBytesReceived += wireBytes;
    meter.headerBytesReceived += wireBytes;
  }

  /** A further header block of a stream whose head has been passed on. */
  protected onTrailerBlock(
    stream: Http2Stream,
    bytes: Buffer,
    start: number,
    end: number,
    endStream: boolean,
    wireBytes: number,
  ): void {
    if (stream.remoteEnded) {
      this.connectionError(ErrorCode.StreamClosed, 'HEADERS behind the end of a stream');
      return;
    }
    this.block.begin(BlockKind.Trailers);
    if (!this.decodeBlock(bytes, start, end)) return;
    this.countFields(stream);
    let verdict = this.block.finish(endStream);
    if (verdict === Verdict.Ok) verdict = trailerVerdict(stream, this.block.contentLength);
    if (verdict !== Verdict.Ok) {
      this.failMessage(stream, verdict);
      return;
    }
    this.countBlock(stream, wireBytes);
    stream.transition(StreamEvent.ReceiveEnd);
    stream.body?.onTrailers(this.block.takeTrailers());
    this.settle(stream);
  }

  /** What is meant for no stream that is open, or comes behind its end, is dropped. */
  protected onMetadataFrame(id: number, bytes: Buffer, start: number, end: number, last: boolean): void {
    const stream = this.streams.get(id);
    if (stream === undefined || stream.remoteEnded) return;
    stream.metadata ??= new MetadataBlock(this.options.maxMetadataBytes);
    const block = stream.metadata;
    if (!block.add(bytes, start, end)) {
      this.#fail('too large METADATA', METADATA_FAILURE, 'peer', false);
      return;
    }
    if (!last) return;
    stream.metadata = null;
    if (block.isEmpty) {
      this.stats.metadataEmptyFrames.inc();
      return;
    }
    const metadata = block.finish();
    if (metadata === null) this.#fail('malformed METADATA', METADATA_FAILURE, 'peer', false);
    else stream.body?.onMetadata?.(metadata);
  }

  sendMetadata(stream: Http2Stream, metadata: StreamMetadata): void {
    if (!this.options.allowMetadata || this.failure !== null) return;
    this.frames.metadata(stream.id, metadataPayload(metadata));
    this.#afterWrite();
  }

  protected onDataBegin(id: number, size: number, padding: number, endStream: boolean): void {
    this.#dataStream = null;
    this.#receiveWindow -= size;
    if (this.#receiveWindow < 0) {
      this.connectionError(ErrorCode.FlowControlError, "more DATA than the connection's window");
      return;
    }
    const stream = this.streams.get(id);
    if (stream === undefined || stream.state === StreamState.Idle) {
      if (this.#closed.find(id) === ClosedBy.Peer) {
        this.connectionError(ErrorCode.StreamClosed, 'DATA on a closed stream');
        return;
      }
      this.#consumeConnection(size);
      return;
    }
    if (stream.remoteEnded) {
      this.connectionError(ErrorCode.StreamClosed, 'DATA behind the end of a stream');
      return;
    }
    if (!stream.headReceived) {
      this.#consumeConnection(size);
      this.failMessage(stream, Verdict.InvalidMessage);
      return;
    }
    stream.receiveWindow -= size;
    if (stream.receiveWindow < 0) {
      this.#consumeConnection(size);
      this.failOpenStream(stream, ErrorCode.FlowControlError, ResetReason.ProtocolError, 'http2.unknown.nghttp2.error');
      return;
    }
    if (padding > 0) this.consume(stream, padding);
    const content = size - padding;
    if (stream.contentLeft < 0) {
      stream.contentLeft -= content;
    } else {
      stream.contentLeft -= content;
      if (stream.contentLeft < 0 || (endStream && stream.contentLeft > 0)) {
        this.#consumeConnection(content);
        // Never the connection's end: what the peer sends may depend on its own peer (so nghttp2).
        this.failOpenStream(stream, ErrorCode.ProtocolError, ResetReason.ProtocolError, 'http2.remote_reset');
        return;
      }
    }
    stream.meter.wireBytesReceived += FRAME_HEADER_BYTES + size;
    this.#dataStream = stream;
  }

  protected onDataPart(_id: number, data: ByteBuffer, end: boolean): void {
    const stream = this.#dataStream;
    if (stream === null) return;
    const size = data.length;
    if (stream.state === StreamState.Closed) {
      this.#consumeConnection(size);
      return;
    }
    if (stream.paused) stream.unconsumed += size;
    else if (size > 0) this.consume(stream, size);
    if (end) stream.transition(StreamEvent.ReceiveEnd);
    stream.body?.onData(data, end);
    if (end) this.settle(stream);
  }

  /** Bytes of a stream have been used up: once they are half a window, the peer gets them back. */
  consume(stream: Http2Stream, size: number): void {
    stream.consumed += size;
    if (stream.consumed * 2 >= this.streamWindow && !stream.remoteEnded && this.failure === null) {
      const increment = stream.consumed;
      stream.consumed = 0;
      stream.receiveWindow += increment;
      this.frames.windowUpdate(stream.id, increment);
    }
    this.#consumeConnection(size);
  }

  #consumeConnection(size: number): void {
    this.#consumed += size;
    if (this.#consumed * 2 >= this.#connectionWindow && this.failure === null) {
      const increment = this.#consumed;
      this.#consumed = 0;
      this.#receiveWindow += increment;
      this.frames.windowUpdate(0, increment);
    }
  }

  protected onWindowUpdate(id: number, increment: number): void {
    if (id === 0) {
      if (!this.#bodies.widen(increment)) {
        this.connectionError(ErrorCode.FlowControlError, "the connection's window overflows");
        return;
      }
      this.#checkOutbound();
      return;
    }
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_WINDOW) {
      const details = 'http2.unknown.nghttp2.error';
      this.failOpenStream(stream, ErrorCode.FlowControlError, ResetReason.ProtocolError, details);
      return;
    }
    if (stream.queued) {
      this.#bodies.onStreamWindow(stream);
      this.#checkOutbound();
    }
  }

  // ---- sending ----

  /** By a stream: its data, all of which is taken. */
  sendData(stream: Http2Stream, data: ByteBuffer, end: boolean): void {
    this.#bodies.send(stream, data, end);
    if (end && stream.queued) this.#watchFlush(stream);
    this.#afterWrite();
  }

  sendTrailers(stream: Http2Stream, trailers: HeaderMap): void {
    this.#bodies.sendTrailers(stream, trailers);
    if (stream.queued) this.#watchFlush(stream);
    this.#afterWrite();
  }

  /** A peer that opens no window would keep what waits for ever: the owner has done with the stream. */
  #watchFlush(stream: Http2Stream): void {
    if (stream.flushTimeoutMs === 0) return;
    stream.flushTimer ??= new Timer(this.timers, new FlushTimeout(this, stream));
    stream.flushTimer.enable(stream.flushTimeoutMs);
  }

  onFlushTimeout(stream: Http2Stream): void {
    this.stats.txFlushTimeout.inc();
    stream.events = null;
    stream.body = null;
    this.#writeReset(stream, this.resetCode(stream, ResetReason.LocalReset));
  }

  writeTrailers(stream: Http2Stream, trailers: HeaderMap): void {
    const writer = this.headerWriter;
    writer.open(encodedBound(trailers.list));
    writer.fields(trailers.list);
    this.countHeadSent(stream, writer.close(stream.id, true));
  }

  protected countHeadSent(stream: Http2Stream, wireBytes: number): void {
    stream.meter.wireBytesSent += wireBytes;
    stream.meter.headerBytesSent += wireBytes;
    stream.meter.decompressedHeaderBytesSent += this.headerWriter.fieldBytes;
  }

  /** A head has been written. */
  protected afterHead(stream: Http2Stream, end: boolean): void {
    if (end) {
      stream.localEnded = true;
      this.onEndSent(stream);
    }
    this.#afterWrite();
  }

  onEndSent(stream: Http2Stream): void {
    stream.transition(StreamEvent.SendEnd);
    this.settle(stream);
    if (stream.deferredReset < 0 || stream.state === StreamState.Closed) return;
    if (this.#dispatching) this.#deferredResets.push(stream);
    else this.#writeDeferredReset(stream);
  }
}

/** Whether the body was as long as was promised, be it only by the trailers: nghttp2 takes a Content-Length in either. */
function trailerVerdict(stream: Http2Stream, contentLength: number): Verdict {
  const left = stream.contentLeft;
  if (left > 0) return Verdict.InvalidMessage;
  if (contentLength === NO_CONTENT_LENGTH) return Verdict.Ok;
  if (left === 0) return Verdict.InvalidField;
  return contentLength === -1 - left ? Verdict.Ok : Verdict.InvalidMessage;
}

/** Made only for a stream that has to wait. */
class FlushTimeout implements TimerTarget {
  readonly #connection: Http2Connection;
  readonly #stream: Http2Stream;

  constructor(connection: Http2Connection, stream: Http2Stream) {
    this.#connection = connection;
    this.#stream = stream;
  }

  onTimer(): void {
    this.#connection.onFlushTimeout(this.#stream);
  }
}
