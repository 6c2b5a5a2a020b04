/** Ids of the names that the codec itself looks at. */
export const NameId = {
  Host: 0,
  ContentLength: 1,
  TransferEncoding: 2,
  Connection: 3,
  Upgrade: 4,
} as const;

/** Names of which Envoy keeps one entry per request: a further one is appended to the first with a comma (its O(1) headers). */
const SINGLE_IN_REQUESTS =
  'host content-length transfer-encoding connection upgrade accept accept-encoding access-control-request-headers ' +
  'access-control-request-method access-control-request-private-network authorization cache-control cdn-loop ' +
  'content-encoding content-type expect grpc-accept-encoding grpc-timeout if-match if-modified-since if-none-match if-range ' +
  'if-unmodified-since keep-alive origin pragma proxy-connection proxy-status referer te user-agent via x-client-trace-id ' +
  'x-envoy-attempt-count x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node ' +
  'x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace x-envoy-internal x-envoy-ip-tags ' +
  'x-envoy-is-timeout-retry x-envoy-max-retries x-envoy-original-host x-envoy-original-path x-envoy-retry-on ' +
  'x-envoy-upstream-rq-timeout-ms x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port ' +
  'x-forwarded-proto x-request-id';
/** The same for responses. */
const SINGLE_IN_RESPONSES =
  'content-length transfer-encoding connection upgrade access-control-allow-credentials access-control-allow-headers ' +
  'access-control-allow-methods access-control-allow-origin access-control-allow-private-network ' +
  'access-control-expose-headers access-control-max-age age cache-control content-encoding content-type date etag expires ' +
  'grpc-message grpc-status keep-alive last-modified location proxy-connection proxy-status server vary via ' +
  'x-envoy-attempt-count x-envoy-decorator-operation x-envoy-degraded x-envoy-immediate-health-check-fail ' +
  'x-envoy-ratelimited x-envoy-upstream-canary x-envoy-upstream-healthchecked-cluster x-envoy-upstream-service-time ' +
  'x-request-id';

/** Others that are common enough to be kept as strings already made. */
const REPEATED = [
  'accept',
  'accept-charset',
  'accept-encoding',
  'accept-language',
  'accept-ranges',
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-origin',
  'access-control-expose-headers',
  'access-control-max-age',
  'access-control-request-headers',
  'access-control-request-method',
  'age',
  'allow',
  'alt-svc',
  'authorization',
  'b3',
  'baggage',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-location',
  'content-range',
  'content-security-policy',
  'cookie',
  'dnt',
  'etag',
  'expires',
  'forwarded',
  'from',
  'http2-settings',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'link',
  'origin',
  'pragma',
  'priority',
  'proxy-authenticate',
  'proxy-authorization',
  'range',
  'referer',
  'referrer-policy',
  'retry-after',
  'sec-ch-ua',
  'sec-ch-ua-mobile',
  'sec-ch-ua-platform',
  'sec-fetch-dest',
  'sec-fetch-mode',
  'sec-fetch-site',
  'sec-fetch-user',
  'sec-websocket-accept',
  'sec-websocket-extensions',
  'sec-websocket-key',
  'sec-websocket-protocol',
  'sec-websocket-version',
  'set-cookie',
  'strict-transport-security',
  'traceparent',
  'tracestate',
  'trailer',
  'upgrade-insecure-requests',
  'vary',
  'warning',
  'www-authenticate',
  'x-api-key',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-spanid',
  'x-b3-traceid',
  'x-content-type-options',
  'x-correlation-id',
  'x-envoy-attempt-count',
  'x-envoy-decorator-operation',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-external-address',
  'x-envoy-internal',
  'x-envoy-max-retries',
  'x-envoy-original-path',
  'x-envoy-peer-metadata',
  'x-envoy-peer-metadata-id',
  'x-envoy-retry-on',
  'x-envoy-upstream-service-time',
  'x-forwarded-scheme',
  'x-frame-options',
  'x-ot-span-context',
  'x-powered-by',
  'x-real-ip',
  'x-requested-with',
  'x-xss-protection',
] as const;

