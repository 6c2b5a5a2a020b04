import { writeFileSync } from 'node:fs';
import { fromJson } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../api/api-registry.ts';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';
import { type Clock, SystemClock } from '../base/clock.ts';
import { deferred } from '../base/deferred.ts';
import type { LoggerRegistry, LogLevel } from '../base/log.ts';
import { SystemRandom } from '../base/random.ts';
import { SharedTable } from '../base/shared-table.ts';
import type { ExtensionRegistry } from '../config/extension-registry.ts';
import type { Address } from '../net/address.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import type { TlsContextInUse } from '../net/transport-socket.ts';
import { type LocalInfo, NO_ROUTE_TABLES, type WorkerEnvironment } from '../pipeline/environment.ts';
import { NOTHING_ON_DEMAND } from '../pipeline/on-demand.ts';
import { type Demand, DemandOutcome } from '../routing/on-demand.ts';
import { MergedStore } from '../stats/merged-store.ts';
import { type Scope, StatsStore } from '../stats/store.ts';
import { ClusterManager } from '../upstream/cluster-manager.ts';
import { BufferedLogFiles, DEFAULT_LOG_FILE_SETTINGS } from '../worker/log-files.ts';
import { membersOf } from '../worker/members.ts';
import type { DrainAction, Members, WorkerOptions } from '../worker/messages.ts';
import { WorkerSecrets } from '../worker/worker-secrets.ts';
import { AdminServer } from './admin/admin-server.ts';
import { createAdminRouter } from './admin/create-admin-router.ts';
import { daysUntil } from './admin/endpoints/certs.ts';
import { nodeJson } from './admin/endpoints/node-identity.ts';
import { drainTimeMs, patienceMs } from './drain-time.ts';
import type { LoadedBootstrap } from './load-bootstrap.ts';
import { localAddress } from './local-address.ts';
import type { LogDestination } from './logging/log-output.ts';
import type { LoadAgain, ReloadOutcome } from './reload/static-reload.ts';
import { StaticReload } from './reload/static-reload.ts';
import { RuntimeLayers } from './runtime/runtime-layers.ts';
import type { ServerFlags } from './server-flags.ts';
import {
  announceFixedStats,
  connectionCount,
  type FixedFacts,
  InflatedClusters,
  isToldElsewhere,
  LISTENER_MANAGER_STATS,
  NO_CERTIFICATE_DAYS,
  SERVER_STATS,
  ServerState,
} from './server-stats.ts';
import type { SocketsFactory } from './socket-runtime.ts';
import type { TlsFactory } from './tls-runtime.ts';
import { DynamicConfig } from './updates/dynamic-config.ts';
import { VERSION_NUMBER } from './version.ts';
import { InlineWorker, ThreadWorker, type WorkerHandle, type WorkerObserver } from './worker-handle.ts';

/** What a server is made of. */
export interface ServerParts {
  readonly api: ApiRegistry;
  readonly extensions: ExtensionRegistry;
  readonly loggers: LoggerRegistry;
  readonly logOutput: LogDestination;
  /** Levels by `--component-log-level`. */
  readonly componentLevels: readonly (readonly [string, LogLevel])[];
  readonly createSockets: SocketsFactory;
  readonly createTls: TlsFactory;
  /** Reads the configuration again; null: it did not come from a file. */
  readonly loadAgain: LoadAgain | null;
}

/** A listening address as `/listeners` shows it. */
export interface BoundListener {
  readonly name: string;
  readonly direction: 'unspecified' | 'inbound' | 'outbound';
  /** With real ports, in configured order. */
  readonly addresses: string[];
}

/**
 * The process: owns workers, stats, admin and the runtime; tells workers what to run. Source: Envoy, InstanceBase.
 *
 * (Longer than most files: the order in which all that starts and ends is to be read in one place.)
 */
