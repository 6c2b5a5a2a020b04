import type { ApiRegistry } from '../api/api-registry.ts';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';
import { deferred } from '../base/deferred.ts';
import type { Logger } from '../base/log.ts';
import { SecretFiles } from '../config/secrets/secret-files.ts';
import { GrpcServer } from '../grpc/grpc-server.ts';
import type { GrpcServerLimits } from '../grpc/grpc-server-call.ts';
import { GrpcStatus } from '../http/grpc-headers.ts';
import type { Address } from '../net/address.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { ListeningSocket, SocketRuntime, Transport } from '../net/transport.ts';
import { type DebugPage, type DebugPages, DebugServer } from './debug/debug-server.ts';
import { complaintsOf, type ObjectStatus } from './gateway-api/status.ts';
import type { MeshSecrets } from './mesh/mesh-secrets.ts';
import type { Metrics } from './metrics.ts';
import { selectsNode } from './node-groups.ts';
import { DirectoryWatch } from './sources/directory.ts';
import { COMMON_GROUP, gatewayGroup, type LoadedSources, PilotSources } from './sources/pilot-sources.ts';
import type { ClientLimits } from './xds-server/client-limits.ts';
import { clientsReport, groupsReport } from './xds-server/client-report.ts';
import { ClientStatusService } from './xds-server/client-status-service.ts';
import { DiscoveryCounts } from './xds-server/discovery-counts.ts';
import { DiscoveryServices } from './xds-server/discovery-services.ts';
import { SECRET_URL } from './xds-server/resource-view.ts';
import { ResponseEncodings } from './xds-server/response-encodings.ts';
import type { Snapshot } from './xds-server/snapshot.ts';
import { SnapshotCache } from './xds-server/snapshot-cache.ts';

const PLAIN = {
  reusePort: false,
  backlog: 0,
  ipv6Only: false,
  transparent: false,
  freebind: false,
  socketOptions: [],
} as const;
/** What all clients together, and each of them, may ask for. */
export interface PilotLimits extends ClientLimits, GrpcServerLimits {
  /** Connections; further ones are closed as they come. */
  readonly maxClients: number;
  /** Largest request, bytes; a larger one ends its stream. */
  readonly maxRequestBytes: number;
}

export interface PilotOptions {
  readonly api: ApiRegistry;
  readonly dispatcher: Dispatcher;
  readonly sockets: SocketRuntime;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly limits: PilotLimits;
  /** Issues certificates; null: nobody does. */
  readonly mesh: MeshSecrets | null;
  readonly address: Address;
  /** Where people and scrapers may look; null: nowhere. */
  readonly debugAddress: Address | null;
  /** Takes TLS off accepted connections; null: there is none. */
  readonly secure: ((raw: Transport) => Transport) | null;
  /** A directory of Envoy's resources; empty: none. */
  readonly resources: string;
  /** A directory of Gateway API manifests; empty: none. */
  readonly manifests: string;
  /** Told of the statuses of the manifests whenever they are translated. */
  readonly onStatuses: (statuses: readonly ObjectStatus[]) => void;
}

/**
 * The control plane: directories in, discovery out. A change of a file is read, checked and translated as a whole; when anything in
 * it is wrong, everybody keeps what they have.
 */
export class Pilot {
  readonly #options: PilotOptions;
  readonly #cache = new SnapshotCache();
  readonly #services: DiscoveryServices;
  readonly #server: GrpcServer;
  readonly #debug: DebugServer;
  readonly #startedAtMs: number;
  #debugListening: ListeningSocket | null = null;
  readonly #sources: PilotSources;
  readonly #watches: DirectoryWatch[] = [];
  /** What was taken last. */
  #loaded: Pick<LoadedSources, 'groups' | 'gateways'> = { groups: [], gateways: new Set() };
  #loadedAtMs = 0;
  /** Of the last attempt to load; empty: there were none. */
  #lastFaults: readonly string[] = [];
  #listening: ListeningSocket | null = null;
  /** Of the files that secrets name; null: there are none. */
  #credentials: SecretFiles | null = null;
  #credentialsKey = '';

