import type { RequestHeaders } from '../../http/header-map.ts';
import type { Route } from '../../routing/route.ts';
import type { DirectResponseAction, RedirectAction } from '../../routing/route-action.ts';
import type { RouterFilter } from './router-filter.ts';

/** A route that sends the client elsewhere. */
export function redirectClient(
  router: RouterFilter,
  route: Route,
  action: RedirectAction,
  headers: RequestHeaders,
): void {
  router.config.stats.rq_direct_response.inc();
  const location = action.target.url(headers, route.match.path, router.formatContext(null));
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
export function respondDirectly(router: RouterFilter, route: Route, action: DirectResponseAction): void {
  router.config.stats.rq_direct_response.inc();
  const body = action.bodyFormat === null ? action.body : action.bodyFormat.format(router.formatContext(null));
  router.stream.sendLocalReply({
    status: action.status,
    body: Buffer.from(body, 'latin1').toString('utf8'),
    details: 'direct_response',
    grpcStatus: null,
    modifyHeaders: (response) => {
      if (action.contentType !== null) response.set('content-type', action.contentType);
      route.responseMutations.apply(response, router.formatContext(response));
    },
  });
}
