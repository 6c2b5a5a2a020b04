import type { Http1CodecStats } from '../http/h1/http1-options.ts';
import type { Http2CodecStats } from '../http/h2/http2-stats.ts';
import { HistogramUnit } from '../stats/histogram.ts';
import { defineStats } from '../stats/stat-group.ts';
import type { Scope } from '../stats/store.ts';

/** `http1.*` of a cluster, or of all listeners (at the root). Source: the list of a running 1.40. */
const HTTP1_STATS = defineStats({
  counters: [
    'dropped_headers_with_underscores',
    'metadata_not_supported_error',
    'requests_rejected_with_underscores_in_headers',
    'response_flood',
  ],
} as const);

/** `http2.*`, likewise. */
const HTTP2_STATS = defineStats({
  counters: [
    'cookies_total_bytes_too_large',
    'dropped_headers_with_underscores',
    'goaway_sent',
    'header_list_size_too_large',
    'header_overflow',
    'headers_cb_no_stream',
    'inbound_empty_frames_flood',
    'inbound_priority_frames_flood',
    'inbound_window_update_frames_flood',
    'keepalive_timeout',
    'metadata_empty_frames',
    'nghttp2_downstream_connections',
    'nghttp2_upstream_connections',
    'oghttp2_downstream_connections',
    'oghttp2_upstream_connections',
    'outbound_control_flood',
    'outbound_flood',
    'requests_rejected_with_underscores_in_headers',
    'rx_messaging_error',
    'rx_reset',
    'stream_refused_errors',
    'trailers',
    'tx_flush_timeout',
    'tx_reset',
  ],
  gauges: [
    'deferred_stream_close',
    'outbound_control_frames_active',
    'outbound_frames_active',
    'pending_send_bytes',
    'streams_active',
  ],
  histograms: {
    cookie_count: HistogramUnit.Unspecified,
    cookie_size: HistogramUnit.Bytes,
    header_count: HistogramUnit.Unspecified,
    header_list_size: HistogramUnit.Bytes,
  },
} as const);

export function createHttp1CodecStats(scope: Scope): Http1CodecStats {
  const stats = HTTP1_STATS.create(scope, 'http1');
  return {
    droppedHeadersWithUnderscores: stats.dropped_headers_with_underscores,
    requestsRejectedWithUnderscoresInHeaders: stats.requests_rejected_with_underscores_in_headers,
    metadataNotSupportedError: stats.metadata_not_supported_error,
    responseFlood: stats.response_flood,
  };
}

export function createHttp2CodecStats(scope: Scope): Http2CodecStats {
  const stats = HTTP2_STATS.create(scope, 'http2');
  return {
    // The names are of Envoy's codec; what is counted is the connections.
    downstreamConnections: stats.nghttp2_downstream_connections,
    upstreamConnections: stats.nghttp2_upstream_connections,
    droppedHeadersWithUnderscores: stats.dropped_headers_with_underscores,
    goawaySent: stats.goaway_sent,
    headerListSizeTooLarge: stats.header_list_size_too_large,
    headerOverflow: stats.header_overflow,
    headersCbNoStream: stats.headers_cb_no_stream,
    inboundEmptyFramesFlood: stats.inbound_empty_frames_flood,
    inboundPriorityFramesFlood: stats.inbound_priority_frames_flood,
    inboundWindowUpdateFramesFlood: stats.inbound_window_update_frames_flood,
    keepaliveTimeout: stats.keepalive_timeout,
    metadataEmptyFrames: stats.metadata_empty_frames,
    outboundControlFlood: stats.outbound_control_flood,
    outboundFlood: stats.outbound_flood,
    requestsRejectedWithUnderscoresInHeaders: stats.requests_rejected_with_underscores_in_headers,
    rxMessagingError: stats.rx_messaging_error,
    rxReset: stats.rx_reset,
    streamRefusedErrors: stats.stream_refused_errors,
    trailers: stats.trailers,
    txFlushTimeout: stats.tx_flush_timeout,
    txReset: stats.tx_reset,
    outboundControlFramesActive: stats.outbound_control_frames_active,
    outboundFramesActive: stats.outbound_frames_active,
    pendingSendBytes: stats.pending_send_bytes,
    streamsActive: stats.streams_active,
  };
}
