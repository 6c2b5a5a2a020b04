import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { pathEnd } from '../../routing/path.ts';
import { rewritePath } from '../../routing/path-rewrite.ts';
import type { Route } from '../../routing/route.ts';
import type { ForwardAction } from '../../routing/route-action.ts';
import type { FormatContext } from '../../routing/stream-view.ts';
import type { StreamInfo } from '../stream-info.ts';
import type { RouterFilter } from './router-filter.ts';

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

/** What the route changes of the request. Source: Envoy, RouteEntryImplBase::finalizeRequestHeaders. */
export function finalizeRequest(
  router: RouterFilter,
  route: Route,
  action: ForwardAction,
  headers: RequestHeaders,
): void {
  const keepOriginal = !router.config.suppressEnvoyHeaders;
  if (!route.weightedRequestMutations.isEmpty) {
    route.weightedRequestMutations.apply(headers, router.formatContext(null));
  }
  if (route.weightedHostRewrite !== '') headers.authority = route.weightedHostRewrite;
  if (!route.requestMutations.isEmpty) route.requestMutations.apply(headers, router.formatContext(null));
  if (action.hostRewrite.kind !== 'none' && action.hostRewrite.kind !== 'auto') {
    const host = rewrittenHost(router, action, headers);
    if (host !== null && host !== '') replaceAuthority(headers, host, action.appendXForwardedHost, keepOriginal);
  }
  if (action.pathRewrite !== null) {
    rewritePath(action.pathRewrite, route.match.path, headers, router.formatContext(null), keepOriginal);
  }
  if (headers.scheme !== 'http' && headers.scheme !== 'https') {
    const proto = headers.get('x-forwarded-proto');
    const secure = router.stream.connection.security !== null;
    headers.scheme = proto === 'http' || proto === 'https' ? proto : secure ? 'https' : 'http';
  }
}

function rewrittenHost(router: RouterFilter, action: ForwardAction, headers: RequestHeaders): string | null {
  const rewrite = action.hostRewrite;
  switch (rewrite.kind) {
    case 'literal':
      return rewrite.host;
    case 'header':
      return headers.lookup(rewrite.header);
    case 'path-regex': {
      const path = headers.path ?? '';
      return rewrite.substitution.apply(path.slice(0, pathEnd(path)));
    }
    case 'format':
      return rewrite.formatter.constant ?? rewrite.formatter.format(router.formatContext(null));
    default:
      return null;
  }
}

/** Sets the host; the old one is kept where asked. Source: Envoy, Utility::updateAuthority. */
export function replaceAuthority(headers: RequestHeaders, host: string, appendForwarded: boolean, keep: boolean): void {
  const before = headers.authority ?? '';
  if (keep) headers.set('x-envoy-original-host', before);
  if (appendForwarded && before !== '') {
    const forwarded = headers.get('x-forwarded-host');
    // Not once more behind itself.
    const last = forwarded === null ? '' : forwarded.slice(forwarded.lastIndexOf(',') + 1);
    if (last !== before) headers.append('x-forwarded-host', before);
  }
  headers.authority = host;
}
