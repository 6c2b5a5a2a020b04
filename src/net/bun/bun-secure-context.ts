import { X509Certificate } from 'node:crypto';
import tls from 'node:tls';
import { DEFAULT_CURVES, DEFAULT_SIGNATURE_ALGORITHMS } from '../tls/cipher-names.ts';
import { checksRevocationHere } from '../tls/peer-verifier.ts';
import type { TlsParameters, TlsValidation } from '../tls/tls-settings.ts';

/** SSL_OP_NO_TICKET and SSL_OP_CIPHER_SERVER_PREFERENCE of BoringSSL. */
export const OP_NO_TICKET = 0x4000;
export const OP_SERVER_PREFERENCE = 0x400000;

function crlBlocks(text: string): string[] {
  return text.match(/-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----/g) ?? [];
}

interface ContextParts {
  readonly parameters: TlsParameters;
  readonly validation: TlsValidation | null;
  readonly ciphers: string;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly secureOptions: number;
  readonly sessionTimeout: number;
}

/**
 * Envoy's, which are fewer than Bun's: what peers see of our hello, and the keys that we take, are the same. One list serves to
 * sign and to verify; a certificate of ours on P-521 must still be able to sign.
 */
function defaultAlgorithms(cert: string | undefined): string {
  const curve = cert === undefined ? undefined : new X509Certificate(cert).publicKey.asymmetricKeyDetails?.namedCurve;
  return curve === 'secp521r1'
    ? `${DEFAULT_SIGNATURE_ALGORITHMS}:ecdsa_secp521r1_sha512`
    : DEFAULT_SIGNATURE_ALGORITHMS;
}

/** A native SSL_CTX. @throws Error of BoringSSL when it does not take what is given */
export function nativeContext(parts: ContextParts): object {
  const { parameters, validation } = parts;
  const ca = validation?.trustedCaPem ?? '';
  const context = tls.createSecureContext({
    cert: parts.cert,
    key: parts.key,
    // Without any, Bun would take its own list.
    ca: ca === '' ? [] : ca,
    // Of several lists in one text Bun takes the first.
    crl:
      validation === null || validation.crlPem === '' || checksRevocationHere(validation)
        ? undefined
        : crlBlocks(validation.crlPem),
    allowPartialTrustChain: true,
    minVersion: parameters.minVersion,
    maxVersion: parameters.maxVersion,
    ciphers: parameters.cipherSuites === '' ? parts.ciphers : parameters.cipherSuites,
    ecdhCurve: parameters.ecdhCurves === '' ? DEFAULT_CURVES : parameters.ecdhCurves,
    sigalgs: parameters.signatureAlgorithms === '' ? defaultAlgorithms(parts.cert) : parameters.signatureAlgorithms,
    secureOptions: parts.secureOptions,
    sessionTimeout: parts.sessionTimeout === 0 ? undefined : parts.sessionTimeout,
  } as tls.SecureContextOptions);
  return (context as { context: object }).context;
}