export class Server implements WorkerObserver {
  readonly flags: ServerFlags;
  readonly parts: ServerParts;
  /** As it was last loaded. */
  bootstrap: LoadedBootstrap;
  readonly local: LocalInfo;
  readonly clock: Clock = new SystemClock();
  readonly dispatcher: Dispatcher;
  readonly stats: MergedStore;
  readonly runtime: RuntimeLayers;
  readonly workers: WorkerHandle[] = [];
  readonly dynamic: DynamicConfig;
  /** Wall-clock ms of the start. */
  readonly startedAtMs = Date.now();
  adminAddress: Address | null = null;
  /** Resolves once, when somebody asked for the end (signal, `/quitquitquit`), or a worker has ended by itself. */
  readonly finished: Promise<void>;
  /** A worker has ended by itself: the process exits with 1. */
  failed = false;
  readonly #finish: () => void;
  readonly #store = new StatsStore();
  readonly #serverStats;
  readonly #listenerStats;
  readonly #logFiles: BufferedLogFiles;
  readonly #health = { failed: false };
  /** Null with one worker: it counts alone. */
  readonly #sharedMemory: SharedArrayBuffer | null;
  readonly #secrets = new WorkerSecrets();
  readonly #environment: WorkerEnvironment;
  readonly #startMs = performance.now();
  #state: ServerState = ServerState.PreInitializing;
  #admin: AdminServer | null = null;
  #flushTimer: ReturnType<typeof setInterval> | null = null;
  #drainTimer: ReturnType<typeof setTimeout> | null = null;
  #stopping: Promise<void> | null = null;
  readonly #staticReload: StaticReload | null;

  constructor(flags: ServerFlags, parts: ServerParts, bootstrap: LoadedBootstrap) {
    this.flags = flags;
    this.parts = parts;
    this.bootstrap = bootstrap;
    const { plan } = bootstrap;
    const { promise, resolve } = deferred<void>();
    this.finished = promise;
    this.#finish = resolve;
    const node = plan.message.node;
    this.local = {
      nodeId: flags.serviceNode === '' ? (node?.id ?? '') : flags.serviceNode,
      clusterName: flags.serviceCluster === '' ? (node?.cluster ?? '') : flags.serviceCluster,
      zone: flags.serviceZone === '' ? (node?.locality?.zone ?? '') : flags.serviceZone,
      address: localAddress(flags.localAddressIpVersion),
    };
    this.dispatcher = new Dispatcher(this.clock, new SystemRandom());
    this.dispatcher.onBug = (error) =>
      this.#countBug(error instanceof Error ? (error.stack ?? error.message) : String(error));
    this.stats = new MergedStore({
      tagProducer: plan.stats.producer,
      matcher: plan.stats.matcher,
      histogramBuckets: plan.stats.histogramBuckets,
      leaveOut: isToldElsewhere,
    });
    const { root } = this.#store;
    this.#serverStats = SERVER_STATS.create(root, 'server');
    this.#listenerStats = LISTENER_MANAGER_STATS.create(root, 'listener_manager');
    announceFixedStats(root, this.#serverStats, this.#listenerStats, this.#fixedFacts());
    this.runtime = new RuntimeLayers(plan.runtimeLayers, this.local.clusterName, root, parts.loggers.get('runtime'));
    this.runtime.onChange = (values) => this.dynamic.orders.runtime(values);
    this.#logFiles = new BufferedLogFiles(
      this.dispatcher,
      {
        ...DEFAULT_LOG_FILE_SETTINGS,
        flushIntervalMs: flags.fileFlushIntervalMs,
        flushBytes: flags.fileFlushMinSizeKb * 1024,
      },
      root,
      parts.loggers.get('file'),
    );
    this.#sharedMemory = flags.concurrency > 1 ? SharedTable.allocate() : null;
    this.#environment = this.#createEnvironment(root);
    const inflated = new InflatedClusters(root, flags.concurrency);
    this.dynamic = new DynamicConfig({
      flags,
      server: parts,
      bootstrap,
      dispatcher: this.dispatcher,
      runtime: this.runtime.snapshot,
      layers: this.runtime,
      stats: root,
      listenerStats: this.#listenerStats,
      workers: this.workers,
      drainMs: patienceMs(flags),
      mainClusters: this.#environment.clusters,
      mainSecrets: this.#secrets,
      localAddress: this.local.address,
      node: () => this.#nodeMessage(),
      onUnknownField: () => this.#serverStats.dynamic_unknown_fields.inc(),
      onClusterCount: (count) => inflated.set(count),
    });
    this.#staticReload = this.#createReload(parts.loadAgain);
  }

