import { isGrpcContentType } from '../http/grpc-headers.ts';
import type { RequestHeaders } from '../http/header-map.ts';
import type { CookieMatcher } from './cookie-matcher.ts';
import { type HeaderMatcher, matchesAllHeaders } from './header-matcher.ts';
import type { QueryParameterMatcher, QueryParameters } from './query-parameter-matcher.ts';
import type { Regex } from './regex.ts';
import type { RuntimeFraction } from './runtime-fraction.ts';
import type { StreamView, TlsView } from './stream-view.ts';
import { asciiLowerCase } from './string-matcher.ts';
import type { UriTemplate } from './uri-template.ts';
import type { FilterStateMatcher, MetadataMatcher } from './value-matcher.ts';

export const PathKind = { Prefix: 0, Exact: 1, Regex: 2, SeparatedPrefix: 3, Template: 4, Connect: 5 } as const;
export type PathKind = (typeof PathKind)[keyof typeof PathKind];

/** How a route looks at the path, which comes without query and fragment. */
export class PathMatcher {
  readonly kind: PathKind;
  /** Prefix, path or the text of the pattern or template. */
  readonly text: string;
  readonly caseSensitive: boolean;
  readonly regex: Regex | null;
  readonly template: UriTemplate | null;
  /** `text` in the case that it is compared in. */
  readonly folded: string;

  private constructor(
    kind: PathKind,
    text: string,
    caseSensitive: boolean,
    regex: Regex | null,
    template: UriTemplate | null,
  ) {
    this.kind = kind;
    this.text = text;
    this.caseSensitive = caseSensitive;
    this.regex = regex;
    this.template = template;
    this.folded = caseSensitive ? text : asciiLowerCase(text);
  }

  static prefix(text: string, caseSensitive = true): PathMatcher {
    return new PathMatcher(PathKind.Prefix, text, caseSensitive, null, null);
  }

  static exact(text: string, caseSensitive = true): PathMatcher {
    return new PathMatcher(PathKind.Exact, text, caseSensitive, null, null);
  }

  /** Matches `/a` and `/a/...`, not `/ab`. */
  static separatedPrefix(text: string, caseSensitive = true): PathMatcher {
    return new PathMatcher(PathKind.SeparatedPrefix, text, caseSensitive, null, null);
  }

  static regex(regex: Regex): PathMatcher {
    return new PathMatcher(PathKind.Regex, regex.pattern, true, regex, null);
  }

  static template(template: UriTemplate): PathMatcher {
    return new PathMatcher(PathKind.Template, template.text, true, null, template);
  }

  /** CONNECT requests, with or without path. */
  static connect(): PathMatcher {
    return new PathMatcher(PathKind.Connect, '', true, null, null);
  }

  /** @param path without query and fragment; null: the request has none */
  matches(path: string | null, headers: RequestHeaders): boolean {
    if (this.kind === PathKind.Connect) return isConnect(headers);
    if (path === null) return false;
    switch (this.kind) {
      case PathKind.Regex:
        return this.regex!.test(path);
      case PathKind.Template:
        return this.template!.matches(path);
    }
    const subject = this.caseSensitive ? path : asciiLowerCase(path);
    if (this.kind === PathKind.Exact) return subject === this.folded;
    if (!subject.startsWith(this.folded)) return false;
    return (
      this.kind === PathKind.Prefix ||
      subject.length === this.folded.length ||
      subject.charCodeAt(this.folded.length) === 47
    );
  }

  /** The part of the path that prefix_rewrite replaces. */
  matchedPart(path: string): string {
    return this.kind === PathKind.Prefix || this.kind === PathKind.Exact || this.kind === PathKind.SeparatedPrefix
      ? path.slice(0, this.text.length)
      : path;
  }
}

/** CONNECT, or a CONNECT-UDP upgrade. */
function isConnect(headers: RequestHeaders): boolean {
  if (headers.method === 'CONNECT') return true;
  return headers.method === 'GET' && asciiLowerCase(headers.get('upgrade') ?? '') === 'connect-udp';
}

