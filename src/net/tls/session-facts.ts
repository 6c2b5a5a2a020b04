import type { CertificateFacts, TransportSecurity } from '../transport.ts';
import { Certificate } from './certificate.ts';
import { cipherNumber } from './cipher-names.ts';

const NO_CERTIFICATE = Buffer.alloc(0);

/** What the runtime still knows of a session when somebody asks. */
export interface LiveSession {
  /** DER of the peer's chain, leaf first; empty once the socket is gone. */
  peerChain(): Buffer[];
}

/** What the runtime tells of a session. */
export interface SessionView {
  readonly protocolVersion: string;
  readonly cipher: string;
  /** Empty: not known. */
  readonly curve: string;
  readonly alpn: string;
  readonly serverName: string;
  readonly sessionId: string;
  readonly resumed: boolean;
}

/** The facts of one session. What is rarely asked for is computed then. */
export class SessionFacts implements TransportSecurity {
  readonly protocolVersion: string;
  readonly cipher: string;
  readonly group: string;
  readonly alpn: string;
  readonly serverName: string;
  readonly sessionId: string;
  readonly resumed: boolean;
  readonly peerCertificateValidated: boolean;
  readonly local: CertificateFacts | null;
  readonly #leaf: Buffer | null;
  readonly #trustedRoots: ReadonlySet<string>;
  #live: LiveSession | null;
  #peer: CertificateFacts | null = null;
  #chainPem: string | null = null;

  constructor(parts: {
    readonly protocolVersion: string;
    readonly cipher: string;
    readonly group: string;
    readonly alpn: string;
    readonly serverName: string;
    readonly sessionId: string;
    readonly resumed: boolean;
    readonly validated: boolean;
    readonly local: CertificateFacts | null;
    readonly leaf: Buffer | null;
    readonly live: LiveSession;
    readonly trustedRoots: ReadonlySet<string>;
  }) {
    this.protocolVersion = parts.protocolVersion;
    this.cipher = parts.cipher;
    this.group = parts.group;
    this.alpn = parts.alpn;
    this.serverName = parts.serverName;
    this.sessionId = parts.sessionId;
    this.resumed = parts.resumed;
    this.peerCertificateValidated = parts.validated;
    this.local = parts.local;
    this.#leaf = parts.leaf;
    this.#live = parts.leaf === null ? null : parts.live;
    this.#trustedRoots = parts.trustedRoots;
  }

  /** Whether a session without a certificate of the peer has the same facts. */
  tells(other: SessionView, local: CertificateFacts | null): boolean {
    return (
      this.#leaf === null &&
      this.protocolVersion === other.protocolVersion &&
      this.cipher === other.cipher &&
      this.group === other.curve &&
      this.alpn === other.alpn &&
      this.serverName === other.serverName &&
      this.sessionId === other.sessionId &&
      this.resumed === other.resumed &&
      this.local === local
    );
  }

  get cipherId(): number {
    return cipherNumber(this.cipher);
  }

  get peerCertificatePresented(): boolean {
    return this.#leaf !== null;
  }

  /** Null too for one that is malformed, which no handshake lets through. */
  get peer(): CertificateFacts | null {
    if (this.#leaf !== null && this.#peer === null) this.#peer = Certificate.parse(this.#leaf);
    return this.#peer;
  }

  /** As the peer sent it, but without a root that we know ourselves: the runtimes append it. Empty once the socket is gone. */
  get peerChainPem(): string {
    if (this.#chainPem !== null) return this.#chainPem;
    if (this.#leaf === null) return '';
    const chain = (this.#live?.peerChain() ?? [NO_CERTIFICATE]).map((der) => Certificate.parse(der));
    let text = '';
    for (const [index, each] of chain.entries()) {
      if (each !== null && (index === 0 || !this.#trustedRoots.has(each.sha256))) text += each.pem;
    }
    this.#chainPem = text;
    return text;
  }

  /** The socket is going: what is only there while it lives is given up. */
  onSocketGone(): void {
    this.#live = null;
  }
}
