import type { CodecTransport, ServerCodec, ServerCodecEvents } from '../http/codec.ts';
import type { RequestHeaders } from '../http/header-map.ts';
import type { Address } from '../net/address.ts';
import type { Connection } from '../net/connection.ts';
import type { PathNormalization } from '../routing/path-normalization.ts';
import type { RouteTableChoice } from '../routing/route-table.ts';
import type { RuntimeFraction } from '../routing/runtime-fraction.ts';
import type { AccessLogger } from './access-logger.ts';
import type { ClientCertMatcher, ClientCertPolicy } from './client-cert-header.ts';
import type { ConnectionManagerStats, ListenerHttpStats, TracingStats } from './connection-manager-stats.ts';
import type { WorkerEnvironment } from './environment.ts';
import type { HttpDateCache } from './http-date.ts';
import type { HttpFilterBuilder } from './http-filter.ts';
import type { LocalReplyConfig } from './local-reply.ts';
import type { StreamInfo } from './stream-info.ts';
import type { TracingConfig } from './tracing.ts';

/** One entry of `http_filters`. */
export interface FilterEntry {
  /** Configured name: per-route configuration is looked up by it. */
  readonly name: string;
  readonly builder: HttpFilterBuilder;
  /** Off unless a route switches it on. */
  readonly disabled: boolean;
}

/** Where the connection manager's route table comes from: fixed, replaced by RDS, or picked by scopes. */
export interface RouteTableSource {
  /** Null while RDS has not delivered one. */
  current(): RouteTableChoice | null;
}

/** Finds out the client's address from a request. Source: original_ip_detection_extensions. */
export interface IpDetection {
  /** @returns null, or a result without address: not found, try the next one; the last one's `skipXffAppend` holds */
  detect(headers: RequestHeaders, connection: Connection): IpDetectionResult | null;
}

export interface IpDetectionResult {
  readonly address: Address | null;
  /** Whether it may decide that the request is internal. */
  readonly allowTrustedAddressChecks: boolean;
  readonly skipXffAppend: boolean;
  /** Set: the request is refused with this status. */
  readonly rejectStatus: number;
  readonly rejectBody: string;
  readonly rejectDetails: string;
}

export interface EarlyHeaderMutation {
  mutate(headers: RequestHeaders, stream: StreamInfo): void;
}

/** An upgrade type that the connection manager knows: its own filter list, or null for the common one. */
export interface UpgradeEntry {
  /** Lower case. */
  readonly type: string;
  readonly enabled: boolean;
  readonly filters: readonly FilterEntry[] | null;
}

export const ServerHeader = { Overwrite: 0, AppendIfAbsent: 1, PassThrough: 2 } as const;
export type ServerHeader = (typeof ServerHeader)[keyof typeof ServerHeader];

/** `forward_proto_config`: which destination ports mean which scheme, for connections whose destination was restored. */
export interface ForwardProto {
  readonly httpsPorts: ReadonlySet<number>;
  readonly httpPorts: ReadonlySet<number>;
}

/** A connection manager's configuration at run time: validated, complete, one per worker. Times in ms, 0 = off. */
export interface ConnectionManagerConfig {
  readonly statPrefix: string;
  readonly stats: ConnectionManagerStats;
  readonly listenerStats: ListenerHttpStats | null;
  /** Makes the codec for a connection; `input` is what has arrived, for detection. Null: more bytes are needed. */
  readonly createCodec: (
    connection: Connection,
    transport: CodecTransport,
    events: ServerCodecEvents,
  ) => ServerCodec | null;
  readonly routes: RouteTableSource;
  readonly filters: readonly FilterEntry[];
  readonly upgrades: readonly UpgradeEntry[];
  readonly accessLoggers: readonly AccessLogger[];
  readonly accessLogOnNewRequest: boolean;
  readonly accessLogOnTunnelEstablished: boolean;
  readonly accessLogFlushIntervalMs: number;
  readonly localReplies: LocalReplyConfig;
  readonly serverName: string;
  readonly serverHeader: ServerHeader;
  /** Empty: none is added. */
  readonly via: string;
  /** Empty: leave the scheme as it was found. */
  readonly schemeOverwrite: '' | 'http' | 'https';
  readonly idleTimeoutMs: number;
  readonly maxConnectionDurationMs: number;
  /** Fraction of the duration that is added at random, 0..1. */
  readonly maxConnectionDurationJitter: number;
  /** Wait for a request instead of closing an HTTP/1 connection whose duration is over. */
  readonly safeMaxConnectionDuration: boolean;
  readonly maxStreamDurationMs: number;
  /** 0: no limit. */
  readonly maxRequestsPerConnection: number;
  readonly streamIdleTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly requestHeadersTimeoutMs: number;
  readonly drainTimeoutMs: number;
  /** Fraction of it that is added at random, 0..1. */
  readonly drainTimeoutJitter: number;
  readonly delayedCloseTimeoutMs: number;
  readonly useRemoteAddress: boolean;
  readonly xffNumTrustedHops: number;
  readonly skipXffAppend: boolean;
  readonly appendXForwardedPort: boolean;
  readonly isInternalAddress: (address: Address) => boolean;
  readonly ipDetections: readonly IpDetection[];
  readonly earlyHeaderMutations: readonly EarlyHeaderMutation[];
  readonly generateRequestId: boolean;
  readonly preserveExternalRequestId: boolean;
  readonly alwaysSetRequestIdInResponse: boolean;
  /** Ids kept from outside say that nothing is traced (envoy.request_id.uuid). */
  readonly packTraceReason: boolean;
  readonly tracingStats: TracingStats;
  /** Null: nothing is said about tracing. */
  readonly tracing: TracingConfig | null;
  readonly addUserAgent: boolean;
  /** Null: as the connection is, TLS or not. */
  readonly forwardProto: ForwardProto | null;
  /** Counts; one for all connections. */
  readonly onDelayedCloseTimeout: () => void;
  readonly proxy100Continue: boolean;
  readonly normalizePath: RuntimeFraction | null;
  /** With `normalizePath` in force. */
  readonly pathNormalization: PathNormalization;
  /** Without it: slashes alone. */
  readonly pathNormalizationOff: PathNormalization;
  /** `pathNormalizationOff` changes nothing. */
  readonly slashesUntouched: boolean;
  readonly stripMatchingPort: boolean;
  readonly stripAnyPort: boolean;
  readonly stripTrailingHostDot: boolean;
  /** `x-forwarded-client-cert`. */
  readonly clientCert: ClientCertPolicy;
  /** Null: all requests are told of alike. */
  readonly clientCertMatcher: ClientCertMatcher | null;
  readonly environment: WorkerEnvironment;
  readonly dates: HttpDateCache;
  /** Hooks that each filter class overrides, filled as classes are first seen. */
  readonly hooksByClass: Map<unknown, number>;
}
