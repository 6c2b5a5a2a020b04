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

/** The files that a secret names. */
export function filesOf(secret: Secret): string[] {
  return sourcesOf(secret).flatMap((source) => (source.specifier.case === 'filename' ? [source.specifier.value] : []));
}

/** A copy whose files are read: what workers get. A file that cannot be read is empty. */
export function withFilesInline(secret: Secret, read: (path: string) => Uint8Array): Secret {
  const inline = (source: DataSource | undefined): DataSource | undefined => {
    if (source?.specifier.case !== 'filename') return source;
    const value = read(source.specifier.value);
    return { ...source, specifier: { case: 'inlineBytes', value } };
  };
  const { type } = secret;
  if (type.case === 'tlsCertificate') {
    const { certificateChain, privateKey, pkcs12, password, ocspStaple, ...rest } = type.value;
    const value = {
      ...rest,
      certificateChain: inline(certificateChain),
      privateKey: inline(privateKey),
      pkcs12: inline(pkcs12),
      password: inline(password),
      ocspStaple: inline(ocspStaple),
    };
    return { ...secret, type: { case: 'tlsCertificate', value } };
  }
  if (type.case === 'validationContext') {
    const { trustedCa, crl, ...rest } = type.value;
    return {
      ...secret,
      type: { case: 'validationContext', value: { ...rest, trustedCa: inline(trustedCa), crl: inline(crl) } },
    };
  }
  return secret;
}
