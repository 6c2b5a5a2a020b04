import { grpcStatusOfHttp, isGrpcContentType } from '../../http/grpc-headers.ts';
import type { HeaderMap } from '../../http/header-map.ts';
import { wireText } from '../../routing/wire-text.ts';
import { ACCESS_LOG_TYPE_NAMES, type LogContext } from '../access-logger.ts';
import { CLIENT_CERT_KEYS, clientCertificateValue } from './client-certificate-text.ts';
import { OperatorProblem } from './format-parser.ts';
import { jsonString } from './json-text.ts';
import { type Operator, type OperatorTable, plain, withArgument } from './operator-table.ts';
import { queryOf, queryParameter, visiblyDecoded, withoutQuery } from './query-text.ts';
import { ContextNumberSegment, ContextSegment, type FormatValue, Segment, truncated } from './segment.ts';

type HeaderSource = (context: LogContext) => HeaderMap | null;

const requestHeaders: HeaderSource = (context) => context.requestHeaders;
const responseHeaders: HeaderSource = (context) => context.responseHeaders;
const responseTrailers: HeaderSource = (context) => context.responseTrailers;

/** First value of a header, or of its alternative where it is absent. */
class HeaderSegment extends Segment {
  readonly #source: HeaderSource;
  readonly #main: string;
  /** Empty: none. */
  readonly #alternative: string;
  readonly #maxLength: number;
  readonly #cutQuery: boolean;

  constructor(source: HeaderSource, names: HeaderNames, maxLength: number, cutQuery: boolean) {
    super(null);
    this.#source = source;
    this.#main = names.main;
    this.#alternative = names.alternative;
    this.#maxLength = maxLength;
    this.#cutQuery = cutQuery;
  }

