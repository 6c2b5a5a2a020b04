import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import { CELLS_PER_CLUSTER } from '../../upstream/circuit-breaker.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import type { ClusterLoad } from '../../worker/load-counts.ts';
import type { ListenerOrder, ListenOutcome, RehearsalFault, ScopeOrder } from '../../worker/messages.ts';
import type { WorkerHandle } from '../worker-handle.ts';
import { WorkerFeed } from './worker-feed.ts';

/** What main keeps for connections of its own: of what workers are told, as much as it needs. */
export interface MainSide {
  applyHosts(update: HostUpdate): void;
  setSecret(key: string, secret: Uint8Array): void;
  removeSecret(key: string): void;
  /** A worker could not take what it was told: a bug. */
  onFault(error: unknown): void;
}

/** A {@link ListenerOrder} with the name of its listener. */
export interface NamedListenerOrder extends ListenerOrder {
  readonly name: string;
}

/** What every worker is told of resources. A worker carries its orders out one after the other. */
export class WorkerOrders {
  readonly #mainSide: MainSide;
  readonly #workers: readonly WorkerHandle[];
  readonly #feeds = new Map<WorkerHandle, WorkerFeed>();
  readonly #breakerCells = new Map<string, SharedArrayBuffer>();
  readonly #nameOf: (bytes: Uint8Array) => string;
  readonly drainMs: number;
  readonly immediate: boolean;

  constructor(
    workers: readonly WorkerHandle[],
    drainMs: number,
    immediate: boolean,
    decodeCluster: (bytes: Uint8Array) => Cluster,
    mainSide: MainSide,
  ) {
    this.#mainSide = mainSide;
    this.#workers = workers;
    this.drainMs = drainMs;
    this.immediate = immediate;
    this.#nameOf = (bytes) => decodeCluster(bytes).name;
  }

  async clusters(
    changed: readonly Uint8Array[],
    removed: readonly string[],
    hosts: readonly HostUpdate[],
  ): Promise<void> {
    for (const update of hosts) this.#mainSide.applyHosts(update);
    const breakerCells: Record<string, SharedArrayBuffer> = {};
    for (const name of removed) this.#breakerCells.delete(name);
    if (this.#workers.length > 1) {
      for (const bytes of changed) {
        const name = this.#nameOf(bytes);
        let cells = this.#breakerCells.get(name);
        if (cells === undefined) {
          cells = new SharedArrayBuffer(CELLS_PER_CLUSTER * 4);
          this.#breakerCells.set(name, cells);
          breakerCells[name] = cells;
        }
      }
    }
    await Promise.all(
      this.#workers.map((worker) => this.#request(worker, { kind: 'clusters', changed, removed, hosts, breakerCells })),
    );
  }

  /** Hosts of clusters that had none yet. */
  firstHosts(updates: readonly HostUpdate[]): void {
    void this.clusters([], [], updates).catch(() => {});
  }

