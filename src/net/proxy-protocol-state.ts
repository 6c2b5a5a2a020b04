import type { FilterStateObject } from '../base/connection-state.ts';
import type { Address } from './address.ts';
import type { ProxyProtocolData } from './transport-socket.ts';

/** Key of {@link ProxyProtocolState} in a connection's filter state. Source: Envoy, ProxyProtocolFilterState::key. */
export const PROXY_PROTOCOL_STATE = 'envoy.network.proxy_protocol_options';

/** What an upstream PROXY protocol socket passes on: as the downstream's header said it, or the downstream's own addresses. */
export class ProxyProtocolState implements FilterStateObject {
  readonly data: ProxyProtocolData;
  /** Requests may share connections of those with the same key. */
  readonly key: string;

  /** @param id of the downstream connection: what came with TLVs is shared with no other one's requests (Envoy) */
  constructor(source: Address, destination: Address, tlvs: ProxyProtocolData['tlvs'], id: number | string = '') {
    this.data = { source, destination, tlvs };
    this.key = `${source.text}|${destination.text}|${tlvs.length === 0 ? '' : id}`;
  }

  serialize(): null {
    return null;
  }

  ipAddress(): null {
    return null;
  }
}
