import type { ListenerSpec } from '../config/builders/listener.ts';
import { type Address, ipAddress } from '../net/address.ts';
import { Connection, ConnectionEvent, type ConnectionEvents } from '../net/connection.ts';
import type { Acceptor, ListeningSocket, SocketRuntime, Transport } from '../net/transport.ts';
import type { AccessLogger } from '../pipeline/access-logger.ts';
import { AccessLogType } from '../pipeline/access-logger.ts';
import type { ConnectionContext, DrainDecision, ListenerView, WorkerEnvironment } from '../pipeline/environment.ts';
import { StreamInfo } from '../pipeline/stream-info.ts';
import { HistogramUnit } from '../stats/histogram.ts';
import { DrainState } from './drain-state.ts';

/** One worker's share of one listener: its sockets, connections and counters. */
export class ActiveListener implements Acceptor, ListenerView {
  readonly spec: ListenerSpec;
  readonly scope;
  readonly drain: DrainState;
  readonly #environment: WorkerEnvironment;
  readonly #sockets: SocketRuntime;
  readonly #context: ConnectionContext;
  readonly #accessLoggers: readonly AccessLogger[];
  readonly #connections = new Set<Connection>();
  #listening: ListeningSocket[] = [];
  readonly #cxTotal;
  readonly #cxActive;
  readonly #cxDestroy;
  readonly #cxLength;
  readonly #noChain;
  readonly #workerTotal;
  readonly #workerActive;

  constructor(spec: ListenerSpec, environment: WorkerEnvironment, sockets: SocketRuntime, workerIndex: number) {
    this.spec = spec;
    this.scope = spec.scope;
    this.#environment = environment;
    this.#sockets = sockets;
    this.drain = new DrainState(environment);
    const decision: DrainDecision = {
      drainClose: () => this.drain.drainClose() || (environment.health.failed && spec.drainOnHealthFailure),
    };
    this.#context = { environment, drain: decision, listener: this };
    this.#accessLoggers = spec.accessLoggers.map((make) => make(environment));
    const { scope } = spec;
    this.#cxTotal = scope.counter('downstream_cx_total');
    this.#cxActive = scope.gauge('downstream_cx_active');
    this.#cxDestroy = scope.counter('downstream_cx_destroy');
    this.#cxLength = scope.histogram('downstream_cx_length_ms', HistogramUnit.Milliseconds);
    this.#noChain = scope.counter('no_filter_chain_match');
    for (const name of ['connections_accepted_per_socket_event']) scope.histogram(name);
    for (const name of [
      'downstream_cx_overflow',
      'downstream_cx_overload_reject',
      'downstream_cx_transport_socket_connect_timeout',
      'downstream_global_cx_overflow',
      'downstream_listener_filter_error',
      'downstream_listener_filter_remote_close',
      'downstream_pre_cx_timeout',
    ])
      scope.counter(name);
    scope.gauge('downstream_pre_cx_active');
    this.#workerTotal = scope.counter(`worker_${workerIndex}.downstream_cx_total`);
    this.#workerActive = scope.gauge(`worker_${workerIndex}.downstream_cx_active`);
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
   * @throws Error with `code`
   */
  listen(addressIndex: number, port: number): Address {
    const configured = this.spec.addresses[addressIndex]!;
    const address = configured.kind === 'ip' && port >= 0 ? ipAddress(configured.ip, port) : configured;
    const socket = this.#sockets.listen(
      {
        address,
        reusePort: this.spec.reusePort,
        backlog: this.spec.backlog,
        ipv6Only: !this.spec.ipv4Compat,
        transparent: this.spec.transparent,
        freebind: this.spec.freebind,
        socketOptions: this.spec.socketOptions,
      },
      this,
    );
    this.#listening.push(socket);
    return socket.address;
  }

  stopListening(): void {
    for (const socket of this.#listening) socket.close();
    this.#listening = [];
  }

  onAccept(transport: Transport): void {
    const { spec } = this;
    const connection = new Connection(this.#environment.dispatcher, transport, true);
    transport.setHandler(connection);
    this.#cxTotal.inc();
    this.#cxActive.inc();
    this.#workerTotal.inc();
    this.#workerActive.inc();
    const chain = spec.chain ?? spec.defaultChain;
    if (chain === null) {
      this.#noChain.inc();
      connection.close(1, 'no_filter_chain_match');
      return;
    }
    connection.filterChainName = chain.name;
    connection.setBufferLimit(spec.bufferLimit);
    if (spec.keepalive !== null) transport.setKeepAlive(true, spec.keepalive.idleSeconds);
    this.#connections.add(connection);
    connection.addEvents(new ConnectionWatch(this, connection));
    for (const builder of chain.filters) connection.addFilter(builder.createFilter(this.#context));
    connection.startFilters();
  }

  /** Called once for every accepted connection. */
  onConnectionClosed(connection: Connection): void {
    this.#connections.delete(connection);
    this.#cxActive.dec();
    this.#workerActive.dec();
    this.#cxDestroy.inc();
    const { dispatcher } = this.#environment;
    this.#cxLength.recordValue(Math.max(0, Math.round(dispatcher.nowMs - connection.startMs)));
    if (this.#accessLoggers.length === 0) return;
    const info = new StreamInfo(
      connection,
      dispatcher.wallMs - (dispatcher.nowMs - connection.startMs),
      connection.startMs,
      0,
    );
    info.bytesReceived = connection.bytesReceived;
    info.bytesSent = connection.bytesSent;
    info.endMs = dispatcher.nowMs;
    info.connectionTerminationDetails = connection.terminationDetails;
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
    for (const connection of [...this.#connections]) connection.close(1, reason);
  }
}

/** Tells the listener of its connection's end. */
class ConnectionWatch implements ConnectionEvents {
  readonly #listener: ActiveListener;
  readonly #connection: Connection;

  constructor(listener: ActiveListener, connection: Connection) {
    this.#listener = listener;
    this.#connection = connection;
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event !== ConnectionEvent.Connected) this.#listener.onConnectionClosed(this.#connection);
  }

  onAboveWriteHighWatermark(): void {}

  onBelowWriteLowWatermark(): void {}
}
