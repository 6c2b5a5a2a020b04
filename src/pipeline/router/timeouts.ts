import { formatGrpcTimeout, readGrpcTimeout } from '../../http/grpc-headers.ts';
import type { RequestHeaders } from '../../http/header-map.ts';
import type { ForwardAction } from '../../routing/route-action.ts';
import { EnvoyHeader } from './envoy-headers.ts';
import { parseUint64 } from './unsigned.ts';

/** The timeouts of one request, in ms; 0: none. */
export class RequestTimeouts {
  globalMs = 0;
  perTryMs = 0;
  perTryIdleMs = 0;
}

/**
 * What the route says and request headers change; takes the headers that are consumed away.
 * Source: Envoy, FilterUtility::finalTimeout.
 *
 * @param present bits of {@link EnvoyHeader} that `headers` has
 */
export function resolveTimeouts(
  action: ForwardAction,
  headers: RequestHeaders,
  present: number,
  grpc: boolean,
  respectExpected: boolean,
): RequestTimeouts {
  const timeouts = new RequestTimeouts();
  // With `max_stream_duration` the route's timeout and the old gRPC fields do not apply.
  if (!action.streamDuration.configured) {
    timeouts.globalMs =
      grpc && action.maxGrpcTimeoutMs !== null
        ? grpcTimeout(action.maxGrpcTimeoutMs, action.grpcTimeoutOffsetMs, headers)
        : action.timeoutMs;
  }
  timeouts.perTryMs = action.retryPolicy.perTryTimeoutMs;
  timeouts.perTryIdleMs = action.retryPolicy.perTryIdleTimeoutMs;
  if (respectExpected && (present & EnvoyHeader.ExpectedTimeout) !== 0) {
    const value = parseUint64(headers.get('x-envoy-expected-rq-timeout-ms') ?? '');
    if (value !== null) timeouts.globalMs = value;
  } else if ((present & EnvoyHeader.Timeout) !== 0) {
    const value = parseUint64(headers.get('x-envoy-upstream-rq-timeout-ms') ?? '');
    if (value !== null) timeouts.globalMs = value;
    headers.remove('x-envoy-upstream-rq-timeout-ms');
  }
  if ((present & EnvoyHeader.PerTryTimeout) !== 0) {
    const value = parseUint64(headers.get('x-envoy-upstream-rq-per-try-timeout-ms') ?? '');
    if (value !== null) timeouts.perTryMs = value;
    headers.remove('x-envoy-upstream-rq-per-try-timeout-ms');
  }
  if (timeouts.perTryMs >= timeouts.globalMs && timeouts.globalMs !== 0) timeouts.perTryMs = 0;
  return timeouts;
}

function grpcTimeout(maxMs: number, offsetMs: number | null, headers: RequestHeaders): number {
  let ms = readGrpcTimeout(headers) ?? 0;
  // An offset that would leave nothing is not applied: 0 means no limit.
  if (offsetMs !== null && offsetMs < ms) ms -= offsetMs;
  if (maxMs !== 0 && (ms === 0 || ms > maxMs)) ms = maxMs;
  return ms;
}

/** Tells the upstream how long is left. Source: Envoy, FilterUtility::setTimeoutHeaders. */
export function announceTimeouts(
  timeouts: RequestTimeouts,
  elapsedMs: number,
  action: ForwardAction,
  headers: RequestHeaders,
  insertExpected: boolean,
  grpc: boolean,
): void {
  let expected = timeouts.perTryMs === 0 ? timeouts.globalMs : timeouts.perTryMs;
  if (expected <= 0) return;
  if (timeouts.globalMs > 0) {
    // 0 would mean no limit.
    expected = elapsedMs >= timeouts.globalMs ? 1 : Math.min(expected, timeouts.globalMs - elapsedMs);
  }
  if (insertExpected) headers.set('x-envoy-expected-rq-timeout-ms', String(Math.floor(expected)));
  if (grpc && !action.streamDuration.configured && action.maxGrpcTimeoutMs !== null) {
    headers.set('grpc-timeout', formatGrpcTimeout(expected));
  }
}
