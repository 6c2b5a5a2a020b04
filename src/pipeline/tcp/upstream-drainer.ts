import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import { CloseType, type Connection, ConnectionEvent, type ConnectionEvents } from '../../net/connection.ts';
import type { TcpProxyConfig } from './tcp-proxy-config.ts';

/** Lets an upstream connection flush what the client, now gone, had sent. Source: Envoy, TcpProxy::Drainer. */
export class UpstreamDrainer implements ConnectionEvents, TimerTarget {
  readonly #config: TcpProxyConfig;
  readonly #connection: Connection;
  #idleTimer: Timer | null = null;
  #sentBefore: number;

  constructor(config: TcpProxyConfig, connection: Connection) {
    this.#config = config;
    this.#connection = connection;
    this.#sentBefore = connection.bytesSent;
    config.stats.upstream_flush_total.inc();
    config.stats.upstream_flush_active.inc();
    connection.addEvents(this);
    if (config.idleTimeoutMs > 0) {
      this.#idleTimer = connection.dispatcher.timerPool.take(this);
      this.#idleTimer.enable(config.idleTimeoutMs);
    }
  }

  /** The upstream still talks, and nobody listens. */
  cancel(): void {
    this.#connection.close(CloseType.NoFlush);
  }

  onTimer(timer: Timer): void {
    const sent = this.#connection.bytesSent;
    if (sent !== this.#sentBefore) {
      this.#sentBefore = sent;
      timer.enable(this.#config.idleTimeoutMs);
      return;
    }
    this.#config.stats.idle_timeout.inc();
    this.cancel();
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event === ConnectionEvent.Connected) return;
    if (this.#idleTimer !== null) this.#connection.dispatcher.timerPool.give(this.#idleTimer);
    this.#idleTimer = null;
    this.#config.stats.upstream_flush_active.dec();
  }

  onAboveWriteHighWatermark(): void {}
  onBelowWriteLowWatermark(): void {}
}
