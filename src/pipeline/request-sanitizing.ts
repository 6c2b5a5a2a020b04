import { Protocol } from '../http/codec.ts';
import { type RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import { type Address, ipAddress } from '../net/address.ts';
import { stripHostPort, stripTrailingHostDot } from '../routing/host.ts';
import { normalizeRequestPath, PathVerdict } from '../routing/path-normalization.ts';
import { type ActiveStream, upgradeType } from './active-stream.ts';
import type { ConnectionManagerConfig, IpDetectionResult } from './connection-manager-config.ts';
import type { LocalReply } from './http-filter.ts';

/** Headers that only trusted callers may send: removed unless the request is internal. Envoy: cleanInternalHeaders. */
const INTERNAL_ONLY: ReadonlySet<string> = new Set([
  'x-envoy-retry-on',
  'x-envoy-retry-grpc-on',
  'x-envoy-max-retries',
  'x-envoy-retriable-status-codes',
  'x-envoy-retriable-header-names',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-upstream-stream-duration-ms',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-force-trace',
  'x-envoy-ip-tags',
  'x-envoy-original-url',
  'x-envoy-hedge-on-per-try-timeout',
]);

/** Removed as well where we are the edge. */
const EDGE_ONLY: ReadonlySet<string> = new Set([
  'x-envoy-decorator-operation',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-original-path',
]);

function refuse(status: number, details: string, body = ''): LocalReply {
  return { status, body, details, grpcStatus: null, modifyHeaders: null };
}

/**
 * Checks a request's head and makes it fit for filters and upstreams, as Envoy's connection manager does before routing.
 * @returns the reply that refuses it, or null
 */
export function sanitizeRequest(stream: ActiveStream, headers: RequestHeaders, _end: boolean): LocalReply | null {
  const { config } = stream;
  if (!config.proxy100Continue && headers.get('expect')?.toLowerCase() === '100-continue') {
    // Envoy answers by itself, so that the client sends its body.
    headers.remove('expect');
    stream.encoder.encode1xxHeaders(ResponseHeaders.of(100));
  }
  if (headers.authority === null) return refuse(400, 'missing_host_header');
  const path = headers.path;
  if (headers.method !== 'CONNECT' || headers.protocol !== null) {
    if (path === null || path === '') return refuse(404, 'missing_path_rejected');
  }
  if (path !== null && path !== '' && path.charCodeAt(0) !== 47) {
    config.stats.downstreamRqNonRelativePath.inc();
    return refuse(404, 'absolute_path_rejected');
  }
  if (path !== null) {
    const refused = normalizePathOf(stream, headers);
    if (refused !== null) return refused;
  }
  stripHost(stream, headers);
  for (const mutation of config.earlyHeaderMutations) mutation.mutate(headers, stream.connection);
  return mutateRequestHeaders(stream, headers, config);
}

function normalizePathOf(stream: ActiveStream, headers: RequestHeaders): LocalReply | null {
  const { config } = stream;
  const normalize = config.normalizePath?.enabled(stream.info.stableRandom) ?? false;
  // A fragment is refused whatever is configured.
  if (!normalize && config.slashesUntouched && headers.path?.includes('#') !== true) return null;
  const verdict = normalizeRequestPath(headers, normalize ? config.pathNormalization : config.pathNormalizationOff);
  if (verdict === PathVerdict.Reject) {
    config.stats.downstreamRqFailedPathNormalization.inc();
    return refuse(400, 'path_normalization_failed');
  }
  if (verdict === PathVerdict.Redirect) {
    config.stats.downstreamRqRedirectedWithNormalizedPath.inc();
    const location = headers.path!;
    return {
      status: 307,
      body: '',
      details: 'path_normalization_failed',
      grpcStatus: null,
      modifyHeaders: (response) => response.set('location', location),
    };
  }
  return null;
}

function stripHost(stream: ActiveStream, headers: RequestHeaders): void {
  const { config } = stream;
  if (config.stripTrailingHostDot) stripTrailingHostDot(headers);
  if (config.stripAnyPort) {
    stripHostPort(headers, null);
  } else if (config.stripMatchingPort) {
    const local = stream.connection.localAddress;
    if (local.kind === 'ip') stripHostPort(headers, local.port);
  }
}

function mutateRequestHeaders(
  stream: ActiveStream,
  headers: RequestHeaders,
  config: ConnectionManagerConfig,
): LocalReply | null {
  const { connection } = stream;
  const upgrade = stream.codecStream.protocol < Protocol.Http2 && upgradeType(headers) !== null;
  const secure = connection.security !== null;
  const hopList = headers.list;
  if (upgrade && headers.method !== 'CONNECT' && !headers.has('transfer-encoding') && !headers.has('content-length')) {
    headers.add('content-length', '0');
  }
  // One pass over the head: drop what belongs to this hop, and note what the rules below ask for.
  let write = 0;
  const wireNames = headers.wireNames;
  for (let i = 0; i < hopList.length; i += 2) {
    const name = hopList[i]!;
    let value = hopList[i + 1]!;
    if (dropsHopHeader(name, upgrade)) continue;
    if (name === 'te') {
      if (!upgrade) {
        if (!hasTrailersToken(value)) continue;
        value = 'trailers';
      }
    } else if (name === 'referer' && !isReferer(value)) {
      continue;
    }
    hopList[write] = name;
    hopList[write + 1] = value;
    if (wireNames !== null) wireNames[write >> 1] = wireNames[i >> 1]!;
    write += 2;
  }
  hopList.length = write;
  if (wireNames !== null) wireNames.length = write >> 1;

  let remote: Address | null = null;
  let trusted: boolean;
  if (config.useRemoteAddress) {
    trusted = !headers.has('x-forwarded-for');
    if (config.xffNumTrustedHops > 0) remote = lastAddressOfXff(headers, config.xffNumTrustedHops - 1).address;
    remote ??= connection.remoteAddress;
    if (!config.skipXffAppend) appendXff(stream, headers, config);
    if (config.xffNumTrustedHops === 0 || !headers.has('x-forwarded-proto')) {
      headers.set('x-forwarded-proto', secure ? 'https' : 'http');
    }
    if (config.appendXForwardedPort && (config.xffNumTrustedHops === 0 || !headers.has('x-forwarded-port'))) {
      const local = connection.localAddress;
      if (local.kind === 'ip') headers.set('x-forwarded-port', String(local.port));
    }
  } else {
    trusted = false;
    if (config.ipDetections.length === 0) {
      const found = lastAddressOfXff(headers, config.xffNumTrustedHops);
      remote = found.address;
      trusted = found.single;
    } else {
      const found = detectAddress(config, headers, stream);
      if (found !== null) {
        if (found.rejectStatus > 0) {
          config.stats.downstreamRqRejectedViaIpDetection.inc();
          return refuse(found.rejectStatus, found.rejectDetails, found.rejectBody);
        }
        remote = found.address;
        trusted = found.allowTrustedAddressChecks;
        if (!found.skipXffAppend) appendXff(stream, headers, config);
      }
    }
  }
  const forwardedProto = headers.get('x-forwarded-proto');
  if (forwardedProto === null || !isScheme(forwardedProto)) {
    headers.set('x-forwarded-proto', secure ? 'https' : 'http');
  }
  if (config.schemeOverwrite !== '') headers.scheme = config.schemeOverwrite;
  else if (headers.scheme === '') headers.scheme = headers.get('x-forwarded-proto')!.toLowerCase();

  const internal = trusted && remote !== null && config.isInternalAddress(remote);
  remote ??= connection.remoteAddress;
  const edge = !internal && config.useRemoteAddress;
  if (internal) headers.set('x-envoy-internal', 'true');
  else cleanInternalHeaders(stream, headers, edge);

  if (config.addUserAgent) {
    const { local } = config.environment;
    headers.set('x-envoy-downstream-service-cluster', local.clusterName);
    const agent = headers.get('user-agent');
    if (agent === null || agent === '') headers.set('user-agent', local.clusterName);
    if (local.nodeId !== '') headers.set('x-envoy-downstream-service-node', local.nodeId);
  }
  if (config.via !== '') headers.append('via', config.via, ', ');
  if (edge && remote.kind === 'ip') headers.set('x-envoy-external-address', remote.ip);
  if (config.generateRequestId) {
    const force = edge && !config.preserveExternalRequestId;
    if (force || !headers.has('x-request-id')) headers.set('x-request-id', crypto.randomUUID());
  }
  // Without client certificates only `always_forward_only` leaves the header.
  if (config.forwardClientCert !== 'always-forward-only') headers.remove('x-forwarded-client-cert');
  stream.info.remoteAddress = remote;
  return null;
}

function dropsHopHeader(name: string, upgrade: boolean): boolean {
  switch (name.charCodeAt(0)) {
    case 99: // c
      return name === 'connection' && !upgrade;
    case 117: // u
      return name === 'upgrade' && !upgrade;
    case 107: // k
      return name === 'keep-alive';
    case 112: // p
      return name === 'proxy-connection';
    case 116: // t
      return name === 'transfer-encoding';
    case 120: // x
      return name === 'x-envoy-internal';
    default:
      return false;
  }
}

function hasTrailersToken(value: string): boolean {
  for (const part of value.split(',')) {
    const parameter = part.indexOf(';');
    if ((parameter < 0 ? part : part.slice(0, parameter)).trim().toLowerCase() === 'trailers') return true;
  }
  return false;
}

/** Envoy drops a Referer that is no absolute URL with a host. */
function isReferer(value: string): boolean {
  const scheme = value.indexOf('://');
  if (scheme <= 0) return false;
  const start = value.slice(0, scheme).toLowerCase();
  return (start === 'http' || start === 'https') && value.length > scheme + 3;
}

function isScheme(value: string): boolean {
  if (value === 'http' || value === 'https') return true;
  const lower = value.toLowerCase();
  return lower === 'http' || lower === 'https';
}

function cleanInternalHeaders(stream: ActiveStream, headers: RequestHeaders, edge: boolean): void {
  const { list } = headers;
  let found = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    // x-envoy-...: by its third letter, so that most names cost one comparison.
    if (name.charCodeAt(2) !== 101 || name.charCodeAt(0) !== 120) continue;
    if (INTERNAL_ONLY.has(name) || (edge && EDGE_ONLY.has(name))) {
      found = true;
      break;
    }
  }
  if (found) headers.removeWhere((name) => INTERNAL_ONLY.has(name) || (edge && EDGE_ONLY.has(name)));
  const table = stream.manager.routeTable();
  if (table === null) return;
  for (const name of table.internalOnlyHeaders) headers.remove(name);
}

