/**
 * protobuf-es descriptors that come into being as they are asked for: a message's fields are decoded and linked when
 * somebody first looks at them, a file when one of its types is looked up. The stock linker does all imports of a file
 * at once, which for Envoy's bootstrap costs four times as much CPU as reading a small configuration.
 *
 * A test compares every property of every descriptor of the API with what the stock linker makes.
 *
 * (Longer than most files: files, messages, fields and enums make each other.)
 */
import {
  type DescEnum,
  type DescEnumValue,
  type DescField,
  type DescFile,
  type DescMessage,
  type DescMethod,
  type DescOneof,
  type DescService,
  fromBinary,
  isFieldSet,
  type ScalarType,
} from '@bufbuild/protobuf';
import { protoCamelCase, safeObjectProperty } from '@bufbuild/protobuf/reflect';
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  type EnumDescriptorProto,
  EnumDescriptorProtoSchema,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  type ServiceDescriptorProto,
  ServiceDescriptorProtoSchema,
} from '@bufbuild/protobuf/wkt';

/** Finds types and files; ApiRegistry is the one. */
export interface TypeFinder {
  message(typeName: string): DescMessage | undefined;
  enumType(typeName: string): DescEnum | undefined;
  file(name: string): LazyFile | undefined;
}

/** Numbers that protobuf-es uses for editions and features (descriptor.proto). */
const EDITION_PROTO2 = 998;
const EDITION_PROTO3 = 999;
const EXPLICIT = 1;
const IMPLICIT = 2;
const LEGACY_REQUIRED = 3;
const JS_STRING = 1;
const METHOD_KINDS = ['unary', 'server_streaming', 'client_streaming', 'bidi_streaming'] as const;

function localNameOf(protoName: string): string {
  return safeObjectProperty(protoCamelCase(protoName));
}

function withoutDot(typeName: string): string {
  return typeName.startsWith('.') ? typeName.slice(1) : typeName;
}

/** A named part of an encoded file. */
export interface EncodedType {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The top-level types of a file, still encoded. */
export interface EncodedTypes {
  readonly messages: EncodedType[];
  readonly enums: EncodedType[];
  readonly services: EncodedType[];
  readonly isProto3: boolean;
  readonly hasExtensions: boolean;
}

export class LazyFile {
  readonly kind = 'file';
  /** Without `.proto`. */
  readonly name: string;
  readonly path: string;
  readonly edition: number;
  readonly hasExtensions: boolean;
  readonly messages: DescMessage[];
  readonly enums: DescEnum[];
  readonly services: DescService[];
  readonly finder: TypeFinder;
  /** Extensions are options of the API's own files; they come from the stock linker. */
  readonly extensions = [];
  readonly #bytes: Uint8Array;
  #proto: FileDescriptorProto | undefined = undefined;
  #dependencies: DescFile[] | undefined = undefined;

  constructor(path: string, packageName: string, bytes: Uint8Array, types: EncodedTypes, finder: TypeFinder) {
    this.name = path.replace(/\.proto$/, '');
    this.path = path;
    this.edition = types.isProto3 ? EDITION_PROTO3 : EDITION_PROTO2;
    this.hasExtensions = types.hasExtensions;
    this.finder = finder;
    this.#bytes = bytes;
    const scope = packageName === '' ? '' : `${packageName}.`;
    this.messages = types.messages.map((type) => lazyMessage(type.name, type.bytes, this, undefined, scope));
    this.enums = types.enums.map((type) => lazyEnum(type.name, type.bytes, this, undefined, scope));
    this.services = types.services.map(
      (type) => new LazyService(type.name, type.bytes, this, scope + type.name) as unknown as DescService,
    );
  }

  /** The whole file decoded: for tools, not for reading configurations. */
  get proto(): FileDescriptorProto {
    this.#proto ??= fromBinary(FileDescriptorProtoSchema, this.#bytes);
    return this.#proto;
  }

