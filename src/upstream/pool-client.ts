import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import {
  CloseType,
  Connection,
  ConnectionEvent,
  type ConnectionEvents,
  type ConnectionStats,
} from '../net/connection.ts';
import type { Transport, TransportHandler } from '../net/transport.ts';
import { AddressRace } from './address-race.ts';
import type { ConnectionPool } from './connection-pool.ts';
import type { PoolList, PoolListNode } from './pool-list.ts';

export const ClientState = { Connecting: 0, Ready: 1, Busy: 2, Draining: 3, Closed: 4 } as const;
export type ClientState = (typeof ClientState)[keyof typeof ClientState];

/** Stands in until the connection, which needs the transport to be made, takes over. */
const NO_HANDLER: TransportHandler = {
  onOpen() {},
  onBytes() {},
  onDrain() {},
  onPeerEnd() {},
  onClosed() {},
};

/** Begins to connect to the pool's host, by all of its addresses. */
function openTransport(pool: ConnectionPool): Transport {
  const { cluster, environment, host } = pool;
  const plain = cluster.connectSpec(host);
  const spec = pool.socketOptions.source?.applyTo(plain) ?? plain;
  if (host.additionalAddresses.length === 0) return cluster.sockets.connect(spec, host, pool.socketOptions, NO_HANDLER);
  return new AddressRace(
    environment.dispatcher,
    (attempt, handler) => cluster.sockets.connect(attempt, host, pool.socketOptions, handler),
    spec,
    [host.address, ...host.additionalAddresses],
    NO_HANDLER,
  );
}

/** @throws when no socket could be made */
function openConnection(pool: ConnectionPool): Connection {
  const transport = openTransport(pool);
  const connection = new Connection(pool.environment.dispatcher, transport, false);
  transport.setHandler(connection);
  connection.enableHalfClose(true);
  connection.setBufferLimit(pool.cluster.spec.bufferLimitBytes);
  return connection;
}

/** One connection of a pool, with its timers, its counts and its place in the pool's lists. */
export abstract class PoolClient implements ConnectionEvents, ConnectionStats, TimerTarget, PoolListNode<PoolClient> {
  readonly pool: ConnectionPool;
  readonly connection: Connection;
  previous: PoolClient | null = null;
  next: PoolClient | null = null;
  list: PoolList<PoolClient> | null = null;
  state: ClientState = ClientState.Connecting;
  /** Streams that it may still carry. */
  remainingStreams: number;
  /** Streams that it has carried. */
  streamCount = 0;
  /** Streams that it carries. Kept by the pool. */
  activeStreams = 0;
  /** Streams that it may carry at once. */
  streamLimit = 1;
  /** What the pool has added to its sums for this client. */
  countedCapacity = 0;
  countedConnecting = 0;
  timedOut = false;
  /** The peer ended the connection, whoever then closed our end. */
  remoteEnded = false;
  #closedByUs = false;
  readonly #startMs: number;
  readonly #connectTimer: Timer;
  #durationTimer: Timer | null = null;
  protected readonly idleTimer: Timer | null;
  readonly #idleTimeoutMs: number;

  /**
   * @param from whose connection is taken over; null: a new one is made
   * @throws when no socket could be made
   */
  constructor(pool: ConnectionPool, idleTimeoutMs: number, from: PoolClient | null = null) {
    this.pool = pool;
    const { environment, cluster, host } = pool;
    const spec = cluster.spec;
    this.connection = from === null ? openConnection(pool) : from.connection;
    this.connection.setStats(this);
    this.connection.addEvents(this);
    this.remainingStreams =
      spec.maxRequestsPerConnection === 0 ? Number.POSITIVE_INFINITY : spec.maxRequestsPerConnection;
    this.#startMs = from === null ? environment.dispatcher.nowMs : from.#startMs;
    this.#connectTimer = environment.dispatcher.createTimer(this);
    this.#connectTimer.enable(spec.connectTimeoutMs);
    this.#idleTimeoutMs = idleTimeoutMs;
    this.idleTimer = idleTimeoutMs > 0 ? environment.dispatcher.createTimer(this) : null;
    this.idleTimer?.enable(idleTimeoutMs);
    if (from !== null) {
      from.#handOver();
      return;
    }
    const stats = cluster.stats;
    host.stats.cxTotal++;
    host.stats.cxActive++;
    stats.upstream_cx_total.inc();
    stats.upstream_cx_active.inc();
    pool.resources.connections.inc();
  }

