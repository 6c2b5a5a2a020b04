import type { TlsParameters as TlsParametersMessage } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.d.ts';
import type { TlsParameters } from '../../net/tls/tls-settings.ts';
import type { BuildContext } from '../build-context.ts';

type Version = TlsParameters['minVersion'];
/** By the number of `TlsProtocol`; 0 is TLS_AUTO. */
const VERSIONS: readonly (Version | null)[] = [null, 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];

/** What BoringSSL's cipher lists know. */
const CIPHERS: ReadonlySet<string> = new Set(
  `ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-AES256-GCM-SHA384
   ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-PSK-CHACHA20-POLY1305 ECDHE-ECDSA-AES128-SHA
   ECDHE-RSA-AES128-SHA ECDHE-PSK-AES128-CBC-SHA ECDHE-ECDSA-AES256-SHA ECDHE-RSA-AES256-SHA ECDHE-PSK-AES256-CBC-SHA
   ECDHE-ECDSA-AES128-SHA256 ECDHE-RSA-AES128-SHA256 ECDHE-RSA-AES256-SHA384 AES128-GCM-SHA256 AES256-GCM-SHA384
   AES128-SHA AES256-SHA AES128-SHA256 PSK-AES128-CBC-SHA PSK-AES256-CBC-SHA DES-CBC3-SHA
   TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
   TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
   TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
   TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA TLS_RSA_WITH_AES_128_GCM_SHA256
   TLS_RSA_WITH_AES_256_GCM_SHA384 TLS_RSA_WITH_AES_128_CBC_SHA TLS_RSA_WITH_AES_256_CBC_SHA
   ALL HIGH FIPS SHA SHA1 SSLv3 TLSv1 TLSv1.2 AES AES128 AES256 AESGCM CHACHA20 3DES kRSA aRSA RSA kECDHE kEECDH ECDHE
   EECDH aECDSA ECDSA kPSK aPSK PSK`.split(/\s+/),
);

const CURVES: ReadonlySet<string> = new Set([
  'P-256',
  'P-384',
  'P-521',
  'prime256v1',
  'secp384r1',
  'secp521r1',
  'X25519',
  'x25519',
  'X25519MLKEM768',
]);

const SIGNATURE_ALGORITHMS: ReadonlySet<string> = new Set(
  `rsa_pkcs1_sha1 rsa_pkcs1_sha256 rsa_pkcs1_sha384 rsa_pkcs1_sha512 ecdsa_sha1 ecdsa_secp256r1_sha256
   ecdsa_secp384r1_sha384 ecdsa_secp521r1_sha512 rsa_pss_rsae_sha256 rsa_pss_rsae_sha384 rsa_pss_rsae_sha512 ed25519
   RSA+SHA1 RSA+SHA256 RSA+SHA384 RSA+SHA512 ECDSA+SHA1 ECDSA+SHA256 ECDSA+SHA384 ECDSA+SHA512 RSA-PSS+SHA256
   RSA-PSS+SHA384 RSA-PSS+SHA512 PSS+SHA256 PSS+SHA384 PSS+SHA512 Ed25519`.split(/\s+/),
);

/**
 * @param context that of the CommonTlsContext
 * @param autoMax what TLS_AUTO stands for as the highest version
 */
export function buildTlsParameters(
  context: BuildContext,
  message: TlsParametersMessage | undefined,
  autoMax: Version,
): TlsParameters {
  const at = context.at('tls_params');
  if (message !== undefined) check(at, message);
  return {
    minVersion: VERSIONS[message?.tlsMinimumProtocolVersion ?? 0] ?? 'TLSv1.2',
    maxVersion: VERSIONS[message?.tlsMaximumProtocolVersion ?? 0] ?? autoMax,
    cipherSuites: message?.cipherSuites.join(':') ?? '',
    ecdhCurves: message?.ecdhCurves.join(':') ?? '',
    signatureAlgorithms: message?.signatureAlgorithms.join(':') ?? '',
  };
}

function check(at: BuildContext, message: TlsParametersMessage): void {
  const suites = message.cipherSuites.join(':');
  const badSuites = suites
    .split(/[:+![\]|]/)
    .map((name) => (name.startsWith('-') ? name.substring(1) : name))
    .filter((name) => name !== '' && !CIPHERS.has(name));
  if (badSuites.length > 0) {
    at.refuse(
      'cipher_suites',
      `Failed to initialize cipher suites ${suites}. The following ciphers were rejected when tried individually: ${badSuites.join(', ')}`,
      badSuites.some((name) => /^TLS_(AES|CHACHA20)/.test(name)) ? 'suites of TLS 1.3 cannot be chosen' : '',
    );
  }
  if (message.ecdhCurves.some((name) => !CURVES.has(name))) {
    at.refuse('ecdh_curves', `Failed to initialize ECDH curves ${message.ecdhCurves.join(':')}`);
  }
  const algorithms = message.signatureAlgorithms.join(':');
  if (message.signatureAlgorithms.some((name) => !SIGNATURE_ALGORITHMS.has(name))) {
    at.refuse('signature_algorithms', `Failed to initialize TLS signature algorithms ${algorithms}`);
  }
  if (message.compliancePolicies.length > 0) {
    at.refuse(
      'compliance_policies',
      'the runtime cannot restrict the cipher suites of TLS 1.3, which every compliance policy does',
      'give versions, cipher_suites and ecdh_curves themselves',
    );
  }
}
