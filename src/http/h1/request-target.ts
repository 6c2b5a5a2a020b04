import { LOWER } from './known-names.ts';

const METHODS: ReadonlySet<string> = new Set(
  (
    'ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY OPTIONS ' +
    'PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE'
  ).split(' '),
);
const TOKEN_CHARACTERS = /^[!#$%&'*+\-.0-9A-Z^_`a-z|~]+$/;

/** Envoy takes a fixed list of methods unless `allow_custom_methods` is set. */
export function methodIsValid(method: string, custom: boolean): boolean {
  return custom ? TOKEN_CHARACTERS.test(method) : METHODS.has(method);
}

function isPathText(text: string, from: number): boolean {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    // DEL is refused later, with the other controls, by another code.
    if (c !== 9 && c !== 12 && (c < 33 || c > 127)) return false;
  }
  return true;
}

function isAlpha(c: number): boolean {
  const lower = c | 32;
  return lower >= 97 && lower <= 122;
}

function isDigit(c: number): boolean {
  return c >= 48 && c <= 57;
}

const HOST_MARKS = "!$%&'()*+,-.:;=@[]_~";
/** By code: what may stand in an authority, as nghttp2 has it. */
const IN_AUTHORITY = new Uint8Array(256);
for (let c = 0; c < 256; c++) {
  if (isAlpha(c) || isDigit(c) || HOST_MARKS.includes(String.fromCharCode(c))) IN_AUTHORITY[c] = 1;
}

/** The characters and the outer form of a request target, as Envoy's parser judges them (not RFC 3986). */
export function targetIsValid(target: string, connect: boolean): boolean {
  if (target === '') return false;
  const first = target.charCodeAt(0);
  if (first === 47 || first === 42) return isPathText(target, 1);
  let at = 0;
  if (!connect) {
    if (!isAlpha(first)) return false;
    while (at < target.length) {
      const c = target.charCodeAt(at);
      if (!isAlpha(c) && !isDigit(c) && c !== 43 && c !== 45 && c !== 46) break;
      at++;
    }
    if (!target.startsWith('://', at)) return false;
    at += 3;
  }
  const hostStart = at;
  while (at < target.length) {
    const c = target.charCodeAt(at);
    if (c === 47 || c === 63) break;
    if (!isAlpha(c) && !isDigit(c) && !HOST_MARKS.includes(target[at]!)) return false;
    at++;
  }
  if (target.substring(hostStart, at).includes('@@')) return false;
  return isPathText(target, at);
}

/** `HTTP/` digit `.` digit, or empty (HTTP/0.9). */
export function versionIsValid(version: string): boolean {
  if (version === '') return true;
  return (
    version.length === 8 &&
    version.startsWith('HTTP/') &&
    isDigit(version.charCodeAt(5)) &&
    version.charCodeAt(6) === 46 &&
    isDigit(version.charCodeAt(7))
  );
}

/**
 * Three runs of non-whitespace (the third may hold whitespace inside), as quiche splits first lines. Anything up to space
 * separates.
 */
export function splitFirstLine(line: string): [string, string, string] {
  let end = line.length;
  while (end > 0 && (line.charCodeAt(end - 1) === 10 || line.charCodeAt(end - 1) === 13)) end--;
  let at = 0;
  const parts: [string, string, string] = ['', '', ''];
  for (let part = 0; part < 3; part++) {
    while (at < end && line.charCodeAt(at) <= 32) at++;
    const start = at;
    if (part === 2) at = end;
    else while (at < end && line.charCodeAt(at) > 32) at++;
    let stop = at;
    while (stop > start && line.charCodeAt(stop - 1) <= 32) stop--;
    parts[part] = line.substring(start, stop);
  }
  return parts;
}

/** An absolute-form or authority-form target in its parts. */
export interface TargetParts {
  readonly scheme: string;
  /** Host with its port as written; without user information. */
  readonly host: string;
  /** Path and query; '' when a CONNECT target has none. */
  readonly path: string;
}

/** @returns null when the target is no URL that Envoy takes (its Utility::Url) */
export function parseAbsoluteTarget(target: string, connect: boolean): TargetParts | null {
  let scheme = '';
  let at = 0;
  if (!connect) {
    const mark = target.indexOf('://');
    if (mark <= 0) return null;
    for (let i = 0; i < mark; i++) scheme += String.fromCharCode(LOWER[target.charCodeAt(i) & 255]!);
    at = mark + 3;
  }
  let end = at;
  while (end < target.length) {
    const c = target.charCodeAt(end);
    if (c === 47 || c === 63 || c === 35) break;
    end++;
  }
  let host = target.substring(at, end);
  const user = host.indexOf('@');
  if (user >= 0) {
    if (connect) return null;
    host = host.substring(user + 1);
  }
  if (!hostAndPortIsValid(host, connect)) return null;
  const rest = target.substring(end);
  if (connect) return rest === '' ? { scheme, host, path: '' } : null;
  return { scheme, host, path: rest === '' ? '/' : rest };
}

function hostAndPortIsValid(host: string, portNeeded: boolean): boolean {
  let portAt: number;
  if (host.startsWith('[')) {
    const close = host.indexOf(']');
    if (close < 0) return false;
    portAt = close + 1;
    if (portAt < host.length && host[portAt] !== ':') return false;
  } else {
    portAt = host.indexOf(':');
    if (portAt < 0) portAt = host.length;
    if (portAt === 0) return false;
    for (let i = 0; i < portAt; i++) {
      const c = host.charCodeAt(i);
      if (!isAlpha(c) && !isDigit(c) && c !== 45 && c !== 46) return false;
    }
  }
  if (portAt === host.length) return !portNeeded;
  const port = host.substring(portAt + 1);
  if (port === '') return false;
  let value = 0;
  for (let i = 0; i < port.length; i++) {
    const digit = port.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return false;
    value = value * 10 + digit;
  }
  return value <= 65535;
}

/** nghttp2's set for :authority, which is what Envoy allows. */
export function authorityIsValid(authority: string): boolean {
  for (let i = 0; i < authority.length; i++) {
    if (IN_AUTHORITY[authority.charCodeAt(i)] !== 1) return false;
  }
  return true;
}
