import { fromBinary, type Message } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../api/api-registry.ts';
import type { Cluster as ClusterMessage } from '../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { TypedExtensionConfig } from '../api/gen/envoy/config/core/v3/extension_pb.d.ts';
import type { Listener as ListenerMessage } from '../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import type { Tracing_Http } from '../api/gen/envoy/config/trace/v3/http_tracer_pb.d.ts';
import type { Clock } from '../base/clock.ts';
import { THREAD_HEAP } from '../base/heap.ts';
import { LoggerRegistry, type LogSink } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { SharedTable } from '../base/shared-table.ts';
import { BuildContext, type BuildIssue, type BuildScope } from '../config/build-context.ts';
import { buildCluster } from '../config/builders/cluster.ts';
import type { ExtensionFeed } from '../config/builders/discovered-extension.ts';
import { buildListener, type ListenerSpec } from '../config/builders/listener.ts';
import { buildFromPieces } from '../config/builders/route-config.ts';
import { splitTable } from '../config/builders/route-pieces.ts';
import type { ExtensionRegistry } from '../config/extension-registry.ts';
import { AnyMessages } from '../config/load/any-messages.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import { InternalSockets } from '../net/internal-sockets.ts';
import { ListenerDirectory } from '../net/listener-directory.ts';
import type { Acceptor, SocketRuntime } from '../net/transport.ts';
import type { TlsEngine } from '../net/transport-socket.ts';
import type { WorkerEnvironment } from '../pipeline/environment.ts';
import { RuntimeSnapshot } from '../pipeline/runtime-snapshot.ts';
import { StatsStore } from '../stats/store.ts';
import { ClusterManager } from '../upstream/cluster-manager.ts';
import { ActiveListener } from './active-listener.ts';
import { HeapSteward } from './heap-steward.ts';
import { listenSpecOf } from './listen-spec.ts';
import { LoadCounts } from './load-counts.ts';
import { BufferedLogFiles, DEFAULT_LOG_FILE_SETTINGS } from './log-files.ts';
import { membersOf } from './members.ts';
import type { FromWorker, ListenerOrder, ListenOutcome, RehearsalFault, ToWorker, WorkerOptions } from './messages.ts';
import { RouteTables } from './route-tables.ts';
import { WorkerDemands } from './worker-demands.ts';
import { WorkerExtensions } from './worker-extensions.ts';
import { WorkerSecrets } from './worker-secrets.ts';

const EXTENSION_CONFIG = 'envoy.config.core.v3.TypedExtensionConfig';

/** What a worker is made of that differs between a thread and the main thread, or in tests. */
export interface WorkerParts {
  readonly api: ApiRegistry;
  readonly extensions: ExtensionRegistry;
  readonly clock: Clock;
  readonly random: Random;
  readonly logSink: LogSink;
  readonly createSockets: (dispatcher: Dispatcher) => SocketRuntime;
  readonly createTls: (dispatcher: Dispatcher) => TlsEngine;
  readonly post: (message: FromWorker) => void;
}

/** One worker: an event loop with listeners, clusters and connections. Driven by {@link ToWorker} messages only. */
export class Worker {
  readonly environment: WorkerEnvironment;
  readonly store: StatsStore;
  readonly #options: WorkerOptions;
  readonly #parts: WorkerParts;
  readonly #sockets: SocketRuntime;
  readonly #directory = new ListenerDirectory();
  readonly #heap: HeapSteward;
  readonly #clusters: ClusterManager;
  readonly #listeners = new Map<string, ActiveListener>();
  /** Replaced or removed, until their last connection has ended. */
  readonly #draining = new Set<ActiveListener>();
  readonly #routes = new RouteTables();
  readonly #loads = new LoadCounts();
  readonly #secrets = new WorkerSecrets();
  readonly #extensions = new WorkerExtensions();
  readonly #demands: WorkerDemands;
  readonly #runtime: RuntimeSnapshot;
  readonly #logFiles: BufferedLogFiles;
  readonly #health = { failed: false };
  readonly #anys: AnyMessages;
  readonly #defaultTracer: Tracing_Http | null;
  readonly #breakerCells = new Map<string, Int32Array>();

