import { readFileSync } from 'node:fs';
import {
  create,
  createFileRegistry,
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  fromBinary,
  type Registry,
} from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { DescriptorIndex } from './descriptor-index.ts';
import descriptorPath from './envoy-1.40.binpb' with { type: 'file' };

type AnyDesc = DescMessage | DescEnum | DescExtension | DescService;

/**
 * Envoy's API (v3 and v2) at run time. Files are decoded and linked when a type of theirs is first asked for, with
 * what they import: a small configuration pays for a third of the API.
 *
 * It is also a protobuf-es `Registry` (through `registry`), for `toJson`, `anyUnpack`, `getOption` and the like.
 */
export class ApiRegistry {
  readonly #index: DescriptorIndex;
  readonly #files = new Map<string, DescFile>();
  readonly #types = new Map<string, AnyDesc>();
  readonly #extensions = new Map<string, Map<number, DescExtension>>();
  #messageNames: readonly string[] | undefined;
  /** A view for protobuf-es that grows by itself. */
  readonly registry: Registry;

  /** @param descriptorSet an encoded `google.protobuf.FileDescriptorSet`, dependencies first. */
  constructor(descriptorSet: Uint8Array) {
    this.#index = new DescriptorIndex(descriptorSet);
    this.registry = new GrowingRegistry(this, this.#types, this.#extensions);
  }

  /** The descriptor of a message by its full name, or undefined when the API has no such message. */
  message(typeName: string): DescMessage | undefined {
    const found = this.type(typeName);
    return found?.kind === 'message' ? found : undefined;
  }

  /**
   * The descriptor that an Any's `type_url` names. Whatever stands before the last slash is ignored, as Envoy does.
   */
  byTypeUrl(typeUrl: string): DescMessage | undefined {
    return this.message(typeUrl.slice(typeUrl.lastIndexOf('/') + 1));
  }

  hasType(typeName: string): boolean {
    return this.type(typeName) !== undefined;
  }

  /** Any kind of type: message, enum, service, extension (such as `validate.rules`). */
  type(typeName: string): AnyDesc | undefined {
    const known = this.#types.get(typeName);
    if (known !== undefined) return known;
    const file = this.#index.fileOfType(typeName);
    if (file === undefined || this.#files.has(file.name)) return undefined;
    this.#load(file.name);
    return this.#types.get(typeName);
  }

  /** An extension (a custom option) by its full name. Throws when the API has none: the names are written in code. */
  extension(typeName: string): DescExtension {
    const found = this.type(typeName);
    if (found?.kind !== 'extension') throw new Error(`the API has no extension ${typeName}`);
    return found;
  }

  /** Full names of every message of the API, whether loaded or not. */
  allTypeNames(): readonly string[] {
    this.#messageNames ??= this.#index.messageTypeNames();
    return this.#messageNames;
  }

  /** How many files have been decoded so far. */
  get loadedFileCount(): number {
    return this.#files.size;
  }

  /** Decodes and links everything (about a third of a second): for tools and tests. */
  loadAll(): void {
    for (const file of this.#index.files) if (!this.#files.has(file.name)) this.#load(file.name);
  }

  #load(fileName: string): void {
    // Post-order: dependencies first.
    const fresh: string[] = [];
    const boundary = new Set<string>();
    const seen = new Set<string>();
    const visit = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      if (this.#files.has(name)) {
        boundary.add(name);
        return;
      }
      const file = this.#index.file(name);
      if (file === undefined) throw new Error(`the descriptor file lacks ${name}`);
      for (const dependency of this.#index.dependencies(file)) visit(dependency);
      fresh.push(name);
    };
    visit(fileName);

    // createFileRegistry links in the reverse order of its input's imports, so one made-up file that imports all
    // fresh files, dependents first, links them in one call. Files linked before are handed in without their own
    // imports: it would walk those again for every path that leads to them.
    const root = create(FileDescriptorProtoSchema, {
      name: '(closure)',
      syntax: 'proto3',
      dependency: [...[...fresh].reverse(), ...boundary],
    });
    const linked = createFileRegistry(root, (name): DescFile | FileDescriptorProto | undefined => {
      const known = this.#files.get(name);
      if (known !== undefined) return Object.create(known, { dependencies: { value: [] } }) as DescFile;
      const file = this.#index.file(name);
      if (file === undefined) return undefined;
      return fromBinary(FileDescriptorProtoSchema, this.#index.bytes.subarray(file.start, file.end));
    });
    for (const name of fresh) {
      const file = linked.getFile(name);
      if (file === undefined) throw new Error(`${name} was not linked`);
      this.#files.set(name, file);
    }
    for (const type of linked) {
      this.#types.set(type.typeName, type);
      if (type.kind === 'extension') {
        let byNumber = this.#extensions.get(type.extendee.typeName);
        if (byNumber === undefined) {
          byNumber = new Map();
          this.#extensions.set(type.extendee.typeName, byNumber);
        }
        byNumber.set(type.number, type);
      }
    }
  }
}

class GrowingRegistry implements Registry {
  readonly kind = 'registry';
  readonly #owner: ApiRegistry;
  readonly #types: ReadonlyMap<string, AnyDesc>;
  readonly #extensions: ReadonlyMap<string, ReadonlyMap<number, DescExtension>>;

  constructor(
    owner: ApiRegistry,
    types: ReadonlyMap<string, AnyDesc>,
    extensions: ReadonlyMap<string, ReadonlyMap<number, DescExtension>>,
  ) {
    this.#owner = owner;
    this.#types = types;
    this.#extensions = extensions;
  }

  /** The types loaded so far. */
  [Symbol.iterator](): IterableIterator<AnyDesc> {
    return this.#types.values() as IterableIterator<AnyDesc>;
  }

  get(typeName: string): AnyDesc | undefined {
    return this.#owner.type(typeName);
  }

  getMessage(typeName: string): DescMessage | undefined {
    return this.#owner.message(typeName);
  }

  getEnum(typeName: string): DescEnum | undefined {
    const type = this.#owner.type(typeName);
    return type?.kind === 'enum' ? type : undefined;
  }

  getExtension(typeName: string): DescExtension | undefined {
    const type = this.#owner.type(typeName);
    return type?.kind === 'extension' ? type : undefined;
  }

  getExtensionFor(extendee: DescMessage, no: number): DescExtension | undefined {
    return this.#extensions.get(extendee.typeName)?.get(no);
  }

  getService(typeName: string): DescService | undefined {
    const type = this.#owner.type(typeName);
    return type?.kind === 'service' ? type : undefined;
  }
}

/** Reads the API that ships with this build: a file beside the source or the bundle, or inside the executable. */
export function openApiRegistry(): ApiRegistry {
  const location = descriptorPath.startsWith('.') ? new URL(descriptorPath, import.meta.url) : descriptorPath;
  return new ApiRegistry(readFileSync(location));
}
