import { X509Certificate } from 'node:crypto';
import type {
  CertificateValidationContext,
  SubjectAltNameMatcher,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.d.ts';
import type { StringMatcher as StringMatcherMessage } from '../../api/gen/envoy/type/matcher/v3/string_pb.d.ts';
import { dnsNameMatches } from '../../net/tls/dns-name-match.ts';
import { type SanMatcher, SanType, type TlsValidation } from '../../net/tls/tls-settings.ts';
import type { StringMatcher } from '../../routing/string-matcher.ts';
import type { BuildContext } from '../build-context.ts';
import { readCredential } from '../builders/data-source.ts';
import { buildStringMatcher } from '../builders/route-config-matchers.ts';

import { certificateBlocks, crlBlocks } from './pem.ts';

class TextSanMatcher implements SanMatcher {
  readonly type: SanType;
  readonly oid: string;
  readonly #matcher: StringMatcher;

  constructor(type: SanType, oid: string, matcher: StringMatcher) {
    this.type = type;
    this.oid = oid;
    this.#matcher = matcher;
  }

  matches(value: string): boolean {
    return this.#matcher.matches(value);
  }
}

/** An exact DNS matcher: the certificate's name may be a wildcard. */
class DnsSanMatcher implements SanMatcher {
  readonly type = SanType.Dns;
  readonly oid = '';
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  matches(value: string): boolean {
    return dnsNameMatches(this.#name, value);
  }
}

/** What the deprecated `match_subject_alt_names` looks at. */
const UNTYPED: readonly SanType[] = [SanType.Dns, SanType.Uri, SanType.Email, SanType.IpAddress];

/**
 * How a peer's certificate is checked. Data sources are read now. The messages are Envoy's.
 * @param context that of the CertificateValidationContext
 * @param autoSni a name is checked though no matcher is given
 * @returns null when errors were reported
 */
export function buildValidation(
  context: BuildContext,
  message: CertificateValidationContext,
  autoSni = false,
): TlsValidation | null {
  const before = context.errorCount;
  const ca = readCredential(message.trustedCa);
  const crl = readCredential(message.crl);
  const systemRoots = message.systemRootCerts !== undefined && ca.bytes.length === 0;
  if (ca.problem !== '') {
    context.refuse('trusted_ca', `Failed to load trusted CA certificates from ${ca.origin}`, ca.problem);
  }
  if (crl.problem !== '') context.refuse('crl', `Failed to load CRL from ${crl.origin}`, crl.problem);
  if (message.caCertificateProviderInstance !== undefined) {
    context.refuse(
      'ca_certificate_provider_instance',
      'certificate providers are a gRPC feature: Envoy would check nothing',
      'give trusted_ca',
    );
  }
  if (ca.bytes.length === 0 && !systemRoots && ca.problem === '')
    refuseWithoutCa(context, message, crl.origin, autoSni);
  const caText = ca.bytes.toString('latin1');
  const caBlocks = certificateBlocks(caText);
  if (ca.bytes.length > 0 && !caBlocks.every(isCertificate(context, ca.origin))) return null;
  if (ca.bytes.length > 0 && caBlocks.length === 0) {
    context.refuse('trusted_ca', `Failed to load trusted CA certificates from ${ca.origin}`, 'it holds no certificate');
  }
  const sanMatchers = [
    ...message.matchTypedSubjectAltNames.flatMap((each, index) =>
      buildSanMatcher(context, `match_typed_subject_alt_names[${index}]`, each),
    ),
    ...message.matchSubjectAltNames.flatMap((each, index) =>
      UNTYPED.flatMap((type) => sanMatcher(context, `match_subject_alt_names[${index}]`, type, '', each)),
    ),
  ];
  const certificateHashes = message.verifyCertificateHash.map((text, index) => {
    const hash = text.replaceAll(':', '').toLowerCase();
    if (!/^[0-9a-f]{64}$/.test(hash)) {
      context.refuse(`verify_certificate_hash[${index}]`, `Invalid hex-encoded SHA-256 ${text}`);
    }
    return hash;
  });
  message.verifyCertificateSpki.forEach((text, index) => {
    if (Buffer.from(text, 'base64').length === 32 && /^[A-Za-z0-9+/]{43}=$/.test(text)) return;
    context.refuse(`verify_certificate_spki[${index}]`, `Invalid base64-encoded SHA-256 ${text}`);
  });
  if (context.errorCount > before) return null;
  return {
    trustedCaPem: caBlocks.length === 0 ? '' : `${caBlocks.join('\n')}\n`,
    systemRoots,
    // Lists that stand beside the CAs count too.
    crlPem: [...crlBlocks(caText), ...crlBlocks(crl.bytes.toString('latin1'))].map((block) => `${block}\n`).join(''),
    verifyOnlyLeafCrl: message.onlyVerifyLeafCertCrl,
    sanMatchers,
    certificateHashes,
    spkiHashes: message.verifyCertificateSpki,
    // Envoy reads it on the server's side alone: here it limits both.
    maxVerifyDepth: message.maxVerifyDepth ?? -1,
    allowExpired: message.allowExpiredCertificate,
    acceptUntrusted: message.trustChainVerification === 1,
  };
}

function isCertificate(context: BuildContext, origin: string): (block: string) => boolean {
  return (block) => {
    try {
      return new X509Certificate(block).raw.length > 0;
    } catch (error) {
      const { message } = error as Error;
      context.refuse('trusted_ca', `Failed to load trusted CA certificates from ${origin}`, message);
      return false;
    }
  };
}

function refuseWithoutCa(
  context: BuildContext,
  message: CertificateValidationContext,
  crlOrigin: string,
  autoSni: boolean,
): void {
  if (crlOrigin !== '') context.refuse('crl', `Failed to load CRL from ${crlOrigin} without trusted CA`);
  if (message.matchTypedSubjectAltNames.length > 0 || message.matchSubjectAltNames.length > 0) {
    context.refuse(
      message.matchTypedSubjectAltNames.length > 0 ? 'match_typed_subject_alt_names' : 'match_subject_alt_names',
      'SAN-based verification of peer certificates without trusted CA is insecure and not allowed',
    );
  }
  if (message.allowExpiredCertificate) {
    context.refuse('allow_expired_certificate', 'Certificate validity period is always ignored without trusted CA');
  }
  if (autoSni) {
    context.refuse('trusted_ca', "'auto_sni_san_validation' was configured without configuring a trusted CA");
  }
}

function buildSanMatcher(context: BuildContext, field: string, message: SubjectAltNameMatcher): SanMatcher[] {
  if (message.matcher === undefined) return [];
  const type = message.sanType as number as SanType;
  if (type === SanType.OtherName && !/^[0-2](\.(0|[1-9]\d*))+$/.test(message.oid)) {
    context.refuse(`${field}.oid`, `Failed to create SAN matcher for OTHER_NAME with OID: ${message.oid}`);
    return [];
  }
  return sanMatcher(context, `${field}.matcher`, type, type === SanType.OtherName ? message.oid : '', message.matcher);
}

function sanMatcher(
  context: BuildContext,
  field: string,
  type: SanType,
  oid: string,
  message: StringMatcherMessage,
): SanMatcher[] {
  if (type === SanType.Dns && message.matchPattern.case === 'exact') {
    return [new DnsSanMatcher(message.matchPattern.value)];
  }
  const matcher = buildStringMatcher(context, field, message);
  return matcher === null ? [] : [new TextSanMatcher(type, oid, matcher)];
}
