import type { RequestHeaders } from '../http/header-map.ts';

/** What `path_with_escaped_slashes_action` does with `%2F` and `%5C`. */
export const EscapedSlashesAction = {
  KeepUnchanged: 1,
  RejectRequest: 2,
  UnescapeAndRedirect: 3,
  UnescapeAndForward: 4,
} as const;
export type EscapedSlashesAction = (typeof EscapedSlashesAction)[keyof typeof EscapedSlashesAction];

export interface PathNormalization {
  readonly normalizePath: boolean;
  readonly mergeSlashes: boolean;
  readonly escapedSlashes: EscapedSlashesAction;
}

/** Outcome for the connection manager: go on, answer 400, or answer 307 to the new path. */
export const PathVerdict = { Continue: 0, Reject: 1, Redirect: 2 } as const;
export type PathVerdict = (typeof PathVerdict)[keyof typeof PathVerdict];

/**
 * Changes `headers.path` as the connection manager is told: escaped slashes, then dot segments, then runs of slashes.
 * Source: Envoy, ConnectionManagerUtility::maybeNormalizePath. Rejection answers with detail `path_normalization_failed`.
 */
export function normalizeRequestPath(headers: RequestHeaders, settings: PathNormalization): PathVerdict {
  if (headers.path === null || headers.path === '*') return PathVerdict.Continue;
  // A fragment has no business in a request: proxies and servers disagree about it.
  if (headers.path.includes('#')) return PathVerdict.Reject;
  const action = settings.escapedSlashes;
  let redirect = false;
  if (action !== EscapedSlashesAction.KeepUnchanged) {
    const unescaped = unescapeSlashes(headers.path);
    if (unescaped !== headers.path) {
      // Envoy's access log shows a refused path unescaped too.
      headers.path = unescaped;
      if (action === EscapedSlashesAction.RejectRequest) return PathVerdict.Reject;
      redirect = action === EscapedSlashesAction.UnescapeAndRedirect;
    }
  }
  if (settings.normalizePath) {
    const normalized = normalizePath(headers.path);
    if (normalized === null) return PathVerdict.Reject;
    headers.path = normalized;
  }
  if (settings.mergeSlashes) headers.path = mergeSlashes(headers.path);
  return redirect ? PathVerdict.Redirect : PathVerdict.Continue;
}

/** `%2F` and `%5C` before the query become `/` and `\`. */
function unescapeSlashes(path: string): string {
  const query = path.indexOf('?');
  const end = query < 0 ? path.length : query;
  const percent = path.indexOf('%');
  if (percent < 0 || percent >= end) return path;
  const head = path.slice(0, end);
  return head.replace(/%2f/gi, '/').replace(/%5c/gi, '\\') + path.slice(end);
}

/** Runs of slashes before the query become one. */
export function mergeSlashes(path: string): string {
  const first = path.indexOf('//');
  if (first < 0) return path;
  const query = path.indexOf('?');
  if (query >= 0 && first > query) return path;
  const end = query < 0 ? path.length : query;
  const head = path.slice(0, end);
  // Envoy joins the parts between slashes: of nothing but slashes two remain, first and last.
  const merged = /^\/+$/.test(head) ? '//' : head.replace(/\/{2,}/g, '/');
  return merged + path.slice(end);
}

/** Characters before the query that are passed through as they are. Others are escaped, `%XX` of `UNRESERVED` decoded. */
const PLAIN_PATH = /^[A-Za-z0-9\-_~!$&'()*+,;=:@/[\]]*$/;

/**
 * RFC 3986 section 6.2.2 as Envoy's `normalize_path` does it (Chromium's URL canonicalisation): backslashes become slashes, dot
 * segments (written as `%2e` too) are resolved, `%XX` of unreserved characters is decoded, other bytes stay or are escaped.
 * The query is not touched.
 * @returns null when the path cannot be normalised (`%00`, a NUL, no leading slash, or nothing left): answer 400
 */
export function normalizePath(path: string): string | null {
  const query = path.indexOf('?');
  const end = query < 0 ? path.length : query;
  const head = query < 0 ? path : path.slice(0, end);
  if (head.charCodeAt(0) === 47 && PLAIN_PATH.test(head)) return path;
  const canonical = canonicalizePath(head);
  return canonical === null ? null : canonical + path.slice(end);
}

const HEX = '0123456789ABCDEF';
const SLASH = 47;
const BACKSLASH = 92;
const DOT = 46;
const PERCENT = 37;
const SEMICOLON = 59;

function isUnreserved(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 65 && code <= 90) ||
    (code >= 48 && code <= 57) ||
    code === 45 ||
    code === DOT ||
    code === 95 ||
    code === 126
  );
}

/** Codes that Chromium escapes in paths: controls, space, `"`, `#`, `<`, `>`, `?`, `^`, `` ` ``, `{`, `|`, `}` and beyond ASCII. */
function mustEscape(code: number): boolean {
  if (code <= 32 || code >= 123) return code !== 126;
  return code === 34 || code === 35 || code === 60 || code === 62 || code === 63 || code === 94 || code === 96;
}

function hexValue(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 65 && code <= 70) return code - 55;
  if (code >= 97 && code <= 102) return code - 87;
  return -1;
}

/** 1: one dot at `at`, 3: `%2e`, 0: none. */
function dotLength(text: string, at: number): number {
  if (text.charCodeAt(at) === DOT) return 1;
  return text.charCodeAt(at) === PERCENT && text.charCodeAt(at + 1) === 50 && (text.charCodeAt(at + 2) | 32) === 101
    ? 3
    : 0;
}

function isSlash(code: number): boolean {
  return code === SLASH || code === BACKSLASH;
}

function canonicalizePath(text: string): string | null {
  let out = isSlash(text.charCodeAt(0)) ? '' : '/';
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (isSlash(code)) {
      out += '/';
      at++;
      continue;
    }
    const dot = dotLength(text, at);
    if (dot > 0 && out.endsWith('/')) {
      const second = dotLength(text, at + dot);
      const length = dot + second;
      let next = at + length;
      // A path parameter behind plain dots does not hide them: `/a/..;x/b` is `/b`. (Envoy leaves `%2e;` as it stands.)
      if (dot === 1 && second < 3 && text.charCodeAt(next) === SEMICOLON) {
        while (next < text.length && !isSlash(text.charCodeAt(next))) next++;
      }
      const segmentEnds = next >= text.length || isSlash(text.charCodeAt(next));
      if (segmentEnds) {
        // `.` vanishes with its slash; `..` takes the segment before it along.
        if (second > 0) out = withoutLastSegment(out);
        at = next < text.length ? next + 1 : next;
        continue;
      }
    }
    if (dot === 1) {
      out += '.';
      at++;
      continue;
    }
    if (code === PERCENT) {
      const high = hexValue(text.charCodeAt(at + 1));
      const low = hexValue(text.charCodeAt(at + 2));
      if (high >= 0 && low >= 0) {
        const value = high * 16 + low;
        if (value === 0) return null;
        out += isUnreserved(value) ? String.fromCharCode(value) : text.slice(at, at + 3);
        at += 3;
      } else {
        out += '%';
        at++;
      }
      continue;
    }
    if (code === 0) return null;
    out += mustEscape(code) ? `%${HEX[code >> 4]}${HEX[code & 15]}` : String.fromCharCode(code);
    at++;
  }
  return out;
}

/** `/a/b/` → `/a/`; the first slash stays. */
function withoutLastSegment(path: string): string {
  const before = path.lastIndexOf('/', path.length - 2);
  return before < 0 ? '/' : path.slice(0, before + 1);
}
