import {
  DISCOVERED_STAT_NAMES,
  type DiscoveredKind,
  type ExtensionDependency,
} from '../../config/builders/discovered-extension.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type {
  DiscoveredResource,
  ResourceRefusal,
  ResourceUpdate,
  ResourceWatcher,
  Subscription,
} from '../../xds/resource-source.ts';
import { EXTENSION_TYPE } from '../../xds/resource-type.ts';
import { sameBytes } from './cluster-updates.ts';
import { type InitTarget, InitTargets } from './init-targets.ts';
import type { Needs, NeedsKeeper } from './needs.ts';
import { FirstAnswer, type Provider, Providers } from './providers.ts';
import type { ResourceBuilds } from './resource-builds.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { WorkerOrders } from './worker-orders.ts';

const ECDS_STATS = defineStats({ counters: ['config_conflict', 'config_fail', 'config_reload'] } as const);

/** A discovered extension as it is in force. */
export interface ExtensionVersion {
  readonly kind: DiscoveredKind;
  readonly name: string;
  readonly resource: DiscoveredResource;
  readonly updatedMs: number;
  /** What it needs in its turn: a connection manager has routes, and filters. */
  readonly needs: Needs;
  readonly targets: InitTargets;
}

export interface ExtensionUpdatesParts {
  readonly builds: ResourceBuilds;
  readonly orders: WorkerOrders;
  readonly subscriptions: Subscriptions;
  /** Root of main's store. */
  readonly stats: Scope;
  clusterNames(): ReadonlySet<string>;
  /** Who follows what an extension needs. */
  keeper(): NeedsKeeper;
}

/** One discovered extension, for all places that name it by the same source. Source: Envoy, FilterConfigSubscription. */
class ExtensionProvider implements ResourceWatcher, Provider {
  readonly key: string;
  readonly kind: DiscoveredKind;
  readonly name: string;
  readonly first = new FirstAnswer();
  users = 0;
  /** By what they ask for: each as often as a version of a listener has it. */
  readonly uses: ExtensionDependency[] = [];
  /** In force in the workers. */
  current: ExtensionVersion | null = null;
  /** Taken, and waiting for what it needs. */
  #next: ExtensionVersion | null = null;
  readonly #parts: ExtensionUpdatesParts;
  readonly #scope: Scope;
  readonly #stats;
  readonly #subscription: Subscription;
  #started = false;
  #stopped = false;
  /** Orders go out in turn. */
  #queue: Promise<void> = Promise.resolve();

  constructor({ key, kind, name, source }: ExtensionDependency, parts: ExtensionUpdatesParts) {
    this.key = key;
    this.kind = kind;
    this.name = name;
    this.#parts = parts;
    this.#scope = parts.stats.createScope(`extension_config_discovery.${DISCOVERED_STAT_NAMES[kind]}.${name}`);
    this.#stats = ECDS_STATS.create(this.#scope);
    const interest = { type: EXTENSION_TYPE, names: [name], hearsRemovals: true };
    this.#subscription = parts.subscriptions.open(source, interest, this, this.#scope);
  }

  /** Another place that asks for it. What is in force may not be fit for it: then it has its default. */
  use(dependency: ExtensionDependency): void {
    this.uses.push(dependency);
    const { current } = this;
    if (current === null) return;
    const built = this.#parts.builds.extension(current.resource, dependency, this.#parts.clusterNames());
    if (!built.ok) this.#stats.config_conflict.inc();
  }

  disuse(dependency: ExtensionDependency): void {
    const at = this.uses.indexOf(dependency);
    if (at >= 0) this.uses.splice(at, 1);
  }

