import type { MetadataCriteria } from '../../base/metadata-criteria.ts';
import type { ValueFormatter } from '../../routing/stream-view.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { AccessLogger } from '../access-logger.ts';
import type { TunnelConfig } from './http-tunnel.ts';

/** `tcp.<stat_prefix>.*`. Source: Envoy's TCP proxy statistics and the list of a running 1.40. */
export const TCP_PROXY_STATS = defineStats({
  counters: [
    'downstream_cx_drain_close',
    'downstream_cx_no_route',
    'downstream_cx_overload_close',
    'downstream_cx_rx_bytes_total',
    'downstream_cx_total',
    'downstream_cx_tx_bytes_total',
    'downstream_flow_control_paused_reading_total',
    'downstream_flow_control_resumed_reading_total',
    'early_data_received_count_total',
    'idle_timeout',
    'max_downstream_connection_duration',
    'route_delayed_total',
    'upstream_flush_total',
  ],
  gauges: ['downstream_cx_rx_bytes_buffered', 'downstream_cx_tx_bytes_buffered', 'upstream_flush_active'],
} as const);
export type TcpProxyStats = ReturnType<typeof TCP_PROXY_STATS.create>;

/** One of the clusters among which connections are divided. */
export interface TcpWeightedCluster {
  readonly name: string;
  readonly weight: number;
  /** The proxy's own merged in. */
  readonly metadataMatch: MetadataCriteria | null;
}

/** When the upstream connection begins. Values: envoy.extensions.filters.network.tcp_proxy.v3.UpstreamConnectMode. */
export const TcpConnectMode = { Immediate: 0, OnDownstreamData: 1, OnDownstreamTlsHandshake: 2 } as const;
export type TcpConnectMode = (typeof TcpConnectMode)[keyof typeof TcpConnectMode];

/** What becomes of TLVs when the client's PROXY header brought some. Values: ProxyProtocolTlvMergePolicy of the API. */
export const TlvMergePolicy = { AddIfAbsent: 0, OverwriteByType: 1, Append: 2 } as const;
export type TlvMergePolicy = (typeof TlvMergePolicy)[keyof typeof TlvMergePolicy];

/** A TLV for upstream PROXY headers: bytes, or a format filled in per connection. */
export interface TcpProxyTlv {
  readonly type: number;
  readonly value: Uint8Array | ValueFormatter;
}

export const TCP_ON_DEMAND_STATS = defineStats({
  counters: [
    'on_demand_cluster_attempt',
    'on_demand_cluster_missing',
    'on_demand_cluster_success',
    'on_demand_cluster_timeout',
  ],
} as const);

/** `on_demand`. */
export interface TcpOnDemand {
  /** An encoded ConfigSource. */
  readonly source: Uint8Array;
  readonly timeoutMs: number;
  readonly stats: ReturnType<typeof TCP_ON_DEMAND_STATS.create>;
}

/** envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy at run time, in one worker. Times in ms, 0: off. */
export interface TcpProxyConfig {
  readonly stats: TcpProxyStats;
  /** Empty: `weightedClusters` says. */
  readonly cluster: string;
  readonly weightedClusters: readonly TcpWeightedCluster[];
  readonly totalWeight: number;
  /** `envoy.lb` of the hosts; null: any. */
  readonly metadataMatch: MetadataCriteria | null;
  readonly idleTimeoutMs: number;
  readonly maxConnectAttempts: number;
  /** Null: the next attempt begins at once. */
  readonly backoff: { readonly baseMs: number; readonly maxMs: number } | null;
  readonly maxConnectionDurationMs: number;
  /** Fraction of the duration that is added at random. */
  readonly maxConnectionDurationJitter: number;
  readonly hashBySourceIp: boolean;
  readonly accessLoggers: readonly AccessLogger[];
  readonly accessLogFlushIntervalMs: number;
  readonly accessLogOnConnected: boolean;
  readonly accessLogOnStart: boolean;
  readonly connectMode: TcpConnectMode;
  /** Bytes of the client kept until there is an upstream connection; null: none are read until then. */
  readonly maxEarlyDataBytes: number | null;
  /** Closes connections, as bytes pass, whose listener drains. */
  readonly checkDrainClose: boolean;
  readonly proxyProtocolTlvs: readonly TcpProxyTlv[];
  readonly tlvMergePolicy: TlvMergePolicy;
  /** Where clusters come from that nobody knows yet; null: from nowhere. */
  readonly onDemand: TcpOnDemand | null;
  /** Null: bytes go as they are. */
  readonly tunnel: TunnelConfig | null;
}