  constructor(options: PilotOptions) {
    this.#options = options;
    const { api, dispatcher, logger, mesh } = options;
    const counts = new DiscoveryCounts(options.metrics);
    this.#sources = new PilotSources(api, options.resources, options.manifests);
    this.#services = new DiscoveryServices({
      api,
      cache: this.#cache,
      encodings: new ResponseEncodings('nuncio'),
      groupOf: (node) => this.#groupOf(node),
      dispatcher,
      limits: options.limits,
      counts,
      ...(mesh === null ? {} : { personal: (call, node, onChange) => mesh.open(call, node, onChange) }),
      onRefusal: (stream, { typeUrl, refusal }) =>
        logger.warning(
          oneLine(`node ${stream.node?.id ?? ''} refuses ${typeUrl} ${refusal?.version}: ${refusal?.reason}`),
        ),
    });
    const status = new ClientStatusService(api, this.#services.streams);
    this.#startedAtMs = dispatcher.wallMs;
    this.#debug = new DebugServer(dispatcher, this.#pages());
    this.#server = new GrpcServer({
      dispatcher,
      services: { open: (method, call) => this.#services.open(method, call) ?? status.open(method, call) },
      maxMessageBytes: options.limits.maxRequestBytes,
      maxConnections: options.limits.maxClients,
      limits: options.limits,
      secure: options.secure,
      onLimit: (limit) => counts.limit(limit),
      onBadMessage: (code) => counts.limit(code === GrpcStatus.ResourceExhausted ? 'request_bytes' : 'framing'),
      onRejected: (why) =>
        options.metrics
          .counter('connections_rejected', 'Connections that were not served, or not any more, and why.', { why })
          .inc(),
    });
  }

  /** @throws Error when the address cannot be had, or a directory does not exist */
  start(): Address {
    const { sockets, address, debugAddress, resources, manifests } = this.#options;
    // Before they are read: what changes from now on is news.
    for (const directory of [resources, manifests]) {
      if (directory !== '') this.#watches.push(this.#watch(directory));
    }
    this.#load();
    this.#listening = sockets.listen({ ...PLAIN, address }, this.#server);
    if (debugAddress !== null) {
      this.#debugListening = sockets.listen({ ...PLAIN, address: debugAddress }, this.#debug);
    }
    return this.#listening.address;
  }

  /** Where debug pages are served; null: nowhere. */
  get debugAddress(): Address | null {
    return this.#debugListening?.address ?? null;
  }

  #pages(): DebugPages {
    const { metrics } = this.#options;
    const { streams } = this.#services;
    const json = (value: unknown): DebugPage => ({
      contentType: 'application/json',
      body: `${JSON.stringify(value, null, 2)}\n`,
    });
    metrics.gauge('clients', 'Connections.', () => this.#server.connectionCount);
    metrics.gauge('streams', 'Discovery streams.', () => streams.size);
    metrics.gauge('groups', 'Groups of nodes that have resources.', () => this.#cache.groups.length);
    const general = (): object => ({
      started_at: new Date(this.#startedAtMs).toISOString(),
      loaded_at: this.#loadedAtMs === 0 ? null : new Date(this.#loadedAtMs).toISOString(),
      faults: this.#lastFaults,
      connections: this.#server.connectionCount,
      streams: streams.size,
      draining: this.#server.isDraining,
    });
    return {
      '/debug': (query) =>
        json({
          pilot: general(),
          groups: groupsReport(this.#cache, streams),
          clients: clientsReport(streams, query.get('node') ?? ''),
        }),
      '/debug/clients': (query) => json(clientsReport(streams, query.get('node') ?? '')),
      '/debug/groups': () => json(groupsReport(this.#cache, streams)),
      '/metrics': () => ({ contentType: 'text/plain; version=0.0.4', body: metrics.render() }),
      // Until the directories were taken once there is nothing to serve; later faults leave what there is.
      '/ready': () =>
        this.#loadedAtMs === 0
          ? { status: 503, contentType: 'text/plain', body: 'NOTHING LOADED\n' }
          : { contentType: 'text/plain', body: 'LIVE\n' },
    };
  }

  #watch(directory: string): DirectoryWatch {
    const { logger } = this.#options;
    return new DirectoryWatch(
      directory,
      () => this.#load(),
      (error) => logger.error(`${directory} is not watched as it should be: ${error.message}`),
    );
  }

  /**
   * No further clients; those that there are are told to go elsewhere (GOAWAY), and their streams are ended one after the other within
   * `drainMs`, so that they do not all come back at once. @returns resolves once nobody is left
   */
  async stop(drainMs: number): Promise<void> {
    const { dispatcher } = this.#options;
    for (const watch of this.#watches) watch.close();
    this.#credentials?.close();
    this.#listening?.close();
    dispatcher.enter();
    const drained = this.#server.drain();
    dispatcher.leave();
    const streams = [...this.#services.streams];
    const endOne = (): void => {
      dispatcher.enter();
      streams.shift()?.end(GrpcStatus.Unavailable, 'the control plane goes away');
      dispatcher.leave();
      if (streams.length > 0) pause = setTimeout(endOne, drainMs / (count + 1));
    };
    const count = streams.length;
    let pause = setTimeout(endOne, 0);
    // A client that does not take its end keeps nobody.
    const patience = deferred();
    const deadline = setTimeout(patience.resolve, drainMs + 1000);
    await Promise.race([drained, patience.promise]);
    clearTimeout(pause);
    clearTimeout(deadline);
    this.close();
  }

  /** At once. */
  close(): void {
    for (const watch of this.#watches) watch.close();
    this.#credentials?.close();
    this.#listening?.close();
    this.#debugListening?.close();
    this.#debug.close();
    this.#server.close();
  }

  get streamCount(): number {
    return this.#services.streams.size;
  }

  #groupOf(node: Node): string {
    const { gateways, groups } = this.#loaded;
    const group = groups.find(([, { selector }]) => selectsNode(selector, node))?.[0];
    if (gateways.has(node.cluster)) return gatewayGroup(node.cluster, group ?? '');
    return group ?? COMMON_GROUP;
  }

  /** Reads everything again. */
  #load(): void {
    const { dispatcher, metrics } = this.#options;
    dispatcher.enter();
    try {
      const loaded = this.#sources.load();
      this.#watchCredentials(loaded.credentials);
      this.#lastFaults = [...loaded.faults, ...this.#takenNames(loaded.snapshots)];
      if (this.#lastFaults.length === 0) this.#take(loaded);
    } catch (error) {
      this.#lastFaults = [(error as Error).message];
    } finally {
      dispatcher.leave();
    }
    const outcome = this.#lastFaults.length === 0 ? 'taken' : 'refused';
    metrics.counter('loads', 'Times that the directories were read.', { outcome }).inc();
    for (const fault of this.#lastFaults) this.#options.logger.error(`nothing is changed: ${fault}`);
  }

  #take(loaded: LoadedSources): void {
    const { dispatcher, logger, onStatuses, manifests } = this.#options;
    // Only now: a bad file of either kind moves nobody into a group that does not exist.
    this.#loaded = loaded;
    this.#loadedAtMs = dispatcher.wallMs;
    this.#publish(loaded.snapshots);
    this.#services.regroup();
    try {
      if (manifests !== '') onStatuses(loaded.statuses);
    } catch (error) {
      // It changes nothing about what is served.
      logger.error(`the statuses are not written: ${(error as Error).message}`);
    }
    for (const status of loaded.statuses) {
      for (const complaint of complaintsOf(status)) logger.warning(complaint);
    }
  }

  /** Secrets of the mesh have names of their own. */
  #takenNames(next: ReadonlyMap<string, Snapshot>): string[] {
    const { mesh } = this.#options;
    if (mesh === null) return [];
    const names = [...next.values()].flatMap((snapshot) => [...snapshot.type(SECRET_URL).resources.keys()]);
    return [...new Set(names)]
      .filter((name) => mesh.owns(name))
      .map((name) => `secret ${name}: the name is that of what the mesh issues`);
  }

  /** Also of resources that are refused: a file that was missing may come. */
  #watchCredentials(paths: readonly string[]): void {
    const key = [...new Set(paths)].sort().join('\n');
    if (key === this.#credentialsKey) return;
    this.#credentialsKey = key;
    this.#credentials?.close();
    this.#credentials = key === '' ? null : new SecretFiles(key.split('\n'), '', () => this.#load());
  }

  #publish(next: ReadonlyMap<string, Snapshot>): void {
    const { logger } = this.#options;
    for (const group of this.#cache.groups) if (!next.has(group)) this.#cache.remove(group);
    for (const [group, snapshot] of next) {
      const plan = planOf(this.#cache.get(group), snapshot);
      if (plan === '') continue;
      logger.info(`${group}: ${plan}`);
      this.#cache.set(group, snapshot);
    }
  }
}

/** What changes, for people; empty: nothing. */
function planOf(before: Snapshot, after: Snapshot): string {
  const parts: string[] = [];
  for (const typeUrl of new Set([...before.typeUrls, ...after.typeUrls])) {
    const old = before.type(typeUrl).resources;
    const now = after.type(typeUrl).resources;
    const short = typeUrl.slice(typeUrl.lastIndexOf('.') + 1);
    for (const [name, resource] of now) {
      const had = old.get(name);
      if (had === undefined) parts.push(`+ ${short} ${name}`);
      else if (had.version !== resource.version) parts.push(`~ ${short} ${name}`);
    }
    for (const name of old.keys()) if (!now.has(name)) parts.push(`- ${short} ${name}`);
  }
  return parts.join(', ');
}

/** What a client says is no line of its own in the log, nor a command to a terminal. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ');
}
