import { createHash } from 'node:crypto';
import { fromJson, type JsonValue, type Message, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { VirtualHost } from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';

/** One resource as it goes out. */
export interface SnapshotResource {
  readonly name: string;
  /** Of its content: the same content has the same version, in whatever process. */
  readonly version: string;
  /** An encoded google.protobuf.Any. */
  readonly any: Uint8Array;
  /** Of its content as well; what a set of resources has in common is the sum of them. */
  readonly mark: readonly [high: number, low: number];
  /** Of a cluster: the name of its endpoints, which a proxy waits for after each change of the cluster; empty: none. */
  readonly endpoints: string;
  /** Of a virtual host. */
  readonly domains: readonly string[];
}

/** The version of a set of resources, whatever their order: who holds this version holds just these. */
export class SetVersion {
  #high = 0;
  #low = 0;
  #count = 0;

  add({ mark: [high, low] }: SnapshotResource): void {
    this.#high ^= high;
    this.#low ^= low;
    this.#count++;
  }

  get text(): string {
    const hex = (half: number): string => (half >>> 0).toString(16).padStart(8, '0');
    return `${hex(this.#high)}${hex(this.#low)}-${this.#count}`;
  }
}

/** The resources of one type, with the version of all of them together. */
export class SnapshotType {
  readonly typeUrl: string;
  readonly version: string;
  readonly resources: ReadonlyMap<string, SnapshotResource>;
  #before: SnapshotType | null = null;
  #changes: readonly SnapshotResource[] = [];

  constructor(typeUrl: string, resources: readonly SnapshotResource[]) {
    this.typeUrl = typeUrl;
    const sorted = [...resources].sort((a, b) => (a.name < b.name ? -1 : 1));
    this.resources = new Map(sorted.map((resource) => [resource.name, resource]));
    const version = new SetVersion();
    for (const resource of this.resources.values()) version.add(resource);
    this.version = version.text;
  }

  /** Those that `before` has otherwise or not at all. The same question is asked for every client: the last answer is kept. */
  changesSince(before: SnapshotType): readonly SnapshotResource[] {
    if (this.#before !== before) {
      this.#before = before;
      this.#changes = [...this.resources.values()].filter(
        ({ name, version }) => before.resources.get(name)?.version !== version,
      );
    }
    return this.#changes;
  }
}

/** What the proxies of one group are to have at one moment. Immutable. */
export class Snapshot {
  readonly #types: ReadonlyMap<string, SnapshotType>;

  constructor(types: readonly SnapshotType[]) {
    this.#types = new Map(types.map((type) => [type.typeUrl, type]));
  }

  type(typeUrl: string): SnapshotType {
    return this.#types.get(typeUrl) ?? new SnapshotType(typeUrl, []);
  }

  get typeUrls(): readonly string[] {
    return [...this.#types.keys()];
  }
}

export const EMPTY_SNAPSHOT = new Snapshot([]);

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  bytes.push(value);
  return bytes;
}

/** A length-delimited protobuf field. */
export function field(number: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(content.length)]), content]);
}

export function textField(number: number, text: string): Buffer {
  return text === '' ? Buffer.alloc(0) : field(number, Buffer.from(text, 'utf8'));
}

const CLUSTER = 'envoy.config.cluster.v3.Cluster';
/** Bytes of a version: that two contents share one is not to be expected. */
const VERSION_BYTES = 8;

function endpointsOf(message: Message): string {
  if (message.$typeName !== CLUSTER) return '';
  const { edsClusterConfig, name } = message as Cluster;
  if (edsClusterConfig === undefined) return '';
  return edsClusterConfig.serviceName === '' ? name : edsClusterConfig.serviceName;
}

function domainsOf(message: Message): readonly string[] {
  return message.$typeName === 'envoy.config.route.v3.VirtualHost' ? (message as VirtualHost).domains : [];
}

/** A resource of a message. @param bytes of it */
export function snapshotResource(message: Message, name: string, bytes: Uint8Array): SnapshotResource {
  // Not a fast hash: secrets are among what is hashed, and versions are shown.
  const digest = createHash('sha256').update(bytes).digest();
  return {
    name,
    version: digest.toString('hex', 0, VERSION_BYTES),
    any: Buffer.concat([textField(1, `type.googleapis.com/${message.$typeName}`), field(2, bytes)]),
    mark: [digest.readInt32BE(VERSION_BYTES), digest.readInt32BE(VERSION_BYTES + 4)],
    endpoints: endpointsOf(message),
    domains: domainsOf(message),
  };
}

/**
 * A resource of a message in proto3 JSON.
 * @throws Error when it is not of the API
 */
export function resourceOfJson(api: ApiRegistry, typeName: string, name: string, json: unknown): SnapshotResource {
  const desc = api.message(typeName);
  if (desc === undefined) throw new Error(`${typeName} is not of the API`);
  const message = fromJson(desc, json as JsonValue, { registry: api.registry });
  return snapshotResource(message, name, toBinary(desc, message));
}
