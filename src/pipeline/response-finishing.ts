import { Protocol } from '../http/codec.ts';
import type { RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { ActiveStream } from './active-stream.ts';
import { type ConnectionManagerConfig, ServerHeader } from './connection-manager-config.ts';
import { isUpgrade } from './connection-tokens.ts';
import { decorateResponse } from './tracing.ts';

/** What the connection manager does to response headers behind all filters. Source: Envoy, ActiveStream::encodeHeaders. */
export function finishResponseHeaders(stream: ActiveStream, headers: ResponseHeaders): void {
  const { config } = stream;
  const request = stream.requestHeaders;
  const facts = dropHopHeaders(headers, request);
  if ((facts & Fact.Date) === 0) headers.add('date', config.dates.text(stream.dispatcher));
  if ((facts & Fact.Server) === 0) {
    if (config.serverHeader !== ServerHeader.PassThrough) headers.add('server', config.serverName);
  } else if (config.serverHeader === ServerHeader.Overwrite) {
    headers.set('server', config.serverName);
  }
  const upgrade = (facts & Fact.Upgrade) !== 0;
  if (upgrade && headers.status >= 200 && (facts & Fact.ContentLength) === 0) headers.add('content-length', '0');
  setRequestId(headers, request, config);
  if (config.via !== '') headers.append('via', config.via, ', ');
  stream.isTunnel = upgrade || (request !== null && request.method === 'CONNECT' && headers.status === 200);
  if (stream.codecStream.protocol === Protocol.Http10) {
    // HTTP/1.0 knows no chunks: without a length the end of the connection is the end of the body.
    if ((facts & Fact.ContentLength) === 0) stream.closesConnection = true;
    if (!stream.closesConnection) headers.set('connection', 'keep-alive');
  }
  if (stream.manager.closesBehind(stream) && !stream.isTunnel) headers.set('connection', 'close');
  const { tracing } = config;
  if (tracing !== null) {
    const span = stream.trace === null ? null : stream.trace.span;
    decorateResponse(tracing, headers, stream.info.route, span, stream.decoratedOperation);
  }
}

/** As above, for 100 and its like: what belongs to the final response is left to it. */
export function finishInformationalHeaders(stream: ActiveStream, headers: ResponseHeaders): void {
  dropHopHeaders(headers, stream.requestHeaders);
  setRequestId(headers, stream.requestHeaders, stream.config);
}

function setRequestId(headers: ResponseHeaders, request: RequestHeaders | null, config: ConnectionManagerConfig): void {
  if (request === null) return;
  if (!config.alwaysSetRequestIdInResponse && !request.has('x-envoy-force-trace')) return;
  const id = request.get('x-request-id');
  if (id !== null) headers.set('x-request-id', id);
}

/** What is among the headers that stay. */
const Fact = { Date: 1, Server: 2, ContentLength: 4, Upgrade: 8 } as const;

/** Drops what belongs to the upstream's connection. @returns bits of Fact. Source: Envoy, mutateResponseHeaders */
function dropHopHeaders(headers: ResponseHeaders, request: RequestHeaders | null): number {
  const { list, wireNames } = headers;
  let facts = 0;
  let write = 0;
  let upgrade: boolean | null = null;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    switch (name.length) {
      case 4:
        if (name === 'date') facts |= Fact.Date;
        break;
      case 6:
        if (name === 'server') facts |= Fact.Server;
        break;
      case 7:
      case 10:
        if (name === 'upgrade' || name === 'connection') {
          upgrade ??= request !== null && isUpgrade(headers) && isUpgrade(request);
          if (!upgrade) continue;
          facts |= Fact.Upgrade;
        } else if (name === 'keep-alive') {
          continue;
        }
        break;
      case 14:
        if (name === 'content-length') facts |= Fact.ContentLength;
        break;
      case 16:
        if (name === 'proxy-connection') continue;
        break;
      case 17:
        if (name === 'transfer-encoding') continue;
        break;
    }
    if (write !== i) {
      list[write] = name;
      list[write + 1] = list[i + 1]!;
      if (wireNames !== null) wireNames[write >> 1] = wireNames[i >> 1]!;
    }
    write += 2;
  }
  if (write < list.length) {
    list.length = write;
    if (wireNames !== null) wireNames.length = write >> 1;
  }
  return facts;
}
