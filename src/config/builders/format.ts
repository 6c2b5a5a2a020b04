import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { HeaderValue } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.d.ts';
import type { SubstitutionFormatString } from '../../api/gen/envoy/config/core/v3/substitution_format_string_pb.d.ts';
import { BUILTIN_OPERATORS } from '../../pipeline/format/builtin-operators.ts';
import { type CommandParser, parseFormat } from '../../pipeline/format/format-parser.ts';
import { JsonFormat, type JsonNode } from '../../pipeline/format/json-format.ts';
import type { Segment } from '../../pipeline/format/segment.ts';
import { TextFormat } from '../../pipeline/format/text-format.ts';
import type { ValueFormatter } from '../../routing/stream-view.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import { nearest } from '../diagnostics/nearest.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { DATA_SOURCE_SUPPORT, readDataSource } from './data-source.ts';

/** What access loggers write when nothing is configured (Envoy, SubstitutionFormatUtils). */
export const DEFAULT_LOG_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ' +
  '%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ' +
  '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

/** What the builders of this file obey. */
export const FORMAT_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.core.v3.SubstitutionFormatString',
    fields: 'text_format json_format text_format_source omit_empty_values content_type formatters json_format_options',
  },
  // Properties are sorted always.
  { message: 'envoy.config.core.v3.JsonFormatOptions', fields: '', inert: 'sort_properties' },
  ...DATA_SOURCE_SUPPORT,
  { message: 'envoy.config.core.v3.TypedExtensionConfig', fields: '*' },
];

const NO_PARSERS: readonly CommandParser[] = [];

function compile(
  context: BuildContext,
  field: string,
  format: string,
  extra: readonly CommandParser[],
): readonly Segment[] | null {
  const parsed = parseFormat(format, [...extra, BUILTIN_OPERATORS], nearest);
  if (parsed.ok) return parsed.segments;
  for (const { reason, position, hint } of parsed.problems) {
    const where = reason.includes(' at position ') ? '' : ` (at position ${position} of the format string)`;
    context.refuse(field, reason + where, hint);
  }
  return null;
}

/** A text format of a log. @returns null when it was refused at `field` */
export function buildTextFormat(
  context: BuildContext,
  field: string,
  format: string,
  omitEmptyValues = false,
  formatters: readonly CommandParser[] = NO_PARSERS,
): TextFormat | null {
  const segments = compile(context, field, format, formatters);
  return segments === null ? null : new TextFormat(segments, omitEmptyValues ? '' : '-');
}

/** A JSON format of a log. @returns null when it was refused at `field` */
export function buildJsonFormat(
  context: BuildContext,
  field: string,
  struct: JsonObject,
  omitEmptyValues = false,
  formatters: readonly CommandParser[] = NO_PARSERS,
): JsonFormat | null {
  const root = jsonNode(context, field, struct, formatters);
  return root === null ? null : new JsonFormat(root, omitEmptyValues);
}

function jsonNode(
  context: BuildContext,
  field: string,
  value: JsonValue,
  formatters: readonly CommandParser[],
): JsonNode | null {
  if (typeof value === 'string') {
    const segments = compile(context, field, value, formatters);
    return segments === null ? null : { kind: 'format', segments };
  }
  if (value === null || typeof value !== 'object') return { kind: 'fixed', value };
  if (Array.isArray(value)) {
    const items = value.map((item, index) => jsonNode(context, `${field}[${index}]`, item, formatters));
    return items.includes(null) ? null : { kind: 'list', items: items as JsonNode[] };
  }
  const entries: [string, JsonNode][] = [];
  let complete = true;
  for (const key of Object.keys(value)) {
    const node = jsonNode(context, `${field}.${key}`, value[key]!, formatters);
    if (node === null) complete = false;
    else entries.push([wireText(key), node]);
  }
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return complete ? { kind: 'struct', entries } : null;
}

/**
 * A format with its own `omit_empty_values` and `formatters`, standing at `context`. The caller reads `content_type`.
 * @returns null when errors were reported
 */
