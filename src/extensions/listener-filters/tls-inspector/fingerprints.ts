import { createHash } from 'node:crypto';
import { type ClientHello, isGrease } from '../../../net/tls/client-hello.ts';

const VERSION_TEXT: ReadonlyMap<number, string> = new Map([
  [0x0304, '13'],
  [0x0303, '12'],
  [0x0302, '11'],
  [0x0301, '10'],
]);
const SERVER_NAME = 0;
const ALPN = 16;
const NO_HASH = '000000000000';

const withoutGrease = (values: readonly number[]): number[] => values.filter((value) => !isGrease(value));
const types = (hello: ClientHello): number[] => withoutGrease(hello.extensions.map((each) => each.type));

/** MD5 of version, ciphers, extensions, groups and point formats. As in Envoy, GREASE among the groups stays. */
export function ja3(hello: ClientHello): string {
  const parts = [
    String(hello.version),
    withoutGrease(hello.cipherSuites).join('-'),
    types(hello).join('-'),
    hello.supportedGroups().join('-'),
    hello.pointFormats().join('-'),
  ];
  return createHash('md5').update(parts.join(',')).digest('hex');
}

const hex4 = (values: readonly number[]): string =>
  values.map((value) => value.toString(16).padStart(4, '0')).join(',');
const shortHash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);
const twoDigits = (count: number): string => String(Math.min(count, 99)).padStart(2, '0');

function isAlphanumeric(byte: number): boolean {
  const lower = byte | 32;
  return (byte >= 48 && byte <= 57) || (lower >= 97 && lower <= 122);
}

function alpnMark(hello: ClientHello): string {
  const name = hello.firstApplicationProtocol();
  if (name === null) return '00';
  const first = name[0]!;
  const last = name[name.length - 1]!;
  if (isAlphanumeric(first) && isAlphanumeric(last)) return String.fromCharCode(first, last);
  return (first >> 4).toString(16) + (last & 15).toString(16);
}

function versionMark(hello: ClientHello): string {
  const supported = hello.supportedVersions();
  if (supported === null && hello.hasSupportedVersions) return '00';
  const highest = Math.max(0, ...withoutGrease(supported ?? []));
  return VERSION_TEXT.get(highest === 0 ? hello.version : highest) ?? '00';
}

/** Source: FoxIO, JA4 (TLS client fingerprint). */
export function ja4(hello: ClientHello): string {
  const ciphers = withoutGrease(hello.cipherSuites).sort((a, b) => a - b);
  const extensions = types(hello);
  const hashed = extensions.filter((type) => type !== SERVER_NAME && type !== ALPN).sort((a, b) => a - b);
  const algorithms = hello.signatureAlgorithms();
  const name = hello.hasServerName ? 'd' : 'i';
  const counts = twoDigits(ciphers.length) + twoDigits(extensions.length);
  const cipherHash = ciphers.length === 0 ? NO_HASH : shortHash(hex4(ciphers));
  const extensionText = algorithms.length === 0 ? hex4(hashed) : `${hex4(hashed)}_${hex4(algorithms)}`;
  const extensionHash = hashed.length === 0 ? NO_HASH : shortHash(extensionText);
  return `t${versionMark(hello)}${name}${counts}${alpnMark(hello)}_${cipherHash}_${extensionHash}`;
}
