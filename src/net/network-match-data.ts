import type { ConnectionState } from '../base/connection-state.ts';
import type { Address } from './address.ts';

/** What matchers may ask of a connection: one that is being accepted, or one that is up. Source: Envoy, Network::MatchingData. */
export interface NetworkMatchData {
  readonly directRemoteAddress: Address;
  readonly remoteAddress: Address;
  readonly localAddress: Address;
  readonly requestedServerName: string;
  readonly detectedTransportProtocol: string;
  readonly applicationProtocols: readonly string[];
  readonly state: ConnectionState | null;
}

/** Of the loopback addresses only these two. Source: Envoy, Network::Utility::isSameIpOrLoopback, isLoopbackAddress. */
export function isSameIpOrLoopback(remote: Address, local: Address): boolean {
  if (remote.kind !== 'ip') return remote.kind === 'pipe';
  if (remote.ip === '127.0.0.1' || remote.ip === '::1') return true;
  return local.kind === 'ip' && local.ip === remote.ip;
}
