/**
 * A tree to a message, by the proto3 JSON mapping with the liberties that Envoy's reader takes: text for numbers, one
 * value for a list of one, enum names in any case, wrappers and durations as objects. All errors are collected.
 *
 * Longer than other files: one class, since reading a message, a field, an Any and a well-known type call each other.
 */
import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type Message,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { type ConfigError, configError, type Severity } from '../diagnostics/config-error.ts';
import { nearest } from '../diagnostics/nearest.ts';
import { article, describe, durationHint, fieldBelow, scalarName, scalarTypeName } from './describe.ts';
import { emptyItem, mapKey, plainJson, scalarKind, structJson } from './field-values.ts';
import {
  readBase64,
  readBool,
  readDouble,
  readDuration,
  readFieldMask,
  readInteger,
  readTimestamp,
} from './scalar-values.ts';
import type { TreeEntry, TreeMapping, TreeNode, TreeScalar } from './tree.ts';
import { hasOwnForm, TYPED_STRUCTS, WRAPPERS } from './well-known-types.ts';

/** Keeps the messages inside Anys; AnyMessages is one. */
export interface AnyMemory {
  remember(any: Any, message: Message, typedStruct: boolean): void;
}

export interface BuildOptions {
  readonly api: ApiRegistry;
  readonly anys: AnyMemory;
  /** Unknown fields and unknown enum names: refused (default), reported as warnings, or passed over. */
  readonly unknownFields?: 'reject' | 'warn' | 'ignore';
  /** The tree comes from protobuf text: only proto names count, well-known types have no special form. */
  readonly textFormat?: boolean;
  /** Path of the message within the whole, for errors. */
  readonly path?: string;
  /** Shared by many readings: what is looked up of each type of message. */
  readonly shapes?: MessageShapes;
}

/** Fields by the names that texts call them by. */
export type MessageShapes = Map<DescMessage, MessageShape>;

export interface BuiltMessage {
  /** As far as it could be read: use it only when there are no errors. */
  readonly message: Message;
  readonly errors: ConfigError[];
  readonly warnings: ConfigError[];
}

/**
 * @param into an existing message to merge into, as protobuf's MergeFrom does: fields that are set win, lists are
 *   appended, messages are merged.
 */
export function treeToMessage(tree: TreeNode, desc: DescMessage, options: BuildOptions, into?: Message): BuiltMessage {
  const builder = new MessageBuilder(options);
  const message = into ?? create(desc);
  builder.root(tree, desc, message);
  return { message, errors: builder.errors, warnings: builder.warnings };
}

type Fields = Record<string, unknown>;
type OneofValue = { case: string | undefined; value?: unknown };

interface MessageShape {
  readonly byName: ReadonlyMap<string, DescField>;
}

const INT32: readonly [bigint, bigint] = [-(2n ** 31n), 2n ** 31n - 1n];
const UINT32: readonly [bigint, bigint] = [0n, 2n ** 32n - 1n];
const INT64: readonly [bigint, bigint] = [-(2n ** 63n), 2n ** 63n - 1n];
const UINT64: readonly [bigint, bigint] = [0n, 2n ** 64n - 1n];

/** What a scalar that could not be read is answered with: the error has been reported. */
const FAILED = Symbol('failed');

class MessageBuilder {
  readonly errors: ConfigError[] = [];
  readonly warnings: ConfigError[] = [];
  readonly #api: ApiRegistry;
  readonly #anys: AnyMemory;
  readonly #unknownFields: 'reject' | 'warn' | 'ignore';
  readonly #textFormat: boolean;
  readonly #path: string[];
  /** The messages around the place that is read, outermost first. */
  readonly #around: DescMessage[] = [];
  readonly #shapes: MessageShapes;

  constructor(options: BuildOptions) {
    this.#api = options.api;
    this.#anys = options.anys;
    this.#unknownFields = options.unknownFields ?? 'reject';
    this.#textFormat = options.textFormat ?? false;
    this.#shapes = options.shapes ?? new Map();
    this.#path = options.path === undefined || options.path === '' ? [] : [options.path];
  }

  root(tree: TreeNode, desc: DescMessage, message: Message): void {
    this.#message(tree, desc, message);
  }

