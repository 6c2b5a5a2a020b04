import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import type { ScopedRouteConfiguration } from '../../api/gen/envoy/config/route/v3/scoped_route_pb.d.ts';
import type { RouteDependency } from '../../config/builders/config-source.ts';
import { keyOfScope, type ScopeDependency } from '../../config/builders/scoped-routes.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type {
  DiscoveredResource,
  ResourceRefusal,
  ResourceUpdate,
  ResourceWatcher,
  Subscription,
} from '../../xds/resource-source.ts';
import { SCOPE_TYPE } from '../../xds/resource-type.ts';
import { sameBytes } from './cluster-updates.ts';
import { type InitTarget, InitTargets } from './init-targets.ts';
import { FirstAnswer, type Provider, Providers } from './providers.ts';
import type { ResourceBuilds } from './resource-builds.ts';
import type { RouteUpdates } from './route-updates.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { WorkerOrders } from './worker-orders.ts';

const SRDS_STATS = defineStats({
  counters: ['config_reload', 'update_empty'],
  gauges: ['active_scopes', 'all_scopes', 'on_demand_scopes'],
  neverImportGauges: ['config_reload_time_ms'],
} as const);

/** A scope as it was taken. */
interface ScopeVersion {
  readonly name: string;
  readonly scopeKey: string;
  readonly message: ScopedRouteConfiguration;
  readonly bytes: Uint8Array;
  /** By name: the tables that it waits for, and that are followed for it; null: inline, or on demand and not asked for yet. */
  route: RouteDependency | null;
  /** Key of its table in the workers; empty: none yet. */
  routes: string;
  /** Its table is there, or will not be waited for. */
  isReady: boolean;
}

/** The scopes of one source in force, for `/config_dump`. */
export interface ScopesInForce {
  readonly name: string;
  readonly version: string;
  readonly updatedMs: number;
  readonly messages: readonly ScopedRouteConfiguration[];
}

export interface ScopeUpdatesParts {
  readonly builds: ResourceBuilds;
  readonly orders: WorkerOrders;
  readonly subscriptions: Subscriptions;
  readonly routes: RouteUpdates;
  /** Root of main's store. */
  readonly stats: Scope;
  clusterNames(): ReadonlySet<string>;
}

/** The scopes of one source, for all connection managers that name it. Source: Envoy, ScopedRdsConfigSubscription. */
class ScopeProvider implements ResourceWatcher, Provider {
  readonly name: string;
  readonly first = new FirstAnswer();
  users = 0;
  readonly dependency: ScopeDependency;
  readonly #parts: ScopeUpdatesParts;
  readonly #scope: Scope;
  readonly #stats;
  readonly #subscription: Subscription;
  /** As they were taken. */
  readonly #scopes = new Map<string, ScopeVersion>();
  /** As workers have them: a version that waits for its table has not taken the place of the one before. */
  readonly #posted = new Map<string, ScopeVersion>();
  #version = '';
  #updatedMs = 0;
  #started = false;
  #stopped = false;
  /** Orders go out in turn. */
  #queue: Promise<void> = Promise.resolve();

