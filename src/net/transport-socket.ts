import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { Scope } from '../stats/store.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { AcceptedSocket } from './filter.ts';
import type { TlsClientSettings, TlsServerSettings, TlsSettingsSource } from './tls/tls-settings.ts';
import type { ConnectSpec, SocketRuntime, Transport, TransportHandler } from './transport.ts';
import type { UpstreamSource } from './upstream-source.ts';

/**
 * What stands between an accepted socket and its connection: TLS and the like. One per filter chain and worker; a rotation of
 * certificates changes what later connections get, never those that there are.
 */
export interface DownstreamTransportSocket {
  /** `ssl` in stats and in `x-forwarded-proto`: the chain's connections are secure. */
  readonly isSecure: boolean;
  /**
   * Takes over `raw`, whose first bytes were read before (`peeked` is left empty). The transport that it gives is not open yet
   * unless the socket adds no handshake: its handler hears `onOpen` when the handshake is done, `onClosed` when it fails.
   * @param peerEnded the peer's FIN came with the peeked bytes
   */
  accept(raw: Transport, socket: AcceptedSocket, peeked: ByteBuffer, peerEnded: boolean): Transport;
}

/**
 * What a request asks of the socket of the connection that will carry it (Envoy: TransportSocketOptions). Connections are
 * shared only among requests with the same `key`.
 */
export interface TransportSocketOptions {
  /** Instead of the configured SNI; empty: as configured. */
  readonly serverName: string;
  /** One of these must be among the peer's names, beside what is configured, instead of the server name; empty: as configured. */
  readonly subjectAltNames: readonly string[];
  /** Instead of the configured ALPN; empty: as configured. */
  readonly applicationProtocols: readonly string[];
  /** ALPN when nothing is configured and nothing overrides. */
  readonly applicationProtocolFallback: readonly string[];
  /** The header that an upstream PROXY protocol socket sends; null: of the connection itself. */
  readonly proxyProtocol: ProxyProtocolData | null;
  /** The downstream connection's objects for an `internal_upstream` socket; null: none are passed. */
  readonly passthrough: unknown;
  /** Where the connection is to come from; absent or null: as the cluster says. */
  readonly source?: UpstreamSource | null;
  /** Equal for equal options; empty for {@link NO_SOCKET_OPTIONS}. */
  readonly key: string;
}

export interface ProxyProtocolData {
  readonly source: ConnectSpec['address'];
  readonly destination: ConnectSpec['address'];
  /** Type-length-values of version 2, as the downstream sent or as configured. */
  readonly tlvs: readonly { readonly type: number; readonly value: Uint8Array }[];
}

export const NO_SOCKET_OPTIONS: TransportSocketOptions = {
  serverName: '',
  subjectAltNames: [],
  applicationProtocols: [],
  applicationProtocolFallback: [],
  proxyProtocol: null,
  passthrough: null,
  key: '',
};

