import type { ApiRegistry } from '../../api/api-registry.ts';
import { errorLine } from '../../config/diagnostics/render.ts';
import { GatewayTranslator } from '../gateway-api/gateways.ts';
import { ManifestReader } from '../gateway-api/manifest-set.ts';
import type { ResourceBundle } from '../gateway-api/resources.ts';
import type { ObjectStatus } from '../gateway-api/status.ts';
import { type NodeGroup, readGroup } from '../node-groups.ts';
import { EMPTY_SNAPSHOT, resourceOfJson, Snapshot, SnapshotType } from '../xds-server/snapshot.ts';
import { type DirectoryFile, readDirectory } from './directory.ts';
import { overlay, ResourceFiles } from './resource-directory.ts';

/** Group of all nodes that no other group is for. */
export const COMMON_GROUP = 'common';
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

/** The proxies of a gateway. @param group the group of nodes that they are of as well; empty: of none */
export function gatewayGroup(name: string, group: string): string {
  return group === '' ? `gateway ${name}` : `gateway ${name}, ${group}`;
}

/** Everything that the directories hold at one moment. With faults it is not for use. */
export interface LoadedSources {
  readonly snapshots: ReadonlyMap<string, Snapshot>;
  /** Which nodes the groups are for: the first that fits counts. */
  readonly groups: readonly (readonly [name: string, group: NodeGroup])[];
  /** `namespace/name` of those that have a group. */
  readonly gateways: ReadonlySet<string>;
  readonly statuses: readonly ObjectStatus[];
  /** Files outside that are part of the resources. */
  readonly credentials: readonly string[];
  /** What is wrong, each with its place. */
  readonly faults: readonly string[];
}

/** The directories of a control plane: resources and manifests in, snapshots by group of nodes out. */
export class PilotSources {
  readonly #api: ApiRegistry;
  readonly #resources: string;
  readonly #manifests: string;
  readonly #files: ResourceFiles;
  readonly #manifestReader = new ManifestReader();

  /**
   * @param resources a directory of Envoy's resources; empty: none
   * @param manifests a directory of Gateway API manifests; empty: none
   */
  constructor(api: ApiRegistry, resources: string, manifests: string) {
    this.#api = api;
    this.#resources = resources;
    this.#manifests = manifests;
    this.#files = new ResourceFiles(api);
  }

  /** Reads everything again. @throws Error when a directory cannot be read as a whole */
  load(): LoadedSources {
    const snapshots = new Map<string, Snapshot>();
    const faults: string[] = [];
    const { groups, credentials, own } = this.#loadResources(snapshots, faults);
    const { gateways, statuses } = this.#loadManifests(snapshots, faults);
    // What a group has is laid over what the manifests say.
    for (const gateway of gateways) {
      const translated = snapshots.get(gatewayGroup(gateway, ''))!;
      for (const [group, over] of own) snapshots.set(gatewayGroup(gateway, group), overlay(translated, over));
    }
    return { snapshots, groups, gateways, statuses, credentials, faults };
  }

  /** @returns besides what each group has of its own */
  #loadResources(
    snapshots: Map<string, Snapshot>,
    faults: string[],
  ): Pick<LoadedSources, 'groups' | 'credentials'> & { readonly own: ReadonlyMap<string, Snapshot> } {
    const own = new Map<string, Snapshot>();
    if (this.#resources === '') return { groups: [], credentials: [], own };
    const common: DirectoryFile[] = [];
    const filesOf = new Map<string, DirectoryFile[]>();
    const groups: [string, NodeGroup][] = [];
    const all = readDirectory(this.#resources);
    this.#files.keepOnly(new Set(all.map(({ name }) => name)));
    for (const file of all) {
      if (!file.name.startsWith(GROUPS)) {
        common.push(file);
        continue;
      }
      const [name = '', ...rest] = file.name.slice(GROUPS.length).split('/');
      if (rest.length === 0) {
        faults.push(`${file.name}: a group is a folder`);
        continue;
      }
      const list = filesOf.get(name) ?? [];
      filesOf.set(name, list);
      if (rest.join('/') !== SELECTOR) {
        list.push(file);
        continue;
      }
      try {
        groups.push([name, readGroup(file.text)]);
      } catch (error) {
        faults.push(`${file.name}: ${(error as Error).message}`);
      }
    }
    if (filesOf.has(COMMON_GROUP)) {
      faults.push(`${GROUPS}${COMMON_GROUP}: the name is that of the group of all other nodes`);
    }
    const base = this.#files.load(this.#resources, common);
    snapshots.set(COMMON_GROUP, base.snapshot);
    const credentials = [...base.credentials];
    faults.push(...base.errors.map(errorLine));
    for (const [name, files] of filesOf) {
      // Resources that nobody would ever get are a mistake.
      const group = groups.find(([own]) => own === name)?.[1];
      if (group === undefined && !faults.some((fault) => fault.startsWith(`${GROUPS}${name}/${SELECTOR}`))) {
        faults.push(`${GROUPS}${name}: ${SELECTOR} is missing`);
      }
      const loaded = this.#files.load(this.#resources, files);
      own.set(name, loaded.snapshot);
      credentials.push(...loaded.credentials);
      faults.push(...loaded.errors.map(errorLine));
      snapshots.set(name, overlay(group?.inherit === false ? EMPTY_SNAPSHOT : base.snapshot, loaded.snapshot));
    }
    // Sorting is stable: among equals they stay in the order of their names.
    groups.sort(([, a], [, b]) => b.priority - a.priority);
    return { groups, credentials, own };
  }

  #loadManifests(snapshots: Map<string, Snapshot>, faults: string[]): Pick<LoadedSources, 'gateways' | 'statuses'> {
    if (this.#manifests === '') return { gateways: new Set(), statuses: [] };
    const { set, problems } = this.#manifestReader.read(readDirectory(this.#manifests));
    for (const { file, line, reason } of problems) faults.push(`${file}:${line}: ${reason}`);
    if (problems.length > 0) return { gateways: new Set(), statuses: [] };
    const { gateways, statuses } = new GatewayTranslator(set, CONTROLLER).translate();
    for (const [name, bundle] of gateways) snapshots.set(gatewayGroup(name, ''), this.#snapshotOf(bundle));
    return { gateways: new Set(gateways.keys()), statuses };
  }

  #snapshotOf(bundle: ResourceBundle): Snapshot {
    return new Snapshot(
      Object.entries(BUNDLE_TYPES).map(([kind, typeName]) => {
        const resources = [...bundle[kind as keyof typeof BUNDLE_TYPES]].map(([name, json]) =>
          resourceOfJson(this.#api, typeName, name, json),
        );
        return new SnapshotType(`type.googleapis.com/${typeName}`, resources);
      }),
    );
  }
}
