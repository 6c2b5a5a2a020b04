import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import { deferred } from '../../base/deferred.ts';
import type { LoggerRegistry } from '../../base/log.ts';
import type { SourceSpec } from '../../config/builders/config-source.ts';
import type { ListenerSpec } from '../../config/builders/listener.ts';
import { AnyMessages } from '../../config/load/any-messages.ts';
import type { Address } from '../../net/address.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import type { Acceptor, SocketRuntime } from '../../net/transport.ts';
import { type Demand, DemandOutcome } from '../../routing/on-demand.ts';
import type { RuntimeReader } from '../../routing/runtime-fraction.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type { ClusterManager } from '../../upstream/cluster-manager.ts';
import { listenSpecOf } from '../../worker/listen-spec.ts';
import type { WorkerSecrets } from '../../worker/worker-secrets.ts';
import { ResourceDecoder, type UnknownFields } from '../../xds/resource-decoder.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { CLUSTER_TYPE, LISTENER_TYPE, type ResourceType } from '../../xds/resource-type.ts';
import type { LoadedBootstrap } from '../load-bootstrap.ts';
import { LoadReporter } from '../load-reports/load-reporter.ts';
import type { RuntimeLayers } from '../runtime/runtime-layers.ts';
import type { ServerParts } from '../server.ts';
import type { ServerFlags } from '../server-flags.ts';
import type { LISTENER_MANAGER_STATS } from '../server-stats.ts';
import type { WorkerHandle } from '../worker-handle.ts';
import { ClusterDemands } from './cluster-demands.ts';
import { ClusterUpdates } from './cluster-updates.ts';
import { ExtensionUpdates } from './extension-updates.ts';
import { type InitTarget, InitTargets } from './init-targets.ts';
import { ListenerUpdates } from './listener-updates.ts';
import { NeedsKeeper } from './needs.ts';
import { RemoteSources } from './remote-sources.ts';
import { ResourceBuilds } from './resource-builds.ts';
import { RouteUpdates } from './route-updates.ts';
import { RuntimeLayerWatcher } from './runtime-updates.ts';
import { ScopeUpdates } from './scope-updates.ts';
import { SecretUpdates } from './secret-updates.ts';
import { Subscriptions } from './subscriptions.ts';
import { WorkerOrders } from './worker-orders.ts';

export interface DynamicConfigParts {
  readonly flags: ServerFlags;
  readonly server: ServerParts;
  readonly bootstrap: LoadedBootstrap;
  readonly dispatcher: Dispatcher;
  readonly runtime: RuntimeReader;
  readonly layers: RuntimeLayers;
  /** Root of main's store. */
  readonly stats: Scope;
  readonly listenerStats: ReturnType<typeof LISTENER_MANAGER_STATS.create>;
  /** Filled later, by {@link DynamicConfig.startClusters}' caller. */
  readonly workers: readonly WorkerHandle[];
  readonly drainMs: number;
  /** Main's clusters and secrets, for control planes. */
  readonly mainClusters: ClusterManager;
  readonly mainSecrets: WorkerSecrets;
  readonly localAddress: string;
  node(): Node;
  onUnknownField(): void;
  onClusterCount(active: number): void;
}

const CDS_STATS = defineStats({
  counters: ['config_reload'],
  neverImportGauges: ['config_reload_time_ms'],
} as const);

/** A whole type at once: LDS or CDS. */
class WholeTypeWatcher implements ResourceWatcher {
  readonly #target: InitTarget;
  readonly #apply: (update: ResourceUpdate) => Promise<readonly ResourceRefusal[]>;

  constructor(target: InitTarget, apply: (update: ResourceUpdate) => Promise<readonly ResourceRefusal[]>) {
    this.#target = target;
    this.#apply = apply;
  }

  async onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const refusals = await this.#apply(update);
    this.#target.ready();
    return refusals;
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    this.#target.lastRefusal = details;
    // The start goes on, whatever came.
    if (reason !== 'connection') this.#target.ready();
  }
}

