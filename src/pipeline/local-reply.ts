import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { HeaderMutations } from '../routing/header-mutation.ts';
import type { ValueFormatter } from '../routing/stream-view.ts';
import { type AccessLogFilter, AccessLogType, type LogContext } from './access-logger.ts';
import type { StreamInfo } from './stream-info.ts';

/** What a local reply is written as. */
export interface RewrittenReply {
  /** Latin1 string of the body's bytes. */
  readonly body: string;
  readonly contentType: string;
}

/** How bodies are written. */
export interface BodyFormat {
  readonly formatter: ValueFormatter;
  readonly contentType: string;
}

/** One rule of `local_reply_config`. */
export interface LocalReplyMapper {
  readonly filter: AccessLogFilter;
  /** 0: as it is. */
  readonly status: number;
  /** Null: as it is. */
  readonly body: string | null;
  readonly headers: HeaderMutations;
  /** Null: the format for all. */
  readonly format: BodyFormat | null;
}

const TEXT_PLAIN = 'text/plain';

/**
 * Rewrites answers of the proxy's own: by the first mapper whose filter matches, then by the body format.
 * Source: envoy HttpConnectionManager.local_reply_config; Envoy, LocalReplyImpl::rewrite.
 */
export class LocalReplyConfig {
  static readonly NONE = new LocalReplyConfig([], null);

  readonly #mappers: readonly LocalReplyMapper[];
  readonly #format: BodyFormat | null;

  constructor(mappers: readonly LocalReplyMapper[], format: BodyFormat | null) {
    this.#mappers = mappers;
    this.#format = format;
  }

  /**
   * Changes `headers` (status, added headers) and the response code of the stream; `headers.status` is the reply's status
   * on entry. `%LOCAL_REPLY_BODY%` has a value in the body format alone, as in Envoy: neither in added headers nor in
   * access logs.
   */
  rewrite(context: LogContext, headers: ResponseHeaders, body: string): RewrittenReply {
    const stream = context.stream;
    stream.responseCode = headers.status;
    let format = this.#format;
    if (this.#mappers.length === 0 && format === null) return { body, contentType: TEXT_PLAIN };
    const reply = new ReplyContext(stream, context.requestHeaders, headers);
    for (const mapper of this.#mappers) {
      if (!mapper.filter.matches(reply)) continue;
      if (mapper.body !== null) body = mapper.body;
      mapper.headers.apply(headers, reply);
      if (mapper.status !== 0) {
        headers.status = mapper.status;
        stream.responseCode = mapper.status;
      }
      format = mapper.format ?? format;
      break;
    }
    if (format === null) return { body, contentType: TEXT_PLAIN };
    stream.localReplyBody = body;
    const text = format.formatter.format(reply);
    stream.localReplyBody = '';
    return { body: text, contentType: format.contentType };
  }
}

class ReplyContext implements LogContext {
  readonly stream: StreamInfo;
  readonly requestHeaders: RequestHeaders | null;
  readonly responseHeaders: ResponseHeaders;
  readonly responseTrailers: HeaderMap | null;
  readonly logType: AccessLogType;

  constructor(stream: StreamInfo, requestHeaders: RequestHeaders | null, responseHeaders: ResponseHeaders) {
    this.stream = stream;
    this.requestHeaders = requestHeaders;
    this.responseHeaders = responseHeaders;
    this.responseTrailers = null;
    this.logType = AccessLogType.NotSet;
  }
}
