import type { Http2ProtocolOptions, HttpProtocolOptions } from '../../api/gen/envoy/config/core/v3/protocol_pb.d.ts';
import { type Http2Options, http2Options } from '../../http/h2/http2-options.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMsOr } from './durations.ts';

const HTTP2 = 'envoy.config.core.v3.Http2ProtocolOptions';
const KEEPALIVE = 'envoy.config.core.v3.KeepaliveSettings';

export const HTTP2_SUPPORT: readonly FieldSupport[] = [
  {
    message: HTTP2,
    fields: `hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size
      allow_connect max_outbound_frames max_outbound_control_frames
      max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
      max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
      override_stream_error_on_invalid_http_message custom_settings_parameters connection_keepalive allow_metadata
      stream_reset_burst stream_reset_rate enable_huffman_encoding max_header_field_size_kb disallow_obs_text
      max_metadata_size`,
    // Which of Envoy's two codecs is used.
    inert: 'use_oghttp2_codec',
  },
  { message: `${HTTP2}.SettingsParameter`, fields: '*' },
  { message: KEEPALIVE, fields: 'interval timeout interval_jitter connection_idle_interval' },
];

/** Names of the settings that have fields of their own, by identifier. */
const NAMED_SETTINGS: ReadonlyMap<
  number,
  { readonly name: string; readonly isSet: (m: Http2ProtocolOptions) => boolean }
> = new Map([
  [1, { name: 'hpack_table_size', isSet: (m: Http2ProtocolOptions) => m.hpackTableSize !== undefined }],
  [3, { name: 'max_concurrent_streams', isSet: (m: Http2ProtocolOptions) => m.maxConcurrentStreams !== undefined }],
  [
    4,
    { name: 'initial_stream_window_size', isSet: (m: Http2ProtocolOptions) => m.initialStreamWindowSize !== undefined },
  ],
]);
const ENABLE_PUSH = 2;
const ENABLE_CONNECT_PROTOCOL = 8;

/** Source: Envoy, Http2::Utility::initializeAndValidateOptions and its rules about custom parameters. */
function checkCustomSettings(context: BuildContext, message: Http2ProtocolOptions): void {
  const seen = new Map<number, number>();
  message.customSettingsParameters.forEach((parameter, index) => {
    const field = `custom_settings_parameters[${index}]`;
    const identifier = parameter.identifier ?? 0;
    const value = parameter.value ?? 0;
    const before = seen.get(identifier);
    if (before !== undefined && before !== value) {
      context.refuse(
        field,
        `inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = {0x${hex(identifier)}}`,
      );
    }
    seen.set(identifier, value);
    if (identifier === ENABLE_CONNECT_PROTOCOL) {
      context.refuse(
        field,
        'the "allow_connect" SETTINGS parameter must only be configured through the named field',
        'set allow_connect',
      );
    } else if (identifier === ENABLE_PUSH && value === 1) {
      context.refuse(field, 'server push is not supported by Envoy and can not be enabled via a SETTINGS parameter.');
    }
    const named = NAMED_SETTINGS.get(identifier);
    if (named?.isSet(message) === true) {
      context.refuse(
        field,
        `the {${named.name}} HTTP/2 SETTINGS parameter(s) can not be configured through both named and custom parameters`,
      );
    }
  });
}

function hex(identifier: number): string {
  return identifier.toString(16);
}

/**
 * HTTP/2 options of either side. Errors are reported at `context`, which is the message's.
 * @param maxHeadersKb of a header list, in KiB
 * @param streamError `stream_error_on_invalid_http_message` of the connection manager, null where it says nothing; undefined: upstream
 */
