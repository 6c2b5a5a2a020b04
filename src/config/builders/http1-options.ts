import type { Http1ProtocolOptions, HttpProtocolOptions } from '../../api/gen/envoy/config/core/v3/protocol_pb.d.ts';
import type { PreserveCaseFormatterConfig } from '../../api/gen/envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case_pb.d.ts';
import {
  type HeaderCaseFormatter,
  type Http1Options,
  http1Options,
  PROPER_CASE_WORDS,
  preserveCase,
  type UnderscoreAction,
} from '../../http/h1/http1-options.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildStringMatcher } from './route-config-matchers.ts';

export const HTTP1_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.core.v3.Http1ProtocolOptions',
    fields: `allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers
      allow_chunked_length ignore_http_11_upgrade override_stream_error_on_invalid_http_message send_fully_qualified_url allow_custom_methods`,
    inert: 'use_balsa_parser',
  },
  {
    message: 'envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat',
    fields: 'proper_case_words stateful_formatter',
  },
  { message: 'envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords', fields: '*' },
  {
    message: 'envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig',
    fields: '*',
  },
];

const PRESERVE_CASE = 'envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig';

function headerFormatter(context: BuildContext, message: Http1ProtocolOptions): HeaderCaseFormatter | null {
  const format = message.headerKeyFormat?.headerFormat;
  switch (format?.case) {
    case 'properCaseWords':
      return PROPER_CASE_WORDS;
    case 'statefulFormatter': {
      const field = 'header_key_format.stateful_formatter.typed_config';
      const config = context.unpack(field, format.value.typedConfig);
      if (config === null) return null;
      if (config.$typeName !== PRESERVE_CASE) {
        context.refuse(field, `header formatter ${config.$typeName} is not supported yet`);
        return null;
      }
      const { forwardReasonPhrase, formatterTypeOnEnvoyHeaders } = config as PreserveCaseFormatterConfig;
      return preserveCase(forwardReasonPhrase, formatterTypeOnEnvoyHeaders === 1);
    }
    default:
      return null;
  }
}

function ignoredUpgrades(context: BuildContext, message: Http1ProtocolOptions): ((upgrade: string) => boolean) | null {
  if (message.ignoreHttp11Upgrade.length === 0) return null;
  const matchers = message.ignoreHttp11Upgrade
    .map((matcher, index) => buildStringMatcher(context, `ignore_http_11_upgrade[${index}]`, matcher))
    .filter((matcher) => matcher !== null);
  return (upgrade) => matchers.some((matcher) => matcher.matches(upgrade));
}

/**
 * HTTP/1 options of either side.
 * @param maxHeadersKb of the head, in KiB
 */
export function buildHttp1Options(
  context: BuildContext,
  message: Http1ProtocolOptions | undefined,
  common: HttpProtocolOptions | undefined,
  maxHeadersKb: number,
): Http1Options {
  const limits = {
    maxHeadersBytes: maxHeadersKb * 1024,
    maxHeadersCount: common?.maxHeadersCount ?? 100,
    headersWithUnderscores: (common?.headersWithUnderscoresAction ?? 0) as UnderscoreAction,
  };
  if (message === undefined) return http1Options(limits);
  return http1Options({
    ...limits,
    allowAbsoluteUrl: message.allowAbsoluteUrl ?? true,
    acceptHttp10: message.acceptHttp10,
    defaultHostForHttp10: message.defaultHostForHttp10,
    headerKeyFormat: headerFormatter(context, message),
    enableTrailers: message.enableTrailers,
    allowChunkedLength: message.allowChunkedLength,
    streamErrorOnInvalidHttpMessage: message.overrideStreamErrorOnInvalidHttpMessage ?? false,
    sendFullyQualifiedUrl: message.sendFullyQualifiedUrl,
    ignoreHttp11Upgrade: ignoredUpgrades(context, message),
    allowCustomMethods: message.allowCustomMethods,
  });
}
