import { dlopen, type Pointer, ptr, read } from 'bun:ffi';
import { constants } from 'node:os';
import { type Address, type IpAddress, ipAddress } from '../address.ts';
import { errnoText, SocketError } from '../errno.ts';
import type { SocketOption } from '../transport.ts';

/*
 * The socket calls that Bun's own API does not offer: options before bind, backlog, the errno of a failed connect. Linux only
 * (numbers and structures are Linux's, the same on x86-64 and arm64). Sockets prepared here are handed to Bun by descriptor.
 */

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
export const SOL_SOCKET = 1;
const IPPROTO_IP = 0;
export const IPPROTO_TCP = 6;
const IPPROTO_IPV6 = 41;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const TCP_NODELAY = 1;
export const TCP_INFO = 11;
/** Offset of `tcpi_rtt`, microseconds. */
const TCPI_RTT = 68;
const IPV6_V6ONLY = 26;
const IP_TRANSPARENT = 19;
const IPV6_TRANSPARENT = 75;
const IP_FREEBIND = 15;
const IPV6_FREEBIND = 78;
/** The kernel picks the port at connect, so that one local address serves more than 28,000 connections. */
const IP_BIND_ADDRESS_NO_PORT = 24;
const SO_ORIGINAL_DST = 80;
const RLIMIT_NOFILE = 7;
const EINPROGRESS = 115;
/** The kernel cuts it to net.core.somaxconn, Envoy's default. */
const LARGEST_BACKLOG = 65_535;

const SYMBOLS = {
  socket: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
  bind: { args: ['i32', 'ptr', 'u32'], returns: 'i32' },
  listen: { args: ['i32', 'i32'], returns: 'i32' },
  connect: { args: ['i32', 'ptr', 'u32'], returns: 'i32' },
  close: { args: ['i32'], returns: 'i32' },
  setsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'u32'], returns: 'i32' },
  getsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'ptr'], returns: 'i32' },
  getsockname: { args: ['i32', 'ptr', 'ptr'], returns: 'i32' },
  getrlimit: { args: ['i32', 'ptr'], returns: 'i32' },
  if_nametoindex: { args: ['ptr'], returns: 'u32' },
  __errno_location: { args: [], returns: 'ptr' },
} as const;

function openLibc() {
  for (const name of ['libc.so.6', `libc.musl-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`]) {
    try {
      return dlopen(name, SYMBOLS).symbols;
    } catch {
      // The next one: glibc and musl name it differently.
    }
  }
  return null;
}

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno)
    .map(([name, number]): [number, string] => [number, name])
    // EWOULDBLOCK and EOPNOTSUPP share their numbers with better known names.
    .reverse(),
);

const IPV6_GROUP = /^[0-9a-f]{1,4}$/i;

/** The text's 16 bytes, written at `offset`; false when it is not an IPv6 address. */
function writeIpv6(target: Buffer, offset: number, text: string): boolean {
  let tail = text;
  let v4 = -1;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.', lastColon)) {
    const parts = text.slice(lastColon + 1).split('.');
    if (parts.length !== 4) return false;
    v4 = 0;
    for (const part of parts) v4 = v4 * 256 + Number(part);
    tail = `${text.slice(0, lastColon + 1)}0:0`;
  }
  const halves = tail.split('::');
  if (halves.length > 2) return false;
  const head = halves[0] === '' ? [] : halves[0]!.split(':');
  const rest = halves.length === 1 || halves[1] === '' ? [] : halves[1]!.split(':');
  if (halves.length === 1 ? head.length !== 8 : head.length + rest.length > 7) return false;
  for (const group of [...head, ...rest]) if (!IPV6_GROUP.test(group)) return false;
  target.fill(0, offset, offset + 16);
  for (let i = 0; i < head.length; i++) target.writeUInt16BE(Number.parseInt(head[i]!, 16), offset + 2 * i);
  for (let i = 0; i < rest.length; i++) {
    target.writeUInt16BE(Number.parseInt(rest[i]!, 16), offset + 2 * (8 - rest.length + i));
  }
  if (v4 >= 0) target.writeUInt32BE(v4, offset + 12);
  return true;
}

