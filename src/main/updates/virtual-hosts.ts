import type { VirtualHost } from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { SourceSpec } from '../../config/builders/config-source.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { VIRTUAL_HOST_TYPE } from '../../xds/resource-type.ts';
import type { Subscriptions } from './subscriptions.ts';

const VHDS_STATS = defineStats({ counters: ['config_reload', 'update_empty'] } as const);

export interface EncodedHost {
  readonly message: VirtualHost;
  readonly bytes: Uint8Array;
}

/** The table that the virtual hosts are of. */
export interface HostedTable {
  /** What is wrong with it when it has these; empty: nothing. */
  faultOf(hosts: readonly EncodedHost[]): string;
  /**
   * @param changes false: the hosts are those that it has
   * @param version of the answer that brought them
   */
  publish(changes: boolean, version: string): Promise<void>;
}

/**
 * The longest wait for one host, ms: Envoy's requests give up after its default `stream_idle_timeout`. Hosts are what clients say: without a
 * bound a server that does not answer would make us remember them all.
 */
const MAX_WAIT_MS = 300_000;

interface Wait {
  readonly told: ((found: boolean) => void)[];
  readonly timer: ReturnType<typeof setTimeout>;
}

/** The discovered virtual hosts of one discovered route table. Source: Envoy, VhdsSubscription. */
export class VirtualHosts implements ResourceWatcher {
  readonly #name: string;
  readonly #table: HostedTable;
  readonly #scope: Scope;
  readonly #stats;
  readonly #subscription: Subscription;
  /** By the name of the resource. */
  #hosts: ReadonlyMap<string, EncodedHost>;
  #onAnswer: (() => void) | null = null;
  #stopped = false;
  /** By the name that was asked for. */
  readonly #waiting = new Map<string, Wait>();

  /**
   * @param name of the route table: resources are called `<name>/<host>`
   * @param known what there is already, from another source
   */
  constructor(
    name: string,
    source: SourceSpec,
    subscriptions: Subscriptions,
    scope: Scope,
    table: HostedTable,
    known: ReadonlyMap<string, EncodedHost>,
  ) {
    this.#name = name;
    this.#hosts = known;
    this.#table = table;
    this.#scope = scope;
    this.#stats = VHDS_STATS.create(scope);
    const interest = { type: VIRTUAL_HOST_TYPE, names: [], namespace: name };
    this.#subscription = subscriptions.open(source, interest, this, scope);
  }

  /** @param onAnswer called once, with the first answer, whatever it is */
  start(onAnswer: () => void): void {
    this.#onAnswer = onAnswer;
    // Its table may have gone while workers were given it.
    if (this.#stopped) this.#answer();
    else this.#subscription.start();
  }

  stop(): void {
    this.#stopped = true;
    this.#subscription.stop();
    this.#scope.close();
    this.#answer();
    for (const name of [...this.#waiting.keys()]) this.#settle(name, false);
  }

  /** By the name of the resource. */
  get inForce(): ReadonlyMap<string, EncodedHost> {
    return this.#hosts;
  }

  /** Asks for a host. Resolves when the server has answered for it, and workers have what it said. */
  demand(host: string): Promise<boolean> {
    const name = `${this.#name}/${host}`;
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(name);
      if (waiting !== undefined) {
        waiting.told.push(resolve);
        return;
      }
      const timer = setTimeout(() => this.#settle(name, false), MAX_WAIT_MS);
      timer.unref();
      this.#waiting.set(name, { told: [resolve], timer });
      this.#subscription.want([name]);
    });
  }

  async onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const next = new Map(this.#hosts);
    for (const name of update.removed) next.delete(name);
    for (const { name, message, bytes } of update.changed) next.set(name, { message: message as VirtualHost, bytes });
    const fault = this.#table.faultOf([...next.values()]);
    if (fault !== '') return [{ name: update.changed[0]?.name ?? '', details: fault }];
    this.#hosts = next;
    const changes = update.changed.length + update.removed.length > 0;
    // An answer that there is no such host counts as well, as in Envoy.
    if (changes || (update.answered ?? []).length > 0) {
      await this.#table.publish(changes, update.version);
      this.#stats.config_reload.inc();
    }
    this.#answer();
    const aliases = new Set(update.answered);
    for (const { name } of update.changed) aliases.delete(name);
    for (const name of [...(update.answered ?? []), ...update.removed]) {
      // What does not exist is not followed: clients may name anything.
      this.#settle(name, this.#hosts.has(name) || (update.changed.length > 0 && aliases.has(name)));
    }
    return [];
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection'): void {
    if (reason !== 'connection') this.#answer();
  }

  #settle(name: string, found: boolean): void {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) return;
    this.#waiting.delete(name);
    clearTimeout(waiting.timer);
    if (!found) this.#subscription.unwant([name]);
    for (const go of waiting.told) go(found);
  }

  #answer(): void {
    this.#onAnswer?.();
    this.#onAnswer = null;
  }
}
