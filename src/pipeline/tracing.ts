import type { RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { Route } from '../routing/route.ts';
import type { RuntimeFraction } from '../routing/runtime-fraction.ts';
import type { TracingStats } from './connection-manager-stats.ts';
import { sampleOf, setTraceReason, TraceReason, traceReasonOf } from './request-id.ts';
import type { StreamInfo } from './stream-info.ts';

/** `tracing` of a connection manager: which requests are traced. There are no tracers yet: what shapes spans is not here. */
export interface TracingConfig {
  readonly stats: TracingStats;
  /** Of the requests with `x-client-trace-id`. */
  readonly clientSampling: RuntimeFraction;
  readonly randomSampling: RuntimeFraction;
  /** Of those chosen by the above, and by who called. */
  readonly overallSampling: RuntimeFraction;
  /** The request's id decides and tells; else every request counts as sampled, and its id says nothing. */
  readonly byRequestId: boolean;
  /** Requests go out, to other services: they carry the operation's name; else responses do. By the listener's direction. */
  readonly egress: boolean;
  /** The decision is written into the request's id. */
  readonly packTraceReason: boolean;
}

/**
 * Decides whether a request is traced, and says so in its id for those behind.
 * Source: Envoy, ConnectionManagerUtility::mutateTracingRequestHeader.
 * @param random integer in [0, 2^32), for the client's share
 */
export function decideTracing(config: TracingConfig, headers: RequestHeaders, info: StreamInfo, random: number): void {
  info.traceReason = config.byRequestId ? reasonFor(config, headers, info, random) : TraceReason.Sampling;
}

function reasonFor(config: TracingConfig, headers: RequestHeaders, info: StreamInfo, random: number): TraceReason {
  const id = headers.get('x-request-id');
  const sample = id === null ? -1 : sampleOf(id);
  if (id === null || sample < 0) return TraceReason.NotTraceable;
  // Where ids are not marked, theirs say nothing either.
  const said = config.packTraceReason ? traceReasonOf(id) : TraceReason.NotTraceable;
  let reason = said;
  if (reason === TraceReason.NotTraceable) {
    if (headers.has('x-client-trace-id') && config.clientSampling.enabled(random)) reason = TraceReason.ClientForced;
    else if (headers.has('x-envoy-force-trace')) reason = TraceReason.ServiceForced;
    // As everywhere on the request's way: one id, one decision.
    else if (config.randomSampling.enabled(sample % 10_000)) reason = TraceReason.Sampling;
  }
  const allowed = config.overallSampling.enabled(sample % 10_000);
  if (!allowed) reason = TraceReason.NotTraceable;
  // A mark that nobody knows stays, unless it was decided upon.
  if ((reason !== said || !allowed) && config.packTraceReason) info.requestId = setTraceReason(headers, id, reason);
  return reason;
}

/**
 * Counts the decision and passes the name of the operation on, as it is done where a span begins.
 * Source: Envoy, ActiveStream::traceRequest.
 * @returns the operation that the response names; empty: none
 */
export function beginTrace(
  config: TracingConfig,
  headers: RequestHeaders,
  route: Route | null,
  info: StreamInfo,
): string {
  const { stats } = config;
  if (info.healthCheck) stats.healthCheck.inc();
  else if (info.traceReason === TraceReason.Sampling) stats.randomSampling.inc();
  else if (info.traceReason === TraceReason.ClientForced) stats.clientEnabled.inc();
  else if (info.traceReason === TraceReason.ServiceForced) stats.serviceForced.inc();
  else stats.notTraceable.inc();

  const decorator = route === null ? null : route.decorator;
  const operation = decorator?.propagate ? decorator.operation : '';
  if (config.egress) {
    if (operation !== '') headers.set('x-envoy-decorator-operation', operation);
    return '';
  }
  const asked = headers.get('x-envoy-decorator-operation');
  if (asked === null) return operation;
  // The caller's name for it holds, and ends here.
  headers.remove('x-envoy-decorator-operation');
  return asked === '' ? operation : '';
}

/** Towards the client. Source: Envoy, ActiveStream::encodeHeaders. @param operation what `beginTrace` returned */
export function decorateResponse(headers: ResponseHeaders, operation: string, egress: boolean): void {
  if (egress) headers.remove('x-envoy-decorator-operation');
  else if (operation !== '') headers.set('x-envoy-decorator-operation', operation);
}
