import {
  type DescField,
  type DescMessage,
  fromBinary,
  type JsonObject,
  type JsonValue,
  type Message,
  toBinary,
} from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../api/api-registry.ts';
import type { AnyMessages } from '../config/load/any-messages.ts';
import { type KnownMessages, NO_MESSAGES } from '../config/load/message-walk.ts';
import { TYPED_STRUCTS } from '../config/load/well-known-types.ts';

type Fields = Record<string, unknown>;

/**
 * Puts the entries of maps in the order of their keys, those of Structs and of messages inside Anys too, in a message that came over
 * the wire and is nobody else's yet. Protobuf leaves that order open, and servers in Go send another one each time: equal resources
 * have equal encodings only behind this. (Envoy compares by DeterministicProtoHash, which does the same.)
 * @param known messages in which all is in order
 * @returns whether anything was out of order: its encoding has changed
 */
export function orderMaps(
  message: Message,
  desc: DescMessage,
  api: ApiRegistry,
  anys: AnyMessages,
  known: KnownMessages = NO_MESSAGES,
): boolean {
  if (known.has(message)) return false;
  let changed = false;
  const fields = message as unknown as Fields;
  for (const field of desc.fields) {
    const { oneof, localName } = field;
    if (field.fieldKind === 'map') {
      const map = fields[localName] as Fields;
      const ordered = inOrder(map);
      if (ordered !== map) {
        fields[localName] = ordered;
        changed = true;
      }
      if (field.message !== undefined) {
        for (const [key, value] of Object.entries(ordered)) {
          const next = orderValue(value, field, api, anys, known);
          if (next === UNCHANGED) continue;
          if (next !== value) setOwn(ordered as JsonObject, key, next as JsonValue);
          changed = true;
        }
      }
    } else if (field.fieldKind === 'list') {
      const list = fields[localName] as unknown[];
      // The type of a field that is not set is not looked up.
      if (list.length === 0 || field.message === undefined) continue;
      for (let i = 0; i < list.length; i++) {
        const next = orderValue(list[i], field, api, anys, known);
        if (next === UNCHANGED) continue;
        list[i] = next;
        changed = true;
      }
    } else {
      const holder = oneof === undefined ? fields : (fields[oneof.localName] as Fields);
      if (oneof !== undefined && holder.case !== localName) continue;
      const key = oneof === undefined ? localName : 'value';
      if (typeof holder[key] !== 'object' || field.message === undefined) continue;
      const next = orderValue(holder[key], field, api, anys, known);
      if (next === UNCHANGED) continue;
      holder[key] = next;
      changed = true;
    }
  }
  return changed;
}

/** `__proto__` too is a key like any other. */
function setOwn(target: JsonObject, key: string, value: JsonValue): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  } else target[key] = value;
}

const UNCHANGED = Symbol('unchanged');

/** What stands in a field of messages: a message (changed in place), or a Struct as bare JSON. */
function orderValue(
  value: unknown,
  field: DescField,
  api: ApiRegistry,
  anys: AnyMessages,
  known: KnownMessages,
): unknown {
  if (typeof value !== 'object' || value === null) return UNCHANGED;
  if (!('$typeName' in value)) {
    // Wrappers of bytes are bare as well.
    if (field.message!.typeName !== 'google.protobuf.Struct') return UNCHANGED;
    const ordered = orderJson(value as JsonObject);
    return ordered === value ? UNCHANGED : ordered;
  }
  const message = value as Message;
  const isChanged =
    message.$typeName === 'google.protobuf.Any'
      ? orderAny(message as Any, api, anys)
      : orderMaps(message, field.message!, api, anys, known);
  return isChanged ? message : UNCHANGED;
}

function orderAny(any: Any, api: ApiRegistry, anys: AnyMessages): boolean {
  const desc = api.byTypeUrl(any.typeUrl);
  if (desc === undefined) return false;
  const unpacked = anys.unpack(any);
  if (!unpacked.ok) return false;
  const inner = TYPED_STRUCTS.has(desc.typeName) ? fromBinary(desc, any.value) : unpacked.message;
  if (!orderMaps(inner, desc, api, anys)) return false;
  any.value = toBinary(desc, inner) as Uint8Array<ArrayBuffer>;
  return true;
}

const WHOLE_NUMBER = /^(0|[1-9]\d{0,9})$/;

/** The same object where its keys are in order already. */
function inOrder<T extends object>(map: T): T {
  const keys = Object.keys(map);
  for (let i = 1; i < keys.length; i++) {
    const last = keys[i - 1]!;
    // Whole numbers stand in front in any object, in the order of their values.
    if (last < keys[i]! || WHOLE_NUMBER.test(last)) continue;
    const ordered = {} as JsonObject;
    for (const key of keys.sort()) setOwn(ordered, key, (map as JsonObject)[key] as JsonValue);
    return ordered as T;
  }
  return map;
}

function orderJson(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    const items = value.map(orderJson);
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  let ordered = inOrder(value);
  for (const [key, item] of Object.entries(ordered)) {
    const next = orderJson(item);
    if (next === item) continue;
    if (ordered === value) ordered = { ...value };
    setOwn(ordered, key, next);
  }
  return ordered;
}
