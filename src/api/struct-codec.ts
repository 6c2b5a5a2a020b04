/** `google.protobuf.Struct` as protobuf-es holds it in fields: plain JSON. Source: google/protobuf/struct.proto. */
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { MAX_DEPTH, type WireReader, WireType } from './wire-reader.ts';
import type { WireWriter } from './wire-writer.ts';

/** Tags of struct.proto: Struct.fields, the two parts of its entries, the cases of Value, ListValue.values. */
const FIELDS = (1 << 3) | WireType.LengthDelimited;
const KEY = (1 << 3) | WireType.LengthDelimited;
const VALUE = (2 << 3) | WireType.LengthDelimited;
const NULL_VALUE = (1 << 3) | WireType.Varint;
const NUMBER_VALUE = (2 << 3) | WireType.Bit64;
const STRING_VALUE = (3 << 3) | WireType.LengthDelimited;
const BOOL_VALUE = (4 << 3) | WireType.Varint;
const STRUCT_VALUE = (5 << 3) | WireType.LengthDelimited;
const LIST_VALUE = (6 << 3) | WireType.LengthDelimited;
const LIST_ITEM = (1 << 3) | WireType.LengthDelimited;

/** Reads a length and a Struct of that length into `into`. Throws on bytes that are not one. */
export function readStruct(reader: WireReader, depth: number, into: JsonObject): JsonObject {
  const outer = enter(reader, depth);
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === FIELDS) readEntry(reader, depth + 1, into);
    else reader.skip(tag & 7, tag >>> 3, depth);
  }
  reader.leave(outer);
  return into;
}

function enter(reader: WireReader, depth: number): number {
  if (depth > MAX_DEPTH) throw new Error(`maximum recursion depth of ${MAX_DEPTH} reached`);
  return reader.enter();
}

function readEntry(reader: WireReader, depth: number, into: JsonObject): void {
  const outer = enter(reader, depth);
  let key = '';
  let value: JsonValue = null;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === KEY) key = reader.string();
    else if (tag === VALUE) value = readValue(reader, depth + 1);
    else reader.skip(tag & 7, tag >>> 3, depth);
  }
  reader.leave(outer);
  setOwn(into, key, value);
}

function readValue(reader: WireReader, depth: number): JsonValue {
  const outer = enter(reader, depth);
  let value: JsonValue = null;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    switch (tag) {
      case NULL_VALUE:
        reader.uint32();
        value = null;
        break;
      case NUMBER_VALUE:
        value = reader.double();
        break;
      case STRING_VALUE:
        value = reader.string();
        break;
      case BOOL_VALUE:
        value = reader.bool();
        break;
      case STRUCT_VALUE:
        value = readStruct(reader, depth + 1, {});
        break;
      case LIST_VALUE:
        value = readList(reader, depth + 1);
        break;
      default:
        reader.skip(tag & 7, tag >>> 3, depth);
    }
  }
  reader.leave(outer);
  return value;
}

function readList(reader: WireReader, depth: number): JsonValue[] {
  const outer = enter(reader, depth);
  const list: JsonValue[] = [];
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === LIST_ITEM) list.push(readValue(reader, depth + 1));
    else reader.skip(tag & 7, tag >>> 3, depth);
  }
  reader.leave(outer);
  return list;
}

/** `__proto__` must become a key, not the prototype. */
export function setOwn(target: object, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  } else (target as Record<string, unknown>)[key] = value;
}

/** Writes a Struct and its length. */
export function writeStruct(writer: WireWriter, json: JsonObject): void {
  const before = writer.length;
  const keys = Object.keys(json);
  for (let i = keys.length - 1; i >= 0; i--) {
    const entry = writer.length;
    writeValue(writer, json[keys[i]!]);
    writer.uint32(VALUE);
    writer.string(keys[i]!);
    writer.uint32(KEY);
    writer.uint32(writer.length - entry);
    writer.uint32(FIELDS);
  }
  writer.uint32(writer.length - before);
}

function writeValue(writer: WireWriter, json: JsonValue | undefined): void {
  const before = writer.length;
  switch (typeof json) {
    case 'number':
      writer.double(json);
      writer.uint32(NUMBER_VALUE);
      break;
    case 'string':
      writer.string(json);
      writer.uint32(STRING_VALUE);
      break;
    case 'boolean':
      writer.uint32(json ? 1 : 0);
      writer.uint32(BOOL_VALUE);
      break;
    case 'object':
      if (json === null) {
        writer.uint32(0);
        writer.uint32(NULL_VALUE);
      } else if (Array.isArray(json)) writeList(writer, json);
      else {
        writeStruct(writer, json);
        writer.uint32(STRUCT_VALUE);
      }
      break;
    default:
  }
  writer.uint32(writer.length - before);
}

function writeList(writer: WireWriter, list: readonly JsonValue[]): void {
  const before = writer.length;
  for (let i = list.length - 1; i >= 0; i--) {
    writeValue(writer, list[i]);
    writer.uint32(LIST_ITEM);
  }
  writer.uint32(writer.length - before);
  writer.uint32(LIST_VALUE);
}
