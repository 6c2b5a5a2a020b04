import type { Dispatcher } from '../dispatcher.ts';
import { handshakeFailure, RESET_FAILURE } from '../tls/failure-text.ts';
import type { LiveSession, SessionFacts } from '../tls/session-facts.ts';
import type { TransportError, TransportHandler } from '../transport.ts';
import { NO_SOCKET_OPTIONS, type TransportSocketOptions } from '../transport-socket.ts';
import { type BunSocket, BunTransport } from './bun-transport.ts';

/** What Bun's TLS sockets have besides; most of it is in Bun's types, some under another name. */
export interface BunTlsSocket {
  readonly fd: number;
  readonly data: BunTlsTransport;
  readonly authorized: boolean;
  readonly alpnProtocol: string | false | null;
  getTLSVersion(): string;
  getCipher(): { readonly name: string | null } | undefined;
  isSessionReused(): boolean;
  getSession(): Buffer | undefined;
  setSession(session: Buffer): void;
  getEphemeralKeyInfo(): { readonly name?: string } | null;
  getPeerX509Certificate(): { readonly raw: Buffer } | undefined;
  getPeerCertificate(abbreviated: boolean): PeerCertificate | null | undefined;
  /** @throws before the handshake is complete */
  exportKeyingMaterial(length: number, label: string): Buffer | undefined;
  disableRenegotiation(): void;
  close(): void;
  terminate(): void;
}

interface PeerCertificate {
  readonly raw?: Buffer;
  readonly issuerCertificate?: PeerCertificate;
}

/** What decides about the handshakes of one transport: its server's or client's settings. */
export interface TlsOwner {
  onTlsOpen(transport: BunTlsTransport, socket: BunTlsSocket): void;
  /** @returns null: the session may begin; the transport's facts are set */
  onHandshake(
    transport: BunTlsTransport,
    socket: BunTlsSocket,
    ok: boolean,
    error: Error | null,
  ): TransportError | null;
  /** The runtime ended an open session. */
  onSessionError(text: string): TransportError;
  onSession?(transport: BunTlsTransport, session: Buffer): void;
  onKeyLog?(line: Buffer): void;
}

type UpgradeTLS = (options: object) => [raw: { data: unknown; reload(options: object): void }, tls: BunSocket];

export const ENDED: TransportError = { code: 'TLS', message: '' };

const RESET: TransportError = { code: 'ECONNRESET', message: RESET_FAILURE };
/** To Envoy a failure of TLS, not a reset that it detected. */
const RESET_EARLY: TransportError = { code: 'TLS', message: RESET_FAILURE };

/** The peer left before the session began: for an end in order Envoy has no words. */
export function leftHandshake(error: TransportError | null): TransportError {
  return error === null ? ENDED : error.code === 'ECONNRESET' ? RESET_EARLY : error;
}

/** The raw socket after its upgrade: nothing that it says is of interest. */
const NOBODY: TransportHandler = { onOpen() {}, onBytes() {}, onDrain() {}, onPeerEnd() {}, onClosed() {} };

/** Without `data`: the raw twin of a TLS socket would hand over every record's bytes once more. */
const DEAF_TWIN = { socket: { open() {}, close() {}, drain() {}, end() {}, error() {} } };

const MAX_CHAIN = 32;

/**
 * TLS on a socket of Bun's. Before the upgrade `raw` is still its own transport (the peer's hello is awaited, or the connect
 * is under way); from then on the native callbacks below are its events.
 *
 * A certificate that is refused by checks of ours is refused after the handshake has succeeded for the peer: it sees the
 * connection close, not Envoy's alert. Nothing that it sent behind its handshake is looked at.
 */
export class BunTlsTransport extends BunTransport implements LiveSession {
  readonly owner: TlsOwner;
  /** Null once the native socket speaks TLS. */
  raw: BunTransport | null;
  /** What was asked of, or by, the peer in its hello. Set before the upgrade. */
  serverName = '';
  curve = '';
  /** Index of the server's certificate. */
  certificate = 0;
  /** The client's wishes. */
  options: TransportSocketOptions = NO_SOCKET_OPTIONS;
  /** Set by the owner when the handshake is done. */
  facts: SessionFacts | null = null;
  #endWanted = false;
  /** Bytes that came while paused: what Bun had read already. */
  #held: Buffer[] | null = null;
  #heldEnd = false;
  #heldClose = false;
  #sessionError: TransportError | null = null;

