import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type {
  HttpProtocolOptions as CommonOptions,
  Http1ProtocolOptions,
} from '../../api/gen/envoy/config/core/v3/protocol_pb.d.ts';
import type { HttpProtocolOptions } from '../../api/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.d.ts';
import type { TcpProtocolOptions } from '../../api/gen/envoy/extensions/upstreams/tcp/v3/tcp_protocol_options_pb.d.ts';
import { type Http1Options, UnderscoreAction } from '../../http/h1/http1-options.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMsOr } from './durations.ts';
import { buildHttp1Options, HTTP1_SUPPORT } from './http1-options.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const TCP_OPTIONS = 'envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions';
const UPSTREAM_CODEC = 'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec';

export const PROTOCOL_OPTIONS_SUPPORT: readonly FieldSupport[] = [
  {
    message: HTTP_OPTIONS,
    fields: 'common_http_protocol_options explicit_http_config http_filters',
  },
  { message: `${HTTP_OPTIONS}.ExplicitHttpConfig`, fields: 'http_protocol_options' },
  { message: UPSTREAM_CODEC, fields: '*' },
  { message: TCP_OPTIONS, fields: 'idle_timeout' },
  // Responses are never refused for underscores, upstream or not.
  {
    message: 'envoy.config.core.v3.HttpProtocolOptions',
    fields: `idle_timeout max_connection_duration max_headers_count max_response_headers_kb max_stream_duration
      max_requests_per_connection`,
    inert: 'headers_with_underscores_action',
  },
  ...HTTP1_SUPPORT,
];

/** What the protocol options say about connections and codecs. */
export interface ProtocolSettings {
  readonly httpIdleTimeoutMs: number;
  readonly tcpIdleTimeoutMs: number;
  readonly maxRequestsPerConnection: number;
  readonly maxConnectionDurationMs: number;
  readonly maxStreamDurationMs: number;
  readonly http1: Http1Options;
}

const DEFAULT_HTTP_IDLE_MS = 3_600_000;
const DEFAULT_TCP_IDLE_MS = 600_000;
/** Not the 60 of requests: measured on 1.40, which takes 81.7 kB and refuses 83. */
const DEFAULT_RESPONSE_HEADERS_KB = 80;

export function buildProtocolSettings(context: BuildContext, message: Cluster): ProtocolSettings {
  let typed: HttpProtocolOptions | null = null;
  let tcp: TcpProtocolOptions | null = null;
  for (const [name, any] of Object.entries(message.typedExtensionProtocolOptions)) {
    const field = `typed_extension_protocol_options[${JSON.stringify(name)}]`;
    if (name !== HTTP_OPTIONS && name !== TCP_OPTIONS) {
      context.refuse(
        field,
        `Didn't find a registered network or http filter or protocol options implementation for name: '${name}'`,
        `supported: ${HTTP_OPTIONS}, ${TCP_OPTIONS}`,
      );
      continue;
    }
    const options = context.unpack(field, any);
    if (options === null) continue;
    if (options.$typeName !== name) context.refuse(field, `${name} is expected here, not ${options.$typeName}`);
    else if (name === HTTP_OPTIONS) typed = options as HttpProtocolOptions;
    else tcp = options as TcpProtocolOptions;
  }
  const tcpIdleTimeoutMs = durationMsOr(tcp?.idleTimeout, DEFAULT_TCP_IDLE_MS);
  if (typed !== null) {
    const at = context.at(`typed_extension_protocol_options[${JSON.stringify(HTTP_OPTIONS)}]`);
    return settings(at, typed.commonHttpProtocolOptions, http1Of(at, typed), 0, tcpIdleTimeoutMs);
  }
  // Deprecated fields count only without the typed options, as in Envoy.
  if (message.http2ProtocolOptions !== undefined && message.httpProtocolOptions !== undefined) {
    context.refuse(
      'http2_protocol_options',
      "Both HTTP1 and HTTP2 options may only be configured with non-default 'protocol_selection' values",
    );
  }
  return settings(
    context,
    message.commonHttpProtocolOptions,
    message.httpProtocolOptions,
    message.maxRequestsPerConnection ?? 0,
    tcpIdleTimeoutMs,
  );
}

function http1Of(context: BuildContext, message: HttpProtocolOptions): Http1ProtocolOptions | undefined {
  message.httpFilters.forEach((filter, index) => {
    const type = filter.configType.case === 'typedConfig' ? filter.configType.value.typeUrl : '';
    if (!type.endsWith(UPSTREAM_CODEC) || index !== message.httpFilters.length - 1) {
      context.refuse(`http_filters[${index}]`, 'upstream HTTP filters are not supported yet');
    }
  });
  const options = message.upstreamProtocolOptions;
  switch (options.case) {
    case 'explicitHttpConfig': {
      const protocol = options.value.protocolConfig;
      return protocol.case === 'httpProtocolOptions' ? protocol.value : undefined;
    }
    case 'useDownstreamProtocolConfig':
    case 'autoConfig':
      // Refused by the table of supported fields.
      return options.value.httpProtocolOptions;
    default:
      return undefined;
  }
}

function settings(
  context: BuildContext,
  common: CommonOptions | undefined,
  http1: Http1ProtocolOptions | undefined,
  legacyMaxRequests: number,
  tcpIdleTimeoutMs: number,
): ProtocolSettings {
  const maxHeadersKb = common?.maxResponseHeadersKb ?? DEFAULT_RESPONSE_HEADERS_KB;
  return {
    httpIdleTimeoutMs: durationMsOr(common?.idleTimeout, DEFAULT_HTTP_IDLE_MS),
    tcpIdleTimeoutMs,
    maxRequestsPerConnection: common?.maxRequestsPerConnection ?? legacyMaxRequests,
    maxConnectionDurationMs: durationMsOr(common?.maxConnectionDuration, 0),
    maxStreamDurationMs: durationMsOr(common?.maxStreamDuration, 0),
    http1: {
      ...buildHttp1Options(context, http1, common, maxHeadersKb),
      headersWithUnderscores: UnderscoreAction.Allow,
    },
  };
}