  hosts(updates: readonly HostUpdate[]): void {
    for (const update of updates) this.#mainSide.applyHosts(update);
    for (const worker of this.#workers) this.#feedOf(worker).hosts(updates);
  }

  secret(key: string, secret: Uint8Array): void {
    this.#mainSide.setSecret(key, secret);
    for (const worker of this.#workers) this.#feedOf(worker).secret(key, secret);
  }

  /** Nothing needs it any more; whoever has it keeps it. */
  removeSecret(key: string): void {
    this.#mainSide.removeSecret(key);
    for (const worker of this.#workers) this.#feedOf(worker).secret(key, null);
  }

  /** The runtime's values, as a whole. */
  runtime(values: Readonly<Record<string, unknown>>): void {
    for (const worker of this.#workers) this.#feedOf(worker).runtime(values);
  }

  #feedOf(worker: WorkerHandle): WorkerFeed {
    let feed = this.#feeds.get(worker);
    if (feed === undefined) {
      feed = new WorkerFeed(worker, this.#mainSide.onFault);
      this.#feeds.set(worker, feed);
    }
    return feed;
  }

  /** An order goes behind what the worker was fed before. */
  #request(worker: WorkerHandle, order: Parameters<WorkerHandle['request']>[0]): ReturnType<WorkerHandle['request']> {
    this.#feeds.get(worker)?.flush();
    return worker.request(order);
  }

  stop(): void {
    for (const feed of this.#feeds.values()) feed.stop();
  }

  async routes(
    changed: readonly { readonly key: string; readonly bytes: Uint8Array }[],
    removed: readonly string[],
  ): Promise<void> {
    await Promise.all(this.#workers.map((worker) => this.#request(worker, { kind: 'routes', changed, removed })));
  }

  async scopes(key: string, changed: readonly ScopeOrder[], removed: readonly string[], gone: boolean): Promise<void> {
    const order = { kind: 'scopes', key, changed, removed, gone } as const;
    await Promise.all(this.#workers.map((worker) => this.#request(worker, order)));
  }

  async extensions(
    changed: readonly { readonly key: string; readonly bytes: Uint8Array }[],
    removed: readonly string[],
  ): Promise<void> {
    await Promise.all(this.#workers.map((worker) => this.#request(worker, { kind: 'extensions', changed, removed })));
  }

  /** Builds and opens what an edit needs in every worker, and leaves everything as it was. @returns what stands in its way */
  async rehearse(
    clusters: readonly Uint8Array[],
    listeners: readonly Uint8Array[],
  ): Promise<readonly RehearsalFault[]> {
    const replies = await Promise.all(
      this.#workers.map((worker) => this.#request(worker, { kind: 'rehearse', clusters, listeners })),
    );
    // All build the same: what is told by one need not be told again.
    const faults = replies.map((reply) => (reply.kind === 'rehearsed' ? reply.faults : []));
    return faults.find((each) => each.length > 0) ?? [];
  }

  /** What clusters have carried since they were asked last, by worker. */
  async loads(clusters: readonly string[]): Promise<readonly (readonly ClusterLoad[])[]> {
    const replies = await Promise.all(this.#workers.map((worker) => worker.request({ kind: 'loads', clusters })));
    return replies.map((reply) => (reply.kind === 'loads' ? reply.loads : []));
  }

  async removeListeners(removed: readonly string[]): Promise<void> {
    const { drainMs, immediate } = this;
    await Promise.all(
      this.#workers.map((worker) =>
        this.#request(worker, { kind: 'listeners', changed: [], removed, drainMs, immediate, ports: {} }),
      ),
    );
  }

  /**
   * The first worker goes first: ports that the system chooses are known to the others. The first one that cannot do it is the last
   * one that is asked.
   * @param onOutcome for each address; a worker that fails altogether is an outcome too
   * @param count of workers that are told, from the first on
   * @returns how many have done it, from the first on
   */
  async listeners(
    orders: readonly NamedListenerOrder[],
    onOutcome: (outcome: ListenOutcome) => void,
    count = this.#workers.length,
  ): Promise<number> {
    const { drainMs, immediate } = this;
    const ports: Record<string, number> = {};
    const changed: ListenerOrder[] = orders.map(({ bytes, inPlace }) => ({ bytes, inPlace }));
    let done = 0;
    for (const worker of this.#workers.slice(0, count)) {
      let outcomes: readonly ListenOutcome[] = [];
      try {
        const reply = await this.#request(worker, {
          kind: 'listeners',
          changed,
          removed: [],
          drainMs,
          immediate,
          ports,
        });
        if (reply.kind === 'listening') outcomes = reply.outcomes;
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        outcomes = [{ listener: orders[0]?.name ?? '', addressIndex: 0, address: '', error: text }];
      }
      for (const outcome of outcomes) {
        onOutcome(outcome);
        if (outcome.error !== '') continue;
        const port = Number(/:(\d+)$/.exec(outcome.address)?.[1] ?? -1);
        if (port >= 0) ports[`${outcome.listener}|${outcome.addressIndex}`] = port;
      }
      if (outcomes.some((outcome) => outcome.error !== '')) return done;
      done++;
    }
    return done;
  }
}
