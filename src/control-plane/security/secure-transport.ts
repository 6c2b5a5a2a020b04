import { ByteBuffer } from '../../base/byte-buffer.ts';
import { ConnectionState } from '../../base/connection-state.ts';
import type { Address } from '../../net/address.ts';
import type { AcceptedSocket } from '../../net/filter.ts';
import type { Transport } from '../../net/transport.ts';
import type { DownstreamTransportSocket } from '../../net/transport-socket.ts';

/** An accepted connection that no listener filter has looked at. */
class DirectSocket implements AcceptedSocket {
  readonly directRemoteAddress: Address;
  remoteAddress: Address;
  localAddress: Address;
  localAddressRestored = false;
  requestedServerName = '';
  applicationProtocols: readonly string[] = [];
  detectedTransportProtocol = '';
  ja3 = '';
  ja4 = '';
  readonly fd: number;
  state: ConnectionState | null = null;

  constructor(transport: Transport) {
    this.directRemoteAddress = this.remoteAddress = transport.remoteAddress;
    this.localAddress = transport.localAddress;
    this.fd = transport.fd;
  }

  ownState(): ConnectionState {
    this.state ??= new ConnectionState();
    return this.state;
  }

  originalDestination(): Address | null {
    return null;
  }
}

/** Takes TLS off accepted connections. */
export function secureTransport(socket: DownstreamTransportSocket): (raw: Transport) => Transport {
  return (raw) => socket.accept(raw, new DirectSocket(raw), new ByteBuffer(), false);
}
