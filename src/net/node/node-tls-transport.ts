import type { TLSSocket } from 'node:tls';
import type { Address } from '../address.ts';
import type { Dispatcher, TurnTask } from '../dispatcher.ts';
import { handshakeFailure } from '../tls/failure-text.ts';
import type { LiveSession, SessionFacts } from '../tls/session-facts.ts';
import type { Transport, TransportError, TransportHandler, TransportSecurity } from '../transport.ts';
import type { NodeTransport } from './node-runtime.ts';

/** As much as one write takes: it is copied, because Node may hold on to it and the caller may not. */
const LARGEST_WRITE = 256 * 1024;
const MAX_CHAIN = 32;

export const ENDED: TransportError = { code: 'TLS', message: '' };

/** Reasons of BoringSSL that OpenSSL has too, by their numbers in BoringSSL. */
const NUMBERS: ReadonlyMap<string, number> = new Map([
  ['DECRYPTION_FAILED_OR_BAD_RECORD_MAC', 139],
  ['HTTP_REQUEST', 156],
  ['NO_SHARED_CIPHER', 184],
  ['PEER_DID_NOT_RETURN_A_CERTIFICATE', 192],
  ['UNSUPPORTED_PROTOCOL', 240],
  ['WRONG_VERSION_NUMBER', 247],
]);

/** An error of Node's TLS in the form in which BoringSSL prints its own; empty: it is none. */
function tlsErrorText(error: unknown): string {
  const { code = '' } = error as { code?: string };
  if (!code.startsWith('ERR_SSL_')) return '';
  const reason = code.slice('ERR_SSL_'.length);
  const number = (0x10000000 + (NUMBERS.get(reason) ?? 0)).toString(16);
  return `error:${number}:SSL routines:OPENSSL_internal:${reason}`;
}

/** What decides about the handshake of one transport. */
export interface NodeTlsOwner {
  /** @returns null: the session may begin; the transport's facts are set */
  onHandshake(transport: NodeTlsTransport, socket: TLSSocket): TransportError | null;
  /** The runtime ended the handshake or the session. */
  onFailure(text: string): TransportError;
}

/**
 * TLS of `node:tls` over a socket of `node:net`. Before the upgrade `raw` is still its own transport. What the runtime does
 * not tell apart, it does not either; see NodeRuntime.
 */
export class NodeTlsTransport implements Transport, TurnTask, LiveSession {
  readonly dispatcher: Dispatcher;
  readonly owner: NodeTlsOwner;
  raw: NodeTransport | null;
  localAddress: Address;
  readonly remoteAddress: Address;
  security: TransportSecurity | null = null;
  facts: SessionFacts | null = null;
  serverName = '';
  curve = '';
  certificate = 0;
  /** The chain of the server whose session is offered. */
  resumable: Buffer[] | null = null;
  #socket: TLSSocket | null = null;
  #handler: TransportHandler | null = null;
  #opened = false;
  #paused = false;
  #drainWanted = false;
  #chain: Buffer[] | null = null;
  #endWanted = false;
  #endedWrites = false;
  #peerEnded = false;
  #closeRequested = false;
  #closed = false;
  #finishPending = false;
  #error: TransportError | null = null;

  constructor(raw: NodeTransport, owner: NodeTlsOwner) {
    this.dispatcher = raw.dispatcher;
    this.raw = raw;
    this.owner = owner;
    this.localAddress = raw.localAddress;
    this.remoteAddress = raw.remoteAddress;
  }

  get fd(): number {
    return this.raw?.fd ?? -1;
  }

  setHandler(handler: TransportHandler): void {
    this.#handler = handler;
  }

  #turn(action: () => void): void {
    if (this.#closeRequested || this.#closed) return;
    this.dispatcher.enter();
    try {
      action();
    } catch (error) {
      this.dispatcher.onBug(error);
    } finally {
      this.dispatcher.leave();
    }
  }

