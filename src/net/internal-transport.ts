import type { FilterStateObject, MetadataStruct } from '../base/connection-state.ts';
import { type Address, internalAddress } from './address.ts';
import type { Dispatcher, TurnTask } from './dispatcher.ts';
import type { Acceptor, Transport, TransportError, TransportHandler } from './transport.ts';

/** Envoy's `buffer_size_kb` unless the bootstrap says otherwise. */
export const DEFAULT_INTERNAL_BUFFER_BYTES = 1024 * 1024;

/** What the connecting side lets an internal listener's connection know, before its listener filters run. */
export interface InternalPassthrough {
  readonly metadata: ReadonlyMap<string, MetadataStruct>;
  readonly objects: ReadonlyMap<string, FilterStateObject>;
}

/** Hears nothing, until somebody listens. */
const NOBODY: TransportHandler = {
  onOpen() {},
  onBytes() {},
  onDrain() {},
  onPeerEnd() {},
  onClosed() {},
};

/** What the other end is to be told, in this order. */
type Word = Buffer | 'accept' | 'open' | 'end' | 'close' | 'reset';

/** As a connect that the system refuses at once: Envoy's words for a listener that is not there, or does not keep the connection. */
function refusedConnect(to: Address): TransportError {
  return { code: 'EINVAL', message: `immediate connect error: Invalid argument|remote address:${to.text}` };
}

/**
 * One end of a connection inside the process: bytes written here are read there, in a later turn, never inside the call. What is
 * on its way counts against a limit, so that a reader that is paused stops the writer.
 */
export class InternalTransport implements Transport, TurnTask {
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly fd = -1;
  readonly security = null;
  /** What the connecting side passes on to the listener (an `internal_upstream` socket). */
  passthrough: InternalPassthrough | null = null;
  #acceptor: Acceptor | null = null;
  readonly #dispatcher: Dispatcher;
  readonly #limit: number;
  #peer: InternalTransport | null = null;
  #handler: TransportHandler = NOBODY;
  /** From the other end. */
  readonly #inbox: Word[] = [];
  #inboxBytes = 0;
  #scheduled = false;
  #paused = false;
  /** `write` took less than was offered. */
  #full = false;
  #writesEnded = false;
  #peerEnded = false;
  #closed = false;
  /** Our own close is under way: `onClosed` follows, nothing else. */
  #closing: TransportError | null | undefined = undefined;

  private constructor(dispatcher: Dispatcher, limit: number, local: Address, remote: Address) {
    this.#dispatcher = dispatcher;
    this.#limit = limit;
    this.localAddress = local;
    this.remoteAddress = remote;
  }

  /**
   * The two ends of a connection. In turns to come the server's is accepted, open, and then the client's hears `onOpen`.
   * @param bufferBytes how much may be on its way in each direction
   */
  static pair(
    dispatcher: Dispatcher,
    bufferBytes: number,
    server: Address,
    acceptor: Acceptor,
    client: Address = internalAddress('internal_client_address'),
  ): { readonly client: InternalTransport; readonly server: InternalTransport } {
    const near = new InternalTransport(dispatcher, bufferBytes, client, server);
    const far = new InternalTransport(dispatcher, bufferBytes, server, client);
    near.#peer = far;
    far.#peer = near;
    far.#acceptor = acceptor;
    far.#hear('accept');
    near.#hear('open');
    return { client: near, server: far };
  }

  /** A connection that fails, later. */
  static refused(dispatcher: Dispatcher, to: Address, error = refusedConnect(to)): InternalTransport {
    const transport = new InternalTransport(dispatcher, 0, internalAddress('internal_client_address'), to);
    transport.#end(error);
    return transport;
  }

  setHandler(handler: TransportHandler): void {
    this.#handler = handler;
  }

