import type { RequestHeaders } from '../http/header-map.ts';

/** Length of a UUID, and the place in it where the reason for tracing stands (4: not traced). */
const UUID_LENGTH = 36;
const TRACE_REASON_AT = 14;

/**
 * Gives a request its `x-request-id`: a new one where there is none, or where the request comes from outside and ours counts.
 * An id kept from outside loses what it says about tracing. Source: Envoy, UUIDRequestIDExtension::set.
 * @param edge the request comes from outside
 */
export function setRequestId(
  headers: RequestHeaders,
  edge: boolean,
  keepExternal: boolean,
  packTraceReason: boolean,
): string {
  const present = headers.get('x-request-id');
  if (present !== null && present !== '' && (!edge || keepExternal)) {
    if (!edge || !packTraceReason || present.length !== UUID_LENGTH || present[TRACE_REASON_AT] === '4') return present;
    const untraced = `${present.slice(0, TRACE_REASON_AT)}4${present.slice(TRACE_REASON_AT + 1)}`;
    headers.set('x-request-id', untraced);
    return untraced;
  }
  const id = crypto.randomUUID();
  if (present === null) headers.add('x-request-id', id);
  else headers.set('x-request-id', id);
  return id;
}
