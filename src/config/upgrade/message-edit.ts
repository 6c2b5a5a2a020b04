/** One message of the tree while the rules of the upgrade work on it, and the making of nodes. */
import type { DescMessage } from '@bufbuild/protobuf';
import type { SourceFile } from '../diagnostics/source-file.ts';
import { TreeEntry, TreeMapping, type TreeNode, TreeScalar, TreeSequence } from '../load/tree.ts';

/** Where a made node is said to stand. */
export interface Place {
  readonly source: SourceFile;
  readonly start: number;
  readonly end: number;
}

/** What the whole upgrade keeps while it walks. */
export interface UpgradeState {
  /** @param evidence whether it proves the file to be of v2: v3 has nothing of the name */
  changed(at: TreeEntry | TreeNode, path: string, what: string, evidence: boolean): void;
  refused(at: TreeEntry | TreeNode, path: string, reason: string, hint: string): void;
  /** The bootstrap's tracing provider, which v3 has in each connection manager. */
  tracingProvider: TreeNode | undefined;
}

export class MessageEdit {
  readonly desc: DescMessage;
  readonly mapping: TreeMapping;
  /** What the message will hold; still to be walked. */
  entries: TreeEntry[];
  /** Already of v3, added when the walk below is done. */
  readonly late: TreeEntry[] = [];
  readonly path: string;
  readonly parent: MessageEdit | undefined;
  readonly state: UpgradeState;
  readonly #known: (name: string) => boolean;

  constructor(
    desc: DescMessage,
    mapping: TreeMapping,
    path: string,
    parent: MessageEdit | undefined,
    state: UpgradeState,
    known: (name: string) => boolean,
  ) {
    this.desc = desc;
    this.mapping = mapping;
    this.entries = mapping.entries;
    this.path = path;
    this.parent = parent;
    this.state = state;
    this.#known = known;
  }

  /** The entry of a field, by its proto name or JSON name. A null counts as absent. */
  entry(name: string): TreeEntry | undefined {
    const json = jsonName(name);
    for (let i = this.entries.length - 1; i >= 0; i--) {
      const entry = this.entries[i]!;
      if ((entry.key === name || entry.key === json) && !isNull(entry.value)) return entry;
    }
    return undefined;
  }

  get(name: string): TreeNode | undefined {
    return this.entry(name)?.value;
  }

  /** The text of a scalar field. */
  text(name: string): string | undefined {
    const node = this.get(name);
    return node?.kind === 'scalar' ? node.text : undefined;
  }

  /** The text of an entry's value, empty for what is no scalar. */
  textOf(entry: TreeEntry): string {
    return entry.value.kind === 'scalar' ? entry.value.text : '';
  }

  /** Takes a field out. */
  take(name: string): TreeEntry | undefined {
    const found = this.entry(name);
    const json = jsonName(name);
    const rest = this.entries.filter((entry) => entry.key !== name && entry.key !== json);
    if (rest.length !== this.entries.length) this.entries = rest;
    return found;
  }

  /** Puts `value` under `name` where `old` stands or stood, as a field of v3. */
  put(name: string, value: TreeNode, old: TreeEntry | undefined): void {
    const entry = new TreeEntry(
      name,
      value,
      old?.source ?? this.mapping.source,
      old?.keyStart ?? this.mapping.start,
      old?.keyEnd ?? this.mapping.start,
    );
    const kept = this.entries.filter((other) => other.key !== name && other.key !== jsonName(name));
    // The order of the text is kept: a successor stands where its predecessor stood.
    const at = old === undefined ? kept.length : kept.findIndex((other) => other.keyStart > old.keyStart);
    kept.splice(at < 0 ? kept.length : at, 0, entry);
    this.entries = kept;
  }

  /** Replaces a field by others: one line for each thing that changes. */
  replace(old: TreeEntry, name: string, value: TreeNode, what = `became ${name}`): void {
    this.take(old.key);
    this.put(name, value, old);
    this.changed(old, what);
  }

  /** Adds to a list field, which may hold one value where a list is due. */
  append(name: string, items: readonly TreeNode[], old: TreeEntry): void {
    const present = this.entry(name);
    const before =
      present === undefined ? [] : present.value.kind === 'sequence' ? present.value.items : [present.value];
    this.put(name, new TreeSequence([...before, ...items], old.source, old.keyStart, old.keyEnd), present ?? old);
  }

