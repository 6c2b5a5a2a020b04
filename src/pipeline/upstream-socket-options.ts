import type { RequestHeaders } from '../http/header-map.ts';
import type { Connection } from '../net/connection.ts';
import { ipVersion } from '../net/ip-version.ts';
import { PROXY_PROTOCOL_STATE, ProxyProtocolState } from '../net/proxy-protocol-state.ts';
import { NO_SOCKET_OPTIONS, type TransportSocketOptions } from '../net/transport-socket.ts';
import { UPSTREAM_SOURCE_STATE, type UpstreamSource } from '../net/upstream-source.ts';
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
  ProxyProtocol: PROXY_PROTOCOL_STATE,
} as const;

/** Stands in no name. */
const KEY_SEPARATOR = '\0';

/** A stream's or connection's filter state, as far as sockets care. */
export interface SocketStates {
  filterState(key: string): FilterStateObject | null;
  /** The downstream's. */
  readonly connection: Connection | null;
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
  const source = (states.connection?.state?.objects.get(UPSTREAM_SOURCE_STATE) as UpstreamSource | undefined) ?? null;
  if (source === null && cluster.transportSocket === null && cluster.transportSocketMatches.length === 0) {
    return NO_SOCKET_OPTIONS;
  }
  let serverName = states.filterState(SocketState.ServerName)?.serialize() ?? '';
  let subjectAltNames = listOf(states.filterState(SocketState.SubjectAltNames));
  const applicationProtocols = listOf(states.filterState(SocketState.ApplicationProtocols));
  const proxy = sendsProxyHeader(cluster) ? proxyState(states) : null;
  const passthrough = sharedObjects(states.connection);
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
    passthrough === null &&
    source === null
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
    source,
    key: [
      serverName,
      subjectAltNames.join(','),
      applicationProtocols.join(','),
      proxy?.key ?? '',
      passthrough?.key ?? '',
      source?.key ?? '',
    ].join(KEY_SEPARATOR),
  };
}

function sendsProxyHeader(cluster: ClusterSpec): boolean {
  if (cluster.transportSocket?.sendsProxyHeader === true) return true;
  return cluster.transportSocketMatches.some((match) => match.socket?.sendsProxyHeader === true);
}

/** As the downstream's header said it; otherwise the downstream connection's own addresses. */
function proxyState(states: SocketStates): ProxyProtocolState | null {
  const known = states.filterState(SocketState.ProxyProtocol) as ProxyProtocolState | null;
  const { connection } = states;
  if (known !== null || connection === null) return known;
  const own = new ProxyProtocolState(connection.remoteAddress, connection.localAddress, []);
  connection.ownState().objects.set(SocketState.ProxyProtocol, own);
  return own;
}

/** What connections to internal listeners take over. */
function sharedObjects(
  connection: Connection | null,
): { readonly objects: ReadonlyMap<string, FilterStateObject>; readonly key: string } | null {
  const state = connection?.state ?? null;
  if (connection === null || state === null || state.shared.size === 0) return null;
  const objects = new Map<string, FilterStateObject>();
  for (const key of state.shared) {
    const object = state.objects.get(key);
    if (object !== undefined) objects.set(key, object);
  }
  return { objects, key: String(connection.id) };
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