/** Conditions on the client's certificate; null: either way. */
export class TlsContextMatch {
  readonly presented: boolean | null;
  readonly validated: boolean | null;

  constructor(presented: boolean | null, validated: boolean | null) {
    this.presented = presented;
    this.validated = validated;
  }

  matches(tls: TlsView | null): boolean {
    const presented = tls?.peerCertificatePresented === true;
    const validated = tls?.peerCertificateValidated === true;
    return (
      (this.presented === null || this.presented === presented) &&
      (this.validated === null || this.validated === validated)
    );
  }
}

export interface RouteMatchFields {
  path: PathMatcher;
  /** Null: always. */
  runtimeFraction: RuntimeFraction | null;
  /** Only gRPC requests. */
  grpc: boolean;
  headers: readonly HeaderMatcher[];
  queryParameters: readonly QueryParameterMatcher[];
  cookies: readonly CookieMatcher[];
  tlsContext: TlsContextMatch | null;
  dynamicMetadata: readonly MetadataMatcher[];
  filterState: readonly FilterStateMatcher[];
}

/** Source: envoy.config.route.v3.RouteMatch. */
export class RouteMatch {
  readonly path: PathMatcher;
  readonly runtimeFraction: RuntimeFraction | null;
  readonly grpc: boolean;
  readonly headers: readonly HeaderMatcher[];
  readonly queryParameters: readonly QueryParameterMatcher[];
  readonly cookies: readonly CookieMatcher[];
  readonly tlsContext: TlsContextMatch | null;
  readonly dynamicMetadata: readonly MetadataMatcher[];
  readonly filterState: readonly FilterStateMatcher[];
  /** Something beside the path must hold. */
  readonly conditional: boolean;

  constructor(fields: RouteMatchFields) {
    this.path = fields.path;
    this.runtimeFraction = fields.runtimeFraction;
    this.grpc = fields.grpc;
    this.headers = fields.headers;
    this.queryParameters = fields.queryParameters;
    this.cookies = fields.cookies;
    this.tlsContext = fields.tlsContext;
    this.dynamicMetadata = fields.dynamicMetadata;
    this.filterState = fields.filterState;
    this.conditional =
      this.runtimeFraction !== null ||
      this.grpc ||
      this.headers.length > 0 ||
      this.queryParameters.length > 0 ||
      this.cookies.length > 0 ||
      this.tlsContext !== null ||
      this.dynamicMetadata.length > 0 ||
      this.filterState.length > 0;
  }

  /** Nothing but the path is looked at. */
  static ofPath(path: PathMatcher): RouteMatch {
    return new RouteMatch({
      path,
      runtimeFraction: null,
      grpc: false,
      headers: [],
      queryParameters: [],
      cookies: [],
      tlsContext: null,
      dynamicMetadata: [],
      filterState: [],
    });
  }

  /** Everything but the path. `query` is asked only by routes that look at parameters. */
  conditionsHold(headers: RequestHeaders, stream: StreamView, query: QuerySource): boolean {
    if (this.runtimeFraction !== null && !this.runtimeFraction.enabled(stream.stableRandom)) return false;
    if (this.grpc && (headers.path === null || !isGrpcContentType(headers.get('content-type')))) return false;
    if (!matchesAllHeaders(headers, this.headers)) return false;
    if (this.queryParameters.length > 0) {
      const parameters = query.queryParameters(headers);
      for (const matcher of this.queryParameters) {
        if (!matcher.matches(parameters)) return false;
      }
    }
    for (const matcher of this.cookies) {
      if (!matcher.matches(headers)) return false;
    }
    if (this.tlsContext !== null && !this.tlsContext.matches(stream.downstreamTls)) return false;
    for (const matcher of this.dynamicMetadata) {
      if (!matcher.matches(stream)) return false;
    }
    for (const matcher of this.filterState) {
      if (!matcher.matches(stream)) return false;
    }
    return true;
  }
}

/** Gives the request's parameters, parsed once for all routes. */
export interface QuerySource {
  queryParameters(headers: RequestHeaders): QueryParameters;
}
