/** An upgraded tree as JSON: numbers as they were written. */
import type { TreeNode } from '../load/tree.ts';

export function printJson(tree: TreeNode): string {
  return `${write(tree, '')}\n`;
}

function write(node: TreeNode, indent: string): string {
  const deeper = `${indent}  `;
  switch (node.kind) {
    case 'scalar':
      if (node.form === 'null') return 'null';
      return node.form === 'number' || node.form === 'bool' ? node.text : JSON.stringify(node.text);
    case 'sequence': {
      if (node.items.length === 0) return '[]';
      const items = node.items.map((item) => deeper + write(item, deeper));
      return `[\n${items.join(',\n')}\n${indent}]`;
    }
    case 'mapping': {
      if (node.entries.length === 0) return '{}';
      const entries = node.entries.map(
        (entry) => `${deeper}${JSON.stringify(entry.key)}: ${write(entry.value, deeper)}`,
      );
      return `{\n${entries.join(',\n')}\n${indent}}`;
    }
  }
}
