import { createDecipheriv, createHash, createHmac, createPrivateKey, pbkdf2Sync, timingSafeEqual } from 'node:crypto';
import { childrenOf, type DerElement, DerError, integerOf, octetsOf, oidOf, readDer } from '../../net/tls/der.ts';
import { toPem } from './pem.ts';
import { decryptRc2 } from './rc2.ts';

/** What a PKCS#12 file holds for a server: leaf first, PEM. */
export interface Pkcs12Content {
  readonly certificates: readonly string[];
  readonly keyPem: string;
}

const DATA = '1.2.840.113549.1.7.1';
const ENCRYPTED_DATA = '1.2.840.113549.1.7.6';
const KEY_BAG = '1.2.840.113549.1.12.10.1.1';
const SHROUDED_KEY_BAG = '1.2.840.113549.1.12.10.1.2';
const CERT_BAG = '1.2.840.113549.1.12.10.1.3';
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1';
const LOCAL_KEY_ID = '1.2.840.113549.1.9.21';
const PBES2 = '1.2.840.113549.1.5.13';
const PBE_SHA1_3DES = '1.2.840.113549.1.12.1.3';
const PBE_SHA1_RC2_40 = '1.2.840.113549.1.12.1.6';

const DIGESTS: ReadonlyMap<string, string> = new Map([
  ['1.3.14.3.2.26', 'sha1'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
]);
const PBKDF2_DIGESTS: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.2.7', 'sha1'],
  ['1.2.840.113549.2.9', 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
]);
const CIPHERS: ReadonlyMap<string, { readonly name: string; readonly keyBytes: number }> = new Map([
  ['2.16.840.1.101.3.4.1.2', { name: 'aes-128-cbc', keyBytes: 16 }],
  ['2.16.840.1.101.3.4.1.22', { name: 'aes-192-cbc', keyBytes: 24 }],
  ['2.16.840.1.101.3.4.1.42', { name: 'aes-256-cbc', keyBytes: 32 }],
  ['1.2.840.113549.3.7', { name: 'des-ede3-cbc', keyBytes: 24 }],
]);
/** A file could ask for hours of hashing. */
const MAX_ITERATIONS = 10_000_000;

interface Bag {
  readonly keyId: string;
  readonly bytes: Buffer;
}

/**
 * Reads a PKCS#12 file (RFC 7292) whose integrity is protected by a password.
 * @throws Error when it is not one, the password is wrong, or it needs what is not known here
 */
