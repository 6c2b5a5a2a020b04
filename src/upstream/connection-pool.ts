import type { TurnTask } from '../net/dispatcher.ts';
import type { TransportSocketOptions } from '../net/transport-socket.ts';
import type { Counter } from '../stats/counter.ts';
import type { Gauge } from '../stats/gauge.ts';
import type { ResourceManager, ResourcePriority } from './circuit-breaker.ts';
import type { Cluster } from './cluster.ts';
import { type Host, HostHealth } from './host.ts';
import { type PendingStream, PoolFailure } from './pool.ts';
import { ClientState, type PoolClient } from './pool-client.ts';
import { PoolList, type PoolListNode } from './pool-list.ts';
import type { UpstreamEnvironment } from './upstream-environment.ts';

/** How many connections one event may open at most (preconnecting included); the rest follow with later events. */
const MAX_NEW_CONNECTIONS_PER_EVENT = 3;

const CreateResult = { NotNeeded: 0, Created: 1, Limited: 2, Failed: 3 } as const;
type CreateResult = (typeof CreateResult)[keyof typeof CreateResult];

/** A stream (or TCP connection) that waits for a connection. */
export abstract class PendingAttach implements PendingStream, PoolListNode<PendingAttach> {
  readonly pool: ConnectionPool;
  previous: PendingAttach | null = null;
  next: PendingAttach | null = null;
  list: PoolList<PendingAttach> | null = null;

  constructor(pool: ConnectionPool) {
    this.pool = pool;
  }

  cancel(): void {
    this.pool.cancel(this);
  }

  abstract attachTo(client: PoolClient): void;
  abstract fail(reason: PoolFailure, transportFailureReason: string): void;
}

/**
 * What pools have in common: connections by state, the queue of waiters, circuit breakers and counts. Idle connections are
 * reused last in, first out; waiters are served first in, first out. Source: Envoy, source/common/conn_pool, and its
 * circuit-breaking and connection-pooling documentation. A connection carries one stream at a time (HTTP/1, TCP) or several.
 */
export abstract class ConnectionPool implements TurnTask {
  readonly environment: UpstreamEnvironment;
  readonly cluster: Cluster;
  readonly host: Host;
  readonly priority: ResourcePriority;
  readonly resources: ResourceManager;
  readonly rxBytes: Counter;
  readonly txBytes: Counter;
  readonly rxBuffered: Gauge;
  readonly txBuffered: Gauge;
  readonly #ready = new PoolList<PoolClient>();
  readonly #busy = new PoolList<PoolClient>();
  readonly #connecting = new PoolList<PoolClient>();
  readonly #pending = new PoolList<PendingAttach>();
  /** Touched by every stream: looked up once. */
  readonly #rqTotal: Counter;
  readonly #rqActive: Gauge;
  #activeStreams = 0;
  /** Streams that connections, up or under way, could take beside those that they carry. */
  #capacity = 0;
  /** Of those the share of connections under way. */
  #connectingCapacity = 0;
  #draining = false;
  #closed = false;
  #counted = false;
  #attachScheduled = false;
  /** Called once when a draining pool has become empty. */
  onDrained: (() => void) | null = null;
  /** Called whenever the pool has become empty. */
  onIdle: (() => void) | null = null;
  /** What the sockets of its connections are made with. */
  readonly socketOptions: TransportSocketOptions;

  constructor(cluster: Cluster, host: Host, priority: ResourcePriority, socketOptions: TransportSocketOptions) {
    this.environment = cluster.environment;
    this.cluster = cluster;
    this.host = host;
    this.priority = priority;
    this.socketOptions = socketOptions;
    this.resources = cluster.resources(priority);
    this.#rqTotal = cluster.stats.upstream_rq_total;
    this.#rqActive = cluster.stats.upstream_rq_active;
    this.rxBytes = cluster.stats.upstream_cx_rx_bytes_total;
    this.txBytes = cluster.stats.upstream_cx_tx_bytes_total;
    this.rxBuffered = cluster.stats.upstream_cx_rx_bytes_buffered;
    this.txBuffered = cluster.stats.upstream_cx_tx_bytes_buffered;
  }

