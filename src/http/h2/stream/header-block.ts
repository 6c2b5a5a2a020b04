import { BAD_LENGTH, parseLength } from '../../h1/field-text.ts';
import { KNOWN_NAMES, SINGLE_IN_REQUEST, SINGLE_IN_RESPONSE } from '../../h1/known-names.ts';
import { HeaderMap, RequestHeaders, ResponseHeaders } from '../../header-map.ts';
import { FieldFlag } from '../hpack/field-flags.ts';
import type { FieldTarget } from '../hpack/hpack-decoder.ts';
import { Pseudo } from '../hpack/static-table.ts';
import type { Http2Options } from '../http2-options.ts';
import type { Http2CodecStats } from '../http2-stats.ts';
import { authorityIsValid, methodIsValid, pathIsValid, schemeIsValid } from './pseudo-values.ts';

export const BlockKind = { Request: 0, Response: 1, Trailers: 2, Ignored: 3 } as const;
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

/** What a block turned out to be. */
export const Verdict = {
  Ok: 0,
  /** A field that may not stand there. */
  InvalidField: 1,
  /** Fields that do not make a message. */
  InvalidMessage: 2,
  TooManyFields: 3,
  Underscore: 4,
  TooManyBytes: 5,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** Envoy's response code details by verdict. */
export const VERDICT_DETAILS = [
  '',
  'http2.invalid.header.field',
  'http2.violation.of.messaging.rule',
  'http2.too_many_headers',
  'http2.unexpected_underscore',
  'http2.header_list_size_too_large',
] as const;

/** Names that are more than a name and a value. */
const Special = {
  None: 0,
  /** Belongs to an HTTP/1 connection: malformed (RFC 9113 section 8.2.2). */
  Connection: 1,
  Te: 2,
  Cookie: 3,
  ContentLength: 4,
  Host: 5,
} as const;
const SPECIAL = new Uint8Array(KNOWN_NAMES.length);
for (const name of ['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']) {
  SPECIAL[KNOWN_NAMES.indexOf(name)] = Special.Connection;
}
SPECIAL[KNOWN_NAMES.indexOf('te')] = Special.Te;
SPECIAL[KNOWN_NAMES.indexOf('cookie')] = Special.Cookie;
SPECIAL[KNOWN_NAMES.indexOf('content-length')] = Special.ContentLength;
SPECIAL[KNOWN_NAMES.indexOf('host')] = Special.Host;

/** RFC 9110 section 5.5. */
const OBS_TEXT = /[\x80-\xff]/;

export const NO_CONTENT_LENGTH = -1;

/**
 * Makes header maps of decoded fields and judges them as nghttp2 does for Envoy (RFC 9113 section 8). One per connection; it
 * keeps nothing between blocks. Once the verdict has fallen the rest of the block only passes through the HPACK table.
 *
 * Bounds: a map holds at most `maxHeadersBytes` and `maxHeadersCount`.
 */
export class HeaderBlock implements FieldTarget {
  readonly #stats: Http2CodecStats;
  readonly #maxBytes: number;
  readonly #maxCount: number;
  readonly #underscores: 0 | 1 | 2;
  readonly #extendedConnect: boolean;
  readonly #disallowObsText: boolean;
  #kind: BlockKind = BlockKind.Ignored;
  #map: HeaderMap = new HeaderMap();
  #request: RequestHeaders | null = null;
  #response: ResponseHeaders | null = null;
  #single: Uint8Array = SINGLE_IN_REQUEST;
  /** By known name: the block in which it was seen last. */
  readonly #seen = new Uint32Array(KNOWN_NAMES.length);
  #stamp = 0;
  #regular = false;
  #host: string | null = null;
  #cookies = '';
  #count = 0;
  /** Bytes of names and values so far, pseudo-headers included. */
  bytes = 0;
  verdict: Verdict = Verdict.Ok;
  /** NO_CONTENT_LENGTH when there is none. */
  contentLength = NO_CONTENT_LENGTH;

  constructor(options: Http2Options, stats: Http2CodecStats, underscores: 0 | 1 | 2) {
    this.#stats = stats;
    this.#maxBytes = options.maxHeadersBytes;
    this.#maxCount = options.maxHeadersCount;
    this.#underscores = underscores;
    this.#extendedConnect = options.allowConnect;
    this.#disallowObsText = options.disallowObsText;
  }

  begin(kind: BlockKind): void {
    this.#kind = kind;
    this.#stamp = (this.#stamp + 1) >>> 0;
    this.#regular = false;
    this.#host = null;
    this.#cookies = '';
    this.#count = 0;
    this.#request = null;
    this.#response = null;
    this.bytes = 0;
    this.verdict = Verdict.Ok;
    this.contentLength = NO_CONTENT_LENGTH;
    switch (kind) {
      case BlockKind.Request:
        this.#request = new RequestHeaders();
        this.#map = this.#request;
        this.#single = SINGLE_IN_REQUEST;
        break;
      case BlockKind.Response:
        this.#response = new ResponseHeaders();
        this.#map = this.#response;
        this.#single = SINGLE_IN_RESPONSE;
        break;
      case BlockKind.Trailers:
        this.#map = new HeaderMap();
        break;
    }
  }

  onField(name: string, value: string, id: number, flags: number): void {
    if (this.verdict !== Verdict.Ok || this.#kind === BlockKind.Ignored) return;
    if (this.#disallowObsText && OBS_TEXT.test(value)) {
      this.verdict = Verdict.InvalidField;
      return;
    }
    if (id >= Pseudo.Method) {
      if (this.#regular || flags !== 0 || !this.#pseudo(value, id)) this.verdict = Verdict.InvalidField;
      else this.#measure(name, value);
      return;
    }
    this.#regular = true;
    if (flags !== 0 && !this.#passesFlags(flags)) return;
    if (id >= 0) {
      const special = SPECIAL[id]!;
      if (special !== Special.None && !this.#special(special, value)) return;
      if (!this.#measure(name, value)) return;
      if (this.#single[id] === 1 && this.#kind !== BlockKind.Trailers) {
        if (this.#seen[id] === this.#stamp) {
          this.#map.append(name, value);
          return;
        }
        this.#seen[id] = this.#stamp;
      }
    } else if (!this.#measure(name, value)) {
      return;
    }
    this.#map.list.push(name, value);
  }

  /** @returns false when there is too much */
  #measure(name: string, value: string): boolean {
    this.bytes += name.length + value.length;
    if (++this.#count <= this.#maxCount && this.bytes <= this.#maxBytes) return true;
    if (this.#count > this.#maxCount) {
      this.#stats.headerOverflow.inc();
      this.verdict = Verdict.TooManyFields;
    } else {
      this.#stats.headerListSizeTooLarge?.inc();
      this.verdict = Verdict.TooManyBytes;
    }

    return false;
  }

  /** @returns false when the field is dropped or was the last one */
  #passesFlags(flags: number): boolean {
    if ((flags & FieldFlag.UpperCase) !== 0) {
      this.verdict = Verdict.InvalidField;
      return false;
    }
    if ((flags & (FieldFlag.BadName | FieldFlag.BadValue)) !== 0) {
      this.verdict = Verdict.InvalidField;
      return false;
    }
    if (this.#underscores === 0) return true;
    if (this.#underscores === 2) {
      this.#stats.droppedHeadersWithUnderscores.inc();
      return false;
    }
    this.#stats.requestsRejectedWithUnderscoresInHeaders.inc();
    this.verdict = Verdict.Underscore;
    return false;
  }

  /** @returns false when the field does not go into the map */
  #special(special: number, value: string): boolean {
    switch (special) {
      case Special.Te:
        if (value === 'trailers' || value.toLowerCase() === 'trailers') return true;
        break;
      case Special.Cookie:
        // Crumbs are put together again (RFC 9113 section 8.2.3); the whole stands behind the other fields, as in Envoy.
        if (this.#measure('', value)) this.#cookies = this.#cookies === '' ? value : `${this.#cookies}; ${value}`;
        return false;
      case Special.ContentLength: {
        const length = this.contentLength === NO_CONTENT_LENGTH ? parseLength(value) : BAD_LENGTH;
        if (length === BAD_LENGTH) break;
        const status = this.#response?.status ?? 0;
        if (status === 204) {
          // Some say 0, which is as good as nothing.
          if (value === '0') return false;
          break;
        }
        if (status >= 100 && status < 200) break;
        this.contentLength = length;
        return true;
      }
      case Special.Host:
        if (this.#kind !== BlockKind.Request) return true;
        if (this.#host !== null || value === '' || !authorityIsValid(value)) break;
        this.#host = value;
        this.#measure('host', value);
        return false;
    }
    this.verdict = Verdict.InvalidField;
    return false;
  }

  #pseudo(value: string, id: number): boolean {
    const request = this.#request;
    if (request !== null) {
      if (value === '') return false;
      switch (id) {
        case Pseudo.Method:
          if (request.method !== '' || !methodIsValid(value)) return false;
          request.method = value;
          return true;
        case Pseudo.Scheme:
          if (request.scheme !== '' || !schemeIsValid(value)) return false;
          request.scheme = value;
          return true;
        case Pseudo.Authority:
          if (request.authority !== null || !authorityIsValid(value)) return false;
          request.authority = value;
          return true;
        case Pseudo.Path:
          if (request.path !== null || !pathIsValid(value)) return false;
          request.path = value;
          return true;
        case Pseudo.Protocol:
          if (request.protocol !== null || !this.#extendedConnect) return false;
          request.protocol = value;
          return true;
      }
      return false;
    }
    const response = this.#response;
    if (response === null || id !== Pseudo.Status || response.status !== 0 || value.length !== 3) return false;
    const status = parseLength(value);
    // 101 has no meaning here (section 8.6).
    if (status < 100 || status === 101) return false;
    response.status = status;
    return true;
  }

  /** The block has ended. @returns the verdict */
  finish(endStream: boolean): Verdict {
    if (this.verdict !== Verdict.Ok) return this.verdict;
    const request = this.#request;
    let right = true;
    if (request !== null) {
      if (request.authority === null) request.authority = this.#host;
      right = requestIsWhole(request);
      if (request.method === 'CONNECT') this.contentLength = NO_CONTENT_LENGTH;
    } else if (this.#response !== null) {
      const status = this.#response.status;
      right = status !== 0 && (status >= 200 || !endStream);
    } else if (this.#kind === BlockKind.Trailers) {
      right = endStream;
    }
    if (this.#cookies !== '') this.#map.list.push('cookie', this.#cookies);
    if (!right) this.verdict = Verdict.InvalidMessage;
    return this.verdict;
  }

  takeRequest(): RequestHeaders {
    return this.#request!;
  }

  takeResponse(): ResponseHeaders {
    return this.#response!;
  }

  takeTrailers(): HeaderMap {
    return this.#map;
  }
}

/** RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4. */
function requestIsWhole(request: RequestHeaders): boolean {
  if (request.method === '' || request.authority === null) return false;
  if (request.method === 'CONNECT') {
    if (request.protocol === null) return request.scheme === '' && request.path === null;
  } else if (request.protocol !== null) {
    return false;
  }
  const path = request.path;
  if (request.scheme === '' || path === null) return false;
  if (request.scheme !== 'http' && request.scheme !== 'https') return true;
  return path.charCodeAt(0) === 47 || (path === '*' && request.method === 'OPTIONS');
}
