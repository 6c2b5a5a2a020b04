/**
 * An upgraded tree as YAML. What the text that it came from wrote is written as it was: comments, empty lines, quotes,
 * flow style, anchors. A node is known by its place, which the upgrade keeps.
 */
import {
  type Alias,
  Composer,
  Document,
  isMap,
  isScalar,
  isSeq,
  type Node,
  Pair,
  Parser,
  Scalar,
  visit,
  YAMLMap,
  YAMLSeq,
} from 'yaml';
import type { SourceFile } from '../diagnostics/source-file.ts';
import type { TreeEntry, TreeMapping, TreeNode, TreeScalar, TreeSequence } from '../load/tree.ts';

const OPTIONS = { schema: 'failsafe', uniqueKeys: false, resolveKnownTags: false, stringKeys: false } as const;

/** Plain text that a reader of YAML would take for something else than text. */
const AMBIGUOUS = /^$|^[-+.0-9]|^(y|yes|true|on|n|no|false|off|null|~)$/i;

/** @param original the YAML that `tree` was made of */
export function printYaml(tree: TreeNode, original: SourceFile): string {
  return new YamlPrinter(original).print(tree);
}

class YamlPrinter {
  readonly #document: Document<Node, false>;
  readonly #original: Document | undefined;
  /** By kind and place. */
  readonly #nodes = new Map<string, Node>();
  readonly #keys = new Map<number, Scalar>();
  /** Nodes of the text whose comments are written already. */
  readonly #spent = new Set<Node>();
  readonly #made = new Map<TreeNode, Node>();
  readonly #anchors = new Set<string>();
  #indentSeq = true;

  constructor(original: SourceFile) {
    this.#document = new Document<Node, false>(null as unknown as Node, OPTIONS);
    this.#original = firstDocument(original.text);
    if (this.#original !== undefined) this.#index(this.#original, original);
  }

  print(tree: TreeNode): string {
    const document = this.#document;
    document.contents = this.#node(tree);
    const original = this.#original;
    if (original !== undefined) {
      document.commentBefore = original.commentBefore;
      document.comment = original.comment;
      if (original.directives?.docStart === true && document.directives !== undefined)
        document.directives.docStart = true;
    }
    return document.toString({ lineWidth: 0, indentSeq: this.#indentSeq });
  }

  #index(document: Document, source: SourceFile): void {
    let decided = false;
    visit(document, {
      Pair: (_, pair) => {
        const { key, value } = pair;
        if (isScalar(key) && key.range) {
          this.#keys.set(key.range[0], key);
          if (!decided && isSeq(value) && value.flow !== true && value.range) {
            decided = true;
            const inner = source.position(value.range[0]).column;
            this.#indentSeq = inner > source.position(key.range[0]).column;
          }
        }
      },
      Value: (key, node) => {
        if (key !== 'key' && node.range) this.#nodes.set(placeKey(kindOf(node), node.range[0], node.range[1]), node);
      },
    });
  }

  #node(node: TreeNode): Node {
    const old = this.#nodes.get(placeKey(node.kind, node.start, node.end));
    const before = this.#made.get(node);
    if (before !== undefined && 'anchor' in before && before.anchor !== undefined) {
      return this.#document.createAlias(before as Exclude<Node, Alias>) as Node;
    }
    const made =
      node.kind === 'scalar'
        ? this.#scalar(node, old)
        : node.kind === 'sequence'
          ? this.#sequence(node, old)
          : this.#mapping(node, old);
    return made;
  }

  #scalar(node: TreeScalar, old: Node | undefined): Node {
    let made: Scalar;
    if (isScalar(old) && (old.value === node.text || node.form !== 'string')) {
      made = new Scalar(old.value);
      if (old.type !== undefined) made.type = old.type;
      if (old.tag !== undefined && old.tag !== '!') made.tag = old.tag;
    } else {
      made = new Scalar(node.form === 'null' ? 'null' : node.text);
      if (node.form === 'string' && AMBIGUOUS.test(node.text)) made.type = 'QUOTE_DOUBLE';
    }
    this.#finish(node, made, old);
    return made;
  }

  #sequence(node: TreeSequence, old: Node | undefined): Node {
    const made = new YAMLSeq<Node>();
    if (isSeq(old) && old.flow === true) made.flow = true;
    this.#finish(node, made, old);
    for (const item of node.items) made.items.push(this.#node(item));
    return made;
  }

  #mapping(node: TreeMapping, old: Node | undefined): Node {
    const made = new YAMLMap<Node, Node>();
    if (isMap(old) && old.flow === true) made.flow = true;
    this.#finish(node, made, old);
    for (const entry of node.entries) made.items.push(new Pair(this.#key(entry), this.#node(entry.value)));
    return made;
  }

  #key(entry: TreeEntry): Node {
    const old = this.#keys.get(entry.keyStart);
    const made = new Scalar(entry.key);
    if (old !== undefined && old.value === entry.key && old.type !== undefined) made.type = old.type;
    else if (AMBIGUOUS.test(entry.key)) made.type = 'QUOTE_DOUBLE';
    if (old !== undefined) this.#comments(made, old);
    return made;
  }

  #finish(node: TreeNode, made: Scalar | YAMLSeq | YAMLMap, old: Node | undefined): void {
    if (old !== undefined) {
      this.#comments(made, old);
      const anchor = 'anchor' in old ? (old.anchor as string | undefined) : undefined;
      if (anchor !== undefined) made.anchor = this.#anchor(anchor);
    }
    this.#made.set(node, made);
  }

  /** Two uses of one anchor may have become two nodes. */
  #anchor(name: string): string {
    let free = name;
    for (let i = 2; this.#anchors.has(free); i++) free = `${name}_${i}`;
    this.#anchors.add(free);
    return free;
  }

  #comments(made: Node, old: Node): void {
    if (this.#spent.has(old)) return;
    this.#spent.add(old);
    if (old.commentBefore) made.commentBefore = old.commentBefore;
    if (old.comment) made.comment = old.comment;
    if (old.spaceBefore === true) made.spaceBefore = true;
  }
}

function placeKey(kind: string, start: number, end: number): string {
  return `${kind} ${start} ${end}`;
}

function kindOf(node: Node): string {
  return isScalar(node) ? 'scalar' : isSeq(node) ? 'sequence' : isMap(node) ? 'mapping' : 'other';
}

function firstDocument(text: string): Document | undefined {
  for (const document of new Composer(OPTIONS).compose(new Parser().parse(text), true, text.length)) return document;
  return undefined;
}