  /** @param target is ready with the first answer, whatever it is; null: nobody waits */
  start(target: InitTarget | null): void {
    if (target !== null) this.first.await(target);
    if (this.#started) return;
    this.#started = true;
    this.#subscription.start();
  }

  stop(): void {
    this.#stopped = true;
    this.#subscription.stop();
    this.#scope.close();
    for (const version of [this.current, this.#next]) if (version !== null) this.#release(version);
    this.current = null;
    this.#next = null;
  }

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const { name } = this;
    const refuse = (details: string) => Promise.resolve([{ name, details }]);
    if (update.removed.length > 0) {
      this.#remove();
      return Promise.resolve([]);
    }
    if (update.changed.length !== 1) {
      return refuse(`Unexpected number of resources in ExtensionConfigDS response: ${update.changed.length}`);
    }
    const resource = update.changed[0]!;
    if (resource.name !== name) {
      return refuse(`Unexpected resource name in ExtensionConfigDS response: ${resource.name}`);
    }
    const last = this.#next ?? this.current;
    if (last !== null && sameBytes(last.resource.bytes, resource.bytes)) {
      this.first.lastRefusal = '';
      return Promise.resolve([]);
    }
    let needs: Needs | null = null;
    for (const use of distinct(this.uses)) {
      const built = this.#parts.builds.extension(resource, use, this.#parts.clusterNames());
      if (!built.ok) return refuse(built.error);
      needs = built.value;
    }
    if (needs === null) return Promise.resolve([]);
    const targets = new InitTargets(`ExtensionConfig ${name}`);
    const next: ExtensionVersion = {
      kind: this.kind,
      name,
      resource,
      updatedMs: Date.now(),
      needs,
      targets,
    };
    const passedOver = this.#next;
    this.#next = next;
    this.#parts.keeper().acquire(needs, targets);
    if (passedOver !== null) this.#release(passedOver);
    this.first.lastRefusal = '';
    // Not awaited: what it needs may come behind this answer on the same stream.
    targets.whenReady(() => this.#inTurn(() => this.#takeOver(next)));
    return this.#queue.then(() => []);
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    this.first.refused(details);
    if (reason === 'connection') return;
    this.#stats.config_fail.inc();
    this.first.came();
  }

  #inTurn(step: () => Promise<void>): void {
    this.#queue = this.#queue.then(step).catch((error: unknown) => {
      // A worker could not take it (a bug: main has built it): it must be seen, and nobody waits for it.
      this.first.lastRefusal = String(error);
      this.first.came();
    });
  }

  async #takeOver(next: ExtensionVersion): Promise<void> {
    if (this.#next !== next || this.#stopped) return;
    this.#next = null;
    const previous = this.current;
    this.current = next;
    await this.#parts.orders.extensions([{ key: this.key, bytes: next.resource.bytes }], []);
    this.#stats.config_reload.inc();
    if (previous !== null) this.#release(previous);
    this.first.came();
  }

  /** Its places have their defaults again. */
  #remove(): void {
    const { current } = this;
    if (this.#next !== null) this.#release(this.#next);
    this.#next = null;
    this.current = null;
    this.#inTurn(async () => {
      await this.#parts.orders.extensions([], [this.key]);
      this.#stats.config_reload.inc();
      if (current !== null) this.#release(current);
      this.first.came();
    });
  }

  /** Connections that began with it go on for the drain time, and may look up its routes. */
  #release(version: ExtensionVersion): void {
    this.#parts.keeper().releaseLater(version.needs);
  }
}

/** Places that ask for the same are judged once. */
function distinct(uses: readonly ExtensionDependency[]): ExtensionDependency[] {
  const found = new Map<string, ExtensionDependency>();
  for (const use of uses) found.set(`${use.isLast} ${use.typeNames.join(' ')}`, use);
  return [...found.values()];
}

/** The discovered extensions of the process, on main. */
export class ExtensionUpdates {
  readonly #parts: ExtensionUpdatesParts;
  readonly #providers = new Providers<ExtensionProvider>();

  constructor(parts: ExtensionUpdatesParts) {
    this.#parts = parts;
  }

  /** Configurations in force, for `/config_dump`. */
  *current(): IterableIterator<ExtensionVersion> {
    for (const { current } of this.#providers.values()) if (current !== null) yield current;
  }

  /** Those whose last update was refused. */
  refusals(): { readonly name: string; readonly details: string }[] {
    return this.#providers.refusals();
  }

  /** A listener's version needs the extension. Its first configuration is asked for by {@link start}. */
  acquire(dependency: ExtensionDependency): void {
    this.#providers.acquire(dependency.key, () => new ExtensionProvider(dependency, this.#parts)).use(dependency);
  }

  /** @param target null: nobody waits for it */
  start(dependency: ExtensionDependency, target: InitTarget | null): void {
    this.#providers.get(dependency.key)?.start(target);
  }

  /** The listener's version is gone. */
  release(dependency: ExtensionDependency): void {
    const { key } = dependency;
    this.#providers.get(key)?.disuse(dependency);
    if (this.#providers.release(key)) void this.#parts.orders.extensions([], [key]).catch(() => {});
  }

  stop(): void {
    this.#providers.stop();
  }
}
