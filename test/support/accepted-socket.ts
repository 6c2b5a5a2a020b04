import { ConnectionState } from '../../src/base/connection-state.ts';
import { type Address, ipAddress } from '../../src/net/address.ts';
import type { AcceptedSocket } from '../../src/net/filter.ts';

/** A socket as listener filters and filter chain matchers see it, from nowhere in particular. */
export class StubSocket implements AcceptedSocket {
  directRemoteAddress: Address = ipAddress('10.0.0.9', 4000);
  remoteAddress: Address = ipAddress('10.0.0.9', 4000);
  localAddress: Address = ipAddress('10.0.0.1', 443);
  localAddressRestored = false;
  requestedServerName = '';
  applicationProtocols: readonly string[] = [];
  detectedTransportProtocol = 'raw_buffer';
  ja3 = '';
  ja4 = '';
  readonly fd: number = -1;
  state: ConnectionState | null = null;

  ownState(): ConnectionState {
    this.state ??= new ConnectionState();
    return this.state;
  }

  originalDestination(): Address | null {
    return null;
  }
}

export function stubSocket(facts: Partial<StubSocket> = {}): StubSocket {
  return Object.assign(new StubSocket(), facts);
}
