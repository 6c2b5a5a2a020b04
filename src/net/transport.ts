import type { Address } from './address.ts';

/** Why a transport ended otherwise than by an orderly close. */
export interface TransportError {
  /** errno name such as ECONNRESET, ECONNREFUSED, ETIMEDOUT, EPIPE; or `TLS`. */
  readonly code: string;
  /** Envoy's text for `%..._TRANSPORT_FAILURE_REASON%`; empty when there is none. */
  readonly message: string;
  /** True when our own side failed, such as by a local address that cannot be bound (Envoy: local connection failure). */
  readonly local?: boolean;
}

/** Receives a transport's events. Every call comes inside a dispatcher turn. */
export interface TransportHandler {
  /** Connected (and, for TLS, the handshake is done). Never called for accepted raw sockets, which start open. */
  onOpen(): void;
  /** Bytes arrived; the receiver owns them. */
  onBytes(bytes: Buffer): void;
  /** Room again after `write` took less than offered. */
  onDrain(): void;
  /** The transport has sent so many bytes of its own, such as a PROXY protocol header. */
  onOwnBytesSent?(count: number): void;
  /** The peer's FIN: no more bytes will come. */
  onPeerEnd(): void;
  /**
   * The peer has sent FIN while the transport is paused; `onPeerEnd` still follows once it is resumed and the bytes before it
   * were delivered. A hint: late (up to a second) or, where the runtime cannot tell, absent.
   */
  onEarlyClose?(): void;
  /** Last call. null: orderly, both directions ended or closed by us. Before `onOpen`: the connect failed. */
  onClosed(error: TransportError | null): void;
}

/** Facts about a TLS session; null for plain transports. Filled when the handshake is done. */
export interface TransportSecurity {
  /** `TLSv1.2`, `TLSv1.3`. */
  readonly protocolVersion: string;
  /** OpenSSL's name, such as `ECDHE-RSA-AES128-GCM-SHA256` or `TLS_AES_128_GCM_SHA256`. */
  readonly cipher: string;
  /** IANA number of the cipher suite; 0xffff: unknown. */
  readonly cipherId: number;
  /** Name of the key exchange's group, such as `X25519`; empty: unknown. */
  readonly group: string;
  /** Negotiated application protocol; empty: none. */
  readonly alpn: string;
  /** SNI that the client sent. */
  readonly serverName: string;
  /** Hex, lower case; empty when there is none. */
  readonly sessionId: string;
  readonly resumed: boolean;
  readonly peerCertificatePresented: boolean;
  /** Presented, and checked against a CA, names or pins. */
  readonly peerCertificateValidated: boolean;
  /** Null when none was presented. */
  readonly peer: CertificateFacts | null;
  /** The peer's chain as PEM, leaf first; for XFCC `Chain`. Empty when none was presented. */
  readonly peerChainPem: string;
  /** Our own certificate; null when we presented none. */
  readonly local: CertificateFacts | null;
}

/** What logs, headers and matchers ask of a certificate. Computed when first asked for. */
export interface CertificateFacts {
  /** RFC 2253, as Envoy prints it: `CN=a,OU=b`. */
  readonly subject: string;
  readonly issuer: string;
  readonly serialNumber: string;
  readonly dnsNames: readonly string[];
  readonly uriNames: readonly string[];
  readonly ipNames: readonly string[];
  readonly emailNames: readonly string[];
  readonly otherNames: readonly string[];
  readonly oids: readonly string[];
  /** SHA-256 of the DER, lower-case hex. */
  readonly sha256: string;
  readonly sha1: string;
  /** SHA-256 of the SubjectPublicKeyInfo, base64. */
  readonly spkiSha256: string;
  /** Unix ms. */
  readonly validFromMs: number;
  readonly validToMs: number;
  /** Of the leaf alone. */
  readonly pem: string;
}

/**
 * A byte stream over one socket: the seam between Nuncio and the runtime. Implementations: `net/bun`, `net/node`, and TLS
 * on top of either. Nothing outside those folders knows the runtime's sockets.
 */
