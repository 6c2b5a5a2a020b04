/** IANA numbers by OpenSSL's names, of the suites that BoringSSL has. */
const NUMBERS: ReadonlyMap<string, number> = new Map([
  ['TLS_AES_128_GCM_SHA256', 0x1301],
  ['TLS_AES_256_GCM_SHA384', 0x1302],
  ['TLS_CHACHA20_POLY1305_SHA256', 0x1303],
  ['DES-CBC3-SHA', 0x000a],
  ['AES128-SHA', 0x002f],
  ['AES256-SHA', 0x0035],
  ['AES128-GCM-SHA256', 0x009c],
  ['AES256-GCM-SHA384', 0x009d],
  ['ECDHE-ECDSA-AES128-SHA', 0xc009],
  ['ECDHE-ECDSA-AES256-SHA', 0xc00a],
  ['ECDHE-RSA-AES128-SHA', 0xc013],
  ['ECDHE-RSA-AES256-SHA', 0xc014],
  ['ECDHE-ECDSA-AES128-SHA256', 0xc023],
  ['ECDHE-RSA-AES128-SHA256', 0xc027],
  ['ECDHE-ECDSA-AES128-GCM-SHA256', 0xc02b],
  ['ECDHE-ECDSA-AES256-GCM-SHA384', 0xc02c],
  ['ECDHE-RSA-AES128-GCM-SHA256', 0xc02f],
  ['ECDHE-RSA-AES256-GCM-SHA384', 0xc030],
  ['ECDHE-RSA-CHACHA20-POLY1305', 0xcca8],
  ['ECDHE-ECDSA-CHACHA20-POLY1305', 0xcca9],
]);

export const UNKNOWN_CIPHER = 0xffff;

/** IANA number of a cipher suite by its OpenSSL name. */
export function cipherNumber(name: string): number {
  return NUMBERS.get(name) ?? UNKNOWN_CIPHER;
}

/** Envoy's defaults; equal preference groups (`[a|b]`) are BoringSSL's own syntax. */
export const DEFAULT_SERVER_CIPHERS =
  '[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]:[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384';
export const DEFAULT_CLIENT_CIPHERS = DEFAULT_SERVER_CIPHERS;
/** Envoy's default; Node's OpenSSL does not know the first one before 3.5. */
export const DEFAULT_CURVES = 'Bun' in globalThis ? 'X25519MLKEM768:X25519:P-256' : 'X25519:P-256';

/** For OpenSSL, which knows no groups of equal preference. */
export function withoutGroups(ciphers: string): string {
  return ciphers.replace(/[[\]]/g, '').replaceAll('|', ':');
}

/** What BoringSSL verifies by default, as Envoy leaves it: no Ed25519, no ECDSA with SHA-512. */
export const DEFAULT_SIGNATURE_ALGORITHMS =
  'ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:rsa_pkcs1_sha256:ecdsa_secp384r1_sha384:rsa_pss_rsae_sha384:' +
  'rsa_pkcs1_sha384:rsa_pss_rsae_sha512:rsa_pkcs1_sha512:rsa_pkcs1_sha1';
