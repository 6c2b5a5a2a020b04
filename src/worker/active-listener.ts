import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { FilterChainSpec } from '../config/builders/filter-chains.ts';
import type { ListenerSpec } from '../config/builders/listener.ts';
import type { Protocol } from '../http/codec.ts';
import { type Address, ipAddress } from '../net/address.ts';
import { CloseType, Connection, ConnectionEvent, type ConnectionEvents } from '../net/connection.ts';
import { ConnectionCount, type ConnectionLimits, CountedLimits } from '../net/connection-limits.ts';
import type { TurnTask } from '../net/dispatcher.ts';
import type { AcceptedSocket } from '../net/filter.ts';
import {
  type ConnectionReceiver,
  closeUnread,
  type DropReason,
  ListenerRuntime,
  replay,
} from '../net/listener-chain.ts';
import type { ListenerDirectory } from '../net/listener-directory.ts';
import type { SocketRuntime, Transport } from '../net/transport.ts';
import { type AccessLogger, AccessLogType } from '../pipeline/access-logger.ts';
import type { DrainDecision, ListenerView, WorkerEnvironment } from '../pipeline/environment.ts';
import { ResponseFlag } from '../pipeline/response-flag.ts';
import { StreamInfo } from '../pipeline/stream-info.ts';
import type { Counter } from '../stats/counter.ts';
import type { Gauge } from '../stats/gauge.ts';
import { type Histogram, HistogramUnit } from '../stats/histogram.ts';
import type { Scope } from '../stats/store.ts';
import { ActiveChain } from './active-chain.ts';
import { DrainState } from './drain-state.ts';
import { HandshakeTimeout } from './handshake-timeout.ts';
import type { HeapSteward } from './heap-steward.ts';
import { listenSpecOf } from './listen-spec.ts';
import { ListeningAddress } from './listening-address.ts';
import type { ListenOutcome } from './messages.ts';

function limitsOf(spec: ListenerSpec, environment: WorkerEnvironment): ConnectionLimits {
  const { runtime, shared } = environment;
  const listenerKey = `envoy.resource_limits.listener.${spec.name}.connection_limit`;
  const globalKey = 'overload.global_downstream_max_connections';
  const own = new ConnectionCount(shared.cell(`listener.${spec.name}.connections`), () =>
    runtime.integer(listenerKey, Number.POSITIVE_INFINITY),
  );
  const global = spec.ignoreGlobalConnLimit
    ? null
    : new ConnectionCount(shared.cell('global.connections'), () =>
        runtime.integer(globalKey, Number.POSITIVE_INFINITY),
      );
  return new CountedLimits(own, global);
}

/** One worker's share of one listener: its sockets, connections and counters. */
export class ActiveListener implements ConnectionReceiver, ListenerView, TimerTarget {
  /** Changes with an update of its filter chains alone. */
  spec: ListenerSpec;
  /** Called once, when a retired listener's last connection has ended. */
  onGone: () => void = () => {};
  readonly scope: Scope;
  readonly drain: DrainState;
  readonly #environment: WorkerEnvironment;
  readonly #sockets: SocketRuntime;
  readonly #directory: ListenerDirectory;
  readonly #heap: HeapSteward;
  readonly #decision: DrainDecision;
  /** By specification. */
  readonly #chains = new Map<FilterChainSpec, ActiveChain>();
  /** Chains that an update took away, until their drain time is over. */
  readonly #oldChains = new Set<OldChain>();
  /** What it was built with. */
  readonly #stats: Scope;
  readonly #accessLoggers: readonly AccessLogger[];
  readonly #runtime: ListenerRuntime;
  readonly #connections = new Set<Connection>();
  /** What the log tells of connections whose filters know more of them. */
  readonly #infos = new Map<Connection, StreamInfo>();
  #listening: ListeningAddress[] = [];
  #retired = false;
  #drainTimer: Timer | null = null;
  readonly #cxTotal: Counter;
  readonly #cxActive: Gauge;
  readonly #cxDestroy: Counter;
  readonly #cxLength: Histogram;
  readonly #noChain: Counter;
  readonly #handshakeTimeout: Counter;
  readonly #configMissing: Counter;
  readonly #acceptedPerEvent: Histogram;
  readonly #workerTotal: Counter;
  readonly #workerActive: Gauge;

