/** What a codec adds to: a counter of `stats/`, or anything with `inc`. */
export interface Http2Counter {
  inc(): void;
}

export interface Http2Gauge {
  add(delta: number): void;
}

/** Envoy's `http2.*` counters and gauges, of one listener's connection manager or one cluster. */
export interface Http2CodecStats {
  /** Connections by the side that we are on. */
  readonly downstreamConnections: Http2Counter;
  readonly upstreamConnections: Http2Counter;
  readonly droppedHeadersWithUnderscores: Http2Counter;
  readonly goawaySent: Http2Counter;
  /** Too many fields. */
  readonly headerOverflow: Http2Counter;
  /** Too many bytes of fields. */
  readonly headerListSizeTooLarge?: Http2Counter;

  readonly headersCbNoStream: Http2Counter;
  readonly inboundEmptyFramesFlood: Http2Counter;
  readonly inboundPriorityFramesFlood: Http2Counter;
  readonly inboundWindowUpdateFramesFlood: Http2Counter;
  readonly keepaliveTimeout: Http2Counter;
  readonly metadataEmptyFrames: Http2Counter;
  readonly outboundControlFlood: Http2Counter;
  readonly outboundFlood: Http2Counter;
  readonly requestsRejectedWithUnderscoresInHeaders: Http2Counter;
  readonly rxMessagingError: Http2Counter;
  readonly rxReset: Http2Counter;
  readonly streamRefusedErrors: Http2Counter;
  readonly trailers: Http2Counter;
  readonly txFlushTimeout: Http2Counter;
  readonly txReset: Http2Counter;
  readonly outboundControlFramesActive: Http2Gauge;
  readonly outboundFramesActive: Http2Gauge;
  readonly pendingSendBytes: Http2Gauge;
  readonly streamsActive: Http2Gauge;
}

const COUNTER: Http2Counter = { inc() {} };
const GAUGE: Http2Gauge = { add() {} };
/** For owners that count nothing. */
export const NO_HTTP2_STATS: Http2CodecStats = {
  downstreamConnections: COUNTER,
  upstreamConnections: COUNTER,
  droppedHeadersWithUnderscores: COUNTER,
  goawaySent: COUNTER,
  headerOverflow: COUNTER,
  headersCbNoStream: COUNTER,
  inboundEmptyFramesFlood: COUNTER,
  inboundPriorityFramesFlood: COUNTER,
  inboundWindowUpdateFramesFlood: COUNTER,
  keepaliveTimeout: COUNTER,
  metadataEmptyFrames: COUNTER,
  outboundControlFlood: COUNTER,
  outboundFlood: COUNTER,
  requestsRejectedWithUnderscoresInHeaders: COUNTER,
  rxMessagingError: COUNTER,
  rxReset: COUNTER,
  streamRefusedErrors: COUNTER,
  trailers: COUNTER,
  txFlushTimeout: COUNTER,
  txReset: COUNTER,
  outboundControlFramesActive: GAUGE,
  outboundFramesActive: GAUGE,
  pendingSendBytes: GAUGE,
  streamsActive: GAUGE,
};
