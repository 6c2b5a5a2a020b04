import { readFileSync } from 'node:fs';
import {
  create,
  createFileRegistry,
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  type FileRegistry,
  fromBinary,
  type Registry,
} from '@bufbuild/protobuf';
import {
  FileDescriptorProtoSchema,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_timestamp,
} from '@bufbuild/protobuf/wkt';
import { DescriptorIndex } from './descriptor-index.ts';
import descriptorPath from './envoy-1.40.binpb' with { type: 'file' };
import { LazyFile, type TypeFinder } from './lazy-descriptors.ts';

type AnyDesc = DescMessage | DescEnum | DescExtension | DescService;

/** What files of options import, as protobuf-es holds it already. */
const BUILT_IN_FILES = new Map(
  [file_google_protobuf_descriptor, file_google_protobuf_duration, file_google_protobuf_timestamp].map((file) => [
    file.proto.name,
    file,
  ]),
);

/**
 * Envoy's API (v3 and v2) at run time. A file is decoded when a type of its is first asked for, a message linked when its
 * fields are first looked at: a small configuration pays for a twentieth of the API.
 *
 * It is also a protobuf-es `Registry` (through `registry`), for `toJson`, `anyUnpack` and the like.
 */
export class ApiRegistry implements TypeFinder {
  readonly #index: DescriptorIndex;
  readonly #files = new Map<string, LazyFile>();
  readonly #types = new Map<string, AnyDesc>();
  readonly #extensions = new Map<string, DescExtension>();
  #messageNames: readonly string[] | undefined = undefined;
  /** A view for protobuf-es that grows by itself. */
  readonly registry: Registry;

  /** @param descriptorSet an encoded `google.protobuf.FileDescriptorSet`. */
  constructor(descriptorSet: Uint8Array) {
    this.#index = new DescriptorIndex(descriptorSet);
    this.registry = new GrowingRegistry(this, this.#types, this.#extensions);
  }

  /** The descriptor of a message by its full name, or undefined when the API has no such message. */
  message(typeName: string): DescMessage | undefined {
    const found = this.type(typeName);
    return found?.kind === 'message' ? found : undefined;
  }

  enumType(typeName: string): DescEnum | undefined {
    const found = this.type(typeName);
    return found?.kind === 'enum' ? found : undefined;
  }

  /**
   * The descriptor that an Any's `type_url` names. Whatever stands before the last slash is ignored, as Envoy does.
   */
  byTypeUrl(typeUrl: string): DescMessage | undefined {
    return this.message(typeUrl.slice(typeUrl.lastIndexOf('/') + 1));
  }

  /** Any kind of type: message, enum, service, extension (such as `validate.rules`). */
  type(typeName: string): AnyDesc | undefined {
    const known = this.#types.get(typeName) ?? this.#extensions.get(typeName);
    if (known !== undefined) return known;
    const indexed = this.#index.fileOfType(typeName);
    if (indexed === undefined) return undefined;
    const isNew = !this.#files.has(indexed.name);
    const file = this.file(indexed.name);
    if (file === undefined) return undefined;
    if (isNew) {
      for (const type of file.messages) this.#types.set(type.typeName, type);
      for (const type of file.enums) this.#types.set(type.typeName, type);
      for (const type of file.services) this.#types.set(type.typeName, type);
    }
    return (
      this.#types.get(typeName) ??
      this.#nested(typeName) ??
      (file.hasExtensions ? this.#loadExtensions(file.path, typeName) : undefined)
    );
  }

  /** A type inside a message: its outer message makes its descriptor. */
  #nested(typeName: string): AnyDesc | undefined {
    const dot = typeName.lastIndexOf('.');
    if (dot <= 0) return undefined;
    const outerName = typeName.slice(0, dot);
    const outer = this.#types.get(outerName) ?? this.#nested(outerName);
    if (outer?.kind !== 'message') return undefined;
    for (const type of outer.nestedMessages) this.#types.set(type.typeName, type);
    for (const type of outer.nestedEnums) this.#types.set(type.typeName, type);
    return this.#types.get(typeName);
  }

  /** A file by its path; undefined when the API has no such file. */
  file(path: string): LazyFile | undefined {
    let file = this.#files.get(path);
    if (file === undefined) {
      const indexed = this.#index.file(path);
      if (indexed === undefined) return undefined;
      const bytes = this.#index.bytes.subarray(indexed.start, indexed.end);
      file = new LazyFile(path, indexed.package, bytes, this.#index.types(indexed), this);
      this.#files.set(path, file);
    }
    return file;
  }

  /** An extension (a custom option) by its full name. Throws when the API has none: the names are written in code. */
  extension(typeName: string): DescExtension {
    const found = this.type(typeName);
    if (found?.kind !== 'extension') throw new Error(`the API has no extension ${typeName}`);
    return found;
  }

  /**
   * Extensions are made by protobuf-es itself, with the few files that they import: they must extend the very options
   * that it reads.
   */
  #loadExtensions(path: string, wanted: string): AnyDesc | undefined {
    const order: string[] = [];
    const builtIn: string[] = [];
    const seen = new Set<string>();
    const visit = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      if (BUILT_IN_FILES.has(name)) {
        builtIn.push(name);
        return;
      }
      const indexed = this.#index.file(name);
      if (indexed === undefined) throw new Error(`the descriptor file lacks ${name}`);
      for (const dependency of this.#index.dependencies(indexed)) visit(dependency);
      order.push(name);
    };
    visit(path);
    // createFileRegistry links in the reverse order of its input's imports: one made-up file imports all the others,
    // dependents first.
    const root = create(FileDescriptorProtoSchema, {
      name: '(extensions)',
      dependency: [...order.reverse(), ...builtIn],
    });
    const linked: FileRegistry = createFileRegistry(root, (name) => {
      const known: DescFile | undefined = BUILT_IN_FILES.get(name);
      if (known !== undefined) return known;
      const indexed = this.#index.file(name);
      if (indexed === undefined) return undefined;
      return fromBinary(FileDescriptorProtoSchema, this.#index.bytes.subarray(indexed.start, indexed.end));
    });
    for (const type of linked) if (type.kind === 'extension') this.#extensions.set(type.typeName, type);
    return this.#extensions.get(wanted);
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
}

class GrowingRegistry implements Registry {
  readonly kind = 'registry';
  readonly #owner: ApiRegistry;
  readonly #types: ReadonlyMap<string, AnyDesc>;
  readonly #extensions: ReadonlyMap<string, DescExtension>;

  constructor(owner: ApiRegistry, types: ReadonlyMap<string, AnyDesc>, extensions: ReadonlyMap<string, DescExtension>) {
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
    return this.#owner.enumType(typeName);
  }

  getExtension(typeName: string): DescExtension | undefined {
    const type = this.#owner.type(typeName);
    return type?.kind === 'extension' ? type : undefined;
  }

  /** Of those loaded so far. */
  getExtensionFor(extendee: DescMessage, no: number): DescExtension | undefined {
    for (const extension of this.#extensions.values()) {
      if (extension.number === no && extension.extendee.typeName === extendee.typeName) return extension;
    }
    return undefined;
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