  /**
   * Whether a connection under way is closed when its last waiter leaves; otherwise it is left to come up and wait
   * (Envoy: CancelPolicy, CloseExcess for tcp_proxy, Default for the router).
   */
  protected abstract readonly closesExcess: boolean;

  /** @throws when no socket could be made */
  protected abstract createClient(): PoolClient;

  get isIdle(): boolean {
    return this.#pending.size === 0 && this.#ready.size === 0 && this.#busy.size === 0 && this.#connecting.size === 0;
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The idle connection that is to be used next; null: none. */
  protected get readyClient(): PoolClient | null {
    return this.#ready.head;
  }

  /** True when new streams are turned away. */
  protected get refusesStreams(): boolean {
    return this.#draining || this.#closed;
  }

  // --- streams ---

  /** Takes a stream's place on `client`. False: the breaker for requests is open, the overflow is counted. */
  protected reserve(client: PoolClient): boolean {
    if (!this.resources.requests.take()) {
      this.cluster.stats.upstream_rq_active_overflow.inc();
      return false;
    }
    client.remainingStreams--;
    client.streamCount++;
    client.activeStreams++;
    this.#activeStreams++;
    if (client.remainingStreams === 0) {
      this.cluster.stats.upstream_cx_max_requests.inc();
      this.setState(client, ClientState.Draining);
    } else if (client.activeStreams >= client.streamLimit) {
      this.setState(client, ClientState.Busy);
    } else {
      this.#count(client);
    }
    const hostStats = this.host.stats;
    hostStats.rqTotal++;
    hostStats.rqActive++;
    this.#rqTotal.value++;
    this.#rqActive.inc();
    return true;
  }

  /** A stream has ended, in whatever way. The owner calls it once per successful `reserve`. */
  onStreamEnded(client: PoolClient): void {
    this.#activeStreams--;
    client.activeStreams--;
    this.#count(client);
    this.host.stats.rqActive--;
    this.#rqActive.dec();
    this.resources.requests.dec();
  }

  /** `client` can carry another stream, unless it is draining. */
  release(client: PoolClient): void {
    if (client.state === ClientState.Draining) {
      if (client.activeStreams === 0) client.close();
      return;
    }
    if (client.state === ClientState.Busy && client.activeStreams < client.streamLimit) {
      this.setState(client, ClientState.Ready);
    }
    if (client.state !== ClientState.Ready) return;
    // An HTTP/1 upstream may close right behind its answer: wait for the turn's end before the next stream is put on it.
    if (this.#pending.size > 0 && !this.#attachScheduled) {
      this.#attachScheduled = true;
      this.environment.dispatcher.defer(this);
    }
    this.#closeIdleIfDraining();
  }

  /** The peer allows `client` another number of streams at once. */
  onStreamLimitChanged(client: PoolClient): void {
    if (client.state === ClientState.Ready && client.activeStreams >= client.streamLimit) {
      this.setState(client, ClientState.Busy);
    } else if (client.state === ClientState.Busy && client.activeStreams < client.streamLimit) {
      this.setState(client, ClientState.Ready);
      this.#attachPending();
    } else {
      this.#count(client);
    }
    this.#serveWaiters();
  }

  /** `client` takes no further streams; it closes behind the last. */
  protected retire(client: PoolClient): void {
    if (client.activeStreams === 0) client.close();
    else this.setState(client, ClientState.Draining);
  }

  /** Keeps the sums of capacity in step with `client`. */
  #count(client: PoolClient): void {
    const { state } = client;
    const open = state === ClientState.Draining || state === ClientState.Closed ? 0 : client.unusedStreams;
    const connecting = state === ClientState.Connecting ? open : 0;
    this.#capacity += open - client.countedCapacity;
    this.#connectingCapacity += connecting - client.countedConnecting;
    client.countedCapacity = open;
    client.countedConnecting = connecting;
  }

