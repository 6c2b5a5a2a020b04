import { HeaderMap } from '../http/header-map.ts';
import type { HeaderMatcher } from '../routing/header-matcher.ts';
import type { RuntimeReader } from '../routing/runtime-fraction.ts';
import { matchesValue, metadataAt, type ValueMatcher } from '../routing/value-matcher.ts';
import type { AccessLogFilter, AccessLogger, LogContext } from './access-logger.ts';
import { grpcStatusOf } from './format/header-operators.ts';
import { TraceReason } from './request-id.ts';
import type { StreamInfo } from './stream-info.ts';

/** Writes only what a filter lets through. */
export class FilteredLogger implements AccessLogger {
  readonly #filter: AccessLogFilter;
  readonly #logger: AccessLogger;

  constructor(filter: AccessLogFilter, logger: AccessLogger) {
    this.#filter = filter;
    this.#logger = logger;
  }

  log(context: LogContext): void {
    if (this.#filter.matches(context)) this.#logger.log(context);
  }
}

/** Values of `ComparisonFilter.op`. */
export const ComparisonOp = { Equal: 0, AtLeast: 1, AtMost: 2, NotEqual: 3 } as const;
export type ComparisonOp = (typeof ComparisonOp)[keyof typeof ComparisonOp];

/** A comparison with a number that the runtime may override. Source: envoy.config.accesslog.v3.ComparisonFilter. */
export class Comparison {
  readonly #op: ComparisonOp;
  readonly #value: number;
  /** Empty: no override. */
  readonly #runtimeKey: string;
  readonly #runtime: RuntimeReader;

  constructor(op: ComparisonOp, value: number, runtimeKey: string, runtime: RuntimeReader) {
    this.#op = op;
    this.#value = value;
    this.#runtimeKey = runtimeKey;
    this.#runtime = runtime;
  }

  holds(left: number): boolean {
    const right = this.#runtimeKey === '' ? this.#value : this.#runtime.integer(this.#runtimeKey, this.#value);
    switch (this.#op) {
      case ComparisonOp.Equal:
        return left === right;
      case ComparisonOp.AtLeast:
        return left >= right;
      case ComparisonOp.AtMost:
        return left <= right;
      default:
        return left !== right;
    }
  }
}

/** The response's status; 0 where there is none. */
export class StatusCodeFilter implements AccessLogFilter {
  readonly #comparison: Comparison;

  constructor(comparison: Comparison) {
    this.#comparison = comparison;
  }

  matches(context: LogContext): boolean {
    return this.#comparison.holds(context.stream.responseCode);
  }
}

/** Whole milliseconds so far. */
export class DurationFilter implements AccessLogFilter {
  readonly #comparison: Comparison;

  constructor(comparison: Comparison) {
    this.#comparison = comparison;
  }

  matches(context: LogContext): boolean {
    return this.#comparison.holds(durationMs(context.stream));
  }
}

function durationMs(stream: StreamInfo): number {
  let end = stream.endMs;
  if (end < 0) end = stream.connection === null ? stream.startMs : stream.connection.dispatcher.clock.monotonicMs();
  return Math.floor(end - stream.startMs);
}

export class NotHealthCheckFilter implements AccessLogFilter {
  matches(context: LogContext): boolean {
    return !context.stream.healthCheck;
  }
}

/** Requests whose tracing a service asked for: neither sampled ones nor those of clients. Source: Envoy, TraceableRequestFilter. */
export class TraceableFilter implements AccessLogFilter {
  matches(context: LogContext): boolean {
    return context.stream.traceReason === TraceReason.ServiceForced && !context.stream.healthCheck;
  }
}

/** A share of the requests; those of one x-request-id fall together. Source: envoy.config.accesslog.v3.RuntimeFilter. */
export class RuntimeSampleFilter implements AccessLogFilter {
  readonly #runtimeKey: string;
  readonly #numerator: number;
  readonly #denominator: number;
  readonly #independent: boolean;
  readonly #runtime: RuntimeReader;

  constructor(
    runtimeKey: string,
    numerator: number,
    denominator: number,
    independent: boolean,
    runtime: RuntimeReader,
  ) {
    this.#runtimeKey = runtimeKey;
    this.#numerator = numerator;
    this.#denominator = denominator;
    this.#independent = independent;
    this.#runtime = runtime;
  }

