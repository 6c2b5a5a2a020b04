import type { GrpcService } from '../../api/gen/envoy/config/core/v3/grpc_service_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMsOr } from './durations.ts';

export const GRPC_SERVICE_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.GrpcService', fields: 'envoy_grpc google_grpc timeout initial_metadata' },
  {
    message: 'envoy.config.core.v3.GrpcService.GoogleGrpc',
    fields: 'target_uri channel_credentials',
    // Of the other library: names of stats, sizes of its buffers, its channel's arguments.
    inert: 'stat_prefix per_stream_buffer_limit_bytes channel_args credentials_factory_name',
  },
  { message: 'envoy.config.core.v3.GrpcService.GoogleGrpc.ChannelCredentials', fields: 'local_credentials' },
  { message: 'envoy.config.core.v3.GrpcService.GoogleGrpc.GoogleLocalCredentials', fields: '*' },
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
  /** Of `google_grpc`: where a cluster of its own leads; null: the cluster is the configuration's. */
  readonly target: GrpcTarget | null;
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

/** A server by address or name. */
export interface GrpcTarget {
  readonly host: string;
  readonly port: number;
}

/** `host:port`, `dns:host:port`, `dns:///host:port`, `ipv4:...`; what gRPC's other name schemes mean is not known here. */
function parseTarget(uri: string): GrpcTarget | null {
  const found = /^(?:(?:dns|ipv4|ipv6):(?:\/\/[^/]*\/)?)?(?:\[([^\]]+)\]|([^:/]+)):(\d+)$/.exec(uri);
  if (found === null) return null;
  const port = Number(found[3]);
  return port > 65_535 ? null : { host: (found[1] ?? found[2])!, port };
}

/** @returns null when it was refused */
export function buildGrpcService(context: BuildContext, message: GrpcService): GrpcServiceSpec | null {
  const target = message.targetSpecifier;
  const common = {
    timeoutMs: durationMsOr(message.timeout, 0),
    metadata: message.initialMetadata.map(({ key, value }) => [key.toLowerCase(), value] as const),
  };
  if (target.case === 'googleGrpc') {
    const parsed = parseTarget(target.value.targetUri);
    if (parsed === null) {
      context.refuse('google_grpc.target_uri', `${JSON.stringify(target.value.targetUri)} is no host and port`);
      return null;
    }
    return {
      ...common,
      cluster: `google_grpc:${target.value.targetUri}`,
      target: parsed,
      authority: parsed.host.includes(':') ? `[${parsed.host}]:${parsed.port}` : `${parsed.host}:${parsed.port}`,
      maxMessageBytes: 0,
      skipEnvoyHeaders: true,
      backoff: { baseMs: BACKOFF_BASE_MS, maxMs: BACKOFF_MAX_MS },
    };
  }
  if (target.case !== 'envoyGrpc') {
    context.refuse('', 'a gRPC service needs envoy_grpc or google_grpc');
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
    ...common,
    cluster: clusterName,
    target: null,
    authority,
    maxMessageBytes: maxReceiveMessageLength ?? 0,
    skipEnvoyHeaders,
    backoff: { baseMs, maxMs },
  };
}