/** The eight groups in the shortest form of RFC 5952. */
function readIpv6(bytes: Buffer, offset: number): string {
  const groups: number[] = [];
  for (let i = 0; i < 8; i++) groups.push(bytes.readUInt16BE(offset + 2 * i));
  let bestAt = -1;
  let bestSize = 1;
  for (let at = 0; at < 8; at++) {
    let size = 0;
    while (at + size < 8 && groups[at + size] === 0) size++;
    if (size > bestSize) {
      bestAt = at;
      bestSize = size;
    }
  }
  const hex = (list: number[]) => list.map((group) => group.toString(16)).join(':');
  if (bestAt < 0) return hex(groups);
  return `${hex(groups.slice(0, bestAt))}::${hex(groups.slice(bestAt + bestSize))}`;
}

/** The system's socket calls. One per thread. */
export class Posix {
  readonly #libc: NonNullable<ReturnType<typeof openLibc>>;
  readonly #errnoAt: Pointer;
  readonly #number = Buffer.alloc(4);
  readonly #size = Buffer.alloc(4);
  /** As much of tcp_info as is read. */
  readonly #tcpInfo = Buffer.alloc(TCPI_RTT + 4);
  readonly #name = Buffer.alloc(128);

  private constructor(libc: NonNullable<ReturnType<typeof openLibc>>) {
    this.#libc = libc;
    // errno has one place per thread, for the thread's life.
    this.#errnoAt = libc.__errno_location() as Pointer;
  }

  /** @returns null where these calls are not known: another system, or no loadable libc */
  static open(): Posix | null {
    if (process.platform !== 'linux') return null;
    const libc = openLibc();
    return libc === null ? null : new Posix(libc);
  }

  #errno(): number {
    return read.i32(this.#errnoAt, 0);
  }

