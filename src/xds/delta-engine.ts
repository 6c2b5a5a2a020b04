import type { ResourceDecoder } from './resource-decoder.ts';
import type {
  DiscoveredResource,
  Interest,
  ResourceRefusal,
  ResourceUpdate,
  ResourceWatcher,
} from './resource-source.ts';
import type { ResourceType } from './resource-type.ts';
import type { SubscriptionStats } from './subscription-stats.ts';

/** The longest delay that the runtime's own timer takes; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** What a transport delivers after translation: one change of one type. */
export interface TypeDelta {
  readonly changed: readonly DiscoveredResource[];
  readonly removed: readonly string[];
  /** Names and aliases that the server answered for, whether they exist or not. Of virtual hosts alone. */
  readonly answered?: readonly string[];
  readonly version: string;
}

/** One watcher's interest in one type, with its counts and its first deadline. */
export class Watch {
  readonly interest: Interest;
  readonly watcher: ResourceWatcher;
  readonly stats: SubscriptionStats;
  /** What it wants by name: more as it asks for more. */
  readonly names = new Set<string>();
  /** The server has said something, be it that there is nothing. */
  isAnswered = false;
  /** The same, or it has not come in time. */
  isFirstOver = false;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(interest: Interest, watcher: ResourceWatcher, stats: SubscriptionStats) {
    this.interest = interest;
    this.watcher = watcher;
    this.stats = stats;
  }

