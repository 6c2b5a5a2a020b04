import type { Socket, TCPSocketListener } from 'bun';
import { BytePipe, pipeHandlers } from '../support/byte-pipe.ts';

/** One end of a tapped connection: what it receives goes on to the other end. */
class TapEnd extends BytePipe {
  other: TapEnd | null = null;
  #waiting: string[] = [];
  #ready = false;
  /** The other side ended before this one was connected. */
  #endLater = false;
  readonly #onActivity: () => void;

  constructor(onActivity: () => void) {
    super();
    this.#onActivity = onActivity;
  }

  ready(socket: Socket<BytePipe>): void {
    this.attach(socket);
    this.#ready = true;
    for (const bytes of this.#waiting.splice(0)) this.send(bytes);
    if (this.#endLater) this.end();
  }

  forward(bytes: string): void {
    if (this.#ready) this.send(bytes);
    else this.#waiting.push(bytes);
  }

  finish(): void {
    if (this.#ready) this.end();
    else this.#endLater = true;
  }

  override onData(data: Uint8Array): void {
    super.onData(data);
    this.#onActivity();
    this.other?.forward(Buffer.from(data).latin1Slice());
  }

  override onEnd(): void {
    super.onEnd();
    this.#onActivity();
    this.other?.finish();
  }

  override onClose(error: unknown): void {
    super.onClose(error);
    this.#onActivity();
    if (this.fate === 'reset') this.other?.reset();
    else this.other?.finish();
  }
}

/** A connection through the tap: what the proxy sent and what the server answered. */
export interface TappedConnection {
  readonly proxy: TapEnd;
  readonly server: TapEnd;
  /** The tap itself ended it (the case was over). */
  cut: boolean;
}

/** Stands between a proxy and a server, passes every byte on and keeps it. */
export class Tap {
  readonly connections: TappedConnection[] = [];
  /** When something last happened, by `performance.now()`. */
  lastActivity = 0;
  readonly #serverPort: number;
  #listener: TCPSocketListener<BytePipe> | null = null;

  constructor(serverPort: number) {
    this.#serverPort = serverPort;
  }

  /** Listens on a free loopback port and returns it. */
  start(): number {
    this.#listener = Bun.listen<BytePipe>({
      hostname: '127.0.0.1',
      port: 0,
      allowHalfOpen: true,
      socket: { ...pipeHandlers, open: (socket) => this.#onOpen(socket) },
    });
    return this.#listener.port;
  }

  #onOpen(socket: Socket<BytePipe>): void {
    const active = (): void => {
      this.lastActivity = performance.now();
    };
    const proxy = new TapEnd(active);
    const server = new TapEnd(active);
    proxy.other = server;
    server.other = proxy;
    socket.data = proxy;
    proxy.ready(socket);
    this.connections.push({ proxy, server, cut: false });
    Bun.connect<BytePipe>({
      hostname: '127.0.0.1',
      port: this.#serverPort,
      data: server as BytePipe,
      allowHalfOpen: true,
      socket: pipeHandlers,
    }).then(
      (connected) => server.ready(connected),
      () => proxy.reset(),
    );
  }

  /** Ends all connections, waits for the proxy to have closed them, and hands them over. */
  async cut(): Promise<TappedConnection[]> {
    const connections = this.connections.splice(0);
    for (const connection of connections) {
      connection.cut = connection.proxy.fate === 'open' && connection.server.fate === 'open';
      connection.proxy.end();
      connection.server.end();
    }
    for (const { proxy, server } of connections) {
      await proxy.closed(500);
      proxy.reset();
      server.reset();
    }
    return connections;
  }

  stop(): void {
    this.#listener?.stop(true);
    for (const { proxy, server } of this.connections) {
      proxy.reset();
      server.reset();
    }
  }
}