  constructor(options: WorkerOptions, parts: WorkerParts) {
    this.#options = options;
    this.#parts = parts;
    this.#demands = new WorkerDemands(parts.post);
    const dispatcher = new Dispatcher(parts.clock, parts.random);
    dispatcher.onBug = (error) => parts.post({ kind: 'bug', message: describe(error) });
    this.#heap = new HeapSteward(dispatcher, THREAD_HEAP);
    const sockets = new InternalSockets(parts.createSockets(dispatcher), dispatcher, this.#directory);
    sockets.bufferBytes = options.internalBufferBytes;
    this.#sockets = sockets;
    this.store = new StatsStore();
    const root = this.store.root;
    this.#runtime = new RuntimeSnapshot(options.runtime);
    const loggers = new LoggerRegistry(parts.logSink, options.logLevel);
    for (const [name, level] of options.componentLevels) loggers.get(name).setLevel(level);
    this.#logFiles = new BufferedLogFiles(
      dispatcher,
      {
        ...DEFAULT_LOG_FILE_SETTINGS,
        flushIntervalMs: options.fileFlushIntervalMs,
        flushBytes: options.fileFlushMinBytes,
      },
      root,
      loggers.get('file'),
    );
    this.#anys = new AnyMessages(parts.api);
    const { defaultTracer } = options;
    this.#defaultTracer =
      defaultTracer === null ? null : this.#decode<Tracing_Http>('envoy.config.trace.v3.Tracing.Http', defaultTracer);
    const transportSockets = { dispatcher, tls: parts.createTls(dispatcher), secrets: this.#secrets };
    this.#clusters = new ClusterManager({
      dispatcher,
      stats: root,
      runtime: this.#runtime,
      sockets: { runtime: this.#sockets, services: transportSockets },
      sharedCells: (cluster) => this.#breakerCells.get(cluster) ?? null,
    });
    this.environment = {
      dispatcher,
      clusters: this.#clusters,
      runtime: this.#runtime,
      local: options.local,
      loggers,
      logFiles: this.#logFiles,
      stats: root,
      routeTables: this.#routes,
      onDemand: this.#demands,
      transportSockets,
      health: this.#health,
      shared: new SharedTable(options.sharedMemory),
      sharedClockOffsetMs: parts.clock.wallMs() - parts.clock.monotonicMs(),
    };
  }

  handle(message: ToWorker): void {
    const { dispatcher } = this.environment;
    dispatcher.enter();
    try {
      this.#handle(message);
    } finally {
      dispatcher.leave();
    }
  }