  get deprecated(): boolean {
    return this.proto.options?.deprecated ?? false;
  }

  get dependencies(): DescFile[] {
    this.#dependencies ??= this.proto.dependency.map((name) => {
      const file = this.finder.file(name);
      if (file === undefined) throw new Error(`the descriptor file lacks ${name}`);
      return file as unknown as DescFile;
    });
    return this.#dependencies;
  }

  toString(): string {
    return `file ${this.path}`;
  }
}

function lazyMessage(
  name: string,
  proto: DescriptorProto | Uint8Array,
  file: LazyFile,
  parent: DescMessage | undefined,
  scope: string,
): DescMessage {
  return new LazyMessage(name, proto, file, parent, scope + name) as unknown as DescMessage;
}

function lazyEnum(
  name: string,
  proto: EnumDescriptorProto | Uint8Array,
  file: LazyFile,
  parent: DescMessage | undefined,
  scope: string,
): DescEnum {
  return new LazyEnum(name, proto, file, parent, scope + name) as unknown as DescEnum;
}

class LazyMessage {
  readonly kind = 'message';
  readonly file: LazyFile;
  readonly parent: DescMessage | undefined;
  readonly name: string;
  readonly typeName: string;
  /** Encoded until somebody looks inside. */
  #proto: DescriptorProto | Uint8Array;
  #fields: DescField[] | undefined = undefined;
  #field: Record<string, DescField> = {};
  #oneofs: DescOneof[] = [];
  #members: (DescField | DescOneof)[] = [];
  #nestedMessages: DescMessage[] | undefined = undefined;
  #nestedEnums: DescEnum[] | undefined = undefined;
  #messageFields: readonly DescField[] | undefined = undefined;

  constructor(
    name: string,
    proto: DescriptorProto | Uint8Array,
    file: LazyFile,
    parent: DescMessage | undefined,
    typeName: string,
  ) {
    this.#proto = proto;
    this.file = file;
    this.parent = parent;
    this.name = name;
    this.typeName = typeName;
  }