  #createReload(loadAgain: LoadAgain | null): StaticReload | null {
    if (loadAgain === null) return null;
    const { api, loggers } = this.parts;
    return new StaticReload(api, this.bootstrap, loadAgain, this.dynamic, loggers.get('config'), (bootstrap) => {
      this.bootstrap = bootstrap;
    });
  }

  /** How the last reload of the configuration file went. */
  get lastReload(): ReloadOutcome | null {
    return this.#staticReload?.last ?? null;
  }

  /** Reads the configuration file again and applies what has changed. @param dryRun only says what would be done */
  reload(dryRun: boolean): Promise<ReloadOutcome> {
    if (this.#staticReload === null || this.#state !== ServerState.Live) {
      const why = this.#staticReload === null ? 'the configuration did not come from a file' : 'the server is starting';
      return Promise.resolve({ ok: false, text: `${why}\n`, atMs: Date.now() });
    }
    return this.#staticReload.reload(dryRun);
  }

  /** The listeners that serve, as `/listeners` shows them. */
  get bound(): readonly BoundListener[] {
    return [...this.dynamic.listeners.active.values()].map(({ name, spec, addresses }) => ({
      name,
      direction: spec.direction,
      addresses,
    }));
  }

  get state(): ServerState {
    return this.#health.failed && this.#state === ServerState.Live ? ServerState.Draining : this.#state;
  }

  get uptimeSeconds(): number {
    return Math.floor((performance.now() - this.#startMs) / 1000);
  }

  #nodeMessage(): Node {
    const { api } = this.parts;
    const desc = api.message('envoy.config.core.v3.Node')!;
    return fromJson(desc, nodeJson(this, false), { registry: api.registry, ignoreUnknownFields: true }) as Node;
  }

  /** Main's own share of what a worker offers: the admin listener runs in it, and calls to control planes. */
  #createEnvironment(stats: Scope): WorkerEnvironment {
    const { dispatcher, runtime } = this;
    const transportSockets = { dispatcher, tls: this.parts.createTls(dispatcher), secrets: this.#secrets };
    const clusters = new ClusterManager({
      dispatcher,
      stats,
      runtime: runtime.snapshot,
      sockets: { runtime: this.parts.createSockets(dispatcher), services: transportSockets },
      sharedCells: () => null,
    });
    return {
      dispatcher,
      clusters,
      runtime: runtime.snapshot,
      local: this.local,
      loggers: this.parts.loggers,
      logFiles: this.#logFiles,
      stats,
      routeTables: NO_ROUTE_TABLES,
      onDemand: NOTHING_ON_DEMAND,
      transportSockets,
      health: this.#health,
      shared: new SharedTable(this.#sharedMemory),
      sharedClockOffsetMs: this.clock.wallMs() - this.clock.monotonicMs(),
    };
  }

  #fixedFacts(): FixedFacts {
    const { plan, warnings } = this.bootstrap;
    return {
      concurrency: this.flags.concurrency,
      restartEpoch: this.flags.restartEpoch,
      version: plan.statsServerVersion ?? VERSION_NUMBER,
      unknownFieldCount: warnings.filter((warning) => /unknown field|has no field/i.test(warning.reason)).length,
    };
  }

  /** Admin first, then clusters, workers, listeners. @throws Error when something cannot be opened, or the end came first */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      // Whatever was waited for is gone by then: a worker, an answer.
      throw this.#stopping === null ? error : new Error('stopped while starting');
    }
  }

  async #start(): Promise<void> {
    const { plan } = this.bootstrap;
    const main = this.parts.loggers.get('main');
    const config = this.parts.loggers.get('config');
    this.#updateServerStats();
    await this.#startAdmin();
    this.#goOn();
    config.info('loading tracing configuration');
    config.info(`loading ${plan.message.staticResources?.secrets.length ?? 0} static secret(s)`);
    config.info(`loading ${plan.clusters.length} cluster(s)`);
    await this.#startWorkers();
    this.#goOn();
    await this.dynamic.startClusters();
    this.#goOn();
    config.info(`loading ${plan.listeners.length} listener(s)`);
    config.info('loading stats configuration');
    this.runtime.start();
    this.#setState(ServerState.Initializing);
    main.info('all clusters initialized. initializing init manager');
    await this.dynamic.startListeners();
    this.#goOn();
    if (this.flags.mode === 'init_only') return;
    await this.dynamic.listeners.start();
    this.#goOn();
    config.info('all dependencies initialized. starting workers');
    this.bootstrap.origin = null;
    this.#setState(ServerState.Live);
    this.#listenerStats.workers_started.set(1);
    this.#serverStats.initialization_time_ms.recordValue(Math.round(performance.now() - this.#startMs));
    if (!plan.statsFlushOnAdmin) {
      const onError = (error: unknown): void => this.#noteFlushError(error);
      this.#flushTimer = setInterval(() => void this.flushStats().catch(onError), plan.statsFlushIntervalMs);
    }
    if (this.flags.watch && this.flags.configPath !== '') this.#staticReload?.watch(this.flags.configPath);
    main.info('starting main dispatch loop');
  }

  /** Between two steps of the start: the end may have been asked for. */
  #goOn(): void {
    if (this.#stopping !== null) throw new Error('stopped while starting');
  }

  #noteFlushError(error: unknown): void {
    if (this.#stopping === null) this.#countBug(String(error));
  }

  #setState(state: ServerState): void {
    this.#state = state;
    this.#updateServerStats();
  }

  async #startAdmin(): Promise<void> {
    const { admin } = this.bootstrap.plan;
    const main = this.parts.loggers.get('main');
    if (admin === null) {
      main.info('No admin address given, so no admin HTTP server started.');
      return;
    }
    main.info(`Starting admin HTTP server at ${admin.address.text}`);
    const router = createAdminRouter(this, admin.allowPaths);
    const sockets = this.parts.createSockets(this.dispatcher);
    this.#admin = new AdminServer(admin, router, this.#environment, sockets);
    this.adminAddress = this.#admin.listen();
    this.parts.loggers.get('admin').info(`admin address: ${this.adminAddress.text}`);
    if (this.flags.adminAddressPath === '') return;
    try {
      writeFileSync(this.flags.adminAddressPath, this.adminAddress.text);
    } catch {
      this.parts.loggers
        .get('admin')
        .critical(`cannot open admin address output file ${this.flags.adminAddressPath} for writing.`);
    }
  }

  async #startWorkers(): Promise<void> {
    for (let index = 0; index < this.flags.concurrency; index++) this.workers.push(this.#createWorker(index));
    await Promise.all(this.workers.map((worker) => worker.ready));
  }

  #createWorker(index: number): WorkerHandle {
    const { flags, parts } = this;
    const options: WorkerOptions = {
      index,
      workerCount: flags.concurrency,
      local: this.local,
      logLevel: flags.logLevel,
      componentLevels: parts.componentLevels,
      fileFlushIntervalMs: flags.fileFlushIntervalMs,
      fileFlushMinBytes: flags.fileFlushMinSizeKb * 1024,
      runtime: this.runtime.values,
      sharedMemory: this.#sharedMemory,
      disabledExtensions: flags.disabledExtensions,
      internalBufferBytes: this.bootstrap.plan.internalBufferBytes,
      defaultTracer: this.bootstrap.plan.defaultTracer,
    };
    if (flags.concurrency > 1) return new ThreadWorker(options, this);
    return new InlineWorker(
      options,
      {
        api: parts.api,
        extensions: parts.extensions,
        clock: this.clock,
        random: new SystemRandom(),
        logSink: parts.logOutput,
        createSockets: parts.createSockets,
        createTls: parts.createTls,
      },
      this,
    );
  }

  // --- what admin asks for ---

  /** Takes every worker's deltas in. */
  async collectStats(): Promise<void> {
    const replies = await Promise.all(this.workers.map((worker) => worker.request({ kind: 'stats' })));
    this.stats.apply(0, this.#store.takeDelta());
    replies.forEach((reply, index) => {
      if (reply.kind === 'stats') this.stats.apply(index + 1, reply.delta);
    });
  }

  /** The stats flush: every `stats_flush_interval`, or by `stats_flush_on_admin` before stats are shown. */
  async flushStats(): Promise<void> {
    await this.collectStats();
    await this.#updateCertificateDays();
    this.#updateServerStats();
    this.stats.apply(0, this.#store.takeDelta());
    this.stats.flush([]);
  }

  #updateServerStats(): void {
    const server = this.#serverStats;
    const memory = process.memoryUsage();
    server.uptime.set(this.uptimeSeconds);
    server.memory_allocated.set(memory.heapUsed + memory.external);
    server.memory_heap_size.set(memory.heapTotal);
    server.memory_physical_size.set(memory.rss);
    server.state.set(this.state);
    server.live.set(this.state === ServerState.Live ? 1 : 0);
    server.total_connections.set(connectionCount(this.stats.touched.gauges.values()));
  }

  async resetCounters(): Promise<void> {
    await this.collectStats();
    this.stats.resetCounters();
  }

  /** Of every worker, and of main's own connections to control planes. */
  async members(): Promise<readonly Members[]> {
    const replies = await Promise.all(this.workers.map((worker) => worker.request({ kind: 'hostStats' })));
    return [
      ...replies.flatMap((reply) => (reply.kind === 'hostStats' ? reply : [])),
      membersOf(this.#environment.clusters),
    ];
  }

  /** TLS contexts in use; every worker has the same. */
  async tlsContexts(): Promise<readonly TlsContextInUse[]> {
    const reply = await this.workers[0]?.request({ kind: 'certs' });
    return reply?.kind === 'certs' ? reply.contexts : [];
  }

  async #updateCertificateDays(): Promise<void> {
    let first = Number.POSITIVE_INFINITY;
    for (const { certificates, authority } of await this.tlsContexts()) {
      for (const { validToMs } of certificates) first = Math.min(first, validToMs);
      if (authority !== null) first = Math.min(first, authority.validToMs);
    }
    const days = first === Number.POSITIVE_INFINITY ? NO_CERTIFICATE_DAYS : daysUntil(first);
    this.#serverStats.days_until_first_cert_expiring.set(days);
  }

  /** Sets levels here and in every worker. */
  setLogLevels(levels: readonly (readonly [string, LogLevel])[]): void {
    for (const [name, level] of levels) this.parts.loggers.get(name).setLevel(level);
    this.#tell({ kind: 'logging', levels });
  }

  setHealthFailed(failed: boolean): void {
    this.#health.failed = failed;
    // `server.state` follows at the next flush, as in Envoy.
    this.#serverStats.live.set(this.state === ServerState.Live ? 1 : 0);
    this.#tell({ kind: 'health', failed });
  }

  reopenLogs(): void {
    this.parts.logOutput.reopen();
    this.#logFiles.reopen();
    this.#tell({ kind: 'reopen' });
  }

  /**
   * `/drain_listeners`.
   * @param graceful listeners close after the drain time, during which answers close their connections more and more
   * @param skipExit only begins the drain sequence
   */
  drainListeners(graceful: boolean, skipExit: boolean, inboundOnly: boolean): void {
    const durationMs = drainTimeMs(this.flags);
    if (graceful || skipExit) this.#drain({ graceMs: durationMs, inboundOnly, stopListening: false, begin: true });
    if (skipExit) return;
    if (!graceful) {
      this.#stopListeners(inboundOnly);
      return;
    }
    this.#drainTimer ??= setTimeout(() => this.#stopListeners(inboundOnly), patienceMs(this.flags));
  }

  #stopListeners(inboundOnly: boolean): void {
    // Nothing is opened behind it.
    if (!inboundOnly) this.dynamic.listeners.stopped = true;
    const stopped = this.bound.filter((listener) => !inboundOnly || listener.direction === 'inbound').length;
    this.#listenerStats.listener_stopped.add(stopped * this.workers.length);
    this.#drain({ graceMs: 0, inboundOnly, stopListening: true, begin: false });
  }

  #drain(action: Omit<DrainAction, 'immediate'>): void {
    this.#tell({ kind: 'drain', action: { ...action, immediate: this.flags.drainStrategy === 'immediate' } });
  }

  #tell(message: Parameters<WorkerHandle['send']>[0]): void {
    for (const worker of this.workers) worker.send(message);
  }

  // --- WorkerObserver ---

  onWorkerBug(index: number, message: string): void {
    this.#countBug(`worker ${index}: ${message}`);
  }

  onWorkerDemand(index: number, demandId: number, demand: Demand): void {
    void this.dynamic
      .demand(demand)
      .catch((error: unknown) => {
        this.#countBug(String(error));
        return DemandOutcome.Missing;
      })
      .then((outcome) => this.workers[index]?.send({ kind: 'settled', demandId, outcome }));
  }

  /** Something threw where nothing should. */
  onBug(message: string): void {
    this.#countBug(message);
  }

  #countBug(message: string): void {
    this.#serverStats.envoy_bug_failures.inc();
    this.parts.loggers.get('envoy_bug').error(message);
  }

  /** Envoy dies as a whole too: whatever supervises the process starts a sound one. */
  onWorkerGone(index: number): void {
    if (this.#stopping !== null) return;
    this.parts.loggers.get('main').critical(`worker ${index} has ended unexpectedly: the server shuts down`);
    this.failed = true;
    this.#finish();
  }

  onWorkerLog(message: { readonly level: LogLevel; readonly logger: string; readonly message: string }): void {
    this.parts.logOutput.write(message.level, message.logger, message.message);
  }

  // --- the end ---

  /** Asks for the end: `finished` resolves. */
  shutDown(): void {
    this.parts.loggers.get('main').info('shutting down server instance');
    this.#finish();
  }

  /** Closes everything. Connections end at once, as Envoy's do. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    if (this.#flushTimer !== null) clearInterval(this.#flushTimer);
    if (this.#drainTimer !== null) clearTimeout(this.#drainTimer);
    this.runtime.stop();
    this.#staticReload?.stop();
    this.dynamic.stop();
    this.#admin?.stop();
    // A worker that has ended has nothing left to close.
    await Promise.allSettled(this.workers.map((worker) => worker.request({ kind: 'stop' })));
    for (const worker of this.workers) worker.terminate();
    await this.#logFiles.close();
    this.dispatcher.timers.stop();
    this.parts.loggers.get('main').info('exiting');
  }
}
