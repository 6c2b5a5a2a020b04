import { Certificate, certificatesOf } from './certificate.ts';
import type { SubjectAltName } from './certificate-facts.ts';
import { PathBuilder } from './certificate-path.ts';
import { dnsNameMatches } from './dns-name-match.ts';
import { CRL_WORDS, type RevocationList, revocationListsOf, revocationProblem } from './revocation-list.ts';
import { SanType, type TlsValidation } from './tls-settings.ts';

/** Words of X509_verify_cert for the codes by which the runtimes (Node, Bun) tell them. */
const REASONS: Readonly<Record<string, string>> = {
  __proto__: null as unknown as string,
  UNABLE_TO_GET_ISSUER_CERT: 'unable to get issuer certificate',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unable to get local issuer certificate',
  // With X509_V_FLAG_PARTIAL_CHAIN, which Envoy sets, the search ends by this instead.
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unable to get local issuer certificate',
  UNABLE_TO_GET_CRL: 'unable to get certificate CRL',
  CERT_SIGNATURE_FAILURE: 'certificate signature failure',
  CERT_NOT_YET_VALID: 'certificate is not yet valid',
  CERT_HAS_EXPIRED: 'certificate has expired',
  CRL_NOT_YET_VALID: 'CRL is not yet valid',
  CRL_HAS_EXPIRED: 'CRL has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'self signed certificate',
  SELF_SIGNED_CERT_IN_CHAIN: 'self signed certificate in certificate chain',
  CERT_CHAIN_TOO_LONG: 'certificate chain too long',
  CERT_REVOKED: 'certificate revoked',
  INVALID_CA: 'invalid CA certificate',
  PATH_LENGTH_EXCEEDED: 'path length constraint exceeded',
  INVALID_PURPOSE: 'unsupported certificate purpose',
  CERT_UNTRUSTED: 'certificate not trusted',
  CERT_REJECTED: 'certificate rejected',
  // Whatever the runtimes have no code for: names outside of an authority's constraints, malformed extensions.
  UNSPECIFIED: 'Unknown certificate verification error',
};

/** Verdicts about dates alone: another error may be hidden behind them. */
const ABOUT_TIME: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);
/** Verdicts that a runtime without partial chains gives where an intermediate authority is the anchor. */
const ABOUT_ISSUERS: ReadonlySet<string> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

const ABOUT_LISTS: ReadonlySet<string> = new Set([
  'CERT_REVOKED',
  'UNABLE_TO_GET_CRL',
  'CRL_NOT_YET_VALID',
  'CRL_HAS_EXPIRED',
  'CRL_SIGNATURE_FAILURE',
]);

export const VerifyStat = { None: 0, Error: 1, San: 2, Hash: 3 } as const;
export type VerifyStat = (typeof VerifyStat)[keyof typeof VerifyStat];

export interface Verdict {
  readonly accepted: boolean;
  /** Checked against a CA, names or pins, with success. */
  readonly validated: boolean;
  readonly stat: VerifyStat;
  /** For the failure text; empty when accepted. */
  readonly detail: string;
}

const ACCEPTED_VALIDATED: Verdict = { accepted: true, validated: true, stat: VerifyStat.None, detail: '' };
const ACCEPTED: Verdict = { accepted: true, validated: false, stat: VerifyStat.None, detail: '' };

/** What there is to judge of one handshake. */
export interface PeerEvidence {
  /** Code of the runtime's verdict about the chain; empty: it is trusted. */
  readonly chainError: string;
  /** DER of the leaf. */
  readonly leaf: Buffer;
  /** DER of the leaf and of what the peer sent behind it; the runtime may have added the anchor. */
  chain(): Buffer[];
  /** The session was resumed: the runtime's verdict is of an earlier day. */
  readonly resumed: boolean;
  /** Envoy: verify_subject_alt_name override of the transport socket options. */
  readonly sanOverride: readonly string[];
  /** For `auto_sni_san_validation`; empty: not asked for. */
  readonly sniToMatch: string;
}

/**
 * Judges the certificate of a peer: the runtime's verdict about the chain together with checks of our own.
 * Source: Envoy, "Certificate validation context" and DefaultCertValidator, whose order and words are kept.
 */
export class PeerVerifier {
  readonly #validation: TlsValidation;
  readonly #peer: 'server' | 'client';
  readonly #paths: PathBuilder;
  /** Lists that were kept from the runtime, see `checksRevocationHere`. */
  readonly #ownsRevocation: boolean;
  readonly #lists: readonly RevocationList[];
  readonly #now: () => number;

