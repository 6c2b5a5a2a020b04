import type { ResponseDecoder } from '../http/codec.ts';
import { ConnectionPool, PendingAttach } from './connection-pool.ts';
import { type HttpPool, type PendingStream, PoolFailure, type PoolWaiter } from './pool.ts';
import type { PoolClient } from './pool-client.ts';

/** A client that carries HTTP streams. */
export interface HttpPoolClient {
  /** Begins a stream on a place that was reserved. */
  attach(decoder: ResponseDecoder, waiter: PoolWaiter): void;
}

class PendingHttpStream extends PendingAttach {
  readonly #decoder: ResponseDecoder;
  readonly #waiter: PoolWaiter;

  constructor(pool: HttpConnectionPool, decoder: ResponseDecoder, waiter: PoolWaiter) {
    super(pool);
    this.#decoder = decoder;
    this.#waiter = waiter;
  }

  attachTo(client: PoolClient): void {
    (client as PoolClient & HttpPoolClient).attach(this.#decoder, this.#waiter);
  }

  fail(reason: PoolFailure, transportFailureReason: string): void {
    this.#waiter.onPoolFailure(reason, transportFailureReason, this.pool.host);
  }
}

/** HTTP connections to one host, of whatever protocol. Ready clients of it are {@link HttpPoolClient}s. */
export abstract class HttpConnectionPool extends ConnectionPool implements HttpPool {
  protected readonly closesExcess = false;

  newStream(decoder: ResponseDecoder, waiter: PoolWaiter): PendingStream | null {
    const client = this.readyClient;
    if (client !== null && !this.refusesStreams) {
      if (this.reserve(client)) (client as PoolClient & HttpPoolClient).attach(decoder, waiter);
      else waiter.onPoolFailure(PoolFailure.Overflow, '', this.host);
      if (this.cluster.spec.perUpstreamPreconnectRatio > 1) this.tryCreateConnections();
      return null;
    }
    const pending = new PendingHttpStream(this, decoder, waiter);
    return this.enqueue(pending) ? pending : null;
  }
}
