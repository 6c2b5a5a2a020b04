import { chmodSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import { type Address, ipAddress, pipeAddress } from '../address.ts';
import type { Dispatcher, TurnTask } from '../dispatcher.ts';
import { errnoText, SocketError } from '../errno.ts';
import type {
  Acceptor,
  ConnectSpec,
  ListeningSocket,
  ListenSpec,
  SocketFeatures,
  SocketRuntime,
  Transport,
  TransportError,
  TransportHandler,
  TransportSecurity,
} from '../transport.ts';

const NOWHERE = ipAddress('0.0.0.0', 0);
const NO_PEER_NAME = pipeAddress('');
/** As much as one write takes: it is copied, because Node may hold on to it and the caller may not. */
const LARGEST_WRITE = 256 * 1024;
/** libuv's flags of a bind. */
const UV_TCP_IPV6ONLY = 1;
const UV_TCP_REUSEPORT = 2;

/** A raw TCP or Unix socket of `node:net`. */
export class NodeTransport implements Transport, TurnTask {
  readonly dispatcher: Dispatcher;
  localAddress: Address;
  readonly remoteAddress: Address;
  security: TransportSecurity | null = null;
  readonly socket: net.Socket;
  #handler: TransportHandler | null = null;
  #opened: boolean;
  #closeRequested = false;
  #closed = false;
  #drainWanted = false;
  #endedWrites = false;
  #paused = false;
  #error: TransportError | null = null;

  constructor(dispatcher: Dispatcher, socket: net.Socket, local: Address, remote: Address, opened: boolean) {
    this.dispatcher = dispatcher;
    this.socket = socket;
    this.localAddress = local;
    this.remoteAddress = remote;
    this.#opened = opened;
    socket.on('data', (bytes: Buffer) => this.#turn(() => this.#handler?.onBytes(bytes)));
    socket.on('drain', () => this.#turn(() => this.#onDrain()));
    socket.on('end', () => this.#turn(() => this.#handler?.onPeerEnd()));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#onError(error));
    socket.on('close', () => this.#turn(() => this.#finish()));
  }

  /** Events between our close and `onClosed` are nobody's. */
  #turn(action: () => void): void {
    if (this.#closeRequested) return;
    this.#always(action);
  }

  #always(action: () => void): void {
    this.dispatcher.enter();
    try {
      action();
    } catch (error) {
      this.dispatcher.onBug(error);
    } finally {
      this.dispatcher.leave();
    }
  }

  /** Connected: the socket may be taken for TLS. */
  get isOpen(): boolean {
    return this.#opened && !this.#closed && !this.#closeRequested;
  }

  /** Gives the socket up to somebody else: nothing more is heard of it here. */
  detach(): void {
    this.#handler = null;
    this.#closed = true;
    for (const event of ['data', 'drain', 'end', 'close']) this.socket.removeAllListeners(event);
  }

  get fd(): number {
    return (this.socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd ?? -1;
  }

  setHandler(handler: TransportHandler): void {
    this.#handler = handler;
  }

  write(bytes: Buffer, start: number, end: number): number {
    if (this.#closed || this.#closeRequested || this.socket.destroyed) return -1;
    if (this.#drainWanted) return 0;
    const stop = Math.min(end, start + LARGEST_WRITE);
    this.#drainWanted = !this.socket.write(Buffer.from(bytes.subarray(start, stop)));
    // It is all Node's now, even when it asks us to wait: the caller learns of that by the next call, so make it ask.
    return stop - start;
  }

  #onDrain(): void {
    if (!this.#drainWanted) return;
    this.#drainWanted = false;
    this.#handler?.onDrain();
  }

  pause(): void {
    this.#paused = true;
    this.socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.socket.resume();
  }

  endWrites(): void {
    if (this.#endedWrites || this.#closed || this.#closeRequested) return;
    this.#endedWrites = true;
    this.socket.end();
  }

  close(): void {
    if (!this.#beginClose()) return;
    if (this.#opened && this.socket.writableLength > 0) this.socket.destroySoon();
    else this.socket.destroy();
  }

  reset(): void {
    if (!this.#beginClose()) return;
    // A Unix socket knows no reset: the peer sees it end.
    if (this.#opened && this.remoteAddress.kind === 'ip') this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  #beginClose(): boolean {
    if (this.#closeRequested || this.#closed) return false;
    this.#closeRequested = true;
    this.#error = null;
    this.dispatcher.defer(this);
    return true;
  }

  onTurnEnd(): void {
    this.#finish();
  }

  setNoDelay(on: boolean): void {
    this.socket.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds: number): void {
    this.socket.setKeepAlive(on, idleSeconds * 1000);
  }

  onConnect(): void {
    this.#turn(() => {
      this.#opened = true;
      if (this.socket.localAddress !== undefined) this.localAddress = localOf(this.socket);
      if (this.#paused) this.socket.pause();
      this.#handler?.onOpen();
    });
  }

  #onError(error: NodeJS.ErrnoException): void {
    if (this.#closeRequested || this.#error !== null) return;
    const code = error.code ?? 'EIO';
    const local = error.syscall === 'bind' || isBindFailure(error);
    let message = '';
    if (local) message = `failed to bind to ${localText(error)}: ${errnoText(code)}`;
    else if (!this.#opened) message = `delayed connect error: ${errnoText(code)}`;
    this.#error = { code, message, local };
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    const handler = this.#handler;
    this.#handler = null;
    handler?.onClosed(this.#error);
  }
}

/** Node reports a local address that cannot be had as a failed connect with the address behind "Local". */
function isBindFailure(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EADDRNOTAVAIL';
}

function localText(error: NodeJS.ErrnoException): string {
  const { address, port } = error as { address?: string; port?: number };
  return address === undefined ? 'the local address' : `${address}:${port ?? 0}`;
}

/** Dual-stack sockets report IPv4 peers as mapped IPv6. */
function plainIp(ip: string): string {
  return ip.startsWith('::ffff:') && ip.includes('.') ? ip.slice(7) : ip;
}

function localOf(socket: net.Socket): Address {
  return ipAddress(plainIp(socket.localAddress ?? '0.0.0.0'), socket.localPort ?? 0);
}

function remoteOf(socket: net.Socket): Address {
  return ipAddress(plainIp(socket.remoteAddress ?? '0.0.0.0'), socket.remotePort ?? 0);
}

function socketPath(path: string): string {
  return path.startsWith('@') ? `\0${path.slice(1)}` : path;
}

/** libuv's handle of a bound socket: what `net` makes for itself. Undocumented, in every Node so far; not in Bun's `net`. */
interface ServerHandle {
  listen(backlog: number): number;
  close(): void;
}
type CreateServerHandle = (
  address: string,
  port: number,
  addressType: number,
  fd: number | undefined,
  flags: number,
) => ServerHandle | number;

const createServerHandle = (net as unknown as { _createServerHandle?: CreateServerHandle })._createServerHandle;

/** Node has had `reusePort` since 23.1; before that the flag would be ignored. */
function hasReusePort(): boolean {
  if (createServerHandle === undefined) return true;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 1);
}

/**
 * Sockets by `node:net`: the implementation for Node, and the fallback on Bun. Slower, and without what `node:net` does not
 * offer: socket options, transparent and freebind, original destinations. A reset of a paused peer is noticed when reading
 * resumes. On Bun a failed listen does not tell its errno in time: its code is EADDRINUSE or EACCES by guess.
 */
export class NodeRuntime implements SocketRuntime {
  readonly features: SocketFeatures = {
    socketOptions: false,
    reusePort: hasReusePort(),
    originalDestination: false,
  };
  readonly #dispatcher: Dispatcher;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    const address = spec.address;
    if (address.kind === 'internal') throw new SocketError('EAFNOSUPPORT', 'internal addresses have no socket');
    this.#refuse(spec);
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#accept(socket, acceptor, address);
    });
    // Errors of accept (out of descriptors) are nothing that we can act on; the next accept tries again.
    server.on('error', () => {});
    server.on('drop', () => {});
    if (address.kind === 'pipe' && !address.path.startsWith('@')) {
      try {
        // As Envoy: whatever is left there from an earlier run gives way.
        unlinkSync(address.path);
      } catch {
        // There is none: the usual case.
      }
    }
    if (createServerHandle !== undefined) listenByHandle(server, spec);
    else listenByOptions(server, spec);
    if (address.kind === 'pipe' && address.mode !== 0 && !address.path.startsWith('@')) {
      chmodSync(address.path, address.mode);
    }
    const bound = server.address();
    const real =
      address.kind === 'ip' && bound !== null && typeof bound === 'object'
        ? ipAddress(address.ip, bound.port)
        : address;
    return {
      address: real,
      close: () => {
        server.close();
      },
    };
  }

  #refuse(spec: ListenSpec): void {
    const missing: string[] = [];
    if (spec.socketOptions.length > 0) missing.push('socket options');
    if (spec.transparent) missing.push('transparent');
    if (spec.freebind) missing.push('freebind');
    if (spec.reusePort && !this.features.reusePort) missing.push('SO_REUSEPORT (needs Node 23.1)');
    if (missing.length > 0) {
      throw new SocketError('ENOTSUP', `not supported by this runtime: ${missing.join(', ')}`);
    }
  }

  #accept(socket: net.Socket, acceptor: Acceptor, address: Address): void {
    const isPipe = address.kind === 'pipe';
    if (!isPipe && socket.remoteAddress === undefined) {
      // Reset before we came to it: there is nobody to talk to.
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    const local = isPipe ? address : localOf(socket);
    const remote = isPipe ? NO_PEER_NAME : remoteOf(socket);
    this.#dispatcher.enter();
    try {
      acceptor.onAccept(new NodeTransport(this.#dispatcher, socket, local, remote, true));
    } catch (error) {
      this.#dispatcher.onBug(error);
    } finally {
      this.#dispatcher.leave();
    }
  }

  connect(spec: ConnectSpec, handler: TransportHandler): Transport {
    const { address, bindAddress } = spec;
    const socket = new net.Socket({ allowHalfOpen: true });
    const transport = new NodeTransport(this.#dispatcher, socket, NOWHERE, address, false);
    transport.setHandler(handler);
    socket.once('connect', () => transport.onConnect());
    if (address.kind === 'internal' || spec.socketOptions.length > 0) {
      socket.destroy(new SocketError('ENOTSUP', 'not supported by this runtime'));
    } else if (address.kind === 'pipe') {
      socket.connect({ path: socketPath(address.path) });
    } else {
      socket.connect({
        host: address.ip,
        port: address.port,
        autoSelectFamily: false,
        noDelay: true,
        ...(bindAddress !== null && bindAddress.kind === 'ip'
          ? { localAddress: bindAddress.ip, localPort: bindAddress.port }
          : {}),
      } as net.NetConnectOpts);
    }
    return transport;
  }

  originalDestination(): Address | null {
    return null;
  }
}

/** On Node: binds and listens with its errors at once, where `server.listen` would tell them later. */
function listenByHandle(server: net.Server, spec: ListenSpec): void {
  const { address } = spec;
  const backlog = spec.backlog > 0 ? spec.backlog : 4096;
  let handle: ServerHandle | number;
  if (address.kind === 'ip') {
    const v6Flags = address.version === 6 && spec.ipv6Only ? UV_TCP_IPV6ONLY : 0;
    const flags = v6Flags | (spec.reusePort ? UV_TCP_REUSEPORT : 0);
    handle = createServerHandle!(address.ip, address.port, address.version, undefined, flags);
  } else {
    handle = createServerHandle!(address.kind === 'pipe' ? socketPath(address.path) : '', -1, -1, undefined, 0);
  }
  // A pipe's bind tells all; listening twice on it is an error.
  const result = typeof handle === 'number' ? handle : address.kind === 'ip' ? handle.listen(backlog) : 0;
  if (result !== 0 && typeof handle !== 'number') handle.close();
  if (typeof handle === 'number' || result !== 0) {
    const code = getSystemErrorName(result);
    throw new SocketError(code, `cannot bind '${address.text}': ${errnoText(code)}`);
  }
  // It takes such a handle, though its types do not say so.
  (server as unknown as { listen(handle: ServerHandle, backlog: number): void }).listen(handle, backlog);
}

/** On Bun: `server.listen` listens at once, but a failure's error comes later. */
function listenByOptions(server: net.Server, spec: ListenSpec): void {
  const { address } = spec;
  if (address.kind === 'ip') {
    const { ipv6Only, reusePort } = spec;
    server.listen({ host: address.ip, port: address.port, ipv6Only, reusePort } as net.ListenOptions);
  } else if (address.kind === 'pipe') {
    server.listen({ path: socketPath(address.path) });
  }
  if (server.address() !== null) return;
  server.close();
  const code = address.kind === 'pipe' ? 'EACCES' : 'EADDRINUSE';
  throw new SocketError(code, `cannot bind '${address.text}'`);
}