  constructor(validation: TlsValidation, peer: 'server' | 'client', now: () => number) {
    this.#validation = validation;
    this.#peer = peer;
    this.#now = now;
    this.#paths = new PathBuilder(certificatesOf(validation.trustedCaPem));
    this.#ownsRevocation = checksRevocationHere(validation);
    this.#lists = this.#ownsRevocation ? revocationListsOf(validation.crlPem) : [];
  }

  verify(evidence: PeerEvidence): Verdict {
    const leaf = Certificate.parse(evidence.leaf);
    if (leaf === null) return this.#failed(VerifyStat.Error, 'verify cert failed: malformed certificate');
    let validated = false;
    if (checksChain(this.#validation)) {
      const problem = this.#chainProblem(evidence, leaf);
      if (problem !== '') {
        if (this.#validation.acceptUntrusted)
          return { accepted: true, validated: false, stat: VerifyStat.Error, detail: '' };
        const detail = `verify cert failed: X509_verify_cert: certificate verification error at depth ${problem}`;
        return this.#failed(VerifyStat.Error, detail);
      }
      validated = true;
    }
    return this.#verifyLeaf(evidence, leaf, validated);
  }

  #failed(stat: VerifyStat, detail: string): Verdict {
    return { accepted: this.#validation.acceptUntrusted, validated: false, stat, detail };
  }

  /** @returns `N: reason` behind `depth`; empty: the chain is trusted */
  #chainProblem(evidence: PeerEvidence, leaf: Certificate): string {
    const { allowExpired, maxVerifyDepth } = this.#validation;
    const code = evidence.chainError;
    if (code === '') {
      if (evidence.resumed && !allowExpired && this.#now() > leaf.validToMs) return `0: ${REASONS.CERT_HAS_EXPIRED}`;
      // Without these, nothing is left to ask of the path.
      if (maxVerifyDepth < 0 && !this.#ownsRevocation) return '';
      return this.#pathProblem(evidence, leaf, false);
    }
    // Lists are the runtime's to judge, unless they were kept from it: with them its verdict stands.
    if (this.#validation.crlPem !== '' && !this.#ownsRevocation) return this.#reason(code, evidence);
    if (ABOUT_TIME.has(code) || ABOUT_ISSUERS.has(code)) {
      const problem = this.#pathProblem(evidence, leaf, !allowExpired);
      return problem === '' && ABOUT_TIME.has(code) && !allowExpired ? `0: ${REASONS[code]}` : problem;
    }
    return this.#reason(code, evidence);
  }

  #reason(code: string, evidence: PeerEvidence): string {
    const words = REASONS[code] ?? code;
    return `${depthOf(code, evidence.chain(), this.#now())}: ${ABOUT_LISTS.has(code) ? CRL_WORDS : ''}${words}`;
  }

  #pathProblem(evidence: PeerEvidence, leaf: Certificate, checkTime: boolean): string {
    const others: Certificate[] = [];
    for (const der of evidence.chain()) {
      const certificate = Certificate.parse(der);
      if (certificate !== null && !certificate.der.equals(leaf.der)) others.push(certificate);
    }
    const path = this.#paths.build(leaf, others, this.#peer, evidence.chainError === '');
    if (!Array.isArray(path)) return `${path.depth}: ${path.reason}`;
    const { maxVerifyDepth, verifyOnlyLeafCrl } = this.#validation;
    const limit = Math.max(maxVerifyDepth, 1);
    // The search ends before it comes to an anchor.
    if (maxVerifyDepth >= 0 && path.length - 1 > limit) return `${limit}: ${REASONS.UNABLE_TO_GET_ISSUER_CERT_LOCALLY}`;
    const now = this.#now();
    for (let depth = path.length - 1; checkTime && depth >= 0; depth--) {
      const certificate = path[depth]!;
      // NaN compares false: a date that cannot be read is no valid one.
      if (!(certificate.validFromMs <= now)) return `${depth}: ${REASONS.CERT_NOT_YET_VALID}`;
      if (!(now <= certificate.validToMs)) return `${depth}: ${REASONS.CERT_HAS_EXPIRED}`;
    }
    return this.#ownsRevocation ? revocationProblem(path, this.#lists, verifyOnlyLeafCrl, now) : '';
  }

  #verifyLeaf(evidence: PeerEvidence, leaf: Certificate, chainValidated: boolean): Verdict {
    const { sanMatchers, certificateHashes, spkiHashes } = this.#validation;
    let validated = chainValidated;
    if (evidence.sanOverride.length > 0) {
      if (!matchesAny(leaf, evidence.sanOverride)) {
        const wanted = evidence.sanOverride.join(', ');
        const text = `verify cert failed: verify SAN list, expected SANs: [${wanted}], certificate SANs: [${sansOf(leaf)}]`;
        return this.#failed(VerifyStat.San, text);
      }
      validated = true;
    }
    const sni = evidence.sanOverride.length > 0 ? '' : evidence.sniToMatch;
    if (sni !== '' || sanMatchers.length > 0) {
      const names = leaf.subjectAltNames;
      const matched =
        sni === ''
          ? sanMatchers.some((matcher) =>
              names.some(
                (name) => name.type === matcher.type && name.oid === matcher.oid && matcher.matches(textOf(name)),
              ),
            )
          : names.some((name) => name.type === SanType.Dns && dnsNameMatches(sni, name.value));
      if (!matched) {
        return this.#failed(VerifyStat.San, `verify cert failed: SAN matcher, certificate SANs are [${sansOf(leaf)}]`);
      }
      validated = true;
    }
    if (certificateHashes.length > 0 || spkiHashes.length > 0) {
      if (!certificateHashes.includes(leaf.sha256) && !spkiHashes.includes(leaf.spkiSha256)) {
        return this.#failed(VerifyStat.Hash, 'verify cert failed: cert hash and spki');
      }
      validated = true;
    }
    return validated ? ACCEPTED_VALIDATED : ACCEPTED;
  }
}

/**
 * The runtimes check the lists of all authorities, and do not look at them behind another verdict: the leaf's list alone, and
 * lists together with certificates that may have expired, are checked here.
 */
export function checksRevocationHere(validation: TlsValidation): boolean {
  return validation.crlPem !== '' && (validation.verifyOnlyLeafCrl || validation.allowExpired);
}

/** The runtime does not tell the depth of its verdict: it is found out for those that are about issuers. */
function depthOf(code: string, chain: readonly Buffer[], now: number): number {
  let depth = 0;
  if (ABOUT_ISSUERS.has(code) || code === 'SELF_SIGNED_CERT_IN_CHAIN') {
    for (; depth + 1 < chain.length; depth++) {
      const one = Certificate.parse(chain[depth]!);
      const next = Certificate.parse(chain[depth + 1]!);
      if (one === null || next === null || !next.isAuthority || !next.subjectDer.equals(one.issuerDer)) break;
      if (one.issuerDer.equals(one.subjectDer)) break;
    }
  } else if (ABOUT_TIME.has(code)) {
    for (let at = chain.length - 1; at > depth; at--) {
      const one = Certificate.parse(chain[at]!);
      if (one !== null && (now > one.validToMs || now < one.validFromMs)) depth = at;
    }
  }
  return depth;
}

/** A code about a chain, not about the connection. */
export function isChainVerdict(code: string): boolean {
  return code in REASONS;
}

export function checksChain(validation: TlsValidation): boolean {
  return validation.trustedCaPem !== '' || validation.systemRoots;
}

/** Names or keys are checked: without a certificate there is nothing to check them on. */
export function needsCertificate(validation: TlsValidation): boolean {
  const { sanMatchers, certificateHashes, spkiHashes, acceptUntrusted } = validation;
  return !acceptUntrusted && sanMatchers.length + certificateHashes.length + spkiHashes.length > 0;
}

function matchesAny(leaf: Certificate, wanted: readonly string[]): boolean {
  return leaf.subjectAltNames.some((name) =>
    wanted.some((each) => (name.type === SanType.Dns ? dnsNameMatches(each, name.value) : each === name.value)),
  );
}

/** As configured text is: a name's bytes stand one to a character, Envoy compares them with those of UTF-8. */
function textOf(name: SubjectAltName): string {
  const isAscii = name.type === SanType.OtherName || !/[\x80-\xff]/.test(name.value);
  return isAscii ? name.value : Buffer.from(name.value, 'latin1').toString('utf8');
}

function sansOf(leaf: Certificate): string {
  return leaf.subjectAltNames.map((name) => name.value).join(', ');
}
