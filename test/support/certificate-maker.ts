/** Certificates of any kind, hostile ones too: built byte by byte and signed with keys made on the spot. */
import { createHash, createSign, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

function length(size: number): Buffer {
  if (size < 128) return Buffer.of(size);
  const bytes: number[] = [];
  for (let rest = size; rest > 0; rest >>= 8) bytes.unshift(rest & 0xff);
  return Buffer.of(0x80 | bytes.length, ...bytes);
}

/** One DER element (X.690). */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag), length(content.length), content]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes: number[] = [];
  for (const value of [first * 40 + second, ...rest]) {
    const groups = [value & 0x7f];
    for (let left = value >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(0x06, Buffer.from(bytes));
}

export function extension(type: string, value: Uint8Array, critical = false): Buffer {
  return sequence(oid(type), ...(critical ? [Buffer.of(1, 1, 0xff)] : []), der(0x04, value));
}

const name = (cn: string): Buffer => sequence(der(0x31, sequence(oid('2.5.4.3'), der(0x0c, Buffer.from(cn)))));

// --- extensions ---

export const dns = (text: string): Buffer => der(0x82, Buffer.from(text, 'latin1'));
export const uri = (text: string): Buffer => der(0x86, Buffer.from(text, 'latin1'));
export const email = (text: string): Buffer => der(0x81, Buffer.from(text, 'latin1'));
export const ip = (...bytes: readonly number[]): Buffer => der(0x87, Buffer.from(bytes));

export const altNames = (...names: readonly Buffer[]): Buffer => extension('2.5.29.17', sequence(...names));

/** @param pathLength -1: no limit */
export function authority(isAuthority = true, pathLength = -1): Buffer {
  const limit = pathLength < 0 ? [] : [der(0x02, Buffer.of(pathLength))];
  return extension('2.5.29.19', sequence(...(isAuthority ? [Buffer.of(1, 1, 0xff)] : []), ...limit), true);
}

/** @param bits the first eight of the key usage, the highest first: 0x80 digitalSignature, 0x20 keyEncipherment, 0x08 keyAgreement, 0x04 keyCertSign, 0x02 cRLSign */
export const keyUsage = (bits: number): Buffer => extension('2.5.29.15', der(0x03, Buffer.of(0, bits)), true);

export const Purpose = {
  server: '1.3.6.1.5.5.7.3.1',
  client: '1.3.6.1.5.5.7.3.2',
  any: '2.5.29.37.0',
  email: '1.3.6.1.5.5.7.3.4',
};
export const purposes = (...list: readonly string[]): Buffer => extension('2.5.29.37', sequence(...list.map(oid)));

/** Name constraints that permit, or exclude, names below a domain. */
export const nameConstraints = (kind: 'permitted' | 'excluded', domain: string): Buffer =>
  extension('2.5.29.30', sequence(der(kind === 'permitted' ? 0xa0 : 0xa1, sequence(dns(domain)))), true);

export const authorityKeyId = (id: Uint8Array): Buffer => extension('2.5.29.35', sequence(der(0x80, id)));

// --- certificates ---

export interface Keys {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export function ecKeys(curve = 'P-256'): Keys {
  return generateKeyPairSync('ec', { namedCurve: curve });
}

export function rsaKeys(bits = 2048): Keys {
  return generateKeyPairSync('rsa', { modulusLength: bits });
}

const DAY = 86_400_000;

function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return ms < Date.UTC(2050, 0) ? der(0x17, Buffer.from(digits.slice(2))) : der(0x18, Buffer.from(digits));
}

const SIGNATURES = {
  ec: { sha256: '1.2.840.10045.4.3.2', sha1: '1.2.840.10045.4.1' },
  rsa: { sha256: '1.2.840.113549.1.1.11', sha1: '1.2.840.113549.1.1.5' },
} as const;

export interface CertificateParts {
  readonly cn: string;
  readonly keys?: Keys;
  /** Null: it signs itself. */
  readonly issuer?: Made | null;
  /** Signs in the place of the issuer: a forgery. */
  readonly signer?: Keys;
  /** Instead of the issuer's common name. */
  readonly issuerCn?: string;
  readonly extensions?: readonly Buffer[];
  /** Days from now. */
  readonly from?: number;
  readonly to?: number;
  readonly serial?: Uint8Array;
  /** 1: without extensions. */
  readonly version?: 1 | 3;
  readonly digest?: 'sha256' | 'sha1';
  /** Of the outer signature algorithm alone, which should be that of the inner one. */
  readonly outerDigest?: 'sha256' | 'sha1';
}

/** A certificate with its key. */
export interface Made {
  readonly cn: string;
  readonly keys: Keys;
  readonly der: Buffer;
  readonly pem: string;
  readonly keyPem: string;
  readonly serial: Uint8Array;
  /** SHA-256, lower-case hex. */
  readonly sha256: string;
}

let made = 0;

function algorithm(keys: Keys, digest: 'sha256' | 'sha1'): Buffer {
  const isRsa = keys.privateKey.asymmetricKeyType === 'rsa';
  return sequence(oid(SIGNATURES[isRsa ? 'rsa' : 'ec'][digest]), ...(isRsa ? [Buffer.of(5, 0)] : []));
}

function bits(bytes: Uint8Array): Buffer {
  return der(0x03, Buffer.of(0), bytes);
}

function toPem(label: string, bytes: Buffer): string {
  return `-----BEGIN ${label}-----\n${bytes.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;
}

export function makeCertificate(parts: CertificateParts): Made {
  const keys = parts.keys ?? ecKeys();
  const signer = parts.signer ?? parts.issuer?.keys ?? keys;
  const serial = parts.serial ?? Buffer.of(0x10, ++made >> 8, made & 0xff);
  const digest = parts.digest ?? 'sha256';
  const isV1 = parts.version === 1;
  const body = sequence(
    ...(isV1 ? [] : [der(0xa0, Buffer.of(2, 1, 2))]),
    der(0x02, serial),
    algorithm(signer, digest),
    name(parts.issuerCn ?? parts.issuer?.cn ?? parts.cn),
    sequence(time(Date.now() + (parts.from ?? -30) * DAY), time(Date.now() + (parts.to ?? 3650) * DAY)),
    name(parts.cn),
    keys.publicKey.export({ type: 'spki', format: 'der' }),
    ...(isV1 || parts.extensions === undefined ? [] : [der(0xa3, sequence(...parts.extensions))]),
  );
  const signature = createSign(digest).update(body).sign(signer.privateKey);
  const bytes = sequence(body, algorithm(signer, parts.outerDigest ?? digest), bits(signature));
  return {
    cn: parts.cn,
    keys,
    der: bytes,
    pem: toPem('CERTIFICATE', bytes),
    keyPem: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    serial,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
}

/** A list of revoked certificates, as PEM. @param from days from now */
export function makeRevocationList(
  issuer: Made,
  revoked: readonly Made[],
  dates: { readonly from?: number; readonly to?: number; readonly signer?: Keys } = {},
): string {
  const signer = dates.signer ?? issuer.keys;
  const from = time(Date.now() + (dates.from ?? -1) * DAY);
  const entries = revoked.map((one) => sequence(der(0x02, one.serial), from));
  const body = sequence(
    Buffer.of(2, 1, 1),
    algorithm(signer, 'sha256'),
    name(issuer.cn),
    from,
    time(Date.now() + (dates.to ?? 3650) * DAY),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
  );
  return toPem('X509 CRL', sequence(body, algorithm(signer, 'sha256'), bits(sign('sha256', body, signer.privateKey))));
}
