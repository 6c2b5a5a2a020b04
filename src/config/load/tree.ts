/**
 * The parsed form of a configuration text before it becomes a message: what YAML, JSON and protobuf text have in
 * common, with the place of every node. The upgrade from v2 to v3 rewrites this tree; nodes keep their places.
 */
import type { SourceFile } from '../diagnostics/source-file.ts';

/**
 * How many collections may lie within each other: protobuf's own limit for JSON, which is Envoy's.
 */
export const MAX_DEPTH = 100;

/** How many nodes a tree may have once its aliases are followed: a guard against "billion laughs". */
export const MAX_NODES = 20_000_000;

/**
 * - `null`, `bool` (text is `true` or `false`), `number` (text is a JSON number), `string`
 * - `identifier`: a bare word of protobuf text (an enum's name, `true`, `inf`)
 */
export type ScalarForm = 'null' | 'bool' | 'number' | 'string' | 'identifier';

export class TreeScalar {
  readonly kind = 'scalar';
  readonly form: ScalarForm;
  readonly text: string;
  readonly source: SourceFile;
  readonly start: number;
  readonly end: number;

  constructor(form: ScalarForm, text: string, source: SourceFile, start: number, end: number) {
    this.form = form;
    this.text = text;
    this.source = source;
    this.start = start;
    this.end = end;
  }
}

export class TreeSequence {
  readonly kind = 'sequence';
  readonly items: TreeNode[];
  readonly source: SourceFile;
  readonly start: number;
  readonly end: number;

  constructor(items: TreeNode[], source: SourceFile, start: number, end: number) {
    this.items = items;
    this.source = source;
    this.start = start;
    this.end = end;
  }
}

export class TreeEntry {
  readonly key: string;
  readonly value: TreeNode;
  /** Where the key stands; its source may differ from the mapping's after an upgrade. */
  readonly source: SourceFile;
  readonly keyStart: number;
  readonly keyEnd: number;

  constructor(key: string, value: TreeNode, source: SourceFile, keyStart: number, keyEnd: number) {
    this.key = key;
    this.value = value;
    this.source = source;
    this.keyStart = keyStart;
    this.keyEnd = keyEnd;
  }
}

export class TreeMapping {
  readonly kind = 'mapping';
  /** In the order of the text. Keys may repeat when the format merges repeated keys (JSON). */
  readonly entries: TreeEntry[];
  readonly source: SourceFile;
  readonly start: number;
  readonly end: number;

  constructor(entries: TreeEntry[], source: SourceFile, start: number, end: number) {
    this.entries = entries;
    this.source = source;
    this.start = start;
    this.end = end;
  }

  /** The last entry with that key: where keys repeat, the last one wins. */
  entry(key: string): TreeEntry | undefined {
    for (let i = this.entries.length - 1; i >= 0; i--) if (this.entries[i]?.key === key) return this.entries[i];
    return undefined;
  }

  get(key: string): TreeNode | undefined {
    return this.entry(key)?.value;
  }
}

export type TreeNode = TreeScalar | TreeSequence | TreeMapping;

/** A tree from JSON values that no text holds (a `google.protobuf.Struct` out of a binary message). */
export function treeFromJson(value: unknown, source: SourceFile): TreeNode {
  if (value === null || value === undefined) return new TreeScalar('null', '', source, 0, 0);
  if (typeof value === 'string') return new TreeScalar('string', value, source, 0, 0);
  if (typeof value === 'boolean') return new TreeScalar('bool', String(value), source, 0, 0);
  if (typeof value === 'number') {
    return Number.isFinite(value)
      ? new TreeScalar('number', String(value), source, 0, 0)
      : new TreeScalar('string', String(value), source, 0, 0);
  }
  if (Array.isArray(value))
    return new TreeSequence(
      value.map((item) => treeFromJson(item, source)),
      source,
      0,
      0,
    );
  const entries = Object.entries(value as object).map(
    ([key, item]) => new TreeEntry(key, treeFromJson(item, source), source, 0, 0),
  );
  return new TreeMapping(entries, source, 0, 0);
}

/**
 * Refuses what would take too long or overflow the stack: a tree deeper than MAX_DEPTH or larger than MAX_NODES once
 * aliases (shared nodes) are followed.
 * @param rootLevel how many collections the root itself lies within
 */
export function checkTreeSize(
  root: TreeNode,
  rootLevel = 0,
): { readonly node: TreeNode; readonly reason: string } | undefined {
  const measured = new Map<TreeNode, { readonly nodes: number; readonly depth: number }>();
  const deep = `nested more than ${MAX_DEPTH} levels deep`;
  let tooDeep: TreeNode | undefined;
  const measure = (node: TreeNode, level: number): { readonly nodes: number; readonly depth: number } => {
    if (node.kind === 'scalar') return { nodes: 1, depth: 0 };
    const known = measured.get(node);
    if (known !== undefined) return known;
    if (level >= MAX_DEPTH) {
      tooDeep ??= node;
      return { nodes: 1, depth: 1 };
    }
    let nodes = 1;
    let depth = 0;
    const count = node.kind === 'sequence' ? node.items.length : node.entries.length;
    for (let i = 0; i < count; i++) {
      const child = node.kind === 'sequence' ? node.items[i] : node.entries[i]?.value;
      if (child === undefined) continue;
      const size = measure(child, level + 1);
      nodes += size.nodes;
      if (size.depth > depth) depth = size.depth;
    }
    const result = { nodes, depth: depth + 1 };
    measured.set(node, result);
    return result;
  };
  const total = measure(root, rootLevel);
  if (tooDeep !== undefined) return { node: tooDeep, reason: deep };
  if (rootLevel + total.depth > MAX_DEPTH) return { node: root, reason: deep };
  if (total.nodes > MAX_NODES) return { node: root, reason: `more than ${MAX_NODES} values once aliases are followed` };
  return undefined;
}
