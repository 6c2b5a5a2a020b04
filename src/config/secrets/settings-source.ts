import { certificatesOf } from '../../net/tls/certificate.ts';
import type {
  TlsCertificate,
  TlsClientSettings,
  TlsServerSettings,
  TlsSettingsSource,
  TlsValidation,
} from '../../net/tls/tls-settings.ts';
import type { CertificateFacts } from '../../net/transport.ts';
import type { CertificateInUse, SecretFeed, TlsContextInUse } from '../../net/transport-socket.ts';

/** A part of the settings: known since the build, or heard of by the worker's secrets. */
export interface Slot<T> {
  /** For `ssl.certificate.<name>.expiration_unix_time_seconds`. */
  readonly statName: string;
  /** Of the file that it stands in; `<inline>` for others. */
  readonly path: string;
  /** Null: wait for the secret of `key`. */
  readonly fixed: T | null;
  /** What main's dry build has read, of files too; for the judgement of the runtime. */
  readonly seen: T | null;
  readonly key: string;
  /** From the bytes of a Secret. Null: it does not do; what was before stays. */
  readonly decode: (secret: Uint8Array) => T | null;
}

export type CertificateSlot = Slot<TlsCertificate>;
export type ValidationSlot = Slot<TlsValidation>;

/** Is told of every new version of the settings, the first one included. */
export interface SettingsObserver {
  onSettings(certificates: readonly TlsCertificate[], validation: TlsValidation | null): void;
  /** A discovered secret came, or files were read again. */
  onUpdate(): void;
}

function shown(facts: CertificateFacts, path: string): CertificateInUse {
  const { serialNumber, dnsNames, uriNames, ipNames, validFromMs, validToMs } = facts;
  return { path, serialNumber, dnsNames, uriNames, ipNames, validFromMs, validToMs };
}

/** Settings whose certificates and trust anchors may be secrets: complete once all of them are known, new when one changes. */
export class LiveSettings<S extends TlsServerSettings | TlsClientSettings> implements TlsSettingsSource<S> {
  current: S | null = null;
  /** Some of it comes as a secret. */
  readonly canBeMissing: boolean;
  readonly #make: (certificates: readonly TlsCertificate[], validation: TlsValidation | null) => S;
  readonly #observer: SettingsObserver;
  readonly #certificates: (TlsCertificate | null)[];
  #validation: TlsValidation | null;
  readonly #needsValidation: boolean;
  readonly #paths: readonly string[];
  readonly #authorityPath: string;
  readonly #unsubscribe: (() => void)[] = [];

  constructor(
    certificates: readonly CertificateSlot[],
    validation: ValidationSlot | null,
    make: (certificates: readonly TlsCertificate[], validation: TlsValidation | null) => S,
    secrets: SecretFeed,
    observer: SettingsObserver,
  ) {
    this.#make = make;
    this.#observer = observer;
    this.#certificates = certificates.map((slot) => slot.fixed);
    this.#validation = validation?.fixed ?? null;
    this.#needsValidation = validation !== null;
    this.canBeMissing = [...certificates, validation].some((slot) => slot !== null && slot.fixed === null);
    this.#paths = certificates.map((slot) => slot.path);
    this.#authorityPath = validation?.path ?? '';
    this.#unsubscribe.push(secrets.enlist(() => this.#inUse()));
    this.#renew();
    certificates.forEach((slot, index) => {
      this.#watch(secrets, slot, (value) => {
        this.#certificates[index] = value;
      });
    });
    if (validation !== null) {
      this.#watch(secrets, validation, (value) => {
        this.#validation = value;
      });
    }
  }

  #watch<T>(secrets: SecretFeed, slot: Slot<T>, take: (value: T) => void): void {
    if (slot.fixed !== null) return;
    const stop = secrets.watch(slot.key, {
      onSecret: (bytes) => {
        const value = slot.decode(bytes);
        if (value === null) return;
        const isNews = slot.key.startsWith('sds|') || this.current !== null;
        take(value);
        this.#renew();
        if (isNews) this.#observer.onUpdate();
      },
    });
    this.#unsubscribe.push(stop);
  }

  #renew(): void {
    if (this.#needsValidation && this.#validation === null) return;
    const certificates = this.#certificates.filter((certificate) => certificate !== null);
    if (certificates.length < this.#certificates.length) return;
    this.current = this.#make(certificates, this.#validation);
    this.#observer.onSettings(certificates, this.#validation);
  }

  #inUse(): TlsContextInUse {
    const known = this.#certificates.filter((certificate) => certificate !== null);
    const authority = this.#validation === null ? undefined : certificatesOf(this.#validation.trustedCaPem)?.[0];
    return {
      certificates: known.map((certificate, index) => shown(certificate.leaf, this.#paths[index]!)),
      authority: authority === undefined ? null : shown(authority, this.#authorityPath),
    };
  }

  close(): void {
    for (const stop of this.#unsubscribe) stop();
    this.#unsubscribe.length = 0;
  }
}
