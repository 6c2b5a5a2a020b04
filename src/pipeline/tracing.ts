import type { RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { Route } from '../routing/route.ts';
import type { FractionalPercent, RuntimeFraction } from '../routing/runtime-fraction.ts';
import type { SpanTag } from '../routing/span-tag.ts';
import type { ValueFormatter } from '../routing/stream-view.ts';
import type { TracingStats } from './connection-manager-stats.ts';
import { sampleOf, setTraceReason, TraceReason, traceReasonOf } from './request-id.ts';
import type { StreamInfo } from './stream-info.ts';
import type { Span, SpanSettings, Tracer } from './trace/span.ts';

/** `tracing` of a connection manager: which requests are traced, by whom, and what their spans say. */
export interface TracingConfig extends SpanSettings {
  /** Null: requests are marked, but nobody makes spans. */
  readonly tracer: Tracer | null;
  /** Of the requests with `x-client-trace-id`. */
  readonly clientSampling: RuntimeFraction;
  readonly randomSampling: RuntimeFraction;
  /** Of those chosen by the above, and by who called. */
  readonly overallSampling: RuntimeFraction;
  /** The request's id decides and tells; else every request counts as sampled, and its id says nothing. */
  readonly byRequestId: boolean;
  /** The decision is written into the request's id. */
  readonly packTraceReason: boolean;
  /** Spans tell when bytes came and went. */
  readonly verbose: boolean;
  /** Of `http.url`, bytes. */
  readonly maxPathTagLength: number;
  /** Each name once. */
  readonly customTags: readonly SpanTag[];
  /** Names of spans; null: as the tracer does. With one, decorators have no effect. */
  readonly operation: ValueFormatter | null;
  readonly upstreamOperation: ValueFormatter | null;
  /** Upstreams are not told of the trace. */
  readonly noContextPropagation: boolean;
  /** `node.id` and the locality's zone. */
  readonly nodeId: string;
  readonly zone: string;
}

/**
 * Decides whether a request is traced, and says so in its id for those behind.
 * Source: Envoy, ConnectionManagerUtility::mutateTracingRequestHeader.
 * @param random integer in [0, 2^32), for the client's share
 */
export function decideTracing(
  config: TracingConfig,
  headers: RequestHeaders,
  route: Route | null,
  info: StreamInfo,
  random: number,
): void {
  info.traceReason = config.byRequestId ? reasonFor(config, headers, route, info, random) : TraceReason.Sampling;
}

function reasonFor(
  config: TracingConfig,
  headers: RequestHeaders,
  route: Route | null,
  info: StreamInfo,
  random: number,
): TraceReason {
  const id = headers.get('x-request-id');
  const sample = id === null ? -1 : sampleOf(id);
  if (id === null || sample < 0) return TraceReason.NotTraceable;
  const own = route === null ? null : route.tracing;
  // Where ids are not marked, theirs say nothing either.
  const said = config.packTraceReason ? traceReasonOf(id) : TraceReason.NotTraceable;
  let reason = said;
  if (reason === TraceReason.NotTraceable) {
    if (
      headers.has('x-client-trace-id') &&
      share(config.clientSampling, own === null ? null : own.clientSampling).includes(random)
    ) {
      reason = TraceReason.ClientForced;
    } else if (headers.has('x-envoy-force-trace')) {
      reason = TraceReason.ServiceForced;
    } else {
      // As everywhere on the request's way: one id, one decision.
      const random = share(config.randomSampling, own === null ? null : own.randomSampling);
      if (random.includes(sample % 10_000)) reason = TraceReason.Sampling;
    }
  }
  const allowed = share(config.overallSampling, own === null ? null : own.overallSampling).includes(sample % 10_000);
  if (!allowed) reason = TraceReason.NotTraceable;
  // A mark that nobody knows stays, unless it was decided upon.
  if ((reason !== said || !allowed) && config.packTraceReason) info.requestId = setTraceReason(headers, id, reason);
  return reason;
}

/** The route's share in the place of the connection manager's; runtime goes before both. */
function share(common: RuntimeFraction, own: FractionalPercent | null): FractionalPercent {
  return own === null ? common.current() : common.currentOr(own);
}

/** Source: Envoy, TracerUtility::shouldTraceRequest. */
export function isTraced(info: StreamInfo): boolean {
  return !info.healthCheck && info.traceReason !== TraceReason.NotTraceable;
}

/** Counts why an answered request was traced, or why not. Source: Envoy, ActiveStream::chargeStats. */
export function chargeTracing(stats: TracingStats, info: StreamInfo): void {
  // Health checks are counted as such at their end.
  if (info.healthCheck) stats.notTraceable.inc();
  else if (info.traceReason === TraceReason.Sampling) stats.randomSampling.inc();
  else if (info.traceReason === TraceReason.ClientForced) stats.clientEnabled.inc();
  else if (info.traceReason === TraceReason.ServiceForced) stats.serviceForced.inc();
  else stats.notTraceable.inc();
}

/** Names of spans are configured: what decorators say has no effect, and what peers say of it passes. */
function namesOperations(config: TracingConfig, route: Route | null): boolean {
  return config.operation !== null || (route !== null && route.tracing !== null && route.tracing.operation !== null);
}

/**
 * Names the request's span by the route's decorator, and passes the name on, as it is done where a span begins.
 * Source: Envoy, ActiveStream::traceRequest.
 * @param span null: none; the name is passed on all the same
 * @returns the operation that the response names; empty: none; null: none, since the caller has named it
 */
export function decorateRequest(
  config: TracingConfig,
  headers: RequestHeaders,
  route: Route | null,
  span: Span | null,
): string | null {
  if (namesOperations(config, route)) return '';
  const decorator = route === null ? null : route.decorator;
  if (span !== null && decorator !== null && decorator.operation !== '') span.setOperation(decorator.operation);
  const operation = decorator?.propagate ? decorator.operation : '';
  if (config.egress) {
    if (operation !== '') headers.set('x-envoy-decorator-operation', operation);
    return '';
  }
  const asked = headers.get('x-envoy-decorator-operation');
  if (asked === null) return operation;
  // The caller's name for it holds, and ends here.
  headers.remove('x-envoy-decorator-operation');
  if (asked === '') return operation;
  span?.setOperation(asked);
  return null;
}

/** Towards the client. Source: Envoy, ActiveStream::encodeHeaders. @param operation what `decorateRequest` returned */
export function decorateResponse(
  config: TracingConfig,
  headers: ResponseHeaders,
  route: Route | null,
  span: Span | null,
  operation: string,
): void {
  if (namesOperations(config, route)) return;
  if (!config.egress) {
    if (operation !== '') headers.set('x-envoy-decorator-operation', operation);
    return;
  }
  // The callee's name for it holds.
  const named = headers.get('x-envoy-decorator-operation');
  if (named === null) return;
  if (named !== '') span?.setOperation(named);
  headers.remove('x-envoy-decorator-operation');
}
