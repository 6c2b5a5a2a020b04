import { chmodSync, unlinkSync } from 'node:fs';
import { type Address, type IpAddress, ipAddress, pipeAddress } from '../address.ts';
import type { Dispatcher } from '../dispatcher.ts';
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
} from '../transport.ts';
import { type BunSocket, BunTransport } from './bun-transport.ts';
import { ListenerEars, type ReloadableListener } from './listener-ears.ts';
import { PausedWatch } from './paused-watch.ts';
import { BindError, Posix } from './posix.ts';

type ConnectOptions = Parameters<typeof Bun.connect<BunTransport>>[0];
type ListenOptions = Parameters<typeof Bun.listen<BunTransport>>[0];

const NOWHERE = ipAddress('0.0.0.0', 0);
const NO_PEER_NAME = pipeAddress('');

function errorCode(error: unknown): string {
  return (error as { code?: string }).code ?? 'EIO';
}

/** Dual-stack sockets report IPv4 peers as mapped IPv6. */
function plainIp(ip: string): string {
  return ip.startsWith('::ffff:') && ip.includes('.') ? ip.slice(7) : ip;
}

function localOf(socket: BunSocket): IpAddress {
  return ipAddress(plainIp(socket.localAddress), socket.localPort);
}

/** What the sockets of one listener have in common; `null` in its place for outgoing ones. */
class AcceptFacts {
  readonly acceptor: Acceptor;
  /** The local address that every accepted socket has; null when it differs from one to the next (wildcards, TPROXY). */
  readonly fixedLocal: Address | null;
  readonly isPipe: boolean;
  readonly maxFd: number;
  ears: ListenerEars | null = null;

  constructor(acceptor: Acceptor, fixedLocal: Address | null, isPipe: boolean, maxFd: number) {
    this.acceptor = acceptor;
    this.fixedLocal = fixedLocal;
    this.isPipe = isPipe;
    this.maxFd = maxFd;
  }
}

/**
 * The native callbacks of one listener's sockets, or of all outgoing ones. Bun keeps the transport in `socket.data`.
 * Written out without closures: these run for every event.
 */
