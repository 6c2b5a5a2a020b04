/** Words for error messages. */
import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import type { TreeNode } from './tree.ts';

export function durationHint(node: TreeNode): string {
  const form = 'a number of seconds with an s, such as 1.5s';
  if (node.kind !== 'scalar') return form;
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|us|m|h|d|)$/.exec(node.text);
  if (match === null) return form;
  const unit = { ms: 0.001, us: 0.000001, m: 60, h: 3600, d: 86_400, '': 1 }[match[2] ?? ''] ?? 1;
  const seconds = Number((Number(match[1]) * unit).toFixed(9));
  return `did you mean ${seconds}s?`;
}

export function scalarName(field: DescField): string {
  return field.enum !== undefined
    ? `a value of ${field.enum.typeName}`
    : scalarTypeName(field.scalar ?? ScalarType.STRING);
}

export function scalarTypeName(type: ScalarType): string {
  switch (type) {
    case ScalarType.STRING:
      return 'text';
    case ScalarType.BYTES:
      return 'bytes in base64';
    case ScalarType.BOOL:
      return 'true or false';
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return 'a number';
    default:
      return 'an integer';
  }
}

export function describe(node: TreeNode): string {
  if (node.kind === 'sequence') return 'a list';
  if (node.kind === 'mapping') return 'a mapping';
  switch (node.form) {
    case 'null':
      return 'null';
    case 'string': {
      const text = node.text.length > 60 ? `${node.text.slice(0, 57)}...` : node.text;
      return JSON.stringify(text);
    }
    default:
      return node.text;
  }
}

export function article(name: string): string {
  return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}

/** The field of `desc` whose message has a field called `name`: for what stands a level too high. */
export function fieldBelow(name: string, desc: DescMessage): string | undefined {
  for (const field of desc.fields) {
    const inner = field.message;
    if (inner === undefined || inner.typeName.startsWith('google.protobuf.')) continue;
    const found = inner.fields.find((each) => each.name === name || each.jsonName === name);
    if (found !== undefined) return field.name;
  }
  return undefined;
}