export interface Transport {
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  /** OS file descriptor; -1 when unknown. */
  readonly fd: number;
  readonly security: TransportSecurity | null;
  setHandler(handler: TransportHandler): void;
  /** @returns bytes taken (maybe 0, then one `onDrain` follows); -1 once closed */
  write(bytes: Buffer, start: number, end: number): number;
  /** Stops the flow from the peer at its source; not counted. */
  pause(): void;
  resume(): void;
  /** FIN after everything taken. */
  endWrites(): void;
  /** Orderly close of both directions; `onClosed(null)` follows, later. */
  close(): void;
  /** RST; `onClosed` follows, later. */
  reset(): void;
  setNoDelay(on: boolean): void;
  /** The kernel's smoothed round-trip time in whole ms; -1: not known, or not any more. Costs a system call. */
  roundTripMs?(): number;
  /** @param idleSeconds 0 leaves the system's default */
  setKeepAlive(on: boolean, idleSeconds: number): void;
}

export interface ListenSpec {
  readonly address: Address;
  readonly reusePort: boolean;
  /** Pending connections; 0 = system default. */
  readonly backlog: number;
  readonly ipv6Only: boolean;
  readonly transparent: boolean;
  readonly freebind: boolean;
  readonly socketOptions: readonly SocketOption[];
}

/** A numeric socket option as in envoy.config.core.v3.SocketOption. */
export interface SocketOption {
  readonly level: number;
  readonly name: number;
  readonly value: number | Uint8Array;
  readonly state: 'prebind' | 'bound' | 'listening';
}

export interface ConnectSpec {
  readonly address: Address;
  readonly bindAddress: Address | null;
  readonly socketOptions: readonly SocketOption[];
  /** For the listener's end of an internal connection; absent: nothing. */
  readonly passthrough?: unknown;
}

export interface ListeningSocket {
  /** With the real port when 0 was asked for. */
  readonly address: Address;
  /** Stops accepting and closes the listening socket; accepted connections live on. */
  close(): void;
}

export interface Acceptor {
  /** The acceptor calls `transport.setHandler` before it returns, or closes the transport. */
  onAccept(transport: Transport): void;
  /** A connection was closed at once because the process has almost no descriptors left. */
  onOutOfDescriptors?(): void;
}

/** What an implementation can do besides the plain. Configuration that needs what is missing is refused when it is loaded. */
export interface SocketFeatures {
  /** `socketOptions` of both specs, `backlog` above 511, `transparent` and `freebind`. */
  readonly socketOptions: boolean;
  readonly reusePort: boolean;
  /** `originalDestination` */
  readonly originalDestination: boolean;
}

/** The runtime's sockets. One instance per thread. */
export interface SocketRuntime {
  /** @throws Error with `code` (EADDRINUSE, EACCES, ...) */
  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket;
  /** Begins to connect; the handler hears `onOpen`, or `onClosed` with the failure, both always later. */
  connect(spec: ConnectSpec, handler: TransportHandler): Transport;
  readonly features: SocketFeatures;
  /** Where iptables took an accepted connection from (SO_ORIGINAL_DST); null when nowhere else. */
  originalDestination(transport: Transport): Address | null;
}

/** `SO_KEEPALIVE` and its three numbers as socket options (Envoy: TcpKeepalive). 0 leaves the system's default. */
export function keepAliveOptions(probes: number, idleSeconds: number, intervalSeconds: number): SocketOption[] {
  const options: SocketOption[] = [{ level: 1, name: 9, value: 1, state: 'prebind' }];
  // IPPROTO_TCP: TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL
  if (probes > 0) options.push({ level: 6, name: 6, value: probes, state: 'prebind' });
  if (idleSeconds > 0) options.push({ level: 6, name: 4, value: idleSeconds, state: 'prebind' });
  if (intervalSeconds > 0) options.push({ level: 6, name: 5, value: intervalSeconds, state: 'prebind' });
  return options;
}
