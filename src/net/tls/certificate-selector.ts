import { X509Certificate } from 'node:crypto';
import { cipherNumber, DEFAULT_SERVER_CIPHERS, UNKNOWN_CIPHER, withoutGroups } from './cipher-names.ts';
import type { ClientHello } from './client-hello.ts';
import type { TlsCertificate, TlsServerSettings } from './tls-settings.ts';

const TLS_1_2 = 0x0303;
const TLS_1_3 = 0x0304;
/** IANA numbers of groups and of the signature schemes that stand for the same curves. */
const CURVES: ReadonlyMap<number, string> = new Map([
  [23, 'prime256v1'],
  [0x0403, 'prime256v1'],
  [24, 'secp384r1'],
  [0x0503, 'secp384r1'],
  [25, 'secp521r1'],
  [0x0603, 'secp521r1'],
]);
/** ECDHE-ECDSA suites of TLS 1.2 and older that BoringSSL knows; the first two are of older versions too. */
const ECDSA_SUITES: ReadonlySet<number> = new Set([0xc009, 0xc00a, 0xc023, 0xc02b, 0xc02c, 0xcca9]);
const LAST_OLD_SUITE = 0xc00a;
const NO_CURVES: readonly string[] = [];

/** Those of a list that the server would agree to. What is no name of a suite, such as `ALL`, could stand for any. */
function ecdsaSuitesOf(ciphers: string): ReadonlySet<number> {
  const numbers = withoutGroups(ciphers).split(':').map(cipherNumber);
  return numbers.includes(UNKNOWN_CIPHER) ? ECDSA_SUITES : new Set(numbers.filter((each) => ECDSA_SUITES.has(each)));
}

function curvesOf(numbers: readonly number[]): string[] {
  const out: string[] = [];
  for (const number of numbers) {
    const curve = CURVES.get(number);
    if (curve !== undefined) out.push(curve);
  }
  return out;
}

/** Candidates for one server name: the first certificate of each key type. */
interface Entry {
  ecdsa: number;
  rsa: number;
}

/** `found`: an index of certificates; `candidate`: of an RSA certificate that would do if nothing better is found; -1: none. */
interface Choice {
  found: number;
  candidate: number;
}

/**
 * Picks the certificate of a handshake by the client's server name and key types.
 * Source: Envoy, "Certificate selection" (arch_overview/security/ssl), DefaultTlsCertificateSelector.
 */
export class CertificateSelector {
  readonly #certificates: readonly TlsCertificate[];
  /** Of the leaf's key by index; empty: RSA. */
  readonly #curves: readonly string[];
  readonly #names = new Map<string, Entry>();
  readonly #fullScan: boolean;
  readonly #speaksTls13: boolean;
  readonly #ecdsaSuites: ReadonlySet<number>;

  constructor(settings: TlsServerSettings) {
    const { maxVersion, cipherSuites } = settings.parameters;
    this.#speaksTls13 = maxVersion === 'TLSv1.3';
    this.#ecdsaSuites = ecdsaSuitesOf(cipherSuites === '' ? DEFAULT_SERVER_CIPHERS : cipherSuites);
    this.#certificates = settings.certificates;
    this.#fullScan = settings.fullScanOnSniMismatch;
    this.#curves = settings.certificates.map(curveOf);
    for (const [index, certificate] of settings.certificates.entries()) {
      const { dnsNames, oids, subject } = certificate.leaf;
      // Without any subject alternative name, the common name stands in for them (RFC 6125 6.4.4).
      const names = oids.includes('2.5.29.17') ? dnsNames : [commonNameOf(subject)];
      for (const name of names) this.#add(name, index);
    }
  }

  #add(name: string, index: number): void {
    if (name === '') return;
    const pattern = name.startsWith('*.') ? name.slice(1) : name;
    let entry = this.#names.get(pattern);
    if (entry === undefined) {
      entry = { ecdsa: -1, rsa: -1 };
      this.#names.set(pattern, entry);
    }
    if (this.#curves[index] === '') {
      if (entry.rsa < 0) entry.rsa = index;
    } else if (entry.ecdsa < 0) {
      entry.ecdsa = index;
    }
  }

  /** There is something to choose. */
  get needsHello(): boolean {
    return this.#certificates.length > 1;
  }

  /** Curves of certificates that the client can check and that a session can be agreed upon with, by name; none: it wants RSA. */
  #ecdsaCurvesOf(hello: ClientHello): readonly string[] {
    if (this.#speaksTls13 && hello.supportedVersions()?.includes(TLS_1_3) === true) {
      return curvesOf(hello.signatureAlgorithms());
    }
    const curves = curvesOf(hello.supportedGroups());
    const isOld = hello.version < TLS_1_2;
    const agrees = (suite: number): boolean => this.#ecdsaSuites.has(suite) && (!isOld || suite <= LAST_OLD_SUITE);
    return curves.length > 0 && hello.cipherSuites.some(agrees) ? curves : NO_CURVES;
  }

  /** @returns the index of a certificate */
  select(sni: string, hello: ClientHello): number {
    const curves = this.#ecdsaCurvesOf(hello);
    if (sni !== '') {
      let index = this.#byName(sni, curves);
      if (index < 0) {
        const dot = sni.indexOf('.', 1);
        if (dot >= 0 && dot < sni.length - 1) index = this.#byName(sni.slice(dot), curves);
      }
      if (index >= 0) return index;
      if (!this.#fullScan) return 0;
    }
    const choice: Choice = { found: -1, candidate: -1 };
    for (let i = 0; i < this.#certificates.length && choice.found < 0; i++) this.#consider(choice, i, curves);
    return Math.max(choice.found >= 0 ? choice.found : choice.candidate, 0);
  }

  #byName(name: string, curves: readonly string[]): number {
    const entry = this.#names.get(name);
    if (entry === undefined) return -1;
    const choice: Choice = { found: -1, candidate: -1 };
    if (entry.ecdsa >= 0) this.#consider(choice, entry.ecdsa, curves);
    if (choice.found < 0 && entry.rsa >= 0) this.#consider(choice, entry.rsa, curves);
    return choice.found >= 0 ? choice.found : choice.candidate;
  }

  #consider(choice: Choice, index: number, curves: readonly string[]): void {
    const curve = this.#curves[index]!;
    if (curve === '' ? curves.length === 0 : curves.includes(curve)) choice.found = index;
    else if (curve === '' && choice.candidate < 0) choice.candidate = index;
  }
}

function curveOf(certificate: TlsCertificate): string {
  if (certificate.keyType === 'rsa') return '';
  return new X509Certificate(certificate.leaf.pem).publicKey.asymmetricKeyDetails?.namedCurve ?? 'unknown';
}

function commonNameOf(subject: string): string {
  return /(?:^|,)CN=((?:[^,\\]|\\.)*)/.exec(subject)?.[1]?.replace(/\\(.)/g, '$1') ?? '';
}
