import type { Counter } from '../stats/counter.ts';
import type { Gauge } from '../stats/gauge.ts';
import { type Histogram, HistogramUnit } from '../stats/histogram.ts';
import type { Scope } from '../stats/store.ts';

const COUNTERS = [
  'downstreamCxTotal',
  'downstreamCxHttp1Total',
  'downstreamCxHttp2Total',
  'downstreamCxHttp3Total',
  'downstreamCxSslTotal',
  'downstreamCxDestroy',
  'downstreamCxDestroyRemote',
  'downstreamCxDestroyLocal',
  'downstreamCxDestroyActiveRq',
  'downstreamCxDestroyLocalActiveRq',
  'downstreamCxDestroyRemoteActiveRq',
  'downstreamCxProtocolError',
  'downstreamCxRxBytesTotal',
  'downstreamCxTxBytesTotal',
  'downstreamCxDrainClose',
  'downstreamCxDelayedCloseTimeout',
  'downstreamCxIdleTimeout',
  'downstreamCxMaxDurationReached',
  'downstreamCxMaxRequestsReached',
  'downstreamCxOverloadDisableKeepalive',
  'downstreamCxUpgradesTotal',
  'downstreamFlowControlPausedReadingTotal',
  'downstreamFlowControlResumedReadingTotal',
  'downstreamRqTotal',
  'downstreamRqHttp1Total',
  'downstreamRqHttp2Total',
  'downstreamRqHttp3Total',
  'downstreamRqCompleted',
  'downstreamRq1xx',
  'downstreamRq2xx',
  'downstreamRq3xx',
  'downstreamRq4xx',
  'downstreamRq5xx',
  'downstreamRqTimeout',
  'downstreamRqIdleTimeout',
  'downstreamRqHeaderTimeout',
  'downstreamRqMaxDurationReached',
  'downstreamRqTooLarge',
  'downstreamRqRxReset',
  'downstreamRqTxReset',
  'downstreamRqNonRelativePath',
  'downstreamRqRejectedViaIpDetection',
  'downstreamRqResponseBeforeRqComplete',
  'downstreamRqRedirectedWithNormalizedPath',
  'downstreamRqFailedPathNormalization',
  'downstreamRqWsOnNonWsRoute',
  'downstreamRqOverloadClose',
  'downstreamRqTooManyPrematureResets',
  'rsTooLarge',
] as const;

const GAUGES = [
  'downstreamCxActive',
  'downstreamCxHttp1SoftDrain',
  'downstreamCxHttp1Active',
  'downstreamCxHttp2Active',
  'downstreamCxHttp3Active',
  'downstreamCxSslActive',
  'downstreamCxRxBytesBuffered',
  'downstreamCxTxBytesBuffered',
  'downstreamCxUpgradesActive',
  'downstreamRqActive',
] as const;

const HISTOGRAMS = ['downstreamCxLengthMs', 'downstreamRqTime'] as const;

const LISTENER_COUNTERS = [
  'downstreamRqCompleted',
  'downstreamRq1xx',
  'downstreamRq2xx',
  'downstreamRq3xx',
  'downstreamRq4xx',
  'downstreamRq5xx',
] as const;

/** Stats of one connection manager (`http.<stat_prefix>.`), one set per worker; plain fields for the hot path. */
export type ConnectionManagerStats = Readonly<
  Record<(typeof COUNTERS)[number], Counter> &
    Record<(typeof GAUGES)[number], Gauge> &
    Record<(typeof HISTOGRAMS)[number], Histogram>
>;

/** The listener's own count of HTTP answers (`listener.<address>.http.<stat_prefix>.downstream_rq_...`). */
export type ListenerHttpStats = Readonly<Record<(typeof LISTENER_COUNTERS)[number], Counter>>;

const TRACING_COUNTERS = ['clientEnabled', 'healthCheck', 'notTraceable', 'randomSampling', 'serviceForced'] as const;

/** Requests by why they are traced, or why not (`http.<stat_prefix>.tracing.`). */
export type TracingStats = Readonly<Record<(typeof TRACING_COUNTERS)[number], Counter>>;

/** `downstreamRq1xx` is Envoy's `downstream_rq_1xx`. */
function statName(field: string): string {
  return field
    .replace(/Http(\d)/, '_http$1')
    .replace(/Rq(\dxx)/, 'Rq_$1')
    .replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** @param scope the connection manager's: names are below `http.<stat_prefix>.` */
export function createConnectionManagerStats(scope: Scope): ConnectionManagerStats {
  const stats: Record<string, Counter | Gauge | Histogram> = {};
  for (const field of COUNTERS) stats[field] = scope.counter(statName(field));
  for (const field of GAUGES) stats[field] = scope.gauge(statName(field));
  stats.downstreamCxLengthMs = scope.histogram('downstream_cx_length_ms', HistogramUnit.Milliseconds);
  stats.downstreamRqTime = scope.histogram('downstream_rq_time', HistogramUnit.Milliseconds);
  return stats as unknown as ConnectionManagerStats;
}

/** @param scope the listener's, below `http.<stat_prefix>.` */
export function createListenerHttpStats(scope: Scope): ListenerHttpStats {
  const stats: Record<string, Counter> = {};
  for (const field of LISTENER_COUNTERS) stats[field] = scope.counter(statName(field));
  return stats as unknown as ListenerHttpStats;
}

/** @param scope the connection manager's: names are below `http.<stat_prefix>.` */
export function createTracingStats(scope: Scope): TracingStats {
  const stats: Record<string, Counter> = {};
  for (const field of TRACING_COUNTERS) stats[field] = scope.counter(`tracing.${statName(field)}`);
  return stats as unknown as TracingStats;
}
