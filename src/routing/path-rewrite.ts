import type { RequestHeaders } from '../http/header-map.ts';
import { pathEnd } from './path.ts';
import type { PathMatcher } from './route-match.ts';
import type { RegexSubstitution } from './route-policies.ts';
import type { FormatContext, ValueFormatter } from './stream-view.ts';
import type { UriTemplate, UriTemplateRewrite } from './uri-template.ts';

/** How a route changes the path. */
export type PathRewrite =
  /** The matched part is replaced. */
  | { readonly kind: 'prefix'; readonly replacement: string }
  /** Matches in the path without query are replaced. */
  | { readonly kind: 'regex'; readonly substitution: RegexSubstitution }
  | { readonly kind: 'template'; readonly template: UriTemplate; readonly rewrite: UriTemplateRewrite }
  /** The whole path without query is replaced (`path_rewrite`). */
  | { readonly kind: 'format'; readonly formatter: ValueFormatter };

/**
 * The path after the rewrite, with its query; null when the path stays. Source: Envoy, RouteAction.prefix_rewrite,
 * regex_rewrite, path_rewrite_policy, path_rewrite.
 */
function rewrittenPath(
  rewrite: PathRewrite,
  matcher: PathMatcher,
  path: string,
  context: FormatContext,
): string | null {
  const end = pathEnd(path);
  switch (rewrite.kind) {
    case 'prefix':
      return rewrite.replacement + path.slice(matcher.matchedPart(path.slice(0, end)).length);
    case 'regex':
      return rewrite.substitution.apply(path.slice(0, end)) + path.slice(end);
    case 'template': {
      const rewritten = rewrite.rewrite.apply(rewrite.template, path.slice(0, end));
      return rewritten === null ? path : rewritten + path.slice(end);
    }
    case 'format': {
      const formatted = rewrite.formatter.constant ?? rewrite.formatter.format(context);
      return formatted === '' ? null : formatted + path.slice(end);
    }
  }
}

/** Rewrites `headers.path`; the old one goes to `x-envoy-original-path` when asked. */
export function rewritePath(
  rewrite: PathRewrite,
  matcher: PathMatcher,
  headers: RequestHeaders,
  context: FormatContext,
  keepOriginal: boolean,
): void {
  const path = headers.path;
  if (path === null) return;
  const rewritten = rewrittenPath(rewrite, matcher, path, context);
  if (rewritten === null) return;
  if (keepOriginal) headers.set('x-envoy-original-path', path);
  headers.path = rewritten;
}
