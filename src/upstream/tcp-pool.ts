import { ConnectionPool, PendingAttach } from './connection-pool.ts';
import { type PendingStream, PoolFailure, type TcpLease, type TcpPool, type TcpPoolWaiter } from './pool.ts';
import { PoolClient } from './pool-client.ts';

/** One raw connection: the waiter's from the moment it is ready until it closes. */
class TcpClient extends PoolClient implements TcpLease {
  #taken = false;

  /** Envoy counts a TCP connection that was handed out as an active request, however it ends. */
  get hasIncompleteStream(): boolean {
    return this.#taken;
  }

  attach(waiter: TcpPoolWaiter): void {
    this.disableIdleTimer();
    this.#taken = true;
    waiter.onPoolReady(this.connection, this.pool.host, this);
  }

  release(): void {
    if (!this.#taken) return;
    this.#taken = false;
    this.pool.onStreamEnded(this);
  }

  /** Its observers hear of the close themselves. */
  protected onDisconnected(): void {
    this.release();
  }
}

class PendingTcpConnection extends PendingAttach {
  readonly #waiter: TcpPoolWaiter;

  constructor(pool: RawTcpPool, waiter: TcpPoolWaiter) {
    super(pool);
    this.#waiter = waiter;
  }

  attachTo(client: PoolClient): void {
    (client as TcpClient).attach(this.#waiter);
  }

  fail(reason: PoolFailure, transportFailureReason: string): void {
    this.#waiter.onPoolFailure(reason, transportFailureReason, this.pool.host);
  }
}

/** Raw connections to one host at one priority, for tcp_proxy: each is used once. */
export class RawTcpPool extends ConnectionPool implements TcpPool {
  protected readonly closesExcess = true;

  protected createClient(): PoolClient {
    return new TcpClient(this, this.cluster.spec.tcpIdleTimeoutMs);
  }

  newConnection(waiter: TcpPoolWaiter): PendingStream | null {
    const client = this.readyClient;
    if (client !== null && !this.refusesStreams) {
      if (this.reserve(client)) (client as TcpClient).attach(waiter);
      else waiter.onPoolFailure(PoolFailure.Overflow, '', this.host);
      if (this.cluster.spec.perUpstreamPreconnectRatio > 1) this.tryCreateConnections();
      return null;
    }
    const pending = new PendingTcpConnection(this, waiter);
    return this.enqueue(pending) ? pending : null;
  }
}