function detectAddress(
  config: ConnectionManagerConfig,
  headers: RequestHeaders,
  stream: ActiveStream,
): IpDetectionResult | null {
  for (const detection of config.ipDetections) {
    const result = detection.detect(headers, stream.connection);
    if (result !== null) return result;
  }
  return null;
}

function appendXff(stream: ActiveStream, headers: RequestHeaders, config: ConnectionManagerConfig): void {
  const remote = stream.connection.remoteAddress;
  if (remote.kind !== 'ip') return;
  let text = isLoopback(remote.ip) ? config.environment.local.address : remote.ip;
  if (config.representIpv4AsMapped && !text.includes(':')) text = `::ffff:${text}`;
  headers.append('x-forwarded-for', text);
}

function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1';
}

/**
 * The address `skip` places from the right end of x-forwarded-for.
 * `single`: it was the only one. Envoy: Utility::getLastAddressFromXFF.
 */
export function lastAddressOfXff(headers: RequestHeaders, skip: number): { address: Address | null; single: boolean } {
  const value = headers.getJoined('x-forwarded-for');
  if (value === null) return NO_XFF;
  let rest = value;
  for (let i = 0; i < skip; i++) {
    const comma = rest.lastIndexOf(',');
    if (comma < 0) return NO_XFF;
    rest = rest.slice(0, comma);
  }
  const comma = rest.lastIndexOf(',');
  const text = rest.slice(comma + 1).trim();
  const address = parseIp(text);
  return address === null ? NO_XFF : { address, single: comma < 0 && skip === 0 };
}

