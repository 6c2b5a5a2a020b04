import type { RequestHeaders } from '../../http/header-map.ts';
import { RedirectTarget } from '../../routing/redirect.ts';
import type { Route } from '../../routing/route.ts';
import type { DirectResponseAction, RedirectAction } from '../../routing/route-action.ts';
import type { RouterFilter } from './router-filter.ts';

const ITSELF = RedirectTarget.toItself();

/** A route that sends the client elsewhere. */
export function redirectClient(
  router: RouterFilter,
  route: Route,
  action: RedirectAction,
  headers: RequestHeaders,
): void {
  router.config.stats.rq_direct_response.inc();
  const location = action.target.url(headers, route.match.path, router.formatContext(null));
  // Envoy rewrites the request itself, which its logs then show.
  const { path } = headers;
  const rewritten = path === null ? null : action.target.rewrittenPath(path, route.match.path);
  if (rewritten !== null) {
    if (!router.config.suppressEnvoyHeaders) headers.set('x-envoy-original-path', path!);
    headers.path = rewritten;
  }
  router.stream.sendLocalReply({
    status: action.status,
    body: '',
    details: 'direct_response',
    grpcStatus: null,
    modifyHeaders: (response) => {
      response.set('location', location);
      route.responseMutations.apply(response, router.formatContext(response));
    },
  });
}

/** A route that has its own answer. */
export function respondDirectly(
  router: RouterFilter,
  route: Route,
  action: DirectResponseAction,
  headers: RequestHeaders,
): void {
  router.config.stats.rq_direct_response.inc();
  // RFC 9110, 10.2.2: what was created, or where to go. Envoy names the request's own URL.
  const located = action.status === 201 || (action.status >= 300 && action.status < 400);
  const location =
    located && headers.path !== null ? ITSELF.url(headers, route.match.path, router.formatContext(null)) : null;
  const body = action.bodyFormat === null ? action.body : action.bodyFormat.format(router.formatContext(null));
  router.stream.sendLocalReply({
    status: action.status,
    body,
    details: 'direct_response',
    grpcStatus: null,
    modifyHeaders: (response) => {
      if (location !== null) response.set('location', location);
      if (action.contentType !== null) response.set('content-type', action.contentType);
      route.responseMutations.apply(response, router.formatContext(response));
    },
  });
}