  text(context: LogContext): string | null {
    const headers = this.#source(context);
    if (headers === null) return null;
    let value = headers.lookup(this.#main);
    if (value === null && this.#alternative !== '') value = headers.lookup(this.#alternative);
    if (value === null) return null;
    if (this.#cutQuery) value = withoutQuery(value);
    return value.length <= this.#maxLength ? value : value.substring(0, this.#maxLength);
  }
}

interface HeaderNames {
  readonly main: string;
  readonly alternative: string;
}

/** `MAIN?ALTERNATIVE`, lower-cased. */
function headerNames(argument: string): HeaderNames | OperatorProblem {
  const names = argument.split('?');
  if (names.length > 2) {
    return new OperatorProblem(
      `More than 1 alternative header specified in token: ${argument}`,
      'give one header and at most one alternative, as in %REQ(X-A?X-B)%',
    );
  }
  for (const name of names) {
    if (name !== '' && !/^:?[-!#$%&'*+.^_`|~0-9A-Za-z]+$/.test(name)) {
      return new OperatorProblem('Invalid header configuration. Format string contains invalid characters.');
    }
  }
  return { main: names[0]!.toLowerCase(), alternative: (names[1] ?? '').toLowerCase() };
}

function header(source: HeaderSource, cutQuery = false): Operator {
  return withArgument('required', true, (argument, maxLength) => {
    const names = headerNames(argument);
    return names instanceof OperatorProblem ? names : new HeaderSegment(source, names, maxLength, cutQuery);
  });
}

/** `%REQ_WITHOUT_QUERY(X?Y):Z%`, of envoy.formatter.req_without_query. */
export const REQ_WITHOUT_QUERY: Operator = header(requestHeaders, true);

const REQUEST = header(requestHeaders);
const RESPONSE = header(responseHeaders);
const TRAILER = header(responseTrailers);

const CAMEL_STATUS = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
] as const;
const SNAKE_STATUS = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

/**
 * gRPC status of a response: from its trailers, its headers, or by its HTTP status. -1: a status that is no number; null:
 * nothing was answered. Source: Envoy, Grpc::Common::getGrpcStatus.
 */
export function grpcStatusOf(context: LogContext): number | null {
  const text = statusText(context.responseTrailers) ?? statusText(context.responseHeaders);
  if (text !== null) {
    const trimmed = text.trim();
    return /^\+?[0-9]{1,19}$/.test(trimmed) ? Number(trimmed) : -1;
  }
  const code = context.stream.responseCode;
  return code === 0 ? null : grpcStatusOfHttp(code);
}

function statusText(headers: HeaderMap | null): string | null {
  const text = headers === null ? null : headers.get('grpc-status');
  return text === '' ? null : text;
}

class GrpcStatusSegment extends Segment {
  /** Null: numbers. */
  readonly #names: readonly string[] | null;

  constructor(names: readonly string[] | null) {
    super(null);
    this.#names = names;
  }

  text(context: LogContext): string | null {
    const value = this.value(context);
    return value === null ? null : String(value);
  }

  override value(context: LogContext): FormatValue {
    if (!isGrpcContentType(context.requestHeaders?.get('content-type') ?? null)) return null;
    const status = grpcStatusOf(context);
    if (status === null || this.#names === null) return status;
    return this.#names[status] ?? String(status);
  }
}

function grpcStatus(argument: string): Segment | OperatorProblem {
  switch (argument) {
    case '':
    case 'CAMEL_STRING':
      return new GrpcStatusSegment(CAMEL_STATUS);
    case 'SNAKE_STRING':
      return new GrpcStatusSegment(SNAKE_STATUS);
    case 'NUMBER':
      return new GrpcStatusSegment(null);
    default:
      return new OperatorProblem(
        `GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: ${argument}`,
      );
  }
}

/** `PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH):Z`. */
function path(argument: string, maxLength: number): Segment | OperatorProblem {
  const parts = argument.split(':');
  const query = parts[0] ?? '';
  const which = parts[1] ?? '';
  if (query !== '' && query !== 'WQ' && query !== 'NQ') {
    return new OperatorProblem(`Invalid PATH option: '${query}', only 'WQ'/'NQ' are allowed`);
  }
  if (which !== '' && which !== 'ORIG' && which !== 'PATH' && which !== 'ORIG_OR_PATH') {
    return new OperatorProblem(`Invalid PATH option: '${which}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed`);
  }
  const original = 'x-envoy-original-path';
  const names =
    which === 'ORIG'
      ? { main: original, alternative: '' }
      : which === 'PATH'
        ? { main: ':path', alternative: '' }
        : { main: original, alternative: ':path' };
  return new HeaderSegment(requestHeaders, names, maxLength, query === 'NQ');
}

function queryParams(argument: string, maxLength: number): Segment | OperatorProblem {
  if (argument !== '' && argument !== 'ORIG' && argument !== 'DECODED') {
    return new OperatorProblem(`Invalid QUERY_PARAMS option: '${argument}', only 'ORIG'/'DECODED' are allowed`);
  }
  const decoded = argument === 'DECODED';
  return new ContextSegment((context) => {
    const query = queryOf(context.requestHeaders?.path ?? '');
    return query === null || !decoded ? query : visiblyDecoded(query);
  }, maxLength);
}

/** `REQUESTED_SERVER_NAME(SNI_ONLY|SNI_FIRST|HOST_FIRST:ORIG_OR_HOST|HOST|ORIG)`. */
function requestedServerName(argument: string): Segment | OperatorProblem {
  const parts = argument.split(':');
  const order = parts[0] ?? '';
  const which = parts[1] ?? '';
  if (order !== '' && order !== 'SNI_ONLY' && order !== 'SNI_FIRST' && order !== 'HOST_FIRST') {
    return new OperatorProblem(
      `Invalid REQUESTED_SERVER_NAME option: '${order}', only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed`,
    );
  }
  if (which !== '' && which !== 'ORIG_OR_HOST' && which !== 'HOST' && which !== 'ORIG') {
    return new OperatorProblem(
      `Invalid REQUESTED_SERVER_NAME option: '${which}', only 'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed`,
    );
  }
  const host = (context: LogContext): string | null => {
    const headers = context.requestHeaders;
    if (headers === null) return null;
    const original = which === 'HOST' ? null : headers.get('x-envoy-original-host');
    const found = original ?? (which === 'ORIG' ? null : headers.authority);
    return found === null || found === '' ? null : withoutHostPort(found);
  };
  const sni = (context: LogContext): string | null => {
    const name = context.stream.connection?.requestedServerName ?? '';
    return name === '' ? null : sanitizedHostname(name);
  };
  if (order === 'SNI_FIRST') return new ContextSegment((context) => sni(context) ?? host(context));
  if (order === 'HOST_FIRST') return new ContextSegment((context) => host(context) ?? sni(context));
  return new ContextSegment(sni);
}

/** What may not stand in a host name becomes `_`: SNI is the client's to choose. */
function sanitizedHostname(name: string): string {
  return name.replace(/[^a-zA-Z0-9.\-:[\]_]/g, '_');
}

/** `host:port` without its port; an address in brackets keeps them. */
export function withoutHostPort(host: string): string {
  const colon = host.lastIndexOf(':');
  if (colon < 0 || host.indexOf(']') > colon || !/^:[0-9]+$/.test(host.substring(colon))) return host;
  if (!host.startsWith('[') && host.indexOf(':') !== colon) return host;
  return host.substring(0, colon);
}

/** Operators that read headers. Source: Envoy access log documentation, "Command operators". */
export const HEADER_OPERATORS: OperatorTable = {
  REQ: REQUEST,
  REQUEST_HEADER: REQUEST,
  RESP: RESPONSE,
  RESPONSE_HEADER: RESPONSE,
  TRAILER,
  RESPONSE_TRAILER: TRAILER,
  PATH: withArgument('optional', true, path),
  QUERY_PARAM: withArgument(
    'required',
    true,
    (name, maxLength) =>
      new ContextSegment((context) => queryParameter(context.requestHeaders?.path ?? '', wireText(name)), maxLength),
  ),
  QUERY_PARAMS: withArgument('optional', true, queryParams),
  REQUESTED_SERVER_NAME: withArgument('optional', false, requestedServerName),
  GRPC_STATUS: withArgument('optional', false, grpcStatus),
  GRPC_STATUS_NUMBER: plain(() => new GrpcStatusSegment(null)),
  REQUEST_HEADERS_BYTES: plain(() => new ContextNumberSegment((context) => context.requestHeaders?.byteSize() ?? 0)),
  RESPONSE_HEADERS_BYTES: plain(() => new ContextNumberSegment((context) => context.responseHeaders?.byteSize() ?? 0)),
  RESPONSE_TRAILERS_BYTES: plain(
    () => new ContextNumberSegment((context) => context.responseTrailers?.byteSize() ?? 0),
  ),
  ACCESS_LOG_TYPE: plain(() => new ContextSegment((context) => ACCESS_LOG_TYPE_NAMES[context.logType ?? 0])),
  LOCAL_REPLY_BODY: plain(() => new ContextSegment((context) => context.stream.localReplyBody)),
  XFCC_VALUE: withArgument('optional', true, (argument) => {
    if (argument === '') {
      return new OperatorProblem('XFCC_VALUE command requires a subcommand', 'such as %XFCC_VALUE(URI)%');
    }
    const key = argument.toLowerCase();
    if (!(CLIENT_CERT_KEYS as readonly string[]).includes(key)) {
      return new OperatorProblem(`XFCC_VALUE command does not support subcommand: ${argument}`);
    }
    return new ContextSegment((context) => {
      const value = context.requestHeaders?.getJoined('x-forwarded-client-cert') ?? null;
      return value === null ? null : clientCertificateValue(value, key);
    });
  }),
};

/** `COALESCE({"operators": [...]})`: the first operator that has something to say. */
export class CoalesceSegment extends Segment {
  readonly #choices: readonly Segment[];
  readonly #maxLength: number;

  constructor(choices: readonly Segment[], maxLength: number) {
    super(null);
    this.#choices = choices;
    this.#maxLength = maxLength;
  }

  text(context: LogContext): string | null {
    for (const choice of this.#choices) {
      const text = choice.text(context);
      if (text !== null) return truncated(text, this.#maxLength);
    }
    return null;
  }

  override value(context: LogContext): FormatValue {
    for (const choice of this.#choices) {
      const value = choice.value(context);
      if (value === null) continue;
      return typeof value === 'string' ? truncated(value, this.#maxLength) : value;
    }
    return null;
  }

  override json(context: LogContext): string {
    for (const choice of this.#choices) {
      const value = choice.value(context);
      if (value === null) continue;
      return typeof value === 'string' ? jsonString(truncated(value, this.#maxLength)) : choice.json(context);
    }
    return 'null';
  }
}
