import { type Http1Options, http1Options } from '../http/h1/http1-options.ts';
import { type Http2Options, http2Options } from '../http/h2/http2-options.ts';
import type { Address } from '../net/address.ts';
import type { SocketOption } from '../net/transport.ts';
import type { TransportSocketEnvironment, UpstreamTransportSocket } from '../net/transport-socket.ts';
import { type CircuitBreakerThresholds, DEFAULT_THRESHOLDS } from './circuit-breaker.ts';
import type { DnsSpec } from './dns-spec.ts';
import { EdsHealth, type Metadata, NO_METADATA } from './host.ts';
import type { HostUpdate } from './host-update.ts';
import type { BalancerPolicy } from './load-balancer.ts';
import type { OriginalDstSpec } from './original-dst.ts';
import { ProtocolChoice } from './upstream-protocol.ts';

export const DiscoveryType = { Static: 0, StrictDns: 1, LogicalDns: 2, Eds: 3, OriginalDst: 4 } as const;
export type DiscoveryType = (typeof DiscoveryType)[keyof typeof DiscoveryType];

/** Settings of the base balancer: `common_lb_config`. */
export interface CommonLbSettings {
  /** 50; 0: never panic. */
  readonly healthyPanicThreshold: number;
  /** Hosts in these states may be forced by an override (stateful session). */
  readonly overrideHostStatuses: readonly EdsHealth[];
  readonly ignoreNewHostsUntilFirstHc: boolean;
  readonly closeConnectionsOnHostSetChange: boolean;
}

export const DEFAULT_LB_SETTINGS: CommonLbSettings = {
  healthyPanicThreshold: 50,
  overrideHostStatuses: [EdsHealth.Unknown, EdsHealth.Healthy, EdsHealth.Degraded],
  ignoreNewHostsUntilFirstHc: false,
  closeConnectionsOnHostSetChange: false,
};

/** `upstream_bind_config`. */
export interface BindSpec {
  /** Null: any. */
  readonly sourceV4: Address | null;
  readonly sourceV6: Address | null;
}

/** Makes a cluster's transport socket in a worker: once per cluster there. */
export interface UpstreamSocketMaker {
  (environment: TransportSocketEnvironment): UpstreamTransportSocket;
  /** It sends PROXY protocol headers: requests share connections only where the header would be the same. */
  readonly sendsProxyHeader?: boolean;
  /** TLS, which needs a socket of the operating system below it: connections to internal listeners have none. */
  readonly encrypts?: boolean;
}

/** One of `transport_socket_matches`: the first whose criteria the host's metadata fulfils is taken. */
export interface TransportSocketMatch {
  readonly name: string;
  /** What `envoy.transport_socket_match` of the host's metadata has to hold; empty: every host. */
  readonly criteria: Readonly<Record<string, unknown>>;
  /** Null: plain bytes. */
  readonly socket: UpstreamSocketMaker | null;
}

