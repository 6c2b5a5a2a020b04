import type { Address } from '../../../net/address.ts';
import { headerV1, headerV2, localHeaderV2, type TlvChoice } from '../../../net/proxy-protocol-header.ts';
import type {
  ConnectSpec,
  SocketRuntime,
  Transport,
  TransportError,
  TransportHandler,
  TransportSecurity,
} from '../../../net/transport.ts';
import type {
  ProxyProtocolData,
  SocketPeer,
  TransportSocketOptions,
  UpstreamTransportSocket,
  WrappingTransportSocket,
} from '../../../net/transport-socket.ts';
import type { Counter } from '../../../stats/counter.ts';

/** Key of an endpoint's metadata with its TLVs, see `config/builders/cluster-endpoints.ts`. */
const PER_HOST = 'envoy.transport_sockets.proxy_protocol';

interface HostTlv {
  readonly type: number;
  /** Base64. */
  readonly value: string;
}

export interface ProxyProtocolSettings {
  readonly version: 1 | 2;
  readonly tlvs: TlvChoice;
}

/** Sends a PROXY protocol header first; what stands on top (plain bytes, TLS) begins behind it. */
export class UpstreamProxyProtocolSocket implements UpstreamTransportSocket {
  readonly isSecure: boolean;
  readonly supportsAlpn: boolean;
  readonly #settings: ProxyProtocolSettings;
  /** Null: plain bytes. */
  readonly #inner: WrappingTransportSocket | null;
  readonly #tooLong: Counter;

  constructor(settings: ProxyProtocolSettings, inner: WrappingTransportSocket | null, tooLong: Counter) {
    this.#settings = settings;
    this.#inner = inner;
    this.#tooLong = tooLong;
    this.isSecure = inner?.isSecure ?? false;
    this.supportsAlpn = inner?.supportsAlpn ?? false;
  }

  connect(
    sockets: SocketRuntime,
    spec: ConnectSpec,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): Transport {
    const inner = this.#inner;
    const gate = new HeaderFirstTransport(
      (raw) => this.#header(raw, options.proxyProtocol, peer),
      inner === null ? null : (raw, above) => inner.wrap(raw, peer, options, above),
      handler,
    );
    gate.attach(sockets.connect(spec, gate));
    return gate;
  }

  #header(raw: Transport, data: ProxyProtocolData | null, peer: SocketPeer): Buffer | null {
    const { version, tlvs } = this.#settings;
    // Without a downstream connection (health checks) it is the proxy's own.
    if (version === 1) {
      return data === null ? headerV1(raw.localAddress, raw.remoteAddress) : headerV1(data.source, data.destination);
    }
    if (data === null) return localHeaderV2();
    const own = tlvsOf(peer);
    const added =
      own.length === 0
        ? tlvs.added
        : [...own, ...tlvs.added.filter(({ type }) => own.every((each) => each.type !== type))];
    const header = headerV2(data, { ...tlvs, added });
    if (header === null) this.#tooLong.inc();
    return header;
  }
}

/** What the endpoint adds itself, which goes before what the cluster adds. */
function tlvsOf(peer: SocketPeer): { readonly type: number; readonly value: Uint8Array }[] {
  const metadata = peer.metadata?.[PER_HOST] as { readonly added_tlvs?: readonly HostTlv[] } | undefined;
  return (metadata?.added_tlvs ?? []).map(({ type, value }) => ({
    type: type & 0xff,
    value: Buffer.from(value, 'base64'),
  }));
}

/** Counts as open once the header is sent; from then on it is the connection, or what stands on top of it. */
class HeaderFirstTransport implements Transport, TransportHandler {
  readonly #make: (raw: Transport) => Buffer | null;
  readonly #wrap: ((raw: Transport, handler: TransportHandler) => Transport) | null;
  #handler: TransportHandler;
  /** First the connection itself. */
  #current!: Transport;
  /** What is left of the header. */
  #rest: Buffer | null = null;
  #passed = false;

  constructor(
    make: (raw: Transport) => Buffer | null,
    wrap: ((raw: Transport, handler: TransportHandler) => Transport) | null,
    handler: TransportHandler,
  ) {
    this.#make = make;
    this.#wrap = wrap;
    this.#handler = handler;
  }

  attach(raw: Transport): void {
    this.#current = raw;
  }

  // --- what the connection says until the header is out ---

  onOpen(): void {
    this.#rest = this.#make(this.#current);
    this.#send();
  }

  #send(): void {
    const rest = this.#rest;
    if (rest !== null) {
      const taken = this.#current.write(rest, 0, rest.length);
      // Closed: `onClosed` follows.
      if (taken < 0) return;
      this.#rest = taken === rest.length ? null : rest.subarray(taken);
      this.#handler.onOwnBytesSent?.(taken);
      if (this.#rest !== null) return;
    }
    this.#passed = true;
    if (this.#wrap !== null) {
      this.#current = this.#wrap(this.#current, this.#handler);
      return;
    }
    this.#current.setHandler(this.#handler);
    this.#handler.onOpen();
  }

  onDrain(): void {
    if (this.#rest !== null) this.#send();
  }

  // A peer that speaks or leaves before it has the whole header is heard all the same.

  onBytes(bytes: Buffer): void {
    this.#handler.onBytes(bytes);
  }

  onPeerEnd(): void {
    this.#handler.onPeerEnd();
  }

  onEarlyClose(): void {
    this.#handler.onEarlyClose?.();
  }

  onClosed(error: TransportError | null): void {
    this.#handler.onClosed(error);
  }

  // --- Transport ---

  get localAddress(): Address {
    return this.#current.localAddress;
  }

  get remoteAddress(): Address {
    return this.#current.remoteAddress;
  }

  get fd(): number {
    return this.#current.fd;
  }

  get security(): TransportSecurity | null {
    return this.#current.security;
  }

  setHandler(handler: TransportHandler): void {
    this.#handler = handler;
    if (this.#passed) this.#current.setHandler(handler);
  }

  write(bytes: Buffer, start: number, end: number): number {
    return this.#current.write(bytes, start, end);
  }

  pause(): void {
    this.#current.pause();
  }

  resume(): void {
    this.#current.resume();
  }

  endWrites(): void {
    this.#current.endWrites();
  }

  close(): void {
    this.#current.close();
  }

  reset(): void {
    this.#current.reset();
  }

  setNoDelay(on: boolean): void {
    this.#current.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds: number): void {
    this.#current.setKeepAlive(on, idleSeconds);
  }
}
