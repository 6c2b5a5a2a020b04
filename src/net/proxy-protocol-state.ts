import type { FilterStateObject } from '../base/connection-state.ts';
import type { Address } from './address.ts';
import type { ProxyProtocolData } from './transport-socket.ts';

/** Key of {@link ProxyProtocolState} in a connection's filter state. Source: Envoy, ProxyProtocolFilterState::key. */
export const PROXY_PROTOCOL_STATE = 'envoy.network.proxy_protocol_options';

/** What an upstream PROXY protocol socket passes on: as the downstream's header said it, or the downstream's own addresses. */
export class ProxyProtocolState implements FilterStateObject, ProxyProtocolData {
  readonly source: Address;
  readonly destination: Address;
  readonly tlvs: ProxyProtocolData['tlvs'];

  constructor(source: Address, destination: Address, tlvs: ProxyProtocolData['tlvs']) {
    this.source = source;
    this.destination = destination;
    this.tlvs = tlvs;
  }

  serialize(): null {
    return null;
  }

  ipAddress(): null {
    return null;
  }
}
