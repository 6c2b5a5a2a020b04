import type { RequestHeaders } from '../http/header-map.ts';
import { pathWithoutQuery } from './path.ts';
import { rewritePath } from './path-rewrite.ts';
import type { Route } from './route.ts';
import { ActionKind, type ForwardAction, type HostRewrite } from './route-action.ts';
import type { FormatContext } from './stream-view.ts';

/** The Host that a rewrite gives; null: it stays (`auto` too: the router sets it when the upstream host is known). */
function rewrittenHost(rewrite: HostRewrite, headers: RequestHeaders, context: FormatContext): string | null {
  let host: string;
  switch (rewrite.kind) {
    case 'none':
    case 'auto':
      return null;
    case 'literal':
      host = rewrite.host;
      break;
    case 'header':
      host = headers.lookup(rewrite.header) ?? '';
      break;
    case 'path-regex':
      host = rewrite.substitution.apply(pathWithoutQuery(headers.path ?? ''));
      break;
    case 'format':
      host = rewrite.formatter.constant ?? rewrite.formatter.format(context);
      break;
  }
  return host === '' ? null : host;
}

/**
 * Sets the Host. Source: Envoy, Http::Utility::updateAuthority.
 * @param appendForwardedHost puts the old one into `x-forwarded-host`
 * @param keepOriginal puts the old one into `x-envoy-original-host`
 */
export function updateAuthority(
  headers: RequestHeaders,
  host: string,
  appendForwardedHost: boolean,
  keepOriginal: boolean,
): void {
  const old = headers.authority ?? '';
  if (keepOriginal && old !== '') headers.set('x-envoy-original-host', old);
  if (appendForwardedHost && old !== '') appendForwarded(headers, old);
  headers.authority = host;
}

/** The last value is not repeated: a retry or internal redirect rewrites again. */
function appendForwarded(headers: RequestHeaders, host: string): void {
  const present = headers.get('x-forwarded-host');
  if (present === null || present === '') headers.set('x-forwarded-host', host);
  else if (present !== host && !present.endsWith(`,${host}`)) headers.append('x-forwarded-host', host);
}

/** Whether `finalizeRequest` could find anything to do: most routes leave their requests as they are. */
export function changesRequest(route: Route, action: ForwardAction): boolean {
  return !(
    action.hostRewrite.kind === 'none' &&
    action.pathRewrite === null &&
    route.requestMutations.isEmpty &&
    route.weightedRequestMutations.isEmpty &&
    route.weightedHostRewrite === ''
  );
}

/**
 * Everything that a forwarding route does to the request before it goes upstream, in Envoy's order: weighted cluster's headers
 * and host, headers of all levels, host, path. Source: RouteEntryImplBase::finalizeRequestHeaders.
 * @param keepOriginal leaves `x-envoy-original-host` and `-path` (not with `suppress_envoy_headers`)
 */
export function finalizeRequest(
  route: Route,
  headers: RequestHeaders,
  context: FormatContext,
  keepOriginal: boolean,
): void {
  if (!route.weightedRequestMutations.isEmpty) route.weightedRequestMutations.apply(headers, context);
  if (route.weightedHostRewrite !== '') headers.authority = route.weightedHostRewrite;
  route.requestMutations.apply(headers, context);
  const action = route.action;
  if (action.kind !== ActionKind.Forward) return;
  if (action.hostRewrite.kind !== 'none') {
    const host = rewrittenHost(action.hostRewrite, headers, context);
    if (host !== null) updateAuthority(headers, host, action.appendXForwardedHost, keepOriginal);
  }
  if (action.pathRewrite !== null) rewritePath(action.pathRewrite, route.match.path, headers, context, keepOriginal);
}
