import { CertificateFactsOf } from './certificate-facts.ts';
import { childrenOf, integerOf, oidOf, readDer } from './der.ts';

const Oid = {
  KeyUsage: '2.5.29.15',
  SubjectAltName: '2.5.29.17',
  BasicConstraints: '2.5.29.19',
  NameConstraints: '2.5.29.30',
  ExtendedKeyUsage: '2.5.29.37',
} as const;

/** Extensions whose meaning is looked at; another one that is critical makes a certificate useless (RFC 5280 4.2). */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  Oid.SubjectAltName,
  Oid.BasicConstraints,
  Oid.KeyUsage,
  Oid.ExtendedKeyUsage,
]);

/** Bits of a key usage (RFC 5280 4.2.1.3), the first as the highest of 16. */
export const KeyUsage = {
  DigitalSignature: 0x8000,
  KeyEncipherment: 0x2000,
  KeyAgreement: 0x0800,
  CertSign: 0x0400,
  CrlSign: 0x0200,
} as const;

/** A certificate with what the building of paths and the checks of a peer ask beside its facts (RFC 5280 4.2). */
export class Certificate extends CertificateFactsOf {
  /** `cA` of the basic constraints. */
  readonly isAuthority: boolean;
  /** Authorities allowed below this one; -1: no limit. */
  readonly pathLength: number;
  /** Bits of `KeyUsage`; -1: any. */
  readonly keyUsage: number;
  /** Object identifiers of the purposes; null: any. */
  readonly extendedKeyUsage: readonly string[] | null;
  /** It has a critical extension, or one that restricts whole chains, that is not understood here. */
  readonly hasUnknownConstraints: boolean;

  private constructor(der: Buffer) {
    super(der);
    const constraints = this.extension(Oid.BasicConstraints);
    const parts = constraints === null ? [] : childrenOf(readDer(constraints));
    this.isAuthority = parts[0]?.tag === 0x01 && parts[0].content[0] === 0xff;
    const limit = parts.find((part) => part.tag === 0x02);
    this.pathLength = limit === undefined ? -1 : integerOf(limit);
    const usage = this.extension(Oid.KeyUsage);
    const bits = usage === null ? null : readDer(usage).content;
    this.keyUsage = bits === null ? -1 : ((bits[1] ?? 0) << 8) | (bits[2] ?? 0);
    const purposes = this.extension(Oid.ExtendedKeyUsage);
    this.extendedKeyUsage = purposes === null ? null : childrenOf(readDer(purposes)).map(oidOf);
    this.hasUnknownConstraints = this.extensions.some(
      (each) => (each.critical && !UNDERSTOOD.has(each.oid)) || each.oid === Oid.NameConstraints,
    );
  }

  /** @returns null when it is malformed */
  static parse(der: Buffer): Certificate | null {
    try {
      return new Certificate(der);
    } catch {
      return null;
    }
  }
}

const BLOCK = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END/g;

/** The certificates of a PEM text, in its order; what is malformed is left out. */
export function certificatesOf(pem: string): Certificate[] {
  const out: Certificate[] = [];
  for (const [, base64 = ''] of pem.matchAll(BLOCK)) {
    const certificate = Certificate.parse(Buffer.from(base64, 'base64'));
    if (certificate !== null) out.push(certificate);
  }
  return out;
}
