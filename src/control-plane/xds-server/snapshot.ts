import type { JsonValue } from '@bufbuild/protobuf';
import { fromJson } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { encodeMessage } from '../../api/message-codec.ts';
import { xxHash64 } from '../../base/xxhash64.ts';

/** One resource as it goes out. */
export interface SnapshotResource {
  readonly name: string;
  /** Of its content: the same content has the same version, in whatever process. */
  readonly version: string;
  /** An encoded google.protobuf.Any. */
  readonly any: Uint8Array;
}

/** The resources of one type, with the version of all of them together. */
export class SnapshotType {
  readonly typeUrl: string;
  readonly version: string;
  readonly resources: ReadonlyMap<string, SnapshotResource>;

  constructor(typeUrl: string, resources: readonly SnapshotResource[]) {
    this.typeUrl = typeUrl;
    const sorted = [...resources].sort((a, b) => (a.name < b.name ? -1 : 1));
    this.resources = new Map(sorted.map((resource) => [resource.name, resource]));
    this.version = hashOf(Buffer.from(sorted.map(({ name, version }) => `${name}\0${version}\n`).join(''), 'utf8'));
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

function hashOf(bytes: Uint8Array): string {
  return xxHash64(Buffer.from(bytes).toString('latin1')).toString(16).padStart(16, '0');
}

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

/** A resource of the bytes of its message. */
export function snapshotResource(typeUrl: string, name: string, message: Uint8Array): SnapshotResource {
  return { name, version: hashOf(message), any: Buffer.concat([textField(1, typeUrl), field(2, message)]) };
}

/**
 * A resource of a message in proto3 JSON.
 * @throws Error when it is not of the API
 */
export function resourceOfJson(api: ApiRegistry, typeName: string, name: string, json: unknown): SnapshotResource {
  const desc = api.message(typeName);
  if (desc === undefined) throw new Error(`${typeName} is not of the API`);
  const message = fromJson(desc, json as JsonValue, { registry: api.registry });
  return snapshotResource(`type.googleapis.com/${typeName}`, name, encodeMessage(desc, message));
}
