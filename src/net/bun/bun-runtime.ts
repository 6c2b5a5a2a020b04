import { type Address, ipAddress, pipeAddress } from '../address.ts';
import type { Dispatcher } from '../dispatcher.ts';
import type {
  Acceptor,
  ConnectSpec,
  ListeningSocket,
  ListenSpec,
  SocketRuntime,
  Transport,
  TransportError,
  TransportHandler,
  TransportSecurity,
} from '../transport.ts';

type BunSocket = import('bun').Socket<BunTransport>;

/** A raw TCP or Unix socket of Bun's native API. */
class BunTransport implements Transport {
  readonly #dispatcher: Dispatcher;
  localAddress: Address;
  remoteAddress: Address;
  security: TransportSecurity | null = null;
  socket: BunSocket | null = null;
  handler: TransportHandler | null = null;
  opened = false;
  closed = false;
  #closeRequested = false;
  #paused = false;

  constructor(dispatcher: Dispatcher, local: Address, remote: Address) {
    this.#dispatcher = dispatcher;
    this.localAddress = local;
    this.remoteAddress = remote;
  }

  get fd(): number {
    return (this.socket as { fd?: number } | null)?.fd ?? -1;
  }

  get dispatcher(): Dispatcher {
    return this.#dispatcher;
  }

  setHandler(handler: TransportHandler): void {
    this.handler = handler;
  }

  write(bytes: Buffer, start: number, end: number): number {
    if (this.socket === null || this.closed || this.#closeRequested) return -1;
    const taken = this.socket.write(bytes, start, end - start);
    return taken;
  }

  pause(): void {
    this.#paused = true;
    this.socket?.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.socket?.resume();
  }

  endWrites(): void {
    this.socket?.shutdown();
  }

  close(): void {
    if (this.#closeRequested) return;
    this.#closeRequested = true;
    this.socket?.end();
  }

  reset(): void {
    if (this.#closeRequested) return;
    this.#closeRequested = true;
    this.socket?.terminate();
  }

  setNoDelay(on: boolean): void {
    this.socket?.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds: number): void {
    this.socket?.setKeepAlive(on, idleSeconds * 1000);
  }

  get closeRequested(): boolean {
    return this.#closeRequested;
  }

  finish(error: TransportError | null): void {
    if (this.closed) return;
    this.closed = true;
    this.handler?.onClosed(error);
  }
}

function transportError(error: unknown): TransportError {
  const code = (error as { code?: string }).code ?? 'EIO';
  return { code, message: '' };
}

function addressesOf(socket: BunSocket, unixPath: string | null): { local: Address; remote: Address } {
  if (unixPath !== null) return { local: pipeAddress(unixPath), remote: pipeAddress('') };
  return {
    local: ipAddress(plainIp(socket.localAddress), socket.localPort),
    remote: ipAddress(plainIp(socket.remoteAddress), socket.remotePort),
  };
}

/** Dual-stack sockets report IPv4 peers as mapped IPv6. */
function plainIp(ip: string): string {
  return ip.startsWith('::ffff:') && ip.includes('.') ? ip.slice(7) : ip;
}

const NOWHERE = ipAddress('0.0.0.0', 0);

/** One handler object serves every socket: Bun keeps per-socket state in `socket.data`. */
function socketHandlers(dispatcher: Dispatcher, acceptor: Acceptor | null, unixPath: string | null) {
  function turn(action: () => void): void {
    dispatcher.enter();
    try {
      action();
    } catch (error) {
      dispatcher.onBug(error);
    } finally {
      dispatcher.leave();
    }
  }
  return {
    open(socket: BunSocket): void {
      turn(() => {
        socket.setNoDelay(true);
        if (acceptor !== null) {
          const { local, remote } = addressesOf(socket, unixPath);
          const transport = new BunTransport(dispatcher, local, remote);
          transport.socket = socket;
          transport.opened = true;
          socket.data = transport;
          acceptor.onAccept(transport);
          return;
        }
        const transport = socket.data;
        transport.socket = socket;
        transport.opened = true;
        if (transport.closeRequested) {
          socket.terminate();
          return;
        }
        if (unixPath === null) transport.localAddress = addressesOf(socket, null).local;
        transport.handler?.onOpen();
      });
    },
    data(socket: BunSocket, bytes: Buffer): void {
      const transport = socket.data;
      dispatcher.enter();
      try {
        transport.handler?.onBytes(bytes);
      } catch (error) {
        dispatcher.onBug(error);
      } finally {
        dispatcher.leave();
      }
    },
    drain(socket: BunSocket): void {
      turn(() => socket.data?.handler?.onDrain());
    },
    end(socket: BunSocket): void {
      turn(() => socket.data?.handler?.onPeerEnd());
    },
    close(socket: BunSocket, error?: Error): void {
      turn(() => socket.data?.finish(error === undefined || error === null ? null : transportError(error)));
    },
    error(socket: BunSocket, error: Error): void {
      turn(() => {
        dispatcher.onBug(error);
        socket.terminate();
      });
    },
    connectError(socket: BunSocket, error: Error): void {
      turn(() => socket.data?.finish(transportError(error)));
    },
  };
}

/** Sockets by Bun's native API (`Bun.listen`, `Bun.connect`). */
export class BunRuntime implements SocketRuntime {
  readonly #dispatcher: Dispatcher;
  readonly #clientHandlers;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
    this.#clientHandlers = socketHandlers(dispatcher, null, null);
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    const address = spec.address;
    if (address.kind === 'pipe') {
      const listener = Bun.listen<BunTransport>({
        unix: address.path.startsWith('@') ? `\0${address.path.slice(1)}` : address.path,
        allowHalfOpen: true,
        socket: socketHandlers(this.#dispatcher, acceptor, address.path),
      });
      return { address, close: () => listener.stop(false) };
    }
    if (address.kind !== 'ip') throw new Error('internal addresses have no socket');
    const listener = Bun.listen<BunTransport>({
      hostname: address.ip,
      port: address.port,
      reusePort: spec.reusePort,
      ipv6Only: spec.ipv6Only,
      allowHalfOpen: true,
      socket: socketHandlers(this.#dispatcher, acceptor, null),
    } as import('bun').TCPSocketListenOptions<BunTransport>);
    return {
      address: ipAddress(address.ip, listener.port),
      close: () => listener.stop(false),
    };
  }

  connect(spec: ConnectSpec, handler: TransportHandler): Transport {
    const address = spec.address;
    if (address.kind === 'internal') throw new Error('internal addresses have no socket');
    const transport = new BunTransport(this.#dispatcher, NOWHERE, address);
    transport.handler = handler;
    const target =
      address.kind === 'pipe'
        ? { unix: address.path.startsWith('@') ? `\0${address.path.slice(1)}` : address.path }
        : { hostname: address.ip, port: address.port };
    Bun.connect<BunTransport>({
      ...target,
      data: transport,
      allowHalfOpen: true,
      socket: this.#clientHandlers,
    } as Parameters<typeof Bun.connect<BunTransport>>[0]).catch((error: unknown) => {
      this.#dispatcher.enter();
      try {
        transport.finish(transportError(error));
      } finally {
        this.#dispatcher.leave();
      }
    });
    return transport;
  }
}
