/**
 * The upgrade from v2 to v3: a walk over a tree along the descriptors of v3. Whatever v3 knows is kept as it stands; what it
 * does not know is done by the rules of its message, or by the field number where v3 kept that under another name.
 */
import type { DescEnum, DescField, DescMessage } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { type ConfigError, configError } from '../diagnostics/config-error.ts';
import type { TreeRewrite } from '../load/load-config.ts';
import { TreeEntry, TreeMapping, type TreeNode, TreeScalar, TreeSequence } from '../load/tree.ts';
import { hasOwnForm, TYPED_STRUCTS } from '../load/well-known-types.ts';
import { BOOTSTRAP_RULES } from './bootstrap-rules.ts';
import { CLUSTER_RULES } from './cluster-rules.ts';
import { FILTER_RULES } from './filter-rules.ts';
import { LISTENER_RULES } from './listener-rules.ts';
import { MessageEdit, textNode, type UpgradeState } from './message-edit.ts';
import { ROUTE_RULES } from './route-rules.ts';
import { isV2Name, mentionsV2Type, V3Types } from './v3-types.ts';

/** Works on one message: takes what v2 has, puts what v3 has. By the full name of the v3 message. */
export type Rule = (edit: MessageEdit) => void;

const RULES: ReadonlyMap<string, Rule> = new Map([
  ...BOOTSTRAP_RULES,
  ...CLUSTER_RULES,
  ...LISTENER_RULES,
  ...ROUTE_RULES,
  ...FILTER_RULES,
]);

export interface Upgraded {
  /** The tree given when it has nothing of v2. */
  readonly tree: TreeNode;
  readonly errors: readonly ConfigError[];
  /** One for each thing that was upgraded. */
  readonly warnings: readonly ConfigError[];
}

/** The loader's hook that upgrades files of v2 to messages of `desc`. */
export function v2Rewrite(api: ApiRegistry, desc: DescMessage): TreeRewrite {
  return {
    suspects: mentionsV2Type,
    rewrite(tree, errors, warnings) {
      const upgraded = upgradeTree(tree, api, desc);
      errors.push(...upgraded.errors);
      warnings.push(...upgraded.warnings);
      return upgraded.tree;
    },
  };
}

/** Upgrades a tree; one that has nothing of v2 comes back as it is, without warnings. */
export function upgradeTree(tree: TreeNode, api: ApiRegistry, desc: DescMessage): Upgraded {
  const upgrade = new TreeUpgrade(api);
  const result = upgrade.message(tree, desc, '', undefined);
  if (!upgrade.evidence) return { tree, errors: [], warnings: [] };
  return { tree: result, errors: upgrade.errors, warnings: upgrade.warnings };
}

class TreeUpgrade implements UpgradeState {
  readonly errors: ConfigError[] = [];
  readonly warnings: ConfigError[] = [];
  evidence = false;
  tracingProvider: TreeNode | undefined = undefined;
  readonly #types: V3Types;
  readonly #done = new Map<TreeNode, Map<string, TreeNode>>();

  constructor(api: ApiRegistry) {
    this.#types = new V3Types(api);
  }

  changed(at: TreeEntry | TreeNode, path: string, what: string, evidence: boolean): void {
    if (evidence) this.evidence = true;
    this.warnings.push(configError('warning', path, `version 2 of the API: ${what}`, undefined, place(at)));
  }

  refused(at: TreeEntry | TreeNode, path: string, reason: string, hint: string): void {
    this.evidence = true;
    this.errors.push(configError('error', path, `version 2 of the API: ${reason}`, hint, place(at)));
  }

  message(node: TreeNode, desc: DescMessage, path: string, parent: MessageEdit | undefined): TreeNode {
    if (node.kind !== 'mapping') return node;
    if (desc.typeName === 'google.protobuf.Any') return this.#any(node, path, parent);
    if (desc.typeName.startsWith('google.protobuf.')) return node;
    return this.#once(node, desc, parent, () => this.#message(node, desc, path, parent));
  }