  onTurnEnd(): void {
    this.#attachScheduled = false;
    this.#attachPending();
  }

  /** Puts `pending` in the queue and sees to a connection. @returns false when it was failed at once */
  protected enqueue(pending: PendingAttach): boolean {
    const stats = this.cluster.stats;
    if (this.refusesStreams) {
      pending.fail(PoolFailure.LocalConnectionFailure, '');
      return false;
    }
    if (!this.resources.pendingRequests.canCreate()) {
      stats.upstream_rq_pending_overflow.inc();
      pending.fail(PoolFailure.PendingOverflow, '');
      return false;
    }
    this.#activate();
    this.#pending.pushFront(pending);
    stats.upstream_rq_pending_total.inc();
    stats.upstream_rq_pending_active.inc();
    this.host.stats.rqPendingActive++;
    this.resources.pendingRequests.inc();
    if (this.tryCreateConnections() === CreateResult.Failed && pending.list === this.#pending) {
      this.#pending.remove(pending);
      this.#uncountPending();
      this.#checkIdle();
      pending.fail(PoolFailure.LocalConnectionFailure, '');
      return false;
    }
    return true;
  }

  cancel(pending: PendingAttach): void {
    const list = pending.list;
    if (list === null) return;
    list.remove(pending);
    this.#uncountPending();
    this.cluster.stats.upstream_rq_cancelled.inc();
    const excess = this.#connecting.head;
    if (this.closesExcess && excess !== null && this.#isExcess(excess)) {
      // Not a failure to connect: the others wait on.
      this.setState(excess, ClientState.Draining);
      excess.close();
    }
    this.#closeIdleIfDraining();
    this.#checkIdle();
  }

  /** The newest connection under way would not be missed. */
  #isExcess(client: PoolClient): boolean {
    const wanted = (this.#pending.size + this.#activeStreams) * this.cluster.spec.perUpstreamPreconnectRatio;
    return wanted <= this.#capacity - client.unusedStreams + this.#activeStreams;
  }

