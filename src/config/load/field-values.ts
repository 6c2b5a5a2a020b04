/** Defaults, map keys and plain JSON, in the forms that protobuf-es gives them in messages. */
import { create, type DescField, ScalarType } from '@bufbuild/protobuf';
import type { TreeNode, TreeScalar } from './tree.ts';

type Fields = Record<string, unknown>;
type OneofValue = { case: string | undefined; value?: unknown };

/** What stands in a list or a map for a null. */
export function emptyItem(field: DescField): unknown {
  if (field.message !== undefined) {
    return field.message.typeName === 'google.protobuf.Struct' && field.parent.typeName !== 'google.protobuf.Value'
      ? {}
      : create(field.message);
  }
  switch (field.scalar) {
    case undefined:
      return field.enum?.values[0]?.number ?? 0;
    case ScalarType.STRING:
      return '';
    case ScalarType.BYTES:
      return new Uint8Array(0);
    case ScalarType.BOOL:
      return false;
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return 0n;
    default:
      return 0;
  }
}

export function mapKey(text: string, type: ScalarType): string | undefined {
  if (type === ScalarType.STRING) return text;
  if (type === ScalarType.BOOL) return text === 'true' || text === 'false' ? text : undefined;
  return /^-?[0-9]+$/.test(text) ? BigInt(text).toString() : undefined;
}

export function scalarKind(node: TreeScalar): { case: string; value: unknown } {
  switch (node.form) {
    case 'null':
      return { case: 'nullValue', value: 0 };
    case 'bool':
      return { case: 'boolValue', value: node.text === 'true' };
    case 'number':
      return { case: 'numberValue', value: Number(node.text) };
    default:
      return { case: 'stringValue', value: node.text };
  }
}

export function plainJson(node: TreeNode): unknown {
  if (node.kind === 'scalar') return node.form === 'null' ? null : scalarKind(node).value;
  if (node.kind === 'sequence') return node.items.map(plainJson);
  const object = {};
  for (const entry of node.entries) {
    Object.defineProperty(object, entry.key, {
      value: plainJson(entry.value),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return object;
}

/** A Struct, Value or ListValue message as plain JSON. */
export function structJson(struct: Fields): unknown {
  const object = {};
  for (const [key, value] of Object.entries(struct.fields as Fields)) {
    Object.defineProperty(object, key, {
      value: valueJson(value as Fields),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return object;
}

function valueJson(value: Fields): unknown {
  const kind = value.kind as OneofValue;
  switch (kind.case) {
    case 'structValue':
      return structJson(kind.value as Fields);
    case 'listValue':
      return ((kind.value as Fields).values as Fields[]).map(valueJson);
    case 'nullValue':
    case undefined:
      return null;
    default:
      return kind.value;
  }
}