/** The host that a connection goes to, as far as sockets care. */
export interface SocketPeer {
  /** `hostname` of the endpoint; for `auto_host_sni`. */
  readonly hostname: string;
  /** Of the endpoint and of its cluster, by namespace; absent: none. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly clusterMetadata?: Readonly<Record<string, unknown>>;
}

/** How the connections of a cluster (or of those of its hosts that a match picks) reach their peer. One per worker. */
export interface UpstreamTransportSocket {
  readonly isSecure: boolean;
  /** Whether the handshake will tell the application protocol (Envoy: `supportsAlpn`); for HTTP protocol selection. */
  readonly supportsAlpn: boolean;
  /**
   * Begins to connect. `handler` hears of it later, never inside this call: `onOpen` once the handshake is done too.
   * @throws when no socket could be made
   */
  connect(
    sockets: SocketRuntime,
    spec: ConnectSpec,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): Transport;
}

/** One that can begin over a connection that there is: behind an upstream PROXY protocol header, inside a tunnel. */
export interface WrappingTransportSocket extends UpstreamTransportSocket {
  /**
   * Takes over `raw`, open or connecting, which nothing was read from. `handler` hears of it later, as for `connect`; `raw`'s
   * own handler hears nothing more.
   */
  wrap(raw: Transport, peer: SocketPeer, options: TransportSocketOptions, handler: TransportHandler): Transport;
}

/** Hears of a secret: once as soon as it is known, then whenever it changes. */
export interface SecretWatcher {
  /** Bytes of an envoy.extensions.transport_sockets.tls.v3.Secret whose files are inline; validated by main. */
  onSecret(secret: Uint8Array): void;
}

/** The worker's secrets. Main reads, watches and validates; workers only hear. */
export interface SecretFeed {
  /** @returns how to unsubscribe */
  watch(key: string, watcher: SecretWatcher): () => void;
  /** Whoever asks which certificates are in use asks `context` too. @returns how to end that */
  enlist(context: () => TlsContextInUse): () => void;
}

/** A certificate as `/certs` shows it. Structured-cloneable: it leaves the worker. */
export interface CertificateInUse {
  /** Of its file; `<inline>` when it came otherwise. */
  readonly path: string;
  readonly serialNumber: string;
  readonly dnsNames: readonly string[];
  readonly uriNames: readonly string[];
  readonly ipNames: readonly string[];
  /** Unix ms. */
  readonly validFromMs: number;
  readonly validToMs: number;
}

/** What one transport socket shows and trusts at present. */
export interface TlsContextInUse {
  readonly certificates: readonly CertificateInUse[];
  /** The first of those that it trusts; null: none. */
  readonly authority: CertificateInUse | null;
}

/** What transport sockets need from their worker, beside sockets. */
export interface TransportSocketServices {
  readonly dispatcher: Dispatcher;
  readonly tls: TlsEngine;
  readonly secrets: SecretFeed;
}

/** What transport sockets need from their worker and from the listener or cluster that they belong to. */
export interface TransportSocketEnvironment extends TransportSocketServices {
  /** `listener.<address>` or `cluster.<name>`: stats such as `ssl.handshake` go below it. */
  readonly scope: Scope;
  /** `release` is called once, when the listener or cluster is gone: subscriptions end then. */
  onRelease(release: () => void): void;
}

/** TLS of the runtime: `net/bun`, `net/node`. */
export interface TlsEngine {
  /** Stats are those of the listener (or cluster) that the socket belongs to. */
  serverSocket(source: TlsSettingsSource<TlsServerSettings>, stats: TlsStats): DownstreamTransportSocket;
  clientSocket(source: TlsSettingsSource<TlsClientSettings>, stats: TlsStats): WrappingTransportSocket;
  /**
   * Whether the runtime can carry the settings out.
   * @returns why not, in words for the person who wrote the configuration; null: it can
   */
  refusal(settings: TlsServerSettings | TlsClientSettings): string | null;
}

/** What is counted per name: a stats scope. */
export interface TlsStatScope {
  counter(name: string): { inc(): void };
}

/** Envoy's `ssl.*` stats of a listener or cluster. */
export interface TlsStats {
  readonly connectionError: { inc(): void };
  readonly handshake: { inc(): void };
  readonly sessionReused: { inc(): void };
  readonly noCertificate: { inc(): void };
  readonly failVerifyNoCert: { inc(): void };
  readonly failVerifyError: { inc(): void };
  readonly failVerifySan: { inc(): void };
  readonly failVerifyCertHash: { inc(): void };
  readonly ocspStaplingFailed: { inc(): void };
  readonly ocspStaplingOmitted: { inc(): void };
  readonly ocspStaplingResponses: { inc(): void };
  readonly ocspStaplingRequests: { inc(): void };
  readonly wasKeyUsageInvalid: { inc(): void };
  /** `ciphers.<name>`, `curves.<name>`, `sigalgs.<name>`, `versions.<name>`. */
  readonly scope: TlsStatScope;
}

function noTls(): never {
  throw new Error('there is no TLS engine here');
}

/** Where no configuration with TLS is accepted. */
export const NO_TLS: TlsEngine = {
  serverSocket: noTls,
  clientSocket: noTls,
  refusal: () => 'there is no TLS here',
};

export const NO_SECRETS: SecretFeed = { watch: () => () => {}, enlist: () => () => {} };

/** Plain bytes. */
export const RAW_UPSTREAM_SOCKET: UpstreamTransportSocket = {
  isSecure: false,
  supportsAlpn: false,
  connect: (sockets, spec, _peer, _options, handler) => sockets.connect(spec, handler),
};
