import type { ApiConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMsOr } from './durations.ts';
import { buildGrpcService, GRPC_SERVICE_SUPPORT, type GrpcServiceSpec } from './grpc-service.ts';

export const API_SOURCE_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.core.v3.ApiConfigSource',
    fields:
      'api_type transport_api_version grpc_services set_node_on_first_message_only rate_limit_settings cluster_names refresh_delay request_timeout',
  },
  { message: 'envoy.config.core.v3.RateLimitSettings', fields: '*' },
  ...GRPC_SERVICE_SUPPORT,
];

/** Envoy: RateLimitSettings' defaults. */
const DEFAULT_MAX_TOKENS = 100;
const DEFAULT_FILL_RATE = 10;

const ApiType = { Rest: 1, Grpc: 2, DeltaGrpc: 3, AggregatedGrpc: 5, AggregatedDeltaGrpc: 6 } as const;
const V2 = 1;

/** A control plane over gRPC. */
export interface ApiSourceSpec {
  readonly isDelta: boolean;
  readonly service: GrpcServiceSpec;
  readonly nodeOnFirstMessageOnly: boolean;
  /** Null: no limit. */
  readonly rate: { readonly maxTokens: number; readonly fillRate: number } | null;
  /** Equal for equal sources. */
  readonly key: string;
}

/** A control plane that is asked again and again over HTTP. */
export interface RestSourceSpec {
  readonly cluster: string;
  /** Between two requests, at least, ms. */
  readonly refreshMs: number;
  /** Of one request, ms. */
  readonly timeoutMs: number;
  /** Equal for equal sources. */
  readonly key: string;
}

/** Envoy: apiConfigSourceRequestTimeout. */
const DEFAULT_REQUEST_TIMEOUT_MS = 1000;

function checkVersion(context: BuildContext, message: ApiConfigSource): void {
  // AUTO is what stands there by default: Envoy takes it for V3.
  if ((message.transportApiVersion as number) !== V2) return;
  context.refuse('transport_api_version', 'V2 of the transport protocol is gone', 'use V3');
}

export function isRest(message: ApiConfigSource): boolean {
  return (message.apiType as number) === ApiType.Rest;
}

/** @returns null when it was refused */
export function buildRestSource(context: BuildContext, message: ApiConfigSource, key: string): RestSourceSpec | null {
  const before = context.errorCount;
  checkVersion(context, message);
  if (message.grpcServices.length > 0) {
    context.refuse('grpc_services', 'a REST source must not have a gRPC service specified', 'give cluster_names');
  }
  const [cluster = ''] = message.clusterNames;
  if (message.clusterNames.length !== 1) {
    context.refuse('cluster_names', 'a REST source must have a single cluster name specified');
  } else if (context.shared.clusterNames?.has(cluster) === false) {
    context.refuse('cluster_names[0]', `'${cluster}' does not exist: a REST source needs a cluster of the bootstrap`);
  }
  const refreshMs = durationMsOr(message.refreshDelay, 0);
  if (message.refreshDelay === undefined) {
    context.refuse('refresh_delay', 'refresh_delay is required for REST API configuration sources');
  } else if (refreshMs <= 0) {
    // Envoy accepts it and dies of a division by zero with the first answer.
    context.refuse('refresh_delay', 'a REST source cannot be asked without a pause', 'give 1ms or more');
  }
  const timeoutMs = durationMsOr(message.requestTimeout, DEFAULT_REQUEST_TIMEOUT_MS);
  return context.errorCount > before ? null : { cluster, refreshMs, timeoutMs, key };
}

/** @returns null when it was refused */
export function buildApiSource(context: BuildContext, message: ApiConfigSource, key: string): ApiSourceSpec | null {
  const before = context.errorCount;
  const type = message.apiType as number;
  const isGrpc = type === ApiType.Grpc || type === ApiType.DeltaGrpc;
  const isAggregated = type === ApiType.AggregatedGrpc || type === ApiType.AggregatedDeltaGrpc;
  if (isAggregated) {
    context.refuse('api_type', 'sources of aggregated type are for xdstp resources alone', 'use ads: {}');
  } else if (!isGrpc) {
    context.refuse('api_type', `api_type ${type} is not supported`, 'use GRPC or DELTA_GRPC');
  }
  checkVersion(context, message);
  const [service] = message.grpcServices;
  if (isGrpc && message.grpcServices.length !== 1) {
    context.refuse('grpc_services', 'a gRPC source must have a single gRPC service specified');
  }
  if (isGrpc && message.clusterNames.length > 0) {
    context.refuse('cluster_names', 'a gRPC source must not have a cluster name specified', 'give grpc_services');
  }
  const spec = service === undefined ? null : buildGrpcService(context.at('grpc_services[0]'), service);
  if (context.errorCount > before || spec === null) return null;
  const rate = message.rateLimitSettings;
  return {
    isDelta: type === ApiType.DeltaGrpc,
    service: spec,
    nodeOnFirstMessageOnly: message.setNodeOnFirstMessageOnly,
    rate:
      rate === undefined
        ? null
        : { maxTokens: rate.maxTokens ?? DEFAULT_MAX_TOKENS, fillRate: rate.fillRate ?? DEFAULT_FILL_RATE },
    key,
  };
}
