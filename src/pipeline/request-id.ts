import type { RequestHeaders } from '../http/header-map.ts';

/** Length of a UUID, and the place in it where the reason for tracing stands. */
const UUID_LENGTH = 36;
const TRACE_REASON_AT = 14;

/** Why a request is traced, as `x-request-id` says it: the 15th character. Source: Envoy, UUIDRequestIDExtension. */
export const TraceReason = { NotTraceable: '4', Sampling: '9', ServiceForced: 'a', ClientForced: 'b' } as const;
export type TraceReason = (typeof TraceReason)[keyof typeof TraceReason];

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
    return edge && packTraceReason ? setTraceReason(headers, present, TraceReason.NotTraceable) : present;
  }
  const id = crypto.randomUUID();
  if (present === null) headers.add('x-request-id', id);
  else headers.set('x-request-id', id);
  return id;
}

/** What an id says about tracing: nothing unless it is as long as a UUID. */
export function traceReasonOf(id: string): TraceReason {
  if (id.length !== UUID_LENGTH) return TraceReason.NotTraceable;
  const mark = id[TRACE_REASON_AT];
  return mark === TraceReason.Sampling || mark === TraceReason.ServiceForced || mark === TraceReason.ClientForced
    ? mark
    : TraceReason.NotTraceable;
}

/** Writes the reason into the request's id. @param id the header's value @returns the id as it is now */
export function setTraceReason(headers: RequestHeaders, id: string, reason: TraceReason): string {
  if (id.length !== UUID_LENGTH || id[TRACE_REASON_AT] === reason) return id;
  const marked = id.slice(0, TRACE_REASON_AT) + reason + id.slice(TRACE_REASON_AT + 1);
  headers.set('x-request-id', marked);
  return marked;
}

const SAMPLE_DIGITS = 8;
const HEX = /^(?:0[xX])?[0-9a-fA-F]+$/;

/** The number that an id's first 8 digits are, for shares that hold for one id everywhere. -1: they are no number. */
export function sampleOf(id: string): number {
  if (id.length < SAMPLE_DIGITS) return -1;
  const digits = id.slice(0, SAMPLE_DIGITS);
  return HEX.test(digits) ? Number.parseInt(digits, 16) : -1;
}