  /** Another client goes on with the connection: this one hears and counts nothing more. */
  #handOver(): void {
    this.state = ClientState.Closed;
    this.pool.forget(this);
    this.connection.removeEvents(this);
    this.#connectTimer.destroy();
    this.idleTimer?.destroy();
  }

  /** Streams that could be added now. */
  get unusedStreams(): number {
    return Math.max(0, Math.min(this.remainingStreams, this.streamLimit - this.activeStreams));
  }

  /** A stream of it has not got its whole response, or not sent its whole request. */
  abstract get hasIncompleteStream(): boolean;
  /** The connection is up. @returns false when another client has taken it over */
  protected onConnected(): boolean {
    return true;
  }
  /** The connection is gone and accounted for: ends what it carried. */
  protected abstract onDisconnected(): void;

  enableIdleTimer(): void {
    this.idleTimer?.enable(this.#idleTimeoutMs);
  }

  disableIdleTimer(): void {
    this.idleTimer?.disable();
  }

  close(): void {
    this.#closedByUs = true;
    this.connection.close(CloseType.NoFlush);
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) {
      if (!this.onConnected()) return;
      const { environment, cluster } = this.pool;
      this.#connectTimer.destroy();
      cluster.stats.upstream_cx_connect_ms.recordValue(environment.dispatcher.nowMs - this.#startMs);
      const limit = cluster.spec.maxConnectionDurationMs;
      if (limit > 0) {
        this.#durationTimer = environment.dispatcher.createTimer(this);
        this.#durationTimer.enable(limit);
      }
      this.pool.onClientConnected(this);
      return;
    }
    this.#onClosed(event === ConnectionEvent.RemoteClose || this.remoteEnded);
  }

  onAboveWriteHighWatermark(): void {}
  onBelowWriteLowWatermark(): void {}

  #onClosed(remote: boolean): void {
    if (this.state === ClientState.Closed) return;
    if (remote) this.beforeRemoteClose();
    const { cluster, host, environment } = this.pool;
    const stats = cluster.stats;
    stats.upstream_cx_destroy.inc();
    if (remote) stats.upstream_cx_destroy_remote.inc();
    else stats.upstream_cx_destroy_local.inc();
    if (this.hasIncompleteStream) {
      stats.upstream_cx_destroy_with_active_rq.inc();
      if (remote) stats.upstream_cx_destroy_remote_with_active_rq.inc();
      else stats.upstream_cx_destroy_local_with_active_rq.inc();
    }
    const wasConnecting = this.state === ClientState.Connecting;
    // Our own side failed: with a source address given, that is the bind.
    if (wasConnecting && !remote && !this.#closedByUs && cluster.spec.bind !== null) stats.bind_errors.inc();
    this.state = ClientState.Closed;
    this.list?.remove(this);
    this.#connectTimer.destroy();
    this.#durationTimer?.destroy();
    this.idleTimer?.destroy();
    stats.upstream_cx_length_ms.recordValue(environment.dispatcher.nowMs - this.#startMs);
    if (this.streamCount > 0) stats.upstream_rq_per_cx.recordValue(this.streamCount);
    stats.upstream_cx_active.dec();
    host.stats.cxActive--;
    this.pool.resources.connections.dec();
    this.onDisconnected();
    this.pool.onClientClosed(this, wasConnecting, remote);
  }

  /** The peer closed: a protocol may end a message by that. */
  protected beforeRemoteClose(): void {}

  onTimer(timer: Timer): void {
    if (this.state === ClientState.Closed) return;
    const stats = this.pool.cluster.stats;
    if (timer === this.#connectTimer) {
      stats.upstream_cx_connect_timeout.inc();
      this.timedOut = true;
      this.close();
    } else if (timer === this.idleTimer) {
      stats.upstream_cx_idle_timeout.inc();
      this.close();
    } else if (timer === this.#durationTimer) {
      stats.upstream_cx_max_duration_reached.inc();
      if (this.activeStreams === 0) this.close();
      else this.pool.setState(this, ClientState.Draining);
    }
  }

  // --- ConnectionStats ---

  onBytesReceived(count: number): void {
    this.pool.rxBytes.add(count);
  }

  onBytesSent(count: number): void {
    this.pool.txBytes.add(count);
  }

  onReadBufferedChange(delta: number): void {
    this.pool.rxBuffered.add(delta);
  }

  onWriteBufferedChange(delta: number): void {
    this.pool.txBuffered.add(delta);
  }
}
