import { Protocol } from '../http/codec.ts';
import type { RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { ActiveStream } from './active-stream.ts';
import { type ConnectionManagerConfig, ServerHeader } from './connection-manager-config.ts';
import { isUpgrade } from './connection-tokens.ts';

/** What the connection manager does to response headers behind all filters. Source: Envoy, ActiveStream::encodeHeaders. */
export function finishResponseHeaders(stream: ActiveStream, headers: ResponseHeaders): void {
  const { config } = stream;
  const request = stream.requestHeaders;
  if (!headers.has('date')) headers.add('date', config.dates.text(stream.dispatcher));
  if (
    config.serverHeader === ServerHeader.Overwrite ||
    (config.serverHeader === ServerHeader.AppendIfAbsent && !headers.has('server'))
  ) {
    headers.set('server', config.serverName);
  }
  const upgrade = mutateResponseHeaders(headers, request, config);
  if (config.via !== '') headers.append('via', config.via, ', ');
  stream.isTunnel = upgrade || (request !== null && request.method === 'CONNECT' && headers.status === 200);
  if (stream.codecStream.protocol === Protocol.Http10) {
    // HTTP/1.0 knows no chunks: without a length the end of the connection is the end of the body.
    if (!headers.has('content-length')) stream.closesConnection = true;
    if (!stream.closesConnection) headers.set('connection', 'keep-alive');
  }
  if (stream.manager.closesBehind(stream) && !stream.isTunnel) headers.set('connection', 'close');
}

/** As above, for 100 and its like: what belongs to the final response is left to it. */
export function finishInformationalHeaders(stream: ActiveStream, headers: ResponseHeaders): void {
  mutateResponseHeaders(headers, stream.requestHeaders, stream.config);
}

/** @returns whether these headers accept an upgrade. Source: Envoy, ConnectionManagerUtility::mutateResponseHeaders */
function mutateResponseHeaders(
  headers: ResponseHeaders,
  request: RequestHeaders | null,
  config: ConnectionManagerConfig,
): boolean {
  const upgrade = headers.has('upgrade') && isUpgrade(headers) && request !== null && isUpgrade(request);
  if (upgrade && headers.status >= 200 && !headers.has('transfer-encoding') && !headers.has('content-length')) {
    headers.add('content-length', '0');
  }
  dropHopHeaders(headers, upgrade);
  if (request !== null && (config.alwaysSetRequestIdInResponse || request.has('x-envoy-force-trace'))) {
    const id = request.get('x-request-id');
    if (id !== null) headers.set('x-request-id', id);
  }
  return upgrade;
}

function dropHopHeaders(headers: ResponseHeaders, upgrade: boolean): void {
  const { list } = headers;
  for (let i = 0; i < list.length; i += 2) {
    if (isHopHeader(list[i]!, upgrade)) {
      headers.removeWhere((name) => isHopHeader(name, upgrade));
      return;
    }
  }
}

function isHopHeader(name: string, upgrade: boolean): boolean {
  switch (name.charCodeAt(0)) {
    case 99: // c
      return name === 'connection' && !upgrade;
    case 107: // k
      return name === 'keep-alive';
    case 112: // p
      return name === 'proxy-connection';
    case 116: // t
      return name === 'transfer-encoding';
    case 117: // u
      return name === 'upgrade' && !upgrade;
    default:
      return false;
  }
}
