import { type DescMessage, toBinary } from '@bufbuild/protobuf';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import type { LoggerRegistry } from '../../base/log.ts';
import type { ListenerSpec } from '../../config/builders/listener.ts';
import type { Address } from '../../net/address.ts';
import type { ListenOutcome } from '../../worker/messages.ts';
import type { DiscoveredResource, ResourceRefusal, ResourceUpdate } from '../../xds/resource-source.ts';
import type { LISTENER_MANAGER_STATS } from '../server-stats.ts';
import { noteError, sameBytes } from './cluster-updates.ts';
import { InitTargets } from './init-targets.ts';
import type { Needs, NeedsKeeper } from './needs.ts';
import type { ResourceBuilds } from './resource-builds.ts';
import type { WorkerOrders } from './worker-orders.ts';

/** One version of a listener. */
export interface ListenerVersion {
  /** Of one without a name: an id of our own making. */
  readonly name: string;
  readonly spec: ListenerSpec;
  /** As it came. */
  readonly message: Listener;
  /** What workers are given; with a name in any case. */
  readonly bytes: Uint8Array;
  /** Of the answer that brought it; empty in the bootstrap. */
  readonly version: string;
  /** Wall-clock ms. */
  readonly updatedMs: number;
  readonly addedViaApi: boolean;
  /** Routes, discovered extensions, and what its transport sockets take from the workers' feeds. */
  readonly needs: Needs;
  /** As configured; with real ports once it is open. */
  readonly addresses: string[];
  /** What it waits for before it may serve. */
  readonly targets: InitTargets;
}

/** The last update of a listener that was refused. */
export interface ListenerError {
  readonly name: string;
  readonly details: string;
  readonly message: Listener;
  readonly attemptedMs: number;
}

export interface ListenerUpdatesParts {
  readonly listenerType: DescMessage;
  readonly stats: ReturnType<typeof LISTENER_MANAGER_STATS.create>;
  readonly loggers: LoggerRegistry;
  readonly builds: ResourceBuilds;
  readonly needs: NeedsKeeper;
  readonly orders: WorkerOrders;
  readonly workerCount: number;
  /** What the start waits for. */
  readonly init: InitTargets;
  clusterNames(): ReadonlySet<string>;
  /** Opens an address of a listener for a moment. @returns why it cannot be opened; empty: it can */
  bindFault(spec: ListenerSpec, address: Address): string;
}

/** The listeners of the process, on main: versions, warming, draining. Source: Envoy, ListenerManagerImpl. */
export class ListenerUpdates {
  readonly active = new Map<string, ListenerVersion>();
  readonly warming = new Map<string, ListenerVersion>();
  readonly draining = new Set<ListenerVersion>();
  /** By name: the last refusal of each listener since it was last taken. */
  readonly errors = new Map<string, ListenerError>();
  /** Of the last update. */
  lastErrors: readonly ListenerError[] = [];
  /** Versions whose taken-away filter chains drain. */
  readonly drainingChains = new Set<ListenerVersion>();
  /** `version_info` of the last update that changed anything. */
  version = '';
  /** `/drain_listeners`, or the end: nothing is added any more. */
  stopped = false;
  readonly #parts: ListenerUpdatesParts;
  /** Listeners without names, by the ids that they were given, and the resource that brought each: empty for a state of the world. */
  readonly #nameless = new Map<string, string>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #drainingChainCount = 0;
  #started = false;
  /** Openings come one after the other. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(parts: ListenerUpdatesParts) {
    this.#parts = parts;
  }

  get started(): boolean {
    return this.#started;
  }

  /** The bootstrap's: open with {@link start}. */
  addStatic(versions: readonly Omit<ListenerVersion, 'targets'>[]): void {
    for (const version of versions) {
      this.#parts.stats.listener_added.inc();
      this.#addBeforeStart({ ...version, targets: new InitTargets(`Listener ${version.name}`) });
    }
    this.#countGauges();
  }