  #handle(message: ToWorker): void {
    const { post } = this.#parts;
    switch (message.kind) {
      case 'clusters':
        for (const [name, cells] of Object.entries(message.breakerCells)) {
          this.#breakerCells.set(name, new Int32Array(cells));
        }
        try {
          this.#applyClusters(message.changed, message.removed);
        } finally {
          // First hosts are no update (Envoy's `cluster_updated`).
          for (const update of message.hosts) this.#clusters.get(update.cluster)?.applyHosts(update);
        }
        post({ kind: 'done', id: message.id });
        break;
      case 'listeners':
        post({
          kind: 'listening',
          id: message.id,
          outcomes: this.#applyListeners(message),
        });
        break;
      case 'routes':
        this.#applyRoutes(message.changed, message.removed);
        post({ kind: 'done', id: message.id });
        break;
      case 'scopes':
        if (message.gone) this.#routes.removeScopes(message.key);
        else this.#routes.applyScopes(message.key, message.changed, message.removed);
        post({ kind: 'done', id: message.id });
        break;
      case 'extensions':
        for (const { key, bytes } of message.changed) {
          this.#extensions.set(key, this.#decode<TypedExtensionConfig>(EXTENSION_CONFIG, bytes));
        }
        for (const key of message.removed) this.#extensions.set(key, null);
        post({ kind: 'done', id: message.id });
        break;
      case 'feed':
        this.#takeFeed(message);
        post({ kind: 'done', id: message.id });
        break;
      case 'settled':
        this.#demands.settle(message.demandId, message.outcome);
        break;
      case 'stats':
        this.#clusters.refreshGauges();
        post({ kind: 'stats', id: message.id, delta: this.store.takeDelta() });
        break;
      case 'logging':
        for (const [name, level] of message.levels) this.environment.loggers.get(name).setLevel(level);
        break;
      case 'health':
        this.#health.failed = message.failed;
        break;
      case 'drain':
        for (const listener of this.#listeners.values()) {
          if (message.action.inboundOnly && listener.direction !== 'inbound') continue;
          if (message.action.begin) listener.drain.begin(message.action.immediate ? 0 : message.action.graceMs);
          if (message.action.stopListening) listener.stopListening();
        }
        break;
      case 'reopen':
        this.#logFiles.reopen();
        break;
      case 'loads':
        post({ kind: 'loads', id: message.id, loads: this.#loads.take(this.#clusters, message.clusters) });
        break;
      case 'certs':
        post({ kind: 'certs', id: message.id, contexts: this.#secrets.contexts() });
        break;
      case 'hostStats':
        post({ kind: 'hostStats', id: message.id, ...membersOf(this.#clusters) });
        break;
      case 'rehearse':
        post({ kind: 'rehearsed', id: message.id, faults: this.#rehearse(message.clusters, message.listeners) });
        break;
      case 'stop':
        this.#stop(message.id);
        break;
    }
  }

  #context(more: Partial<BuildScope> = {}): BuildContext {
    return new BuildContext({
      api: this.#parts.api,
      anys: this.#anys,
      extensions: this.#parts.extensions,
      runtime: this.#runtime,
      errors: [],
      warnings: [],
      stats: this.store.root,
      clusterNames: null,
      extensionFeed: this.#extensions,
      ...(this.#defaultTracer === null ? {} : { defaultTracer: this.#defaultTracer }),
      ...more,
    });
  }

  #decode<M extends Message>(typeName: string, bytes: Uint8Array): M {
    return fromBinary(this.#parts.api.message(typeName)!, bytes) as M;
  }

  #applyClusters(changed: readonly Uint8Array[], removed: readonly string[]): void {
    for (const name of removed) {
      this.#clusters.remove(name);
      this.#breakerCells.delete(name);
    }
    // One that fails (a bug: main has built it) keeps no other from its turn.
    const faults: string[] = [];
    for (const bytes of changed) {
      const message = this.#decode<ClusterMessage>('envoy.config.cluster.v3.Cluster', bytes);
      try {
        const context = this.#context();
        const spec = buildCluster(context, message);
        if (spec === null) faults.push(`worker cannot build cluster ${message.name}: ${issues(context)}`);
        else this.#clusters.set(spec);
      } catch (error) {
        faults.push(`worker cannot build cluster ${message.name}: ${describe(error)}`);
      }
    }
    if (faults.length > 0) throw new Error(faults.join('\n'));
  }

  /** One word that cannot be taken (a bug) keeps no other from its turn. */
  #takeFeed({ secrets, hosts, runtime }: Extract<ToWorker, { kind: 'feed' }>): void {
    const faults: string[] = [];
    const attempt = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        faults.push(describe(error));
      }
    };
    if (runtime !== null) attempt(() => this.#runtime.replace(runtime));
    for (const [key, secret] of secrets) {
      attempt(() => (secret === null ? this.#secrets.remove(key) : this.#secrets.set(key, secret)));
    }
    for (const update of hosts) attempt(() => this.#clusters.applyHosts(update));
    if (faults.length > 0) throw new Error(faults.join('\n'));
  }

  /** Builds and opens what an edit needs, and leaves everything as it was. @returns what stands in its way */
  #rehearse(clusters: readonly Uint8Array[], listeners: readonly Uint8Array[]): RehearsalFault[] {
    const faults: RehearsalFault[] = [];
    const stats = new StatsStore().root;
    // What is built is dropped: it hears of nothing.
    const extensionFeed: ExtensionFeed = { watch: () => {} };
    const attempt = (name: string, step: () => string): void => {
      let details: string;
      try {
        details = step();
      } catch (error) {
        details = error instanceof Error ? error.message : String(error);
      }
      if (details !== '') faults.push({ name, details });
    };
    for (const bytes of clusters) {
      const message = this.#decode<ClusterMessage>('envoy.config.cluster.v3.Cluster', bytes);
      const context = this.#context({ stats, extensionFeed });
      attempt(message.name, () => (buildCluster(context, message) === null ? issues(context) : ''));
    }
    for (const bytes of listeners) {
      const message = this.#decode<ListenerMessage>('envoy.config.listener.v3.Listener', bytes);
      const context = this.#context({ stats, extensionFeed });
      attempt(message.name, () => {
        const spec = buildListener(context, message);
        if (spec === null) return issues(context);
        if (spec.bindToPort) this.#tryToOpen(spec);
        return '';
      });
    }
    // What watches for it need not be told any more.
    stats.close();
    return faults;
  }

  /** Opens the addresses that no listener of ours has, for a moment. @throws Error when one cannot be opened */
  #tryToOpen(spec: ListenerSpec): void {
    if (this.#options.index > 0) return;
    const inUse = [...this.#listeners.values(), ...this.#draining];
    for (const address of spec.addresses) {
      if (address.kind === 'ip' && address.port === 0) continue;
      if (inUse.some((listener) => listener.holds(address))) continue;
      const acceptor: Acceptor = { onAccept: (transport) => transport.close() };
      this.#sockets.listen(listenSpecOf(spec, address, this.#sockets.features), acceptor).close();
    }
  }

  #applyRoutes(
    changed: readonly { readonly key: string; readonly bytes: Uint8Array }[],
    removed: readonly string[],
  ): void {
    for (const { key, bytes } of changed) {
      const slot = this.#routes.source(key);
      const stats = this.store.root.createScope('');
      const context = this.#context({ stats });
      const split = splitTable(bytes, slot.pieces);
      const table = buildFromPieces(context, split.decodeUnbuilt(this.#parts.api), split.pieces);
      if (table === null) throw new Error(`worker cannot build route table ${key}: ${issues(context)}`);
      table.onDemandKey = key;
      slot.replace(table, stats, split.pieces);
    }
    for (const key of removed) this.#routes.remove(key);
  }

  #applyListeners(message: Extract<ToWorker, { kind: 'listeners' }>): ListenOutcome[] {
    const { drainMs, immediate } = message;
    for (const name of message.removed) {
      const listener = this.#listeners.get(name);
      if (listener === undefined) continue;
      this.#listeners.delete(name);
      this.#retire(listener, drainMs, immediate);
    }
    const outcomes: ListenOutcome[] = [];
    for (const order of message.changed) this.#applyListener(order, message, outcomes);
    return outcomes;
  }

  #applyListener(
    order: ListenerOrder,
    { drainMs, immediate, ports }: Extract<ToWorker, { kind: 'listeners' }>,
    outcomes: ListenOutcome[],
  ): void {
    const message = this.#decode<ListenerMessage>('envoy.config.listener.v3.Listener', order.bytes);
    const present = this.#listeners.get(message.name) ?? null;
    const stats = this.store.root.createScope('');
    const context = this.#context({
      stats,
      ...(order.inPlace && present !== null ? { presentChains: present.chainsByKey } : {}),
    });
    const spec = buildListener(context, message);
    if (spec === null) throw new Error(`worker cannot build listener ${message.name}: ${issues(context)}`);
    if (order.inPlace && present !== null) {
      present.replaceChains(spec, stats, drainMs, immediate);
      return;
    }
    const listener = new ActiveListener(
      spec,
      this.environment,
      this.#sockets,
      this.#options.index,
      stats,
      this.#directory,
      this.#heap,
    );
    listener.announce();
    listener.onGone = () => this.#draining.delete(listener);
    if (spec.bindToPort) {
      if (present?.mayHandOverTo(spec) === true) listener.takeSockets(present, outcomes);
      else if (!this.#open(listener, ports, outcomes)) {
        listener.stopListening();
        stats.close();
        return;
      }
    }
    this.#listeners.set(spec.name, listener);
    if (present !== null) this.#retire(present, drainMs, immediate);
  }

  #open(listener: ActiveListener, ports: Readonly<Record<string, number>>, outcomes: ListenOutcome[]): boolean {
    const { spec } = listener;
    let complete = true;
    spec.addresses.forEach((address, addressIndex) => {
      const shared = address.kind === 'ip' && spec.reusePort;
      if (!shared && this.#options.index > 0) return;
      try {
        const bound = listener.listen(addressIndex, ports[`${spec.name}|${addressIndex}`] ?? -1);
        outcomes.push({ listener: spec.name, addressIndex, address: bound.text, error: '' });
      } catch (error) {
        complete = false;
        outcomes.push({ listener: spec.name, addressIndex, address: '', error: (error as Error).message });
      }
    });
    return complete;
  }

  #retire(listener: ActiveListener, drainMs: number, immediate: boolean): void {
    this.#draining.add(listener);
    listener.retire(drainMs, immediate);
  }

  #stop(id: number): void {
    for (const listener of [...this.#listeners.values(), ...this.#draining]) {
      listener.stopListening();
      listener.closeConnections('');
    }
    this.#clusters.close();
    this.environment.dispatcher.timers.stop();
    // A write that is under way would be lost with the process.
    void this.#logFiles.flush().then(() => {
      this.#logFiles.closeNow();
      this.#parts.post({ kind: 'done', id });
    });
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function issues(context: BuildContext): string {
  return context.shared.errors.map((issue: BuildIssue) => `${issue.path}: ${issue.reason}`).join('; ');
}
