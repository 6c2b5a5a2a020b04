import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { Dispatcher } from '../dispatcher.ts';
import type { AcceptedSocket } from '../filter.ts';
import { alpnWire, selectAlpn } from '../tls/alpn.ts';
import { DEFAULT_CLIENT_CIPHERS, DEFAULT_SERVER_CIPHERS } from '../tls/cipher-names.ts';
import type { ClientHello } from '../tls/client-hello.ts';
import { SECRET_MISSING_FAILURE } from '../tls/failure-text.ts';
import { HandshakeCounts } from '../tls/handshake-outcome.ts';
import { ClientPolicy, ServerPolicy } from '../tls/handshake-policy.ts';
import { type HelloTarget, HelloWait } from '../tls/hello-wait.ts';
import { SessionCache } from '../tls/session-cache.ts';
import { withSystemRoots } from '../tls/system-roots.ts';
import type { TlsClientSettings, TlsServerSettings, TlsSettingsSource } from '../tls/tls-settings.ts';
import type { ConnectSpec, SocketRuntime, Transport, TransportError, TransportHandler } from '../transport.ts';
import type {
  DownstreamTransportSocket,
  SocketPeer,
  TlsEngine,
  TlsStats,
  TransportSocketOptions,
  WrappingTransportSocket,
} from '../transport-socket.ts';
import { hasAnswer, isFinished, unfinished, viewOf } from './bun-handshake.ts';
import { nativeContext, OP_NO_TICKET, OP_SERVER_PREFERENCE } from './bun-secure-context.ts';
import {
  type BunTlsSocket,
  BunTlsTransport,
  ENDED,
  leftHandshake,
  type TlsOwner,
  tlsHandlers,
} from './bun-tls-transport.ts';
import { BunTransport } from './bun-transport.ts';

/** What all connections with the same settings share on the server's side. */
class ServerContext {
  readonly policy: ServerPolicy;
  /** By certificate, made when first needed. */
  readonly #natives: (object | undefined)[] = [];
  /** Upgrade options by certificate and protocol. */
  readonly #options = new Map<string, object>();

  constructor(settings: TlsServerSettings, now: () => number) {
    this.policy = new ServerPolicy(withSystemRoots(settings), now);
  }

  /** @throws Error of BoringSSL */
  native(certificate: number): object {
    let native = this.#natives[certificate];
    if (native === undefined) {
      const { settings } = this.policy;
      const one = settings.certificates[certificate]!;
      native = nativeContext({
        parameters: settings.parameters,
        validation: settings.validation,
        ciphers: DEFAULT_SERVER_CIPHERS,
        cert: one.chainPem,
        key: one.keyPem,
        secureOptions:
          (settings.disableStatelessResumption ? OP_NO_TICKET : 0) |
          (settings.preferClientCiphers ? 0 : OP_SERVER_PREFERENCE),
        sessionTimeout: settings.sessionTimeoutSeconds,
      });
      this.#natives[certificate] = native;
    }
    return native;
  }

  options(certificate: number, alpn: string): object {
    const key = `${certificate} ${alpn}`;
    let options = this.#options.get(key);
    if (options === undefined) {
      options = {
        secureContext: this.native(certificate),
        isServer: true,
        requestCert: this.policy.requestsCertificate,
        rejectUnauthorized: this.policy.runtimeRefuses,
        // A server that offers something fails where the client has nothing of it: the choice is made before.
        ...(alpn === '' ? {} : { ALPNProtocols: alpnWire([alpn]) }),
      };
      this.#options.set(key, options);
    }
    return options;
  }
}

/** Connections of one listener with one version of its settings. */
class ServerOwner implements TlsOwner {
  readonly context: ServerContext;
  readonly #counts: HandshakeCounts;

  constructor(context: ServerContext, counts: HandshakeCounts) {
    this.context = context;
    this.#counts = counts;
  }

  onTlsOpen(): void {}

