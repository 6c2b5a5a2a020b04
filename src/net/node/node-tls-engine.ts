import tls, { type TLSSocket } from 'node:tls';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { Dispatcher } from '../dispatcher.ts';
import type { AcceptedSocket } from '../filter.ts';
import { selectAlpn } from '../tls/alpn.ts';
import { DEFAULT_CLIENT_CIPHERS, DEFAULT_CURVES, DEFAULT_SERVER_CIPHERS, withoutGroups } from '../tls/cipher-names.ts';
import type { ClientHello } from '../tls/client-hello.ts';
import { SECRET_MISSING_FAILURE } from '../tls/failure-text.ts';
import { HandshakeCounts } from '../tls/handshake-outcome.ts';
import { ClientPolicy, curveName, type HandshakeView, ServerPolicy } from '../tls/handshake-policy.ts';
import { HelloWait } from '../tls/hello-wait.ts';
import { checksRevocationHere } from '../tls/peer-verifier.ts';
import { SessionCache, sessionIdOf } from '../tls/session-cache.ts';
import { withSystemRoots } from '../tls/system-roots.ts';
import type { TlsClientSettings, TlsKeyLog, TlsServerSettings, TlsSettingsSource } from '../tls/tls-settings.ts';
import type { ConnectSpec, SocketRuntime, Transport, TransportError, TransportHandler } from '../transport.ts';
import type {
  DownstreamTransportSocket,
  SocketPeer,
  TlsEngine,
  TlsStats,
  TransportSocketOptions,
  WrappingTransportSocket,
} from '../transport-socket.ts';
import { NodeTransport } from './node-runtime.ts';
import { ENDED, type NodeTlsOwner, NodeTlsTransport } from './node-tls-transport.ts';

/** SSL_OP_NO_TICKET, SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_NO_RENEGOTIATION of OpenSSL. */
const OP_NO_TICKET = 0x4000;
const OP_SERVER_PREFERENCE = 0x400000;
const OP_NO_RENEGOTIATION = 0x40000000;

function secureContext(
  settings: TlsServerSettings | TlsClientSettings,
  ciphers: string,
  certificate: { readonly chainPem: string; readonly keyPem: string } | null,
  secureOptions: number,
  sessionTimeout: number,
): tls.SecureContext {
  const { parameters, validation } = settings;
  const ca = validation?.trustedCaPem ?? '';
  const crl =
    validation === null || validation.crlPem === '' || checksRevocationHere(validation)
      ? undefined
      : (validation.crlPem.match(/-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----/g) ?? []);
  return tls.createSecureContext({
    cert: certificate?.chainPem,
    key: certificate?.keyPem,
    ca: ca === '' ? [] : ca,
    crl,
    minVersion: parameters.minVersion,
    maxVersion: parameters.maxVersion,
    ciphers: withoutGroups(parameters.cipherSuites === '' ? ciphers : parameters.cipherSuites),
    ecdhCurve: parameters.ecdhCurves === '' ? DEFAULT_CURVES : parameters.ecdhCurves,
    sigalgs: parameters.signatureAlgorithms === '' ? undefined : parameters.signatureAlgorithms,
    secureOptions,
    // Without one, OpenSSL resumes no session of a client that may have a certificate: it ends the handshake.
    sessionIdContext: 'nuncio',
    sessionTimeout: sessionTimeout === 0 ? undefined : sessionTimeout,
  });
}

/** fatal, protocol_version */
const PROTOCOL_ALERT = Buffer.of(21, 3, 1, 0, 2, 2, 70);
const HTTP_REQUEST = 'error:1000009c:SSL routines:OPENSSL_internal:HTTP_REQUEST';
const WRONG_VERSION = 'error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER';

function isHttp(bytes: Buffer): boolean {
  return /^(?:GET |POST|HEAD|PUT )/.test(bytes.latin1Slice(0, 4));
}

interface NativeHandle {
  verifyError(): { readonly code?: string } | null | undefined;
}

function viewOf(transport: NodeTlsTransport, socket: TLSSocket, curve: string): HandshakeView {
  const protocolVersion = socket.getProtocol() ?? '';
  const session = protocolVersion === 'TLSv1.2' ? socket.getSession() : undefined;
  // Of the chain alone, without the name: `authorized` is about both, and a server's socket made by hand has none.
  const problem = (socket as unknown as { _handle: NativeHandle | null })._handle?.verifyError();
  return {
    protocolVersion,
    cipher: socket.getCipher()?.name ?? '',
    curve,
    alpn: typeof socket.alpnProtocol === 'string' ? socket.alpnProtocol : '',
    serverName: transport.serverName,
    sessionId: session === undefined ? '' : sessionIdOf(session),
    resumed: socket.isSessionReused(),
    chainError: problem === null || problem === undefined ? '' : (problem.code ?? 'CERT_UNTRUSTED'),
    leaf: transport.peerChain()[0] ?? socket.getPeerX509Certificate()?.raw ?? null,
  };
}

