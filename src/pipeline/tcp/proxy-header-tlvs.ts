import type { Connection } from '../../net/connection.ts';
import { PROXY_PROTOCOL_STATE, ProxyProtocolState } from '../../net/proxy-protocol-state.ts';
import type { ProxyProtocolData } from '../../net/transport-socket.ts';
import type { StreamInfo } from '../stream-info.ts';
import { type TcpProxyConfig, type TcpProxyTlv, TlvMergePolicy } from './tcp-proxy-config.ts';

type Tlv = ProxyProtocolData['tlvs'][number];

/**
 * What `proxy_protocol_tlvs` adds to the PROXY header of the upstream connection, left in the client connection's filter state;
 * which of them are sent is for the cluster's transport socket to say. At every attempt anew, as Envoy: with `Append` a second
 * attempt sends them twice. Source: Envoy, TcpProxy::Filter::establishUpstreamConnection.
 */
export function prepareProxyHeader(config: TcpProxyConfig, downstream: Connection, stream: StreamInfo): void {
  if (config.proxyProtocolTlvs.length === 0) return;
  const known = (stream.filterState(PROXY_PROTOCOL_STATE) as ProxyProtocolState | null)?.data ?? null;
  if (known !== null && config.tlvMergePolicy === TlvMergePolicy.AddIfAbsent) return;
  const own = config.proxyProtocolTlvs.map((tlv) => filledIn(tlv, stream));
  const source = known?.source ?? downstream.remoteAddress;
  const destination = known?.destination ?? downstream.localAddress;
  const tlvs = known === null ? own : merged(known.tlvs, own, config.tlvMergePolicy);
  const state = new ProxyProtocolState(source, destination, tlvs, downstream.id);
  downstream.ownState().objects.set(PROXY_PROTOCOL_STATE, state);
}

function filledIn({ type, value }: TcpProxyTlv, stream: StreamInfo): Tlv {
  if (value instanceof Uint8Array) return { type, value };
  const text =
    value.constant ?? value.format({ stream, requestHeaders: null, responseHeaders: null, responseTrailers: null });
  return { type, value: Buffer.from(text, 'utf8') };
}

function merged(known: readonly Tlv[], own: readonly Tlv[], policy: TlvMergePolicy): readonly Tlv[] {
  if (policy === TlvMergePolicy.Append) return [...known, ...own];
  const types = new Set(own.map((tlv) => tlv.type));
  return [...own, ...known.filter((tlv) => !types.has(tlv.type))];
}