  /** `raw` was detached, `socket` has its place. `secureEvent` is told once the handshake is done. */
  upgrade(socket: TLSSocket, secureEvent: 'secure' | 'secureConnect'): void {
    this.localAddress = this.raw!.localAddress;
    this.raw = null;
    this.#socket = socket;
    socket.on(secureEvent, () => this.#turn(() => this.#onSecure(socket)));
    socket.on('data', (bytes: Buffer) => this.#turn(() => this.#opened && this.#handler?.onBytes(bytes)));
    socket.on('drain', () => this.#turn(() => this.#onDrain()));
    socket.on('end', () => this.#turn(() => this.#onEnd()));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#turn(() => this.#onError(error)));
    // Before the handshake is done, errors of the session may be told here alone.
    socket.on('_tlsError', (error: NodeJS.ErrnoException) => this.#turn(() => this.#onError(error)));
    socket.on('close', () => this.#turn(() => this.#onClose()));
  }

  #onSecure(socket: TLSSocket): void {
    if (this.#opened) return;
    const failure = this.owner.onHandshake(this, socket);
    this.security = this.facts;
    if (failure !== null) {
      this.#error = failure;
      socket.destroySoon();
      this.#finish();
      return;
    }
    this.#opened = true;
    if (this.#paused) socket.pause();
    this.#handler?.onOpen();
    this.#onDrain();
    if (this.#endWanted) this.endWrites();
  }

  #onDrain(): void {
    if (!this.#opened || !this.#drainWanted) return;
    this.#drainWanted = false;
    this.#handler?.onDrain();
  }

  #onEnd(): void {
    if (!this.#opened) {
      // The peer left in the middle of the handshake.
      this.#error ??= ENDED;
      this.#socket?.destroy();
      this.#finish();
    } else if (!this.#peerEnded) {
      this.#peerEnded = true;
      this.#handler?.onPeerEnd();
    }
  }

  #onError(error: NodeJS.ErrnoException): void {
    if (this.#error !== null) return;
    const text = tlsErrorText(error);
    if (text !== '') this.#error = this.owner.onFailure(text);
    else if (error.code === 'ERR_TLS_DH_PARAM_SIZE' || error.code === undefined) {
      this.#error = { code: 'TLS', message: handshakeFailure(error.message) };
    } else this.#error = { code: error.code, message: '' };
    if (this.#opened && text === '') return;
    // Node leaves it at that for sockets that it did not accept itself.
    if (this.#opened) this.#socket?.destroy();
    else this.#socket?.destroySoon();
    this.#finish();
  }

  #onClose(): void {
    if (!this.#opened) this.#error ??= ENDED;
    this.#finish();
  }

  write(bytes: Buffer, start: number, end: number): number {
    if (this.#closed || this.#closeRequested || this.#socket?.destroyed === true) return -1;
    if (this.#socket === null || !this.#opened || this.#drainWanted) {
      this.#drainWanted = true;
      return 0;
    }
    const stop = Math.min(end, start + LARGEST_WRITE);
    this.#drainWanted = !this.#socket.write(Buffer.from(bytes.subarray(start, stop)));
    return stop - start;
  }

  pause(): void {
    this.#paused = true;
    if (this.#opened) this.#socket?.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#opened) this.#socket?.resume();
  }

  endWrites(): void {
    if (this.#endedWrites || this.#closed || this.#closeRequested) return;
    if (!this.#opened) {
      this.#endWanted = true;
      return;
    }
    this.#endedWrites = true;
    this.#socket?.end();
  }

  close(): void {
    if (!this.#beginClose()) return;
    this.raw?.close();
    const socket = this.#socket;
    if (socket === null) return;
    if (this.#opened) socket.destroySoon();
    else socket.destroy();
  }

  reset(): void {
    if (!this.#beginClose()) return;
    this.raw?.reset();
    const socket = this.#socket;
    if (socket === null) return;
    // Node offers no reset for TLS sockets, and crashes when the socket below is reset: the peer sees it end.
    socket.destroy();
  }

  #beginClose(): boolean {
    if (this.#closeRequested || this.#closed) return false;
    this.#closeRequested = true;
    this.#error = null;
    this.#finishPending = true;
    this.dispatcher.defer(this);
    return true;
  }

  /** Ends before the upgrade, by the peer or by what it sent; the handler hears of it later. */
  abandon(error: TransportError | null): void {
    if (this.#closeRequested || this.#closed) return;
    this.raw?.close();
    this.#closeRequested = true;
    this.#error = error;
    this.#finishPending = true;
    this.dispatcher.defer(this);
  }

  onTurnEnd(): void {
    if (!this.#finishPending) return;
    this.#finishPending = false;
    this.#finish();
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.facts?.onSocketGone();
    const handler = this.#handler;
    this.#handler = null;
    handler?.onClosed(this.#error);
  }

  setNoDelay(on: boolean): void {
    this.raw?.setNoDelay(on);
    this.#socket?.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds: number): void {
    this.raw?.setKeepAlive(on, idleSeconds);
    this.#socket?.setKeepAlive(on, idleSeconds * 1000);
  }

  /** Read once: on a server, asking for the leaf as an X509Certificate would take the rest away. */
  peerChain(): Buffer[] {
    if (this.#chain !== null) return this.#chain;
    const out: Buffer[] = [];
    this.#chain = out;
    let one = this.#socket?.getPeerCertificate(true);
    while (one?.raw !== undefined && out.length < MAX_CHAIN) {
      out.push(one.raw);
      if (one.issuerCertificate === one) break;
      one = one.issuerCertificate;
    }
    if (out.length === 0 && this.resumable !== null && this.#socket?.isSessionReused() === true) {
      this.#chain = this.resumable;
    }
    return this.#chain;
  }
}