/** A cluster at run time: validated, every field set. Built by `config/builders/cluster.ts`. */
export interface ClusterSpec {
  readonly name: string;
  /** What stats call it: `alt_stat_name`, else the name. */
  readonly statName: string;
  /** EDS service name or empty; for `/clusters`. */
  readonly serviceName: string;
  /** `lrs_report_endpoint_metrics`: what hosts say of their load goes into load reports; null: nothing. */
  readonly reportedMetrics: readonly string[] | null;
  readonly discovery: DiscoveryType;
  readonly connectTimeoutMs: number;
  /** Soft limit of each connection's buffers. */
  readonly bufferLimitBytes: number;
  /** By {@link ResourcePriority}. */
  readonly thresholds: readonly [CircuitBreakerThresholds, CircuitBreakerThresholds];
  readonly policy: BalancerPolicy;
  readonly lb: CommonLbSettings;
  readonly metadata: Metadata;
  /** 0: none. Default 1 h. */
  readonly httpIdleTimeoutMs: number;
  /** TCP pool's idle timeout (`TcpProtocolOptions.idle_timeout`), 0: none. Default 10 min. */
  readonly tcpIdleTimeoutMs: number;
  /** 0: no limit. */
  readonly maxRequestsPerConnection: number;
  /** 0: no limit. */
  readonly maxConnectionDurationMs: number;
  /** `common_http_protocol_options.max_stream_duration` of the upstream; 0: none. */
  readonly maxStreamDurationMs: number;
  readonly protocol: ProtocolChoice;
  readonly http1: Http1Options;
  readonly http2: Http2Options;
  /** `upstream_http_protocol_options`: the SNI of an HTTP connection is the request's host. */
  readonly autoSni: boolean;
  /** One of the certificate's names must be that host. */
  readonly autoSanValidation: boolean;
  /** The host is looked up in this header first, lower case; empty: in none. */
  readonly overrideAutoSniHeader: string;
  readonly connectionPoolPerDownstreamConnection: boolean;
  readonly bind: BindSpec | null;
  /** Of every connection, keep-alive included. */
  readonly socketOptions: readonly SocketOption[];
  /** Null: plain bytes. */
  readonly transportSocket: UpstreamSocketMaker | null;
  readonly transportSocketMatches: readonly TransportSocketMatch[];
  /** At least 1. */
  readonly perUpstreamPreconnectRatio: number;
  readonly trackTimeoutBudgets: boolean;
  readonly trackRequestResponseSizes: boolean;
  /** Added by xDS rather than by the bootstrap; for `/clusters`. */
  readonly addedViaApi: boolean;
  /** What main has to resolve; null unless the type is a DNS one. */
  readonly dns: DnsSpec | null;
  /** Null unless the type is ORIGINAL_DST. */
  readonly originalDst: OriginalDstSpec | null;
  /** Startup waits until it has its first hosts (or failed to get them). */
  readonly waitForWarmOnInit: boolean;
  /** Hosts known from the configuration: all of them for STATIC, none for DNS. */
  readonly initialHosts: readonly HostUpdate[];
}

/** What the main thread keeps of a cluster that workers run: there may be many thousands. */
export interface ClusterFacts
  extends Pick<
    ClusterSpec,
    'name' | 'statName' | 'serviceName' | 'discovery' | 'addedViaApi' | 'thresholds' | 'dns' | 'waitForWarmOnInit'
  > {
  /** Priorities among its initial hosts. */
  readonly priorities: number;
}

export function factsOf(spec: ClusterSpec): ClusterFacts {
  const { name, statName, serviceName, discovery, addedViaApi, thresholds, dns, waitForWarmOnInit } = spec;
  const priorities = spec.initialHosts.length;
  return { name, statName, serviceName, discovery, addedViaApi, thresholds, dns, waitForWarmOnInit, priorities };
}

/** A static cluster with Envoy's defaults; for tests and for clusters that we make ourselves. */
export function clusterSpec(name: string, policy: BalancerPolicy, fields: Partial<ClusterSpec> = {}): ClusterSpec {
  return {
    name,
    statName: name,
    serviceName: '',
    reportedMetrics: null,
    discovery: DiscoveryType.Static,
    connectTimeoutMs: 5000,
    bufferLimitBytes: 1024 * 1024,
    thresholds: [DEFAULT_THRESHOLDS, DEFAULT_THRESHOLDS],
    policy,
    lb: DEFAULT_LB_SETTINGS,
    metadata: NO_METADATA,
    httpIdleTimeoutMs: 3_600_000,
    tcpIdleTimeoutMs: 600_000,
    maxRequestsPerConnection: 0,
    maxConnectionDurationMs: 0,
    maxStreamDurationMs: 0,
    protocol: ProtocolChoice.Http1,
    http1: http1Options(),
    http2: http2Options(),
    autoSni: false,
    autoSanValidation: false,
    overrideAutoSniHeader: '',
    connectionPoolPerDownstreamConnection: false,
    bind: null,
    socketOptions: [],
    transportSocket: null,
    transportSocketMatches: [],
    perUpstreamPreconnectRatio: 1,
    trackTimeoutBudgets: false,
    trackRequestResponseSizes: false,
    addedViaApi: false,
    dns: null,
    originalDst: null,
    waitForWarmOnInit: true,
    initialHosts: [],
    ...fields,
  };
}