export function readPkcs12(bytes: Buffer, password: string): Pkcs12Content {
  const [version, authSafe, mac] = childrenOf(readDer(bytes));
  if (integerOf(version) !== 3) throw new DerError('not of version 3');
  const content = contentOf(authSafe, DATA);
  if (mac === undefined) throw new Error('it is not protected by a password');
  checkMac(mac, content, password);
  const keys: Bag[] = [];
  const certificates: Bag[] = [];
  for (const info of childrenOf(readDer(content))) {
    const [type, body] = childrenOf(info);
    const inner =
      oidOf(type) === ENCRYPTED_DATA
        ? decryptContent(only(body), password)
        : oidOf(type) === DATA
          ? octetsOf(only(body))
          : null;
    if (inner === null) throw new Error(`content of type ${oidOf(type)} is not supported`);
    for (const bag of childrenOf(readDer(inner))) readBag(bag, password, keys, certificates);
  }
  const key = keys[0];
  if (key === undefined) throw new Error('it holds no private key');
  const leaf = certificates.find((bag) => bag.keyId !== '' && bag.keyId === key.keyId) ?? certificates[0];
  if (leaf === undefined) throw new Error('it holds no certificate');
  const ordered = [leaf, ...certificates.filter((bag) => bag !== leaf)];
  const keyObject = createPrivateKey({ key: key.bytes, format: 'der', type: 'pkcs8' });
  return {
    certificates: ordered.map((bag) => toPem('CERTIFICATE', bag.bytes)),
    keyPem: keyObject.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

function only(element: DerElement | undefined): DerElement {
  const child = element === undefined ? undefined : childrenOf(element)[0];
  if (child === undefined) throw new DerError('content is missing');
  return child;
}

function contentOf(info: DerElement | undefined, expected: string): Buffer {
  if (info === undefined) throw new DerError('content is missing');
  const [type, body] = childrenOf(info);
  if (oidOf(type) !== expected) throw new Error(`content of type ${oidOf(type)} is not supported`);
  return octetsOf(only(body));
}

function checkMac(mac: DerElement, content: Buffer, password: string): void {
  const [digestInfo, salt, rounds] = childrenOf(mac);
  const [algorithm, expected] = childrenOf(digestInfo!);
  const digest = DIGESTS.get(oidOf(childrenOf(algorithm!)[0]));
  if (digest === undefined) throw new Error('its digest is not supported');
  const size = createHash(digest).digest().length;
  const iterations = rounds === undefined ? 1 : integerOf(rounds);
  const key = deriveKey(digest, 3, password, octetsOf(salt), iterations, size);
  const actual = createHmac(digest, key).update(content).digest();
  const wanted = octetsOf(expected);
  if (wanted.length !== actual.length || !timingSafeEqual(wanted, actual)) throw new Error('the password is wrong');
}

function readBag(bag: DerElement, password: string, keys: Bag[], certificates: Bag[]): void {
  const [type, value, attributes] = childrenOf(bag);
  const keyId = keyIdOf(attributes);
  switch (oidOf(type)) {
    case KEY_BAG:
      keys.push({ keyId, bytes: only(value).whole });
      break;
    case SHROUDED_KEY_BAG: {
      const [algorithm, encrypted] = childrenOf(only(value));
      keys.push({ keyId, bytes: decrypt(algorithm!, octetsOf(encrypted), password) });
      break;
    }
    case CERT_BAG: {
      const [kind, wrapped] = childrenOf(only(value));
      if (oidOf(kind) === X509_CERTIFICATE) certificates.push({ keyId, bytes: octetsOf(only(wrapped)) });
      break;
    }
    default:
      // CRLs, secrets and further bags are of no use to a server.
      break;
  }
}

function keyIdOf(attributes: DerElement | undefined): string {
  if (attributes === undefined) return '';
  for (const attribute of childrenOf(attributes)) {
    const [type, values] = childrenOf(attribute);
    if (oidOf(type) === LOCAL_KEY_ID) return octetsOf(only(values)).toString('hex');
  }
  return '';
}

function decryptContent(data: DerElement, password: string): Buffer {
  const [, info] = childrenOf(data);
  const [, algorithm, encrypted] = childrenOf(info!);
  if (algorithm === undefined || encrypted === undefined) throw new DerError('content is missing');
  return decrypt(algorithm, octetsOf(encrypted), password);
}

function decrypt(algorithm: DerElement, encrypted: Buffer, password: string): Buffer {
  const [type, parameters] = childrenOf(algorithm);
  const scheme = oidOf(type);
  if (parameters === undefined) throw new DerError('parameters are missing');
  if (scheme === PBES2) return decryptPbes2(parameters, encrypted, password);
  const [salt, rounds] = childrenOf(parameters);
  const iterations = integerOf(rounds);
  if (scheme === PBE_SHA1_3DES) {
    const key = deriveKey('sha1', 1, password, octetsOf(salt), iterations, 24);
    const iv = deriveKey('sha1', 2, password, octetsOf(salt), iterations, 8);
    return decipher('des-ede3-cbc', key, iv, encrypted);
  }
  if (scheme === PBE_SHA1_RC2_40) {
    const key = deriveKey('sha1', 1, password, octetsOf(salt), iterations, 5);
    const iv = deriveKey('sha1', 2, password, octetsOf(salt), iterations, 8);
    return decryptRc2(key, 40, iv, encrypted);
  }
  throw new Error(`encryption ${scheme} is not supported`);
}

function decryptPbes2(parameters: DerElement, encrypted: Buffer, password: string): Buffer {
  const [derivation, encryption] = childrenOf(parameters);
  const [, settings] = childrenOf(derivation!);
  const [salt, rounds, ...rest] = childrenOf(settings!);
  const iterations = integerOf(rounds);
  if (iterations > MAX_ITERATIONS) throw new Error('it asks for too many rounds of hashing');
  const prf = rest.find((element) => element.tag === 0x30);
  const digest = prf === undefined ? 'sha1' : PBKDF2_DIGESTS.get(oidOf(childrenOf(prf)[0]));
  const [type, iv] = childrenOf(encryption!);
  const cipher = CIPHERS.get(oidOf(type));
  if (digest === undefined || cipher === undefined) throw new Error(`encryption ${oidOf(type)} is not supported`);
  const key = pbkdf2Sync(password, octetsOf(salt), iterations, cipher.keyBytes, digest);
  return decipher(cipher.name, key, octetsOf(iv), encrypted);
}

function decipher(name: string, key: Buffer, iv: Buffer, encrypted: Buffer): Buffer {
  const cipher = createDecipheriv(name, key, iv);
  return Buffer.concat([cipher.update(encrypted), cipher.final()]);
}

/**
 * The key derivation of PKCS#12 (RFC 7292, appendix B.2).
 * @param purpose 1: key, 2: initialisation vector, 3: integrity
 */
function deriveKey(
  digest: string,
  purpose: number,
  password: string,
  salt: Buffer,
  iterations: number,
  size: number,
): Buffer {
  if (iterations > MAX_ITERATIONS) throw new Error('it asks for too many rounds of hashing');
  const block = digest === 'sha384' || digest === 'sha512' ? 128 : 64;
  // Big-endian UTF-16 with a closing zero.
  const secret = Buffer.alloc((password.length + 1) * 2);
  for (let i = 0; i < password.length; i++) secret.writeUInt16BE(password.charCodeAt(i), i * 2);
  const input = Buffer.concat([repeated(salt, block), repeated(secret, block)]);
  const diversifier = Buffer.alloc(block, purpose);
  let out: Buffer = Buffer.alloc(0);
  while (out.length < size) {
    let hash = createHash(digest).update(diversifier).update(input).digest();
    for (let i = 1; i < iterations; i++) hash = createHash(digest).update(hash).digest();
    out = Buffer.concat([out, hash]);
    const addend = Buffer.alloc(block);
    for (let i = 0; i < block; i++) addend[i] = hash[i % hash.length]!;
    for (let at = 0; at < input.length; at += block) {
      let carry = 1;
      for (let i = block - 1; i >= 0; i--) {
        carry += input[at + i]! + addend[i]!;
        input[at + i] = carry & 0xff;
        carry >>= 8;
      }
    }
  }
  return out.subarray(0, size);
}

function repeated(bytes: Buffer, block: number): Buffer {
  const out = Buffer.alloc(Math.ceil(bytes.length / block) * block);
  for (let i = 0; i < out.length; i++) out[i] = bytes[i % bytes.length]!;
  return out;
}