  onHandshake(
    transport: BunTlsTransport,
    socket: BunTlsSocket,
    ok: boolean,
    error: Error | null,
  ): TransportError | null {
    const { policy } = this.context;
    if (!ok) {
      const cipher = socket.getCipher()?.name ?? '';
      transport.facts = policy.broken(transport.certificate, socket.getTLSVersion(), cipher, transport.curve);
      return unfinished(error, this.#counts, false);
    }
    const view = viewOf(transport, socket, transport.curve, error);
    const conclusion = policy.onHandshake(view, transport, this.#counts, transport.certificate);
    transport.facts = conclusion.facts;
    return conclusion.failure;
  }

  onSessionError(text: string): TransportError {
    return { code: 'TLS', message: this.#counts.sessionFailure(text) };
  }

  onKeyLog(line: Buffer): void {
    this.context.policy.settings.keyLog?.write(line.latin1Slice(0, line.length).trimEnd());
  }
}

/** One accepted connection until its hello is there. */
class Hello implements HelloTarget {
  readonly #socket: BunServerSocket;
  readonly #transport: BunTlsTransport;
  readonly #owner: ServerOwner;

  constructor(socket: BunServerSocket, transport: BunTlsTransport, owner: ServerOwner) {
    this.#socket = socket;
    this.#transport = transport;
    this.#owner = owner;
  }

  onHello(hello: ClientHello | null, bytes: Buffer): void {
    this.#socket.begin(this.#transport, this.#owner, hello, bytes);
  }

  onGone(error: TransportError | null): void {
    this.#transport.abandon(leftHandshake(error));
  }
}

class BunServerSocket implements DownstreamTransportSocket {
  readonly isSecure = true;
  readonly #engine: BunTlsEngine;
  readonly #source: TlsSettingsSource<TlsServerSettings>;
  readonly #counts: HandshakeCounts;
  #settings: TlsServerSettings | null = null;
  #owner: ServerOwner | null = null;

  constructor(engine: BunTlsEngine, source: TlsSettingsSource<TlsServerSettings>, stats: TlsStats) {
    this.#engine = engine;
    this.#source = source;
    this.#counts = new HandshakeCounts(stats);
  }

  accept(raw: Transport, _socket: AcceptedSocket, peeked: ByteBuffer, peerEnded: boolean): Transport {
    const settings = this.#source.current;
    if (!(raw instanceof BunTransport)) throw new Error('TLS over a transport that is no socket of Bun');
    if (settings === null) {
      const transport = new BunTlsTransport(raw, NO_OWNER);
      transport.abandon({ code: 'TLS', message: SECRET_MISSING_FAILURE });
      return transport;
    }
    if (settings !== this.#settings || this.#owner === null) {
      this.#settings = settings;
      this.#owner = new ServerOwner(this.#engine.serverContext(settings), this.#counts);
    }
    const transport = new BunTlsTransport(raw, this.#owner);
    transport.security = this.#owner.context.policy.begun(0);
    const data = new ByteBuffer();
    data.moveFrom(peeked);
    const wait = new HelloWait(new Hello(this, transport, this.#owner), data);
    raw.setHandler(wait);
    if (peerEnded) wait.onPeerEnd();
    else wait.check();
    return transport;
  }

  begin(transport: BunTlsTransport, owner: ServerOwner, hello: ClientHello | null, bytes: Buffer): void {
    const { context } = owner;
    const { policy } = context;
    const { settings } = policy;
    if (hello !== null) this.#counts.hello(hello);
    const serverName = hello?.serverName() ?? '';
    if (settings.requireSni && serverName === '' && hello !== null) {
      transport.abandon({ code: 'TLS', message: '' });
      return;
    }
    transport.serverName = serverName;
    transport.curve = policy.curveFor(hello);
    transport.certificate = policy.chooseCertificate(hello, serverName);
    transport.security = policy.begun(transport.certificate);
    const alpn = hello === null ? '' : selectAlpn(settings.alpnProtocols, hello.applicationProtocols());
    const keyLog = settings.keyLog?.wants(transport.localAddress, transport.remoteAddress) === true;
    const handlers = this.#engine.handlers(false, keyLog);
    try {
      transport.upgrade(context.options(transport.certificate, alpn), handlers, true, bytes);
    } catch (error) {
      transport.abandon(ENDED);
      throw error;
    }
  }
}

const NO_OWNER: TlsOwner = {
  onTlsOpen() {},
  onHandshake: () => ENDED,
  onSessionError: () => ENDED,
};

/** What all connections with the same settings share on the client's side. */
class ClientContext {
  readonly policy: ClientPolicy;
  readonly sessions: SessionCache;
  #native: object | null = null;
  readonly #alpn = new Map<string, ArrayBuffer | null>();

  constructor(settings: TlsClientSettings, now: () => number) {
    this.policy = new ClientPolicy(withSystemRoots(settings), now);
    this.sessions = new SessionCache(settings.maxSessionKeys);
  }

  /** @throws Error of BoringSSL */
  native(): object {
    const { settings } = this.policy;
    this.#native ??= nativeContext({
      parameters: settings.parameters,
      validation: settings.validation,
      ciphers: DEFAULT_CLIENT_CIPHERS,
      cert: settings.certificate?.chainPem,
      key: settings.certificate?.keyPem,
      secureOptions: 0,
      sessionTimeout: 0,
    });
    return this.#native;
  }

  options(options: TransportSocketOptions, serverName: string): object {
    const protocols = this.policy.alpnProtocols(options);
    const key = protocols.join(' ');
    let wire = this.#alpn.get(key);
    if (wire === undefined) {
      wire = alpnWire(protocols);
      this.#alpn.set(key, wire);
    }
    return {
      secureContext: this.native(),
      rejectUnauthorized: false,
      serverName,
      ...(wire === null ? {} : { ALPNProtocols: wire }),
    };
  }
}

/** Connections of one cluster with one version of its settings. */
class ClientOwner implements TlsOwner {
  readonly context: ClientContext;
  readonly #counts: HandshakeCounts;

  constructor(context: ClientContext, counts: HandshakeCounts) {
    this.context = context;
    this.#counts = counts;
  }

  onTlsOpen(transport: BunTlsTransport, socket: BunTlsSocket): void {
    if (!this.context.policy.settings.allowRenegotiation) socket.disableRenegotiation();
    const session = this.context.sessions.take(transport.serverName);
    if (session !== null) socket.setSession(session);
  }

  onHandshake(
    transport: BunTlsTransport,
    socket: BunTlsSocket,
    ok: boolean,
    error: Error | null,
  ): TransportError | null {
    // A certificate that is refused is reported as a failure, though the handshake is done; so is a peer that left before.
    if (!ok && !isFinished(socket, error)) return unfinished(error, this.#counts, !hasAnswer(socket));
    // Of a hybrid group Bun tells no name; there is but one.
    const named = socket.getEphemeralKeyInfo()?.name ?? '';
    const curve = named === '' && socket.getTLSVersion() === 'TLSv1.3' ? 'X25519MLKEM768' : named;
    const view = viewOf(transport, socket, curve, error);
    const { options, serverName } = transport;
    const conclusion = this.context.policy.onHandshake(view, transport, this.#counts, options, serverName);
    transport.facts = conclusion.facts;
    return conclusion.failure;
  }

  onSessionError(text: string): TransportError {
    return { code: 'TLS', message: this.#counts.sessionFailure(text) };
  }

  onSession(transport: BunTlsTransport, session: Buffer): void {
    this.context.sessions.add(transport.serverName, session);
  }

  onKeyLog(line: Buffer): void {
    this.context.policy.settings.keyLog?.write(line.latin1Slice(0, line.length).trimEnd());
  }
}

/** The raw connection of a client until it is open. */
class Dialing implements TransportHandler {
  readonly #socket: BunClientSocket;
  transport: BunTlsTransport | null = null;

  constructor(socket: BunClientSocket) {
    this.#socket = socket;
  }

  onOpen(): void {
    this.#socket.begin(this.transport!);
  }

  onBytes(): void {}

  onDrain(): void {}

  onPeerEnd(): void {
    this.transport!.abandon(ENDED);
  }

  onClosed(error: TransportError | null): void {
    const transport = this.transport!;
    transport.raw = null;
    transport.onSocketClosed(error);
  }
}

class BunClientSocket implements WrappingTransportSocket {
  readonly isSecure = true;
  readonly supportsAlpn = true;
  readonly #engine: BunTlsEngine;
  readonly #source: TlsSettingsSource<TlsClientSettings>;
  readonly #counts: HandshakeCounts;
  #settings: TlsClientSettings | null = null;
  #owner: ClientOwner | null = null;

  constructor(engine: BunTlsEngine, source: TlsSettingsSource<TlsClientSettings>, stats: TlsStats) {
    this.#engine = engine;
    this.#source = source;
    this.#counts = new HandshakeCounts(stats);
  }

  connect(
    sockets: SocketRuntime,
    spec: ConnectSpec,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): Transport {
    const dialing = new Dialing(this);
    return this.#prepare(sockets.connect(spec, dialing), dialing, peer, options, handler);
  }

  wrap(raw: Transport, peer: SocketPeer, options: TransportSocketOptions, handler: TransportHandler): Transport {
    const dialing = new Dialing(this);
    raw.setHandler(dialing);
    const transport = this.#prepare(raw, dialing, peer, options, handler);
    if (transport.raw?.opened === true) this.begin(transport);
    return transport;
  }

  #prepare(
    raw: Transport,
    dialing: Dialing,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): BunTlsTransport {
    if (!(raw instanceof BunTransport)) throw new Error('TLS over a transport that is no socket of Bun');
    const settings = this.#source.current;
    if (settings === null) {
      const transport = new BunTlsTransport(raw, NO_OWNER);
      transport.setHandler(handler);
      transport.abandon({ code: 'TLS', message: SECRET_MISSING_FAILURE });
      return transport;
    }
    if (settings !== this.#settings || this.#owner === null) {
      this.#settings = settings;
      this.#owner = new ClientOwner(this.#engine.clientContext(settings), this.#counts);
    }
    const transport = new BunTlsTransport(raw, this.#owner);
    transport.setHandler(handler);
    transport.options = options;
    transport.serverName = this.#owner.context.policy.serverName(options, peer.hostname);
    dialing.transport = transport;
    return transport;
  }

  begin(transport: BunTlsTransport): void {
    const { context } = transport.owner as ClientOwner;
    const { settings } = context.policy;
    const keyLog = settings.keyLog?.wants(transport.raw!.localAddress, transport.remoteAddress) === true;
    const handlers = this.#engine.handlers(settings.maxSessionKeys > 0, keyLog);
    try {
      transport.upgrade(context.options(transport.options, transport.serverName), handlers, false, null);
    } catch (error) {
      transport.abandon(ENDED);
      throw error;
    }
  }
}

/**
 * TLS by Bun's native sockets (BoringSSL). `refusal` makes the native contexts and says what the library says. Known
 * differences to Envoy, none of which trusts more than it does:
 * - Sessions resume within one thread and one version of the settings, by tickets alone: Bun 1.4.5 takes no ticket keys
 *   (`ticketKeys` is ignored) and caches no sessions by id.
 * - A certificate that our checks refuse is refused by closing, not by an alert (see BunTlsTransport); a missing one by
 *   BoringSSL's alert.
 * - `enforce_rsa_key_usage` is always on.
 * - Signature algorithms in stats are inferred from the kind of the peer's key, a server's curve from its client's hello.
 * - No OCSP stapling: there is no way to hand a response over.
 */
export class BunTlsEngine implements TlsEngine {
  readonly #dispatcher: Dispatcher;
  readonly #servers = new WeakMap<TlsServerSettings, ServerContext>();
  readonly #clients = new WeakMap<TlsClientSettings, ClientContext>();
  readonly #handlers: (object | undefined)[] = [];
  readonly #now: () => number;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
    this.#now = () => dispatcher.wallMs;
  }

  serverSocket(source: TlsSettingsSource<TlsServerSettings>, stats: TlsStats): DownstreamTransportSocket {
    return new BunServerSocket(this, source, stats);
  }

  clientSocket(source: TlsSettingsSource<TlsClientSettings>, stats: TlsStats): WrappingTransportSocket {
    return new BunClientSocket(this, source, stats);
  }

  refusal(settings: TlsServerSettings | TlsClientSettings): string | null {
    try {
      if ('certificates' in settings) {
        const context = this.serverContext(settings);
        for (let i = 0; i < settings.certificates.length; i++) context.native(i);
      } else {
        this.clientContext(settings).native();
      }
      return null;
    } catch (error) {
      return `the TLS library does not take it: ${(error as Error).message}`;
    }
  }

  serverContext(settings: TlsServerSettings): ServerContext {
    let context = this.#servers.get(settings);
    if (context === undefined) {
      context = new ServerContext(settings, this.#now);
      this.#servers.set(settings, context);
    }
    return context;
  }

  clientContext(settings: TlsClientSettings): ClientContext {
    let context = this.#clients.get(settings);
    if (context === undefined) {
      context = new ClientContext(settings, this.#now);
      this.#clients.set(settings, context);
    }
    return context;
  }

  handlers(sessions: boolean, keyLog: boolean): object {
    const at = (sessions ? 1 : 0) | (keyLog ? 2 : 0);
    this.#handlers[at] ??= tlsHandlers(this.#dispatcher, { sessions, keyLog });
    return this.#handlers[at]!;
  }
}