function logKeys(keyLog: TlsKeyLog | null, transport: NodeTlsTransport, socket: TLSSocket): void {
  if (keyLog === null || !keyLog.wants(transport.localAddress, transport.remoteAddress)) return;
  socket.on('keylog', (line: Buffer) => keyLog.write(line.latin1Slice().trimEnd()));
}

/** Connections of one listener with one version of its settings. */
class ServerOwner implements NodeTlsOwner {
  readonly policy: ServerPolicy;
  readonly #counts: HandshakeCounts;
  readonly #contexts: (tls.SecureContext | undefined)[] = [];

  constructor(settings: TlsServerSettings, counts: HandshakeCounts, now: () => number) {
    this.policy = new ServerPolicy(withSystemRoots(settings), now);
    this.#counts = counts;
  }

  context(index: number): tls.SecureContext {
    const { settings } = this.policy;
    const options =
      OP_NO_RENEGOTIATION |
      (settings.disableStatelessResumption ? OP_NO_TICKET : 0) |
      (settings.preferClientCiphers ? 0 : OP_SERVER_PREFERENCE);
    this.#contexts[index] ??= secureContext(
      settings,
      DEFAULT_SERVER_CIPHERS,
      settings.certificates[index]!,
      options,
      settings.sessionTimeoutSeconds,
    );
    return this.#contexts[index]!;
  }

  begin(transport: NodeTlsTransport, hello: ClientHello | null, bytes: Buffer): void {
    const { policy } = this;
    const { settings } = policy;
    if (hello === null) {
      // OpenSSL waits for longer messages than BoringSSL: what cannot become a hello is ended here, by a plain alert.
      transport.raw!.write(PROTOCOL_ALERT, 0, PROTOCOL_ALERT.length);
      transport.abandon(this.onFailure(isHttp(bytes) ? HTTP_REQUEST : WRONG_VERSION));
      return;
    }
    this.#counts.hello(hello);
    const serverName = hello.serverName() ?? '';
    if (settings.requireSni && serverName === '') {
      transport.abandon(ENDED);
      return;
    }
    transport.serverName = serverName;
    transport.curve = policy.curveFor(hello);
    transport.certificate = policy.chooseCertificate(hello, serverName);
    const alpn = selectAlpn(settings.alpnProtocols, hello.applicationProtocols());
    const raw = transport.raw!;
    const context = this.context(transport.certificate);
    raw.socket.pause();
    raw.detach();
    transport.localAddress = raw.localAddress;
    raw.socket.unshift(bytes);
    const socket = new tls.TLSSocket(raw.socket, {
      isServer: true,
      secureContext: context,
      requestCert: policy.requestsCertificate,
      rejectUnauthorized: policy.runtimeRefuses,
      allowHalfOpen: true,
      ...(alpn === '' ? {} : { ALPNProtocols: [alpn] }),
    } as tls.TLSSocketOptions);
    logKeys(settings.keyLog, transport, socket);
    transport.upgrade(socket, 'secure');
  }

  onHandshake(transport: NodeTlsTransport, socket: TLSSocket): TransportError | null {
    const view = viewOf(transport, socket, transport.curve);
    const conclusion = this.policy.onHandshake(view, transport, this.#counts, transport.certificate);
    transport.facts = conclusion.facts;
    return conclusion.failure;
  }

  onFailure(text: string): TransportError {
    return { code: 'TLS', message: this.#counts.runtimeFailure(text) };
  }
}

const NO_OWNER: NodeTlsOwner = { onHandshake: () => ENDED, onFailure: () => ENDED };

function rawOf(transport: Transport): NodeTransport {
  if (!(transport instanceof NodeTransport)) throw new Error('TLS over a transport that is no socket of Node');
  return transport;
}

class NodeServerSocket implements DownstreamTransportSocket {
  readonly isSecure = true;
  readonly #source: TlsSettingsSource<TlsServerSettings>;
  readonly #counts: HandshakeCounts;
  readonly #now: () => number;
  #settings: TlsServerSettings | null = null;
  #owner: ServerOwner | null = null;

  constructor(source: TlsSettingsSource<TlsServerSettings>, stats: TlsStats, now: () => number) {
    this.#source = source;
    this.#counts = new HandshakeCounts(stats);
    this.#now = now;
  }

  accept(raw: Transport, _socket: AcceptedSocket, peeked: ByteBuffer, peerEnded: boolean): Transport {
    const settings = this.#source.current;
    if (settings === null) {
      const transport = new NodeTlsTransport(rawOf(raw), NO_OWNER);
      transport.abandon({ code: 'TLS', message: SECRET_MISSING_FAILURE });
      return transport;
    }
    if (settings !== this.#settings || this.#owner === null) {
      this.#settings = settings;
      this.#owner = new ServerOwner(settings, this.#counts, this.#now);
    }
    const owner = this.#owner;
    const transport = new NodeTlsTransport(rawOf(raw), owner);
    const data = new ByteBuffer();
    data.moveFrom(peeked);
    const wait = new HelloWait(
      {
        onHello: (hello, bytes) => owner.begin(transport, hello, bytes),
        onGone: (error) => transport.abandon(error ?? ENDED),
      },
      data,
    );
    raw.setHandler(wait);
    if (peerEnded) wait.onPeerEnd();
    else wait.check();
    return transport;
  }
}

/** Connections of one cluster with one version of its settings. */
class ClientContext {
  readonly policy: ClientPolicy;
  readonly sessions: SessionCache;
  /** The chains of the servers that sessions are of: a resumed one does not tell. */
  readonly #chains = new WeakMap<Buffer, Buffer[]>();
  readonly #context: tls.SecureContext;
  readonly #counts: HandshakeCounts;

  constructor(settings: TlsClientSettings, counts: HandshakeCounts, now: () => number) {
    this.policy = new ClientPolicy(withSystemRoots(settings), now);
    this.sessions = new SessionCache(settings.maxSessionKeys);
    this.#counts = counts;
    const options = settings.allowRenegotiation ? 0 : OP_NO_RENEGOTIATION;
    this.#context = secureContext(this.policy.settings, DEFAULT_CLIENT_CIPHERS, settings.certificate, options, 0);
  }

  begin(transport: NodeTlsTransport, options: TransportSocketOptions): void {
    const { settings } = this.policy;
    const { serverName } = transport;
    const protocols = this.policy.alpnProtocols(options);
    const raw = transport.raw!;
    raw.socket.pause();
    raw.detach();
    transport.localAddress = raw.localAddress;
    const session = this.sessions.take(serverName);
    const socket = tls.connect({
      socket: raw.socket,
      secureContext: this.#context,
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      allowHalfOpen: true,
      servername: serverName,
      session: session ?? undefined,
      ...(protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] }),
    } as tls.ConnectionOptions);
    if (session !== null) transport.resumable = this.#chains.get(session) ?? null;
    if (settings.maxSessionKeys > 0) {
      socket.on('session', (fresh: Buffer) => {
        this.#chains.set(fresh, transport.peerChain());
        this.sessions.add(serverName, fresh);
      });
    }
    logKeys(settings.keyLog, transport, socket);
    transport.upgrade(socket, 'secureConnect');
  }

  onHandshake(transport: NodeTlsTransport, socket: TLSSocket, options: TransportSocketOptions): TransportError | null {
    const curve = (socket.getEphemeralKeyInfo() as { name?: string } | null)?.name ?? '';
    const view = viewOf(transport, socket, curveName(curve));
    const conclusion = this.policy.onHandshake(view, transport, this.#counts, options, transport.serverName);
    transport.facts = conclusion.facts;
    return conclusion.failure;
  }

  onFailure(text: string): TransportError {
    return { code: 'TLS', message: this.#counts.runtimeFailure(text) };
  }
}

/** One connection on its way: what it was asked for. */
class Dialing implements TransportHandler, NodeTlsOwner {
  readonly #context: ClientContext;
  readonly #options: TransportSocketOptions;
  transport: NodeTlsTransport | null = null;

  constructor(context: ClientContext, options: TransportSocketOptions) {
    this.#context = context;
    this.#options = options;
  }

  onOpen(): void {
    this.#context.begin(this.transport!, this.#options);
  }

  onBytes(): void {}

  onDrain(): void {}

  onPeerEnd(): void {
    this.transport!.abandon(ENDED);
  }

  onClosed(error: TransportError | null): void {
    const transport = this.transport!;
    transport.raw = null;
    transport.abandon(error);
  }

  onHandshake(transport: NodeTlsTransport, socket: TLSSocket): TransportError | null {
    return this.#context.onHandshake(transport, socket, this.#options);
  }

  onFailure(text: string): TransportError {
    return this.#context.onFailure(text);
  }
}

class NodeClientSocket implements WrappingTransportSocket {
  readonly isSecure = true;
  readonly supportsAlpn = true;
  readonly #source: TlsSettingsSource<TlsClientSettings>;
  readonly #counts: HandshakeCounts;
  readonly #now: () => number;
  #settings: TlsClientSettings | null = null;
  #context: ClientContext | null = null;

  constructor(source: TlsSettingsSource<TlsClientSettings>, stats: TlsStats, now: () => number) {
    this.#source = source;
    this.#counts = new HandshakeCounts(stats);
    this.#now = now;
  }

  connect(
    sockets: SocketRuntime,
    spec: ConnectSpec,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): Transport {
    const context = this.#current();
    if (context === null) return this.#refuse(sockets.connect(spec, handler), handler);
    const dialing = new Dialing(context, options);
    return this.#prepare(rawOf(sockets.connect(spec, dialing)), dialing, context, peer, options, handler);
  }

  wrap(raw: Transport, peer: SocketPeer, options: TransportSocketOptions, handler: TransportHandler): Transport {
    const context = this.#current();
    if (context === null) return this.#refuse(raw, handler);
    const dialing = new Dialing(context, options);
    raw.setHandler(dialing);
    const transport = this.#prepare(rawOf(raw), dialing, context, peer, options, handler);
    if (transport.raw?.isOpen === true) dialing.onOpen();
    return transport;
  }

  #current(): ClientContext | null {
    const settings = this.#source.current;
    if (settings === null) return null;
    if (settings !== this.#settings || this.#context === null) {
      this.#settings = settings;
      this.#context = new ClientContext(settings, this.#counts, this.#now);
    }
    return this.#context;
  }

  #refuse(raw: Transport, handler: TransportHandler): Transport {
    const transport = new NodeTlsTransport(rawOf(raw), NO_OWNER);
    transport.setHandler(handler);
    transport.abandon({ code: 'TLS', message: SECRET_MISSING_FAILURE });
    raw.setHandler({ onOpen() {}, onBytes() {}, onDrain() {}, onPeerEnd() {}, onClosed() {} });
    return transport;
  }

  #prepare(
    raw: NodeTransport,
    dialing: Dialing,
    context: ClientContext,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): NodeTlsTransport {
    const transport = new NodeTlsTransport(raw, dialing);
    transport.setHandler(handler);
    transport.serverName = context.policy.serverName(options, peer.hostname);
    dialing.transport = transport;
    return transport;
  }
}

