/**
 * Messages of Envoy's API made, read and written, in protobuf-es's own shape. Its binary reader and writer prepare all types that
 * a type can contain when it is first used: for a listener or a cluster that is most of the API, 50 ms of a start that takes 100.
 * Here a field costs nothing until it is met. A test compares every type with what protobuf-es does.
 */
import {
  create,
  type DescField,
  type DescMessage,
  type JsonObject,
  type Message,
  mergeFromBinary,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { ENUM_CODEC, type ScalarCodec, scalarCodec } from './scalar-codecs.ts';
import { readStruct, setOwn, writeStruct } from './struct-codec.ts';
import { MAX_DEPTH, WireReader, WireType } from './wire-reader.ts';
import { WireWriter } from './wire-writer.ts';

/** How the messages of one type are made, read and written. */
export interface MessageCodec {
  create(): Message;
  /** Reads up to `reader.end` into `message`, by protobuf's rules for merging. Throws on bytes that are not such a message. */
  read(message: Message, reader: WireReader, depth: number): void;
  write(message: Message, writer: WireWriter): void;
}

/** Descriptors that keep their codec. */
interface WithCodec {
  readonly codec?: MessageCodec;
}

function codecOf(desc: DescMessage): MessageCodec {
  return (desc as DescMessage & WithCodec).codec ?? new StockCodec(desc);
}

/** A message with nothing set. */
export function createMessage(desc: DescMessage): Message {
  return codecOf(desc).create();
}

/** Throws an Error when `bytes` are no such message. What they hold as `bytes` are views of them. */
export function decodeMessage(desc: DescMessage, bytes: Uint8Array): Message {
  const codec = codecOf(desc);
  const message = codec.create();
  codec.read(message, new WireReader(bytes), 1);
  return message;
}

/** Protobuf's MergeFrom with an encoded message. Throws as `decodeMessage`. */
export function mergeEncoded(desc: DescMessage, into: Message, bytes: Uint8Array): void {
  codecOf(desc).read(into, new WireReader(bytes), 1);
}

/** Fields are written in the order of their numbers. */
export function encodeMessage(desc: DescMessage, message: Message): Uint8Array {
  const writer = new WireWriter();
  codecOf(desc).write(message, writer);
  return writer.finish();
}

type Fields = Record<string, unknown>;
type OneofValue = { readonly case: string | undefined; readonly value?: unknown };

/** What is not ours is left to protobuf-es: proto2, and descriptors that it has made itself. */
export class StockCodec implements MessageCodec {
  readonly #desc: DescMessage;

  constructor(desc: DescMessage) {
    this.#desc = desc;
  }

  create(): Message {
    return create(this.#desc);
  }

  read(message: Message, reader: WireReader): void {
    mergeFromBinary(this.#desc, message, reader.bytes.subarray(reader.position, reader.end));
    reader.position = reader.end;
  }

  write(message: Message, writer: WireWriter): void {
    writer.raw(toBinary(this.#desc, message));
  }
}

/** Nobody changes it in place: a oneof that is set is another object. */
const UNSET_ONEOF: OneofValue = Object.freeze({ case: undefined });

/** A message type of proto3. */
export class Proto3Codec implements MessageCodec {
  readonly #desc: DescMessage;
  /** All that an empty message has, to be copied in one go. */
  readonly #empty: Message & Fields;
  /** Lists and maps, which each message has of its own. */
  readonly #lists: readonly string[];
  readonly #maps: readonly string[];
  readonly #byNumber = new Map<number, FieldCodec>();
  /** The last number first, as they are written. */
  readonly #descending: readonly FieldCodec[];

  constructor(desc: DescMessage) {
    this.#desc = desc;
    this.#empty = emptyMessage(desc);
    this.#lists = desc.fields.filter((field) => field.fieldKind === 'list').map((field) => field.localName);
    this.#maps = desc.fields.filter((field) => field.fieldKind === 'map').map((field) => field.localName);
    for (const field of desc.fields) this.#byNumber.set(field.number, fieldCodec(field));
    this.#descending = [...this.#byNumber.values()].sort((a, b) => b.number - a.number);
  }

  create(): Message {
    const message: Message & Fields = { ...this.#empty };
    for (let i = 0; i < this.#lists.length; i++) message[this.#lists[i]!] = [];
    for (let i = 0; i < this.#maps.length; i++) message[this.#maps[i]!] = {};
    return message;
  }

  read(message: Message, reader: WireReader, depth: number): void {
    if (depth > MAX_DEPTH) {
      throw new Error(
        `cannot decode message ${this.#desc.typeName} from binary: maximum recursion depth of ${MAX_DEPTH} reached`,
      );
    }
    while (reader.position < reader.end) {
      const tag = reader.tag();
      const field = this.#byNumber.get(tag >>> 3);
      if (field?.read(message as Message & Fields, reader, tag & 7, depth) === true) continue;
      message.$unknown ??= [];
      message.$unknown.push({ no: tag >>> 3, wireType: tag & 7, data: reader.skip(tag & 7, tag >>> 3, depth) });
    }
  }

  write(message: Message, writer: WireWriter): void {
    const unknown = message.$unknown ?? [];
    for (let i = unknown.length - 1; i >= 0; i--) {
      const { no, wireType, data } = unknown[i]!;
      writer.raw(data);
      writer.uint32(((no << 3) | wireType) >>> 0);
    }
    for (let i = 0; i < this.#descending.length; i++) this.#descending[i]!.write(message as Message & Fields, writer);
  }
}

function emptyMessage(desc: DescMessage): Message & Fields {
  const message: Message & Fields = { $typeName: desc.typeName };
  for (const member of desc.members) {
    const name = member.localName;
    if (member.kind === 'oneof') message[name] = UNSET_ONEOF;
    else if (member.fieldKind === 'list' || member.fieldKind === 'map') message[name] = null;
    else if (member.fieldKind !== 'message' && member.presence === IMPLICIT) {
      const codec = member.fieldKind === 'enum' ? ENUM_CODEC : scalarCodec(member.scalar, member.longAsString);
      message[name] = codec.zero;
    }
  }
  return message;
}

/** protobuf-es's number for fields whose zero value says nothing. */
const IMPLICIT = 2;

/** How the value of a field is read and written; tags are the field's. */
interface ValueCodec {
  readonly wireType: number;
  /** @param present what the field holds already: messages are merged into it */
  read(reader: WireReader, depth: number, present: unknown): unknown;
  write(writer: WireWriter, value: unknown): void;
}

class MessageValue implements ValueCodec {
  readonly wireType = WireType.LengthDelimited;
  readonly #codec: MessageCodec;

  constructor(desc: DescMessage) {
    this.#codec = codecOf(desc);
  }

  read(reader: WireReader, depth: number, present: unknown): unknown {
    const message = (present as Message | undefined) ?? this.#codec.create();
    const outer = reader.enter();
    this.#codec.read(message, reader, depth + 1);
    reader.leave(outer);
    return message;
  }

  write(writer: WireWriter, value: unknown): void {
    const before = writer.length;
    this.#codec.write(value as Message, writer);
    writer.uint32(writer.length - before);
  }
}

class StructValue implements ValueCodec {
  readonly wireType = WireType.LengthDelimited;

  read(reader: WireReader, depth: number, present: unknown): unknown {
    return readStruct(reader, depth + 1, { ...(present as JsonObject | undefined) });
  }

  write(writer: WireWriter, value: unknown): void {
    writeStruct(writer, value as JsonObject);
  }
}

/** By the names of google/protobuf/wrappers.proto: what they hold, as their field 1. */
const WRAPPED: Readonly<Record<string, ScalarType>> = {
  'google.protobuf.DoubleValue': ScalarType.DOUBLE,
  'google.protobuf.FloatValue': ScalarType.FLOAT,
  'google.protobuf.Int64Value': ScalarType.INT64,
  'google.protobuf.UInt64Value': ScalarType.UINT64,
  'google.protobuf.Int32Value': ScalarType.INT32,
  'google.protobuf.UInt32Value': ScalarType.UINT32,
  'google.protobuf.BoolValue': ScalarType.BOOL,
  'google.protobuf.StringValue': ScalarType.STRING,
  'google.protobuf.BytesValue': ScalarType.BYTES,
};

/** A wrapper in a singular field, which holds the bare value. */
class WrappedValue implements ValueCodec {
  readonly wireType = WireType.LengthDelimited;
  readonly #scalar: ScalarCodec;

  constructor(type: ScalarType) {
    this.#scalar = scalarCodec(type, false);
  }

  read(reader: WireReader, depth: number, present: unknown): unknown {
    let value = present ?? this.#scalar.zero;
    const outer = reader.enter();
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === ((1 << 3) | this.#scalar.wireType)) value = this.#scalar.read(reader);
      else reader.skip(tag & 7, tag >>> 3, depth);
    }
    reader.leave(outer);
    return value;
  }

  write(writer: WireWriter, value: unknown): void {
    const before = writer.length;
    if (!this.#scalar.isZero(value)) {
      this.#scalar.write(writer, value as never);
      writer.uint32((1 << 3) | this.#scalar.wireType);
    }
    writer.uint32(writer.length - before);
  }
}

function messageValue(field: DescField, desc: DescMessage): ValueCodec {
  const { typeName } = desc;
  if (typeName === 'google.protobuf.Struct' && field.parent.typeName !== 'google.protobuf.Value')
    return new StructValue();
  const wrapped = WRAPPED[typeName];
  if (wrapped !== undefined && field.fieldKind === 'message' && field.oneof === undefined)
    return new WrappedValue(wrapped);
  return new MessageValue(desc);
}

function valueCodec(field: DescField): ValueCodec {
  const { message } = field;
  if (message !== undefined) return messageValue(field, message);
  const scalar: ScalarCodec =
    field.scalar === undefined
      ? ENUM_CODEC
      : scalarCodec(field.scalar, 'longAsString' in field && field.longAsString === true);
  return scalar as ValueCodec;
}

/** One field of a message type. What its values are is looked up when the first is met. */
abstract class FieldCodec {
  readonly number: number;
  protected readonly field: DescField;
  protected readonly name: string;
  #values: ValueCodec | null = null;

  constructor(field: DescField) {
    this.number = field.number;
    this.field = field;
    this.name = field.localName;
  }

  protected get values(): ValueCodec {
    this.#values ??= valueCodec(this.field);
    return this.#values;
  }

  protected writeTag(writer: WireWriter, wireType: number): void {
    writer.uint32(((this.number << 3) | wireType) >>> 0);
  }

  /** @returns false: a wire type that the field does not have; nothing was read */
  abstract read(message: Fields, reader: WireReader, wireType: number, depth: number): boolean;
  abstract write(message: Fields, writer: WireWriter): void;
}

class SingularField extends FieldCodec {
  /** Tells zero values, which are not written, from others; null: the field has presence. */
  readonly #implicit: ScalarCodec | null;

  constructor(field: DescField) {
    super(field);
    this.#implicit = field.presence === IMPLICIT && field.fieldKind !== 'message' ? (this.values as ScalarCodec) : null;
  }

  read(message: Fields, reader: WireReader, wireType: number, depth: number): boolean {
    const { values } = this;
    if (wireType !== values.wireType) return false;
    message[this.name] = values.read(reader, depth, message[this.name]);
    return true;
  }

  write(message: Fields, writer: WireWriter): void {
    const value = message[this.name];
    if (value === undefined || this.#implicit?.isZero(value) === true) return;
    this.values.write(writer, value);
    this.writeTag(writer, this.values.wireType);
  }
}

class OneofField extends FieldCodec {
  readonly #oneof: string;

  constructor(field: DescField, oneof: string) {
    super(field);
    this.#oneof = oneof;
  }

  read(message: Fields, reader: WireReader, wireType: number, depth: number): boolean {
    const { values } = this;
    if (wireType !== values.wireType) return false;
    const present = message[this.#oneof] as OneofValue;
    const value = values.read(reader, depth, present.case === this.name ? present.value : undefined);
    message[this.#oneof] = { case: this.name, value };
    return true;
  }

  write(message: Fields, writer: WireWriter): void {
    const present = message[this.#oneof] as OneofValue;
    if (present.case !== this.name) return;
    this.values.write(writer, present.value);
    this.writeTag(writer, this.values.wireType);
  }
}

class ListField extends FieldCodec {
  readonly #packed: boolean;

  constructor(field: DescField & { fieldKind: 'list' }) {
    super(field);
    this.#packed = field.packed;
  }

  read(message: Fields, reader: WireReader, wireType: number, depth: number): boolean {
    const { values } = this;
    const list = message[this.name] as unknown[];
    if (wireType === values.wireType) {
      list.push(values.read(reader, depth, undefined));
      return true;
    }
    // Numbers may come packed or not, whatever the schema says.
    if (wireType !== WireType.LengthDelimited) return false;
    const outer = reader.enter();
    while (reader.position < reader.end) list.push(values.read(reader, depth, undefined));
    reader.leave(outer);
    return true;
  }

  write(message: Fields, writer: WireWriter): void {
    const list = message[this.name] as readonly unknown[];
    if (list.length === 0) return;
    const { values } = this;
    const before = writer.length;
    for (let i = list.length - 1; i >= 0; i--) {
      values.write(writer, list[i]);
      if (!this.#packed) this.writeTag(writer, values.wireType);
    }
    if (!this.#packed) return;
    writer.uint32(writer.length - before);
    this.writeTag(writer, WireType.LengthDelimited);
  }
}

class MapField extends FieldCodec {
  readonly #keys: ScalarCodec;
  readonly #keyType: ScalarType;

  constructor(field: DescField & { fieldKind: 'map' }) {
    super(field);
    this.#keyType = field.mapKey;
    this.#keys = scalarCodec(field.mapKey, false);
  }

  read(message: Fields, reader: WireReader, wireType: number, depth: number): boolean {
    if (wireType !== WireType.LengthDelimited) return false;
    const { values } = this;
    let key: unknown = this.#keys.zero;
    let value: unknown;
    const outer = reader.enter();
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === ((1 << 3) | this.#keys.wireType)) key = this.#keys.read(reader);
      else if (tag === ((2 << 3) | values.wireType)) value = values.read(reader, depth, value);
      else reader.skip(tag & 7, tag >>> 3, depth);
    }
    reader.leave(outer);
    setOwn(message[this.name] as object, String(key), value ?? this.#zero());
    return true;
  }

  /** What an entry without a value holds. */
  #zero(): unknown {
    const { message } = this.field;
    if (message === undefined) return (this.values as ScalarCodec).zero;
    return this.values instanceof StructValue ? {} : createMessage(message);
  }

  write(message: Fields, writer: WireWriter): void {
    const map = message[this.name] as Fields;
    const keys = Object.keys(map);
    const { values } = this;
    for (let i = keys.length - 1; i >= 0; i--) {
      const before = writer.length;
      values.write(writer, map[keys[i]!]);
      writer.uint32((2 << 3) | values.wireType);
      this.#keys.write(writer, this.#key(keys[i]!) as never);
      writer.uint32((1 << 3) | this.#keys.wireType);
      writer.uint32(writer.length - before);
      this.writeTag(writer, WireType.LengthDelimited);
    }
  }

  /** Objects have texts as keys, whatever the map has. */
  #key(text: string): unknown {
    if (this.#keyType === ScalarType.STRING) return text;
    if (this.#keyType === ScalarType.BOOL) return text === 'true';
    return typeof this.#keys.zero === 'bigint' ? BigInt(text) : Number(text);
  }
}

function fieldCodec(field: DescField): FieldCodec {
  if (field.fieldKind === 'list') return new ListField(field);
  if (field.fieldKind === 'map') return new MapField(field);
  return field.oneof === undefined ? new SingularField(field) : new OneofField(field, field.oneof.localName);
}
