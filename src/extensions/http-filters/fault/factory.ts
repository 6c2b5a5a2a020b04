import type { Message } from '@bufbuild/protobuf';
import type {
  FaultDelay,
  FaultRateLimit,
} from '../../../api/gen/envoy/extensions/filters/common/fault/v3/fault_pb.d.ts';
import type { FaultAbort, HTTPFault } from '../../../api/gen/envoy/extensions/filters/http/fault/v3/fault_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { durationMs } from '../../../config/builders/durations.ts';
import { buildFractionalPercent, buildHeaderMatchers } from '../../../config/builders/route-config-matchers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import type { MetadataStruct } from '../../../routing/stream-view.ts';
import { wireText } from '../../../routing/wire-text.ts';
import { FAULT_STATS, FaultFilter, type FaultRuntime } from './filter.ts';
import type { AbortFault, DelayFault, FaultSettings, RateLimitFault } from './settings.ts';

const PACKAGE = 'envoy.extensions.filters.http.fault.v3';
const COMMON = 'envoy.extensions.filters.common.fault.v3';

function buildDelay(message: FaultDelay): DelayFault {
  const kind = message.faultDelaySecifier;
  const percentage = buildFractionalPercent(message.percentage);
  return kind.case === 'fixedDelay'
    ? { share: { percentage, header: '' }, fixedMs: durationMs(kind.value) }
    : { share: { percentage, header: 'x-envoy-fault-delay-request-percentage' }, fixedMs: null };
}

function buildAbort(message: FaultAbort): AbortFault {
  const type = message.errorType;
  const percentage = buildFractionalPercent(message.percentage);
  const body = message.responseBody === '' ? 'fault filter abort' : wireText(message.responseBody);
  switch (type.case) {
    case 'httpStatus':
      return { share: { percentage, header: '' }, kind: 'http', status: type.value, body };
    case 'grpcStatus':
      return { share: { percentage, header: '' }, kind: 'grpc', status: type.value, body };
    default:
      return {
        share: { percentage, header: 'x-envoy-fault-abort-request-percentage' },
        kind: 'header',
        status: 0,
        body,
      };
  }
}

function buildRateLimit(message: FaultRateLimit): RateLimitFault {
  const type = message.limitType;
  const percentage = buildFractionalPercent(message.percentage);
  return type.case === 'fixedLimit'
    ? { share: { percentage, header: '' }, fixedKbps: Number(type.value.limitKbps) }
    : { share: { percentage, header: 'x-envoy-fault-throughput-response-percentage' }, fixedKbps: null };
}

function buildSettings(message: HTTPFault, context: BuildContext): FaultSettings | null {
  const before = context.errorCount;
  const settings: FaultSettings = {
    delay: message.delay === undefined ? null : buildDelay(message.delay),
    abort: message.abort === undefined ? null : buildAbort(message.abort),
    responseRateLimit: message.responseRateLimit === undefined ? null : buildRateLimit(message.responseRateLimit),
    upstreamCluster: message.upstreamCluster,
    headers: buildHeaderMatchers(context, 'headers', message.headers),
    downstreamNodes: new Set(message.downstreamNodes.map(wireText)),
    maxActiveFaults: message.maxActiveFaults ?? Number.POSITIVE_INFINITY,
    delayPercentKey: message.delayPercentRuntime || 'fault.http.delay.fixed_delay_percent',
    abortPercentKey: message.abortPercentRuntime || 'fault.http.abort.abort_percent',
    delayDurationKey: message.delayDurationRuntime || 'fault.http.delay.fixed_duration_ms',
    abortHttpStatusKey: message.abortHttpStatusRuntime || 'fault.http.abort.http_status',
    abortGrpcStatusKey: message.abortGrpcStatusRuntime || 'fault.http.abort.grpc_status',
    maxActiveFaultsKey: message.maxActiveFaultsRuntime || 'fault.http.max_active_faults',
    responseRateLimitPercentKey: message.responseRateLimitPercentRuntime || 'fault.http.rate_limit.response_percent',
    disableDownstreamClusterStats: message.disableDownstreamClusterStats,
    filterMetadata: (message.filterMetadata ?? {}) as MetadataStruct,
  };
  return context.errorCount > before ? null : settings;
}

function build(message: HTTPFault, context: BuildContext): HttpFilterBuilder | null {
  const settings = buildSettings(message, context);
  if (settings === null) return null;
  const scope = context.stats;
  const stats = FAULT_STATS.create(scope, 'fault');
  const { runtime } = context.shared;
  let shared: FaultRuntime | null = null;
  return {
    isTerminal: false,
    createFilter: ({ environment }) => {
      // The limit counts over all workers, as the gauge does in Envoy.
      shared ??= { stats, scope, runtime, active: environment.shared.cell(`fault.active|${scope.prefix}`) };
      return new FaultFilter(settings, shared);
    },
  };
}

/** envoy.filters.http.fault: delays, aborts and slow responses, on purpose. */
export const faultFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.fault',
  aliases: ['envoy.fault'],
  configType: `${PACKAGE}.HTTPFault`,
  support: [
    { message: `${PACKAGE}.HTTPFault`, fields: '*' },
    { message: `${PACKAGE}.FaultAbort`, fields: '*' },
    { message: `${PACKAGE}.FaultAbort.HeaderAbort`, fields: '*' },
    { message: `${COMMON}.FaultDelay`, fields: '*' },
    { message: `${COMMON}.FaultDelay.HeaderDelay`, fields: '*' },
    { message: `${COMMON}.FaultRateLimit`, fields: '*' },
    { message: `${COMMON}.FaultRateLimit.FixedLimit`, fields: '*' },
    { message: `${COMMON}.FaultRateLimit.HeaderLimit`, fields: '*' },
  ],
  build: (message: Message, context) => build(message as HTTPFault, context),
  routeConfigType: `${PACKAGE}.HTTPFault`,
  buildRoute: (message: Message, context) => buildSettings(message as HTTPFault, context),
};