  /** Adds entries to a message field, not over those that it has. */
  merge(name: string, entries: readonly TreeEntry[], old: TreeEntry): void {
    const present = this.entry(name);
    const before = present?.value.kind === 'mapping' ? present.value.entries : [];
    const added = entries.filter((entry) => !before.some((other) => other.key === entry.key));
    const place = present?.value ?? placeOf(old);
    this.put(name, new TreeMapping([...before, ...added], place.source, place.start, place.end), present ?? old);
  }

  /** An edit of a message within this one, for rules that depend on where it stands. */
  inside(entry: TreeEntry): MessageEdit {
    const mapping = entry.value as TreeMapping;
    return new MessageEdit(this.desc, mapping, this.pathOf(entry.key), this, this.state, (name) => name !== 'config');
  }

  /** Takes over what {@link inside} made of an entry. */
  keep(entry: TreeEntry, inside: MessageEdit): void {
    const { mapping } = inside;
    if (inside.entries === mapping.entries) return;
    this.put(entry.key, new TreeMapping(inside.entries, mapping.source, mapping.start, mapping.end), entry);
  }

  enclosing(typeName: string): MessageEdit | undefined {
    for (let edit = this.parent; edit !== undefined; edit = edit.parent)
      if (edit.desc.typeName === typeName) return edit;
    return undefined;
  }

  changed(at: TreeEntry, what: string): void {
    this.state.changed(at, this.pathOf(at.key), `${at.key}: ${what}`, !this.#known(at.key));
  }

  /** An error in place of the field: it is taken out, so that it is told once. */
  refuse(at: TreeEntry, reason: string, hint: string): void {
    this.entries = this.entries.filter((entry) => entry !== at);
    this.state.refused(at, this.pathOf(at.key), reason, hint);
  }

  pathOf(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }
}

function jsonName(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function placeOf(at: TreeEntry | Place): Place {
  return at instanceof TreeEntry ? { source: at.source, start: at.keyStart, end: at.keyEnd } : at;
}

export function isNull(node: TreeNode): boolean {
  return node.kind === 'scalar' && node.form === 'null';
}

/** `yes`, `1` and the like are read as the loader does. */
export function isTrue(node: TreeNode | undefined): boolean {
  return node?.kind === 'scalar' && /^(true|t|yes|y|1)$/i.test(node.text);
}

export function textNode(text: string, at: TreeEntry | Place): TreeScalar {
  const { source, start, end } = placeOf(at);
  return new TreeScalar('string', text, source, start, end);
}

export function numberNode(value: number, at: TreeEntry | Place): TreeScalar {
  const { source, start, end } = placeOf(at);
  return new TreeScalar('number', String(value), source, start, end);
}

export function boolNode(value: boolean, at: TreeEntry | Place): TreeScalar {
  const { source, start, end } = placeOf(at);
  return new TreeScalar('bool', String(value), source, start, end);
}

export function listNode(items: TreeNode[], at: TreeEntry | Place): TreeSequence {
  const { source, start, end } = placeOf(at);
  return new TreeSequence(items, source, start, end);
}

/** A mapping made of names and values; what is undefined is left out. */
export function mapNode(fields: Readonly<Record<string, TreeNode | undefined>>, at: TreeEntry | Place): TreeMapping {
  const { source, start, end } = placeOf(at);
  const entries: TreeEntry[] = [];
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) entries.push(new TreeEntry(key, value, source, start, end));
  }
  return new TreeMapping(entries, source, start, end);
}

/** A configuration as an Any: `@type` before what the (perhaps absent) mapping holds. */
export function anyNode(typeName: string, config: TreeNode | undefined, at: TreeEntry | Place): TreeMapping {
  const { source, start, end } = placeOf(at);
  const type = new TreeEntry('@type', textNode(`type.googleapis.com/${typeName}`, at), source, start, end);
  if (config?.kind !== 'mapping') return new TreeMapping([type], source, start, end);
  return new TreeMapping([type, ...config.entries], config.source, config.start, config.end);
}

/** The items of a list field, which may hold one value where a list is due. */
export function itemsOf(node: TreeNode | undefined): readonly TreeNode[] {
  if (node === undefined || isNull(node)) return [];
  return node.kind === 'sequence' ? node.items : [node];
}
