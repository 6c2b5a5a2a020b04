import type { ApiRegistry } from '../api/api-registry.ts';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';
import { deferred } from '../base/deferred.ts';
import type { Logger } from '../base/log.ts';
import { errorLine } from '../config/diagnostics/render.ts';
import { SecretFiles } from '../config/secrets/secret-files.ts';
import { GrpcServer } from '../grpc/grpc-server.ts';
import { GrpcStatus } from '../http/grpc-headers.ts';
import type { Address } from '../net/address.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { ListeningSocket, SocketRuntime, Transport } from '../net/transport.ts';
import { GatewayTranslator } from './gateway-api/gateways.ts';
import { readManifests } from './gateway-api/manifest-set.ts';
import type { ResourceBundle } from './gateway-api/resources.ts';
import type { ObjectStatus } from './gateway-api/status.ts';
import type { MeshSecrets } from './mesh/mesh-secrets.ts';
import type { Metrics } from './metrics.ts';
import { type NodeSelector, readSelector, selectsNode } from './node-groups.ts';
import { type DirectoryFile, DirectoryWatch, readDirectory } from './sources/directory.ts';
import { overlay, ResourceFiles } from './sources/resource-directory.ts';
import type { ClientLimits } from './xds-server/client-limits.ts';
import { DiscoveryCounts } from './xds-server/discovery-counts.ts';
import { DiscoveryServices } from './xds-server/discovery-services.ts';
import { ResponseEncodings } from './xds-server/response-encodings.ts';
import { resourceOfJson, Snapshot, SnapshotType } from './xds-server/snapshot.ts';
import { SnapshotCache } from './xds-server/snapshot-cache.ts';

/** Group of all nodes that no other group is for. */
const COMMON = 'common';
/** Folder of the groups below the resources, and the file in each that says which nodes it is for. */
const GROUPS = 'groups/';
const SELECTOR = 'group.yaml';
const CONTROLLER = 'nuncio.dev/gateway-controller';
const BUNDLE_TYPES = {
  clusters: 'envoy.config.cluster.v3.Cluster',
  endpoints: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
  listeners: 'envoy.config.listener.v3.Listener',
  routes: 'envoy.config.route.v3.RouteConfiguration',
  secrets: 'envoy.extensions.transport_sockets.tls.v3.Secret',
} as const;

/** What all clients together, and each of them, may ask for. */
export interface PilotLimits extends ClientLimits {
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
  readonly #files: ResourceFiles;
  readonly #watches: DirectoryWatch[] = [];
  #selectors: readonly (readonly [group: string, selector: NodeSelector])[] = [];
  #gateways: ReadonlySet<string> = new Set();
  #listening: ListeningSocket | null = null;
  /** Of the files that secrets name; null: there are none. */
  #credentials: SecretFiles | null = null;
  #credentialsKey = '';

