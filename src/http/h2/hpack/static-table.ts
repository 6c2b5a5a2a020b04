import { KNOWN_NAMES } from '../../h1/known-names.ts';

/** RFC 7541 appendix A; the entry at 0 does not exist. */
const ENTRIES =
  ':authority|;:method|GET;:method|POST;:path|/;:path|/index.html;:scheme|http;:scheme|https;:status|200;:status|204;' +
  ':status|206;:status|304;:status|400;:status|404;:status|500;accept-charset|;accept-encoding|gzip, deflate;' +
  'accept-language|;accept-ranges|;accept|;access-control-allow-origin|;age|;allow|;authorization|;cache-control|;' +
  'content-disposition|;content-encoding|;content-language|;content-length|;content-location|;content-range|;' +
  'content-type|;cookie|;date|;etag|;expect|;expires|;from|;host|;if-match|;if-modified-since|;if-none-match|;if-range|;' +
  'if-unmodified-since|;last-modified|;link|;location|;max-forwards|;proxy-authenticate|;proxy-authorization|;range|;' +
  'referer|;refresh|;retry-after|;server|;set-cookie|;strict-transport-security|;transfer-encoding|;user-agent|;vary|;' +
  'via|;www-authenticate|';

export const STATIC_NAMES: readonly string[] = ['', ...ENTRIES.split(';').map((entry) => entry.split('|')[0]!)];
export const STATIC_VALUES: readonly string[] = ['', ...ENTRIES.split(';').map((entry) => entry.split('|')[1]!)];
/** Entries of the static table; dynamic ones are counted on from here. */
export const STATIC_COUNT = STATIC_NAMES.length - 1;

/**
 * What a field's name is: an index into KNOWN_NAMES, -1 for other names, or one of these for pseudo-headers. Worked out once per
 * entry of a table, so that a field that is only referred to costs no look at its bytes.
 */
export const Pseudo = {
  Method: 1000,
  Scheme: 1001,
  Authority: 1002,
  Path: 1003,
  Status: 1004,
  Protocol: 1005,
  Unknown: 1006,
} as const;
export const UNKNOWN_NAME = -1;

const PSEUDO_IDS: ReadonlyMap<string, number> = new Map([
  [':method', Pseudo.Method],
  [':scheme', Pseudo.Scheme],
  [':authority', Pseudo.Authority],
  [':path', Pseudo.Path],
  [':status', Pseudo.Status],
  [':protocol', Pseudo.Protocol],
]);

/** Id of a name that begins with a colon. */
export function pseudoId(name: string): number {
  return PSEUDO_IDS.get(name) ?? Pseudo.Unknown;
}

export const STATIC_IDS = Int16Array.from(STATIC_NAMES, (name) =>
  name.charCodeAt(0) === 58 ? pseudoId(name) : KNOWN_NAMES.indexOf(name),
);
