import { type RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { Address } from '../net/address.ts';
import { stripHostPort, stripTrailingHostDot } from '../routing/host.ts';
import { normalizeRequestPath, PathVerdict } from '../routing/path-normalization.ts';
import type { ActiveStream } from './active-stream.ts';
import type { ConnectionManagerConfig, IpDetectionResult } from './connection-manager-config.ts';
import { isUpgrade } from './connection-tokens.ts';
import { isLoopback, lastAddressOfXff } from './forwarded-for.ts';
import type { LocalReply } from './http-filter.ts';
import { setRequestId } from './request-id.ts';

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

/** RFC 9298 section 3, with the template that Envoy knows. */
const UDP_TARGET = /^\/\.well-known\/masque\/udp\/([^/]+)\/([^/]+)\/$/;

/** The authority becomes what the path of a CONNECT-UDP names. @returns whether it names something */
function aimAtUdpTarget(headers: RequestHeaders): boolean {
  const target = UDP_TARGET.exec(headers.path ?? '');
  if (target === null) return false;
  const host = target[1]!.replace(/%3a/gi, ':');
  headers.authority = host.includes(':') ? `[${host}]:${target[2]}` : `${host}:${target[2]}`;
  return true;
}

/**
 * Checks a request's head and makes it fit for filters and upstreams, as Envoy's connection manager does before routing.
 * @returns the reply that refuses it, or null
 */
export function sanitizeRequest(stream: ActiveStream, headers: RequestHeaders): LocalReply | null {
  const { config } = stream;
  if (!config.proxy100Continue && headers.get('expect')?.toLowerCase() === '100-continue') {
    // Answered from here, so that the client sends its body: filters see neither question nor answer.
    headers.remove('expect');
    stream.manager.chargeResponse(stream, 100);
    stream.encoder.encode1xxHeaders(ResponseHeaders.of(100));
  }
  if (headers.authority === null) return refuse(400, 'missing_host_header');
  if (isUpgrade(headers) && headers.get('upgrade')!.toLowerCase() === 'connect-udp' && !aimAtUdpTarget(headers)) {
    return refuse(404, 'invalid_path', 'The path is incorrect for CONNECT-UDP');
  }
  const path = headers.path;
  if (path === null || path === '') {
    if (headers.method !== 'CONNECT' || path === '') return refuse(404, 'missing_path_rejected');
  } else {
    if (path.charCodeAt(0) !== 47) {
      config.stats.downstreamRqNonRelativePath.inc();
      return refuse(404, 'absolute_path_rejected');
    }
    const refused = normalizePathOf(stream, headers);
    if (refused !== null) return refused;
  }
  // What a query asks is its content: without a type it means nothing (draft-ietf-httpbis-safe-method-w-body).
  if (headers.method === 'QUERY' && !headers.has('content-type')) return refuse(400, 'query_missing_content_type');
  stripHost(stream, headers);
  for (let i = 0; i < config.earlyHeaderMutations.length; i++) {
    config.earlyHeaderMutations[i]!.mutate(headers, stream.info);
  }
  // A second time what we said ourselves would count as the client's word.
  return stream.isRecreated ? null : mutateRequestHeaders(stream, headers, config);
}

function normalizePathOf(stream: ActiveStream, headers: RequestHeaders): LocalReply | null {
  const { config } = stream;
  const normalize = config.normalizePath?.enabled(stream.info.stableRandom) ?? false;
  if (!normalize && config.slashesUntouched && !headers.path!.includes('#')) return null;
  const verdict = normalizeRequestPath(headers, normalize ? config.pathNormalization : config.pathNormalizationOff);
  if (verdict === PathVerdict.Continue) return null;
  // gRPC clients do not follow redirects.
  if (verdict === PathVerdict.Reject || stream.isGrpcRequest) {
    config.stats.downstreamRqFailedPathNormalization.inc();
    return refuse(400, 'path_normalization_failed');
  }
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

function stripHost(stream: ActiveStream, headers: RequestHeaders): void {
  const { config } = stream;
  if (config.stripTrailingHostDot) stripTrailingHostDot(headers);
  if (config.stripAnyPort) {
    stripHostPort(headers, null);
  } else if (config.stripMatchingPort) {
    const local = stream.connection.localAddress;
    // Envoy takes the port of a connection without one for 0.
    stripHostPort(headers, local.kind === 'ip' ? local.port : 0);
  }
}

function mutateRequestHeaders(
  stream: ActiveStream,
  headers: RequestHeaders,
  config: ConnectionManagerConfig,
): LocalReply | null {
  const { connection, info } = stream;
  const secure = connection.isSecure;
  // An extended CONNECT of HTTP/2 looks like an upgrade here, and nothing else of HTTP/2 does.
  dropHopHeaders(headers, isUpgrade(headers));

  let remote: Address | null = null;
  let trusted: boolean;
  if (config.useRemoteAddress) {
    trusted = !headers.has('x-forwarded-for');
    if (config.xffNumTrustedHops > 0) remote = lastAddressOfXff(headers, config.xffNumTrustedHops - 1).address;
    remote ??= connection.remoteAddress;
    if (!config.skipXffAppend) appendXff(stream, headers, config);
    if (config.xffNumTrustedHops === 0 || !headers.has('x-forwarded-proto')) {
      headers.set('x-forwarded-proto', protoOf(stream, config, secure));
    }
    if (config.appendXForwardedPort && (config.xffNumTrustedHops === 0 || !headers.has('x-forwarded-port'))) {
      setForwardedPort(stream, headers);
    }
  } else if (config.ipDetections.length === 0) {
    const found = lastAddressOfXff(headers, config.xffNumTrustedHops);
    remote = found.address;
    trusted = found.single;
  } else {
    trusted = false;
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
  if (!headers.has('x-forwarded-proto')) headers.add('x-forwarded-proto', protoOf(stream, config, secure));
  if (config.appendXForwardedPort && !headers.has('x-forwarded-port')) setForwardedPort(stream, headers);
  if (config.schemeOverwrite !== '') {
    headers.scheme = config.schemeOverwrite;
    headers.set('x-forwarded-proto', config.schemeOverwrite);
  } else if (headers.scheme === '') {
    headers.scheme = schemeOf(headers.get('x-forwarded-proto')!, secure);
  }

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
    info.requestId = setRequestId(headers, edge, config.preserveExternalRequestId, config.packTraceReason);
  } else {
    info.requestId = headers.get('x-request-id') ?? '';
  }
  stream.manager.clientCert.apply(headers, connection);
  info.remoteAddress = remote;
  return null;
}

/** One pass over the head: drops what belongs to this hop, and what only we may say. */
function dropHopHeaders(headers: RequestHeaders, upgrade: boolean): void {
  const { list, wireNames } = headers;
  let write = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    let value = list[i + 1]!;
    switch (name.charCodeAt(0)) {
      case 99: // c
        if (name === 'connection' && !upgrade) continue;
        break;
      case 117: // u
        if (name === 'upgrade' && !upgrade) continue;
        break;
      case 107: // k
        if (name === 'keep-alive') continue;
        break;
      case 112: // p
        if (name === 'proxy-connection') continue;
        break;
      case 114: // r
        if (name === 'referer' && (!isReferer(value) || hasSecond(list, i))) continue;
        break;
      case 116: // t
        if (name === 'transfer-encoding') continue;
        if (name === 'te' && !upgrade) {
          if (!hasTrailersToken(value)) continue;
          value = 'trailers';
        }
        break;
      case 120: // x
        if (name === 'x-envoy-internal') continue;
        break;
    }
    list[write] = name;
    list[write + 1] = value;
    if (wireNames !== null) wireNames[write >> 1] = wireNames[i >> 1]!;
    write += 2;
  }
  list.length = write;
  if (wireNames !== null) wireNames.length = write >> 1;
}

/** Whether the name at `index` stands anywhere else. Entries before `index` may have been moved down, none is lost. */
function hasSecond(list: readonly string[], index: number): boolean {
  const name = list[index]!;
  for (let i = 0; i < list.length; i += 2) if (i !== index && list[i] === name) return true;
  return false;
}

function protoOf(stream: ActiveStream, config: ConnectionManagerConfig, secure: boolean): string {
  const byPort = config.forwardProto;
  if (byPort !== null) {
    const { connection } = stream;
    const local = connection.localAddress;
    // A PROXY header or the original destination has told where the client went.
    if (local.kind === 'ip' && local !== connection.directLocalAddress) {
      if (byPort.httpsPorts.has(local.port)) return 'https';
      if (byPort.httpPorts.has(local.port)) return 'http';
    }
  }
  return secure ? 'https' : 'http';
}

function setForwardedPort(stream: ActiveStream, headers: RequestHeaders): void {
  const local = stream.connection.localAddress;
  if (local.kind === 'ip') headers.set('x-forwarded-port', String(local.port));
}

/** In small letters and without parameters, as Envoy asks for it. */
function hasTrailersToken(value: string): boolean {
  for (const part of value.split(',')) {
    if (part.trim() === 'trailers') return true;
  }
  return false;
}

const ABSOLUTE_REFERER =
  /^[A-Za-z][A-Za-z0-9+.-]*:\/\/@?(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?(?:[/?][!"$-~]*)?$/;
const RELATIVE_REFERER = /^[\w\-.~!$&'()*+,;=:@%/?]*$/;

/** What Envoy takes for a URL: no fragment, no user, a plain host and port; or something relative. Others are dropped. */
function isReferer(value: string): boolean {
  const colon = value.indexOf(':');
  const slash = value.indexOf('/');
  if (colon < 0 || (slash >= 0 && slash < colon)) return RELATIVE_REFERER.test(value);
  const parts = ABSOLUTE_REFERER.exec(value);
  return parts !== null && (parts[1] === undefined || Number(parts[1]) < 65536);
}

function schemeOf(forwardedProto: string, secure: boolean): string {
  if (forwardedProto === 'http' || forwardedProto === 'https') return forwardedProto;
  const lower = forwardedProto.toLowerCase();
  return lower === 'http' || lower === 'https' ? lower : secure ? 'https' : 'http';
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
  const table = stream.routeTable(headers);
  if (table === null) return;
  const names = table.internalOnlyHeaders;
  for (let i = 0; i < names.length; i++) headers.remove(names[i]!);
}

function detectAddress(
  config: ConnectionManagerConfig,
  headers: RequestHeaders,
  stream: ActiveStream,
): IpDetectionResult | null {
  let nothing: IpDetectionResult | null = null;
  for (const detection of config.ipDetections) {
    const result = detection.detect(headers, stream.connection);
    if (result === null) continue;
    if (result.address !== null || result.rejectStatus > 0) return result;
    nothing = result;
  }
  return nothing;
}

function appendXff(stream: ActiveStream, headers: RequestHeaders, config: ConnectionManagerConfig): void {
  const remote = stream.connection.remoteAddress;
  if (remote.kind !== 'ip') return;
  headers.append('x-forwarded-for', isLoopback(remote.ip) ? config.environment.local.address : remote.ip);
}
