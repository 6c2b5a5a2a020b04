import type { HttpService } from '../../api/gen/envoy/config/core/v3/http_service_pb.d.ts';
import { AccessLogType, type LogContext } from '../../pipeline/access-logger.ts';
import { StreamInfo } from '../../pipeline/stream-info.ts';
import type { ValueFormatter } from '../../routing/stream-view.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMsOr } from './durations.ts';
import { buildFormatters, buildTextFormat } from './format.ts';

export const HTTP_SERVICE_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.HttpService', fields: '*' },
  { message: 'envoy.config.core.v3.HttpUri', fields: '*' },
  { message: 'envoy.config.core.v3.HeaderValueOption', fields: 'header append append_action keep_empty_value' },
  { message: 'envoy.config.core.v3.HeaderValue', fields: 'key value raw_value' },
  { message: 'envoy.config.core.v3.TypedExtensionConfig', fields: '*' },
];

/** A server that reports are sent to. */
export interface HttpServiceSpec {
  readonly cluster: string;
  /** Empty: the URI names none. */
  readonly host: string;
  readonly path: string;
  readonly timeoutMs: number;
  readonly headers: readonly ServiceHeader[];
}

export interface ServiceHeader {
  /** Lower case. */
  readonly name: string;
  readonly value: ValueFormatter;
}

/** `context` stands at the message. @returns null when errors were reported */
export function buildHttpService(context: BuildContext, message: HttpService): HttpServiceSpec | null {
  const before = context.errorCount;
  const formatters = buildFormatters(context, 'formatters', message.formatters) ?? [];
  const headers: ServiceHeader[] = [];
  message.requestHeadersToAdd.forEach(({ header }, index) => {
    if (header === undefined) return;
    const raw = header.rawValue.length > 0;
    const value = buildTextFormat(
      context,
      `request_headers_to_add[${index}].header.${raw ? 'raw_value' : 'value'}`,
      raw ? Buffer.from(header.rawValue).toString('utf8') : header.value,
      false,
      formatters,
    );
    if (value !== null) headers.push({ name: header.key.toLowerCase(), value });
  });
  if (context.errorCount > before) return null;
  const uri = message.httpUri;
  const { host, path } = splitUri(uri?.uri ?? '');
  return {
    cluster: uri?.httpUpstreamType.case === 'cluster' ? uri.httpUpstreamType.value : '',
    host,
    path,
    timeoutMs: durationMsOr(uri?.timeout, 0),
    headers,
  };
}

/** `scheme://host/path`, or without the scheme. Source: Envoy, Http::Utility::extractHostPathFromUri. */
function splitUri(uri: string): { host: string; path: string } {
  const scheme = uri.indexOf('://');
  const start = scheme < 0 ? 0 : scheme + 3;
  const slash = uri.indexOf('/', start);
  if (slash < 0) return { host: uri.slice(start), path: '/' };
  return { host: uri.slice(start, slash), path: uri.slice(slash) };
}

/** What the formats of such headers read: there is no request. */
class NoRequest implements LogContext {
  readonly stream: StreamInfo;
  readonly requestHeaders = null;
  readonly responseHeaders = null;
  readonly responseTrailers = null;
  readonly logType = AccessLogType.NotSet;

  constructor(wallMs: number, nowMs: number) {
    this.stream = new StreamInfo(null, wallMs, nowMs, 0);
  }
}

/** The service's own headers, over `defaults`: each name once. */
export function serviceHeaders(
  headers: readonly ServiceHeader[],
  defaults: readonly (readonly [name: string, value: string])[],
  wallMs: number,
  nowMs: number,
): [string, string][] {
  const all = new Map<string, string>(defaults);
  if (headers.length > 0) {
    const context = new NoRequest(wallMs, nowMs);
    for (const { name, value } of headers) {
      all.delete(name);
      all.set(name, value.format(context));
    }
  }
  return [...all];
}
