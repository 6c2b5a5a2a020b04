import { BytePipe, pipeHandlers } from './byte-pipe.ts';
import { findResponse, type MessageExtent } from './wire-text.ts';

/** A client that sends whatever it is told, and reads responses one by one. */
export class RawClient extends BytePipe {
  #read: number;

  constructor() {
    super();
    this.#read = 0;
  }

  /**
   * The text of the next response (a 1xx counts as one). Where it does not come whole, what came of it so far.
   * `head`: the request was HEAD.
   */
  async response(options: { head?: boolean; timeoutMs?: number } = {}): Promise<string> {
    let extent: MessageExtent | null = null;
    const find = (): boolean => {
      extent = findResponse(this.received, this.#read, {
        head: options.head === true,
        closed: this.fate !== 'open',
      });
      return extent !== null;
    };
    await this.until(find, options.timeoutMs);
    const start = this.#read;
    this.#read = (extent as MessageExtent | null)?.end ?? this.received.length;
    return this.received.slice(start, this.#read);
  }

  /** Waits for the next response that is not a 1xx. */
  async finalResponse(options: { head?: boolean; timeoutMs?: number } = {}): Promise<string> {
    for (;;) {
      const text = await this.response(options);
      if (!/^HTTP\/1\.[01] 1\d\d\b/.test(text) || text.startsWith('HTTP/1.1 101')) return text;
    }
  }
}

/** Where a client connects: a TCP port on a loopback address, or the path of a Unix socket. */
export type Target = { readonly port: number; readonly hostname?: string } | { readonly unix: string };

/** Opens a raw connection; rejects where it is refused. */
export async function connectRaw(target: Target): Promise<RawClient> {
  const client = new RawClient();
  const options = { data: client as BytePipe, allowHalfOpen: true, socket: pipeHandlers };
  const socket =
    'unix' in target
      ? await Bun.connect<BytePipe>({ ...options, unix: target.unix })
      : await Bun.connect<BytePipe>({ ...options, hostname: target.hostname ?? '127.0.0.1', port: target.port });
  client.attach(socket);
  return client;
}