const NO_XFF = { address: null, single: false };

/** An IP address with an optional port (`1.2.3.4:5`, `[::1]:5`); null when it is none. */
export function parseIp(text: string): Address | null {
  if (text === '') return null;
  if (text.charCodeAt(0) === 91) {
    const close = text.indexOf(']');
    if (close < 0) return null;
    const ip = text.slice(1, close);
    if (!isIpv6(ip)) return null;
    const port = text.length > close + 1 ? Number(text.slice(close + 2)) : 0;
    return Number.isInteger(port) && port >= 0 && port < 65536 ? ipAddress(ip, port) : null;
  }
  const colon = text.indexOf(':');
  if (colon >= 0 && colon === text.lastIndexOf(':')) {
    const port = Number(text.slice(colon + 1));
    const ip = text.slice(0, colon);
    return isIpv4(ip) && Number.isInteger(port) && port < 65536 ? ipAddress(ip, port) : null;
  }
  if (colon >= 0) return isIpv6(text) ? ipAddress(text, 0) : null;
  return isIpv4(text) ? ipAddress(text, 0) : null;
}

function isIpv4(text: string): boolean {
  const parts = text.split('.');
  if (parts.length !== 4) return false;
  for (const part of parts) {
    if (part.length === 0 || part.length > 3) return false;
    for (let i = 0; i < part.length; i++) {
      const code = part.charCodeAt(i);
      if (code < 48 || code > 57) return false;
    }
    if (Number(part) > 255) return false;
  }
  return true;
}

function isIpv6(text: string): boolean {
  let groups = 0;
  let gap = false;
  const parts = text.split(':');
  if (parts.length < 3 || parts.length > 9) return false;
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    if (part === '') {
      const edge = i === 0 || i === parts.length - 1;
      if (!edge) {
        if (gap) return false;
        gap = true;
      } else if (parts[i === 0 ? 1 : i - 1] !== '') {
        return false;
      }
      continue;
    }
    if (i === parts.length - 1 && part.includes('.')) {
      if (!isIpv4(part)) return false;
      groups += 2;
      continue;
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return false;
    groups++;
  }
  return gap ? groups < 8 : groups === 8;
}
