import type {
  CommonTlsContext,
  DownstreamTlsContext,
  UpstreamTlsContext,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.d.ts';
import type { ByteBuffer } from '../../base/byte-buffer.ts';
import type { AcceptedSocket } from '../../net/filter.ts';
import type { TlsClientSettings, TlsServerSettings, TlsSettingsSource } from '../../net/tls/tls-settings.ts';
import type { ConnectSpec, SocketRuntime, Transport, TransportHandler } from '../../net/transport.ts';
import type {
  DownstreamTransportSocket,
  SocketPeer,
  TransportSocketEnvironment,
  TransportSocketOptions,
  UpstreamTransportSocket,
} from '../../net/transport-socket.ts';
import type { Counter } from '../../stats/counter.ts';
import type { UpstreamSocketMaker } from '../../upstream/cluster-spec.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { LiveSettings } from '../secrets/settings-source.ts';
import { certificateSlots, validationSlot } from '../secrets/slots.ts';
import { createTlsStats, SettingsStats } from '../secrets/tls-stats.ts';
import { DATA_SOURCE_SUPPORT } from './data-source.ts';
import { durationMsOr } from './durations.ts';
import { buildKeyLog } from './tls-key-log.ts';
import { buildTlsParameters } from './tls-parameters.ts';

const TLS = 'envoy.extensions.transport_sockets.tls.v3';

/** Everything below a Down- or UpstreamTlsContext that is obeyed. */
export const TLS_SUPPORT: readonly FieldSupport[] = [
  {
    message: `${TLS}.DownstreamTlsContext`,
    fields: `common_tls_context require_client_certificate require_sni disable_stateless_session_resumption
      disable_stateful_session_resumption session_timeout ocsp_staple_policy full_scan_certs_on_sni_mismatch
      prefer_client_ciphers`,
    refused: 'session_ticket_keys session_ticket_keys_sds_secret_config',
  },
  {
    message: `${TLS}.UpstreamTlsContext`,
    fields: `common_tls_context sni auto_host_sni auto_sni_san_validation allow_renegotiation max_session_keys
      enforce_rsa_key_usage`,
  },
  {
    message: `${TLS}.CommonTlsContext`,
    fields: `tls_params tls_certificates tls_certificate_sds_secret_configs validation_context
      validation_context_sds_secret_config combined_validation_context alpn_protocols key_log`,
  },
  {
    message: `${TLS}.CommonTlsContext.CombinedCertificateValidationContext`,
    fields: `default_validation_context
      validation_context_sds_secret_config`,
  },
  { message: `${TLS}.SdsSecretConfig`, fields: '*' },
  {
    message: `${TLS}.TlsParameters`,
    fields: `tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves signature_algorithms`,
    refused: 'compliance_policies',
  },
  {
    message: `${TLS}.TlsCertificate`,
    fields: 'certificate_chain private_key pkcs12 password watched_directory',
    refused: 'ocsp_staple',
    // Envoy does not implement it either.
    inert: 'signed_certificate_timestamp',
  },
  {
    message: `${TLS}.CertificateValidationContext`,
    fields: `trusted_ca system_root_certs watched_directory verify_certificate_spki verify_certificate_hash
      match_typed_subject_alt_names match_subject_alt_names crl allow_expired_certificate trust_chain_verification
      only_verify_leaf_cert_crl max_verify_depth`,
    refused: 'ca_certificate_provider_instance',
    // Envoy does not implement it either.
    inert: 'require_signed_certificate_timestamp',
  },
  { message: `${TLS}.CertificateValidationContext.SystemRootCerts`, fields: '*' },
  { message: `${TLS}.SubjectAltNameMatcher`, fields: '*' },
  { message: `${TLS}.TlsKeyLog`, fields: '*' },
  { message: `${TLS}.Secret`, fields: 'name tls_certificate validation_context generic_secret' },
  { message: `${TLS}.GenericSecret`, fields: '*' },
  { message: 'envoy.config.core.v3.CidrRange', fields: '*' },
  { message: 'envoy.config.core.v3.WatchedDirectory', fields: 'path' },
  ...DATA_SOURCE_SUPPORT,
];

type DownstreamSocketMaker = (environment: TransportSocketEnvironment) => DownstreamTransportSocket;

/** Counts the connections that come before the secrets. */
class CountedServerSocket implements DownstreamTransportSocket {
  readonly isSecure = true;
  readonly #socket: DownstreamTransportSocket;
  readonly #settings: TlsSettingsSource<TlsServerSettings>;
  readonly #notReady: Counter;

  constructor(socket: DownstreamTransportSocket, settings: TlsSettingsSource<TlsServerSettings>, notReady: Counter) {
    this.#socket = socket;
    this.#settings = settings;
    this.#notReady = notReady;
  }

  accept(raw: Transport, socket: AcceptedSocket, peeked: ByteBuffer, peerEnded: boolean): Transport {
    if (this.#settings.current === null) this.#notReady.inc();
    return this.#socket.accept(raw, socket, peeked, peerEnded);
  }
}

class CountedClientSocket implements UpstreamTransportSocket {
  readonly isSecure = true;
  readonly #socket: UpstreamTransportSocket;
  readonly #settings: TlsSettingsSource<TlsClientSettings>;
  readonly #notReady: Counter;

  constructor(socket: UpstreamTransportSocket, settings: TlsSettingsSource<TlsClientSettings>, notReady: Counter) {
    this.#socket = socket;
    this.#settings = settings;
    this.#notReady = notReady;
  }

  get supportsAlpn(): boolean {
    return this.#socket.supportsAlpn;
  }

  connect(
    sockets: SocketRuntime,
    spec: ConnectSpec,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): Transport {
    if (this.#settings.current === null) this.#notReady.inc();
    return this.#socket.connect(sockets, spec, peer, options, handler);
  }
}

/** @returns null when errors were reported */
export function buildDownstreamTls(context: BuildContext, message: DownstreamTlsContext): DownstreamSocketMaker | null {
  const before = context.errorCount;
  const at = context.at('common_tls_context');
  const common = message.commonTlsContext;
  refuseServerFields(context, message);
  if (common === undefined) return null;
  const certificates = certificateSlots(at, common);
  const validation = validationSlot(at, common, false);
  const parameters = buildTlsParameters(at, common.tlsParams, 'TLSv1.3');
  const alpnProtocols = buildAlpn(at, common);
  const keyLog = buildKeyLog(at, common.keyLog);
  if (message.requireClientCertificate === undefined && common.validationContextType.case !== undefined) {
    context.warn(
      'require_client_certificate',
      'Using deprecated insecure default of not requiring client cert when a validation context is configured. This default will be changed in a future version. Please explicitly configure a value for require_client_certificate.',
    );
  }
  const { case: resumption, value } = message.sessionTicketKeysType;
  const fixed = {
    parameters,
    alpnProtocols,
    keyLog,
    requireClientCertificate: message.requireClientCertificate ?? false,
    requireSni: message.requireSni ?? false,
    fullScanOnSniMismatch: message.fullScanCertsOnSniMismatch ?? false,
    preferClientCiphers: message.preferClientCiphers,
    disableStatelessResumption: resumption === 'disableStatelessSessionResumption' && value,
    sessionTimeoutSeconds: Math.floor(durationMsOr(message.sessionTimeout, 0) / 1000),
  };
  const make = (
    known: TlsServerSettings['certificates'],
    checks: TlsServerSettings['validation'],
  ): TlsServerSettings => ({
    ...fixed,
    certificates: known,
    validation: checks,
  });
  if (context.errorCount > before) return null;
  const refusal = context.shared.tls?.refusal(
    make(
      certificates.map((slot) => slot.seen).filter((each) => each !== null),
      validation?.seen ?? null,
    ),
  );
  if (refusal !== undefined && refusal !== null) {
    context.refuse('', refusal);
    return null;
  }
  return ({ tls, secrets, scope, onRelease }) => {
    const stats = new SettingsStats(scope, 'server', certificates, validation);
    const settings = new LiveSettings<TlsServerSettings>(certificates, validation, make, secrets, stats);
    onRelease(() => settings.close());
    const socket = tls.serverSocket(settings, createTlsStats(scope));
    return settings.canBeMissing ? new CountedServerSocket(socket, settings, stats.secretsNotReady) : socket;
  };
}

/** What a server's context must not have, in Envoy's words or with the reason why it is not possible here. */
function refuseServerFields(context: BuildContext, message: DownstreamTlsContext): void {
  const at = context.at('common_tls_context');
  const common = message.commonTlsContext;
  const own = common?.tlsCertificates.length ?? 0;
  const discovered = common?.tlsCertificateSdsSecretConfigs.length ?? 0;
  if (own + discovered === 0) at.refuse('', 'No TLS certificates found for server context', 'give tls_certificates');
  if (own > 0 && discovered > 0) {
    at.refuse('tls_certificates', 'SDS and non-SDS TLS certificates may not be mixed in server contexts');
  }
  const type = message.sessionTicketKeysType.case;
  if (type === 'sessionTicketKeys' || type === 'sessionTicketKeysSdsSecretConfig') {
    context.refuse(
      type === 'sessionTicketKeys' ? 'session_ticket_keys' : 'session_ticket_keys_sds_secret_config',
      'this runtime makes its own session ticket keys and takes none',
      'without the field sessions are resumed within one worker',
    );
  }
  if (message.ocspStaplePolicy === 2) {
    context.refuse(
      'ocsp_staple_policy',
      'Required OCSP response is missing from TLS context',
      'this runtime cannot staple OCSP answers: take LENIENT_STAPLING',
    );
  }
  common?.tlsCertificates.forEach((certificate, index) => {
    const field = `tls_certificates[${index}]`;
    if (isEmptyCertificate(certificate)) {
      at.refuse(field, 'Server TlsCertificates must have a certificate specified');
    }
    if (certificate.ocspStaple === undefined) return;
    const inline = certificate.ocspStaple.specifier.case === 'inlineString';
    at.refuse(
      `${field}.ocsp_staple`,
      inline ? 'OCSP staple cannot be provided via inline_string' : 'this runtime cannot staple OCSP answers',
    );
  });
}

function isEmptyCertificate(certificate: CommonTlsContext['tlsCertificates'][number]): boolean {
  const { certificateChain, privateKey, pkcs12 } = certificate;
  return certificateChain === undefined && privateKey === undefined && pkcs12 === undefined;
}

/** @returns null when errors were reported */
export function buildUpstreamTls(context: BuildContext, message: UpstreamTlsContext): UpstreamSocketMaker | null {
  const before = context.errorCount;
  const at = context.at('common_tls_context');
  const common = message.commonTlsContext;
  if (common !== undefined) {
    const count = common.tlsCertificates.length + common.tlsCertificateSdsSecretConfigs.length;
    if (count > 1) at.refuse('tls_certificates', 'Multiple TLS certificates are not supported for client contexts');
  }
  if (message.autoSniSanValidation && common?.validationContextType.case === undefined) {
    context.refuse(
      'auto_sni_san_validation',
      "'auto_sni_san_validation' was configured without configuring a validation context",
    );
  }
  const certificates = common === undefined ? [] : certificateSlots(at, common);
  const validation = common === undefined ? null : validationSlot(at, common, message.autoSniSanValidation);
  const fixed = {
    parameters: buildTlsParameters(at, common?.tlsParams, 'TLSv1.2'),
    alpnProtocols: common === undefined ? [] : buildAlpn(at, common),
    keyLog: buildKeyLog(at, common?.keyLog),
    sni: message.sni,
    autoHostSni: message.autoHostSni,
    autoSniSanValidation: message.autoSniSanValidation,
    allowRenegotiation: message.allowRenegotiation,
    maxSessionKeys: message.maxSessionKeys ?? 1,
    enforceRsaKeyUsage: message.enforceRsaKeyUsage ?? true,
  };
  const make = (
    known: readonly NonNullable<TlsClientSettings['certificate']>[],
    checks: TlsClientSettings['validation'],
  ): TlsClientSettings => ({ ...fixed, certificate: known[0] ?? null, validation: checks });
  if (context.errorCount > before) return null;
  const refusal = context.shared.tls?.refusal(
    make(
      certificates.map((slot) => slot.seen).filter((each) => each !== null),
      validation?.seen ?? null,
    ),
  );
  if (refusal !== undefined && refusal !== null) {
    context.refuse('', refusal);
    return null;
  }
  const maker: UpstreamSocketMaker = ({ tls, secrets, scope, onRelease }) => {
    const stats = new SettingsStats(scope, 'client', certificates, validation);
    const settings = new LiveSettings<TlsClientSettings>(certificates, validation, make, secrets, stats);
    onRelease(() => settings.close());
    const socket = tls.clientSocket(settings, createTlsStats(scope));
    return settings.canBeMissing ? new CountedClientSocket(socket, settings, stats.secretsNotReady) : socket;
  };
  return Object.assign(maker, { encrypts: true });
}

function buildAlpn(context: BuildContext, message: CommonTlsContext): readonly string[] {
  // Envoy joins the list by commas and splits it again.
  const protocols = message.alpnProtocols.join(',').split(',');
  const names = protocols.length === 1 && protocols[0] === '' ? [] : protocols;
  const bytes = names.reduce((sum, name) => sum + Buffer.byteLength(name) + 1, 0);
  if (bytes >= 65535 || names.some((name) => Buffer.byteLength(name) > 255)) {
    context.refuse('alpn_protocols', 'Invalid ALPN protocol string');
  }
  return names.filter((name) => name !== '');
}
