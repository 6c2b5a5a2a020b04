import type { RequestHeaders } from '../../../http/header-map.ts';
import { AccessLogType, type LogContext } from '../../../pipeline/access-logger.ts';
import type { EarlyHeaderMutation } from '../../../pipeline/connection-manager-config.ts';
import type { StreamInfo } from '../../../pipeline/stream-info.ts';
import type { HeaderEdits } from '../../../routing/header-edit.ts';

class RequestContext implements LogContext {
  readonly stream: StreamInfo;
  readonly requestHeaders: RequestHeaders;
  readonly responseHeaders = null;
  readonly responseTrailers = null;
  readonly logType = AccessLogType.NotSet;

  constructor(stream: StreamInfo, requestHeaders: RequestHeaders) {
    this.stream = stream;
    this.requestHeaders = requestHeaders;
  }
}

/** Source: envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation. */
export class EarlyHeaderEdits implements EarlyHeaderMutation {
  readonly #edits: HeaderEdits;

  constructor(edits: HeaderEdits) {
    this.#edits = edits;
  }

  mutate(headers: RequestHeaders, stream: StreamInfo): void {
    this.#edits.apply(headers, new RequestContext(stream, headers));
  }
}
