import type { Cluster } from '../upstream/cluster.ts';

/** Where clusters are found; a ClusterManager is one. Asked for each call: a cluster may be replaced between two. */
export interface ClusterLookup {
  get(name: string): Cluster | null;
}

/** How one service is called. Source: envoy.config.core.v3.GrpcService. */
export interface GrpcClientSettings {
  /** `envoy_grpc.cluster_name` */
  readonly cluster: string;
  /** `envoy_grpc.authority`; empty: the name of the cluster. */
  readonly authority: string;
  /** `timeout` of the service, for calls that name none, ms; 0: none. */
  readonly timeoutMs: number;
  /** `initial_metadata`, already evaluated. */
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** `envoy_grpc.max_receive_message_length`, bytes. */
  readonly maxMessageBytes: number;
  /** For `x-forwarded-for`, which goes with `x-envoy-internal`; empty: neither is sent (`skip_envoy_headers`). */
  readonly localAddress: string;
}

/** Envoy sets no limit where none is configured; the wire's is 4 GiB, and this is what grpc-go and grpc-java accept at most. */
const MAX_MESSAGE_BYTES = 0x7fff_ffff;

export function grpcClientSettings(cluster: string, fields: Partial<GrpcClientSettings> = {}): GrpcClientSettings {
  return {
    cluster,
    authority: '',
    timeoutMs: 0,
    metadata: [],
    maxMessageBytes: MAX_MESSAGE_BYTES,
    localAddress: '',
    ...fields,
  };
}