export function buildSubstitutionFormat(
  context: BuildContext,
  message: SubstitutionFormatString,
): ValueFormatter | null {
  const formatters = buildFormatters(context, 'formatters', message.formatters);
  if (formatters === null) return null;
  const omit = message.omitEmptyValues;
  switch (message.format.case) {
    case 'textFormat':
      return buildTextFormat(context, 'text_format', message.format.value, omit, formatters);
    case 'jsonFormat':
      return buildJsonFormat(context, 'json_format', message.format.value, omit, formatters);
    case 'textFormatSource': {
      const text = readDataSource(context, 'text_format_source', message.format.value);
      const inline = message.format.value.specifier.case === 'inlineString' ? '.inline_string' : '';
      return text === null ? null : buildTextFormat(context, `text_format_source${inline}`, text, omit, formatters);
    }
    default:
      context.refuse('', 'a format is missing', 'set text_format_source or json_format');
      return null;
  }
}

/** The lines of an access logger: what its `log_format` says, or Envoy's own. @returns null when errors were reported */
export function buildLogFormat(
  context: BuildContext,
  logFormat: SubstitutionFormatString | undefined,
): ValueFormatter | null {
  return logFormat === undefined
    ? buildTextFormat(context, '', DEFAULT_LOG_FORMAT)
    : buildSubstitutionFormat(context.at('log_format'), logFormat);
}

/** Operators that extensions add to a format. */
export function buildFormatters(
  context: BuildContext,
  field: string,
  configs: readonly TypedExtensionConfig[],
): readonly CommandParser[] | null {
  const out: CommandParser[] = [];
  let complete = true;
  configs.forEach((config, index) => {
    const at = `${field}[${index}].typed_config`;
    const parser = context.shared.extensions.build('formatter', context, at, config.name, config.typedConfig);
    if (parser === null) complete = false;
    else out.push(parser as CommandParser);
  });
  return complete ? out : null;
}

/**
 * The value of a header to add: an operator that has nothing to say leaves nothing. Envoy's older spellings
 * `%DYNAMIC_METADATA(["ns", "key"])%`, `%UPSTREAM_METADATA([...])%` and `%PER_REQUEST_STATE(key)%` are understood.
 * @returns null when it was refused at `field`
 */
export function buildHeaderFormatter(
  context: BuildContext,
  field: string,
  value: string,
  formatters: readonly CommandParser[] = NO_PARSERS,
): ValueFormatter | null {
  const segments = compile(context, field, modernised(value), formatters);
  return segments === null ? null : new TextFormat(segments, '');
}

/** As `buildHeaderFormatter`, for `value` or `raw_value`. */
export function buildHeaderValue(
  context: BuildContext,
  field: string,
  header: HeaderValue,
  formatters: readonly CommandParser[] = NO_PARSERS,
): ValueFormatter | null {
  const raw = header.rawValue.length > 0 ? Buffer.from(header.rawValue).toString('utf8') : header.value;
  return buildHeaderFormatter(
    context,
    `${field}.${header.rawValue.length > 0 ? 'raw_value' : 'value'}`,
    raw,
    formatters,
  );
}

/** Source: Envoy, HeaderParser::translateMetadataFormat and translatePerRequestState. */
function modernised(value: string): string {
  if (!value.includes('_METADATA([') && !value.includes('%PER_REQUEST_STATE(')) return value;
  return value
    .replace(/%(DYNAMIC|UPSTREAM)_METADATA\((\[.*?\])\)%/g, (whole, kind: string, list: string) => {
      let parts: unknown;
      try {
        parts = JSON.parse(list);
      } catch {
        return whole;
      }
      if (!Array.isArray(parts) || !parts.every((part) => typeof part === 'string')) return whole;
      return `%${kind}_METADATA(${parts.join(':')})%`;
    })
    .replace(/%PER_REQUEST_STATE\((.*?)\)%/g, '%FILTER_STATE($1:PLAIN)%');
}
