import type {
  AccessLog,
  AccessLogFilter as AccessLogFilterMessage,
  ComparisonFilter,
} from '../../api/gen/envoy/config/accesslog/v3/accesslog_pb.d.ts';
import {
  AndFilter,
  Comparison,
  type ComparisonOp,
  DurationFilter,
  FilteredLogger,
  GrpcStatusFilter,
  HeaderFilter,
  LogTypeFilter,
  MetadataFilter,
  NotHealthCheckFilter,
  OrFilter,
  ResponseFlagFilter,
  RuntimeSampleFilter,
  StatusCodeFilter,
  TraceableFilter,
} from '../../pipeline/access-log-filters.ts';
import type { AccessLogFilter, AccessLogger } from '../../pipeline/access-logger.ts';
import type { WorkerEnvironment } from '../../pipeline/environment.ts';
import { RESPONSE_FLAGS } from '../../pipeline/response-flag.ts';
import type { BuildContext } from '../build-context.ts';
import { nearest } from '../diagnostics/nearest.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildFractionalPercent, buildHeaderMatcher, buildValueMatcher } from './route-config-matchers.ts';

const PACKAGE = 'envoy.config.accesslog.v3';

/** What the builders of this file obey. Header, metadata and percent messages are declared where they are built. */
export const ACCESS_LOG_SUPPORT: readonly FieldSupport[] = [
  { message: `${PACKAGE}.AccessLog`, fields: 'name filter typed_config' },
  {
    message: `${PACKAGE}.AccessLogFilter`,
    fields: `status_code_filter duration_filter not_health_check_filter traceable_filter runtime_filter and_filter
      or_filter header_filter response_flag_filter grpc_status_filter extension_filter metadata_filter log_type_filter`,
  },
  ...[
    'ComparisonFilter',
    'StatusCodeFilter',
    'DurationFilter',
    'NotHealthCheckFilter',
    'TraceableFilter',
    'RuntimeFilter',
    'AndFilter',
    'OrFilter',
    'HeaderFilter',
    'ResponseFlagFilter',
    'GrpcStatusFilter',
    'MetadataFilter',
    'LogTypeFilter',
    'ExtensionFilter',
  ].map((name) => ({ message: `${PACKAGE}.${name}`, fields: '*' })),
  { message: 'envoy.config.core.v3.RuntimeUInt32', fields: '*' },
  // Envoy's filter reads no `invert`.
  { message: 'envoy.type.matcher.v3.MetadataMatcher', fields: 'filter path value', inert: 'invert' },
];

/** Makes a logger for one worker. */
export type AccessLoggerMaker = (environment: WorkerEnvironment) => AccessLogger;

/** The loggers of a listener, connection manager, tcp_proxy or router. What is wrong is reported and left out. */
export function buildAccessLogs(
  context: BuildContext,
  field: string,
  messages: readonly AccessLog[],
): AccessLoggerMaker[] {
  return messages
    .map((message, index) => buildAccessLog(context.at(`${field}[${index}]`), message))
    .filter((make) => make !== null);
}

/** @returns null when errors were reported */
export function buildAccessLog(context: BuildContext, message: AccessLog): AccessLoggerMaker | null {
  const filter = message.filter === undefined ? null : buildAccessLogFilter(context.at('filter'), message.filter);
  const any = message.configType.case === 'typedConfig' ? message.configType.value : undefined;
  const make = context.shared.extensions.build('access-logger', context, 'typed_config', message.name, any);
  if (make === null || (message.filter !== undefined && filter === null)) return null;
  return filter === null ? make : (environment) => new FilteredLogger(filter, make(environment));
}

