import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { MetadataCriteria } from '../../base/metadata-criteria.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import { BytesMeter } from '../../http/codec.ts';
import {
  CloseType,
  Connection,
  ConnectionEvent,
  type ConnectionEvents,
  type ConnectionStats,
} from '../../net/connection.ts';
import type { TurnTask } from '../../net/dispatcher.ts';
import { FilterStatus, NetworkFilter } from '../../net/filter.ts';
import { DemandOutcome } from '../../routing/on-demand.ts';
import { ResourcePriority } from '../../upstream/circuit-breaker.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import {
  type HttpPool,
  type PendingStream,
  PoolFailure,
  type TcpPool,
  type TcpPoolWaiter,
  type UpstreamConnectionInfo,
} from '../../upstream/pool.ts';
import { AccessLogType, type LogContext } from '../access-logger.ts';
import type { ConnectionContext } from '../environment.ts';
import type { DemandWaiter } from '../on-demand.ts';
import { ResponseFlag } from '../response-flag.ts';
import { StreamInfo, UpstreamInfo } from '../stream-info.ts';
import { upstreamSocketOptions } from '../upstream-socket-options.ts';
import { HttpTunnel, type TunnelOwner } from './http-tunnel.ts';
import { prepareProxyHeader } from './proxy-header-tlvs.ts';
import { TcpHostSelection } from './tcp-host-selection.ts';
import { TcpConnectMode, type TcpOnDemand, type TcpProxyConfig } from './tcp-proxy-config.ts';
import { UpstreamDrainer } from './upstream-drainer.ts';

/** Key of the filter state that names the cluster instead of the configuration. Source: Envoy, PerConnectionCluster. */
export const PER_CONNECTION_CLUSTER = 'envoy.tcp_proxy.cluster';

/** Where a proxied connection stands. */
const State = { New: 0, Connecting: 1, Waiting: 2, Connected: 3, Closed: 4 } as const;
type State = (typeof State)[keyof typeof State];

/** Envoy's numbers of failures, as they stand behind `tcp_initializion_failure:` (its spelling). */
const InitFailure = { ConnectFailed: 0, NoHealthyUpstream: 1, ResourceLimitExceeded: 2, NoRoute: 3 } as const;
type InitFailure = (typeof InitFailure)[keyof typeof InitFailure];

/** What a log entry is made from: there are no headers. */
class TcpLogEntry implements LogContext {
  readonly stream: StreamInfo;
  readonly requestHeaders = null;
  readonly responseHeaders = null;
  readonly responseTrailers = null;
  readonly logType: AccessLogType;

  constructor(stream: StreamInfo, logType: AccessLogType) {
    this.stream = stream;
    this.logType = logType;
  }
}

/** Reads of the upstream connection. */
class UpstreamReads extends NetworkFilter {
  readonly #proxy: TcpProxy;

  constructor(proxy: TcpProxy) {
    super();
    this.#proxy = proxy;
  }

  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    this.#proxy.onUpstreamData(data, end);
    return FilterStatus.Stop;
  }
}

/** What the upstream connection reports, apart from what the client's does. */
class UpstreamEvents implements ConnectionEvents {
  readonly #proxy: TcpProxy;

  constructor(proxy: TcpProxy) {
    this.#proxy = proxy;
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event !== ConnectionEvent.Connected) this.#proxy.onUpstreamClosed();
  }

  onAboveWriteHighWatermark(): void {
    this.#proxy.pauseDownstream();
  }

  onBelowWriteLowWatermark(): void {
    this.#proxy.resumeDownstream();
  }
}

/**
 * One client connection, passed on byte by byte. Reading from the client waits until the upstream connection is up.
 * Source: Envoy's documentation of the TCP proxy filter, and its source/common/tcp_proxy.
 *
 * (Longer than most files: either connection may begin, pause and end at any time, and each time the other one has to follow.)
 */
