import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from './header-map.ts';
import type { MetadataSink, StreamMetadata } from './stream-metadata.ts';

/** Negotiated protocol of one side. */
export const Protocol = { Http10: 0, Http11: 1, Http2: 2, Http3: 3 } as const;
export type Protocol = (typeof Protocol)[keyof typeof Protocol];
/** As `%PROTOCOL%` shows them. */
export const PROTOCOL_NAMES = ['HTTP/1.0', 'HTTP/1.1', 'HTTP/2', 'HTTP/3'] as const;

/** What a codec writes to. The connection behind it flushes at the end of the event-loop turn. */
export interface ByteSink {
  /** Encoders append here (text by `appendLatin1`, bodies by `moveFrom`), then call `written`. */
  readonly output: ByteBuffer;
  /** Says that `output` has grown: the owner flushes before the present turn ends. */
  written(): void;
}

/** The peer broke the protocol (or a limit of ours). Returned by `dispatch`; the owner answers and closes. */
export interface ProtocolError {
  /** `connection`: nothing further can be read from it. `stream`: one stream only (HTTP/2). */
  readonly scope: 'connection' | 'stream';
  readonly initiator: 'peer' | 'local';
  /** Envoy's response code detail, such as `http1.codec_error` or `http1.invalid_characters`. */
  readonly details: string;
  /** Status of the local reply when the request can still be answered (400, 413, 426, 431...); 0: only close. */
  readonly status: number;
  /** For logs and people. */
  readonly message: string;
  /** Too many frames of some kind, each of them allowed: no fault of protocol is counted (Envoy: BufferFloodError and its like). */
  readonly flood?: boolean;
}

export const ResetReason = {
  LocalReset: 0,
  LocalRefusedStreamReset: 1,
  RemoteReset: 2,
  RemoteRefusedStreamReset: 3,
  LocalConnectionFailure: 4,
  RemoteConnectionFailure: 5,
  ConnectionTimeout: 6,
  ConnectionTermination: 7,
  Overflow: 8,
  ConnectError: 9,
  ProtocolError: 10,
  OverloadManager: 11,
  Http1PrematureUpstreamHalfClose: 12,
} as const;
export type ResetReason = (typeof ResetReason)[keyof typeof ResetReason];
/** Envoy's words for them, as in local reply bodies and details. */
export const RESET_REASON_TEXT = [
  'local reset',
  'local refused stream reset',
  'remote reset',
  'remote refused stream reset',
  'local connection failure',
  'remote connection failure',
  'connection timeout',
  'connection termination',
  'overflow',
  'remote error with CONNECT request',
  'protocol error',
  'overload manager reset',
  'http1 premature upstream half close',
] as const;

/** Told what happens to a stream beside its messages. After `onStreamReset` no further call comes. */
export interface StreamEvents {
  onStreamReset(reason: ResetReason, details: string): void;
  /** The stream's (or its connection's) write buffer went above its high watermark: stop producing. Counted; balanced. */
  onAboveWriteHighWatermark(): void;
  onBelowWriteLowWatermark(): void;
}

/** One stream of a codec, beside its encoder and decoder. */
export interface CodecStream {
  /** HTTP/2 stream id; 0 for HTTP/1. */
  readonly id: number;
  readonly protocol: Protocol;
  setEvents(events: StreamEvents): void;
  reset(reason: ResetReason): void;
  /** Asks the source to stop; counted, so every pause needs its resume. */
  pauseReads(): void;
  resumeReads(): void;
  /** Bytes on the wire of this stream's messages, framing included; for `%..._WIRE_BYTES_...%`. */
  readonly meter: BytesMeter;
}

export class BytesMeter {
  wireBytesReceived = 0;
  wireBytesSent = 0;
  headerBytesReceived = 0;
  headerBytesSent = 0;
  decompressedHeaderBytesReceived = 0;
  decompressedHeaderBytesSent = 0;
}

/** Receives a request's parts. `end` comes exactly once, and nothing comes after it. */
export interface RequestDecoder {
  onHeaders(headers: RequestHeaders, end: boolean): void;
  /** The receiver may move or drain; what it leaves is dropped. */
  onData(data: ByteBuffer, end: boolean): void;
  onTrailers(trailers: HeaderMap): void;
  /** HTTP/2's METADATA, behind the headers and before the end. Whoever has no use for it leaves it out. */
  onMetadata?(metadata: StreamMetadata): void;
}

/** Receives a response's parts. */
export interface ResponseDecoder {
  /** 100-continue, 103 and the like; 101 comes as `onHeaders`. */
  on1xxHeaders(headers: ResponseHeaders): void;
  onHeaders(headers: ResponseHeaders, end: boolean): void;
  onData(data: ByteBuffer, end: boolean): void;
  onTrailers(trailers: HeaderMap): void;
  /** HTTP/2's METADATA, before the headers too. Whoever has no use for it leaves it out. */
  onMetadata?(metadata: StreamMetadata): void;
}

