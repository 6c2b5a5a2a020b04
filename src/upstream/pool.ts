import type { Protocol, RequestEncoder, ResponseDecoder } from '../http/codec.ts';
import type { Connection } from '../net/connection.ts';
import type { Host } from './host.ts';

/** Why a pool could not give a stream. */
export const PoolFailure = {
  /** A circuit breaker is open (connections or requests). */
  Overflow: 0,
  /** We gave up: the pool was closed while waiting. */
  LocalConnectionFailure: 1,
  /** Connect refused, reset, or closed before it was ready. */
  RemoteConnectionFailure: 2,
  /** Connect timeout. */
  Timeout: 3,
  /** Too many wait already: the host was not so much as asked. */
  PendingOverflow: 4,
} as const;
export type PoolFailure = (typeof PoolFailure)[keyof typeof PoolFailure];

/** Facts about the upstream connection that serves a stream. */
export interface UpstreamConnectionInfo {
  readonly connection: Connection;
  readonly protocol: Protocol;
  /** Streams that this connection has served before. */
  readonly priorStreams: number;
}

/** Waits for a stream. Exactly one of the two is called, at once (inside `newStream`) or later. */
export interface PoolWaiter {
  onPoolReady(encoder: RequestEncoder, host: Host, info: UpstreamConnectionInfo): void;
  onPoolFailure(reason: PoolFailure, transportFailureReason: string, host: Host): void;
}

/** A waiter's place in the queue. After `cancel` the waiter hears nothing. */
export interface PendingStream {
  cancel(): void;
}

/** HTTP streams to one host, at one priority and protocol. */
export interface HttpPool {
  readonly host: Host;
  /** @returns null when the waiter has already been answered */
  newStream(decoder: ResponseDecoder, waiter: PoolWaiter): PendingStream | null;
  /** Lets active streams end, takes no new ones, then closes its connections. */
  drain(): void;
  /** Closes everything now. */
  close(): void;
  readonly isIdle: boolean;
}

/** A connection that was handed out, as the pool counts it. */
export interface TcpLease {
  /** What it was taken for is complete: it counts as an active request no longer. The connection still ends by itself. */
  release(): void;
}

export interface TcpPoolWaiter {
  /** The connection is the waiter's from now on: it adds itself as observer and closes it. */
  onPoolReady(connection: Connection, host: Host, lease: TcpLease): void;
  onPoolFailure(reason: PoolFailure, transportFailureReason: string, host: Host): void;
}

/** Raw connections to one host, for tcp_proxy. */
export interface TcpPool {
  readonly host: Host;
  newConnection(waiter: TcpPoolWaiter): PendingStream | null;
  drain(): void;
  close(): void;
  readonly isIdle: boolean;
}
