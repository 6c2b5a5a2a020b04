import type { RequestHeaders } from '../http/header-map.ts';
import { pathEnd } from './path.ts';
import type { PathMatcher } from './route-match.ts';
import type { RegexSubstitution } from './route-policies.ts';
import type { FormatContext, ValueFormatter } from './stream-view.ts';

export interface RedirectTargetFields {
  /** `scheme_redirect`; empty: not given. */
  scheme: string;
  https: boolean;
  /** Empty: the request's. */
  host: string;
  /** 0: none given. */
  port: number;
  /** `path_redirect`; empty: none. */
  path: string;
  /** `prefix_rewrite`; empty: none. */
  prefixRewrite: string;
  regexRewrite: RegexSubstitution | null;
  /** `path_rewrite`; null: none. */
  pathFormat: ValueFormatter | null;
  stripQuery: boolean;
}

/** Where a redirect leads. Source: envoy.config.route.v3.RedirectAction. */
export class RedirectTarget {
  readonly scheme: string;
  readonly https: boolean;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly prefixRewrite: string;
  readonly regexRewrite: RegexSubstitution | null;
  readonly pathFormat: ValueFormatter | null;
  readonly stripQuery: boolean;

  constructor(fields: RedirectTargetFields) {
    this.scheme = fields.scheme;
    this.https = fields.https;
    this.host = fields.host;
    this.port = fields.port;
    this.path = fields.path;
    this.prefixRewrite = fields.prefixRewrite;
    this.regexRewrite = fields.regexRewrite;
    this.pathFormat = fields.pathFormat;
    this.stripQuery = fields.stripQuery;
  }

  /** The request's own URL: Envoy puts it into the Location of a direct response with status 201 or 3xx. */
  static toItself(): RedirectTarget {
    return new RedirectTarget({
      scheme: '',
      https: false,
      host: '',
      port: 0,
      path: '',
      prefixRewrite: '',
      regexRewrite: null,
      pathFormat: null,
      stripQuery: false,
    });
  }

  /** What `require_tls` redirects to: the same URL by https. */
  static toHttps(): RedirectTarget {
    return new RedirectTarget({
      scheme: 'https',
      https: true,
      host: '',
      port: 0,
      path: '',
      prefixRewrite: '',
      regexRewrite: null,
      pathFormat: null,
      stripQuery: false,
    });
  }

  /** The Location. @param matcher how the route matched: prefix_rewrite replaces that part */
  url(headers: RequestHeaders, matcher: PathMatcher, context: FormatContext): string {
    const scheme = this.scheme !== '' ? this.scheme : this.https ? 'https' : headers.scheme;
    const port = this.port === 0 ? '' : `:${this.port}`;
    const host = this.host !== '' ? this.host : requestHost(headers, scheme, port);
    return `${scheme}://${host}${port}${this.#location(headers.path ?? '', matcher, context)}`;
  }

  /** What `prefix_rewrite` or `regex_rewrite` makes of the request's path, query included; null: neither is set. */
  rewrittenPath(path: string, matcher: PathMatcher): string | null {
    const end = pathEnd(path);
    if (this.regexRewrite !== null) return this.regexRewrite.apply(path.slice(0, end)) + path.slice(end);
    if (this.prefixRewrite === '') return null;
    return this.prefixRewrite + path.slice(matcher.matchedPart(path.slice(0, end)).length);
  }

  #location(path: string, matcher: PathMatcher, context: FormatContext): string {
    const replacement =
      this.pathFormat === null ? this.path : (this.pathFormat.constant ?? this.pathFormat.format(context));
    if (replacement !== '') {
      // A query of the replacement's own stands for the request's and is never stripped.
      if (replacement.includes('?')) return replacement;
      const query = path.indexOf('?');
      return query < 0 || this.stripQuery ? replacement : replacement + path.slice(query);
    }
    const location = this.rewrittenPath(path, matcher) ?? path;
    if (!this.stripQuery) return location;
    const query = location.indexOf('?');
    return query < 0 ? location : location.slice(0, query);
  }
}

/** The request's host; its port goes when a new one comes, or when it is the default of a scheme that changes. */
function requestHost(headers: RequestHeaders, newScheme: string, newPort: string): string {
  const host = headers.authority ?? '';
  if (host === '') return host;
  let end: number;
  if (host.startsWith('[')) {
    end = host.lastIndexOf(']:');
    if (end >= 0) end++;
  } else {
    end = host.lastIndexOf(':');
  }
  if (end < 0) return host;
  let removePort = newPort !== '';
  const proto = headers.get('x-forwarded-proto') ?? '';
  if (newScheme !== proto) {
    const port = host.slice(end);
    removePort ||= (proto === 'https' && port === ':443') || (proto === 'http' && port === ':80');
  }
  return removePort ? host.slice(0, end) : host;
}