  #report(severity: Severity, node: TreeNode | TreeEntry, reason: string, hint?: string): void {
    const place = 'kind' in node ? node : { source: node.source, start: node.keyStart, end: node.keyEnd };
    // Fields follow a dot, indexes and map keys do not.
    const path = this.#path.join('').replace(/^\./, '');
    const list = severity === 'error' ? this.errors : this.warnings;
    list.push(configError(severity, path, reason, hint, place));
  }

  #fail(node: TreeNode | TreeEntry, reason: string, hint?: string): void {
    this.#report('error', node, reason, hint);
  }

  #unknown(node: TreeNode | TreeEntry, reason: string, hint?: string): void {
    if (this.#unknownFields === 'ignore') return;
    this.#report(this.#unknownFields === 'warn' ? 'warning' : 'error', node, reason, hint);
  }

  #shape(desc: DescMessage): MessageShape {
    let shape = this.#shapes.get(desc);
    if (shape === undefined) {
      const byName = new Map<string, DescField>();
      for (const field of desc.fields) {
        if (!this.#textFormat) byName.set(field.jsonName, field);
      }
      for (const field of desc.fields) byName.set(field.name, field);
      shape = { byName };
      this.#shapes.set(desc, shape);
    }
    return shape;
  }

  // --- messages -----------------------------------------------------------------------------------------------------

  #message(node: TreeNode, desc: DescMessage, message: Message): void {
    if (desc.typeName.startsWith('google.protobuf.') && this.#wellKnown(node, desc, message)) return;
    if (node.kind !== 'mapping') {
      const fields = desc.fields.map((field) => field.name);
      const hint = fields.length === 0 ? 'write {}' : `its fields: ${fields.slice(0, 6).join(', ')}`;
      const more = fields.length > 6 ? ', ...' : '';
      this.#fail(node, `expected ${article(desc.name)} (a mapping), found ${describe(node)}`, hint + more);
      return;
    }
    this.#fields(node, desc, message, false);
  }

  /** @param inAny whether `@type` is due among the entries */
  #fields(node: TreeMapping, desc: DescMessage, message: Message, inAny: boolean): void {
    const shape = this.#shape(desc);
    this.#around.push(desc);
    for (const entry of node.entries) {
      const field = shape.byName.get(entry.key);
      if (field === undefined) {
        if (inAny && entry.key === '@type') continue;
        this.#path.push(`.${entry.key}`);
        this.#unknown(
          entry,
          `${desc.typeName} has no field ${JSON.stringify(entry.key)}`,
          this.#unknownHint(entry, desc),
        );
        this.#path.pop();
        continue;
      }
      this.#path.push(`.${field.name}`);
      this.#field(entry, field, message as unknown as Fields);
      this.#path.pop();
    }
    this.#around.pop();
  }

  #unknownHint(entry: TreeEntry, desc: DescMessage): string | undefined {
    if (entry.key === '<<') return 'merge keys are not merged (nor does Envoy): write the fields out';
    const close = nearest(
      entry.key,
      desc.fields.map((field) => field.name),
    );
    if (close !== undefined) return `did you mean ${close}?`;
    const nested = fieldBelow(entry.key, desc);
    if (nested !== undefined) return `it is a field of ${nested}: put it there`;
    const outer = this.#around.findLast((around) => this.#shape(around).byName.has(entry.key));
    if (outer !== undefined) return `it is a field of ${outer.name} around it: indent it less`;
    // `{id:a}` is one key in YAML.
    const colon = entry.key.indexOf(':');
    if (colon > 0 && entry.value.kind === 'scalar' && entry.value.form === 'null')
      return 'YAML wants a space after the colon';
    return undefined;
  }

  #field(entry: TreeEntry, field: DescField, message: Fields): void {
    const node = entry.value;
    if (field.fieldKind === 'list') {
      this.#list(node, field, message);
      return;
    }
    if (field.fieldKind === 'map') {
      this.#map(node, field, message);
      return;
    }
    const isNull = node.kind === 'scalar' && node.form === 'null';
    if (
      isNull &&
      !(field.message?.typeName === 'google.protobuf.Value' || field.enum?.typeName === 'google.protobuf.NullValue')
    ) {
      return;
    }
    let present: unknown;
    if (field.oneof === undefined) present = message[field.localName];
    else {
      const oneof = message[field.oneof.localName] as OneofValue;
      if (oneof.case === field.localName) present = oneof.value;
      else if (oneof.case !== undefined) {
        const other = field.oneof.fields.find((member) => member.localName === oneof.case);
        this.#fail(
          entry,
          `only one of ${field.oneof.fields.map((member) => member.name).join(', ')} may be set, and ${other?.name} is`,
        );
        return;
      }
    }
    const value = this.#singular(node, field, present, field.oneof === undefined && field.fieldKind === 'message');
    if (value === FAILED) return;
    if (field.oneof === undefined) message[field.localName] = value;
    else message[field.oneof.localName] = { case: field.localName, value };
  }

  /**
   * One value of a field, list or map.
   * @param unwrap whether the field holds wrappers as bare values (singular fields outside of oneofs)
   */
  #singular(node: TreeNode, field: DescField, present: unknown, unwrap: boolean): unknown {
    const desc = field.message;
    if (desc === undefined) {
      if (node.kind !== 'scalar') {
        this.#fail(node, `expected ${scalarName(field)}, found ${describe(node)}`);
        return FAILED;
      }
      if (field.enum !== undefined) return this.#enum(node, field.enum);
      return this.#scalar(
        node,
        field.scalar ?? ScalarType.STRING,
        'longAsString' in field && field.longAsString === true,
      );
    }
    if (desc.typeName === 'google.protobuf.Struct' && field.parent.typeName !== 'google.protobuf.Value') {
      // protobuf-es holds a Struct in a field as plain JSON.
      const json = this.#struct(node);
      if (json === FAILED || present === undefined) return json;
      return { ...(present as object), ...(json as object) };
    }
    if (unwrap && WRAPPERS.has(desc.typeName)) return this.#wrapper(node, desc);
    const message = (present as Message | undefined) ?? create(desc);
    const before = this.errors.length;
    this.#message(node, desc, message);
    if (this.errors.length === before || !desc.typeName.startsWith('google.protobuf.')) return message;
    // An Any whose type is known holds what could be read of it.
    return desc.typeName === 'google.protobuf.Any' && (message as Any).typeUrl !== '' ? message : FAILED;
  }

  #list(node: TreeNode, field: DescField & { fieldKind: 'list' }, message: Fields): void {
    if (node.kind === 'scalar' && node.form === 'null') return;
    const list = message[field.localName] as unknown[];
    if (node.kind !== 'sequence' || field.message?.typeName === 'google.protobuf.ListValue') {
      const items = node.kind === 'sequence' ? node.items : [node];
      // Envoy takes one value where a list is due.
      for (let i = 0; i < items.length; i++) this.#item(items[i]!, field, list);
      return;
    }
    for (const item of node.items) {
      if (item.kind === 'sequence' && !(field.message?.typeName === 'google.protobuf.Value')) {
        for (const inner of item.items) this.#item(inner, field, list);
      } else this.#item(item, field, list);
    }
  }

  #item(node: TreeNode, field: DescField & { fieldKind: 'list' }, list: unknown[]): void {
    this.#path.push(`[${list.length}]`);
    const isNull = node.kind === 'scalar' && node.form === 'null';
    const value =
      isNull && field.message?.typeName !== 'google.protobuf.Value'
        ? emptyItem(field)
        : this.#singular(node, field, undefined, false);
    this.#path.pop();
    // A place is kept for what failed, so that the paths of later items stay right.
    list.push(value === FAILED ? emptyItem(field) : value);
  }

  #map(node: TreeNode, field: DescField & { fieldKind: 'map' }, message: Fields): void {
    if (node.kind === 'scalar' && node.form === 'null') return;
    const map = message[field.localName] as Fields;
    if (node.kind === 'sequence' && this.#textFormat) {
      for (const item of node.items) this.#textEntry(item, field, map);
      return;
    }
    if (node.kind !== 'mapping') {
      this.#fail(node, `expected a mapping, found ${describe(node)}`);
      return;
    }
    if (this.#textFormat) {
      this.#textEntry(node, field, map);
      return;
    }
    for (const entry of node.entries) {
      this.#path.push(`[${JSON.stringify(entry.key)}]`);
      const key = mapKey(entry.key, field.mapKey);
      if (key === undefined) this.#fail(entry, 'not a key of this map');
      else this.#mapValue(entry.value, key, field, map);
      this.#path.pop();
    }
  }

  #mapValue(node: TreeNode, key: string, field: DescField & { fieldKind: 'map' }, map: Fields): void {
    const isNull = node.kind === 'scalar' && node.form === 'null';
    const value =
      isNull && field.message?.typeName !== 'google.protobuf.Value'
        ? emptyItem(field)
        : this.#singular(node, field, undefined, false);
    if (value === FAILED) return;
    // `__proto__` must become a key, not the prototype.
    Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
  }

  /** Protobuf text writes a map as repeated `{ key: ..., value: ... }`. */
  #textEntry(node: TreeNode, field: DescField & { fieldKind: 'map' }, map: Fields): void {
    if (node.kind !== 'mapping') {
      this.#fail(node, `expected a map entry with key and value, found ${describe(node)}`);
      return;
    }
    const keyNode = node.get('key');
    const key = keyNode === undefined ? mapKey(field.mapKey === ScalarType.STRING ? '' : '0', field.mapKey) : undefined;
    const text = keyNode?.kind === 'scalar' ? mapKey(keyNode.text, field.mapKey) : key;
    if (text === undefined) {
      this.#fail(keyNode ?? node, 'not a key of this map');
      return;
    }
    this.#path.push(`[${JSON.stringify(text)}]`);
    for (const entry of node.entries) {
      if (entry.key !== 'key' && entry.key !== 'value')
        this.#unknown(entry, `a map entry has no field ${JSON.stringify(entry.key)}`);
    }
    const value = node.get('value');
    if (value === undefined)
      Object.defineProperty(map, text, {
        value: emptyItem(field),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    else this.#mapValue(value, text, field, map);
    this.#path.pop();
  }

  // --- scalars ------------------------------------------------------------------------------------------------------

  #scalar(node: TreeScalar, type: ScalarType, longAsString: boolean): unknown {
    switch (type) {
      case ScalarType.STRING:
        if (node.form === 'string') return node.text;
        this.#fail(node, `expected text, found ${describe(node)}`, 'put it in quotes');
        return FAILED;
      case ScalarType.BYTES: {
        if (this.#textFormat && node.form === 'string')
          return Uint8Array.from(node.text, (c) => c.charCodeAt(0) & 0xff);
        const bytes = node.form === 'string' ? readBase64(node.text) : undefined;
        if (bytes !== undefined) return bytes;
        this.#fail(node, `expected bytes in base64, found ${describe(node)}`);
        return FAILED;
      }
      case ScalarType.BOOL: {
        const bool = readBool(node);
        if (bool !== undefined) return bool;
        this.#fail(node, `expected true or false, found ${describe(node)}`);
        return FAILED;
      }
      case ScalarType.DOUBLE:
      case ScalarType.FLOAT: {
        const number = readDouble(node);
        if (number !== undefined) return number;
        this.#fail(node, `expected a number, found ${describe(node)}`);
        return FAILED;
      }
      case ScalarType.INT64:
      case ScalarType.SINT64:
      case ScalarType.SFIXED64:
        return this.#long(node, INT64, longAsString);
      case ScalarType.UINT64:
      case ScalarType.FIXED64:
        return this.#long(node, UINT64, longAsString);
      case ScalarType.UINT32:
      case ScalarType.FIXED32: {
        const value = this.#integer(node, UINT32);
        return typeof value === 'bigint' ? Number(value) : value;
      }
      default: {
        const value = this.#integer(node, INT32);
        return typeof value === 'bigint' ? Number(value) : value;
      }
    }
  }

  #long(node: TreeScalar, range: readonly [bigint, bigint], asString: boolean): unknown {
    const value = this.#integer(node, range);
    return asString && typeof value === 'bigint' ? value.toString() : value;
  }

  #integer(node: TreeScalar, range: readonly [bigint, bigint]): bigint | typeof FAILED {
    const value = readInteger(node, range[0], range[1]);
    if (value !== undefined) return value;
    this.#fail(node, `expected an integer from ${range[0]} to ${range[1]}, found ${describe(node)}`);
    return FAILED;
  }

  #enum(node: TreeScalar, desc: DescEnum): unknown {
    if (node.form === 'null') return 0;
    if (node.form === 'number' || (node.form === 'string' && /^[+-]?[0-9]+$/.test(node.text))) {
      const number = readInteger(node, INT32[0], INT32[1]);
      if (number !== undefined) return Number(number);
    } else if (node.form === 'string' || node.form === 'identifier') {
      for (const value of desc.values) if (value.name === node.text) return value.number;
      if (!this.#textFormat) {
        const upper = node.text.toUpperCase();
        for (const value of desc.values) if (value.name === upper) return value.number;
      }
    } else {
      this.#fail(node, `expected a value of ${desc.typeName}, found ${describe(node)}`);
      return FAILED;
    }
    const names = desc.values.map((value) => value.name);
    const close = nearest(node.text, names);
    this.#unknown(
      node,
      `${desc.typeName} has no value ${describe(node)}`,
      close === undefined
        ? `one of ${names.slice(0, 12).join(', ')}${names.length > 12 ? ', ...' : ''}`
        : `did you mean ${close}?`,
    );
    return FAILED;
  }

  #wrapper(node: TreeNode, desc: DescMessage): unknown {
    const type = desc.fields[0]?.scalar ?? ScalarType.STRING;
    if (node.kind === 'scalar' && !this.#textFormat) return this.#scalar(node, type, false);
    if (node.kind !== 'mapping') {
      this.#fail(node, `expected ${scalarTypeName(type)}, found ${describe(node)}`);
      return FAILED;
    }
    const wrapper = create(desc);
    const before = this.errors.length;
    this.#fields(node, desc, wrapper, false);
    return this.errors.length > before ? FAILED : (wrapper as unknown as Fields).value;
  }

  // --- well-known types ---------------------------------------------------------------------------------------------

  /** @returns false when the type has no form of its own, or the node is an object where an object will do. */
  #wellKnown(node: TreeNode, desc: DescMessage, message: Message): boolean {
    const fields = message as unknown as Fields;
    if (desc.typeName === 'google.protobuf.Any') {
      this.#any(node, message as Any);
      return true;
    }
    if (this.#textFormat) return false;
    switch (desc.typeName) {
      case 'google.protobuf.Duration': {
        if (node.kind === 'mapping') return false;
        const value = node.kind === 'scalar' && node.form === 'string' ? readDuration(node.text) : undefined;
        if (value === undefined) this.#fail(node, `expected a duration, found ${describe(node)}`, durationHint(node));
        else Object.assign(fields, value);
        return true;
      }
      case 'google.protobuf.Timestamp': {
        if (node.kind === 'mapping') return false;
        const value = node.kind === 'scalar' && node.form === 'string' ? readTimestamp(node.text) : undefined;
        if (value === undefined)
          this.#fail(node, `expected a time such as 2026-01-31T12:00:00Z, found ${describe(node)}`);
        else Object.assign(fields, value);
        return true;
      }
      case 'google.protobuf.FieldMask': {
        if (node.kind === 'mapping') return false;
        const paths = node.kind === 'scalar' && node.form === 'string' ? readFieldMask(node.text) : undefined;
        if (paths === undefined) this.#fail(node, `expected field paths with commas between, found ${describe(node)}`);
        else fields.paths = paths;
        return true;
      }
      case 'google.protobuf.Struct':
      case 'google.protobuf.Value':
      case 'google.protobuf.ListValue':
        this.#jsonMessage(node, desc, fields);
        return true;
      default: {
        if (!WRAPPERS.has(desc.typeName) || node.kind === 'mapping') return false;
        const value = this.#wrapper(node, desc);
        if (value !== FAILED) fields.value = value;
        return true;
      }
    }
  }

  /** Struct, Value and ListValue as messages (inside a Value, a list, a map, an Any). */
  #jsonMessage(node: TreeNode, desc: DescMessage, fields: Fields): void {
    switch (desc.typeName) {
      case 'google.protobuf.Struct': {
        if (node.kind !== 'mapping') {
          this.#fail(node, `expected a mapping, found ${describe(node)}`);
          return;
        }
        const valueDesc = desc.field.fields?.message;
        const map = fields.fields as Fields;
        for (const entry of node.entries) {
          const value = create(valueDesc!);
          this.#jsonMessage(entry.value, valueDesc!, value as unknown as Fields);
          Object.defineProperty(map, entry.key, { value, enumerable: true, configurable: true, writable: true });
        }
        return;
      }
      case 'google.protobuf.ListValue': {
        if (node.kind !== 'sequence') {
          this.#fail(node, `expected a list, found ${describe(node)}`);
          return;
        }
        const valueDesc = desc.field.values?.message;
        for (const item of node.items) {
          const value = create(valueDesc!);
          this.#jsonMessage(item, valueDesc!, value as unknown as Fields);
          (fields.values as unknown[]).push(value);
        }
        return;
      }
      default: {
        if (node.kind === 'scalar') fields.kind = scalarKind(node);
        else {
          const name = node.kind === 'mapping' ? 'structValue' : 'listValue';
          const inner = desc.field[name]?.message;
          const message = create(inner!);
          this.#jsonMessage(node, inner!, message as unknown as Fields);
          fields.kind = { case: name, value: message };
        }
      }
    }
  }

  #struct(node: TreeNode): unknown {
    if (this.#textFormat) {
      const desc = this.#api.message('google.protobuf.Struct')!;
      const message = create(desc);
      this.#message(node, desc, message);
      return structJson(message as unknown as Fields);
    }
    if (node.kind !== 'mapping') {
      this.#fail(node, `expected a mapping, found ${describe(node)}`);
      return FAILED;
    }
    return plainJson(node);
  }

  // --- Any ----------------------------------------------------------------------------------------------------------

  #any(node: TreeNode, any: Any): void {
    if (node.kind !== 'mapping') {
      this.#fail(node, `expected a mapping with "@type", found ${describe(node)}`);
      return;
    }
    const typeEntries = node.entries.filter((entry) => entry.key === '@type');
    const typeEntry = typeEntries[0];
    if (typeEntry === undefined) {
      if (this.#textFormat) {
        this.#fields(node, this.#api.message('google.protobuf.Any')!, any, false);
        return;
      }
      // An empty Any is one without a type; what needs it will say so.
      const first = node.entries[0];
      if (first !== undefined) this.#fail(first, 'the "@type" is missing', 'such as "@type": type.googleapis.com/...');
      return;
    }
    if (typeEntries.length > 1) {
      this.#fail(typeEntries[1]!, '"@type" is written twice');
      return;
    }
    const typeNode = typeEntry.value;
    if (typeNode.kind !== 'scalar' || typeNode.form !== 'string') {
      this.#fail(typeNode, `expected a type URL, found ${describe(typeNode)}`);
      return;
    }
    const url = typeNode.text;
    const slash = url.lastIndexOf('/');
    if (slash <= 0) {
      const known = this.#api.byTypeUrl(url) !== undefined;
      this.#fail(
        typeNode,
        `"@type" must be a URL such as type.googleapis.com/..., found ${describe(typeNode)}`,
        known ? `did you mean type.googleapis.com/${url}?` : undefined,
      );
      return;
    }
    const desc = this.#api.byTypeUrl(url);
    if (desc === undefined) {
      const close = nearest(url.slice(slash + 1), this.#api.allTypeNames());
      this.#fail(
        typeNode,
        `unknown type ${url}`,
        close === undefined ? undefined : `did you mean ${url.slice(0, slash)}/${close}?`,
      );
      return;
    }
    const before = this.errors.length;
    const message = create(desc);
    if (hasOwnForm(desc.typeName) && !this.#textFormat) this.#anyValue(node, desc, message);
    else this.#fields(node, desc, message, true);
    any.typeUrl = url;
    let kept = message;
    let typedStruct = false;
    if (this.errors.length === before && TYPED_STRUCTS.has(desc.typeName) && !this.#textFormat) {
      const inner = this.#typedStruct(node, message);
      if (inner !== undefined) {
        kept = inner;
        typedStruct = true;
      }
    }
    // What could be read is kept beside errors too: later checks report on it, so that all errors come at once.
    any.value = toBinary(desc, message);
    // A TypedStruct of protobuf text is taken off when somebody asks for it.
    if (typedStruct || !TYPED_STRUCTS.has(desc.typeName)) this.#anys.remember(any, kept, typedStruct);
  }

  /** The message that a TypedStruct stands for, read from the tree so that errors have their places. */
  #typedStruct(node: TreeMapping, struct: Message): Message | undefined {
    const inner = this.#api.byTypeUrl((struct as Message & { typeUrl: string }).typeUrl);
    if (inner === undefined) return undefined;
    const message = create(inner);
    const value = node.get('value');
    if (value !== undefined && !(value.kind === 'scalar' && value.form === 'null'))
      this.#message(value, inner, message);
    return message;
  }

  /** Types with a JSON form of their own stand under "value". */
  #anyValue(node: TreeMapping, desc: DescMessage, message: Message): void {
    for (const entry of node.entries) {
      if (entry.key === '@type') continue;
      if (entry.key !== 'value') {
        this.#path.push(`.${entry.key}`);
        this.#fail(entry, `${desc.typeName} stands under "value" and has no field ${JSON.stringify(entry.key)}`);
        this.#path.pop();
        continue;
      }
      this.#path.push('.value');
      if (!(entry.value.kind === 'scalar' && entry.value.form === 'null')) this.#message(entry.value, desc, message);
      this.#path.pop();
    }
  }
}