  /** @param timeoutMs the first answer must have come by then; 0: it is waited for without end */
  start(timeoutMs: number): void {
    this.stats.onAttempt();
    if (timeoutMs <= 0) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.isFirstOver = true;
        this.stats.onTimeout();
        this.watcher.onFailure('timeout', '');
        this.stats.onAttempt();
      },
      Math.min(timeoutMs, MAX_DELAY_MS),
    );
    this.#timer.unref?.();
  }

  answered(): void {
    this.isAnswered = true;
    this.isFirstOver = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/**
 * One type's resources on one stream: who wants which, which are held at which version, which expire. Both forms of the
 * protocol end here: a state of the world is made a change of what is held.
 */
export class TypeEngine {
  readonly type: ResourceType;
  readonly watches = new Set<Watch>();
  readonly #wildcards = new Set<Watch>();
  /** They want what is named `<namespace>/...`. */
  readonly #namespaces = new Set<Watch>();
  readonly #again = new Set<string>();
  /** There may be one for each of many thousands of clusters. */
  readonly #byName = new Map<string, Set<Watch>>();
  /** Undefined: to be gathered anew. */
  #wanted: ReadonlySet<string> | null | undefined = undefined;
  /** Versions of the resources that were taken: `initial_resource_versions` of the next stream. */
  readonly versions = new Map<string, string>();
  readonly #decoder: ResourceDecoder;
  /** In force, of those that are wanted by name. */
  readonly #latest = new Map<string, DiscoveredResource>();
  readonly #expiries = new Map<string, ReturnType<typeof setTimeout>>();
  /** Nobody wants them since the last request: what is held of them counts until the server is told. */
  readonly #dropped = new Set<string>();

  constructor(type: ResourceType, decoder: ResourceDecoder) {
    this.type = type;
    this.#decoder = decoder;
  }

  get decoder(): ResourceDecoder {
    return this.#decoder;
  }

  /** Null: all of them. `*` among names: all of them, and these on demand. The same object until interest changes. */
  wanted(): ReadonlySet<string> | null {
    if (this.#wanted === undefined) {
      const names = this.#byName.keys();
      this.#wanted =
        this.#wildcards.size === 0 ? new Set(names) : this.#byName.size === 0 ? null : new Set(['*', ...names]);
    }
    return this.#wanted;
  }

  /** Somebody wants all that there are. */
  get wantsAll(): boolean {
    return this.#wildcards.size > 0;
  }

  /** Somebody asks with no name and learns of a namespace's resources. */
  get hasNamespaces(): boolean {
    return this.#namespaces.size > 0;
  }

  /** Names to ask for although the server has heard of them; they are forgotten by this. */
  takeAgain(): readonly string[] {
    const again = [...this.#again];
    this.#again.clear();
    return again;
  }

  get asksAgain(): boolean {
    return this.#again.size > 0;
  }

  add(watch: Watch): void {
    this.watches.add(watch);
    this.#wanted = undefined;
    const { names, namespace } = watch.interest;
    if (names === null) this.#wildcards.add(watch);
    if (namespace !== undefined) this.#namespaces.add(watch);
    for (const name of names ?? []) this.#addName(watch, name);
  }

  #addName(watch: Watch, name: string): void {
    this.#wanted = undefined;
    watch.names.add(name);
    const others = this.#byName.get(name);
    if (others === undefined) this.#byName.set(name, new Set([watch]));
    else others.add(watch);
  }

  /** More names that a watcher wants; the server is asked even for those that it has heard of. */
  want(watch: Watch, names: readonly string[]): void {
    if (!this.watches.has(watch)) return;
    // As Envoy counts: what comes before the first answer is part of the first request.
    if (watch.isFirstOver) watch.stats.onAttempt();
    for (const name of names) {
      if (watch.names.has(name)) this.#again.add(name);
      else this.#addName(watch, name);
    }
  }

  /** Names that a watcher asked for on demand and has no use for. */
  unwant(watch: Watch, names: readonly string[]): void {
    for (const name of names) {
      if (!watch.names.delete(name)) continue;
      this.#again.delete(name);
      this.#dropName(watch, name);
    }
  }

  #dropName(watch: Watch, name: string): void {
    this.#wanted = undefined;
    const others = this.#byName.get(name);
    others?.delete(watch);
    if (others !== undefined && others.size > 0) return;
    this.#byName.delete(name);
    this.#dropped.add(name);
  }

  /**
   * Hands a change to everybody whom it concerns.
   * @param isWhole a state of the world: watchers by name hear only of what is there
   * @returns refusals; empty: all was taken
   */
  async apply(delta: TypeDelta, isWhole: boolean): Promise<readonly ResourceRefusal[]> {
    const refusals: ResourceRefusal[] = [];
    for (const watch of [...this.#wildcards]) {
      // Another watcher's update may have ended it.
      if (!this.watches.has(watch)) continue;
      // A first answer without anything is one: a start waits for it.
      if (isWhole || !watch.isAnswered || delta.changed.length + delta.removed.length > 0) {
        refusals.push(...(await this.#tell(watch, delta, isWhole)));
      }
    }
    for (const watch of [...this.#namespaces]) {
      if (!this.watches.has(watch)) continue;
      const ours = (name: string): boolean => name.slice(0, name.lastIndexOf('/')) === watch.interest.namespace;
      const changed = delta.changed.filter(({ name }) => ours(name));
      const removed = delta.removed.filter(ours);
      const answered = (delta.answered ?? []).filter(ours);
      if (changed.length + removed.length + answered.length === 0 && watch.isAnswered) continue;
      const update = { changed, removed, answered, version: delta.version };
      refusals.push(...(await this.#tell(watch, update, isWhole)));
    }
    // By name: an answer without the resource says nothing, a removal mostly leaves what is in force (as Envoy).
    const { version } = delta;
    for (const resource of delta.changed) {
      for (const watch of [...(this.#byName.get(resource.name) ?? [])]) {
        if (!this.watches.has(watch) || this.#namespaces.has(watch)) continue;
        refusals.push(...(await this.#tell(watch, { changed: [resource], removed: [], version }, isWhole)));
      }
    }
    for (const name of delta.removed) {
      for (const watch of [...(this.#byName.get(name) ?? [])]) {
        if (!this.watches.has(watch) || this.#namespaces.has(watch)) continue;
        if (watch.interest.hearsRemovals !== true) {
          // It was told, and has nothing to do.
          watch.stats.onSuccess(version, Date.now(), 0);
          continue;
        }
        refusals.push(...(await this.#tell(watch, { changed: [], removed: [name], version }, isWhole)));
      }
    }
    const refused = new Set(refusals.map((refusal) => refusal.name));
    const keeps = this.wanted() !== null;
    for (const resource of delta.changed) {
      // What nobody asked for is not kept, however much of it there is.
      if (refused.has(resource.name) || !this.isWanted(resource.name)) continue;
      this.versions.set(resource.name, resource.version);
      if (keeps) this.#latest.set(resource.name, resource);
    }
    for (const name of delta.removed) {
      this.versions.delete(name);
      this.#latest.delete(name);
      this.expire(name, 0);
    }
    return refusals;
  }

  /**
   * Gives a watcher that comes later what is in force already: servers do not say it again. (Envoy lets an EDS cluster that
   * changes wait until its timeout.)
   */
  async replay(watch: Watch, names = watch.interest.names): Promise<void> {
    if (names === null || !this.watches.has(watch) || watch.interest.namespace !== undefined) return;
    const changed = names.flatMap((name) => this.#latest.get(name) ?? []);
    const [first] = changed;
    if (first !== undefined) await this.#tell(watch, { changed, removed: [], version: first.version }, true);
  }

  /** What is in force, of those that are wanted by name. */
  latest(name: string): DiscoveredResource | undefined {
    return this.#latest.get(name);
  }

  /** A watcher has gone: what nobody wants is forgotten. */
  forget(watch: Watch): void {
    this.watches.delete(watch);
    this.#wildcards.delete(watch);
    this.#namespaces.delete(watch);
    this.#wanted = undefined;
    for (const name of watch.names) this.#dropName(watch, name);
  }

  /** Whether anybody wants the resource. */
  isWanted(name: string): boolean {
    if (this.#wildcards.size > 0 || this.#byName.has(name)) return true;
    if (this.#namespaces.size === 0) return false;
    const namespace = name.slice(0, name.lastIndexOf('/'));
    return [...this.#namespaces].some((watch) => watch.interest.namespace === namespace);
  }

  /**
   * The server is being told what is wanted: what is held of anything else is forgotten. Not before: a server that never heard that
   * a name was dropped would not say it again to whoever wants it next.
   */
  prune(): void {
    for (const name of this.#dropped) {
      if (this.#byName.has(name)) continue;
      this.#latest.delete(name);
      if (this.#wildcards.size > 0) continue;
      this.versions.delete(name);
      this.expire(name, 0);
    }
    this.#dropped.clear();
  }

  async #tell(watch: Watch, update: ResourceUpdate, isWhole: boolean): Promise<readonly ResourceRefusal[]> {
    const startMs = performance.now();
    const refusals = await this.#applyTo(watch, update);
    watch.answered();
    if (refusals.length === 0) {
      watch.stats.onSuccess(update.version, Date.now(), Math.round(performance.now() - startMs));
    } else {
      watch.stats.onRejected();
      // As Envoy counts: with delta an update that is refused was an attempt of its own.
      if (!isWhole) watch.stats.onAttempt();
      watch.watcher.onFailure('rejected', refusals.map(({ details }) => details).join('\n'));
    }
    watch.stats.onAttempt();
    return refusals;
  }

  /** What throws is a refusal too: an answer that is neither taken nor refused would stop the server for good. */
  async #applyTo(watch: Watch, update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    try {
      return await watch.watcher.onUpdate(update);
    } catch (error) {
      const details = `applying it failed: ${error instanceof Error ? error.message : String(error)}`;
      const [first] = [...update.changed.map(({ name }) => name), ...update.removed];
      return [{ name: first ?? '', details }];
    }
  }

  /** An answer that could not be read: everybody who may be concerned is told. */
  reject(details: string): void {
    for (const watch of this.watches) {
      watch.answered();
      watch.stats.onRejected();
      watch.watcher.onFailure('rejected', details);
      watch.stats.onAttempt();
    }
  }

  onConnectionFailure(details: string): void {
    for (const watch of this.watches) {
      watch.stats.onFailure();
      watch.watcher.onFailure('connection', details);
      watch.stats.onAttempt();
    }
  }

  /** @param ttlMs 0: it does not expire (any more) */
  expire(name: string, ttlMs: number, onExpired: () => void = () => {}): void {
    const present = this.#expiries.get(name);
    if (present !== undefined) clearTimeout(present);
    this.#expiries.delete(name);
    if (ttlMs <= 0) return;
    const waitMs = Math.min(ttlMs, MAX_DELAY_MS);
    const timer = setTimeout(() => {
      this.#expiries.delete(name);
      if (ttlMs > waitMs) this.expire(name, ttlMs - waitMs, onExpired);
      else onExpired();
    }, waitMs);
    timer.unref?.();
    this.#expiries.set(name, timer);
  }

  stop(): void {
    for (const timer of this.#expiries.values()) clearTimeout(timer);
    this.#expiries.clear();
    for (const watch of this.watches) watch.answered();
  }
}