/**
 * TLS by `node:tls` (OpenSSL): for Node. Beside what BunTlsEngine says of itself: failures are told in OpenSSL's words, groups
 * of equal preference among ciphers are taken in their order, an authority in the middle that is trusted alone is found by our
 * own search (Node 20 has no partial chains), with revocation lists it is refused.
 */
export class NodeTlsEngine implements TlsEngine {
  readonly #now: () => number;

  constructor(dispatcher: Dispatcher) {
    this.#now = () => dispatcher.wallMs;
  }

  serverSocket(source: TlsSettingsSource<TlsServerSettings>, stats: TlsStats): DownstreamTransportSocket {
    return new NodeServerSocket(source, stats, this.#now);
  }

  clientSocket(source: TlsSettingsSource<TlsClientSettings>, stats: TlsStats): WrappingTransportSocket {
    return new NodeClientSocket(source, stats, this.#now);
  }

  refusal(settings: TlsServerSettings | TlsClientSettings): string | null {
    const counts = new HandshakeCounts(UNCOUNTED);
    try {
      if ('certificates' in settings) {
        const owner = new ServerOwner(settings, counts, this.#now);
        for (let i = 0; i < settings.certificates.length; i++) owner.context(i);
      } else {
        new ClientContext(settings, counts, this.#now);
      }
      return null;
    } catch (error) {
      return `the TLS library does not take it: ${(error as Error).message}`;
    }
  }
}

const NOTHING = { inc() {} };
const UNCOUNTED: TlsStats = {
  connectionError: NOTHING,
  handshake: NOTHING,
  sessionReused: NOTHING,
  noCertificate: NOTHING,
  failVerifyNoCert: NOTHING,
  failVerifyError: NOTHING,
  failVerifySan: NOTHING,
  failVerifyCertHash: NOTHING,
  ocspStaplingFailed: NOTHING,
  ocspStaplingOmitted: NOTHING,
  ocspStaplingResponses: NOTHING,
  ocspStaplingRequests: NOTHING,
  wasKeyUsageInvalid: NOTHING,
  scope: { counter: () => NOTHING },
};