  constructor(dependency: ScopeDependency, parts: ScopeUpdatesParts) {
    this.dependency = dependency;
    this.name = dependency.name;
    this.#parts = parts;
    this.#scope = parts.stats.createScope(`${dependency.statPrefix}.scoped_rds.${dependency.name}`);
    this.#stats = SRDS_STATS.create(this.#scope);
    this.#subscription = parts.subscriptions.open(
      dependency.source,
      { type: SCOPE_TYPE, names: null },
      this,
      this.#scope,
    );
  }

  /** @param target is ready when the first scopes have their tables, or none came */
  start(target: InitTarget): void {
    this.first.await(target);
    if (this.#started) return;
    this.#started = true;
    this.#subscription.start();
  }

  stop(): void {
    this.#stopped = true;
    this.#subscription.stop();
    this.#scope.close();
    const all = new Set([...this.#scopes.values(), ...this.#posted.values()]);
    // First: tables that workers have are kept for whoever has been posted.
    this.#scopes.clear();
    this.#posted.clear();
    for (const scope of all) this.#letGo(scope);
    // Whoever waited has gone, too.
    this.first.came();
  }

  get inForce(): ScopesInForce | null {
    if (this.#updatedMs === 0) return null;
    const messages = [...this.#scopes.values()].map((scope) => scope.message);
    messages.sort((a, b) => (a.name < b.name ? -1 : 1));
    return { name: this.dependency.name, version: this.#version, updatedMs: this.#updatedMs, messages };
  }

  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const refused = (name: string, details: string) => Promise.resolve([{ name, details }]);
    const conflict = this.#conflictIn(update);
    if (conflict !== null) return refused(conflict.name, `Error adding/updating scoped route(s): ${conflict.details}`);
    for (const resource of update.changed) {
      const fault = this.#faultOf(resource);
      if (fault !== '') return refused(resource.name, fault);
    }
    this.first.lastRefusal = '';
    const changedNames = new Set(update.changed.map(({ name }) => name));
    const removed = update.removed.filter((name) => !changedNames.has(name) && this.#scopes.has(name));
    for (const name of removed) this.#drop(name);
    const changed = update.changed.filter((resource) => this.#add(resource));
    if (changed.length + removed.length > 0) {
      this.#version = update.version;
      this.#updatedMs = Date.now();
    }
    this.#count();
    this.#stats.config_reload.inc();
    this.#stats.config_reload_time_ms.set(Date.now());
    // Tables that are waited for may come behind this answer on the same stream: until then requests go by the scopes that were.
    this.#inTurn(() => this.#sync());
    return this.#queue.then(() => []);
  }

  /**
   * A request needs the table of a scope: one that is on demand, or whose table did not come in time. It waits as long as it takes, as in
   * Envoy. @returns whether there is one now
   */
  async demand(name: string): Promise<boolean> {
    const scope = this.#scopes.get(name);
    if (scope === undefined || this.#stopped) return false;
    const { routeConfiguration, routeConfigurationName, onDemand } = scope.message;
    if (routeConfiguration !== undefined) return true;
    if (scope.route === null) {
      this.#follow(scope, new InitTargets(`scope ${name}`).add(`RDS ${routeConfigurationName}`));
      this.#count();
    }
    if (scope.route === null || !(await this.#parts.routes.present(scope.route.key))) return false;
    if (!onDemand) return true;
    const turn = this.#queue.then(async () => {
      if (this.#scopes.get(name) !== scope || this.#stopped) return;
      const { scopeKey, routes } = scope;
      await this.#parts.orders.scopes(this.dependency.key, [{ name, scopeKey, routes }], [], false);
    });
    this.#queue = turn.catch(() => {});
    await turn;
    return true;
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    this.first.refused(details);
    if (reason !== 'connection') this.first.came();
  }

  /** What Envoy refuses as a whole. */
  #conflictIn({ changed, removed }: ResourceUpdate): ResourceRefusal | null {
    const touched = new Set([...removed, ...changed.map(({ name }) => name)]);
    const byKey = new Map<string, string>();
    for (const scope of this.#scopes.values()) if (!touched.has(scope.name)) byKey.set(scope.scopeKey, scope.name);
    const seen = new Set<string>();
    for (const { name, message } of changed) {
      if (seen.has(name)) return { name, details: `duplicate scoped route configuration '${name}' found` };
      seen.add(name);
      const key = keyOfScope(message as ScopedRouteConfiguration);
      const other = byKey.get(key);
      if (other !== undefined) {
        return { name, details: `scope key conflict found, first scope is '${other}', second scope is '${name}'` };
      }
      byKey.set(key, name);
    }
    return null;
  }

  #faultOf(resource: DiscoveredResource): string {
    const { builds, clusterNames } = this.#parts;
    const { routeConfiguration, routeConfigurationName } = resource.message as ScopedRouteConfiguration;
    if (routeConfiguration !== undefined) {
      const built = builds.scope(resource, clusterNames());
      return built.ok ? '' : built.error;
    }
    if (routeConfigurationName === '') return 'a scope needs route_configuration or route_configuration_name';
    if (this.dependency.rdsSource === undefined) {
      return 'rds_config_source is missing, and the scope has no route_configuration';
    }
    return '';
  }

  /** @returns whether anything changes */
  #add(resource: DiscoveredResource): boolean {
    const { name, bytes } = resource;
    const message = resource.message as ScopedRouteConfiguration;
    const previous = this.#scopes.get(name);
    if (previous !== undefined && sameBytes(previous.bytes, bytes)) return false;
    const scopeKey = keyOfScope(message);
    const next: ScopeVersion = { name, scopeKey, message, bytes, route: null, routes: '', isReady: true };
    if (message.routeConfiguration !== undefined) {
      next.routes = `scope|${this.dependency.key}|${name}|${this.#parts.builds.digestOf(message.routeConfiguration)}`;
    } else if (!message.onDemand) {
      next.isReady = false;
      const targets = new InitTargets(`scope ${name}`);
      this.#follow(next, targets.add(`RDS ${message.routeConfigurationName}`));
      targets.whenReady(() => {
        next.isReady = true;
        this.#inTurn(() => this.#sync());
      });
    }
    // After the new one has asked: what both name goes on.
    this.#drop(name);
    this.#scopes.set(name, next);
    return true;
  }

  /** A version goes; workers may have it yet. */
  #drop(name: string): void {
    const scope = this.#scopes.get(name);
    this.#scopes.delete(name);
    if (scope !== undefined && this.#posted.get(name) !== scope) this.#letGo(scope);
  }

  /** Asks for the table that a scope names. */
  #follow(scope: ScopeVersion, target: InitTarget): void {
    const { builds, routes } = this.#parts;
    const { rdsSource, statPrefix } = this.dependency;
    const route = builds.routeDependency(rdsSource!, scope.message.routeConfigurationName, statPrefix);
    if (route === null) {
      target.ready();
      return;
    }
    scope.route = route;
    scope.routes = route.key;
    routes.acquire(route);
    routes.start(route.key, target);
  }

  /** Gives workers what is ready and they do not have. */
  async #sync(): Promise<void> {
    if (this.#stopped) return;
    const { orders, builds } = this.#parts;
    // One that takes no other's place need not wait for its table: requests may.
    const takenKeys = new Set([...this.#posted.values()].map(({ scopeKey }) => scopeKey));
    const changed = [...this.#scopes.values()].filter(
      (scope) =>
        this.#posted.get(scope.name) !== scope &&
        (scope.isReady || (!this.#posted.has(scope.name) && !takenKeys.has(scope.scopeKey))),
    );
    // A key stays with the scope that had it until the one that gets it has its table.
    const awaited = new Set(
      [...this.#scopes.values()].filter(({ isReady }) => !isReady).map(({ scopeKey }) => scopeKey),
    );
    const removed = [...this.#posted.values()].filter(
      ({ name, scopeKey }) => !this.#scopes.has(name) && !awaited.has(scopeKey),
    );
    const inline = changed.flatMap(({ message, routes }) =>
      message.routeConfiguration === undefined
        ? []
        : { key: routes, bytes: builds.encode<RouteConfiguration>(message.routeConfiguration) },
    );
    const gone = [...removed, ...changed.flatMap(({ name }) => this.#posted.get(name) ?? [])];
    for (const scope of changed) this.#posted.set(scope.name, scope);
    for (const { name } of removed) this.#posted.delete(name);
    if (changed.length + removed.length > 0) {
      if (inline.length > 0) await orders.routes(inline, []);
      const news = changed.map(({ name, scopeKey, routes }) => ({ name, scopeKey, routes }));
      const names = removed.map(({ name }) => name);
      // Workers may have been told meanwhile that nobody needs the scopes.
      if (!this.#stopped) await orders.scopes(this.dependency.key, news, names, false);
    }
    for (const scope of gone) this.#letGo(scope);
    if (awaited.size === 0) this.first.came();
  }

  #letGo(scope: ScopeVersion): void {
    if (scope.route !== null) this.#parts.routes.release(scope.route.key);
    else if (scope.routes !== '' && this.#posted.get(scope.name)?.routes !== scope.routes) {
      void this.#parts.orders.routes([], [scope.routes]).catch(() => {});
    }
    scope.route = null;
  }

  #inTurn(step: () => Promise<void>): void {
    this.#queue = this.#queue.then(step).catch((error: unknown) => {
      // A worker could not take it (a bug: main has built it): it must be seen, and nobody waits for it.
      this.first.lastRefusal = String(error);
      this.first.came();
    });
  }

  #count(): void {
    const scopes = [...this.#scopes.values()];
    this.#stats.all_scopes.set(scopes.length);
    this.#stats.on_demand_scopes.set(scopes.filter(({ message }) => message.onDemand).length);
    this.#stats.active_scopes.set(scopes.filter(({ route }) => route !== null).length);
  }
}

/** The discovered scopes of the process, on main. */
export class ScopeUpdates {
  readonly #parts: ScopeUpdatesParts;
  readonly #providers = new Providers<ScopeProvider>();

  constructor(parts: ScopeUpdatesParts) {
    this.#parts = parts;
  }

  *current(): IterableIterator<ScopesInForce> {
    for (const { inForce } of this.#providers.values()) if (inForce !== null) yield inForce;
  }

  /** Sources whose last update was refused. */
  refusals(): { readonly name: string; readonly details: string }[] {
    return this.#providers.refusals();
  }

  /** A listener's version needs the scopes. They are asked for by {@link start}. */
  acquire(dependency: ScopeDependency): void {
    this.#providers.acquire(dependency.key, () => new ScopeProvider(dependency, this.#parts));
  }

  start(key: string, target: InitTarget): void {
    this.#providers.get(key)?.start(target);
  }

  /** A request needs the table of a scope. @returns whether there is one now */
  demand(key: string, name: string): Promise<boolean> {
    return this.#providers.get(key)?.demand(name) ?? Promise.resolve(false);
  }

  /** The listener's version is gone. */
  release(key: string): void {
    if (this.#providers.release(key)) void this.#parts.orders.scopes(key, [], [], true).catch(() => {});
  }

  stop(): void {
    this.#providers.stop();
  }
}