  constructor(options: PilotOptions) {
    this.#options = options;
    const { api, dispatcher, logger, mesh } = options;
    this.#files = new ResourceFiles(api);
    this.#services = new DiscoveryServices({
      api,
      cache: this.#cache,
      encodings: new ResponseEncodings('nuncio'),
      groupOf: (node) => this.#groupOf(node),
      dispatcher,
      limits: options.limits,
      counts: new DiscoveryCounts(options.metrics),
      ...(mesh === null ? {} : { personal: (call, node, onChange) => mesh.open(call, node, onChange) }),
      onRefusal: (stream, { typeUrl, refusal }) =>
        logger.warning(`node ${stream.node?.id ?? ''} refuses ${typeUrl} ${refusal?.version}: ${refusal?.reason}`),
    });
    this.#server = new GrpcServer({
      dispatcher,
      services: this.#services,
      maxMessageBytes: options.limits.maxRequestBytes,
      maxConnections: options.limits.maxClients,
      secure: options.secure,
      onRejected: (why) =>
        options.metrics.counter('connections_rejected', 'Connections that were not served, and why.', { why }).inc(),
    });
  }

  /** @throws Error when the address cannot be had, or a directory does not exist */
  start(): Address {
    const { sockets, address, resources, manifests } = this.#options;
    this.#load();
    for (const directory of [resources, manifests]) {
      if (directory !== '') this.#watches.push(this.#watch(directory));
    }
    this.#listening = sockets.listen(
      {
        address,
        reusePort: false,
        backlog: 0,
        ipv6Only: false,
        transparent: false,
        freebind: false,
        socketOptions: [],
      },
      this.#server,
    );
    return this.#listening.address;
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
    this.#server.close();
  }

  get streamCount(): number {
    return this.#services.streams.size;
  }

  #groupOf(node: Node): string {
    if (this.#gateways.has(node.cluster)) return `gateway ${node.cluster}`;
    return this.#selectors.find(([, selector]) => selectsNode(selector, node))?.[0] ?? COMMON;
  }

  /** Reads everything again. */
  #load(): void {
    const { dispatcher, logger } = this.#options;
    dispatcher.enter();
    try {
      const next = new Map<string, Snapshot>();
      const selectors = this.#loadResources(next);
      const gateways = selectors === null ? null : this.#loadManifests(next);
      if (selectors === null || gateways === null || !this.#namesAreFree(next)) return;
      // Only now: a bad file of either kind moves nobody into a group that does not exist.
      this.#selectors = selectors;
      this.#gateways = gateways;
      this.#publish(next);
      this.#services.regroup();
    } catch (error) {
      logger.error(`nothing is changed: ${(error as Error).message}`);
    } finally {
      dispatcher.leave();
    }
  }

  /** Secrets of the mesh have names of their own. */
  #namesAreFree(next: ReadonlyMap<string, Snapshot>): boolean {
    const { mesh, logger } = this.#options;
    if (mesh === null) return true;
    for (const snapshot of next.values()) {
      for (const name of snapshot.type(`type.googleapis.com/${BUNDLE_TYPES.secrets}`).resources.keys()) {
        if (!mesh.owns(name)) continue;
        logger.error(`nothing is changed: secret ${name}: the name is that of what the mesh issues`);
        return false;
      }
    }
    return true;
  }

  /** @returns which nodes the groups are for; null: something is wrong */
  #loadResources(next: Map<string, Snapshot>): [group: string, selector: NodeSelector][] | null {
    const { resources, logger } = this.#options;
    if (resources === '') return [];
    const common: DirectoryFile[] = [];
    const groups = new Map<string, DirectoryFile[]>();
    const selectors: [string, NodeSelector][] = [];
    for (const file of readDirectory(resources)) {
      if (!file.name.startsWith(GROUPS)) {
        common.push(file);
        continue;
      }
      const [name = '', ...rest] = file.name.slice(GROUPS.length).split('/');
      const list = groups.get(name) ?? [];
      groups.set(name, list);
      if (rest.join('/') !== SELECTOR) list.push(file);
      else {
        try {
          selectors.push([name, readSelector(file.text)]);
        } catch (error) {
          logger.error(`nothing is changed: ${file.name}: ${(error as Error).message}`);
          return null;
        }
      }
    }
    if (groups.has(COMMON)) {
      logger.error(`nothing is changed: ${GROUPS}${COMMON}: the name is that of the group of all other nodes`);
      return null;
    }
    const base = this.#files.load(resources, common);
    const faults = [...base.errors];
    const credentials = [...base.credentials];
    next.set(COMMON, base.snapshot);
    for (const [name, files] of groups) {
      const own = this.#files.load(resources, files);
      faults.push(...own.errors);
      credentials.push(...own.credentials);
      next.set(name, overlay(base.snapshot, own.snapshot));
    }
    this.#watchCredentials(credentials);
    for (const fault of faults) logger.error(`nothing is changed: ${errorLine(fault)}`);
    return faults.length > 0 ? null : selectors;
  }

  /** Also of resources that are refused: a file that was missing may come. */
  #watchCredentials(paths: readonly string[]): void {
    const key = [...new Set(paths)].sort().join('\n');
    if (key === this.#credentialsKey) return;
    this.#credentialsKey = key;
    this.#credentials?.close();
    this.#credentials = key === '' ? null : new SecretFiles(key.split('\n'), '', () => this.#load());
  }

  /** @returns the gateways; null: something is wrong */
  #loadManifests(next: Map<string, Snapshot>): ReadonlySet<string> | null {
    const { manifests, logger, onStatuses } = this.#options;
    if (manifests === '') return new Set();
    const { set, problems } = readManifests(readDirectory(manifests));
    for (const { file, line, reason } of problems) logger.error(`nothing is changed: ${file}:${line}: ${reason}`);
    if (problems.length > 0) return null;
    const { gateways, statuses } = new GatewayTranslator(set, CONTROLLER).translate();
    for (const [name, bundle] of gateways) next.set(`gateway ${name}`, this.#snapshotOf(bundle));
    onStatuses(statuses);
    for (const status of statuses) {
      for (const { type, reason, message, status: is } of status.parents?.flatMap((each) => each.conditions) ?? []) {
        const name = `${status.kind} ${status.metadata.namespace}/${status.metadata.name}`;
        if (is === 'False') logger.warning(`${name}: ${type} is False: ${reason}: ${message}`);
      }
    }
    return new Set(gateways.keys());
  }

  #snapshotOf(bundle: ResourceBundle): Snapshot {
    const { api } = this.#options;
    return new Snapshot(
      Object.entries(BUNDLE_TYPES).map(([kind, typeName]) => {
        const resources = [...bundle[kind as keyof typeof BUNDLE_TYPES]].map(([name, json]) =>
          resourceOfJson(api, typeName, name, json),
        );
        return new SnapshotType(`type.googleapis.com/${typeName}`, resources);
      }),
    );
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
