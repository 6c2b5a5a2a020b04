import type { TransportError } from '../transport.ts';
import type { TransportSocketOptions } from '../transport-socket.ts';
import { certificatesOf } from './certificate.ts';
import { CertificateSelector } from './certificate-selector.ts';
import { DEFAULT_CURVES } from './cipher-names.ts';
import type { ClientHello } from './client-hello.ts';
import type { HandshakeCounts } from './handshake-outcome.ts';
import { checksChain, checksRevocationHere, needsCertificate, PeerVerifier } from './peer-verifier.ts';
import { type LiveSession, SessionFacts, type SessionView } from './session-facts.ts';
import type { TlsClientSettings, TlsServerSettings, TlsValidation } from './tls-settings.ts';

/** What the runtime tells of a handshake that it finished. */
export interface HandshakeView extends SessionView {
  /** Code of the verdict about the peer's chain; empty: trusted. */
  readonly chainError: string;
  /** DER of the peer's certificate; null: none was presented. */
  readonly leaf: Buffer | null;
}

export interface Conclusion {
  /** Null: the session may begin. */
  readonly failure: TransportError | null;
  /** Of a refused peer too: access logs tell who it was. Null: nothing is known. */
  readonly facts: SessionFacts | null;
}

const NOBODY: LiveSession = { peerChain: () => [] };

const NO_ROOTS: ReadonlySet<string> = new Set();

/** IANA numbers of groups by the names that BoringSSL gives to them. */
const GROUPS: ReadonlyMap<string, number> = new Map([
  ['P-256', 23],
  ['prime256v1', 23],
  ['P-384', 24],
  ['secp384r1', 24],
  ['P-521', 25],
  ['secp521r1', 25],
  ['X25519', 29],
  ['X25519MLKEM768', 0x11ec],
]);
const X25519_MLKEM768 = 0x11ec;
const TLS_1_3 = 0x0304;
const GROUP_NAMES: ReadonlyMap<number, string> = new Map([
  [23, 'P-256'],
  [24, 'P-384'],
  [25, 'P-521'],
  [29, 'X25519'],
  [0x11ec, 'X25519MLKEM768'],
]);

/** @param number of IANA. @returns BoringSSL's name; empty: none that it knows */
export function groupName(number: number): string {
  return GROUP_NAMES.get(number) ?? '';
}

/** What BoringSSL calls a group that Node may call otherwise. */
export function curveName(name: string): string {
  return GROUP_NAMES.get(GROUPS.get(name) ?? -1) ?? name;
}

/** By the key in the certificate: what signs with it by default. Object identifiers in DER, without their tags. */
const SIGNATURES: readonly (readonly [Buffer, string])[] = [
  [Buffer.from('2a8648ce3d030107', 'hex'), 'ecdsa_secp256r1_sha256'],
  [Buffer.from('2b81040022', 'hex'), 'ecdsa_secp384r1_sha384'],
  [Buffer.from('2b81040023', 'hex'), 'ecdsa_secp521r1_sha512'],
  [Buffer.from('2a864886f70d010101', 'hex'), 'rsa_pss_rsae_sha256'],
];

/** The runtimes do not tell the signature algorithm: it is inferred from the kind of key. */
function signatureAlgorithm(leaf: Buffer | null): string {
  if (leaf === null) return '';
  for (const [oid, name] of SIGNATURES) if (leaf.includes(oid)) return name;
  return '';
}

/** Checks of one end that do not depend on the runtime. One per settings. */
abstract class HandshakePolicy {
  readonly verifier: PeerVerifier | null;
  /** SHA-256 of the CAs. */
  readonly roots: ReadonlySet<string>;
  /** Of the last session whose peer showed no certificate: the next one is mostly the same, and one object serves both. */
  #lastAnonymous: SessionFacts | null = null;

