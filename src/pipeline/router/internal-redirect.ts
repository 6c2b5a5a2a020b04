import type { ByteBuffer } from '../../base/byte-buffer.ts';
import { parseAbsoluteTarget } from '../../http/h1/request-target.ts';
import type { RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { InternalRedirectPolicy } from '../../routing/route-policies.ts';
import type { FilterStream } from '../http-filter.ts';
import { RedirectHistory, type RedirectPredicate } from './redirect-predicates.ts';
import type { RouterStats } from './router-config.ts';

/**
 * Follows a redirect of the upstream by ourselves: the request begins anew with the target's scheme, host and path, through all
 * filters. Source: Envoy, router.cc, setupRedirect and convertRequestHeadersForInternalRedirect.
 *
 * @param routeName of the route that the policy is of
 * @param body the whole body of the request; null: none
 * @returns false: the response goes to the client as it is; headers are as before
 */
export function redirectInternally(
  stream: FilterStream,
  policy: InternalRedirectPolicy,
  routeName: string,
  headers: RequestHeaders,
  response: ResponseHeaders,
  body: ByteBuffer | null,
  stats: RouterStats,
): boolean {
  const location = response.get('location');
  if (location === null || headers.path === null) return false;
  const target = location === '' ? null : parseAbsoluteTarget(location, false);
  if (target === null) {
    stats.passthrough_internal_redirect_bad_location.inc();
    return false;
  }
  const fromSecure = headers.scheme !== 'http' && stream.connection.isSecure;
  const toSecure = target.scheme !== 'http';
  if (!policy.allowCrossSchemeRedirect && fromSecure !== toSecure) {
    stats.passthrough_internal_redirect_unsafe_scheme.inc();
    return false;
  }
  stream.info.redirects ??= new RedirectHistory();
  const history = stream.info.redirects;
  if (history.count >= policy.maxInternalRedirects) {
    stats.passthrough_internal_redirect_too_many_redirects.inc();
    return false;
  }
  const before = headers.clone();
  copyHeaders(policy.responseHeadersToCopy, response, headers);
  headers.scheme = target.scheme;
  headers.authority = target.host;
  const fragment = target.path.indexOf('#');
  const path = fragment < 0 ? target.path : target.path.slice(0, fragment);
  // A query or a fragment may follow the host at once.
  headers.path = path.charCodeAt(0) === 47 ? path : `/${path}`;
  stream.clearRouteCache();
  const { route } = stream;
  if (route === null) {
    stats.passthrough_internal_redirect_no_route.inc();
    headers.restore(before);
    return false;
  }
  const step = { history, from: routeName, to: route.name, fromSecure, toSecure };
  for (const { config } of policy.predicates) {
    if ((config as RedirectPredicate).accepts(step)) continue;
    stats.passthrough_internal_redirect_predicate.inc();
    headers.restore(before);
    return false;
  }
  const seeOther = response.status === 303 && headers.method !== 'GET' && headers.method !== 'HEAD';
  if (seeOther) {
    headers.method = 'GET';
    headers.remove('content-length');
  }
  history.count++;
  headers.set('x-envoy-original-url', `${fromSecure ? 'https' : 'http'}://${before.authority ?? ''}${before.path}`);
  return stream.recreateStream(response, seeOther ? null : body);
}

/** The response's values replace the request's; without any the request's go too. */
function copyHeaders(names: readonly string[], response: ResponseHeaders, request: RequestHeaders): void {
  for (const name of names) {
    request.remove(name);
    for (const value of response.getAll(name)) request.add(name, value);
  }
}
