import { Protocol } from '../http/codec.ts';
import type { RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { ActiveStream } from './active-stream.ts';
import { ServerHeader } from './connection-manager-config.ts';

/** An HTTP/1 response that switches protocols, or opens a CONNECT tunnel. */
function isUpgradeResponse(request: RequestHeaders | null, headers: ResponseHeaders): boolean {
  if (headers.status === 101) return true;
  return request !== null && request.method === 'CONNECT' && headers.status === 200;
}

/** What the connection manager does to response headers behind all filters. Envoy: ActiveStream::encodeHeaders. */
export function finishResponseHeaders(
  stream: ActiveStream,
  headers: ResponseHeaders,
  _end: boolean,
  informational: boolean,
): void {
  const { config, manager } = stream;
  const request = stream.requestHeaders;
  const upgrade = !informational && stream.isTunnel && isUpgradeResponse(request, headers);
  dropHopHeaders(headers, upgrade);
  if (!informational) {
    if (!headers.has('date')) headers.add('date', config.dates.text(stream.dispatcher));
    if (
      config.serverHeader === ServerHeader.Overwrite ||
      (config.serverHeader === ServerHeader.AppendIfAbsent && !headers.has('server'))
    ) {
      headers.set('server', config.serverName);
    }
  }
  if (request !== null) {
    const id =
      config.alwaysSetRequestIdInResponse || request.has('x-envoy-force-trace') ? request.get('x-request-id') : null;
    if (id !== null) headers.set('x-request-id', id);
  }
  if (config.via !== '') headers.append('via', config.via, ', ');
  if (informational) return;
  if (manager.shouldClose(stream) && !upgrade && stream.codecStream.protocol < Protocol.Http2) {
    headers.set('connection', 'close');
  }
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
    default:
      return false;
  }
}