  constructor(raw: BunTransport, owner: TlsOwner) {
    super(raw.dispatcher, raw.watch, raw.localAddress, raw.remoteAddress, false);
    this.raw = raw;
    this.owner = owner;
  }

  override get fd(): number {
    return this.raw === null ? super.fd : this.raw.fd;
  }

  /** The native socket begins to speak TLS; `handlers` are of `tlsHandlers`. Events come later, even failures. */
  upgrade(tls: object, handlers: object, isServer: boolean, initialData: Buffer | null): void {
    const raw = this.raw!;
    const socket = raw.socket as (BunSocket & { upgradeTLS: UpgradeTLS }) | null;
    this.localAddress = raw.localAddress;
    if (socket === null) {
      this.abandon(ENDED);
      return;
    }
    raw.setHandler(NOBODY);
    raw.upgraded = true;
    raw.leaveListener();
    this.raw = null;
    this.isCalling = true;
    const options = isServer
      ? { tls, isServer, data: this, socket: handlers, initialData: initialData ?? undefined }
      : { tls, data: this, socket: handlers };
    try {
      const [twin, own] = socket.upgradeTLS(options);
      if (!this.isClosed) this.socket = own;
      // On the server's side the twin's callbacks are the listener's: see ListenerEars. Until then `upgraded` makes it deaf.
      if (!isServer) twin.reload(DEAF_TWIN);
      // The twin lives as long as the connection: what it held of the raw one need not.
      twin.data = undefined;
      raw.socket = null;
    } finally {
      this.isCalling = false;
    }
  }

  /** Ends before the upgrade, by the peer or by what it sent. */
  abandon(error: TransportError | null): void {
    this.raw?.setHandler(NOBODY);
    this.raw?.close();
    this.raw = null;
    this.failLater(error);
  }

  override endWrites(): void {
    if (this.opened) super.endWrites();
    else this.#endWanted = true;
  }

  override close(): void {
    if (this.raw === null) {
      super.close();
      return;
    }
    const { raw } = this;
    super.close();
    this.raw = raw;
    this.abandon(null);
  }

  override reset(): void {
    if (this.raw === null) {
      super.reset();
      return;
    }
    this.raw.setHandler(NOBODY);
    this.raw.reset();
    super.reset();
    this.raw = null;
    this.failLater(null);
  }

  /**
   * close_notify behind what was taken, then FIN, without waiting for the peer's. Bun's `close` alone sends no close_notify:
   * the peer could not tell the end from a cut (RFC 8446 section 6.1), and a body that ends with the connection would fail.
   */
  protected override endSocket(): void {
    if (this.opened) this.socket?.shutdown();
    (this.socket as unknown as BunTlsSocket | null)?.close();
  }

  override setNoDelay(on: boolean): void {
    if (this.raw === null) super.setNoDelay(on);
    else this.raw.setNoDelay(on);
  }

  override setKeepAlive(on: boolean, idleSeconds: number): void {
    if (this.raw === null) super.setKeepAlive(on, idleSeconds);
    else this.raw.setKeepAlive(on, idleSeconds);
  }