  matches(context: LogContext): boolean {
    const numerator = this.#runtime.integer(this.#runtimeKey, this.#numerator);
    const fromId = this.#independent ? null : numberOfRequestId(context);
    const random = fromId ?? Math.floor(Math.random() * 2 ** 32);
    return random % this.#denominator < Math.min(numerator, this.#denominator);
  }
}

/** The first eight hexadecimal digits of x-request-id (Envoy, UUIDRequestIDExtension::getInteger). */
function numberOfRequestId(context: LogContext): number | null {
  const id = context.requestHeaders?.get('x-request-id') ?? null;
  return id === null || !/^[0-9a-fA-F]{8}/.test(id) ? null : Number.parseInt(id.substring(0, 8), 16);
}

export class AndFilter implements AccessLogFilter {
  readonly #filters: readonly AccessLogFilter[];

  constructor(filters: readonly AccessLogFilter[]) {
    this.#filters = filters;
  }

  matches(context: LogContext): boolean {
    for (const filter of this.#filters) if (!filter.matches(context)) return false;
    return true;
  }
}

export class OrFilter implements AccessLogFilter {
  readonly #filters: readonly AccessLogFilter[];

  constructor(filters: readonly AccessLogFilter[]) {
    this.#filters = filters;
  }

  matches(context: LogContext): boolean {
    for (const filter of this.#filters) if (filter.matches(context)) return true;
    return false;
  }
}

/** By a request header. Without request headers (TCP) it matches as on an empty request. */
export class HeaderFilter implements AccessLogFilter {
  readonly #matcher: HeaderMatcher;

  constructor(matcher: HeaderMatcher) {
    this.#matcher = matcher;
  }

  matches(context: LogContext): boolean {
    return this.#matcher.matches(context.requestHeaders ?? NO_HEADERS);
  }
}
const NO_HEADERS = new HeaderMap();

export class ResponseFlagFilter implements AccessLogFilter {
  /** 0: any flag. */
  readonly #flags: number;

  constructor(flags: number) {
    this.#flags = flags;
  }

  matches(context: LogContext): boolean {
    const flags = context.stream.responseFlags;
    return this.#flags === 0 ? flags !== 0 : (flags & this.#flags) !== 0;
  }
}

const GRPC_UNKNOWN = 2;
const GRPC_LAST = 16;

export class GrpcStatusFilter implements AccessLogFilter {
  readonly #statuses: ReadonlySet<number>;
  readonly #exclude: boolean;

  constructor(statuses: ReadonlySet<number>, exclude: boolean) {
    this.#statuses = statuses;
    this.#exclude = exclude;
  }

  matches(context: LogContext): boolean {
    let status = grpcStatusOf(context) ?? GRPC_UNKNOWN;
    if (status > GRPC_LAST) status = -1;
    return this.#statuses.has(status) !== this.#exclude;
  }
}

/** By dynamic metadata. Source: envoy.config.accesslog.v3.MetadataFilter. */
export class MetadataFilter implements AccessLogFilter {
  readonly #namespace: string;
  readonly #path: readonly string[];
  /** Null: none given, nothing that is there matches. */
  readonly #value: ValueMatcher | null;
  readonly #whenAbsent: boolean;

  constructor(namespace: string, path: readonly string[], value: ValueMatcher | null, whenAbsent: boolean) {
    this.#namespace = namespace;
    this.#path = path;
    this.#value = value;
    this.#whenAbsent = whenAbsent;
  }

  matches(context: LogContext): boolean {
    const value = metadataAt(context.stream.dynamicMetadata(this.#namespace), this.#path);
    if (value === undefined) return this.#whenAbsent;
    return this.#value !== null && matchesValue(this.#value, value);
  }
}

/** By the moment of the entry. */
export class LogTypeFilter implements AccessLogFilter {
  readonly #types: ReadonlySet<number>;
  readonly #exclude: boolean;

  constructor(types: ReadonlySet<number>, exclude: boolean) {
    this.#types = types;
    this.#exclude = exclude;
  }

  matches(context: LogContext): boolean {
    return this.#types.has(context.logType) !== this.#exclude;
  }
}
