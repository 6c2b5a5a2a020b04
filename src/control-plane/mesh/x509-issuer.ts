import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { toPem } from '../../config/secrets/pem.ts';
import type { Certificate } from '../../net/tls/certificate.ts';
import { childrenOf, readDer } from '../../net/tls/der.ts';
import { bitString, DerTag, element, objectId, positiveInteger, sequence, time } from './der-writer.ts';

const Oid = {
  EcdsaWithSha256: '1.2.840.10045.4.3.2',
  OrganizationName: '2.5.4.10',
  CommonName: '2.5.4.3',
  SubjectKeyId: '2.5.29.14',
  KeyUsage: '2.5.29.15',
  SubjectAltName: '2.5.29.17',
  BasicConstraints: '2.5.29.19',
  AuthorityKeyId: '2.5.29.35',
  ExtendedKeyUsage: '2.5.29.37',
  ServerAuth: '1.3.6.1.5.5.7.3.1',
  ClientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** Tags of GeneralName (RFC 5280 section 4.2.1.6). */
const NameTag = { Dns: 0x82, Uri: 0x86, Ip: 0x87 } as const;
/** Clocks of proxies may be behind ours by so much, ms. */
const SKEW_MS = 300_000;
const DAY_MS = 86_400_000;
const ROOT_DAYS = 3650;
const TRUE = Buffer.of(1, 1, 0xff);

const ALGORITHM = sequence(objectId(Oid.EcdsaWithSha256));

/** A key on P-256. */
export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

export function keyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}

function spkiOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' });
}

/** SHA-1 of the public key's bits: method 1 of RFC 5280 section 4.2.1.2. */
function keyIdOf(spki: Buffer): Buffer {
  const bits = childrenOf(readDer(spki))[1]!.content.subarray(1);
  return createHash('sha1').update(bits).digest();
}

function extension(oid: string, value: Buffer, critical = false): Buffer {
  return sequence(objectId(oid), ...(critical ? [TRUE] : []), element(DerTag.OctetString, value));
}

/** Bits of a key usage, the highest first; as DER wants it, without zeroes at the end. */
function keyUsage(bits: number): Buffer {
  let unused = 0;
  while (((bits >> unused) & 1) === 0) unused++;
  return extension(Oid.KeyUsage, bitString(Buffer.of(bits), unused), true);
}

function nameOf(parts: readonly (readonly [oid: string, text: string])[]): Buffer {
  const utf8 = (text: string): Buffer => element(DerTag.Utf8String, Buffer.from(text, 'utf8'));
  return sequence(...parts.map(([oid, text]) => element(DerTag.Set, sequence(objectId(oid), utf8(text)))));
}

function ipBytes(ip: string): Buffer {
  if (!ip.includes(':')) return Buffer.from(ip.split('.').map(Number));
  const [head = '', tail = ''] = ip.split('::');
  const groups = (text: string): number[] =>
    text.split(':').flatMap((each) => (each === '' ? [] : [parseInt(each, 16)]));
  const [front, back] = [groups(head), groups(tail)];
  const middle = ip.includes('::') ? new Array<number>(8 - front.length - back.length).fill(0) : [];
  return Buffer.from([...front, ...middle, ...back].flatMap((group) => [group >> 8, group & 0xff]));
}

/** The names that a certificate is for. */
export interface SubjectNames {
  /** A SPIFFE ID; empty: none. */
  readonly uri: string;
  readonly dns: readonly string[];
  readonly ips?: readonly string[];
}

function altNames({ uri, dns, ips = [] }: SubjectNames): Buffer {
  const text = (tag: number, value: string): Buffer => element(tag, Buffer.from(value, 'latin1'));
  return extension(
    Oid.SubjectAltName,
    sequence(
      ...(uri === '' ? [] : [text(NameTag.Uri, uri)]),
      ...dns.map((name) => text(NameTag.Dns, name)),
      ...ips.map((ip) => element(NameTag.Ip, ipBytes(ip))),
    ),
  );
}

interface Body {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly fromMs: number;
  readonly toMs: number;
  readonly spki: Buffer;
  readonly extensions: readonly Buffer[];
}

/** 16 random bytes: nobody can foresee a serial number (RFC 5280 section 4.1.2.2; CA/Browser Forum 7.1). */
function certificate(body: Body, signer: KeyObject): string {
  const unsigned = sequence(
    element(0xa0, Buffer.of(2, 1, 2)),
    positiveInteger(randomBytes(16)),
    ALGORITHM,
    body.issuer,
    sequence(time(body.fromMs), time(body.toMs)),
    body.subject,
    body.spki,
    element(0xa3, sequence(...body.extensions)),
  );
  return toPem('CERTIFICATE', sequence(unsigned, ALGORITHM, bitString(sign('sha256', unsigned, signer))));
}

/** A root that signs itself, as the SPIFFE X.509-SVID standard has its authorities. @returns PEM */
export function makeRoot(key: KeyObject, trustDomain: string, nowMs: number): string {
  const spki = spkiOf(key);
  const name = nameOf([
    [Oid.OrganizationName, trustDomain],
    [Oid.CommonName, `Nuncio mesh root ${new Date(nowMs).toISOString().slice(0, 10)}`],
  ]);
  return certificate(
    {
      issuer: name,
      subject: name,
      fromMs: nowMs - SKEW_MS,
      toMs: nowMs + ROOT_DAYS * DAY_MS,
      spki,
      extensions: [
        extension(Oid.BasicConstraints, sequence(TRUE), true),
        // keyCertSign, cRLSign
        keyUsage(0x06),
        extension(Oid.SubjectKeyId, element(DerTag.OctetString, keyIdOf(spki))),
        altNames({ uri: `spiffe://${trustDomain}`, dns: [] }),
      ],
    },
    key,
  );
}

export interface Issued {
  /** The leaf alone: its issuer is a root that peers have. */
  readonly chainPem: string;
  readonly keyPem: string;
  /** Unix ms. */
  readonly validFromMs: number;
  readonly validToMs: number;
}

/**
 * A certificate for both ends of TLS, with a key of its own.
 * @param toMs wished for; it ends with the root at the latest
 */
export function issue(
  root: Certificate,
  rootKey: KeyObject,
  trustDomain: string,
  names: SubjectNames,
  nowMs: number,
  toMs: number,
): Issued {
  const key = newKey();
  const spki = spkiOf(key);
  const validToMs = Math.min(toMs, root.validToMs);
  const chainPem = certificate(
    {
      issuer: root.subjectDer,
      subject: nameOf([[Oid.OrganizationName, trustDomain]]),
      fromMs: nowMs - SKEW_MS,
      toMs: validToMs,
      spki,
      extensions: [
        extension(Oid.BasicConstraints, sequence(), true),
        // digitalSignature
        keyUsage(0x80),
        extension(Oid.ExtendedKeyUsage, sequence(objectId(Oid.ServerAuth), objectId(Oid.ClientAuth))),
        extension(Oid.SubjectKeyId, element(DerTag.OctetString, keyIdOf(spki))),
        extension(Oid.AuthorityKeyId, sequence(element(0x80, keyIdOf(root.spki)))),
        altNames(names),
      ],
    },
    rootKey,
  );
  return { chainPem, keyPem: keyPem(key), validFromMs: nowMs, validToMs };
}
