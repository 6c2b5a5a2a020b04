import { Protocol } from '../http/codec.ts';
import type { HeaderMap, RequestHeaders } from '../http/header-map.ts';
import { hasToken } from '../http/token-list.ts';

/**
 * Whether a request asks that its connection be closed. HTTP/1.0 closes unless it says keep-alive; `Proxy-Connection` is no
 * standard, but counts. Source: Envoy, HeaderUtility::shouldCloseConnection.
 */
export function asksForClose(headers: RequestHeaders, protocol: Protocol): boolean {
  if (protocol >= Protocol.Http2) return false;
  const { list } = headers;
  let keepAlive = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name.length < 10) continue;
    if (name === 'connection') {
      if (protocol === Protocol.Http10) keepAlive ||= hasToken(list[i + 1]!, 'keep-alive');
      else if (hasToken(list[i + 1]!, 'close')) return true;
    } else if (name === 'proxy-connection' && hasToken(list[i + 1]!, 'close')) {
      return true;
    }
  }
  return protocol === Protocol.Http10 && !keepAlive;
}

/** `Upgrade` beside a `Connection` that names it. Source: Envoy, Utility::isUpgrade. */
export function isUpgrade(headers: HeaderMap): boolean {
  if (!headers.has('upgrade')) return false;
  const connection = headers.get('connection');
  return connection !== null && hasToken(connection, 'upgrade');
}

/** `websocket` and the like, `connect`; null: no upgrade. Lower case. */
export function upgradeType(headers: RequestHeaders): string | null {
  if (headers.method === 'CONNECT') return (headers.protocol ?? 'connect').toLowerCase();
  return isUpgrade(headers) ? headers.get('upgrade')!.toLowerCase() : null;
}
