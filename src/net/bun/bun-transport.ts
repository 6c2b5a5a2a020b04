import type { Address } from '../address.ts';
import type { Dispatcher, TurnTask } from '../dispatcher.ts';
import type { Transport, TransportError, TransportHandler, TransportSecurity } from '../transport.ts';
import type { ListenerEars } from './listener-ears.ts';
import type { PausedWatch } from './paused-watch.ts';

export type BunSocket = import('bun').Socket<BunTransport>;

/** A raw TCP or Unix socket of Bun's native API. */
export class BunTransport implements Transport, TurnTask {
  readonly dispatcher: Dispatcher;
  readonly watch: PausedWatch | null;
  localAddress: Address;
  readonly remoteAddress: Address;
  security: TransportSecurity | null = null;
  socket: BunSocket | null = null;
  handler: TransportHandler | null = null;
  /** Handed to Bun as a descriptor whose connect is under way: Bun calls `open` at once, `drain` once it is connected. */
  byDescriptor = false;
  /** Connected. Before that, the end of the socket is a failed connect. */
  opened: boolean;
  #closed = false;
  #closeRequested = false;
  #paused = false;
  /** A write came up short: the next `drain` is meant for the handler. Bun sends others besides. */
  #drainWanted = false;
  #writeFailed = false;
  #endedWrites = false;
  #peerEnded = false;
  /** Its socket speaks TLS now: what Bun still tells of the raw one is nobody's. */
  upgraded = false;
  /** Of the listener that accepted it, as long as it is raw; null for outgoing ones. */
  ears: ListenerEars | null = null;
  /** Inside a call of ours: Bun then calls `close` back before it returns, the handler is to hear of it later. */
  isCalling = false;
  #finishPending = false;
  #pendingError: TransportError | null = null;

  constructor(dispatcher: Dispatcher, watch: PausedWatch | null, local: Address, remote: Address, opened: boolean) {
    this.dispatcher = dispatcher;
    this.watch = watch;
    this.localAddress = local;
    this.remoteAddress = remote;
    this.opened = opened;
  }

  get fd(): number {
    const fd = (this.socket as { fd?: number } | null)?.fd;
    return fd === undefined ? -1 : fd;
  }

  get closeRequested(): boolean {
    return this.#closeRequested;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  setHandler(handler: TransportHandler): void {
    this.handler = handler;
  }

  write(bytes: Buffer, start: number, end: number): number {
    if (this.#closed || this.#closeRequested) return -1;
    if (this.socket === null || !this.opened) {
      this.#drainWanted = true;
      return 0;
    }
    this.isCalling = true;
    const taken = this.socket.write(bytes, start, end - start);
    this.isCalling = false;
    if (taken < end - start) this.#drainWanted = true;
    if (taken < 0) {
      this.#writeFailed = true;
      if (this.#paused) this.#fail();
    }
    return this.#closed ? -1 : taken;
  }

  /** The peer is gone, which a failed write has told; while reads are paused Bun has no event for it. */
  #fail(): void {
    if (this.#closed || this.#closeRequested) return;
    this.isCalling = true;
    this.onSocketClosed({ code: 'EPIPE', message: '' });
    this.socket?.terminate();
    this.isCalling = false;
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    if (this.#closed || this.#closeRequested) return;
    if (this.#writeFailed) {
      this.#fail();
      return;
    }
    // Until it is open, there is nothing to stop: a handshake goes on.
    if (this.opened) this.#stopReading();
  }

  #stopReading(): void {
    this.watch?.add(this);
    this.socket?.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (!this.opened) return;
    this.watch?.remove(this);
    if (!this.#closed) this.socket?.resume();
  }

  endWrites(): void {
    if (this.#endedWrites || this.#closed || this.#closeRequested) return;
    this.#endedWrites = true;
    this.isCalling = true;
    this.socket?.shutdown();
    this.isCalling = false;
  }

  /** Bun's `end` is close(2): the kernel sends what it took, then FIN, and answers what comes later by RST. */
  close(): void {
    if (this.#closeRequested || this.#closed) return;
    this.#closeRequested = true;
    this.isCalling = true;
    this.endSocket();
    this.isCalling = false;
  }

  /** Closes the socket behind what it took. */
  protected endSocket(): void {
    this.socket?.end();
  }

  reset(): void {
    if (this.#closeRequested || this.#closed) return;
    this.#closeRequested = true;
    this.isCalling = true;
    this.socket?.terminate();
    this.isCalling = false;
  }

  roundTripMs(): number {
    const { fd, watch } = this;
    return watch === null || fd < 0 || this.#closed || this.#closeRequested ? -1 : watch.posix.roundTripMs(fd);
  }

  setNoDelay(on: boolean): void {
    this.socket?.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds: number): void {
    this.socket?.setKeepAlive(on, idleSeconds * 1000);
  }

  // --- events of the socket, inside a turn ---

  onSocketOpen(local: Address | null): void {
    if (this.opened || this.#closed || this.#closeRequested) return;
    this.opened = true;
    if (local !== null) this.localAddress = local;
    if (this.#paused) this.#stopReading();
    this.handler?.onOpen();
  }

  onSocketDrain(): void {
    if (!this.#drainWanted || this.#closeRequested) return;
    this.#drainWanted = false;
    this.handler?.onDrain();
  }

  onSocketEnd(): void {
    if (this.#peerEnded || this.#closeRequested) return;
    this.#peerEnded = true;
    this.handler?.onPeerEnd();
  }

  onSocketClosed(error: TransportError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.isCalling) this.#finishLater(error);
    else this.#finish(error);
  }

  /** The connect could not even begin: the handler is to hear of it later. */
  failLater(error: TransportError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#finishLater(error);
  }

  #finishLater(error: TransportError | null): void {
    this.#finishPending = true;
    this.#pendingError = error;
    this.dispatcher.defer(this);
  }

  onTurnEnd(): void {
    if (!this.#finishPending) return;
    this.#finishPending = false;
    this.#finish(this.#pendingError);
  }

  /** It is no raw socket of its listener any more. */
  leaveListener(): void {
    this.ears?.remove();
    this.ears = null;
  }

  #finish(error: TransportError | null): void {
    this.leaveListener();
    if (this.#paused) this.watch?.remove(this);
    if (this.#closeRequested) {
      error = null;
    } else if (error === null) {
      // Once we have sent FIN, Bun reports the peer's as `close` alone.
      this.onSocketEnd();
    }
    this.socket = null;
    const handler = this.handler;
    this.handler = null;
    handler?.onClosed(error);
  }
}