  write(bytes: Buffer, start: number, end: number): number {
    const peer = this.#peer!;
    if (this.#closed || this.#closing !== undefined || this.#writesEnded) return -1;
    if (peer.#closed || peer.#closing !== undefined) {
      // As a socket whose peer has closed: what is written is lost, and the answer is a reset.
      this.#hear('reset');
      return end - start;
    }
    const taken = Math.max(0, Math.min(end - start, this.#limit - peer.#inboxBytes));
    if (taken > 0) peer.#hear(Buffer.from(bytes.subarray(start, start + taken)));
    if (taken < end - start) this.#full = true;
    return taken;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#inbox.length > 0) this.#schedule();
  }

  endWrites(): void {
    if (this.#writesEnded || this.#closed) return;
    this.#writesEnded = true;
    this.#peer!.#hear('end');
    if (this.#peerEnded) this.#end(null);
  }

  close(): void {
    if (this.#closed || this.#closing !== undefined) return;
    // Bytes that nobody will read: a socket would answer with a reset.
    this.#peer!.#hear(this.#inboxBytes > 0 ? 'reset' : 'close');
    this.#end(null);
  }

  reset(): void {
    if (this.#closed || this.#closing !== undefined) return;
    this.#peer!.#hear('reset');
    this.#end(null);
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}

  #hear(word: Word): void {
    if (this.#closed) return;
    this.#inbox.push(word);
    if (typeof word !== 'string') this.#inboxBytes += word.length;
    this.#schedule();
  }

  /** Our end is done: the handler is told in a later turn. */
  #end(error: TransportError | null): void {
    this.#closing = error;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    // A turn of its own: what is written at the end of this one is not heard within it.
    setImmediate(() => {
      this.#dispatcher.enter();
      try {
        this.onTurnEnd();
      } finally {
        this.#dispatcher.leave();
      }
    });
  }

  onTurnEnd(): void {
    this.#scheduled = false;
    try {
      this.#deliver();
    } catch (error) {
      this.#dispatcher.onBug(error);
    }
  }

  #deliver(): void {
    while (!this.#closed) {
      if (this.#closing !== undefined) {
        this.#finish(this.#closing);
        return;
      }
      const word = this.#inbox[0];
      if (word === undefined) return;
      if (word === 'reset') {
        this.#finish({ code: 'ECONNRESET', message: '' });
        return;
      }
      if (this.#paused && word !== 'open' && word !== 'accept') {
        // Not even a pause hides a reset.
        if (this.#inbox.includes('reset')) this.#finish({ code: 'ECONNRESET', message: '' });
        else if (this.#inbox.includes('end') || this.#inbox.includes('close')) this.#handler.onEarlyClose?.();
        return;
      }
      this.#inbox.shift();
      this.#tell(word);
    }
  }

  #tell(word: Exclude<Word, 'reset'>): void {
    if (word === 'accept') {
      this.#acceptor?.onAccept(this);
      this.#acceptor = null;
    } else if (word === 'open') {
      const next = this.#inbox[0];
      if (next === 'close' || next === 'reset') this.#finish(refusedConnect(this.remoteAddress));
      else this.#handler.onOpen();
    } else if (word === 'end') {
      this.#peerEnded = true;
      this.#handler.onPeerEnd();
      if (this.#writesEnded && this.#closing === undefined) this.#end(null);
    } else if (word === 'close') {
      if (!this.#peerEnded) {
        this.#peerEnded = true;
        this.#handler.onPeerEnd();
      }
      if (this.#writesEnded && this.#closing === undefined) this.#end(null);
    } else {
      this.#inboxBytes -= word.length;
      const peer = this.#peer;
      this.#handler.onBytes(word);
      if (peer!.#full) peer!.#roomAgain();
    }
  }

  #roomAgain(): void {
    this.#full = false;
    if (!this.#closed && this.#closing === undefined) this.#handler.onDrain();
  }

  #finish(error: TransportError | null): void {
    this.#closed = true;
    this.#inbox.length = 0;
    const handler = this.#handler;
    this.#handler = NOBODY;
    handler.onClosed(error);
  }
}
