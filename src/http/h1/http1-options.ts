import type { HeaderCase } from '../header-map.ts';

/** What a codec counts: a counter of `stats/`, or anything with `inc`. */
export interface Http1Counter {
  inc(): void;
}

/** Envoy's `http1.*` counters. */
export interface Http1CodecStats {
  readonly droppedHeadersWithUnderscores: Http1Counter;
  readonly requestsRejectedWithUnderscoresInHeaders: Http1Counter;
  readonly metadataNotSupportedError: Http1Counter;
  readonly responseFlood: Http1Counter;
}

const NOTHING: Http1Counter = { inc() {} };
/** For owners that count nothing. */
export const NO_HTTP1_STATS: Http1CodecStats = {
  droppedHeadersWithUnderscores: NOTHING,
  requestsRejectedWithUnderscoresInHeaders: NOTHING,
  metadataNotSupportedError: NOTHING,
  responseFlood: NOTHING,
};

/** Decides how header names look on the wire (Envoy: Http1ProtocolOptions.HeaderKeyFormat). */
export interface HeaderCaseFormatter extends HeaderCase {
  /**
   * True when the names of received messages must be kept (`HeaderMap.wireNames`) for `format` to see. Such a formatter goes with
   * what its side receives, and says nothing of what its side sends.
   */
  readonly keepsWireNames: boolean;
  /** True when a received reason phrase is to be sent on (preserve_case's `forward_reason_phrase`). */
  readonly forwardsReasonPhrase: boolean;
}

/** Envoy: HttpProtocolOptions.HeadersWithUnderscoresAction. */
export const UnderscoreAction = { Allow: 0, RejectRequest: 1, DropHeader: 2 } as const;
export type UnderscoreAction = (typeof UnderscoreAction)[keyof typeof UnderscoreAction];

/** Http1ProtocolOptions and the limits of HttpProtocolOptions at run time; all fields set. One object serves all connections. */
export interface Http1Options {
  /** Absolute-form request targets set scheme, host and path. Envoy's default: true. */
  readonly allowAbsoluteUrl: boolean;
  /** Otherwise HTTP/1.0 and 0.9 requests are answered by 426. */
  readonly acceptHttp10: boolean;
  /** Host of HTTP/1.0 requests without one; '' for none. */
  readonly defaultHostForHttp10: string;
  readonly headerKeyFormat: HeaderCaseFormatter | null;
  /** Otherwise trailers are dropped, in both directions. */
  readonly enableTrailers: boolean;
  /** Content-Length beside chunked: dropped instead of refused. */
  readonly allowChunkedLength: boolean;
  /** override_stream_error_on_invalid_http_message. */
  readonly streamErrorOnInvalidHttpMessage: boolean;
  /** Requests upstream carry `scheme://host/path` as target. */
  readonly sendFullyQualifiedUrl: boolean;
  /** Upgrades for whose Upgrade value this returns true are ignored: the headers are removed; null: none. */
  readonly ignoreHttp11Upgrade: ((upgrade: string) => boolean) | null;
  readonly allowCustomMethods: boolean;
  /** Bytes of a message's head, and of its trailers. Envoy: 60 KiB. */
  readonly maxHeadersBytes: number;
  /** Envoy: 100. */
  readonly maxHeadersCount: number;
  readonly headersWithUnderscores: UnderscoreAction;
  /**
   * An absolute-form `https` target on a connection without TLS is answered by 403. Envoy does so at the edge only: when the
   * connection manager has `use_remote_address` and no trusted hops.
   */
  readonly validateScheme: boolean;
}

/** Envoy's defaults, with `changes` over them. */
export function http1Options(changes: Partial<Http1Options> = {}): Http1Options {
  return {
    allowAbsoluteUrl: true,
    acceptHttp10: false,
    defaultHostForHttp10: '',
    headerKeyFormat: null,
    enableTrailers: false,
    allowChunkedLength: false,
    streamErrorOnInvalidHttpMessage: false,
    sendFullyQualifiedUrl: false,
    ignoreHttp11Upgrade: null,
    allowCustomMethods: false,
    maxHeadersBytes: 60 * 1024,
    maxHeadersCount: 100,
    headersWithUnderscores: UnderscoreAction.Allow,
    validateScheme: false,
    ...changes,
  };
}

/** `proper_case_words`: the first letter and every letter behind a character that is no letter or digit is upper case. */
export const PROPER_CASE_WORDS: HeaderCaseFormatter = {
  keepsWireNames: false,
  forwardsReasonPhrase: false,
  format(name: string): string {
    return properCase(name);
  },
};

function properCase(name: string): string {
  let out = '';
  let upper = true;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    const letter = code >= 97 && code <= 122;
    out += letter && upper ? String.fromCharCode(code - 32) : name[i]!;
    upper = !letter && !(code >= 48 && code <= 57) && !(code >= 65 && code <= 90);
  }
  return out;
}

/**
 * envoy.http.stateful_header_formatters.preserve_case.
 * @param properCaseOthers formatter_type_on_envoy_headers PROPER_CASE: for headers that were not received
 */
export function preserveCase(forwardReasonPhrase: boolean, properCaseOthers: boolean): HeaderCaseFormatter {
  return {
    keepsWireNames: true,
    forwardsReasonPhrase: forwardReasonPhrase,
    format(name: string, wireName: string | null): string {
      if (wireName !== null) return wireName;
      return properCaseOthers ? properCase(name) : name;
    },
  };
}
