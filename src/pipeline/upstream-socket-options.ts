import type { RequestHeaders } from '../http/header-map.ts';
import { ipVersion } from '../net/ip-version.ts';
import { NO_SOCKET_OPTIONS, type ProxyProtocolData, type TransportSocketOptions } from '../net/transport-socket.ts';
import type { FilterStateObject } from '../routing/stream-view.ts';
import type { ClusterSpec } from '../upstream/cluster-spec.ts';

/** Filter state that says how the upstream connection's socket is to be made. Source: Envoy, TransportSocketOptionsUtility. */
export const SocketState = {
  ServerName: 'envoy.network.upstream_server_name',
  /** Separated by commas. */
  SubjectAltNames: 'envoy.network.upstream_subject_alt_names',
  /** Separated by commas. */
  ApplicationProtocols: 'envoy.network.application_protocols',
  /** A {@link ProxyProtocolState}. */
  ProxyProtocol: 'envoy.network.proxy_protocol_options',
} as const;

/** What an upstream PROXY protocol socket is to send. */
export interface ProxyProtocolState extends FilterStateObject {
  readonly data: ProxyProtocolData;
  /** Equal for equal data. */
  readonly key: string;
}

/** A stream's or connection's filter state, as far as sockets care. */
export interface SocketStates {
  filterState(key: string): FilterStateObject | null;
  /** Objects that connections to upstreams take over; null: none. */
  readonly passthrough?: { readonly objects: unknown; readonly key: string } | null;
}

/**
 * What a request (or TCP connection) asks of its upstream connection's socket.
 * @param headers the request's, before routing changes them; null: it is no HTTP
 */
export function upstreamSocketOptions(
  cluster: ClusterSpec,
  states: SocketStates,
  headers: RequestHeaders | null,
): TransportSocketOptions {
  if (cluster.transportSocket === null && cluster.transportSocketMatches.length === 0) return NO_SOCKET_OPTIONS;
  let serverName = states.filterState(SocketState.ServerName)?.serialize() ?? '';
  let subjectAltNames = listOf(states.filterState(SocketState.SubjectAltNames));
  const applicationProtocols = listOf(states.filterState(SocketState.ApplicationProtocols));
  const proxy = states.filterState(SocketState.ProxyProtocol) as ProxyProtocolState | null;
  const passthrough = states.passthrough ?? null;
  if (headers !== null && (cluster.autoSni || cluster.autoSanValidation)) {
    const host = hostOf(autoSniValue(cluster, headers));
    if (cluster.autoSni && serverName === '' && host !== '' && ipVersion(host) === 0) serverName = host;
    if (cluster.autoSanValidation && subjectAltNames.length === 0 && host !== '') subjectAltNames = [host];
  }
  if (
    serverName === '' &&
    subjectAltNames.length === 0 &&
    applicationProtocols.length === 0 &&
    proxy === null &&
    passthrough === null
  ) {
    return NO_SOCKET_OPTIONS;
  }
  return {
    serverName,
    subjectAltNames,
    applicationProtocols,
    applicationProtocolFallback: [],
    proxyProtocol: proxy === null ? null : proxy.data,
    passthrough: passthrough === null ? null : passthrough.objects,
    key: JSON.stringify([serverName, subjectAltNames, applicationProtocols, proxy?.key ?? '', passthrough?.key ?? '']),
  };
}

function autoSniValue(cluster: ClusterSpec, headers: RequestHeaders): string {
  const name = cluster.overrideAutoSniHeader;
  const override = name === '' ? null : headers.lookupJoined(name);
  return override === null || override === '' ? (headers.authority ?? '') : override;
}

/** Without port and brackets. Source: Envoy, Http::Utility::parseAuthority. */
function hostOf(authority: string): string {
  if (authority.startsWith('[')) {
    const end = authority.indexOf(']');
    return end < 0 ? authority : authority.slice(1, end);
  }
  const colon = authority.indexOf(':');
  // More than one colon: an IPv6 address without brackets.
  return colon < 0 || authority.includes(':', colon + 1) ? authority : authority.slice(0, colon);
}

function listOf(state: FilterStateObject | null): readonly string[] {
  const text = state?.serialize() ?? '';
  return text === '' ? [] : text.split(',');
}
