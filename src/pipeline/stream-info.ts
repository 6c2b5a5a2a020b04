import type { BytesMeter, Protocol } from '../http/codec.ts';
import type { Address } from '../net/address.ts';
import type { Connection } from '../net/connection.ts';
import type { Route } from '../routing/route.ts';
import type { FilterStateObject, MetadataStruct, StreamView, TlsView } from '../routing/stream-view.ts';
import type { ClusterSpec } from '../upstream/cluster-spec.ts';
import type { Host, Metadata } from '../upstream/host.ts';
import { TraceReason } from './request-id.ts';
import type { RedirectHistory } from './router/redirect-predicates.ts';

/** What access logs may know of the listener that accepted a connection. */
export interface ListenerInfo {
  readonly name: string;
}

/** Where a stream's upstream side stands; one per stream, filled by the router (or tcp_proxy) for its latest attempt. */
export class UpstreamInfo {
  host: Host | null = null;
  connection: Connection | null = null;
  protocol: Protocol | null = null;
  meter: BytesMeter | null = null;
  clusterName = '';
  /** `alt_stat_name`; empty: as `clusterName`. For `%UPSTREAM_CLUSTER%`. */
  clusterStatName = '';
  /** `metadata` of the cluster. */
  clusterMetadata: Metadata | null = null;
  transportFailureReason = '';
  attemptCount = 0;
  /** Of the attempts before this one; null: there were none. */
  earlierHosts: readonly Host[] | null = null;
  earlierConnectionIds: readonly number[] | null = null;
  /** Monotonic ms; -1 until it happened. */
  connectStartMs = -1;
  connectEndMs = -1;
  /** When a stream was asked of the pool. */
  poolStartMs = -1;
  poolReadyMs = -1;
  firstByteSentMs = -1;
  lastByteSentMs = -1;
  firstByteReceivedMs = -1;
  firstBodyByteReceivedMs = -1;
  lastByteReceivedMs = -1;

  setCluster(spec: ClusterSpec): void {
    this.clusterName = spec.name;
    this.clusterStatName = spec.statName;
    this.clusterMetadata = spec.metadata;
  }

  /** There is no route to a cluster any more. */
  clearCluster(): void {
    this.clusterName = '';
    this.clusterStatName = '';
    this.clusterMetadata = null;
  }

  /** In the order of the attempts; as in Envoy, only hosts that gave a stream count. */
  get hostsAttempted(): readonly Host[] {
    const { host, earlierHosts } = this;
    if (host === null || this.connection === null) return earlierHosts ?? [];
    return earlierHosts === null ? [host] : [...earlierHosts, host];
  }

  get connectionIdsAttempted(): readonly number[] {
    const { connection, earlierConnectionIds } = this;
    if (connection === null) return earlierConnectionIds ?? [];
    return earlierConnectionIds === null ? [connection.id] : [...earlierConnectionIds, connection.id];
  }
}

/**
 * What is known of one request (or TCP connection): for access logs, format strings, matchers and filters.
 * Times are the dispatcher's monotonic milliseconds; -1 means that it has not happened.
 */
export class StreamInfo implements StreamView {
  readonly connection: Connection | null;
  /** Wall-clock ms since the epoch. */
  readonly startWallMs: number;
  readonly startMs: number;
  readonly stableRandom: number;
  protocol: Protocol | null = null;
  /** 0 until a response is decided. */
  responseCode = 0;
  /** Envoy's response code details; empty: none. */
  responseCodeDetails = '';
  /** Bits of {@link ResponseFlag}. */
  responseFlags = 0;
  route: Route | null = null;
  virtualClusterName = '';
  upstream: UpstreamInfo | null = null;
  downstreamMeter: BytesMeter | null = null;
  /** Body bytes. */
  bytesReceived = 0;
  bytesSent = 0;
  /** The request's headers were read. */
  headersEndMs = -1;
  /** The last byte of the request was read. */
  lastRxByteMs = -1;
  firstTxByteMs = -1;
  lastTxByteMs = -1;
  endMs = -1;
  healthCheck = false;
  traceReason: TraceReason = TraceReason.NotTraceable;
  /** `%DOWNSTREAM_REMOTE_ADDRESS%`: after x-forwarded-for. */
  remoteAddress: Address | null;
  requestId = '';
  traceId = '';
  spanId = '';
  localReplyBody = '';
  /** `%LISTENER_NAME%`. */
  listener: ListenerInfo | null = null;
  /** How often a route was looked up. */
  routeResolutionCount = 0;
  connectionTerminationDetails = '';
  /** Internal redirects of this request; null: there were none. */
  redirects: RedirectHistory | null = null;
  #flagOrder: number[] | null = null;
  #metadata: Map<string, MetadataStruct> | null = null;
  #filterState: Map<string, FilterStateObject> | null = null;

  constructor(connection: Connection | null, startWallMs: number, startMs: number, stableRandom: number) {
    this.connection = connection;
    this.startWallMs = startWallMs;
    this.startMs = startMs;
    this.stableRandom = stableRandom;
    this.remoteAddress = connection === null ? null : connection.remoteAddress;
  }

  /** Goes on where `earlier` ended: the same request on its next way. */
  continueFrom(earlier: StreamInfo): void {
    this.bytesReceived = earlier.bytesReceived;
    this.headersEndMs = earlier.headersEndMs;
    this.lastRxByteMs = earlier.lastRxByteMs;
    this.remoteAddress = earlier.remoteAddress;
    this.requestId = earlier.requestId;
    this.redirects = earlier.redirects;
  }

  setFlag(flag: number): void {
    if ((this.responseFlags & flag) !== 0) return;
    // Nearly always there is one flag, or none.
    if (this.responseFlags !== 0) {
      this.#flagOrder ??= [this.responseFlags];
      this.#flagOrder.push(flag);
    }
    this.responseFlags |= flag;
  }

  /** The flags in the order in which they were set, as Envoy shows them. An item may hold several bits. */
  flagsInOrder(): readonly number[] {
    return this.#flagOrder ?? [this.responseFlags];
  }

  hasFlag(flag: number): boolean {
    return (this.responseFlags & flag) !== 0;
  }

  get downstreamTls(): TlsView | null {
    return this.connection === null ? null : this.connection.security;
  }

  get downstreamRemoteIp(): string | null {
    const address = this.remoteAddress;
    return address !== null && address.kind === 'ip' ? address.ip : null;
  }

  dynamicMetadata(namespace: string): MetadataStruct | null {
    return this.#metadata?.get(namespace) ?? null;
  }

  /** Merges `values` into the namespace (Envoy: StreamInfo::setDynamicMetadata). */
  setDynamicMetadata(namespace: string, values: MetadataStruct): void {
    this.#metadata ??= new Map();
    const before = this.#metadata.get(namespace);
    this.#metadata.set(namespace, before === undefined ? values : { ...before, ...values });
  }

  /** The connection's own metadata counts as this stream's: of what is no request but the connection itself. */
  shareMetadata(): void {
    this.#metadata = this.connection?.ownState().metadata ?? null;
  }

  /** Of the stream, else of its connection. */
  filterState(key: string): FilterStateObject | null {
    return this.#filterState?.get(key) ?? this.connection?.state?.objects.get(key) ?? null;
  }

  setFilterState(key: string, value: FilterStateObject): void {
    this.#filterState ??= new Map();
    this.#filterState.set(key, value);
  }
}
