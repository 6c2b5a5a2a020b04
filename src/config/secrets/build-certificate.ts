import { X509Certificate } from 'node:crypto';
import type { TlsCertificate as TlsCertificateMessage } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.d.ts';
import { certificateFacts } from '../../net/tls/certificate-facts.ts';
import type { TlsCertificate } from '../../net/tls/tls-settings.ts';
import type { BuildContext } from '../build-context.ts';
import { type CredentialBytes, readCredential } from '../builders/data-source.ts';
import { certificateBlocks, toPem } from './pem.ts';
import { readPkcs12 } from './pkcs12.ts';
import { loadPrivateKey } from './private-key.ts';

const CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);
/** id-pe-tlsfeature (RFC 7633): the certificate promises a stapled OCSP answer. */
const TLS_FEATURE = '1.3.6.1.5.5.7.1.24';

/**
 * A certificate with its key, checked to belong together. Data sources are read now. The messages are Envoy's.
 * @param context that of the TlsCertificate
 * @returns null when errors were reported
 */
export function buildCertificate(context: BuildContext, message: TlsCertificateMessage): TlsCertificate | null {
  if (message.pkcs12 !== undefined) return fromPkcs12(context, message);
  const chain = readCredential(message.certificateChain);
  const key = readCredential(message.privateKey);
  if (chain.bytes.length === 0) {
    context.refuse(
      'certificate_chain',
      `Failed to load incomplete certificate from ${chain.origin}: certificate chain not set`,
      chain.problem,
    );
    return null;
  }
  if (key.bytes.length === 0) {
    context.refuse('private_key', `Failed to load incomplete private key from path: ${key.origin}`, key.problem);
    return null;
  }
  const certificates = parseChain(context, chain);
  if (certificates === null) return null;
  const password = readCredential(message.password).bytes.toString('utf8');
  const loaded = loadPrivateKey(key.bytes.toString('latin1'), password);
  const failure = `Failed to load private key from ${key.origin}, Cause: `;
  if (!loaded.ok) {
    const hint = loaded.reason.includes('BAD_PASSWORD_READ') ? 'the key is encrypted: give its password' : '';
    context.refuse('private_key', failure + loaded.reason, hint);
    return null;
  }
  const leaf = certificates[0]!;
  if (!leaf.checkPrivateKey(loaded.key)) {
    const same = leaf.publicKey.asymmetricKeyType === loaded.key.asymmetricKeyType;
    const cause = same
      ? '74:X.509 certificate routines:OPENSSL_internal:KEY_VALUES_MISMATCH'
      : '73:X.509 certificate routines:OPENSSL_internal:KEY_TYPE_MISMATCH';
    context.refuse('private_key', `${failure}error:0b0000${cause}`, 'the key is not that of the certificate');
    return null;
  }
  return finish(context, certificates, loaded.pem);
}

function fromPkcs12(context: BuildContext, message: TlsCertificateMessage): TlsCertificate | null {
  for (const [other, field] of [
    [message.privateKey, 'private_key'],
    [message.certificateChain, 'certificate_chain'],
  ] as const) {
    if (other === undefined) continue;
    context.refuse(field, `Certificate configuration can't have both pkcs12 and ${field}`);
    return null;
  }
  const store = readCredential(message.pkcs12);
  const failure = `Failed to load pkcs12 from ${store.origin}`;
  try {
    const content = readPkcs12(store.bytes, readCredential(message.password).bytes.toString('utf8'));
    const bytes = Buffer.from(content.certificates.join(''));
    const certificates = parseChain(context, { bytes, origin: store.origin, problem: '' });
    return certificates === null ? null : finish(context, certificates, content.keyPem);
  } catch (error) {
    context.refuse('pkcs12', failure, store.problem === '' ? (error as Error).message : store.problem);
    return null;
  }
}

function parseChain(context: BuildContext, chain: CredentialBytes): X509Certificate[] | null {
  const failure = `Failed to load certificate chain from ${chain.origin}`;
  const out: X509Certificate[] = [];
  try {
    for (const block of certificateBlocks(chain.bytes.toString('latin1'))) out.push(new X509Certificate(block));
  } catch (error) {
    context.refuse('certificate_chain', failure, (error as Error).message);
    return null;
  }
  if (out.length === 0) {
    context.refuse('certificate_chain', failure, 'it holds no PEM certificate');
    return null;
  }
  const key = out[0]!.publicKey;
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === 'rsa' && (details?.modulusLength ?? 0) < 2048) {
    context.refuse('certificate_chain', `${failure}, only RSA certificates with 2048-bit or larger keys are supported`);
    return null;
  }
  if (key.asymmetricKeyType === 'ec' && !CURVES.has(details?.namedCurve ?? '')) {
    context.refuse('certificate_chain', failure, 'only P-256, P-384 and P-521 are supported');
    return null;
  }
  return out;
}

/** Ours is read more strictly than the runtime does. */
function readFacts(context: BuildContext, certificate: X509Certificate): TlsCertificate['leaf'] | null {
  try {
    return certificateFacts(certificate.raw);
  } catch (error) {
    context.refuse('certificate_chain', 'the certificate is malformed', (error as Error).message);
    return null;
  }
}

function finish(context: BuildContext, chain: readonly X509Certificate[], keyPem: string): TlsCertificate | null {
  const leaf = readFacts(context, chain[0]!);
  if (leaf === null) return null;
  if (leaf.oids.includes(TLS_FEATURE)) {
    context.refuse(
      'certificate_chain',
      'the certificate demands OCSP stapling (must-staple), which this runtime cannot do',
      'take a certificate without the TLS feature extension',
    );
    return null;
  }
  return {
    chainPem: chain.map((each) => toPem('CERTIFICATE', each.raw)).join(''),
    keyPem,
    keyType: chain[0]!.publicKey.asymmetricKeyType === 'ec' ? 'ecdsa' : 'rsa',
    leaf,
  };
}