  /** @param stats closed when the listener and its last connection are gone */
  constructor(
    spec: ListenerSpec,
    environment: WorkerEnvironment,
    sockets: SocketRuntime,
    workerIndex: number,
    stats: Scope,
    directory: ListenerDirectory,
    heap: HeapSteward,
  ) {
    this.#directory = directory;
    this.#heap = heap;
    this.#stats = stats;
    this.spec = spec;
    this.scope = spec.scope;
    this.#environment = environment;
    this.#sockets = sockets;
    this.drain = new DrainState(environment);
    this.#decision = {
      drainClose: () => this.drain.drainClose() || (environment.health.failed && this.spec.drainOnHealthFailure),
    };
    this.#accessLoggers = spec.accessLoggers.map((make) => make(environment));
    const { scope } = spec;
    this.#cxTotal = scope.counter('downstream_cx_total');
    this.#cxActive = scope.gauge('downstream_cx_active');
    this.#cxDestroy = scope.counter('downstream_cx_destroy');
    this.#cxLength = scope.histogram('downstream_cx_length_ms', HistogramUnit.Milliseconds);
    this.#noChain = scope.counter('no_filter_chain_match');
    this.#handshakeTimeout = scope.counter('downstream_cx_transport_socket_connect_timeout');
    this.#acceptedPerEvent = scope.histogram('connections_accepted_per_socket_event');
    this.#configMissing = scope.counter('network_extension_config_missing');
    this.#workerTotal = scope.counter(`worker_${workerIndex}.downstream_cx_total`);
    this.#workerActive = scope.gauge(`worker_${workerIndex}.downstream_cx_active`);
    this.#runtime = new ListenerRuntime(
      environment.dispatcher,
      sockets,
      {
        filters: spec.listenerFilters.map((make) => make(environment)),
        discovered: spec.discoveredFilters,
        timeoutMs: spec.listenerFiltersTimeoutMs,
        continueOnTimeout: spec.continueOnListenerFiltersTimeout,
        handOver: spec.useOriginalDst ? directory : null,
      },
      limitsOf(spec, environment),
      scope,
      this,
    );
    this.#openChains();
  }

  /** Their transport sockets hear of secrets from now on. */
  #openChains(): void {
    for (const chain of this.spec.chainSpecs) {
      if (this.#chains.has(chain)) continue;
      this.#chains.set(chain, new ActiveChain(chain, this.#environment, this, this.#decision, this.scope));
    }
  }

  /** Takes connections that no socket of its own accepts: from other listeners, and from inside. */
  announce(): void {
    const { spec } = this;
    if (spec.internal) this.#directory.addInternal(spec.name, this.#runtime);
    else if (!spec.bindToPort) {
      for (const address of spec.addresses) this.#directory.add(address, this.#runtime, spec.ipv4Compat);
    }
  }

  get name(): string {
    return this.spec.name;
  }

  get direction(): ListenerView['direction'] {
    return this.spec.direction;
  }

  get bufferLimit(): number {
    return this.spec.bufferLimit;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /**
   * Opens one of the listener's addresses.
   * @param port replaces the configured one when the system has already given it; -1: as configured
   * @throws Error with `code`, or without one when the runtime lacks what the configuration asks for
   */
  listen(addressIndex: number, port: number): Address {
    const { spec } = this;
    const configured = spec.addresses[addressIndex]!;
    const address = configured.kind === 'ip' && port >= 0 ? ipAddress(configured.ip, port) : configured;
    const open = new ListeningAddress(
      addressIndex,
      this.#environment.dispatcher,
      this.#runtime,
      this.#acceptedPerEvent,
    );
    const socket = this.#sockets.listen(listenSpecOf(spec, address, this.#sockets.features), open);
    open.socket = socket;
    this.#listening.push(open);
    this.#directory.add(socket.address, this.#runtime, spec.ipv4Compat);
    return socket.address;
  }

  /** Whether `next`, another version of this listener, can go on with the sockets that are open. */
  mayHandOverTo(next: ListenerSpec): boolean {
    return socketKey(this.spec) === socketKey(next);
  }

  /** Goes on with the sockets of the version before: whoever connects in between is served. */
  takeSockets(previous: ActiveListener, outcomes: ListenOutcome[]): void {
    this.#listening = previous.#listening;
    previous.#listening = [];
    for (const open of this.#listening) {
      open.handOver(this.#runtime, this.#acceptedPerEvent);
      if (open.socket !== null) this.#directory.add(open.socket.address, this.#runtime, this.spec.ipv4Compat);
      outcomes.push({
        listener: this.spec.name,
        addressIndex: open.index,
        address: open.socket?.address.text ?? '',
        error: '',
      });
    }
  }

  /** Whether one of its sockets is open on the address. */
  holds(address: Address): boolean {
    return this.#listening.some((open) => open.socket?.address.text === address.text);
  }

  stopListening(): void {
    this.#closeSockets();
    this.#runtime.closePending();
  }

  #closeSockets(): void {
    this.#directory.remove(this.#runtime);
    for (const open of this.#listening) open.socket?.close();
    this.#listening = [];
  }

  /** The present chains, for an update to find those that stay. */
  get chainsByKey(): ReadonlyMap<string, FilterChainSpec> {
    return new Map(this.spec.chainSpecs.map((chain) => [chain.key, chain]));
  }

  /**
   * Takes another version that differs in filter chains only. Connections of chains that it does not have are drained; all
   * others go on. Source: Envoy, operations/listener "Filter chain only update".
   * @param stats what the version was built with
   */
  replaceChains(spec: ListenerSpec, stats: Scope, drainMs: number, immediate: boolean): void {
    const kept = new Set(spec.chainSpecs);
    const gone = this.spec.chainSpecs.filter((chain) => !kept.has(chain));
    this.spec = spec;
    // Nothing of the listener itself is new: its own stats go on.
    stats.close();
    this.#openChains();
    for (const chainSpec of gone) {
      const chain = this.#chains.get(chainSpec);
      this.#chains.delete(chainSpec);
      if (chain === undefined || chain.connections.size === 0) {
        if (chain === undefined) chainSpec.stats.close();
        else chain.release();
        continue;
      }
      chain.drain.begin(immediate ? 0 : drainMs);
      const old = new OldChain(chain, this.#environment, drainMs, () => this.#oldChains.delete(old));
      this.#oldChains.add(old);
    }
  }

  /**
   * The listener is removed: takes no more connections, and gives those that there are the drain time to end by themselves.
   * @param immediate every answer closes its connection from now on; otherwise more and more do
   */
  retire(drainMs: number, immediate: boolean): void {
    // Those that listener filters look at become connections yet.
    this.#closeSockets();
    this.#retired = true;
    this.drain.begin(immediate ? 0 : drainMs);
    if (this.#checkGone() || this.#drainTimer !== null) return;
    this.#drainTimer = this.#environment.dispatcher.createTimer(this);
    this.#drainTimer.enable(drainMs);
  }

  onTimer(_timer: Timer): void {
    this.#runtime.closePending();
    this.closeConnections('drain_time_over');
    this.#checkGone();
  }

  #checkGone(): boolean {
    if (!this.#retired || this.#connections.size > 0 || this.#runtime.pendingCount > 0) return false;
    this.#retired = false;
    this.#drainTimer?.destroy();
    for (const chain of this.#chains.values()) chain.release();
    this.#chains.clear();
    this.#stats.close();
    this.onGone();
    return true;
  }

  // --- ConnectionReceiver ---

  onConnection(transport: Transport, socket: AcceptedSocket, peeked: ByteBuffer, peerEnded: boolean): void {
    const { dispatcher } = this.#environment;
    const chainSpec = this.spec.chains.findChain(socket);
    const chain = chainSpec === null ? null : this.#chains.get(chainSpec)!;
    const wrap = chain === null ? null : chain.transportSocket;
    const carrier = wrap === null ? transport : wrap.accept(transport, socket, peeked, peerEnded);
    const connection = new Connection(dispatcher, carrier, wrap === null);
    connection.isSecure = wrap?.isSecure ?? false;
    connection.localAddress = socket.localAddress;
    connection.localAddressRestored = socket.localAddressRestored;
    connection.remoteAddress = socket.remoteAddress;
    connection.requestedServerName = socket.requestedServerName;
    connection.ja3 = socket.ja3;
    connection.ja4 = socket.ja4;
    connection.state = socket.state;
    if (chain === null) {
      this.#noChain.inc();
      this.#refuse(connection, peeked);
      return;
    }
    carrier.setHandler(connection);
    this.#cxTotal.inc();
    this.#cxActive.inc();
    this.#workerTotal.inc();
    this.#workerActive.inc();
    this.#heap.onConnectionChange();
    this.#connections.add(connection);
    try {
      this.#start(connection, chain);
    } catch (error) {
      connection.close(CloseType.NoFlush, 'bug');
      throw error;
    }
    if (wrap === null) replay(connection, peeked, peerEnded);
  }

  #refuse(connection: Connection, peeked: ByteBuffer): void {
    this.#runtime.limits.release();
    closeUnread(connection.transport, peeked);
    const info = this.#infoOf(connection);
    info.setFlag(ResponseFlag.NoRouteFound);
    info.responseCodeDetails = 'filter_chain_not_found';
    this.#log(info);
  }

  #start(connection: Connection, active: ActiveChain): void {
    const { spec: chain } = active;
    connection.filterChainName = chain.name;
    connection.setBufferLimit(this.spec.bufferLimit);
    active.connections.add(connection);
    // Behind the connection's end it could not be read any more.
    if (this.#accessLoggers.length > 0) connection.roundTripMs();
    connection.addEvents(new ConnectionWatch(this, active, connection));
    if (chain.transportSocketConnectTimeoutMs > 0 && connection.isConnecting) {
      new HandshakeTimeout(connection, chain.transportSocketConnectTimeoutMs, this.#handshakeTimeout);
    }
    // Envoy closes what no filter would serve.
    if (chain.filters.length === 0) {
      connection.close(CloseType.NoFlush, 'no_filters');
      return;
    }
    for (const extension of chain.discovered) {
      if (extension.current !== null) continue;
      this.#configMissing.inc();
      connection.close(CloseType.NoFlush, 'no_filters');
      return;
    }
    for (const builder of chain.filters) connection.addFilter(builder.createFilter(active.context));
    connection.startFilters();
  }

  onDropped(_reason: DropReason, transport: Transport, socket: AcceptedSocket | null): void {
    this.#checkGone();
    if (socket === null || this.#accessLoggers.length === 0) return;
    const connection = new Connection(this.#environment.dispatcher, transport, true);
    connection.localAddress = socket.localAddress;
    connection.remoteAddress = socket.remoteAddress;
    connection.state = socket.state;
    this.#log(this.#infoOf(connection));
  }

  /** Called once for every connection that had a filter chain. */
  onConnectionClosed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#heap.onConnectionChange();
    this.#runtime.limits.release();
    this.#cxActive.dec();
    this.#workerActive.dec();
    this.#cxDestroy.inc();
    const { dispatcher } = this.#environment;
    this.#cxLength.recordValue(Math.max(0, Math.round(dispatcher.nowMs - connection.startMs)));
    if (this.#accessLoggers.length > 0) dispatcher.defer(new ClosingLog(this, connection));
    this.#checkGone();
  }

  logBy(connection: Connection, info: StreamInfo): void {
    if (this.#accessLoggers.length > 0) this.#infos.set(connection, info);
  }

  /** Not for users: the connection has closed, and so has everything on it. */
  logConnection(connection: Connection): void {
    const info = this.#infos.get(connection) ?? this.#infoOf(connection);
    this.#infos.delete(connection);
    this.#log(info);
  }

  #infoOf(connection: Connection): StreamInfo {
    const { dispatcher } = this.#environment;
    const now = dispatcher.nowMs;
    const info = new StreamInfo(connection, dispatcher.wallMs - (now - connection.startMs), connection.startMs, 0);
    info.listener = this;
    if (connection.state !== null) info.shareMetadata();
    info.protocol = connection.protocol as Protocol | null;
    info.setFlag(connection.marks);
    info.bytesReceived = connection.bytesReceived;
    info.bytesSent = connection.bytesSent;
    info.endMs = now;
    info.connectionTerminationDetails = connection.terminationDetails;
    info.responseCodeDetails = connection.responseCodeDetails;
    return info;
  }

  #log(info: StreamInfo): void {
    const entry = {
      stream: info,
      requestHeaders: null,
      responseHeaders: null,
      responseTrailers: null,
      logType: AccessLogType.NotSet,
    };
    for (const logger of this.#accessLoggers) logger.log(entry);
  }

  /** Closes every connection now (the worker ends, or the drain time is over). */
  closeConnections(reason: string): void {
    for (const connection of [...this.#connections]) connection.close(CloseType.NoFlush, reason);
  }
}

/** What of a listener its sockets are made by: two versions that agree in it share them. */
function socketKey(spec: ListenerSpec): string {
  const { addresses, ipv4Compat, bindToPort, reusePort, backlog, transparent, freebind, socketOptions, keepalive } =
    spec;
  return JSON.stringify([
    addresses.map((address) => address.text),
    [ipv4Compat, bindToPort, reusePort, backlog, transparent, freebind],
    socketOptions,
    keepalive,
  ]);
}

/** A chain that an update took away: its connections have the drain time to end. */
class OldChain implements TimerTarget {
  readonly #chain: ActiveChain;
  readonly #timer: Timer;
  readonly #onOver: () => void;

  constructor(chain: ActiveChain, environment: WorkerEnvironment, drainMs: number, onOver: () => void) {
    this.#chain = chain;
    this.#onOver = onOver;
    chain.onEmpty = () => this.#end();
    this.#timer = environment.dispatcher.createTimer(this);
    this.#timer.enable(drainMs);
  }

  onTimer(): void {
    for (const connection of [...this.#chain.connections]) connection.close(CloseType.NoFlush, 'drain_time_over');
  }

  #end(): void {
    this.#timer.destroy();
    this.#chain.onEmpty = null;
    this.#chain.release();
    this.#onOver();
  }
}

/** The listener's line of a connection stands behind those of its requests, which end with it. */
class ClosingLog implements TurnTask {
  readonly #listener: ActiveListener;
  readonly #connection: Connection;

  constructor(listener: ActiveListener, connection: Connection) {
    this.#listener = listener;
    this.#connection = connection;
  }

  onTurnEnd(): void {
    this.#listener.logConnection(this.#connection);
  }
}

/** Tells the listener of its connection's end. */
class ConnectionWatch implements ConnectionEvents {
  readonly #listener: ActiveListener;
  readonly #chain: ActiveChain;
  readonly #connection: Connection;

  constructor(listener: ActiveListener, chain: ActiveChain, connection: Connection) {
    this.#listener = listener;
    this.#chain = chain;
    this.#connection = connection;
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) return;
    this.#listener.onConnectionClosed(this.#connection);
    this.#chain.onClosed(this.#connection);
  }

  onAboveWriteHighWatermark(): void {}

  onBelowWriteLowWatermark(): void {}
}