export interface ResponseEncoder extends MetadataSink {
  readonly stream: CodecStream;
  encode1xxHeaders(headers: ResponseHeaders): void;
  encodeHeaders(headers: ResponseHeaders, end: boolean): void;
  /** Takes everything out of `data`. */
  encodeData(data: ByteBuffer, end: boolean): void;
  encodeTrailers(trailers: HeaderMap): void;
  /**
   * How long the end of the response may wait for the peer's window from now on, ms; 0: for ever. HTTP/1, which has none, leaves
   * that to the connection.
   */
  setFlushTimeout(ms: number): void;
  /** True when a bad request must close the connection rather than reset one stream (HTTP/1 default). */
  readonly streamErrorOnInvalidHttpMessage: boolean;
}

export interface RequestEncoder extends MetadataSink {
  readonly stream: CodecStream;
  /** @returns null, or why these headers cannot be encoded (missing :path, ...): the caller resets */
  encodeHeaders(headers: RequestHeaders, end: boolean): string | null;
  encodeData(data: ByteBuffer, end: boolean): void;
  encodeTrailers(trailers: HeaderMap): void;
  /** The tunnel is up (CONNECT, upgrade): bytes pass without framing from now on. */
  enableTcpTunneling(): void;
}

export interface ServerCodecEvents {
  /** A request begins; its decoder gets the parts. `internal`: created by the codec to answer an error. */
  onNewStream(encoder: ResponseEncoder): RequestDecoder;
  /** The peer will open no further streams (HTTP/2 GOAWAY). */
  onGoAway(): void;
  /** {@link ServerCodec.hasStreams} is false again. HTTP/1 has nothing to say. */
  onLastStreamGone(): void;
  /**
   * The codec gives the connection up outside of `dispatch` (keepalive timeout, too many frames waiting): to be treated as if
   * `dispatch` had returned the error. HTTP/1 never does.
   */
  onCodecFailure(error: ProtocolError): void;
}

/** Server side of a connection. Never sees a socket. */
export interface ServerCodec {
  readonly protocol: Protocol;
  /** Streams are left, be it only that their responses, which the owner has done with, wait for the peer's window. HTTP/1: false. */
  readonly hasStreams: boolean;
  /**
   * Consumes what it can from `input`.
   * @returns the peer's error, after which `dispatch` is not called again
   */
  dispatch(input: ByteBuffer): ProtocolError | null;
  /** The peer has sent its FIN. @returns an error when a message was cut in the middle */
  onPeerEnd(): ProtocolError | null;
  /** First step of a graceful drain: HTTP/2 GOAWAY with the last id open; nothing for HTTP/1. */
  shutdownNotice(): void;
  /** No new streams: HTTP/2 GOAWAY; nothing for HTTP/1 (the manager sets `connection: close`). */
  goAway(): void;
  /** The connection is gone: timers and gauges are let go, streams that are left hear of it. */
  onConnectionClosed(): void;
  /** What waits in the connection's output behind a flush has become more or less: HTTP/2 counts its frames. */
  onOutputChanged(): void;
  /** The connection's write buffer crossed its watermark; the codec tells its streams. */
  onUnderlyingAboveWriteHighWatermark(): void;
  onUnderlyingBelowWriteLowWatermark(): void;
}

export interface ClientCodecEvents {
  /** The peer takes no new streams: those above its last id are reset as refused next, the others go on. */
  onGoAway(): void;
  /** HTTP/2: the peer's SETTINGS changed how many streams {@link ClientCodec.maxStreams} allows. */
  onMaxStreamsChanged(): void;
  /**
   * The codec gives the connection up outside of `dispatch` (keepalive timeout, too many frames waiting): to be treated as if
   * `dispatch` had returned the error. HTTP/1 never does.
   */
  onCodecFailure(error: ProtocolError): void;
  /** All that was asked has been answered; the connection is idle or usable for another stream. */
  onStreamsChanged(): void;
}

/** Client side of a connection. */
export interface ClientCodec {
  readonly protocol: Protocol;
  newStream(decoder: ResponseDecoder): RequestEncoder;
  dispatch(input: ByteBuffer): ProtocolError | null;
  /** FIN from the upstream: ends a read-until-close body. @returns an error when a message was cut */
  onPeerEnd(): ProtocolError | null;
  /** True when the connection may not carry a further request (Connection: close, HTTP/1.0, error). */
  readonly mustClose: boolean;
  /** Streams that may be open at once by the peer's word: 1 for HTTP/1. May fall below those that are. */
  readonly maxStreams: number;
  /** Tells the peer that no stream of its own would be answered, and that we leave: HTTP/2 GOAWAY; nothing for HTTP/1. */
  goAway(): void;
  /** As of {@link ServerCodec}. */
  onConnectionClosed(): void;
  onUnderlyingAboveWriteHighWatermark(): void;
  onUnderlyingBelowWriteLowWatermark(): void;
}

/** What a codec needs from its connection to stop and go on reading, and to fail. */
export interface CodecTransport extends ByteSink {
  /** Counted. */
  pauseReads(): void;
  resumeReads(): void;
}