export class TcpProxy
  extends NetworkFilter
  implements ConnectionEvents, ConnectionStats, TimerTarget, TurnTask, TcpPoolWaiter, TunnelOwner
{
  readonly config: TcpProxyConfig;
  readonly context: ConnectionContext;
  /** Both are set before anything of them is used: `#initialize`. */
  stream!: StreamInfo;
  #downstream!: Connection;
  /** What the chosen cluster's hosts have to be like. */
  #criteria: MetadataCriteria | null = null;
  #initialized = false;
  /** Where the client's bytes go: a connection, or a tunnel. */
  #upstream: Connection | HttpTunnel | null = null;
  #drainer: UpstreamDrainer | null = null;
  #cluster: Cluster | null = null;
  #pending: PendingStream | null = null;
  /** Waits for the cluster. */
  #demand: DemandWaiter | null = null;
  #state: State = State.New;
  #attempts = 0;
  #backoffMs: number;
  #upstreamSentBefore = 0;
  /** What the client sent before there was an upstream connection; null: none is read before. Bound: `maxEarlyDataBytes` and a read. */
  readonly #early: ByteBuffer | null;
  #earlyEnd = false;
  #earlyPaused = false;
  /** The upstream connection waits for this connection's first bytes or handshake. */
  #awaits: TcpConnectMode;
  #idleTimer: Timer | null = null;
  #durationTimer: Timer | null = null;
  #retryTimer: Timer | null = null;
  #logTimer: Timer | null = null;
  #upstreamPauses = 0;
  #downstreamPauses = 0;
  #logged = false;

  constructor(config: TcpProxyConfig, context: ConnectionContext) {
    super();
    this.config = config;
    this.context = context;
    this.#backoffMs = config.backoff === null ? 0 : config.backoff.baseMs;
    this.#early = config.maxEarlyDataBytes === null ? null : new ByteBuffer();
    this.#awaits = config.connectMode;
    // Counted even where an earlier filter turns the connection away, as in Envoy.
    config.stats.downstream_cx_total.inc();
  }

  #initialize(): void {
    if (this.#initialized) return;
    this.#initialized = true;
    const { connection } = this.callbacks;
    const { dispatcher } = connection;
    this.#downstream = connection;
    this.stream = new StreamInfo(
      connection,
      dispatcher.wallMs,
      dispatcher.nowMs,
      Math.floor(dispatcher.random.float() * 0x20_0000_0000_0000),
    );
    this.stream.downstreamMeter = new BytesMeter();
    this.stream.listener = this.context.listener;
    this.stream.upstream = new UpstreamInfo();
    // For logs that come behind the connection's end.
    if (this.config.accessLoggers.length > 0) connection.roundTripMs();
    this.context.listener.logBy(connection, this.stream);
    if (connection.state !== null) this.stream.shareMetadata();
  }

  override onNewConnection(): FilterStatus {
    this.#initialize();
    const { config } = this;
    const connection = this.#downstream;
    const { dispatcher } = connection;
    connection.addEvents(this);
    connection.setStats(this);
    connection.enableHalfClose(true);
    // What arrived already must not be read before there is somewhere to send or keep it.
    if (this.#early === null) connection.pauseReads();
    if (config.maxConnectionDurationMs > 0) {
      const jitter = config.maxConnectionDurationJitter * dispatcher.random.float();
      this.#durationTimer = dispatcher.timerPool.take(this);
      this.#durationTimer.enable(config.maxConnectionDurationMs * (1 + jitter));
    }
    // From the first moment on: an upstream that never answers must not keep the client.
    this.#startIdleTimer();
    if (config.accessLogFlushIntervalMs > 0) {
      this.#logTimer = dispatcher.timerPool.take(this);
      this.#logTimer.enable(config.accessLogFlushIntervalMs);
    }
    if (config.accessLogOnStart) this.#log(AccessLogType.TcpConnectionStart);
    if (this.#awaits === TcpConnectMode.OnDownstreamTlsHandshake && !connection.isConnecting) {
      this.#awaits = TcpConnectMode.Immediate;
    }
    if (this.#awaits === TcpConnectMode.Immediate) this.#connect();
    return this.#early === null ? FilterStatus.Stop : FilterStatus.Continue;
  }

  // --- to the upstream ---

  #pickCluster(): string {
    const { config } = this;
    this.#criteria = config.metadataMatch;
    const forced = this.stream.filterState(PER_CONNECTION_CLUSTER)?.serialize() ?? null;
    if (forced !== null) return forced;
    if (config.cluster !== '') return config.cluster;
    let left = this.#downstream.dispatcher.random.uint32() % Math.max(1, config.totalWeight);
    for (const cluster of config.weightedClusters) {
      left -= cluster.weight;
      if (left >= 0) continue;
      this.#criteria = cluster.metadataMatch;
      return cluster.name;
    }
    return '';
  }

  #connect(): void {
    this.#connectTo(this.#pickCluster());
  }

  #failWithoutCluster(): void {
    this.config.stats.downstream_cx_no_route.inc();
    this.stream.setFlag(ResponseFlag.NoClusterFound);
    this.#fail(InitFailure.NoRoute);
  }

  /** Source: Envoy, Filter::onClusterDiscoveryCompletion. */
  #onClusterSettled({ stats }: TcpOnDemand, name: string, outcome: DemandOutcome): void {
    this.#demand = null;
    if (this.#state === State.Closed) return;
    if (outcome === DemandOutcome.Found) {
      stats.on_demand_cluster_success.inc();
      this.#connectTo(name);
      return;
    }
    if (outcome === DemandOutcome.Late) stats.on_demand_cluster_timeout.inc();
    else stats.on_demand_cluster_missing.inc();
    this.#failWithoutCluster();
  }

  #connectTo(name: string): void {
    const { config, stream } = this;
    const { environment } = this.context;
    const cluster = environment.clusters.get(name);
    if (cluster === null) {
      const { onDemand } = config;
      if (onDemand === null) {
        this.#failWithoutCluster();
        return;
      }
      onDemand.stats.on_demand_cluster_attempt.inc();
      const { source, timeoutMs } = onDemand;
      const waiter: DemandWaiter = {
        onDemandSettled: (outcome) => this.#onClusterSettled(onDemand, name, outcome),
      };
      this.#demand = waiter;
      environment.onDemand.ask({ kind: 'cluster', source, name, timeoutMs }, waiter);
      return;
    }
    this.#cluster = cluster;
    const upstream = new UpstreamInfo();
    upstream.clusterName = cluster.spec.name;
    upstream.clusterStatName = cluster.spec.statName;
    const before = stream.upstream;
    if (before !== null) {
      upstream.attemptCount = before.attemptCount;
      upstream.earlierHosts = before.hostsAttempted;
      upstream.earlierConnectionIds = before.connectionIdsAttempted;
      upstream.transportFailureReason = before.transportFailureReason;
      upstream.host = null;
    }
    if (!cluster.resources(ResourcePriority.Default).connections.canCreate()) {
      // Of an earlier attempt its host stays.
      if (this.#attempts === 0) stream.upstream = upstream;
      stream.setFlag(ResponseFlag.UpstreamOverflow);
      cluster.stats.upstream_cx_overflow.inc();
      this.#fail(InitFailure.ResourceLimitExceeded);
      return;
    }
    if (this.#attempts >= config.maxConnectAttempts) {
      stream.setFlag(ResponseFlag.UpstreamRetryLimitExceeded);
      cluster.stats.upstream_cx_connect_attempts_exceeded.inc();
      this.#fail(InitFailure.ConnectFailed);
      return;
    }
    stream.upstream = upstream;
    prepareProxyHeader(config, this.#downstream, stream);
    const host = cluster.chooseHost(new TcpHostSelection(config, this.#downstream, stream, this.#criteria));
    const pool = host === null ? null : this.#poolOf(cluster, host);
    if (host === null || pool === null) {
      stream.setFlag(ResponseFlag.NoHealthyUpstream);
      this.#fail(InitFailure.NoHealthyUpstream);
      return;
    }
    this.#state = State.Connecting;
    this.#attempts++;
    upstream.host = host;
    upstream.attemptCount = this.#attempts;
    upstream.poolStartMs = this.#downstream.dispatcher.nowMs;
    const pending = this.#newUpstream(pool);
    // Null: answered already; if by a failure, the next attempt has begun within the call and left its own.
    if (pending !== null) this.#pending = pending;
  }

  #poolOf(cluster: Cluster, host: Host): TcpPool | HttpPool | null {
    const options = upstreamSocketOptions(cluster.spec, this.stream, null);
    return this.config.tunnel === null
      ? cluster.tcpPool(host, ResourcePriority.Default, options, this.#downstream)
      : cluster.httpPool(host, ResourcePriority.Default, null, options, this.#downstream);
  }

  #newUpstream(pool: TcpPool | HttpPool): PendingStream | null {
    const { tunnel: config } = this.config;
    if (config === null) return (pool as TcpPool).newConnection(this);
    const tunnel = new HttpTunnel(this, config);
    return tunnel.start(pool as HttpPool) ? tunnel : null;
  }

  #fail(reason: InitFailure): void {
    this.#downstream.close(CloseType.NoFlush, `tcp_initializion_failure:${reason}`);
  }

  onPoolReady(connection: Connection, host: Host): void {
    connection.addEvents(new UpstreamEvents(this));
    connection.addFilter(new UpstreamReads(this));
    this.#onUpstreamReady(connection, connection, host);
  }

  onTunnelReady(tunnel: HttpTunnel, host: Host, info: UpstreamConnectionInfo): void {
    this.#onUpstreamReady(tunnel, info.connection, host);
  }

  #onUpstreamReady(upstream: Connection | HttpTunnel, connection: Connection, host: Host): void {
    this.#pending = null;
    const { stream, config } = this;
    const { dispatcher } = this.#downstream;
    this.#state = State.Connected;
    this.#upstream = upstream;
    const info = stream.upstream!;
    info.host = host;
    info.connection = connection;
    info.meter = new BytesMeter();
    info.poolReadyMs = dispatcher.nowMs;
    info.connectStartMs = connection.startMs;
    info.connectEndMs = dispatcher.nowMs;
    if (config.accessLogOnConnected) this.#log(AccessLogType.TcpUpstreamConnected);
    this.#startIdleTimer();
    const early = this.#early;
    if (early === null) {
      this.#downstream.resumeReads();
    } else {
      if (early.length > 0 || this.#earlyEnd) {
        info.meter.wireBytesSent += early.length;
        upstream.write(early, this.#earlyEnd);
      }
      if (this.#earlyPaused) {
        this.#earlyPaused = false;
        this.#downstream.resumeReads();
      }
    }
    this.callbacks.continueReading();
  }

  onPoolFailure(reason: PoolFailure, transportFailureReason: string, host: Host): void {
    this.#pending = null;
    if (this.#state !== State.Connecting) return;
    const { stream, config } = this;
    this.#dropIdleTimer();
    const info = stream.upstream!;
    info.host = host;
    info.transportFailureReason = transportFailureReason;
    if (reason === PoolFailure.RemoteConnectionFailure || reason === PoolFailure.Timeout) {
      stream.setFlag(ResponseFlag.UpstreamConnectionFailure);
    }
    const { backoff } = config;
    if (backoff === null || this.#attempts >= config.maxConnectAttempts) {
      this.#state = State.New;
      this.#connect();
      return;
    }
    this.#state = State.Waiting;
    const { dispatcher } = this.#downstream;
    const interval = Math.max(1, Math.floor(this.#backoffMs));
    this.#backoffMs = Math.min(this.#backoffMs * 2, backoff.maxMs);
    this.#retryTimer ??= dispatcher.timerPool.take(this);
    this.#retryTimer.enable(dispatcher.random.uint32() % interval);
  }

  // --- bytes ---

  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    const upstream = this.#upstream;
    if (upstream === null) {
      this.#keep(data, end);
      return FilterStatus.Stop;
    }
    const { length } = data;
    this.stream.bytesReceived += length;
    this.stream.downstreamMeter!.wireBytesReceived += length;
    this.stream.upstream!.meter!.wireBytesSent += length;
    upstream.write(data, end);
    this.#touch();
    if (this.config.checkDrainClose) this.#closeWhereDraining();
    return FilterStatus.Stop;
  }

  /** Early data: there is no upstream connection yet. */
  #keep(data: ByteBuffer, end: boolean): void {
    const early = this.#early;
    if (early === null || this.#state === State.Closed) return;
    const { length } = data;
    this.stream.bytesReceived += length;
    this.stream.downstreamMeter!.wireBytesReceived += length;
    early.moveFrom(data);
    this.#earlyEnd ||= end;
    if (this.#awaits === TcpConnectMode.OnDownstreamData && early.length > 0) {
      this.#awaits = TcpConnectMode.Immediate;
      this.#connect();
      if (!this.#downstream.isOpen) return;
    }
    if (!this.#earlyPaused && this.#upstream === null && early.length >= this.config.maxEarlyDataBytes!) {
      this.#earlyPaused = true;
      this.#downstream.pauseReads();
    }
    this.config.stats.early_data_received_count_total.inc();
  }

  #closeWhereDraining(): void {
    const downstream = this.#downstream;
    if (!downstream.isOpen || !this.context.drain.drainClose()) return;
    this.config.stats.downstream_cx_drain_close.inc();
    downstream.close(CloseType.FlushWrite, 'tcp_proxy_drain_close');
  }

  onUpstreamData(data: ByteBuffer, end: boolean): void {
    if (this.#drainer !== null) {
      // Nobody is there to read it: as a kernel does whose application has closed the socket (Envoy: Drainer::onData).
      if (data.length > 0) this.#drainer.cancel();
      data.clear();
      return;
    }
    if (this.#state !== State.Connected) {
      data.clear();
      return;
    }
    const { length } = data;
    this.stream.bytesSent += length;
    this.stream.downstreamMeter!.wireBytesSent += length;
    this.stream.upstream!.meter!.wireBytesReceived += length;
    this.#downstream.write(data, end);
    this.#touch();
    if (this.config.checkDrainClose) this.#closeWhereDraining();
  }

  #startIdleTimer(): void {
    const { idleTimeoutMs } = this.config;
    if (idleTimeoutMs === 0) return;
    this.#idleTimer ??= this.#downstream.dispatcher.timerPool.take(this);
    this.#idleTimer.enable(idleTimeoutMs);
  }

  #touch(): void {
    if (this.#idleTimer !== null) this.#idleTimer.enable(this.config.idleTimeoutMs);
  }

  // --- backpressure ---

  /** ConnectionEvents of the client's connection: its output is full. */
  onAboveWriteHighWatermark(): void {
    const upstream = this.#upstream;
    if (upstream === null) return;
    this.#upstreamPauses++;
    upstream.pauseReads();
    this.#cluster!.stats.upstream_flow_control_paused_reading_total.inc();
  }

  onBelowWriteLowWatermark(): void {
    const upstream = this.#upstream;
    if (upstream === null || this.#upstreamPauses === 0) return;
    this.#upstreamPauses--;
    upstream.resumeReads();
    this.#cluster!.stats.upstream_flow_control_resumed_reading_total.inc();
  }

  pauseDownstream(): void {
    if (!this.#downstream.isOpen) return;
    this.#downstreamPauses++;
    this.#downstream.pauseReads();
    this.config.stats.downstream_flow_control_paused_reading_total.inc();
  }

  resumeDownstream(): void {
    if (this.#downstreamPauses === 0 || !this.#downstream.isOpen) return;
    this.#downstreamPauses--;
    this.#downstream.resumeReads();
    this.config.stats.downstream_flow_control_resumed_reading_total.inc();
  }

  // --- ends ---

  onUpstreamClosed(): void {
    const upstream = this.#upstream;
    if (upstream === null) return;
    this.#upstream = null;
    this.#dropIdleTimer();
    const reset = upstream instanceof Connection && upstream.detectedRemoteReset;
    if (reset) this.stream.setFlag(ResponseFlag.UpstreamRemoteReset);
    if (!this.#downstream.isOpen) return;
    this.#downstream.close(reset ? CloseType.Abort : CloseType.FlushWrite);
  }

  onTunnelClosed(): void {
    this.onUpstreamClosed();
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (this.#state === State.Closed) return;
    if (event === ConnectionEvent.Connected) {
      if (this.#awaits !== TcpConnectMode.OnDownstreamTlsHandshake) return;
      this.#awaits = TcpConnectMode.Immediate;
      this.#connect();
      return;
    }
    this.#state = State.Closed;
    this.#early?.clear();
    this.#pending?.cancel();
    this.#pending = null;
    const upstream = this.#upstream;
    this.#dropIdleTimer();
    if (upstream !== null) {
      while (this.#upstreamPauses > 0) {
        this.#upstreamPauses--;
        upstream.resumeReads();
      }
      this.#upstream = null;
      this.#closeUpstream(upstream, event);
    }
    this.#durationTimer = this.#drop(this.#durationTimer);
    this.#retryTimer = this.#drop(this.#retryTimer);
    this.#logTimer = this.#drop(this.#logTimer);
  }

  #closeUpstream(upstream: Connection | HttpTunnel, event: ConnectionEvent): void {
    if (upstream instanceof HttpTunnel) {
      upstream.close();
    } else if (event === ConnectionEvent.LocalClose) {
      const reason = this.#downstream.localCloseReason;
      upstream.close(
        CloseType.NoFlush,
        reason === '' ? 'closing_upstream_tcp_connection_due_to_downstream_local_close' : reason,
      );
      // Behind what the peer did, the upstream connection outlives the session: the access log has no reason of its end.
    } else if (this.#downstream.detectedRemoteReset) {
      upstream.close(CloseType.Abort);
    } else {
      upstream.close(CloseType.FlushWrite);
      if (!upstream.isClosed) this.#drainer = new UpstreamDrainer(this.config, upstream);
    }
  }

  override onClose(): void {
    this.#state = State.Closed;
    if (this.#demand !== null) this.context.environment.onDemand.forget(this.#demand);
    this.#initialize();
    if (this.#logged) return;
    this.#logged = true;
    this.stream.endMs = this.#downstream.dispatcher.clock.monotonicMs();
    this.stream.connectionTerminationDetails = this.#downstream.terminationDetails;
    // Behind the listener's line of the same connection, as in Envoy.
    if (this.config.accessLoggers.length > 0) this.#downstream.dispatcher.defer(this);
  }

  onTurnEnd(): void {
    this.#log(AccessLogType.TcpConnectionEnd);
  }

  #log(type: AccessLogType): void {
    const { accessLoggers } = this.config;
    if (accessLoggers.length === 0) return;
    const entry = new TcpLogEntry(this.stream, type);
    for (const logger of accessLoggers) logger.log(entry);
  }

  onTimer(timer: Timer): void {
    const { config } = this;
    if (this.#state === State.Closed) return;
    if (timer === this.#idleTimer) {
      const upstream = this.#upstream;
      // Reads re-arm the timer at once; a slow receiver that takes what is buffered is not idle either.
      if (
        upstream instanceof Connection &&
        upstream.output.length > 0 &&
        upstream.bytesSent !== this.#upstreamSentBefore
      ) {
        this.#upstreamSentBefore = upstream.bytesSent;
        timer.enable(config.idleTimeoutMs);
        return;
      }
      config.stats.idle_timeout.inc();
      this.#downstream.close(CloseType.NoFlush, 'tcp_session_idle_timeout');
    } else if (timer === this.#durationTimer) {
      this.stream.setFlag(ResponseFlag.DurationTimeout);
      config.stats.max_downstream_connection_duration.inc();
      this.#downstream.close(CloseType.NoFlush, 'max_connection_duration_reached');
    } else if (timer === this.#retryTimer) {
      this.#state = State.New;
      this.#connect();
    } else if (timer === this.#logTimer) {
      this.#log(AccessLogType.TcpPeriodic);
      timer.enable(config.accessLogFlushIntervalMs);
    }
  }

  #dropIdleTimer(): void {
    this.#idleTimer = this.#drop(this.#idleTimer);
  }

  #drop(timer: Timer | null): null {
    if (timer !== null) this.#downstream.dispatcher.timerPool.give(timer);
    return null;
  }

  // --- ConnectionStats ---

  onBytesReceived(count: number): void {
    this.config.stats.downstream_cx_rx_bytes_total.add(count);
  }

  onBytesSent(count: number): void {
    this.config.stats.downstream_cx_tx_bytes_total.add(count);
    this.#touch();
  }

  onReadBufferedChange(delta: number): void {
    this.config.stats.downstream_cx_rx_bytes_buffered.add(delta);
  }

  onWriteBufferedChange(delta: number): void {
    this.config.stats.downstream_cx_tx_bytes_buffered.add(delta);
  }
}
