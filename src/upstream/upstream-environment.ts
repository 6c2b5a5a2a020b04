import type { Dispatcher } from '../net/dispatcher.ts';
import type { SocketRuntime } from '../net/transport.ts';
import type { TransportSocketServices } from '../net/transport-socket.ts';
import type { Scope } from '../stats/store.ts';
import type { RuntimeIntegers } from './circuit-breaker.ts';

/** How connections are made in a worker. */
export interface UpstreamSockets {
  readonly runtime: SocketRuntime;
  readonly services: TransportSocketServices;
}

/** What clusters of one worker need from it. */
export interface UpstreamEnvironment {
  readonly dispatcher: Dispatcher;
  /** Root scope of the worker's store. */
  readonly stats: Scope;
  readonly runtime: RuntimeIntegers;
  /** Null where there are no upstream connections (main). */
  readonly sockets: UpstreamSockets | null;
  /** Circuit-breaker counts that all workers share ({@link CELLS_PER_CLUSTER} cells); null: each counts for itself. */
  sharedCells(cluster: string): Int32Array | null;
}
