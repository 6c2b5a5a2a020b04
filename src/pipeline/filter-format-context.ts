import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import { AccessLogType, type LogContext } from './access-logger.ts';
import type { FilterStream } from './http-filter.ts';
import type { StreamInfo } from './stream-info.ts';

/** What format strings of a filter read: its stream as it stands now. */
export class FilterFormatContext implements LogContext {
  readonly stream: StreamInfo;
  readonly requestHeaders: RequestHeaders | null;
  readonly responseHeaders: ResponseHeaders | null;
  readonly responseTrailers: HeaderMap | null;
  readonly logType: AccessLogType;

  constructor(stream: FilterStream) {
    this.stream = stream.info;
    this.requestHeaders = stream.requestHeaders;
    this.responseHeaders = stream.responseHeaders;
    this.responseTrailers = stream.responseTrailers;
    this.logType = AccessLogType.NotSet;
  }
}