/** @returns null when errors were reported */
export function buildAccessLogFilter(context: BuildContext, message: AccessLogFilterMessage): AccessLogFilter | null {
  const specifier = message.filterSpecifier;
  switch (specifier.case) {
    case 'statusCodeFilter': {
      const comparison = buildComparison(context, 'status_code_filter.comparison', specifier.value.comparison);
      return comparison === null ? null : new StatusCodeFilter(comparison);
    }
    case 'durationFilter': {
      const comparison = buildComparison(context, 'duration_filter.comparison', specifier.value.comparison);
      return comparison === null ? null : new DurationFilter(comparison);
    }
    case 'notHealthCheckFilter':
      return new NotHealthCheckFilter();
    case 'traceableFilter':
      return new TraceableFilter();
    case 'runtimeFilter': {
      const { runtimeKey, percentSampled, useIndependentRandomness } = specifier.value;
      const share = buildFractionalPercent(percentSampled);
      const { numerator, denominator } = share;
      const runtime = context.shared.runtime;
      return new RuntimeSampleFilter(runtimeKey, numerator, denominator, useIndependentRandomness, runtime);
    }
    case 'andFilter': {
      const filters = buildFilters(context, 'and_filter.filters', specifier.value.filters);
      return filters === null ? null : new AndFilter(filters);
    }
    case 'orFilter': {
      const filters = buildFilters(context, 'or_filter.filters', specifier.value.filters);
      return filters === null ? null : new OrFilter(filters);
    }
    case 'headerFilter': {
      if (specifier.value.header === undefined) {
        context.refuse('header_filter.header', 'a header matcher is missing');
        return null;
      }
      const matcher = buildHeaderMatcher(context, 'header_filter.header', specifier.value.header);
      return matcher === null ? null : new HeaderFilter(matcher);
    }
    case 'responseFlagFilter':
      return buildResponseFlagFilter(context, specifier.value.flags);
    case 'grpcStatusFilter':
      return new GrpcStatusFilter(new Set<number>(specifier.value.statuses), specifier.value.exclude);
    case 'metadataFilter': {
      const { matcher, matchIfKeyNotFound } = specifier.value;
      const whenAbsent = matchIfKeyNotFound ?? true;
      if (matcher === undefined) return new MetadataFilter('', [], null, whenAbsent);
      const value =
        matcher.value === undefined ? null : buildValueMatcher(context, 'metadata_filter.matcher.value', matcher.value);
      if (value === null && matcher.value !== undefined) return null;
      const path = matcher.path.map((each) => each.segment.value ?? '');
      return new MetadataFilter(matcher.filter, path, value, whenAbsent);
    }
    case 'logTypeFilter':
      return new LogTypeFilter(new Set<number>(specifier.value.types), specifier.value.exclude);
    case 'extensionFilter': {
      const { name, configType } = specifier.value;
      const any = configType.case === 'typedConfig' ? configType.value : undefined;
      const at = 'extension_filter.typed_config';
      return context.shared.extensions.build('access-log-filter', context, at, name, any);
    }
    default:
      context.refuse('', 'an access log filter is empty', 'set one of its filters');
      return null;
  }
}

function buildFilters(
  context: BuildContext,
  field: string,
  messages: readonly AccessLogFilterMessage[],
): readonly AccessLogFilter[] | null {
  const filters = messages.map((each, index) => buildAccessLogFilter(context.at(`${field}[${index}]`), each));
  return filters.includes(null) ? null : (filters as AccessLogFilter[]);
}

function buildComparison(
  context: BuildContext,
  field: string,
  message: ComparisonFilter | undefined,
): Comparison | null {
  if (message?.value === undefined) {
    context.refuse(field, 'a comparison with a value is missing');
    return null;
  }
  const { defaultValue, runtimeKey } = message.value;
  return new Comparison(message.op as ComparisonOp, defaultValue, runtimeKey, context.shared.runtime);
}

function buildResponseFlagFilter(context: BuildContext, names: readonly string[]): ResponseFlagFilter | null {
  let flags = 0;
  let complete = true;
  names.forEach((name, index) => {
    const bit = RESPONSE_FLAGS.findIndex((flag) => flag.short === name);
    if (bit >= 0) {
      flags |= 1 << bit;
      return;
    }
    complete = false;
    const known = RESPONSE_FLAGS.map((flag) => flag.short);
    const close = nearest(name, known);
    context.refuse(
      `response_flag_filter.flags[${index}]`,
      `unknown response flag ${name}`,
      close === undefined ? `one of ${known.join(', ')}` : `did you mean ${close}?`,
    );
  });
  return complete ? new ResponseFlagFilter(flags) : null;
}
