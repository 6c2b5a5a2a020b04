import { X509Certificate } from 'node:crypto';
import { certificateFacts } from '../../net/tls/certificate-facts.ts';
import type { TlsCertificate, TlsValidation } from '../../net/tls/tls-settings.ts';
import type { TlsStats } from '../../net/transport-socket.ts';
import { Counter } from '../../stats/counter.ts';
import { GaugeImportMode } from '../../stats/gauge.ts';
import type { Scope } from '../../stats/store.ts';
import { certificateBlocks } from './pem.ts';
import type { CertificateSlot, SettingsObserver, ValidationSlot } from './settings-source.ts';

/** `ssl.*` below a listener's or cluster's scope. */
export function createTlsStats(owner: Scope): TlsStats {
  const scope = owner.createScope('ssl');
  return {
    connectionError: scope.counter('connection_error'),
    handshake: scope.counter('handshake'),
    sessionReused: scope.counter('session_reused'),
    noCertificate: scope.counter('no_certificate'),
    failVerifyNoCert: scope.counter('fail_verify_no_cert'),
    failVerifyError: scope.counter('fail_verify_error'),
    failVerifySan: scope.counter('fail_verify_san'),
    failVerifyCertHash: scope.counter('fail_verify_cert_hash'),
    ocspStaplingFailed: scope.counter('ocsp_staple_failed'),
    ocspStaplingOmitted: scope.counter('ocsp_staple_omitted'),
    ocspStaplingResponses: scope.counter('ocsp_staple_responses'),
    ocspStaplingRequests: scope.counter('ocsp_staple_requests'),
    // Envoy 1.40 shows it no more.
    wasKeyUsageInvalid: new Counter(),
    scope,
  };
}

/** Counts new versions of settings, and shows when their certificates expire. */
export class SettingsStats implements SettingsObserver {
  readonly secretsNotReady: Counter;
  readonly #updates: Counter;
  readonly #scope: Scope;
  readonly #certificates: readonly CertificateSlot[];
  readonly #validation: ValidationSlot | null;

  /** @param side `server` or `client` */
  constructor(
    owner: Scope,
    side: 'server' | 'client',
    certificates: readonly CertificateSlot[],
    validation: ValidationSlot | null,
  ) {
    const factory = owner.createScope(`${side}_ssl_socket_factory`);
    const upstream = factory.counter('upstream_context_secrets_not_ready');
    const downstream = factory.counter('downstream_context_secrets_not_ready');
    this.secretsNotReady = side === 'server' ? downstream : upstream;
    this.#updates = factory.counter('ssl_context_update_by_sds');
    this.#scope = owner.createScope('ssl.certificate');
    this.#certificates = certificates;
    this.#validation = validation;
  }

  onUpdate(): void {
    this.#updates.inc();
  }

  onSettings(certificates: readonly TlsCertificate[], validation: TlsValidation | null): void {
    this.#certificates.forEach((slot, index) => {
      this.#expiration(slot.statName, certificates[index]!.leaf.validToMs);
    });
    if (this.#validation === null || validation === null) return;
    const first = certificateBlocks(validation.trustedCaPem)[0];
    if (first === undefined) return;
    this.#expiration(this.#validation.statName, certificateFacts(new X509Certificate(first).raw).validToMs);
  }

  #expiration(name: string, validToMs: number): void {
    const gauge = this.#scope.gauge(`${name}.expiration_unix_time_seconds`, GaugeImportMode.NeverImport);
    gauge.set(Math.floor(validToMs / 1000));
  }
}
