import type { TlsStats } from '../transport-socket.ts';
import type { ClientHello } from './client-hello.ts';
import {
  handshakeFailure,
  helloFailure,
  NO_CLIENT_CERTIFICATE,
  NO_CLIENT_CERTIFICATE_FAILURE,
  sessionFailure,
  verifyFailure,
} from './failure-text.ts';
import { type Verdict, VerifyStat } from './peer-verifier.ts';

/** Counts and words of what becomes of handshakes. Source: Envoy, SslSocket::drainErrorQueue and ContextImpl::logHandshake. */
export class HandshakeCounts {
  readonly #stats: TlsStats;
  readonly #counters = new Map<string, { inc(): void }>();

  constructor(stats: TlsStats) {
    this.#stats = stats;
  }

  /** A client began, whatever becomes of it: no answer of OCSP is ever stapled, which counts where one was asked for. */
  hello(hello: ClientHello): void {
    if (!hello.hasStatusRequest) return;
    this.#stats.ocspStaplingRequests.inc();
    this.#stats.ocspStaplingOmitted.inc();
  }

  /** @param curve `X25519` and the like, `sigalg` of the peer; empty: not known, or there was none */
  done(session: {
    readonly cipher: string;
    readonly version: string;
    readonly curve: string;
    readonly sigalg: string;
    readonly resumed: boolean;
    readonly hasPeerCertificate: boolean;
  }): void {
    const stats = this.#stats;
    stats.handshake.inc();
    if (session.resumed) stats.sessionReused.inc();
    this.#count('ciphers.', session.cipher);
    this.#count('versions.', session.version);
    this.#count('curves.', session.curve);
    this.#count('sigalgs.', session.sigalg);
    if (!session.hasPeerCertificate) stats.noCertificate.inc();
  }

  #count(kind: string, name: string): void {
    if (name === '') return;
    const key = kind + name;
    let counter = this.#counters.get(key);
    if (counter === undefined) {
      counter = this.#stats.scope.counter(key);
      this.#counters.set(key, counter);
    }
    counter.inc();
  }

  /** The runtime ended the handshake or the session. @returns the failure's text */
  runtimeFailure(text: string): string {
    if (text.includes(NO_CLIENT_CERTIFICATE)) return this.noClientCertificate();
    this.#stats.connectionError.inc();
    return handshakeFailure(text);
  }

  /** A server refused our hello. @returns the failure's text */
  helloFailure(text: string): string {
    this.#stats.connectionError.inc();
    return helloFailure(text);
  }

  /** The runtime ended an open session. @returns the failure's text */
  sessionFailure(text: string): string {
    // The peer's own alert leaves us able to close in order.
    if (text.includes('_ALERT_')) return this.runtimeFailure(text);
    this.#stats.connectionError.inc();
    this.#stats.connectionError.inc();
    return sessionFailure(text);
  }

  noClientCertificate(): string {
    this.#stats.failVerifyNoCert.inc();
    return NO_CLIENT_CERTIFICATE_FAILURE;
  }

  verdict(verdict: Verdict): void {
    if (verdict.stat === VerifyStat.Error) this.#stats.failVerifyError.inc();
    else if (verdict.stat === VerifyStat.San) this.#stats.failVerifySan.inc();
    else if (verdict.stat === VerifyStat.Hash) this.#stats.failVerifyCertHash.inc();
  }

  refused(verdict: Verdict): string {
    return verifyFailure(verdict.detail);
  }
}
