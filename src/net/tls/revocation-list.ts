import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type Certificate, KeyUsage } from './certificate.ts';
import { childrenOf, type DerElement, oidOf, readDer } from './der.ts';

/** Digests of the signature algorithms that are taken; null: the algorithm has its own. SHA-1 is taken no more. */
const DIGESTS: ReadonlyMap<string, string | null> = new Map([
  ['1.2.840.113549.1.1.11', 'sha256'],
  ['1.2.840.113549.1.1.12', 'sha384'],
  ['1.2.840.113549.1.1.13', 'sha512'],
  ['1.2.840.10045.4.3.2', 'sha256'],
  ['1.2.840.10045.4.3.3', 'sha384'],
  ['1.2.840.10045.4.3.4', 'sha512'],
  ['1.3.101.112', null],
]);

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const EXTENSIONS = 0xa0;
const BLOCK = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END/g;

/** A list of revoked certificates (RFC 5280 5.1), whole ones only: deltas and partial ones count as none. */
export class RevocationList {
  readonly issuerDer: Buffer;
  readonly #signed: Buffer;
  readonly #digest: string | null;
  readonly #signature: Buffer;
  readonly thisUpdateMs: number;
  readonly #nextUpdateMs: number;
  /** Hex of the numbers' contents. */
  readonly #serials = new Set<string>();

  /** @throws Error when it is malformed or not of a kind that is understood */
  constructor(der: Buffer) {
    const [body, , signature] = childrenOf(readDer(der));
    if (body === undefined || signature === undefined) throw new Error('no certificate revocation list');
    this.#signed = body.whole;
    this.#signature = signature.content.subarray(1);
    const fields = childrenOf(body);
    let at = fields[0]?.tag === INTEGER ? 1 : 0;
    const algorithm = oidOf(childrenOf(fields[at++]!)[0]);
    const digest = DIGESTS.get(algorithm);
    if (digest === undefined) throw new Error(`signed by an algorithm that is not known: ${algorithm}`);
    this.#digest = digest;
    this.issuerDer = fields[at++]!.whole;
    this.thisUpdateMs = timeOf(fields[at++]!);
    const next = fields[at];
    this.#nextUpdateMs = next !== undefined && isTime(next) ? timeOf(fields[at++]!) : Number.POSITIVE_INFINITY;
    const revoked = fields[at];
    if (revoked?.tag === SEQUENCE) {
      at++;
      for (const entry of childrenOf(revoked)) {
        const parts = childrenOf(entry);
        this.#serials.add(parts[0]!.content.toString('hex'));
        if (parts[2] !== undefined) refuseCritical(childrenOf(parts[2]));
      }
    }
    const extensions = fields[at];
    if (extensions?.tag === EXTENSIONS) refuseCritical(childrenOf(childrenOf(extensions)[0]!));
  }

  lists(certificate: Certificate): boolean {
    return this.#serials.has(certificate.serial.toString('hex'));
  }

  /** NaN compares false: a date that cannot be read is no valid one. */
  isCurrent(nowMs: number): boolean {
    return this.thisUpdateMs <= nowMs && nowMs <= this.#nextUpdateMs;
  }

  /** @returns empty: it may be relied on; otherwise X509_verify_cert's words */
  problem(issuer: Certificate, nowMs: number): string {
    if (issuer.keyUsage >= 0 && (issuer.keyUsage & KeyUsage.CrlSign) === 0) return 'unable to get certificate CRL';
    if (!this.#isSignedBy(issuer)) return 'CRL signature failure';
    if (this.isCurrent(nowMs)) return '';
    return this.thisUpdateMs <= nowMs ? 'CRL has expired' : 'CRL is not yet valid';
  }

  #isSignedBy(issuer: Certificate): boolean {
    try {
      const key: KeyObject = createPublicKey({ key: issuer.spki, format: 'der', type: 'spki' });
      return verify(this.#digest, this.#signed, key, this.#signature);
    } catch {
      return false;
    }
  }
}

/** All lists of a PEM text. @throws Error when one is malformed or not of a kind that is understood */
export function revocationListsOf(pem: string): RevocationList[] {
  return [...pem.matchAll(BLOCK)].map(([, base64 = '']) => new RevocationList(Buffer.from(base64, 'base64')));
}

/**
 * Looks for the certificates of a path in the lists of their issuers, as X509_verify_cert with CRL_CHECK (the leaf alone) or
 * CRL_CHECK_ALL.
 * @param path leaf first, the anchor last
 * @returns `depth N: reason`; empty: none is revoked
 */
export function revocationProblem(
  path: readonly Certificate[],
  lists: readonly RevocationList[],
  onlyLeaf: boolean,
  nowMs: number,
): string {
  const last = onlyLeaf ? 1 : path.length;
  for (let depth = 0; depth < last; depth++) {
    const certificate = path[depth]!;
    const issuer = path[depth + 1] ?? (certificate.subjectDer.equals(certificate.issuerDer) ? certificate : null);
    const list = issuer === null ? null : newestOf(lists, certificate.issuerDer, nowMs);
    let problem = 'unable to get certificate CRL';
    if (issuer !== null && list !== null) {
      problem = list.problem(issuer, nowMs);
      if (problem === '' && list.lists(certificate)) problem = 'certificate revoked';
    }
    if (problem !== '') return `${depth}: ${CRL_WORDS}${problem}`;
  }
  return '';
}

/** Of several lists of one issuer the newest counts, a current one before others; null: there is none. */
function newestOf(lists: readonly RevocationList[], issuerDer: Buffer, nowMs: number): RevocationList | null {
  let best: RevocationList | null = null;
  for (const list of lists) {
    if (!list.issuerDer.equals(issuerDer)) continue;
    const better =
      best === null ||
      (list.isCurrent(nowMs) === best.isCurrent(nowMs) ? list.thisUpdateMs > best.thisUpdateMs : list.isCurrent(nowMs));
    if (better) best = list;
  }
  return best;
}

/** What Envoy puts before the reasons that are about lists. */
export const CRL_WORDS = 'certificate revocation check against provided CRLs failed: ';

function refuseCritical(extensions: readonly DerElement[]): void {
  for (const extension of extensions) {
    const parts = childrenOf(extension);
    if (parts.length > 2 && parts[1]!.content[0] !== 0)
      throw new Error(`unknown critical extension ${oidOf(parts[0])}`);
  }
}

function isTime(element: DerElement): boolean {
  return element.tag === UTC_TIME || element.tag === GENERALIZED_TIME;
}

function timeOf(element: DerElement): number {
  const text = element.content.toString('latin1');
  const digits = element.tag === UTC_TIME ? `${Number(text.slice(0, 2)) < 50 ? '20' : '19'}${text}` : text;
  const match = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(digits);
  if (match === null) return Number.NaN;
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return Date.UTC(year, month - 1, day, hour, minute, second);
}