function unknownFields(flags: ServerFlags): UnknownFields {
  if (flags.rejectUnknownDynamicFields) return 'reject';
  return flags.ignoreUnknownDynamicFields ? 'ignore' : 'warn';
}

/** Everything that may change while the process runs: what there is, where it comes from, who is told. */
export class DynamicConfig {
  readonly clusters: ClusterUpdates;
  readonly routes: RouteUpdates;
  readonly secrets: SecretUpdates;
  readonly clusterDemands: ClusterDemands;
  readonly scopes: ScopeUpdates;
  readonly extensions: ExtensionUpdates;
  readonly needs: NeedsKeeper;
  readonly listeners: ListenerUpdates;
  readonly decoder: ResourceDecoder;
  readonly builds: ResourceBuilds;
  readonly subscriptions: Subscriptions;
  readonly orders: WorkerOrders;
  /** What the clusters' part of the start waits for, and what its second part does. */
  readonly clusterInit = new InitTargets('cluster manager');
  readonly serverInit = new InitTargets('init manager Server');
  readonly #parts: DynamicConfigParts;
  readonly #open: Pick<Subscription, 'stop'>[] = [];
  readonly #remote: RemoteSources;
  /** Rejects with the end. */
  readonly #ended = deferred<never>();
  #loadReporter: LoadReporter | null = null;
  /** Of main's own; null: not needed yet. */
  #sockets: SocketRuntime | null = null;
  /** With CDS. */
  #reloads: ReturnType<typeof CDS_STATS.create> | null = null;

  constructor(parts: DynamicConfigParts) {
    this.#parts = parts;
    this.#ended.promise.catch(() => {});
    const { api, extensions, loggers } = parts.server;
    this.decoder = new ResourceDecoder(api, unknownFields(parts.flags), parts.onUnknownField);
    const { staticSecrets, tlsRefusal: refusal } = parts.bootstrap;
    this.builds = new ResourceBuilds(api, extensions, parts.runtime, { staticSecrets, refusal });
    this.#remote = this.#createRemote();
    this.subscriptions = new Subscriptions(this.decoder, loggers.get('config'), this.#remote);
    this.orders = new WorkerOrders(
      parts.workers,
      parts.drainMs,
      parts.flags.drainStrategy === 'immediate',
      (bytes) => this.builds.decode<Cluster>('envoy.config.cluster.v3.Cluster', bytes),
      {
        applyHosts: (update) => this.#remote.applyHosts(update),
        setSecret: (key, secret) => parts.mainSecrets.set(key, secret),
        removeSecret: (key) => parts.mainSecrets.remove(key),
        onFault: (error) => loggers.get('envoy_bug').error(String(error)),
      },
    );
    const { orders } = this;
    this.secrets = new SecretUpdates({
      api,
      logger: loggers.get('misc'),
      stats: parts.stats,
      subscriptions: this.subscriptions,
      faultOf: (kind, secret) => this.builds.secretFault(kind, secret),
      send: (key, secret) => orders.secret(key, secret),
      remove: (key) => orders.removeSecret(key),
    });
    this.clusters = new ClusterUpdates({
      dispatcher: parts.dispatcher,
      stats: parts.stats,
      loggers,
      builds: this.builds,
      subscriptions: this.subscriptions,
      secrets: this.secrets,
      orders,
      init: this.clusterInit,
      onCount: parts.onClusterCount,
      onReload: () => {
        this.#reloads?.config_reload.inc();
        this.#reloads?.config_reload_time_ms.set(Date.now());
      },
    });
    this.routes = new RouteUpdates(this.builds, orders, this.subscriptions, parts.stats, () => this.clusters.names());
    this.routes.adsIsDelta = parts.bootstrap.plan.ads?.isDelta ?? false;
    this.extensions = new ExtensionUpdates({
      builds: this.builds,
      orders,
      subscriptions: this.subscriptions,
      stats: parts.stats,
      clusterNames: () => this.clusters.names(),
      keeper: () => this.needs,
    });
    this.clusterDemands = new ClusterDemands({
      builds: this.builds,
      clusters: this.clusters,
      subscriptions: this.subscriptions,
      stats: parts.stats,
    });
    this.scopes = new ScopeUpdates({
      builds: this.builds,
      orders,
      subscriptions: this.subscriptions,
      routes: this.routes,
      stats: parts.stats,
      clusterNames: () => this.clusters.names(),
    });
    this.needs = new NeedsKeeper({
      routes: this.routes,
      scopes: this.scopes,
      extensions: this.extensions,
      secrets: this.secrets,
      drainMs: parts.drainMs,
    });
    this.listeners = new ListenerUpdates({
      listenerType: api.message('envoy.config.listener.v3.Listener')!,
      stats: parts.listenerStats,
      loggers,
      builds: this.builds,
      needs: this.needs,
      orders,
      workerCount: parts.flags.concurrency,
      init: this.serverInit,
      clusterNames: () => this.clusters.names(),
      bindFault: (spec, address) => this.#bindFault(spec, address),
    });
  }

  #bindFault(spec: ListenerSpec, address: Address): string {
    this.#sockets ??= this.#parts.server.createSockets(this.#parts.dispatcher);
    try {
      const acceptor: Acceptor = { onAccept: (transport) => transport.close() };
      this.#sockets.listen(listenSpecOf(spec, address, this.#sockets.features), acceptor).close();
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  }

  #createRemote(): RemoteSources {
    const { bootstrap, dispatcher, server, stats, mainClusters, localAddress, node } = this.#parts;
    const { plan } = bootstrap;
    return new RemoteSources({
      dispatcher,
      clusters: mainClusters,
      bootstrapClusters: new Map(plan.clusters.map(({ name, bytes }) => [name, bytes])),
      decoder: this.decoder,
      logger: server.loggers.get('config'),
      stats,
      ads: plan.ads,
      loadReports: plan.loadReports,
      early: [plan.clusterSource, plan.listenerSource].filter((source) => source !== null),
      localAddress,
      node,
      clusterFrom: (bytes) => this.builds.clusterFrom(bytes),
      clusterOf: (message) => this.builds.clusterOf(message),
      acquire: (secret) => this.secrets.acquire(secret, null),
    });
  }

