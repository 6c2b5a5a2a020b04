import type { Socket } from 'bun';

/** How a peer ended a connection: not yet, by FIN, or by RST. */
export type Fate = 'open' | 'fin' | 'reset';

interface Wait {
  readonly isDone: () => boolean;
  readonly resolve: (done: boolean) => void;
}

/**
 * One end of a raw TCP connection in a test: everything received is kept, everything can be awaited by event, writes
 * beyond what the kernel takes are kept back. Strings are latin1.
 */
export class BytePipe {
  received: string;
  fate: Fate;
  /** Whether this end sent FIN or RST, or closed. */
  endedByUs: boolean;
  /** How transcripts show what was received; null: as bytes. */
  describe: (() => string) | null;
  #socket: Socket<BytePipe> | null;
  #unsent: Buffer[];
  #endWhenSent: boolean;
  #waits: Wait[];

  constructor() {
    this.received = '';
    this.fate = 'open';
    this.endedByUs = false;
    this.describe = null;
    this.#socket = null;
    this.#unsent = [];
    this.#endWhenSent = false;
    this.#waits = [];
  }

  attach(socket: Socket<BytePipe>): void {
    this.#socket = socket;
  }

  get localPort(): number {
    return this.#socket?.localPort ?? 0;
  }

  /** Sends bytes; what the kernel does not take now goes when it drains. */
  send(bytes: string | Uint8Array): void {
    if (this.fate === 'reset' || this.#socket === null) return;
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
    this.#unsent.push(buffer);
    this.#flush();
  }

  #flush(): void {
    const socket = this.#socket;
    if (socket === null) return;
    for (let first = this.#unsent[0]; first !== undefined; first = this.#unsent[0]) {
      const taken = first.length === 0 ? 0 : socket.write(first);
      if (taken < 0) return;
      if (taken < first.length) {
        this.#unsent[0] = first.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#endWhenSent) {
      this.#endWhenSent = false;
      socket.shutdown();
    }
  }

  /** Sends FIN after what is still to be sent, and keeps reading. */
  end(): void {
    if (this.endedByUs || this.#socket === null) return;
    this.endedByUs = true;
    this.#endWhenSent = true;
    this.#flush();
  }

  /** Closes both directions at once, by RST. */
  reset(): void {
    this.endedByUs = true;
    this.#socket?.terminate();
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** Resolves to true as soon as `isDone` holds, to false when the peer has ended or after `timeoutMs` without it. */
  async until(isDone: () => boolean, timeoutMs = 4000): Promise<boolean> {
    if (isDone()) return true;
    if (this.fate !== 'open') return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const wait = { isDone, resolve };
    this.#waits.push(wait);
    const timer = setTimeout(() => this.#settle(wait, false), timeoutMs);
    const done = await promise;
    clearTimeout(timer);
    return done;
  }

  #settle(wait: Wait, done: boolean): void {
    const at = this.#waits.indexOf(wait);
    if (at !== -1) this.#waits.splice(at, 1);
    wait.resolve(done);
  }

  #wake(): void {
    for (const wait of [...this.#waits]) {
      if (wait.isDone()) this.#settle(wait, true);
      else if (this.fate !== 'open') this.#settle(wait, false);
    }
  }

  /** Resolves to the received text as soon as it holds `marker`. */
  async receive(marker: string, timeoutMs?: number): Promise<string> {
    await this.until(() => this.received.includes(marker), timeoutMs);
    return this.received;
  }

  /** Resolves to the peer's way of ending, or 'open' after `timeoutMs` without it. */
  async closed(timeoutMs?: number): Promise<Fate> {
    await this.until(() => this.fate !== 'open', timeoutMs);
    return this.fate;
  }

  // Called by the socket's handlers.

  onData(data: Uint8Array): void {
    this.received += Buffer.from(data.buffer, data.byteOffset, data.byteLength).latin1Slice();
    this.#wake();
  }

  onEnd(): void {
    if (this.fate === 'open') this.fate = 'fin';
    this.#wake();
  }

  onClose(error: unknown): void {
    if (this.fate === 'open') this.fate = error === undefined || error === null ? 'fin' : 'reset';
    // A close without an error after our own reset says nothing of the peer; it counts as FIN.
    else if (this.fate === 'fin' && error !== undefined && error !== null && !this.endedByUs) this.fate = 'reset';
    this.#wake();
  }

  onDrain(): void {
    this.#flush();
  }
}

/** The handlers that bind sockets of Bun to their pipes. */
export const pipeHandlers = {
  data(socket: Socket<BytePipe>, data: Uint8Array): void {
    socket.data.onData(data);
  },
  end(socket: Socket<BytePipe>): void {
    socket.data.onEnd();
  },
  close(socket: Socket<BytePipe>, error?: Error): void {
    socket.data.onClose(error);
  },
  drain(socket: Socket<BytePipe>): void {
    socket.data.onDrain();
  },
  error(socket: Socket<BytePipe>, error: Error): void {
    socket.data.onClose(error);
  },
};