function socketHandlers(dispatcher: Dispatcher, watch: PausedWatch | null, facts: AcceptFacts | null) {
  function accept(socket: BunSocket, accepting: AcceptFacts): void {
    if ((socket as unknown as { fd: number }).fd >= accepting.maxFd) {
      socket.end();
      accepting.acceptor.onOutOfDescriptors?.();
      return;
    }
    if (!accepting.isPipe && (socket.remoteAddress as string | undefined) === undefined) {
      // Reset before we came to it: there is nobody to talk to.
      socket.terminate();
      return;
    }
    const remote = accepting.isPipe ? NO_PEER_NAME : ipAddress(plainIp(socket.remoteAddress), socket.remotePort);
    const transport = new BunTransport(dispatcher, watch, accepting.fixedLocal ?? localOf(socket), remote, true);
    transport.socket = socket;
    socket.data = transport;
    transport.ears = accepting.ears;
    accepting.ears?.add();
    accepting.acceptor.onAccept(transport);
  }

  /** An outgoing socket is connected once its peer has a name. */
  function connected(transport: BunTransport, socket: BunSocket): boolean {
    if (transport.opened) return true;
    if (transport.remoteAddress.kind !== 'ip') transport.onSocketOpen(null);
    else if (socket.remotePort > 0) transport.onSocketOpen(localOf(socket));
    return transport.opened;
  }

  return {
    open(socket: BunSocket): void {
      dispatcher.enter();
      try {
        if (facts !== null) {
          accept(socket, facts);
        } else {
          const transport = socket.data;
          transport.socket = socket;
          if (transport.closeRequested) socket.terminate();
          else if (!transport.byDescriptor) connected(transport, socket);
        }
      } catch (error) {
        dispatcher.onBug(error);
      } finally {
        dispatcher.leave();
      }
    },
    data(socket: BunSocket, bytes: Buffer): void {
      const transport = socket.data as BunTransport | undefined;
      if (transport === undefined || transport.upgraded) return;
      dispatcher.enter();
      try {
        if (connected(transport, socket) && !transport.closeRequested) transport.handler?.onBytes(bytes);
      } catch (error) {
        dispatcher.onBug(error);
      } finally {
        dispatcher.leave();
      }
    },
    drain(socket: BunSocket): void {
      const transport = socket.data as BunTransport | undefined;
      if (transport === undefined || transport.upgraded) return;
      dispatcher.enter();
      try {
        if (connected(transport, socket)) transport.onSocketDrain();
      } catch (error) {
        dispatcher.onBug(error);
      } finally {
        dispatcher.leave();
      }
    },
    end(socket: BunSocket): void {
      const transport = socket.data as BunTransport | undefined;
      if (transport === undefined || transport.upgraded) return;
      dispatcher.enter();
      try {
        if (connected(transport, socket)) transport.onSocketEnd();
      } catch (error) {
        dispatcher.onBug(error);
      } finally {
        dispatcher.leave();
      }
    },
    close(socket: BunSocket, error?: Error): void {
      const transport = socket.data as BunTransport | undefined;
      if (transport === undefined || transport.upgraded) return;
      if (transport.isCalling) {
        // Not a turn of its own: the caller's goes on.
        transport.onSocketClosed(error == null ? null : closeError(transport, error));
        return;
      }
      dispatcher.enter();
      try {
        transport.onSocketClosed(error === undefined || error === null ? null : closeError(transport, error));
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
    error(socket: BunSocket, error: Error): void {
      // Only a throwing handler leads here: an `onBug` that rethrows. The socket is of no more use.
      socket.terminate();
      throw error;
    },
    connectError(socket: BunSocket, error: Error): void {
      const transport = socket.data as BunTransport | undefined;
      if (transport === undefined || transport.upgraded) return;
      if (transport.isCalling) {
        // Not a turn of its own: the caller's goes on.
        transport.onSocketClosed(error == null ? null : closeError(transport, error));
        return;
      }
      dispatcher.enter();
      try {
        transport.onSocketClosed(closeError(transport, error));
      } catch (bug) {
        dispatcher.onBug(bug);
      } finally {
        dispatcher.leave();
      }
    },
  };
}

function closeError(transport: BunTransport, error: unknown): TransportError {
  const code = errorCode(error);
  return { code, message: transport.opened ? '' : `delayed connect error: ${errnoText(code)}` };
}

/** Descriptors kept back from accepted connections, so that upstream connects, files and accept itself go on working. */
function reservedDescriptors(limit: number): number {
  return Math.min(Math.max(Math.floor(limit / 8), 4), 128);
}

/**
 * Sockets by Bun's native API. On Linux they are made, bound and connected by the system's own calls and then handed to Bun,
 * because Bun offers no socket options, no backlog and no errno of a failed connect; elsewhere `Bun.listen` and `Bun.connect`
 * do it all, and `features` says what is then missing.
 */
export class BunRuntime implements SocketRuntime {
  readonly features: SocketFeatures;
  readonly #dispatcher: Dispatcher;
  readonly #posix: Posix | null;
  readonly #watch: PausedWatch | null;
  readonly #clientHandlers;
  readonly #descriptorLimit: number;
  readonly #reserved: number;

  /** @param portable true: do without the system's own calls, as on systems where they are not known (tests) */
  constructor(dispatcher: Dispatcher, portable = false) {
    this.#dispatcher = dispatcher;
    this.#posix = portable ? null : Posix.open();
    this.#watch = this.#posix === null ? null : new PausedWatch(dispatcher, this.#posix);
    const direct = this.#posix !== null;
    this.features = { socketOptions: direct, reusePort: true, originalDestination: direct };
    this.#descriptorLimit = this.#posix?.descriptorLimit() ?? Number.POSITIVE_INFINITY;
    this.#reserved = direct ? reservedDescriptors(this.#descriptorLimit) : 0;
    this.#clientHandlers = socketHandlers(dispatcher, this.#watch, null);
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    const address = spec.address;
    if (address.kind === 'internal') throw new SocketError('EAFNOSUPPORT', 'internal addresses have no socket');
    const posix = this.#posix;
    if (posix === null) refuseOptions(spec);
    if (address.kind === 'pipe' && !address.path.startsWith('@')) {
      try {
        // As Envoy: whatever is left there from an earlier run gives way.
        unlinkSync(address.path);
      } catch {
        // There is none: the usual case.
      }
    }
    const isWild = address.kind === 'ip' && (address.ip === '0.0.0.0' || address.ip === '::');
    const fd = posix === null ? -1 : posix.listen(spec);
    let real: Address = address;
    if (fd >= 0 && address.kind === 'ip' && address.port === 0) {
      real = ipAddress(address.ip, posix!.localIp(fd)?.port ?? 0);
    }
    // Without the system's calls a port of 0 is known only after listening: each socket is asked then.
    const isFixed = address.kind === 'pipe' || (fd >= 0 && !isWild && !spec.transparent);
    const maxFd = this.#descriptorLimit - this.#reserved;
    const facts = new AcceptFacts(acceptor, isFixed ? real : null, address.kind === 'pipe', maxFd);
    const socket = socketHandlers(this.#dispatcher, this.#watch, facts);
    const ears = new ListenerEars(this.#dispatcher, socket);
    facts.ears = ears;
    let listener: ReloadableListener & { port?: number; stop(closeActive?: boolean): void };
    try {
      listener = Bun.listen<BunTransport>({
        ...(fd >= 0 ? { fd } : nativeTarget(address)),
        reusePort: spec.reusePort,
        ipv6Only: spec.ipv6Only,
        allowHalfOpen: true,
        socket,
      } as unknown as ListenOptions) as unknown as typeof listener;
    } catch (error) {
      if (fd >= 0) posix!.closeFd(fd);
      throw new SocketError(errorCode(error), `cannot bind '${address.text}': ${errnoText(errorCode(error))}`);
    }
    ears.attach(listener);
    // Bun has listened once more, with a backlog of its own.
    if (fd >= 0) posix!.setBacklog(fd, spec.backlog);
    if (fd < 0 && address.kind === 'ip') real = ipAddress(address.ip, listener.port ?? 0);
    if (address.kind === 'pipe' && address.mode !== 0 && !address.path.startsWith('@')) {
      chmodSync(address.path, address.mode);
    }
    const close = (): void => {
      ears.detach();
      listener.stop(false);
    };
    return { address: real, close };
  }

  connect(spec: ConnectSpec, handler: TransportHandler): Transport {
    const address = spec.address;
    const transport = new BunTransport(this.#dispatcher, this.#watch, NOWHERE, address, false);
    transport.handler = handler;
    let target: object;
    if (this.#posix !== null) {
      try {
        const fd = this.#posix.connect(address, spec.bindAddress, spec.socketOptions);
        if (fd >= this.#descriptorLimit - this.#reserved / 2) {
          this.#posix.closeFd(fd);
          throw new SocketError('EMFILE', `socket creation failure: ${errnoText('EMFILE')}`);
        }
        transport.byDescriptor = true;
        target = { fd };
      } catch (error) {
        if (!(error instanceof SocketError)) throw error;
        const local = error instanceof BindError || error.code === 'EMFILE';
        transport.failLater({ code: error.code, message: error.message, local });
        return transport;
      }
    } else {
      const { bindAddress } = spec;
      if (spec.socketOptions.length > 0 || address.kind === 'internal') {
        transport.failLater({ code: 'ENOTSUP', message: 'not supported by this runtime', local: true });
        return transport;
      }
      target = nativeTarget(address);
      if (bindAddress !== null && bindAddress.kind === 'ip') {
        target = { ...target, localAddress: bindAddress.ip, localPort: bindAddress.port };
      }
    }
    const options = { ...target, data: transport, allowHalfOpen: true, socket: this.#clientHandlers };
    // The handlers hear of everything, failures included; this only keeps the promise from being unhandled.
    transport.isCalling = true;
    Bun.connect<BunTransport>(options as unknown as ConnectOptions).catch((error: unknown) => {
      this.#dispatcher.enter();
      try {
        transport.onSocketClosed(closeError(transport, error));
      } finally {
        this.#dispatcher.leave();
      }
    });
    transport.isCalling = false;
    return transport;
  }

  originalDestination(transport: Transport): Address | null {
    const remote = transport.remoteAddress;
    if (this.#posix === null || remote.kind !== 'ip') return null;
    const { fd, localAddress } = transport;
    const redirected = this.#posix.originalDestination(fd, remote.version);
    return redirected ?? (this.#posix.isTransparent(fd, remote.version) ? localAddress : null);
  }
}

function nativeTarget(address: Address): object {
  if (address.kind === 'pipe') {
    return { unix: address.path.startsWith('@') ? `\0${address.path.slice(1)}` : address.path };
  }
  return address.kind === 'ip' ? { hostname: address.ip, port: address.port } : {};
}

function refuseOptions(spec: ListenSpec): void {
  const missing: string[] = [];
  if (spec.socketOptions.length > 0) missing.push('socket options');
  if (spec.transparent) missing.push('transparent');
  if (spec.freebind) missing.push('freebind');
  if (missing.length > 0) {
    throw new SocketError('ENOTSUP', `not supported on this system by this runtime: ${missing.join(', ')}`);
  }
}
