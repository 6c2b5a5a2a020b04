import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  CertificateValidationContext,
  TlsCertificate,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.d.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';

/** The data sources of a secret, in the order of their fields. */
export function sourcesOf(secret: Secret): DataSource[] {
  const { type } = secret;
  if (type.case === 'tlsCertificate') return certificateSources(type.value);
  if (type.case === 'validationContext') return validationSources(type.value);
  return [];
}

function certificateSources(message: TlsCertificate): DataSource[] {
  return [message.certificateChain, message.privateKey, message.pkcs12, message.password, message.ocspStaple].filter(
    (source) => source !== undefined,
  );
}

function validationSources(message: CertificateValidationContext): DataSource[] {
  return [message.trustedCa, message.crl].filter((source) => source !== undefined);
}

/** Whether a certificate's parts stand in files: main reads and watches them. */
export function certificateHasFiles(message: TlsCertificate): boolean {
  return certificateSources(message).some((source) => source.specifier.case === 'filename');
}

export function validationHasFiles(message: CertificateValidationContext): boolean {
  return validationSources(message).some((source) => source.specifier.case === 'filename');
}

/** `watched_directory` of the secret; empty: none. */
export function watchedDirectoryOf(secret: Secret): string {
  const { type } = secret;
  if (type.case !== 'tlsCertificate' && type.case !== 'validationContext') return '';
  return type.value.watchedDirectory?.path ?? '';
}