  constructor(validation: TlsValidation | null, peer: 'server' | 'client', now: () => number) {
    this.verifier = validation === null ? null : new PeerVerifier(validation, peer, now);
    this.roots =
      validation === null || validation.trustedCaPem === ''
        ? NO_ROOTS
        : new Set(certificatesOf(validation.trustedCaPem).map((each) => each.sha256));
  }

  protected judge(
    view: HandshakeView,
    live: LiveSession,
    counts: HandshakeCounts,
    sanOverride: readonly string[],
    sniToMatch: string,
  ): TransportError | boolean {
    const verdict = this.verifier!.verify({
      chainError: view.chainError,
      leaf: view.leaf!,
      chain: () => live.peerChain(),
      resumed: view.resumed,
      sanOverride,
      sniToMatch,
    });
    counts.verdict(verdict);
    return verdict.accepted ? verdict.validated : { code: 'TLS', message: counts.refused(verdict) };
  }

  protected conclude(
    view: HandshakeView,
    live: LiveSession,
    counts: HandshakeCounts,
    validated: boolean,
    local: SessionFacts['local'],
  ): Conclusion {
    counts.done({
      cipher: view.cipher,
      version: view.protocolVersion,
      curve: view.protocolVersion === 'TLSv1.3' || view.cipher.startsWith('ECDHE') ? view.curve : '',
      sigalg: signatureAlgorithm(view.leaf),
      resumed: view.resumed,
      hasPeerCertificate: view.leaf !== null,
    });
    return { failure: null, facts: this.factsOf(view, live, validated, local) };
  }

  protected factsOf(
    view: HandshakeView,
    live: LiveSession,
    validated: boolean,
    local: SessionFacts['local'],
  ): SessionFacts {
    if (view.leaf === null && this.#lastAnonymous?.tells(view, local) === true) return this.#lastAnonymous;
    const facts = new SessionFacts({ ...view, group: view.curve, validated, local, live, trustedRoots: this.roots });
    // Without a certificate nothing is validated, and nothing will be asked of the live session.
    if (view.leaf === null) this.#lastAnonymous = facts;
    return facts;
  }
}

function verifies(validation: TlsValidation | null): boolean {
  return validation !== null && (checksChain(validation) || needsCertificate(validation) || validation.acceptUntrusted);
}

/** The server's side. */
export class ServerPolicy extends HandshakePolicy {
  readonly settings: TlsServerSettings;
  readonly selector: CertificateSelector;
  readonly requestsCertificate: boolean;
  readonly requiresCertificate: boolean;
  /**
   * The runtime itself may refuse what it does not trust: then a client without a certificate gets its alert. Not where our
   * own checks may accept what the runtime does not.
   */
  readonly runtimeRefuses: boolean;
  readonly #curves: readonly number[];
  readonly #requests: boolean;
  readonly #begun: SessionFacts[] = [];

  constructor(settings: TlsServerSettings, now: () => number) {
    super(settings.validation, 'client', now);
    const { validation, requireClientCertificate } = settings;
    this.settings = settings;
    this.selector = new CertificateSelector(settings);
    this.#requests = verifies(validation);
    this.requestsCertificate = this.#requests;
    // Without a CA, Envoy does not read that a certificate is required.
    this.requiresCertificate =
      validation !== null && ((requireClientCertificate && checksChain(validation)) || needsCertificate(validation));
    this.runtimeRefuses =
      this.requiresCertificate &&
      validation !== null &&
      checksChain(validation) &&
      !checksRevocationHere(validation) &&
      !validation.allowExpired &&
      !validation.acceptUntrusted;
    const curves = settings.parameters.ecdhCurves === '' ? DEFAULT_CURVES : settings.parameters.ecdhCurves;
    this.#curves = curves.split(':').map((name) => GROUPS.get(name) ?? -1);
  }

  chooseCertificate(hello: ClientHello | null, serverName: string): number {
    if (hello === null || !this.selector.needsHello) return 0;
    return this.selector.select(serverName, hello);
  }

