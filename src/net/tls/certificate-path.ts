import { X509Certificate } from 'node:crypto';
import { type Certificate, KeyUsage } from './certificate.ts';

const Purpose = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2', any: '2.5.29.37.0' } as const;
/** A peer sends what it likes: how often a signature may be checked for one handshake. */
const MAX_SIGNATURE_CHECKS = 64;
const MAX_PATH = 16;

/** Why there is no path, in BoringSSL's words, and where: 0 is the leaf. */
export interface PathFailure {
  readonly depth: number;
  readonly reason: string;
}

/** Whether the purposes of a certificate, leaf or authority, allow its holder the role of the peer. */
function allowsPurpose(certificate: Certificate, peer: 'server' | 'client'): boolean {
  const usages = certificate.extendedKeyUsage;
  return usages === null || usages.includes(Purpose[peer]) || usages.includes(Purpose.any);
}

/** Whether the key of a leaf may be used in a handshake of that role, as BoringSSL checks a purpose. */
function leafKeyUsageFits(certificate: Certificate, peer: 'server' | 'client'): boolean {
  const usage = certificate.keyUsage;
  if (usage < 0) return true;
  const wanted =
    peer === 'client'
      ? KeyUsage.DigitalSignature | KeyUsage.KeyAgreement
      : KeyUsage.DigitalSignature | KeyUsage.KeyEncipherment | KeyUsage.KeyAgreement;
  return (usage & wanted) !== 0;
}

/**
 * Builds a path from a leaf to a trust anchor (RFC 5280 6.1) without looking at the clock: the second opinion where the
 * runtime's verdict is about dates, or where the length of the path is asked for. What it does not understand (name
 * constraints, unknown critical extensions) makes a path invalid, never valid. Any anchor ends a path, be it a root or not
 * (X509_V_FLAG_PARTIAL_CHAIN, which Envoy sets).
 */
export class PathBuilder {
  readonly #anchors: readonly Certificate[];
  readonly #anchorIds: ReadonlySet<string>;

  constructor(anchors: readonly Certificate[]) {
    this.#anchors = anchors;
    this.#anchorIds = new Set(anchors.map((each) => each.sha256));
  }

  /**
   * @param presented what the peer sent besides, in any order
   * @param trusted the runtime has found a path and nothing wrong with it: only which path is asked
   * @returns leaf first, the anchor last
   */
  build(
    leaf: Certificate,
    presented: readonly Certificate[],
    peer: 'server' | 'client',
    trusted = false,
  ): Certificate[] | PathFailure {
    if (!trusted && leaf.hasUnknownConstraints) return { depth: 0, reason: 'unhandled critical extension' };
    if (!allowsPurpose(leaf, peer) || !leafKeyUsageFits(leaf, peer)) {
      return { depth: 0, reason: 'unsupported certificate purpose' };
    }
    const search = new Search(this.#anchorIds, [...this.#anchors, ...presented], peer, trusted);
    return search.extend([leaf]) ?? { depth: search.deepest, reason: 'unable to get local issuer certificate' };
  }
}

class Search {
  readonly #anchorIds: ReadonlySet<string>;
  readonly #candidates: readonly Certificate[];
  readonly #peer: 'server' | 'client';
  readonly #trusted: boolean;
  #checks = 0;
  deepest = 0;

  constructor(
    anchorIds: ReadonlySet<string>,
    candidates: readonly Certificate[],
    peer: 'server' | 'client',
    trusted: boolean,
  ) {
    this.#anchorIds = anchorIds;
    this.#candidates = candidates;
    this.#peer = peer;
    this.#trusted = trusted;
  }

  extend(path: readonly Certificate[]): Certificate[] | null {
    const last = path[path.length - 1]!;
    this.deepest = Math.max(this.deepest, path.length - 1);
    if (this.#anchorIds.has(last.sha256)) return [...path];
    if (path.length >= MAX_PATH) return null;
    for (const issuer of this.#candidates) {
      if (!issuer.subjectDer.equals(last.issuerDer) || path.some((each) => each.sha256 === issuer.sha256)) continue;
      if (!this.#mayIssue(issuer, path.length - 1) || !this.#hasSigned(issuer, last)) continue;
      const found = this.extend([...path, issuer]);
      if (found !== null) return found;
    }
    return null;
  }

  /** @param below authorities between it and the leaf */
  #mayIssue(issuer: Certificate, below: number): boolean {
    if (!issuer.isAuthority || !allowsPurpose(issuer, this.#peer)) return false;
    if (issuer.hasUnknownConstraints && !this.#trusted) return false;
    if (issuer.keyUsage >= 0 && (issuer.keyUsage & KeyUsage.CertSign) === 0) return false;
    return issuer.pathLength < 0 || below <= issuer.pathLength;
  }

  #hasSigned(issuer: Certificate, subject: Certificate): boolean {
    if (++this.#checks > MAX_SIGNATURE_CHECKS) return false;
    try {
      return new X509Certificate(subject.der).verify(new X509Certificate(issuer.der).publicKey);
    } catch {
      return false;
    }
  }
}
