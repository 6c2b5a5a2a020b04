import type { Dispatcher, TurnTask } from '../dispatcher.ts';

/** What Bun gives for a listening socket, as far as it is used here. */
export interface ReloadableListener {
  /** Other callbacks for all sockets that it has accepted and will accept. */
  reload(options: { readonly socket: object }): void;
}

/**
 * Whether a listener's sockets hear of bytes. When one of them begins to speak TLS, Bun goes on handing every record to the raw
 * socket's callback as well, in a buffer of its own that nobody wants (of a large upload over TLS a quarter of the CPU). It does not
 * where there is no such callback, and that is one for all sockets of a listener: so it is taken away while all of them speak TLS.
 */
export class ListenerEars implements TurnTask {
  readonly #dispatcher: Dispatcher;
  readonly #callbacks: object;
  readonly #deaf: object;
  #listener: ReloadableListener | null = null;
  /** Sockets that are raw. */
  #raw = 0;
  #hears = true;

  /** @param callbacks of the listener's sockets, as they were given to Bun */
  constructor(dispatcher: Dispatcher, callbacks: { readonly data: unknown }) {
    this.#dispatcher = dispatcher;
    this.#callbacks = callbacks;
    const { data: _unheard, ...others } = callbacks;
    this.#deaf = others;
  }

  attach(listener: ReloadableListener): void {
    this.#listener = listener;
  }

  /** The listener is closed: as things are, they stay. */
  detach(): void {
    this.#listener = null;
  }

  /** A socket was accepted. Its bytes come later. */
  add(): void {
    this.#raw++;
    if (this.#hears) return;
    this.#hears = true;
    this.#listener?.reload({ socket: this.#callbacks });
  }

  /** A raw socket speaks TLS now, or is gone. */
  remove(): void {
    this.#raw--;
    // At the end of the turn: Bun may be in the middle of a call to what is taken away.
    if (this.#raw === 0) this.#dispatcher.defer(this);
  }

  onTurnEnd(): void {
    if (this.#raw > 0 || !this.#hears || this.#listener === null) return;
    this.#hears = false;
    this.#listener.reload({ socket: this.#deaf });
  }
}