  /** What several aliases point to is upgraded once for each type that it is used as. */
  #once(node: TreeNode, desc: DescMessage, parent: MessageEdit | undefined, make: () => TreeNode): TreeNode {
    const key = `${desc.typeName} ${parent?.desc.typeName}`;
    let known = this.#done.get(node);
    if (known === undefined) {
      known = new Map();
      this.#done.set(node, known);
    }
    let made = known.get(key);
    if (made === undefined) {
      made = make();
      known.set(key, made);
    }
    return made;
  }

  #message(node: TreeMapping, desc: DescMessage, path: string, parent: MessageEdit | undefined): TreeNode {
    const types = this.#types;
    const known = (name: string): boolean => types.field(desc, name) !== undefined;
    const edit = new MessageEdit(desc, node, path, parent, this, known);
    RULES.get(desc.typeName)?.(edit);
    this.#versions(edit);
    const entries: TreeEntry[] = [];
    for (const entry of edit.entries) {
      const made = this.#entry(entry, edit);
      if (made !== undefined) entries.push(made);
    }
    for (const entry of edit.late) if (!entries.some((other) => other.key === entry.key)) entries.push(entry);
    if (entries.length === node.entries.length && entries.every((entry, i) => entry === node.entries[i])) return node;
    return new TreeMapping(entries, node.source, node.start, node.end);
  }

  /** v3 must be asked for by name wherever a server is spoken to: Envoy 1.40 has no other. */
  #versions(edit: MessageEdit): void {
    for (const name of ['transport_api_version', 'resource_api_version']) {
      if (this.#types.field(edit.desc, name)?.enum === undefined) continue;
      const old = edit.entry(name);
      if (old !== undefined && old.value.kind === 'scalar' && !/^(AUTO|V2|0|1)$/i.test(old.value.text)) continue;
      edit.take(name);
      const at = old ?? edit.entries[0];
      edit.put(name, textNode('V3', old ?? edit.mapping), at);
      this.changed(old ?? edit.mapping, edit.pathOf(name), `${name} became V3: the server must speak version 3`, false);
    }
  }

  #entry(entry: TreeEntry, edit: MessageEdit): TreeEntry | undefined {
    const { desc } = edit;
    const types = this.#types;
    let field = types.field(desc, entry.key);
    let key = entry.key;
    let old: DescField | undefined;
    if (field === undefined) {
      const previous = types.previous(desc);
      old = previous === undefined ? undefined : types.field(previous, entry.key);
      if (old === undefined) return entry;
      field = types.fieldByNumber(desc, old.number);
      if (field === undefined) {
        edit.refuse(entry, `${old.parent.name}.${old.name} has no equivalent in version 3`, 'remove it');
        return undefined;
      }
      key = field.name;
      edit.changed(entry, `became ${key}`);
    }
    const value = this.#value(entry.value, field, edit.pathOf(key), edit);
    if (value === entry.value && key === entry.key) return entry;
    return new TreeEntry(key, value, entry.source, entry.keyStart, entry.keyEnd);
  }

  #value(node: TreeNode, field: DescField, path: string, edit: MessageEdit): TreeNode {
    const single = (item: TreeNode, itemPath: string): TreeNode => {
      if (field.message !== undefined) return this.message(item, field.message, itemPath, edit);
      return field.enum === undefined ? item : this.#enum(item, field.enum, field, itemPath, edit);
    };
    if (field.fieldKind === 'map') {
      if (node.kind !== 'mapping') return node;
      let changed = false;
      const entries = node.entries.map((entry) => {
        const value = single(entry.value, `${path}[${JSON.stringify(entry.key)}]`);
        if (value === entry.value) return entry;
        changed = true;
        return new TreeEntry(entry.key, value, entry.source, entry.keyStart, entry.keyEnd);
      });
      return changed ? new TreeMapping(entries, node.source, node.start, node.end) : node;
    }
    if (field.fieldKind !== 'list') return single(node, path);
    if (node.kind !== 'sequence') return single(node, `${path}[0]`);
    let changed = false;
    const items = node.items.map((item, i) => {
      const made = single(item, `${path}[${i}]`);
      changed ||= made !== item;
      return made;
    });
    return changed ? new TreeSequence(items, node.source, node.start, node.end) : node;
  }

  #enum(node: TreeNode, desc: DescEnum, field: DescField, path: string, edit: MessageEdit): TreeNode {
    if (node.kind !== 'scalar' || node.form !== 'string') return node;
    const name = node.text.toUpperCase();
    if (desc.values.some((value) => value.name === name)) return node;
    const before = this.#types.previous(field.parent);
    const old = before === undefined ? undefined : this.#types.fieldByNumber(before, field.number);
    const value = old?.enum?.values.find((candidate) => candidate.name === name);
    if (value === undefined) return node;
    const successor = desc.values.find((candidate) => candidate.number === value.number);
    if (successor === undefined || successor.name.includes('DEPRECATED_AND_UNAVAILABLE')) {
      this.refused(node, path, `${field.name}: ${name} has no equivalent in version 3`, edit.desc.typeName);
      return node;
    }
    this.changed(node, path, `${field.name}: ${name} became ${successor.name}`, true);
    return new TreeScalar('string', successor.name, node.source, node.start, node.end);
  }

  #any(node: TreeMapping, path: string, parent: MessageEdit | undefined): TreeNode {
    const at = node.entry('@type');
    if (at === undefined || at.value.kind !== 'scalar') return node;
    const url = at.value.text;
    const slash = url.lastIndexOf('/');
    const name = url.slice(slash + 1);
    const { desc, changed } = this.#successor(name, at.value, `${path}["@type"]`);
    if (desc === undefined) return node;
    let entries: readonly TreeEntry[] = node.entries;
    if (changed) {
      const { source, start, end } = at.value;
      const type = new TreeScalar('string', url.slice(0, slash + 1) + desc.typeName, source, start, end);
      entries = entries.map((entry) =>
        entry === at ? new TreeEntry(entry.key, type, entry.source, entry.keyStart, entry.keyEnd) : entry,
      );
    }
    if (TYPED_STRUCTS.has(desc.typeName)) return this.#typedStruct(node, entries, path, parent);
    if (hasOwnForm(desc.typeName)) return node;
    const type = entries.find((entry) => entry.key === '@type')!;
    const inside = new TreeMapping(
      entries.filter((entry) => entry !== type),
      node.source,
      node.start,
      node.end,
    );
    const made = this.message(inside, desc, path, parent);
    if (made === inside && !changed) return node;
    const rest = made.kind === 'mapping' ? made.entries : [];
    return new TreeMapping([type, ...rest], node.source, node.start, node.end);
  }

  /** `{"@type": ...TypedStruct, type_url, value}`. */
  #typedStruct(
    node: TreeMapping,
    before: readonly TreeEntry[],
    path: string,
    parent: MessageEdit | undefined,
  ): TreeNode {
    const urlEntry = node.entry('type_url') ?? node.entry('typeUrl');
    if (urlEntry === undefined || urlEntry.value.kind !== 'scalar') return node;
    const url = urlEntry.value.text;
    const slash = url.lastIndexOf('/');
    const { desc, changed } = this.#successor(url.slice(slash + 1), urlEntry.value, `${path}.type_url`);
    if (desc === undefined) return node;
    const entries = before.map((entry) => {
      let value = entry.value;
      if (entry === urlEntry && changed) value = textNode(url.slice(0, slash + 1) + desc.typeName, entry.value);
      else if (entry.key === 'value') value = this.message(value, desc, `${path}.value`, parent);
      if (value === entry.value) return entry;
      return new TreeEntry(entry.key, value, entry.source, entry.keyStart, entry.keyEnd);
    });
    if (entries.every((entry, i) => entry === node.entries[i])) return node;
    return new TreeMapping(entries, node.source, node.start, node.end);
  }

  #successor(
    name: string,
    at: TreeNode,
    path: string,
  ): { readonly desc: DescMessage | undefined; readonly changed: boolean } {
    if (!isV2Name(name)) return { desc: this.#types.api.message(name), changed: false };
    const desc = this.#types.successor(name);
    if (desc !== undefined) this.changed(at, path, `type ${name} became ${desc.typeName}`, true);
    else if (this.#types.api.message(name) !== undefined) {
      this.refused(at, path, `type ${name} has no equivalent in version 3`, 'remove the extension');
    }
    return { desc, changed: desc !== undefined };
  }
}

function place(at: TreeEntry | TreeNode): { source: TreeNode['source']; start: number; end: number } {
  return at instanceof TreeEntry ? { source: at.source, start: at.keyStart, end: at.keyEnd } : at;
}
