import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { FormatContext } from '../../routing/stream-view.ts';
import type { StreamInfo } from '../stream-info.ts';

/** What format strings of the route read; one per stream, changed in place. */
export class RouterFormatContext implements FormatContext {
  readonly stream: StreamInfo;
  readonly requestHeaders: RequestHeaders;
  responseHeaders: ResponseHeaders | null = null;
  responseTrailers: HeaderMap | null = null;

  constructor(stream: StreamInfo, requestHeaders: RequestHeaders) {
    this.stream = stream;
    this.requestHeaders = requestHeaders;
  }
}

/** The upstream's scheme where the request names none that it could be. Source: Envoy, FilterUtility::setUpstreamScheme. */
export function fillScheme(headers: RequestHeaders, secure: boolean): void {
  if (headers.scheme === 'http' || headers.scheme === 'https') return;
  const proto = headers.get('x-forwarded-proto');
  headers.scheme = proto === 'http' || proto === 'https' ? proto : secure ? 'https' : 'http';
}
