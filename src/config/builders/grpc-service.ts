import type { GrpcService } from '../../api/gen/envoy/config/core/v3/grpc_service_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMsOr } from './durations.ts';

export const GRPC_SERVICE_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.GrpcService', fields: 'envoy_grpc timeout initial_metadata' },
  {
    message: 'envoy.config.core.v3.GrpcService.EnvoyGrpc',
    fields: 'cluster_name authority retry_policy max_receive_message_length skip_envoy_headers',
  },
  { message: 'envoy.config.core.v3.HeaderValue', fields: 'key value' },
  { message: 'envoy.config.core.v3.RetryPolicy', fields: 'retry_back_off', inert: 'num_retries' },
  { message: 'envoy.config.core.v3.BackoffStrategy', fields: '*' },
];

/** Source: Envoy, SubscriptionFactory::RetryInitialDelayMs and RetryMaxDelayMs. */
const BACKOFF_BASE_MS = 500;
const BACKOFF_MAX_MS = 30_000;

/** How a gRPC service is reached. */
export interface GrpcServiceSpec {
  readonly cluster: string;
  /** Empty: the cluster's name. */
  readonly authority: string;
  /** 0: none. */
  readonly timeoutMs: number;
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** Bytes; 0: no limit. */
  readonly maxMessageBytes: number;
  readonly skipEnvoyHeaders: boolean;
  /** Between attempts to open a long-lived stream. */
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
}

/** @returns null when it was refused */
export function buildGrpcService(context: BuildContext, message: GrpcService): GrpcServiceSpec | null {
  const target = message.targetSpecifier;
  if (target.case !== 'envoyGrpc') {
    context.refuse(
      target.case === 'googleGrpc' ? 'google_grpc' : '',
      target.case === 'googleGrpc' ? 'google_grpc is not supported yet' : 'a gRPC service needs envoy_grpc',
      'use envoy_grpc with a cluster',
    );
    return null;
  }
  const { clusterName, authority, retryPolicy, maxReceiveMessageLength, skipEnvoyHeaders } = target.value;
  const { clusterNames } = context.shared;
  if (clusterNames !== null && !clusterNames.has(clusterName)) {
    context.refuse('envoy_grpc.cluster_name', `Unknown gRPC client cluster '${clusterName}'`);
    return null;
  }
  const backOff = retryPolicy?.retryBackOff;
  const baseMs = durationMsOr(backOff?.baseInterval, BACKOFF_BASE_MS);
  const maxMs = durationMsOr(backOff?.maxInterval, backOff === undefined ? BACKOFF_MAX_MS : baseMs * 10);
  if (maxMs < baseMs) {
    context.refuse(
      'envoy_grpc.retry_policy.retry_back_off',
      'max_interval must be greater than or equal to the base_interval',
    );
    return null;
  }
  return {
    cluster: clusterName,
    authority,
    timeoutMs: durationMsOr(message.timeout, 0),
    metadata: message.initialMetadata.map(({ key, value }) => [key.toLowerCase(), value] as const),
    maxMessageBytes: maxReceiveMessageLength ?? 0,
    skipEnvoyHeaders,
    backoff: { baseMs, maxMs },
  };
}
