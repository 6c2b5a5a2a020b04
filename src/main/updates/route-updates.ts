import type { Message } from '@bufbuild/protobuf';
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import type { RouteDependency, SourceSpec } from '../../config/builders/config-source.ts';
import { type RoutePieces, splitTable, withHosts } from '../../config/builders/route-pieces.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { ROUTE_TYPE } from '../../xds/resource-type.ts';
import { sameBytes } from './cluster-updates.ts';
import type { InitTarget } from './init-targets.ts';
import { FirstAnswer, type Provider, Providers } from './providers.ts';
import type { ResourceBuilds } from './resource-builds.ts';
import type { Subscriptions } from './subscriptions.ts';
import { type EncodedHost, type HostedTable, VirtualHosts } from './virtual-hosts.ts';
import type { WorkerOrders } from './worker-orders.ts';

const RDS_STATS = defineStats({
  counters: ['config_reload', 'update_empty'],
  neverImportGauges: ['config_reload_time_ms'],
} as const);

const NO_HOSTS: ReadonlyMap<string, EncodedHost> = new Map();

/** A route table as it is in force. */
export interface RouteVersion {
  readonly message: RouteConfiguration;
  readonly bytes: Uint8Array;
  readonly version: string;
  readonly updatedMs: number;
}

/** A route table as it came. */
type EncodedTable = Pick<RouteVersion, 'bytes'> & { readonly message: Message };

function wholeOf(table: EncodedTable, hosts: readonly EncodedHost[]): RouteConfiguration {
  const message = table.message as RouteConfiguration;
  return { ...message, virtualHosts: [...message.virtualHosts, ...hosts.map((host) => host.message)] };
}

function encodedWhole(table: EncodedTable, hosts: readonly EncodedHost[]): Uint8Array {
  const encoded = hosts.map((host) => host.bytes);
  return encoded.length === 0 ? table.bytes : withHosts(table.bytes, encoded);
}

/** One discovered route table, for all listeners that name it by the same source. Source: Envoy, RdsRouteConfigProviderImpl. */
class RouteProvider implements ResourceWatcher, Provider {
  readonly dependency: RouteDependency;
  readonly name: string;
  readonly first = new FirstAnswer();
  users = 0;
  current: RouteVersion | null = null;
  readonly #owner: RouteUpdates;
  readonly #scope: Scope;
  readonly #stats;
  readonly #subscription: Subscription;
  #started = false;
  /** Wait for a table, however long it takes. */
  #wanting: ((found: boolean) => void)[] = [];
  #stopped = false;
  #hosts: VirtualHosts | null = null;
  #hostsKey = '';
  /** Of the last version that was taken, with its discovered virtual hosts: what is equal in the next one is not built again. */
  #pieces: RoutePieces | null = null;

  constructor(dependency: RouteDependency, owner: RouteUpdates, stats: Scope, subscriptions: Subscriptions) {
    this.dependency = dependency;
    this.name = dependency.name;
    this.#owner = owner;
    this.#scope = stats.createScope(`${dependency.statPrefix}.rds.${dependency.name}`);
    this.#stats = RDS_STATS.create(this.#scope);
    const interest = { type: ROUTE_TYPE, names: [dependency.name] };
    this.#subscription = subscriptions.open(dependency.source, interest, this, this.#scope);
  }

