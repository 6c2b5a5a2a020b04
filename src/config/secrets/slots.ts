import { createHash } from 'node:crypto';
import { create, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type {
  CertificateValidationContext,
  TlsCertificate as TlsCertificateMessage,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.d.ts';
import type { SdsSecretConfig, Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import type { CommonTlsContext } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.d.ts';
import type { TlsCertificate, TlsValidation } from '../../net/tls/tls-settings.ts';
import { BuildContext } from '../build-context.ts';
import { buildConfigSource, digestOf } from '../builders/config-source.ts';
import { fileOf } from '../builders/data-source.ts';
import { buildCertificate } from './build-certificate.ts';
import { buildValidation } from './build-validation.ts';
import { certificateHasFiles, validationHasFiles } from './credential-files.ts';
import type { SecretKind } from './secret-dependency.ts';
import type { CertificateSlot, ValidationSlot } from './settings-source.ts';

const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
/** Where a certificate is shown to come from when it is no file. */
const INLINE = '<inline>';
const NOTHING = new Uint8Array(0);
const UNKNOWN_STATIC: Readonly<Record<SecretKind, string>> = {
  certificate: 'Unknown static secret',
  validation: 'Unknown static certificate validation context',
};

/** Where the certificates of a transport socket come from. Errors are reported at the CommonTlsContext, which is `context`'s. */
export function certificateSlots(context: BuildContext, message: CommonTlsContext): CertificateSlot[] {
  const slots: CertificateSlot[] = [];
  message.tlsCertificates.forEach((certificate, index) => {
    const { certificateChain, privateKey, pkcs12 } = certificate;
    // As if it was not there (Envoy); servers refuse it.
    if (certificateChain === undefined && privateKey === undefined && pkcs12 === undefined) return;
    const slot = certificateSlot(context.at(`tls_certificates[${index}]`), certificate);
    if (slot !== null) slots.push(slot);
  });
  message.tlsCertificateSdsSecretConfigs.forEach((config, index) => {
    const at = context.at(`tls_certificate_sds_secret_configs[${index}]`);
    const key = discoveredKey(at, 'certificate', config, null);
    slots.push({
      statName: config.name,
      path: INLINE,
      fixed: null,
      seen: null,
      key,
      decode: certificateDecoder(context),
    });
  });
  return slots;
}

function certificateSlot(context: BuildContext, message: TlsCertificateMessage): CertificateSlot | null {
  const statName = `unnamed_cert_${message.certificateChain === undefined ? '' : inlineHash(message.certificateChain)}`;
  const decode = certificateDecoder(context);
  const files = certificateHasFiles(message);
  const path = fileOf(message.pkcs12 ?? message.certificateChain) || INLINE;
  let seen: TlsCertificate | null = null;
  // A worker takes from its feed what main has read from files.
  if (!files || context.shared.tls !== undefined) {
    const fixed = buildCertificate(context, message);
    if (fixed === null) return null;
    if (!files) return { statName, path, fixed, seen: fixed, key: '', decode };
    seen = fixed;
  }
  const secret = ownSecret(context, { case: 'tlsCertificate', value: message });
  return { statName, path, fixed: null, seen, key: fileKey(context, 'certificate', secret), decode };
}

/** How the peer's certificate is checked; null: it is not, or errors were reported. */
export function validationSlot(
  context: BuildContext,
  message: CommonTlsContext,
  autoSni: boolean,
): ValidationSlot | null {
  const type = message.validationContextType;
  const decode = validationDecoder(context, autoSni);
  switch (type.case) {
    case 'validationContext': {
      const at = context.at('validation_context');
      const ca = type.value.trustedCa;
      const statName = ca === undefined ? 'unnamed_ca_cert' : `unnamed_ca_cert_${inlineHash(ca)}`;
      const files = validationHasFiles(type.value);
      const path = fileOf(ca) || INLINE;
      let seen: TlsValidation | null = null;
      if (!files || context.shared.tls !== undefined) {
        const fixed = buildValidation(at, type.value, autoSni);
        if (fixed === null) return null;
        if (!files) return { statName, path, fixed, seen: fixed, key: '', decode };
        seen = fixed;
      }
      const secret = ownSecret(context, { case: 'validationContext', value: type.value });
      return { statName, path, fixed: null, seen, key: fileKey(context, 'validation', secret), decode };
    }
    case 'validationContextSdsSecretConfig': {
      const at = context.at('validation_context_sds_secret_config');
      const key = discoveredKey(at, 'validation', type.value, null);
      return { statName: type.value.name, path: INLINE, fixed: null, seen: null, key, decode };
    }
    case 'combinedValidationContext': {
      const at = context.at('combined_validation_context.validation_context_sds_secret_config');
      const config = type.value.validationContextSdsSecretConfig;
      if (config === undefined) return null;
      const base = type.value.defaultValidationContext;
      const key = discoveredKey(at, 'validation', config, base ?? null);
      return { statName: config.name, path: INLINE, fixed: null, seen: null, key, decode };
    }
    default:
      return null;
  }
}

/** Envoy hashes the source's `inline_bytes` alone: most certificates have the same name. */
function inlineHash(source: {
  readonly specifier: { readonly case?: string | undefined; readonly value?: unknown };
}): string {
  const { specifier } = source;
  const bytes = specifier.case === 'inlineBytes' ? (specifier.value as Uint8Array) : new Uint8Array(0);
  return createHash('sha256').update(bytes).digest('hex').substring(0, 8);
}

function ownSecret(context: BuildContext, type: Secret['type']): Secret {
  return { ...(create(context.shared.api.message(SECRET)!) as Secret), type };
}

function fileKey(context: BuildContext, kind: SecretKind, secret: Secret): string {
  const key = `file|${kind}|${digestOf(context, secret)}`;
  context.shared.tls?.require({ key, kind, name: '', source: null, secret: encode(context, secret), base: NOTHING });
  return key;
}

/** @param base `default_validation_context`, which what is discovered is merged into */
function discoveredKey(
  context: BuildContext,
  kind: SecretKind,
  config: SdsSecretConfig,
  base: CertificateValidationContext | null,
): string {
  const baseKey = base === null ? '' : `|${digestOf(context, base)}`;
  if (config.sdsConfig === undefined) {
    const key = `static|${kind}|${config.name}${baseKey}`;
    requireStatic(context, kind, config.name, key, base);
    return key;
  }
  const key = `sds|${kind}|${config.name}|${digestOf(context, config.sdsConfig)}${baseKey}`;
  if (context.shared.tls !== undefined) {
    const source = buildConfigSource(context, 'sds_config', config.sdsConfig);
    const from = { key, kind, name: config.name, secret: NOTHING, base: encodeBase(context, base) };
    if (source !== null) context.shared.tls.require({ ...from, source });
  }
  return key;
}

function requireStatic(
  context: BuildContext,
  kind: SecretKind,
  name: string,
  key: string,
  base: CertificateValidationContext | null,
): void {
  const { tls } = context.shared;
  if (tls === undefined) return;
  const found = tls.staticSecrets.find(kind, name);
  if (found === null) {
    context.refuse(
      'name',
      `${UNKNOWN_STATIC[kind]}: ${name}`,
      "the bootstrap's static_resources.secrets has none of it",
    );
    return;
  }
  const own = encodeBase(context, base);
  const bytes = encode(context, found);
  const secret = base === null ? found : mergeSecrets(context.shared.api.message(SECRET)!, own, bytes);
  const before = context.errorCount;
  if (secret.type.case === 'tlsCertificate') buildCertificate(context, secret.type.value);
  else if (secret.type.case === 'validationContext') buildValidation(context, secret.type.value);
  if (context.errorCount === before) {
    tls.require({ key, kind, name, source: null, secret: bytes, base: own });
  }
}

function encodeBase(context: BuildContext, base: CertificateValidationContext | null): Uint8Array {
  return base === null ? NOTHING : encode(context, ownSecret(context, { case: 'validationContext', value: base }));
}

/**
 * `dynamic` over `base`: lists are joined, what is set replaces. Bytes of one message behind those of another are the merge of
 * both (protobuf: encoding, "Last One Wins").
 */
export function mergeSecrets(desc: DescMessage, base: Uint8Array, dynamic: Uint8Array): Secret {
  return fromBinary(desc, Buffer.concat([base, dynamic])) as Message as Secret;
}

function encode(context: BuildContext, secret: Secret): Uint8Array {
  return toBinary(context.shared.api.message(SECRET)!, secret);
}

function certificateDecoder(context: BuildContext): CertificateSlot['decode'] {
  return (bytes) => {
    const secret = decode(context, bytes);
    return secret.type.case === 'tlsCertificate' ? buildCertificate(silent(context), secret.type.value) : null;
  };
}

function validationDecoder(context: BuildContext, autoSni: boolean): ValidationSlot['decode'] {
  return (bytes) => {
    const secret = decode(context, bytes);
    return secret.type.case === 'validationContext'
      ? buildValidation(silent(context), secret.type.value, autoSni)
      : null;
  };
}

function decode(context: BuildContext, bytes: Uint8Array): Secret {
  return fromBinary(context.shared.api.message(SECRET)!, bytes) as Message as Secret;
}

/** Main has checked the secret: what is reported here nobody hears. */
function silent(context: BuildContext): BuildContext {
  return new BuildContext({ ...context.shared, errors: [], warnings: [] });
}
