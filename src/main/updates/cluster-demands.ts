import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.d.ts';
import { DemandOutcome } from '../../routing/on-demand.ts';
import type { Scope } from '../../stats/store.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { CLUSTER_TYPE } from '../../xds/resource-type.ts';
import type { ClusterUpdates } from './cluster-updates.ts';
import type { ResourceBuilds } from './resource-builds.ts';
import type { Subscriptions } from './subscriptions.ts';

export interface ClusterDemandsParts {
  readonly builds: ResourceBuilds;
  readonly clusters: ClusterUpdates;
  readonly subscriptions: Subscriptions;
  /** Root of main's store. */
  readonly stats: Scope;
}

/** How long a cluster is still wanted that nobody waits for any more, ms. */
const GIVE_UP_MS = 60_000;
/** The longest delay that the runtime's own timer takes; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** One source of clusters that are asked for by name. Source: Envoy, OdCdsApiImpl. */
class ClusterSource implements ResourceWatcher {
  readonly #clusters: ClusterUpdates;
  readonly #subscription: Subscription | null;
  readonly #scope: Scope;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #started = false;
  /** By cluster: who is told that the server has none. */
  readonly #missing = new Map<string, Set<() => void>>();

  constructor(bytes: Uint8Array, { builds, clusters, subscriptions, stats }: ClusterDemandsParts) {
    this.#clusters = clusters;
    this.#scope = stats.createScope('cluster_manager.odcds');
    const source = builds.source(builds.decode<ConfigSource>('envoy.config.core.v3.ConfigSource', bytes));
    const interest = { type: CLUSTER_TYPE, names: [], hearsRemovals: true };
    this.#subscription = source === null ? null : subscriptions.open(source, interest, this, this.#scope);
  }

  /** @param timeoutMs a cluster that has not come by then is not found */
  ask(name: string, timeoutMs: number): Promise<DemandOutcome> {
    return new Promise((resolve) => {
      const missing = this.#missing.get(name) ?? new Set();
      this.#missing.set(name, missing);
      let over = false;
      let takeBack = (): void => {};
      const settle = (outcome: DemandOutcome): void => {
        if (over) return;
        over = true;
        clearTimeout(timer);
        takeBack();
        missing.delete(notThere);
        if (missing.size === 0 && this.#missing.get(name) === missing) this.#missing.delete(name);
        if (outcome === DemandOutcome.Missing && missing.size === 0) this.#subscription?.unwant([name]);
        else if (outcome === DemandOutcome.Late) this.#giveUpLater(name);
        resolve(outcome);
      };
      const notThere = (): void => settle(DemandOutcome.Missing);
      const timer = setTimeout(() => settle(DemandOutcome.Late), Math.min(timeoutMs, MAX_DELAY_MS));
      missing.add(notThere);
      takeBack = this.#clusters.whenServes(name, () => settle(DemandOutcome.Found));
      if (over || this.#subscription === null) return;
      if (!this.#started) {
        this.#started = true;
        this.#subscription.start();
      }
      this.#subscription.want([name]);
    });
  }

  /** Requests may name anything: what does not exist is not followed for ever. But what comes late is there for the next request. */
  #giveUpLater(name: string): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (this.#missing.has(name) || this.#clusters.active.has(name) || this.#clusters.warming.has(name)) return;
      this.#subscription?.unwant([name]);
    }, GIVE_UP_MS);
    timer.unref();
    this.#timers.add(timer);
  }

  async onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const refusals = await this.#clusters.apply(update, 'odcds');
    for (const name of update.removed) for (const notThere of [...(this.#missing.get(name) ?? [])]) notThere();
    return refusals;
  }

  onFailure(): void {}

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    // Their timers would keep the process.
    for (const waiting of [...this.#missing.values()]) for (const notThere of [...waiting]) notThere();
    this.#subscription?.stop();
    this.#scope.close();
  }
}

/** Clusters that are fetched when a request needs them. */
export class ClusterDemands {
  readonly #parts: ClusterDemandsParts;
  readonly #sources = new Map<string, ClusterSource>();

  constructor(parts: ClusterDemandsParts) {
    this.#parts = parts;
  }

  /** @param source an encoded ConfigSource */
  ask(source: Uint8Array, name: string, timeoutMs: number): Promise<DemandOutcome> {
    const key = Buffer.from(source).toString('latin1');
    let found = this.#sources.get(key);
    if (found === undefined) {
      found = new ClusterSource(source, this.#parts);
      this.#sources.set(key, found);
    }
    return found.ask(name, timeoutMs);
  }

  stop(): void {
    for (const source of this.#sources.values()) source.stop();
  }
}