  /** @param target is ready with the first answer, whatever it is */
  start(target: InitTarget): void {
    this.first.await(target);
    if (this.#started) return;
    this.#started = true;
    this.#subscription.start();
  }

  /** Resolves once workers have a table; false: it will not come any more. */
  present(): Promise<boolean> {
    if (this.current !== null || this.#stopped) return Promise.resolve(this.current !== null);
    return new Promise((resolve) => this.#wanting.push(resolve));
  }

  #settle(found: boolean): void {
    for (const go of this.#wanting.splice(0)) go(found);
  }

  stop(): void {
    this.#stopped = true;
    this.#settle(false);
    this.#subscription.stop();
    this.#hosts?.stop();
    this.#scope.close();
    // Whoever waited has gone, too.
    this.first.came();
  }

  async onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const { name } = this.dependency;
    const refuse = (details: string): readonly ResourceRefusal[] => [{ name, details }];
    const [resource] = update.changed;
    if (resource === undefined) {
      this.#stats.update_empty.inc();
      this.first.came();
      return [];
    }
    if (update.changed.length > 1) return refuse(`Unexpected RDS resource length: ${update.changed.length}`);
    if (resource.name !== name) return refuse(`Unexpected RDS configuration (expecting ${name}): ${resource.name}`);
    const { vhds } = resource.message as RouteConfiguration;
    if (vhds?.configSource?.configSourceSpecifier.case === 'ads' && !this.#owner.adsIsDelta) {
      return refuse('vhds: ADS must use DELTA_GRPC api_type when used as VHDS config source.');
    }
    if (this.current === null || !sameBytes(this.current.bytes, resource.bytes)) {
      const pieces = resource.pieces ?? splitTable(resource.bytes, this.#pieces).pieces;
      const built = this.#owner.builds.routeTable(resource, pieces, this.#owner.clusterNames());
      if (!built.ok) return refuse(built.error);
      const known = vhds === undefined ? [] : this.#discovered;
      // As Envoy, which builds them as one.
      const fault = known.length === 0 ? '' : this.#faultOf(resource, known);
      if (fault !== '') return refuse(fault);
      if (known.length === 0) this.#pieces = pieces;
      this.current = {
        message: resource.message as RouteConfiguration,
        bytes: resource.bytes,
        version: resource.version,
        updatedMs: Date.now(),
      };
      const hosts = this.#followHosts(this.current.message);
      await this.publish();
      this.#settle(true);
      this.#countReload();
      if (hosts !== null) {
        this.first.lastRefusal = '';
        hosts.start(() => this.first.came());
        return [];
      }
    }
    this.first.lastRefusal = '';
    this.first.came();
    return [];
  }

  /** Its virtual hosts may be discovered, too. @returns null: they are not, or are followed already */
  #followHosts(message: RouteConfiguration): VirtualHosts | null {
    const source = message.vhds === undefined ? null : this.#owner.builds.hostSource(message);
    const key = message.vhds === undefined ? '' : this.#owner.builds.digestOf(message.vhds);
    if (key === this.#hostsKey) return null;
    this.#hostsKey = key;
    // From another source they are asked for anew; until then those that there are stay, as in Envoy.
    const before = this.#hosts;
    this.#hosts = source === null ? null : this.#hostsFrom(source, before?.inForce ?? NO_HOSTS);
    before?.stop();
    return this.#hosts;
  }

  #hostsFrom(source: SourceSpec, known: ReadonlyMap<string, EncodedHost>): VirtualHosts {
    const { name, statPrefix } = this.dependency;
    const scope = this.#owner.stats.createScope(`${statPrefix}.rds.vhds.${name}`);
    const table: HostedTable = {
      faultOf: (hosts) => this.#faultOf(this.current!, hosts),
      publish: async (changes, version) => {
        // As Envoy dumps it: the table is of the version that changed it last, be it by its hosts.
        this.current = { ...this.current!, version, updatedMs: Date.now() };
        if (changes) await this.publish();
        this.#countReload();
      },
    };
    return new VirtualHosts(name, source, this.#owner.subscriptions, scope, table, known);
  }

  /** What is wrong with a table together with virtual hosts that were discovered; empty: nothing. */
  #faultOf(table: EncodedTable, hosts: readonly EncodedHost[]): string {
    const { builds, clusterNames } = this.#owner;
    const pieces = splitTable(encodedWhole(table, hosts), this.#pieces).pieces;
    const fault = builds.routesFault(wholeOf(table, hosts), pieces, clusterNames());
    if (fault === '') this.#pieces = pieces;
    return fault;
  }

  #countReload(): void {
    this.#stats.config_reload.inc();
    this.#stats.config_reload_time_ms.set(Date.now());
  }

  get #discovered(): readonly EncodedHost[] {
    return [...(this.#hosts?.inForce ?? NO_HOSTS).values()];
  }

  /** As workers have it. */
  get whole(): RouteConfiguration {
    return wholeOf(this.current!, this.#discovered);
  }

  /** Gives workers the table, with the virtual hosts that were discovered for it. */
  async publish(): Promise<void> {
    if (this.current === null) return;
    const bytes = encodedWhole(this.current, this.#discovered);
    await this.#owner.orders.routes([{ key: this.dependency.key, bytes }], []);
  }

  /** A request needs a virtual host that is not there. @returns whether the server has answered for it */
  demand(host: string): Promise<boolean> {
    return this.#hosts?.demand(host) ?? Promise.resolve(false);
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    this.first.refused(details);
    if (reason !== 'connection') this.first.came();
  }
}

/** The discovered route tables of the process, on main. */
export class RouteUpdates {
  /** What says `ads` speaks delta. */
  adsIsDelta = true;
  readonly builds: ResourceBuilds;
  readonly orders: WorkerOrders;
  readonly clusterNames: () => ReadonlySet<string>;
  readonly #providers = new Providers<RouteProvider>();
  readonly stats: Scope;
  readonly subscriptions: Subscriptions;

  constructor(
    builds: ResourceBuilds,
    orders: WorkerOrders,
    subscriptions: Subscriptions,
    stats: Scope,
    clusterNames: () => ReadonlySet<string>,
  ) {
    this.clusterNames = clusterNames;
    this.builds = builds;
    this.orders = orders;
    this.subscriptions = subscriptions;
    this.stats = stats;
  }

  /** Route tables in force, for `/config_dump`. */
  *current(): IterableIterator<RouteVersion> {
    for (const provider of this.#providers.values()) {
      if (provider.current !== null) yield { ...provider.current, message: provider.whole };
    }
  }

  /** A request needs a virtual host that is not there. @returns whether the server has answered for it */
  demand(key: string, host: string): Promise<boolean> {
    return this.#providers.get(key)?.demand(host) ?? Promise.resolve(false);
  }

  /** Tables whose last update was refused. */
  refusals(): { readonly name: string; readonly details: string }[] {
    return this.#providers.refusals();
  }

  /** A listener's version needs the table. Its first update is asked for by {@link start}. */
  acquire(dependency: RouteDependency): void {
    this.#providers.acquire(dependency.key, () => new RouteProvider(dependency, this, this.stats, this.subscriptions));
  }

  start(key: string, target: InitTarget): void {
    this.#providers.get(key)?.start(target);
  }

  /** Resolves once workers have the table, however long it takes; false: it will not come any more. */
  present(key: string): Promise<boolean> {
    return this.#providers.get(key)?.present() ?? Promise.resolve(false);
  }

  /** The listener's version is gone. */
  release(key: string): void {
    if (this.#providers.release(key)) void this.orders.routes([], [key]).catch(() => {});
  }

  stop(): void {
    this.#providers.stop();
  }
}
