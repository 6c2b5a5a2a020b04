import type { Address } from '../address.ts';
import type { CertificateFacts } from '../transport.ts';

/**
 * What a TLS end needs to know, validated and with all data inline: made by `config/` from DownstreamTlsContext and
 * UpstreamTlsContext, used by the engine of the runtime. Source: Envoy, "TLS" and envoy.extensions.transport_sockets.tls.v3.
 */
export interface TlsCertificate {
  /** Leaf first. */
  readonly chainPem: string;
  /** Decrypted; it belongs to the leaf (checked when built). */
  readonly keyPem: string;
  readonly keyType: 'rsa' | 'ecdsa';
  readonly leaf: CertificateFacts;
}

export const SanType = { Email: 1, Dns: 2, Uri: 3, IpAddress: 4, OtherName: 5 } as const;
export type SanType = (typeof SanType)[keyof typeof SanType];

/** One of `match_typed_subject_alt_names`. */
export interface SanMatcher {
  readonly type: SanType;
  /** Of an other name; empty for the rest. */
  readonly oid: string;
  /** @param value as in the certificate; exact DNS matchers let wildcard names of the certificate match */
  matches(value: string): boolean;
}

/** How the peer's certificate is checked; with neither CA nor pins it is not. */
export interface TlsValidation {
  /** Empty: none. */
  readonly trustedCaPem: string;
  readonly systemRoots: boolean;
  /** Empty: none. */
  readonly crlPem: string;
  readonly verifyOnlyLeafCrl: boolean;
  /** Empty: any name. */
  readonly sanMatchers: readonly SanMatcher[];
  /** SHA-256 of the certificate, lower-case hex. */
  readonly certificateHashes: readonly string[];
  /** SHA-256 of the public key, base64. */
  readonly spkiHashes: readonly string[];
  /** Certificates allowed above the leaf, the trust anchor among them (Envoy takes 0 for 1); -1: no limit of its own. */
  readonly maxVerifyDepth: number;
  readonly allowExpired: boolean;
  /** `trust_chain_verification: ACCEPT_UNTRUSTED`: checked and told, never refused. */
  readonly acceptUntrusted: boolean;
}

export interface TlsParameters {
  readonly minVersion: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';
  readonly maxVersion: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';
  /** OpenSSL's list syntax; empty: Envoy's default. */
  readonly cipherSuites: string;
  /** Separated by colons; empty: default. */
  readonly ecdhCurves: string;
  /** Separated by colons; empty: default. */
  readonly signatureAlgorithms: string;
}

/** `key_log`: NSS key-log lines for sessions of these addresses. */
export interface TlsKeyLog {
  wants(local: Address, remote: Address): boolean;
  write(line: string): void;
}

interface TlsSettings {
  readonly parameters: TlsParameters;
  /** Null: the peer's certificate is not checked. */
  readonly validation: TlsValidation | null;
  /** In order of preference; empty: no ALPN. */
  readonly alpnProtocols: readonly string[];
  readonly keyLog: TlsKeyLog | null;
}

export interface TlsServerSettings extends TlsSettings {
  /** At least one. */
  readonly certificates: readonly TlsCertificate[];
  readonly requireClientCertificate: boolean;
  readonly requireSni: boolean;
  /** Without a certificate for the SNI: look for one of a fitting key type among all, instead of taking the first. */
  readonly fullScanOnSniMismatch: boolean;
  readonly preferClientCiphers: boolean;
  readonly disableStatelessResumption: boolean;
  /** 0: default. */
  readonly sessionTimeoutSeconds: number;
}

export interface TlsClientSettings extends TlsSettings {
  /** Null: none is presented. */
  readonly certificate: TlsCertificate | null;
  readonly sni: string;
  readonly autoHostSni: boolean;
  readonly autoSniSanValidation: boolean;
  readonly allowRenegotiation: boolean;
  /** Sessions kept for resumption; 0: none. */
  readonly maxSessionKeys: number;
  readonly enforceRsaKeyUsage: boolean;
}

/** Settings that a rotation of certificates replaces: connections take what is current when they begin. */
export interface TlsSettingsSource<S extends TlsServerSettings | TlsClientSettings> {
  /** Null while a secret is missing: connections are refused then (`ssl_context_update_by_sds`, `upstream_context_secrets_not_ready`). */
  readonly current: S | null;
}
