import { H1Client } from './h1-pool.ts';
import { H2Client } from './h2-pool.ts';
import { HttpConnectionPool } from './http-pool.ts';
import { PoolClient } from './pool-client.ts';

/** A connection under way whose handshake will tell the protocol. It counts for one stream until then, as in Envoy. */
class AlpnClient extends PoolClient {
  readonly #pool: AlpnPool;

  constructor(pool: AlpnPool) {
    super(pool, pool.cluster.spec.httpIdleTimeoutMs);
    this.#pool = pool;
  }

  get hasIncompleteStream(): boolean {
    return false;
  }

  /** The client that takes over hears of the same event next. */
  protected override onConnected(): boolean {
    this.#pool.takeOver(this);
    return false;
  }

  protected onDisconnected(): void {}
}

/** HTTP connections whose protocol each handshake decides. Source: Envoy, HttpConnPoolImplMixed. */
export class AlpnPool extends HttpConnectionPool {
  protected createClient(): PoolClient {
    return new AlpnClient(this);
  }

  /** Old stacks that negotiate nothing speak HTTP/1. */
  takeOver(client: PoolClient): void {
    const http2 = client.connection.security?.alpn === 'h2';
    this.addConnecting(http2 ? new H2Client(this, client) : new H1Client(this, client));
  }
}