  #errnoName(): string {
    const errno = this.#errno();
    return ERRNO_NAMES.get(errno) ?? `E${errno}`;
  }

  #fail(what: string): SocketError {
    const code = this.#errnoName();
    return new SocketError(code, `${what}: ${errnoText(code)}`);
  }

  /** sockaddr bytes; `null` for what has none. */
  #encode(address: Address): Buffer {
    if (address.kind === 'pipe') {
      const path = Buffer.from(address.path, 'utf8');
      if (path.length > 107)
        throw new SocketError('ENAMETOOLONG', `pipe path is longer than 107 bytes: ${address.path}`);
      const abstract = path[0] === 0x40;
      if (abstract) path[0] = 0;
      const bytes = Buffer.alloc(2 + path.length + (abstract ? 0 : 1));
      bytes.writeUInt16LE(AF_UNIX, 0);
      path.copy(bytes, 2);
      return bytes;
    }
    if (address.kind !== 'ip') throw new SocketError('EAFNOSUPPORT', `${address.text} has no socket address`);
    if (address.version === 4) {
      const bytes = Buffer.alloc(16);
      bytes.writeUInt16LE(AF_INET, 0);
      bytes.writeUInt16BE(address.port, 2);
      const parts = address.ip.split('.');
      for (let i = 0; i < 4; i++) bytes[4 + i] = Number(parts[i]);
      return bytes;
    }
    const bytes = Buffer.alloc(28);
    bytes.writeUInt16LE(AF_INET6, 0);
    bytes.writeUInt16BE(address.port, 2);
    const percent = address.ip.indexOf('%');
    const ip = percent < 0 ? address.ip : address.ip.slice(0, percent);
    if (!writeIpv6(bytes, 8, ip)) throw new SocketError('EINVAL', `${address.ip} is not an IPv6 address`);
    if (percent >= 0) bytes.writeUInt32LE(this.#scopeId(address.ip.slice(percent + 1)), 24);
    return bytes;
  }

  #scopeId(scope: string): number {
    if (/^\d+$/.test(scope)) return Number(scope);
    const id = this.#libc.if_nametoindex(ptr(Buffer.from(`${scope}\0`)));
    if (id === 0) throw new SocketError('ENODEV', `no network interface ${scope}`);
    return id;
  }

  #decode(bytes: Buffer): IpAddress | null {
    const family = bytes.readUInt16LE(0);
    if (family === AF_INET) return ipAddress(bytes.subarray(4, 8).join('.'), bytes.readUInt16BE(2));
    if (family === AF_INET6) return ipAddress(readIpv6(bytes, 8), bytes.readUInt16BE(2));
    return null;
  }

  #socket(address: Address): number {
    const domain =
      address.kind === 'pipe' ? AF_UNIX : address.kind === 'ip' && address.version === 6 ? AF_INET6 : AF_INET;
    const fd = this.#libc.socket(domain, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
    if (fd < 0) throw this.#fail('cannot create a socket');
    return fd;
  }

  closeFd(fd: number): void {
    this.#libc.close(fd);
  }

  /** @returns false when the system refuses it */
  setNumber(fd: number, level: number, name: number, value: number): boolean {
    this.#number.writeInt32LE(value, 0);
    return this.#libc.setsockopt(fd, level, name, ptr(this.#number), 4) === 0;
  }

  /** @returns the option's integer value; -1 when the system refuses it */
  getNumber(fd: number, level: number, name: number): number {
    this.#size.writeInt32LE(4, 0);
    this.#number.writeInt32LE(0, 0);
    if (this.#libc.getsockopt(fd, level, name, ptr(this.#number), ptr(this.#size)) !== 0) return -1;
    return this.#number.readInt32LE(0);
  }

  /** @returns `tcpi_rtt` in whole ms; -1 where the socket is none of TCP, or gone */
  roundTripMs(fd: number): number {
    const info = this.#tcpInfo;
    this.#size.writeUInt32LE(info.length, 0);
    if (this.#libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, ptr(info), ptr(this.#size)) !== 0) return -1;
    if (this.#size.readUInt32LE(0) < info.length) return -1;
    return Math.floor(info.readUInt32LE(TCPI_RTT) / 1000);
  }

  /** @throws SocketError naming the option */
  applyOptions(fd: number, options: readonly SocketOption[], state: SocketOption['state']): void {
    for (const option of options) {
      if (option.state !== state) continue;
      const value = option.value;
      const done =
        typeof value === 'number'
          ? this.setNumber(fd, option.level, option.name, value)
          : this.#libc.setsockopt(fd, option.level, option.name, ptr(value), value.length) === 0;
      if (!done) throw this.#fail(`cannot set socket option ${option.level}/${option.name} (${state})`);
    }
  }

  #applyFlags(fd: number, address: Address, transparent: boolean, freebind: boolean): void {
    if (address.kind !== 'ip') return;
    const v6 = address.version === 6;
    // A dual-stack socket needs the IPv4 option as well for its mapped peers.
    if (transparent) {
      let done = this.setNumber(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
      if (v6) done = this.setNumber(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
      if (!done) throw this.#fail('cannot set IP_TRANSPARENT (needs CAP_NET_ADMIN)');
    }
    if (freebind) {
      let done = this.setNumber(fd, IPPROTO_IP, IP_FREEBIND, 1);
      if (v6) done = this.setNumber(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
      if (!done) throw this.#fail('cannot set IP_FREEBIND');
    }
  }

  /** A listening socket. @throws SocketError */
  listen(spec: {
    readonly address: Address;
    readonly reusePort: boolean;
    readonly backlog: number;
    readonly ipv6Only: boolean;
    readonly transparent: boolean;
    readonly freebind: boolean;
    readonly socketOptions: readonly SocketOption[];
  }): number {
    const { address } = spec;
    const where = this.#encode(address);
    const fd = this.#socket(address);
    try {
      if (address.kind === 'ip') {
        this.setNumber(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (spec.reusePort && !this.setNumber(fd, SOL_SOCKET, SO_REUSEPORT, 1))
          throw this.#fail('cannot set SO_REUSEPORT');
        if (address.version === 6) this.setNumber(fd, IPPROTO_IPV6, IPV6_V6ONLY, spec.ipv6Only ? 1 : 0);
        // Accepted sockets inherit it.
        this.setNumber(fd, IPPROTO_TCP, TCP_NODELAY, 1);
      }
      this.#applyFlags(fd, address, spec.transparent, spec.freebind);
      this.applyOptions(fd, spec.socketOptions, 'prebind');
      if (this.#libc.bind(fd, ptr(where), where.length) !== 0) throw this.#fail(`cannot bind '${address.text}'`);
      this.applyOptions(fd, spec.socketOptions, 'bound');
      if (!this.setBacklog(fd, spec.backlog)) throw this.#fail(`cannot listen() on '${address.text}'`);
      this.applyOptions(fd, spec.socketOptions, 'listening');
      return fd;
    } catch (error) {
      this.closeFd(fd);
      throw error;
    }
  }

  /** listen(2): may be called again to change the backlog. @param backlog 0: the system's largest */
  setBacklog(fd: number, backlog: number): boolean {
    return this.#libc.listen(fd, backlog > 0 ? backlog : LARGEST_BACKLOG) === 0;
  }

  /** The local IP address of a socket; null for others. */
  localIp(fd: number): IpAddress | null {
    this.#size.writeInt32LE(this.#name.length, 0);
    if (this.#libc.getsockname(fd, ptr(this.#name), ptr(this.#size)) !== 0) return null;
    return this.#decode(this.#name);
  }

  /**
   * A socket whose connect has begun.
   * @throws SocketError with Envoy's text; `bindFailed` tells where
   */
  connect(address: Address, bindAddress: Address | null, options: readonly SocketOption[]): number {
    const to = this.#encode(address);
    const fd = this.#socket(address);
    try {
      if (address.kind === 'ip') {
        this.setNumber(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        this.applyOptions(fd, options, 'prebind');
        if (bindAddress !== null && bindAddress.kind === 'ip') this.#bindLocal(fd, bindAddress);
        this.applyOptions(fd, options, 'bound');
      }
      if (this.#libc.connect(fd, ptr(to), to.length) !== 0 && this.#errno() !== EINPROGRESS) {
        const code = this.#errnoName();
        throw new SocketError(code, `immediate connect error: ${errnoText(code)}|remote address:${address.text}`);
      }
      return fd;
    } catch (error) {
      this.closeFd(fd);
      throw error;
    }
  }

  #bindLocal(fd: number, address: IpAddress): void {
    const from = this.#encode(address);
    if (address.port === 0) this.setNumber(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    else this.setNumber(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (this.#libc.bind(fd, ptr(from), from.length) === 0) return;
    const code = this.#errnoName();
    throw new BindError(code, `failed to bind to ${address.text}: ${errnoText(code)}`);
  }

  /** Where iptables REDIRECT or TPROXY took the connection from; null when it did not. */
  originalDestination(fd: number, version: 4 | 6): IpAddress | null {
    this.#size.writeInt32LE(this.#name.length, 0);
    const level = version === 4 ? IPPROTO_IP : IPPROTO_IPV6;
    if (this.#libc.getsockopt(fd, level, SO_ORIGINAL_DST, ptr(this.#name), ptr(this.#size)) !== 0) return null;
    return this.#decode(this.#name);
  }

  /** Whether the socket takes connections to any address (IP_TRANSPARENT, for TPROXY): its own address is where they were to go. */
  isTransparent(fd: number, version: 4 | 6): boolean {
    return version === 4
      ? this.getNumber(fd, IPPROTO_IP, IP_TRANSPARENT) > 0
      : this.getNumber(fd, IPPROTO_IPV6, IPV6_TRANSPARENT) > 0;
  }

  /** How many descriptors this process may have (RLIMIT_NOFILE, soft). */
  descriptorLimit(): number {
    const limits = Buffer.alloc(16);
    if (this.#libc.getrlimit(RLIMIT_NOFILE, ptr(limits)) !== 0) return 1024;
    return Number(limits.readBigUInt64LE(0));
  }
}

/** The local address of an outgoing connection could not be had: our side failed, not the peer's. */
export class BindError extends SocketError {
  override name = 'BindError';
}