  get proto(): DescriptorProto {
    if (this.#proto instanceof Uint8Array) this.#proto = fromBinary(DescriptorProtoSchema, this.#proto);
    return this.#proto;
  }

  get deprecated(): boolean {
    return this.proto.options?.deprecated ?? false;
  }

  get fields(): DescField[] {
    return this.#fields ?? this.#link();
  }

  get field(): Record<string, DescField> {
    if (this.#fields === undefined) this.#link();
    return this.#field;
  }

  get oneofs(): DescOneof[] {
    if (this.#fields === undefined) this.#link();
    return this.#oneofs;
  }

  get members(): (DescField | DescOneof)[] {
    if (this.#fields === undefined) this.#link();
    return this.#members;
  }

  get nestedMessages(): DescMessage[] {
    this.#nestedMessages ??= this.proto.nestedType
      .filter((nested) => nested.options?.mapEntry !== true)
      .map((nested) =>
        lazyMessage(nested.name, nested, this.file, this as unknown as DescMessage, `${this.typeName}.`),
      );
    return this.#nestedMessages;
  }

  get nestedEnums(): DescEnum[] {
    this.#nestedEnums ??= this.proto.enumType.map((nested) =>
      lazyEnum(nested.name, nested, this.file, this as unknown as DescMessage, `${this.typeName}.`),
    );
    return this.#nestedEnums;
  }

  get nestedExtensions(): [] {
    return [];
  }

  /** See message-fields.ts. */
  get messageFields(): readonly DescField[] {
    this.#messageFields ??= this.fields.filter((field) => (field as unknown as LazyField).holdsMessages);
    return this.#messageFields;
  }

  toString(): string {
    return `message ${this.typeName}`;
  }

  #link(): DescField[] {
    const oneofs = this.proto.oneofDecl.map(
      (proto) => new LazyOneof(proto.name, proto, this as unknown as DescMessage),
    );
    const seen = new Set<LazyOneof>();
    const fields: DescField[] = [];
    for (const proto of this.proto.field) {
      // A proto3 `optional` stands in a oneof that exists only in the descriptor.
      const inOneof = isFieldSet(proto, FieldDescriptorProtoSchema.field.oneofIndex) && !proto.proto3Optional;
      const oneof = inOneof ? oneofs[proto.oneofIndex] : undefined;
      const field = new LazyField(proto, this as unknown as DescMessage, oneof, this.file) as unknown as DescField;
      fields.push(field);
      this.#field[field.localName] = field;
      if (oneof === undefined) this.#members.push(field);
      else {
        oneof.fields.push(field);
        if (!seen.has(oneof)) {
          seen.add(oneof);
          this.#members.push(oneof as unknown as DescOneof);
        }
      }
    }
    for (const oneof of oneofs) if (seen.has(oneof)) this.#oneofs.push(oneof as unknown as DescOneof);
    this.#fields = fields;
    return fields;
  }
}

class LazyOneof {
  readonly kind = 'oneof';
  readonly proto: unknown;
  readonly deprecated = false;
  readonly parent: DescMessage;
  readonly fields: DescField[] = [];
  readonly name: string;
  readonly localName: string;

  constructor(name: string, proto: unknown, parent: DescMessage) {
    this.proto = proto;
    this.parent = parent;
    this.name = name;
    this.localName = localNameOf(name);
  }

  toString(): string {
    return `oneof ${this.parent.typeName}.${this.name}`;
  }
}

class LazyField {
  readonly kind = 'field';
  readonly proto: FieldDescriptorProto;
  readonly parent: DescMessage;
  readonly oneof: DescOneof | undefined;
  readonly name: string;
  readonly localName: string;
  readonly jsonName: string;
  readonly number: number;
  readonly presence: number;
  readonly utf8Validation: boolean;
  readonly fieldKind: 'scalar' | 'message' | 'enum' | 'list' | 'map';
  readonly scalar: ScalarType | undefined;
  readonly listKind: 'scalar' | 'message' | 'enum' | undefined;
  readonly mapKey: ScalarType | undefined;
  readonly mapKind: 'scalar' | 'message' | 'enum' | undefined;
  readonly longAsString: boolean;
  readonly packed: boolean | undefined;
  readonly delimitedEncoding: boolean | undefined;
  readonly getDefaultValue: (() => undefined) | undefined;
  readonly #finder: TypeFinder;
  /** Full name of the message or enum that values have; empty for scalars. */
  readonly #valueType: string;
  readonly #valueKind: 'scalar' | 'message' | 'enum';
  #message: DescMessage | undefined = undefined;
  #enum: DescEnum | undefined = undefined;

  constructor(proto: FieldDescriptorProto, parent: DescMessage, oneof: LazyOneof | undefined, file: LazyFile) {
    const isProto3 = file.edition === EDITION_PROTO3;
    this.proto = proto;
    this.parent = parent;
    this.oneof = oneof as unknown as DescOneof | undefined;
    this.name = proto.name;
    this.localName = oneof === undefined ? localNameOf(proto.name) : protoCamelCase(proto.name);
    this.jsonName = proto.jsonName;
    this.number = proto.number;
    this.utf8Validation = isProto3;
    this.#finder = file.finder;
    const isList = proto.label === FieldDescriptorProto_Label.REPEATED;
    const kind = kindOf(proto.type);
    if (proto.label === FieldDescriptorProto_Label.REQUIRED) this.presence = LEGACY_REQUIRED;
    else if (isList) this.presence = IMPLICIT;
    else if (!isProto3 || oneof !== undefined || proto.proto3Optional || kind === 'message') this.presence = EXPLICIT;
    else this.presence = IMPLICIT;

    const entry = isList && kind === 'message' ? mapEntryOf(parent, proto.typeName) : undefined;
    const value = entry?.field.find((field) => field.number === 2) ?? proto;
    const valueKind = kindOf(value.type);
    this.#valueKind = valueKind;
    this.#valueType = valueKind === 'scalar' ? '' : withoutDot(value.typeName);
    this.scalar = valueKind === 'scalar' ? (value.type as number as ScalarType) : undefined;
    this.longAsString = entry === undefined && valueKind === 'scalar' && (proto.options?.jstype ?? 0) === JS_STRING;
    this.fieldKind = entry !== undefined ? 'map' : isList ? 'list' : valueKind;
    this.listKind = entry === undefined && isList ? valueKind : undefined;
    this.mapKind = entry === undefined ? undefined : valueKind;
    const key = entry?.field.find((field) => field.number === 1);
    this.mapKey = key === undefined ? undefined : (key.type as number as ScalarType);
    this.packed = entry === undefined && isList ? isPacked(proto, kind, isProto3) : undefined;
    this.delimitedEncoding =
      entry !== undefined
        ? false
        : valueKind === 'message'
          ? proto.type === FieldDescriptorProto_Type.GROUP
          : undefined;
    this.getDefaultValue = isList ? undefined : noDefault;
  }

  get deprecated(): boolean {
    return this.proto.options?.deprecated ?? false;
  }

  /** Whether `message` is there, without looking it up. */
  get holdsMessages(): boolean {
    return this.#valueKind === 'message';
  }

  get message(): DescMessage | undefined {
    if (this.#valueKind !== 'message') return undefined;
    if (this.#message === undefined) {
      this.#message = this.#finder.message(this.#valueType);
      if (this.#message === undefined) throw new Error(`the descriptor file lacks ${this.#valueType}`);
    }
    return this.#message;
  }

  get enum(): DescEnum | undefined {
    if (this.#valueKind !== 'enum') return undefined;
    if (this.#enum === undefined) {
      this.#enum = this.#finder.enumType(this.#valueType);
      if (this.#enum === undefined) throw new Error(`the descriptor file lacks ${this.#valueType}`);
    }
    return this.#enum;
  }

  toString(): string {
    return `field ${this.parent.typeName}.${this.name}`;
  }
}

/** Only proto2's own options have defaults, and those are read with protobuf-es's own descriptors. */
function noDefault(): undefined {
  return undefined;
}

function kindOf(type: FieldDescriptorProto_Type): 'scalar' | 'message' | 'enum' {
  if (type === FieldDescriptorProto_Type.ENUM) return 'enum';
  return type === FieldDescriptorProto_Type.MESSAGE || type === FieldDescriptorProto_Type.GROUP ? 'message' : 'scalar';
}

function mapEntryOf(parent: DescMessage, typeName: string): DescriptorProto | undefined {
  const prefix = `${parent.typeName}.`;
  const name = withoutDot(typeName);
  if (!name.startsWith(prefix)) return undefined;
  const nested = parent.proto.nestedType.find((entry) => entry.name === name.slice(prefix.length));
  return nested?.options?.mapEntry === true ? nested : undefined;
}

function isPacked(proto: FieldDescriptorProto, kind: string, isProto3: boolean): boolean {
  if (kind === 'message') return false;
  if (proto.type === FieldDescriptorProto_Type.STRING || proto.type === FieldDescriptorProto_Type.BYTES) return false;
  const { options } = proto;
  return options !== undefined && Object.hasOwn(options, 'packed') ? options.packed : isProto3;
}

class LazyEnum {
  readonly kind = 'enum';
  readonly file: LazyFile;
  readonly parent: DescMessage | undefined;
  readonly name: string;
  readonly typeName: string;
  #proto: EnumDescriptorProto | Uint8Array;
  #values: DescEnumValue[] | undefined = undefined;
  #value: Record<number, DescEnumValue> = {};
  #sharedPrefix: string | undefined = undefined;

  constructor(
    name: string,
    proto: EnumDescriptorProto | Uint8Array,
    file: LazyFile,
    parent: DescMessage | undefined,
    typeName: string,
  ) {
    this.#proto = proto;
    this.file = file;
    this.parent = parent;
    this.name = name;
    this.typeName = typeName;
  }

  get proto(): EnumDescriptorProto {
    if (this.#proto instanceof Uint8Array) this.#proto = fromBinary(EnumDescriptorProtoSchema, this.#proto);
    return this.#proto;
  }

  get deprecated(): boolean {
    return this.proto.options?.deprecated ?? false;
  }

  get open(): boolean {
    return this.file.edition === EDITION_PROTO3;
  }

  get values(): DescEnumValue[] {
    return this.#values ?? this.#link();
  }

  get value(): Record<number, DescEnumValue> {
    if (this.#values === undefined) this.#link();
    return this.#value;
  }

  get sharedPrefix(): string | undefined {
    if (this.#values === undefined) this.#link();
    return this.#sharedPrefix;
  }

  toString(): string {
    return `enum ${this.typeName}`;
  }

  #link(): DescEnumValue[] {
    const prefix =
      `${this.name.charAt(0)}${this.name.slice(1).replace(/[A-Z]/g, (letter) => `_${letter}`)}_`.toLowerCase();
    const shared = this.proto.value.every(({ name }) => {
      const rest = name.slice(prefix.length);
      return name.toLowerCase().startsWith(prefix) && rest !== '' && !/^[0-9]/.test(rest);
    });
    this.#sharedPrefix = shared ? prefix : undefined;
    const values = this.proto.value.map(
      (proto) =>
        ({
          kind: 'enum_value',
          proto,
          deprecated: proto.options?.deprecated ?? false,
          parent: this,
          name: proto.name,
          localName: safeObjectProperty(shared ? proto.name.slice(prefix.length) : proto.name),
          number: proto.number,
          jsonName: proto.name,
          toString: () => `enum value ${this.typeName}.${proto.name}`,
        }) as unknown as DescEnumValue,
    );
    // The first name counts where a number has several.
    for (const value of values) this.#value[value.number] ??= value;
    this.#values = values;
    return values;
  }
}

class LazyService {
  readonly kind = 'service';
  readonly file: LazyFile;
  readonly name: string;
  readonly typeName: string;
  #proto: ServiceDescriptorProto | Uint8Array;
  #methods: DescMethod[] | undefined = undefined;

  constructor(name: string, proto: Uint8Array, file: LazyFile, typeName: string) {
    this.#proto = proto;
    this.file = file;
    this.name = name;
    this.typeName = typeName;
  }

  get proto(): ServiceDescriptorProto {
    if (this.#proto instanceof Uint8Array) this.#proto = fromBinary(ServiceDescriptorProtoSchema, this.#proto);
    return this.#proto;
  }

  get deprecated(): boolean {
    return this.proto.options?.deprecated ?? false;
  }

  get methods(): DescMethod[] {
    this.#methods ??= this.proto.method.map((proto) => {
      const kind = METHOD_KINDS[(proto.serverStreaming ? 1 : 0) + (proto.clientStreaming ? 2 : 0)];
      return {
        kind: 'rpc',
        proto,
        deprecated: proto.options?.deprecated ?? false,
        parent: this,
        name: proto.name,
        localName: safeObjectProperty(proto.name.charAt(0).toLowerCase() + proto.name.slice(1)),
        methodKind: kind,
        input: this.file.finder.message(withoutDot(proto.inputType)),
        output: this.file.finder.message(withoutDot(proto.outputType)),
        idempotency: proto.options?.idempotencyLevel ?? 0,
        toString: () => `rpc ${this.typeName}.${proto.name}`,
      } as unknown as DescMethod;
    });
    return this.#methods;
  }

  get method(): Record<string, DescMethod> {
    return Object.fromEntries(this.methods.map((method) => [method.localName, method]));
  }

  toString(): string {
    return `service ${this.typeName}`;
  }
}