  #uncountPending(): void {
    this.cluster.stats.upstream_rq_pending_active.dec();
    this.host.stats.rqPendingActive--;
    this.resources.pendingRequests.dec();
  }

  #attachPending(): void {
    while (this.#ready.head !== null && this.#pending.tail !== null) {
      const pending = this.#pending.tail;
      this.#pending.remove(pending);
      this.#uncountPending();
      const client = this.#ready.head;
      if (this.reserve(client)) pending.attachTo(client);
      else pending.fail(PoolFailure.Overflow, '');
    }
    this.#closeIdleIfDraining();
    this.#checkIdle();
  }

  // --- connections ---

  #shouldCreate(): boolean {
    if (this.refusesStreams && this.#pending.size === 0) return false;
    if (this.#closed) return false;
    // No preconnecting to a host that is not healthy: later picks may well avoid it.
    if (this.host.health !== HostHealth.Healthy) return this.#pending.size > this.#connectingCapacity;
    const ratio = this.cluster.spec.perUpstreamPreconnectRatio;
    const wanted = (this.#pending.size + this.#activeStreams) * ratio;
    return wanted > this.#capacity + this.#activeStreams;
  }

  #createOne(): CreateResult {
    if (!this.#shouldCreate()) return CreateResult.NotNeeded;
    const allowed =
      this.host.stats.cxActive < this.resources.maxConnectionsPerHost && this.resources.connections.canCreate();
    if (!allowed) {
      this.cluster.stats.upstream_cx_overflow.inc();
      // Other hosts hold all connections: one is made all the same, or these waiters would never be served.
      if (this.#ready.size + this.#busy.size + this.#connecting.size > 0) return CreateResult.Limited;
    }
    try {
      this.addConnecting(this.createClient());
    } catch {
      return CreateResult.Failed;
    }
    return allowed ? CreateResult.Created : CreateResult.Limited;
  }

  /** Opens what the waiters (and preconnecting) call for. */
  protected tryCreateConnections(): CreateResult {
    let result: CreateResult = CreateResult.NotNeeded;
    for (let i = 0; i < MAX_NEW_CONNECTIONS_PER_EVENT; i++) {
      result = this.#createOne();
      if (result !== CreateResult.Created) break;
    }
    return result;
  }

  /** After a change: those who wait get connections, or hear that no socket can be made and nothing else would serve them. */
  #serveWaiters(): void {
    if (this.#pending.size === 0 || this.tryCreateConnections() !== CreateResult.Failed) return;
    if (this.#ready.size + this.#busy.size + this.#connecting.size > 0) return;
    this.#failPending(PoolFailure.LocalConnectionFailure, '');
  }

  /** Also for a client that takes over the connection of another. */
  protected addConnecting(client: PoolClient): void {
    this.#connecting.pushFront(client);
    this.#count(client);
  }

  setState(client: PoolClient, state: ClientState): void {
    client.state = state;
    this.#count(client);
    const list = state === ClientState.Ready ? this.#ready : this.#busy;
    if (client.list === list) return;
    client.list?.remove(client);
    list.pushFront(client);
  }

  /** `client` has handed its connection over. */
  forget(client: PoolClient): void {
    client.list?.remove(client);
    this.#count(client);
  }

  onClientConnected(client: PoolClient): void {
    this.setState(client, ClientState.Ready);
    this.#attachPending();
  }

  onClientClosed(client: PoolClient, wasConnecting: boolean, remote: boolean): void {
    this.#count(client);
    if (wasConnecting) {
      this.cluster.stats.upstream_cx_connect_fail.inc();
      this.host.stats.cxConnectFail++;
      const reason = client.timedOut
        ? PoolFailure.Timeout
        : remote
          ? PoolFailure.RemoteConnectionFailure
          : PoolFailure.LocalConnectionFailure;
      this.#failPending(reason, client.connection.transportFailureReason);
    }
    this.#serveWaiters();
    this.#closeIdleIfDraining();
    this.#checkIdle();
  }

  /** A connect failure fails everybody who waits: they decide whether to try again, and where. */
  #failPending(reason: PoolFailure, transportFailureReason: string): void {
    const failing = new PoolList<PendingAttach>();
    this.#pending.moveAllTo(failing);
    while (failing.head !== null) {
      const pending = failing.head;
      failing.remove(pending);
      this.#uncountPending();
      this.cluster.stats.upstream_rq_pending_failure_eject.inc();
      pending.fail(reason, transportFailureReason);
    }
  }

  // --- end of life ---

  /** Lets active and queued streams end, takes no new ones, then closes its connections. */
  drain(): void {
    this.#draining = true;
    for (const list of [this.#ready, this.#busy]) {
      for (const client of list.toArray()) if (client.activeStreams > 0) this.setState(client, ClientState.Draining);
    }
    this.#closeIdleIfDraining();
    this.#checkIdle();
  }

  /** Closes connections without streams now and those with streams after them; new streams get new connections. */
  drainConnections(): void {
    for (const list of [this.#ready, this.#busy]) for (const client of list.toArray()) this.retire(client);
  }

  close(): void {
    this.#closed = true;
    for (const list of [this.#ready, this.#busy, this.#connecting]) {
      for (const client of list.toArray()) client.close();
    }
    this.#failPending(PoolFailure.LocalConnectionFailure, '');
    this.#checkIdle();
  }

  #closeIdleIfDraining(): void {
    if (!this.#draining) return;
    if (this.#pending.size > 0) return;
    for (const list of [this.#ready, this.#connecting]) {
      for (const client of list.toArray()) if (client.activeStreams === 0) client.close();
    }
  }

  #activate(): void {
    if (this.#counted) return;
    this.#counted = true;
    this.resources.connectionPools.inc();
  }

  #checkIdle(): void {
    if (!this.isIdle) return;
    if (this.#counted) {
      this.#counted = false;
      this.resources.connectionPools.dec();
    }
    this.onIdle?.();
    if (this.#draining || this.#closed) {
      const drained = this.onDrained;
      this.onDrained = null;
      drained?.();
    }
  }
}