  #addBeforeStart(version: ListenerVersion): void {
    const target = this.#parts.init.add(`Listener-init-target ${version.name}`);
    this.active.set(version.name, version);
    this.#prepare(version);
    version.targets.whenReady(() => target.ready());
  }

  /** Asks for what the version needs. */
  #prepare(version: ListenerVersion): void {
    this.#parts.needs.acquire(version.needs, version.targets);
  }

  /** Opens all that there are. @throws Error when an address of a listener of the configuration file cannot be bound */
  start(): Promise<void> {
    return this.#inTurn(() => this.#start());
  }

  async #start(): Promise<void> {
    this.#started = true;
    for (;;) {
      const { failure } = await this.#open([...this.active.values()], false);
      if (failure === null) break;
      const name = failure.listener;
      const details = this.#failedToBind(name, failure.error);
      const version = this.active.get(name);
      if (version?.addedViaApi !== true) throw new Error(details);
      // It could be bound when it came: somebody else was quicker. One that was discovered ends nothing.
      noteError(this.errors, { name, details, message: version.message, attemptedMs: Date.now() });
      await this.#parts.orders.removeListeners([...this.active.keys()]);
      this.active.delete(name);
      this.#release(version);
    }
    this.#countGauges();
  }

  /** @returns the reason */
  #failedToBind(name: string, reason: string): string {
    const { stats, loggers } = this.#parts;
    stats.listener_create_failure.inc();
    loggers.get('config').error(`listener '${name}' failed to bind or apply socket options: ${reason}`);
    return reason;
  }

  /**
   * A listener that warms is opened once it is warm, but Envoy binds it when it comes, and refuses one that cannot be bound.
   * @returns empty: nothing stands in the way
   */
  #bindFault(spec: ListenerSpec): string {
    if (!spec.bindToPort) return '';
    const ours = [...this.active.values(), ...this.warming.values(), ...this.draining];
    for (const address of spec.addresses) {
      if (address.kind !== 'ip' || address.port === 0) continue;
      if (ours.some((version) => version.addresses.includes(address.text))) continue;
      const fault = this.#parts.bindFault(spec, address);
      if (fault !== '') return fault;
    }
    return '';
  }

  /** @returns the first that failed (null: all are open), and how many workers have carried the order out */
  async #open(
    versions: readonly ListenerVersion[],
    inPlace: boolean,
  ): Promise<{ readonly failure: ListenOutcome | null; readonly workers: number }> {
    const { orders, stats, workerCount } = this.#parts;
    const failed: ListenOutcome[] = [];
    const workers = await orders.listeners(
      versions.map(({ name, bytes }) => ({ name, bytes, inPlace })),
      (outcome) => {
        if (outcome.error !== '') {
          failed.push(outcome);
          return;
        }
        const version = versions.find((each) => each.name === outcome.listener);
        if (version !== undefined) version.addresses[outcome.addressIndex] = outcome.address;
      },
    );
    if (failed.length === 0) stats.listener_create_success.add(versions.length * workerCount);
    return { failure: failed[0] ?? null, workers };
  }

  /** What LDS (or the watched file) says. Removals come first: an address may go from one listener to another. */
  apply(update: ResourceUpdate, name = 'lds', viaApi = true): Promise<readonly ResourceRefusal[]> {
    return this.#inTurn(() => this.#apply(update, name, viaApi));
  }

  /** One change at a time: while a version is being opened in one worker after the other, nothing may take its place. */
  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(step);
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async #apply(update: ResourceUpdate, name: string, viaApi: boolean): Promise<readonly ResourceRefusal[]> {
    const log = this.#parts.loggers.get('upstream');
    const refusals: ResourceRefusal[] = [];
    const errors: ListenerError[] = [];
    const seen = new Set<string>();
    let applied = false;
    // A listener without a name is another one every time that its resource comes, as in Envoy: the old one goes first.
    const changed = new Set(update.changed.map((resource) => resource.name));
    const gone = [...this.#nameless].filter(([, of]) => changed.has(of) || update.removed.includes(of));
    for (const removed of [...gone.map(([id]) => id), ...update.removed]) {
      if (!(await this.#remove(removed, viaApi))) continue;
      log.info(`${name}: remove listener '${removed}'`);
      applied = true;
    }
    for (const resource of update.changed) {
      if (seen.has(resource.name)) {
        const details = `duplicate listener ${resource.name} found`;
        refusals.push({ name: resource.name, details });
        errors.push({ name: resource.name, details, message: resource.message as Listener, attemptedMs: Date.now() });
        continue;
      }
      seen.add(resource.name);
      const outcome = await this.#addOrUpdate(resource, viaApi);
      if (typeof outcome === 'string') {
        refusals.push({ name: resource.name, details: outcome });
        const message = resource.message as Listener;
        const error = { name: resource.name, details: outcome, message, attemptedMs: Date.now() };
        noteError(this.errors, error);
        errors.push(error);
        continue;
      }
      this.errors.delete(resource.name);
      if (!outcome) continue;
      log.info(`${name}: add/update listener '${resource.name}'`);
      applied = true;
    }
    this.lastErrors = errors;
    // The configuration file has no version, and says nothing of that of LDS.
    if (applied && viaApi) this.version = update.version;
    return refusals;
  }

  /**
   * What of an edit of the configuration file would be refused; nothing is changed.
   * @param clusterNames as they will be
   */
  refusalsOf(
    changed: readonly DiscoveredResource[],
    removed: readonly string[],
    clusterNames: ReadonlySet<string>,
  ): ResourceRefusal[] {
    if (this.stopped && changed.length + removed.length > 0) {
      return [{ name: 'listeners', details: 'they are being drained: none is added or changed any more' }];
    }
    const goes = new Set([...removed, ...changed.map(({ name }) => name)]);
    const stays = [...this.active.values(), ...this.warming.values()].filter(({ name }) => !goes.has(name));
    return changed.flatMap((resource) => {
      const { name } = resource;
      const previous = this.active.get(name) ?? this.warming.get(name) ?? null;
      if (previous?.addedViaApi === true) return { name, details: 'LDS has a listener of this name' };
      const built = this.#parts.builds.listener(resource, clusterNames);
      const details = built.ok ? this.#conflict(built.value.spec, previous, stays) : built.error;
      return details === '' ? [] : { name, details };
    });
  }

  /** @returns the refusal, or whether anything changed */
  async #addOrUpdate(resource: DiscoveredResource, viaApi: boolean): Promise<string | boolean> {
    if (this.stopped) return false;
    const { stats, builds } = this.#parts;
    const message = resource.message as Listener;
    const isNameless = message.name === '';
    const name = isNameless ? crypto.randomUUID() : message.name;
    const present = this.active.get(name);
    const warming = this.warming.get(name);
    if (present !== undefined && warming !== undefined && sameBytes(present.bytes, resource.bytes)) {
      this.#forget(warming);
      stats.listener_modified.inc();
      return true;
    }
    for (const version of [warming, present]) {
      if (version === undefined) continue;
      if (version.addedViaApi !== viaApi || sameBytes(version.bytes, resource.bytes)) return false;
    }
    const named = isNameless ? this.#named(resource, name) : resource;
    const built = builds.listener(named, this.#parts.clusterNames());
    if (!built.ok) return built.error;
    const { spec, needs } = built.value;
    const inPlace = this.#started && present !== undefined && this.#onlyChainsDiffer(present.message, message);
    const others = [...this.active.values(), ...this.warming.values()];
    const refusal = this.#conflict(spec, present ?? warming ?? null, others);
    if (refusal !== '') return refusal;
    const fault = inPlace ? '' : this.#bindFault(spec);
    if (fault !== '') return this.#failedToBind(name, fault);
    const next: ListenerVersion = {
      name,
      spec,
      message,
      bytes: named.bytes,
      // An update in place goes on under the version that it changes, as in Envoy.
      version: inPlace ? present.version : resource.version,
      updatedMs: Date.now(),
      addedViaApi: viaApi,
      needs,
      addresses: spec.addresses.map((address) => address.text),
      targets: new InitTargets(`Listener ${name}`),
    };
    if (isNameless) this.#nameless.set(name, resource.name);
    if (inPlace) stats.listener_in_place_updated.inc();
    if (present === undefined && warming === undefined) stats.listener_added.inc();
    else stats.listener_modified.inc();
    if (!this.#started) {
      this.#addBeforeStart(next);
      // The start would wait for it without end: what it asked for may never be answered.
      if (present !== undefined) this.#abandon(present);
      this.#countGauges();
      return true;
    }
    if (warming !== undefined) this.#forget(warming);
    this.warming.set(name, next);
    this.#prepare(next);
    this.#countGauges();
    if (next.targets.isReady) return (await this.#takeOver(next, inPlace)) || true;
    next.targets.whenReady(() => void this.#inTurn(() => this.#takeOverLater(next, inPlace)));
    return true;
  }

  /** The same resource, whose listener bears a name. */
  #named(resource: DiscoveredResource, name: string): DiscoveredResource {
    const message = { ...(resource.message as Listener), name };
    return { ...resource, message, bytes: toBinary(this.#parts.listenerType, message) };
  }

  /** What Envoy's listener manager refuses before anything is opened. */
  #conflict(spec: ListenerSpec, previous: ListenerVersion | null, others: readonly ListenerVersion[]): string {
    if (previous !== null && previous.spec.reusePort !== spec.reusePort) {
      return `Listener ${spec.name}: reuse port cannot be changed during an update`;
    }
    for (const other of others) {
      if (other.name === spec.name) continue;
      for (const address of spec.addresses) {
        // The system gives each its own port; what is never bound is found by its address.
        if (spec.bindToPort && address.kind === 'ip' && address.port === 0) continue;
        if (!other.spec.addresses.some((each) => each.text === address.text)) continue;
        return `error adding listener: '${spec.name}' has duplicate address '${address.text}' as existing listener, to check if the listener has duplicated addresses with other listeners or 'enable_reuse_port' is set to 'false' for the listener`;
      }
    }
    return '';
  }

  #onlyChainsDiffer(present: Listener, next: Listener): boolean {
    return sameBytes(this.#withoutChains(present), this.#withoutChains(next));
  }

  #withoutChains(message: Listener): Uint8Array {
    const { defaultFilterChain: _default, filterChainMatcher: _matcher, ...rest } = message;
    return toBinary(this.#parts.listenerType, { ...rest, filterChains: [] } as unknown as Listener);
  }

  /** It has warmed: nobody waits for the outcome any more. */
  async #takeOverLater(version: ListenerVersion, inPlace: boolean): Promise<void> {
    const details = await this.#takeOver(version, inPlace).catch((error: unknown) => String(error));
    if (details === '') return;
    const { name, message } = version;
    noteError(this.errors, { name, details, message, attemptedMs: Date.now() });
    this.#parts.loggers.get('config').error(details);
  }

  /** The warmed version takes over. @returns why it could not; empty: it serves */
  async #takeOver(version: ListenerVersion, inPlace: boolean): Promise<string> {
    const { name } = version;
    // Another update, or a removal, may have come in between.
    if (this.warming.get(name) !== version || this.stopped) return '';
    const previous = this.active.get(name);
    const keepsSockets = inPlace && previous !== undefined;
    if (keepsSockets) version.addresses.splice(0, version.addresses.length, ...previous.addresses);
    const { failure, workers } = await this.#open([version], keepsSockets);
    if (failure !== null) {
      this.#forget(version);
      if (workers > 0) await this.#goBack(name, previous, workers, keepsSockets);
      return this.#failedToBind(name, failure.error);
    }
    // `/drain_listeners` came in between, and some workers had not opened it yet.
    if (this.stopped) await this.#parts.orders.removeListeners([name]);
    this.warming.delete(name);
    this.active.set(name, version);
    if (previous !== undefined) {
      if (keepsSockets) this.#drainChains(previous, version);
      else this.#drain(previous);
    }
    this.#countGauges();
    return '';
  }

  /** One worker could not open the version: those that did must not be left alone with it. */
  async #goBack(name: string, previous: ListenerVersion | undefined, workers: number, inPlace: boolean): Promise<void> {
    const { orders } = this.#parts;
    try {
      if (previous === undefined) await orders.removeListeners([name]);
      else await orders.listeners([{ name, bytes: previous.bytes, inPlace }], () => {}, workers);
    } catch (error) {
      this.#parts.loggers.get('config').error(`listener '${name}': ${String(error)}`);
    }
  }

  /** A version that never served. */
  #forget(version: ListenerVersion): void {
    if (this.warming.get(version.name) === version) this.warming.delete(version.name);
    this.#release(version);
    this.#countGauges();
  }

  /** A version of the time before the start that will not be opened. */
  #abandon(version: ListenerVersion): void {
    for (const target of version.targets.unready) target.ready();
    this.#release(version);
  }

  /** What it needed may go. */
  #release(version: ListenerVersion): void {
    this.#parts.needs.release(version.needs);
  }

  #drain(version: ListenerVersion): void {
    this.draining.add(version);
    this.#afterDrainTime(() => {
      this.draining.delete(version);
      this.#release(version);
      this.#countGauges();
    });
  }

  #drainChains(previous: ListenerVersion, next: ListenerVersion): void {
    const kept = new Set(next.spec.chainSpecs.map((chain) => chain.key));
    const count = previous.spec.chainSpecs.filter((chain) => !kept.has(chain.key)).length;
    this.#drainingChainCount += count;
    if (count > 0) this.drainingChains.add(previous);
    this.#afterDrainTime(() => {
      this.#drainingChainCount -= count;
      this.drainingChains.delete(previous);
      this.#release(previous);
      this.#countGauges();
    });
  }

  #afterDrainTime(done: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      done();
    }, this.#parts.orders.drainMs);
    timer.unref();
    this.#timers.add(timer);
  }

  async #remove(name: string, viaApi: boolean): Promise<boolean> {
    const present = this.active.get(name);
    const warming = this.warming.get(name);
    this.errors.delete(name);
    this.#nameless.delete(name);
    if (present === undefined && warming === undefined) return false;
    if ((present ?? warming)!.addedViaApi !== viaApi) return false;
    this.#parts.stats.listener_removed.inc();
    if (warming !== undefined) this.#forget(warming);
    if (present === undefined) return true;
    this.active.delete(name);
    if (!this.#started) {
      this.#abandon(present);
    } else {
      await this.#parts.orders.removeListeners([name]);
      this.#drain(present);
    }
    this.#countGauges();
    return true;
  }

  #countGauges(): void {
    const { stats } = this.#parts;
    const opened = this.#started ? this.active.size : 0;
    stats.total_listeners_active.set(opened);
    stats.total_listeners_warming.set(this.warming.size + (this.active.size - opened));
    stats.total_listeners_draining.set(this.draining.size);
    stats.total_filter_chains_draining.set(this.#drainingChainCount);
  }

  stop(): void {
    this.stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
