/**
 * Settings of an HTTP/2 codec: envoy.config.core.v3.Http2ProtocolOptions, validated, with Envoy 1.40's defaults. Every limit bounds
 * what one peer can make us hold or do.
 */
export interface Http2Options {
  /** SETTINGS_HEADER_TABLE_SIZE that we announce, and the most that our encoder uses. Bytes. */
  readonly hpackTableSize: number;
  /** SETTINGS_MAX_CONCURRENT_STREAMS that a server announces; for a client, the most it opens whatever the peer allows. */
  readonly maxConcurrentStreams: number;
  /** Bytes. */
  readonly initialStreamWindowSize: number;
  /** Bytes. */
  readonly initialConnectionWindowSize: number;
  /** RFC 8441: extended CONNECT. */
  readonly allowConnect: boolean;
  /** Outbound frames of all types that may wait; more closes the connection. */
  readonly maxOutboundFrames: number;
  /** Outbound PING, SETTINGS and RST_STREAM frames that may wait; more closes the connection. */
  readonly maxOutboundControlFrames: number;
  /** Inbound HEADERS, CONTINUATION and DATA frames in a row without payload and without END_STREAM. */
  readonly maxConsecutiveInboundFramesWithEmptyPayload: number;
  readonly maxInboundPriorityFramesPerStream: number;
  readonly maxInboundWindowUpdateFramesPerDataFrameSent: number;
  /** RST_STREAM frames that a server takes from its peer at once, and how many more each second; beyond, the connection ends. */
  readonly streamResetBurst: number;
  readonly streamResetRate: number;
  /** Our own fields are Huffman coded where that is shorter. */
  readonly huffman: boolean;
  /** A name or value that is coded in more bytes ends the connection. */
  readonly maxFieldBytes: number;
  /** Field values with bytes above 127 make a message malformed. */
  readonly disallowObsText: boolean;
  /** A message that breaks HTTP's rules resets its stream instead of closing the connection. */
  readonly streamErrorOnInvalidHttpMessage: boolean;
  /** Further SETTINGS to send: identifier → value. */
  readonly customSettings: readonly { readonly identifier: number; readonly value: number }[];
  /** PING when nothing was received for this long, ms; 0: never. */
  readonly keepaliveIntervalMs: number;
  /** How long the PING's answer may take, ms. */
  readonly keepaliveTimeoutMs: number;
  /** Percent of the interval that is added at random. */
  readonly keepaliveJitterPercent: number;
  /** A connection that was idle this long is pinged before its next stream, ms; 0: never. */
  readonly keepaliveIdleIntervalMs: number;
  /** METADATA frames are understood and sent; otherwise the peer's are ignored and none is sent. */
  readonly allowMetadata: boolean;
  /** Bytes of one METADATA message, and of what it expands to. Envoy: 1 MiB. */
  readonly maxMetadataBytes: number;
  /** Bytes of a message's header list, and of its trailers, as RFC 9113 counts them (32 per field). Envoy: 60 KiB, 80 upstream. */
  readonly maxHeadersBytes: number;
  /** Envoy: 100. */
  readonly maxHeadersCount: number;
  readonly headersWithUnderscores: 0 | 1 | 2;
  /**
   * How long the end of a response that the owner has finished may wait for the peer's window, ms; 0: for ever. Its stream is then
   * reset. Envoy: the connection manager's `stream_idle_timeout`; servers only.
   */
  readonly streamFlushTimeoutMs: number;
}

/** Envoy 1.40's defaults, with `changes` over them. */
export function http2Options(changes: Partial<Http2Options> = {}): Http2Options {
  return {
    hpackTableSize: 4096,
    maxConcurrentStreams: 1024,
    initialStreamWindowSize: 16 * 1024 * 1024,
    initialConnectionWindowSize: 24 * 1024 * 1024,
    allowConnect: false,
    maxOutboundFrames: 10_000,
    maxOutboundControlFrames: 1000,
    maxConsecutiveInboundFramesWithEmptyPayload: 1,
    maxInboundPriorityFramesPerStream: 100,
    maxInboundWindowUpdateFramesPerDataFrameSent: 10,
    streamResetBurst: 1000,
    streamResetRate: 33,
    huffman: true,
    maxFieldBytes: 64 * 1024,
    disallowObsText: false,
    streamErrorOnInvalidHttpMessage: false,
    customSettings: [],
    keepaliveIntervalMs: 0,
    keepaliveTimeoutMs: 0,
    keepaliveJitterPercent: 15,
    keepaliveIdleIntervalMs: 0,
    allowMetadata: false,
    maxMetadataBytes: 1024 * 1024,
    maxHeadersBytes: 60 * 1024,
    maxHeadersCount: 100,
    headersWithUnderscores: 0,
    streamFlushTimeoutMs: 300_000,
    ...changes,
  };
}