  override resume(): void {
    super.resume();
    if (this.#held !== null || this.#heldEnd || this.#heldClose) this.dispatcher.defer(this);
  }

  override onTurnEnd(): void {
    if (!this.isPaused && !this.closeRequested && this.#deliverHeld()) return;
    super.onTurnEnd();
  }

  /** @returns whether the transport has ended by it */
  #deliverHeld(): boolean {
    while (this.#held !== null) {
      const bytes = this.#held.shift();
      if (bytes === undefined) {
        this.#held = null;
        break;
      }
      this.handler?.onBytes(bytes);
      if (this.isPaused || this.closeRequested) return false;
    }
    if (this.#heldEnd) {
      this.#heldEnd = false;
      super.onSocketEnd();
    }
    if (!this.#heldClose || this.isPaused || this.closeRequested) return false;
    this.#heldClose = false;
    super.onSocketClosed(null);
    return true;
  }

  // --- LiveSession ---

  peerChain(): Buffer[] {
    const socket = this.socket as unknown as BunTlsSocket | null;
    const out: Buffer[] = [];
    let one = socket?.getPeerCertificate(false);
    while (one?.raw !== undefined && out.length < MAX_CHAIN) {
      out.push(one.raw);
      if (one.issuerCertificate === one) break;
      one = one.issuerCertificate;
    }
    return out;
  }

  // --- events of the TLS socket, inside a turn ---

  onHandshake(socket: BunTlsSocket, ok: boolean, error: Error | null): void {
    if (this.opened || this.isClosed || this.closeRequested) return;
    if (this.socket === null) this.socket = socket as unknown as BunSocket;
    // The peer is gone, in whatever way: `close` follows and tells in which.
    if (!ok && (error as { code?: string } | null)?.code === 'ECONNRESET') return;
    const failure = this.owner.onHandshake(this, socket, ok, error);
    this.security = this.facts;
    if (failure === null) {
      this.onSocketOpen(null);
      this.onSocketDrain();
      if (this.#endWanted) super.endWrites();
      return;
    }
    this.onSocketClosed(failure);
    socket.close();
  }

  onTlsBytes(bytes: Buffer): void {
    if (!this.opened || this.closeRequested) return;
    if (this.isPaused || this.#held !== null) {
      this.#held ??= [];
      this.#held.push(bytes);
    } else {
      this.handler?.onBytes(bytes);
    }
  }

  override onSocketEnd(): void {
    if (!this.opened) return;
    if (this.#held !== null || this.isPaused) this.#heldEnd = true;
    else super.onSocketEnd();
  }

  override onSocketClosed(error: TransportError | null): void {
    this.facts?.onSocketGone();
    if (!this.opened) {
      super.onSocketClosed(leftHandshake(error));
    } else if (this.#sessionError !== null) {
      super.onSocketClosed(this.#sessionError);
    } else if (error === null && !this.closeRequested && (this.#held !== null || this.#heldEnd || this.isPaused)) {
      this.#heldClose = true;
    } else {
      super.onSocketClosed(error?.code === 'ECONNRESET' ? RESET : error);
    }
  }

  onTlsError(text: string): void {
    if (this.opened && this.#sessionError === null) this.#sessionError = this.owner.onSessionError(text);
  }
}

/** A failed record, or an alert; anything else that reaches `error` was thrown by a handler of ours. */
function isTlsError(error: Error): boolean {
  return /^error:[0-9a-f]{8}:/.test(error.message);
}

function codeOf(error: unknown): TransportError {
  const { code, message } = error as { code?: string; message?: string };
  if (code !== undefined && code !== 'EPROTO') return { code, message: '' };
  return { code: 'TLS', message: handshakeFailure(message ?? '') };
}

/** The native callbacks of TLS sockets: one object serves them all. Written out without closures. */
export function tlsHandlers(dispatcher: Dispatcher, extras: { readonly sessions: boolean; readonly keyLog: boolean }) {
  const handlers = {
    open(socket: BunTlsSocket): void {
      const transport = socket.data;
      transport.owner.onTlsOpen(transport, socket);
    },
    handshake(socket: BunTlsSocket, ok: boolean, error: Error | null): void {
      dispatcher.enter();
      try {
        socket.data.onHandshake(socket, ok, error);
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
    data(socket: BunTlsSocket, bytes: Buffer): void {
      dispatcher.enter();
      try {
        socket.data.onTlsBytes(bytes);
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
    drain(socket: BunTlsSocket): void {
      const transport = socket.data;
      if (!transport.opened) return;
      dispatcher.enter();
      try {
        transport.onSocketDrain();
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
    end(socket: BunTlsSocket): void {
      dispatcher.enter();
      try {
        socket.data.onSocketEnd();
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
    close(socket: BunTlsSocket, error?: Error | null): void {
      const failure = error === undefined || error === null ? null : codeOf(error);
      if (socket.data.isCalling) {
        // Not a turn of its own: the caller's goes on.
        socket.data.onSocketClosed(failure);
        return;
      }
      dispatcher.enter();
      try {
        socket.data.onSocketClosed(failure);
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
    error(socket: BunTlsSocket, error: Error): void {
      if (!isTlsError(error)) {
        // Only a throwing handler leads here: an `onBug` that rethrows. The socket is of no more use.
        socket.terminate();
        throw error;
      }
      dispatcher.enter();
      try {
        socket.data.onTlsError(error.message);
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
  };
  return {
    ...handlers,
    ...(extras.sessions
      ? {
          session(socket: BunTlsSocket, session: Buffer): void {
            socket.data.owner.onSession?.(socket.data, session);
          },
        }
      : {}),
    ...(extras.keyLog
      ? {
          keylog(socket: BunTlsSocket, line: Buffer): void {
            socket.data.owner.onKeyLog?.(line);
          },
        }
      : {}),
  };
}