export function buildHttp2Options(
  context: BuildContext,
  message: Http2ProtocolOptions | undefined,
  common: HttpProtocolOptions | undefined,
  maxHeadersKb: number,
  streamError: boolean | null | undefined,
): Http2Options {
  const limits = {
    maxHeadersBytes: maxHeadersKb * 1024,
    maxHeadersCount: common?.maxHeadersCount ?? 100,
    headersWithUnderscores: (common?.headersWithUnderscoresAction ?? 0) as 0 | 1 | 2,
  };
  const defaults = http2Options(limits);
  if (message === undefined) return { ...defaults, streamErrorOnInvalidHttpMessage: streamError ?? false };
  checkCustomSettings(context, message);
  const maxFieldKb = message.maxHeaderFieldSizeKb;
  const upstream = streamError === undefined;
  // Envoy compares with the limit upstream only where that is given.
  if (
    maxFieldKb !== undefined &&
    maxFieldKb > maxHeadersKb &&
    (!upstream || common?.maxResponseHeadersKb !== undefined)
  ) {
    const limit = upstream ? 'max_response_headers_kb' : 'max_request_headers_kb';
    context.refuse('max_header_field_size_kb', `max_header_field_size_kb must not exceed ${limit}`);
  }
  const keepalive = message.connectionKeepalive;
  const intervalMs = durationMsOr(keepalive?.interval, 0);
  const idleMs = durationMsOr(keepalive?.connectionIdleInterval, 0);
  return {
    ...defaults,
    hpackTableSize: message.hpackTableSize ?? defaults.hpackTableSize,
    maxConcurrentStreams: message.maxConcurrentStreams ?? defaults.maxConcurrentStreams,
    initialStreamWindowSize: message.initialStreamWindowSize ?? defaults.initialStreamWindowSize,
    initialConnectionWindowSize: message.initialConnectionWindowSize ?? defaults.initialConnectionWindowSize,
    allowConnect: message.allowConnect,
    maxOutboundFrames: message.maxOutboundFrames ?? defaults.maxOutboundFrames,
    maxOutboundControlFrames: message.maxOutboundControlFrames ?? defaults.maxOutboundControlFrames,
    maxConsecutiveInboundFramesWithEmptyPayload:
      message.maxConsecutiveInboundFramesWithEmptyPayload ?? defaults.maxConsecutiveInboundFramesWithEmptyPayload,
    maxInboundPriorityFramesPerStream:
      message.maxInboundPriorityFramesPerStream ?? defaults.maxInboundPriorityFramesPerStream,
    maxInboundWindowUpdateFramesPerDataFrameSent:
      message.maxInboundWindowUpdateFramesPerDataFrameSent ?? defaults.maxInboundWindowUpdateFramesPerDataFrameSent,
    streamResetBurst: Number(message.streamResetBurst ?? defaults.streamResetBurst),
    streamResetRate: Number(message.streamResetRate ?? defaults.streamResetRate),
    huffman: message.enableHuffmanEncoding ?? defaults.huffman,
    allowMetadata: message.allowMetadata,
    maxMetadataBytes: Number(message.maxMetadataSize ?? defaults.maxMetadataBytes),
    maxFieldBytes: maxFieldKb === undefined ? defaults.maxFieldBytes : maxFieldKb * 1024,
    disallowObsText: message.disallowObsText ?? defaults.disallowObsText,
    // The connection manager's counts where only the deprecated field is set here (Envoy: http2::initializeAndValidateOptions).
    streamErrorOnInvalidHttpMessage:
      message.overrideStreamErrorOnInvalidHttpMessage ?? streamError ?? message.streamErrorOnInvalidHttpMessaging,
    customSettings: message.customSettingsParameters.map((parameter) => ({
      identifier: parameter.identifier ?? 0,
      value: parameter.value ?? 0,
    })),
    keepaliveIntervalMs: intervalMs,
    keepaliveTimeoutMs: durationMsOr(keepalive?.timeout, 0),
    keepaliveJitterPercent: keepalive?.intervalJitter?.value ?? defaults.keepaliveJitterPercent,
    keepaliveIdleIntervalMs: idleMs,
  };
}