  /** What a request needs and nobody has fetched yet. What is found is there in every worker. */
  async demand(demand: Demand): Promise<DemandOutcome> {
    if (demand.kind === 'cluster') return this.clusterDemands.ask(demand.source, demand.name, demand.timeoutMs);
    const found = await (demand.kind === 'scope'
      ? this.scopes.demand(demand.scopes, demand.name)
      : this.routes.demand(demand.routes, demand.host));
    return found ? DemandOutcome.Found : DemandOutcome.Missing;
  }

  get #loggers(): LoggerRegistry {
    return this.#parts.server.loggers;
  }

  /** The bootstrap's clusters, then CDS and the clusters that it brings. Resolves when all have their hosts. */
  async startClusters(): Promise<void> {
    const { plan, secrets } = this.#parts.bootstrap;
    // Those of files come first: clusters and listeners begin with them.
    const files = new InitTargets('secrets');
    for (const secret of secrets) {
      if (secret.source === null) this.secrets.acquire(secret, null);
      else if (secret.source.kind === 'file') this.secrets.acquire(secret, files.add(`SdsApi ${secret.name}`));
    }
    await this.#ready(files);
    const updatedMs = Date.now();
    await this.clusters.addStatic(
      plan.clusters.map(({ spec, bytes }) => ({
        spec,
        bytes,
        version: '',
        updatedMs,
        secrets: [],
      })),
    );
    await this.#ready(this.clusterInit);
    await this.#startRuntime();
    this.#startLoadReports();
    const { clusterSource } = plan;
    if (clusterSource !== null) {
      this.#loggers.get('upstream').info('cm init: initializing cds');
      this.#reloads = CDS_STATS.create(this.#parts.stats, 'cluster_manager.cds');
      const apply = (update: ResourceUpdate) => this.clusters.apply(update);
      this.#watch(
        clusterSource,
        CLUSTER_TYPE,
        'cluster_manager.cds',
        new WholeTypeWatcher(this.clusterInit.add('CDS'), apply),
      );
      await this.#ready(this.clusterInit);
    }
    this.clusters.onStarted();
    this.#loggers.get('upstream').info('cm init: all clusters initialized');
  }

  /** Source: Envoy, ClusterManagerImpl::initializeSecondaryClusters. */
  #startLoadReports(): void {
    const { bootstrap, dispatcher, stats, node } = this.#parts;
    const { loadReports } = bootstrap.plan;
    if (loadReports === null) return;
    this.#loadReporter = new LoadReporter({
      client: this.#remote.client(loadReports.service),
      api: this.#parts.server.api,
      dispatcher,
      logger: this.#loggers.get('upstream'),
      stats,
      node: node(),
      clusters: this.clusters.active,
      collect: (names) => this.orders.loads(names),
    });
    this.#loadReporter.start();
  }

  /** Discovered layers of the runtime come before clusters that are discovered. */
  async #startRuntime(): Promise<void> {
    const { bootstrap, layers, stats } = this.#parts;
    for (const spec of bootstrap.plan.runtimeLayers) {
      if (spec.kind !== 'rtds') continue;
      const target = this.clusterInit.add(`RTDS ${spec.resource}`);
      const watcher = new RuntimeLayerWatcher(spec, layers, this.subscriptions, stats, target);
      this.#open.push(watcher);
      watcher.start();
    }
    await this.#ready(this.clusterInit);
  }

  /** The bootstrap's listeners and those of LDS. Resolves when all may open. */
  async startListeners(): Promise<void> {
    const { plan, origin } = this.#parts.bootstrap;
    const messages = plan.message.staticResources?.listeners ?? [];
    const updatedMs = Date.now();
    this.listeners.addStatic(
      plan.listeners.map(({ name, spec, bytes }, index) => ({
        name,
        spec,
        bytes,
        message: messages[index]!,
        version: '',
        updatedMs,
        addedViaApi: false,
        needs: this.builds.needsOf(messages[index]!, origin?.anys ?? new AnyMessages(this.#parts.server.api)),
        addresses: spec.addresses.map((address) => address.text),
      })),
    );
    for (const secret of this.#parts.bootstrap.secrets) {
      if (secret.source !== null && secret.source.kind !== 'file') {
        this.secrets.acquire(secret, this.serverInit.add(`SdsApi ${secret.name}`));
      }
    }
    const { listenerSource } = plan;
    if (listenerSource !== null) {
      const apply = (update: ResourceUpdate) => this.listeners.apply(update);
      this.#watch(
        listenerSource,
        LISTENER_TYPE,
        'listener_manager.lds',
        new WholeTypeWatcher(this.serverInit.add('LDS'), apply),
      );
    }
    await this.#ready(this.serverInit);
  }

  #watch(source: SourceSpec, type: ResourceType, scopeName: string, watcher: ResourceWatcher): void {
    const scope = this.#parts.stats.createScope(scopeName);
    const subscription = this.subscriptions.open(source, { type, names: null }, watcher, scope);
    this.#open.push(subscription);
    subscription.start();
  }

  /** @throws Error when the end comes first: what is waited for may never be there */
  #ready(targets: InitTargets): Promise<void> {
    return Promise.race([new Promise<void>((resolve) => targets.whenReady(resolve)), this.#ended.promise]);
  }

  stop(): void {
    this.#ended.reject(new Error('stopped while starting'));
    for (const subscription of this.#open) subscription.stop();
    this.#loadReporter?.stop();
    this.#remote.stop();
    this.clusters.stop();
    this.secrets.stop();
    this.routes.stop();
    this.clusterDemands.stop();
    this.scopes.stop();
    this.extensions.stop();
    this.needs.stop();
    this.listeners.stop();
    this.orders.stop();
  }
}
