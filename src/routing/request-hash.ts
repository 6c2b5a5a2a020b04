import type { RequestHeaders } from '../http/header-map.ts';
import type { HashPolicy } from './route-policies.ts';
import type { StreamView } from './stream-view.ts';

/** The 64-bit hash of a request by a route's policies; null when none gives one. */
export function hashRequest(
  _policies: readonly HashPolicy[],
  _headers: RequestHeaders,
  _stream: StreamView,
): bigint | null {
  return null;
}