  /** The group that a server with its own order of preference takes; empty: none in common. */
  curveFor(hello: ClientHello | null): string {
    if (hello === null) return '';
    const offered = hello.supportedGroups();
    const hybrid = this.settings.parameters.maxVersion === 'TLSv1.3' && hello.supportedVersions()?.includes(TLS_1_3);
    for (const curve of this.#curves) {
      // Post-quantum groups are of TLS 1.3 alone.
      if (curve === X25519_MLKEM768 && hybrid !== true) continue;
      if (offered.includes(curve)) return GROUP_NAMES.get(curve) ?? '';
    }
    return '';
  }

  /** The facts of a handshake whose version is not agreed upon yet: until then BoringSSL calls it 1.2, and so do Envoy's logs. */
  begun(certificate: number): SessionFacts {
    this.#begun[certificate] ??= this.broken(certificate, 'TLSv1.2', '', '');
    return this.#begun[certificate];
  }

  /** The facts of a handshake that has failed. */
  broken(certificate: number, protocolVersion: string, cipher: string, group: string): SessionFacts {
    return new SessionFacts({
      protocolVersion,
      cipher,
      group: cipher === '' ? '' : group,
      alpn: '',
      serverName: '',
      sessionId: '',
      resumed: false,
      validated: false,
      local: this.settings.certificates[certificate]?.leaf ?? null,
      leaf: null,
      live: NOBODY,
      trustedRoots: this.roots,
    });
  }

  onHandshake(view: HandshakeView, live: LiveSession, counts: HandshakeCounts, certificate: number): Conclusion {
    const local = this.settings.certificates[certificate]?.leaf ?? null;
    let validated = false;
    if (view.leaf === null) {
      if (this.requiresCertificate) {
        const failure = { code: 'TLS', message: counts.noClientCertificate() };
        return { failure, facts: this.factsOf(view, live, false, local) };
      }
    } else if (this.#requests) {
      const result = this.judge(view, live, counts, [], '');
      if (typeof result !== 'boolean') return { failure: result, facts: this.factsOf(view, live, false, local) };
      validated = result;
    }
    return this.conclude(view, live, counts, validated, local);
  }
}

/** The client's side. */
export class ClientPolicy extends HandshakePolicy {
  readonly settings: TlsClientSettings;
  readonly #requests: boolean;

  constructor(settings: TlsClientSettings, now: () => number) {
    super(settings.validation, 'server', now);
    this.settings = settings;
    this.#requests = verifies(settings.validation);
  }

  serverName(options: TransportSocketOptions, hostname: string): string {
    if (options.serverName !== '') return options.serverName;
    if (this.settings.autoHostSni && hostname !== '') return hostname;
    return this.settings.sni;
  }

  alpnProtocols(options: TransportSocketOptions): readonly string[] {
    if (options.applicationProtocols.length > 0) return options.applicationProtocols;
    if (this.settings.alpnProtocols.length > 0) return this.settings.alpnProtocols;
    return options.applicationProtocolFallback;
  }

  onHandshake(
    view: HandshakeView,
    live: LiveSession,
    counts: HandshakeCounts,
    options: TransportSocketOptions,
    sentName: string,
  ): Conclusion {
    let validated = false;
    const sanOverride = options.subjectAltNames;
    if (this.#requests || sanOverride.length > 0) {
      if (this.verifier === null || view.leaf === null) {
        // Names to check but nothing to trust: as BoringSSL with an empty store.
        const verdict = {
          accepted: false,
          validated: false,
          stat: 1 as const,
          detail:
            'verify cert failed: X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate',
        };
        counts.verdict(verdict);
        return { failure: { code: 'TLS', message: counts.refused(verdict) }, facts: null };
      }
      const sni = this.settings.autoSniSanValidation ? sentName : '';
      const result = this.judge(view, live, counts, sanOverride, sni);
      if (typeof result !== 'boolean') {
        return { failure: result, facts: this.factsOf(view, live, false, this.settings.certificate?.leaf ?? null) };
      }
      validated = result;
    }
    return this.conclude(view, live, counts, validated, this.settings.certificate?.leaf ?? null);
  }
}