/** Index: id. The names of `NameId` come first, in its order. */
export const KNOWN_NAMES: readonly string[] = [
  ...new Set([...SINGLE_IN_REQUESTS.split(' '), ...SINGLE_IN_RESPONSES.split(' '), ...REPEATED]),
];
/** By id: 1 when requests have one entry of it. */
export const SINGLE_IN_REQUEST = new Uint8Array(KNOWN_NAMES.length);
/** By id: 1 when responses have one entry of it. */
export const SINGLE_IN_RESPONSE = new Uint8Array(KNOWN_NAMES.length);
for (const name of SINGLE_IN_REQUESTS.split(' ')) SINGLE_IN_REQUEST[KNOWN_NAMES.indexOf(name)] = 1;
for (const name of SINGLE_IN_RESPONSES.split(' ')) SINGLE_IN_RESPONSE[KNOWN_NAMES.indexOf(name)] = 1;

/** Bits of CLASS. */
export const TOKEN = 1;
/** Never allowed in a head: controls other than tab, CR and LF (quiche: kInvalidHeaderCharList). */
export const FORBIDDEN = 2;

/** What each byte may be. */
export const CLASS = new Uint8Array(256);
/** Lower case of each byte that is an ASCII letter; others as they are. */
export const LOWER = new Uint8Array(256);
for (let c = 0; c < 256; c++) {
  LOWER[c] = c >= 65 && c <= 90 ? c + 32 : c;
  if ((c < 32 && c !== 9 && c !== 10 && c !== 13) || c === 127) CLASS[c] = FORBIDDEN;
}
/** Lower case of each byte that a header name may hold; 0 for the others. */
export const NAME_BYTE = new Uint8Array(256);
for (const c of "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~") {
  CLASS[c.charCodeAt(0)] = TOKEN;
  NAME_BYTE[c.charCodeAt(0)] = LOWER[c.charCodeAt(0)]!;
}

const TABLE_BITS = 10;
const TABLE = new Int16Array(1 << TABLE_BITS).fill(-1);
const TABLE_MASK = TABLE.length - 1;

/** One step of the hash over lower-case bytes; begin with 0. */
function hashOf(name: string): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0;
  return hash;
}

KNOWN_NAMES.forEach((name, id) => {
  const hash = hashOf(name);
  let at = (hash ^ (hash >>> 12)) & TABLE_MASK;
  while (TABLE[at]! >= 0) at = (at + 1) & TABLE_MASK;
  TABLE[at] = id;
});

/** The names' bytes behind one another, and where each begins. */
const NAME_TEXT = Buffer.from(KNOWN_NAMES.join(''), 'latin1');
const NAME_START = new Uint16Array(KNOWN_NAMES.length + 1);
KNOWN_NAMES.forEach((name, id) => {
  NAME_START[id + 1] = NAME_START[id]! + name.length;
});

/**
 * Id of the known name in `bytes[start..end)`, in any case; -1 when it is not a known one.
 * @param hash the bytes' hash: `hash = (Math.imul(hash, 31) + NAME_BYTE[byte]) | 0` for each, from 0
 */
export function knownName(bytes: Uint8Array, start: number, end: number, hash: number): number {
  const size = end - start;
  let at = (hash ^ (hash >>> 12)) & TABLE_MASK;
  for (;;) {
    const id = TABLE[at]!;
    if (id < 0) return -1;
    const from = NAME_START[id]!;
    if (NAME_START[id + 1]! - from === size) {
      let i = 0;
      while (i < size && NAME_BYTE[bytes[start + i]!] === NAME_TEXT[from + i]) i++;
      if (i === size) return id;
    }
    at = (at + 1) & TABLE_MASK;
  }
}
