import type { FilterChainSpec } from '../config/builders/filter-chains.ts';
import type { Connection } from '../net/connection.ts';
import type { DownstreamTransportSocket } from '../net/transport-socket.ts';
import type { ConnectionContext, DrainDecision, ListenerView, WorkerEnvironment } from '../pipeline/environment.ts';
import type { Scope } from '../stats/store.ts';
import { DrainState } from './drain-state.ts';

/** One filter chain of one listener in one worker: its connections drain with it when an update takes it away. */
export class ActiveChain implements DrainDecision {
  readonly spec: FilterChainSpec;
  readonly connections = new Set<Connection>();
  readonly context: ConnectionContext;
  readonly drain: DrainState;
  /** Null: plain bytes. */
  readonly transportSocket: DownstreamTransportSocket | null;
  /** Set while it drains: its last connection has ended. */
  onEmpty: (() => void) | null = null;
  readonly #listenerDrain: DrainDecision;
  readonly #releases: (() => void)[] = [];

  constructor(
    spec: FilterChainSpec,
    environment: WorkerEnvironment,
    listener: ListenerView,
    listenerDrain: DrainDecision,
    listenerScope: Scope,
  ) {
    this.spec = spec;
    this.drain = new DrainState(environment);
    this.#listenerDrain = listenerDrain;
    const scope = spec.stats.createScope(listenerScope.prefix);
    this.transportSocket =
      spec.transportSocket === null
        ? null
        : spec.transportSocket({
            ...environment.transportSockets,
            scope,
            onRelease: (release) => this.#releases.push(release),
          });
    this.context = { environment, drain: this, listener };
  }

  onClosed(connection: Connection): void {
    if (this.connections.delete(connection) && this.connections.size === 0) this.onEmpty?.();
  }

  /** The chain and its last connection are gone. */
  release(): void {
    for (const release of this.#releases) release();
    this.#releases.length = 0;
    this.spec.stats.close();
  }

  drainClose(): boolean {
    return this.drain.drainClose() || this.#listenerDrain.drainClose();
  }
}
