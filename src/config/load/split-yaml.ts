/**
 * Finds the items of one list in a YAML text by their indentation alone, so that they can be read a few at a time. It knows only
 * the plain form (keys on lines of their own, items in block style); of all else it says null. What it finds is a guess until the
 * rest of the text has been read: there the list's key must stand where it was found, with nothing behind it.
 */
import { SourceFile } from '../diagnostics/source-file.ts';
import { checkTreeSize, type TreeMapping, type TreeNode } from './tree.ts';
import { parseYaml } from './yaml-tree.ts';

/** A text without the items of one list, and those. */
export interface SplitTree {
  readonly rest: TreeMapping;
  /** In order; null, and nothing after it: the text must be read as a whole. Positions of the nodes mean nothing. */
  items(): Iterable<TreeNode | null>;
}

/** Items are read in groups of about this many characters: the parser has a price for each call, and one for what it holds (4 kB cost a third less than 64). */
const GROUP_CHARS = 4 * 1024;

interface Group {
  readonly start: number;
  readonly end: number;
  readonly items: number;
}

interface FoundList {
  /** Where its key stands. */
  readonly keyAt: number;
  readonly start: number;
  readonly end: number;
  readonly groups: readonly Group[];
}

export function splitYaml(source: SourceFile, path: readonly string[]): SplitTree | null {
  const { text } = source;
  const found = findList(text, path);
  if (found === null) return null;
  // Behind the list, an alias stands for the latest anchor of its name: that may be one of an item, though there is another before.
  if (hasMark(text.slice(found.start, found.end), '&') && hasMark(text.slice(found.end), '*')) return null;
  const rest = parseYaml(new SourceFile(source.name, text.slice(0, found.start) + text.slice(found.end)));
  const { tree } = rest;
  if (tree?.kind !== 'mapping' || rest.warnings.length > 0 || checkTreeSize(tree) !== undefined) return null;
  if (!isEmptyAt(tree, path, found.keyAt)) return null;
  return { rest: tree, items: () => itemsOf(source, found.groups, path.length) };
}

function isEmptyAt(root: TreeMapping, path: readonly string[], keyAt: number): boolean {
  let mapping = root;
  for (const name of path.slice(0, -1)) {
    const inner = mapping.get(name);
    if (inner?.kind !== 'mapping') return false;
    mapping = inner;
  }
  const entry = mapping.entry(path.at(-1) ?? '');
  return entry?.keyStart === keyAt && entry.value.kind === 'scalar' && entry.value.form === 'null';
}

function* itemsOf(source: SourceFile, groups: readonly Group[], level: number): Generator<TreeNode | null> {
  for (const { start, end, items } of groups) {
    const text = source.text.slice(start, end);
    // What an alias stands for may lie elsewhere, and is counted over the whole text.
    const mayHaveAliases = hasMark(text, '&') && hasMark(text, '*');
    const parsed = mayHaveAliases ? null : parseYaml(new SourceFile(source.name, text));
    const tree = parsed?.tree;
    if (
      tree?.kind !== 'sequence' ||
      tree.items.length !== items ||
      parsed?.warnings.length !== 0 ||
      checkTreeSize(tree, level) !== undefined
    ) {
      yield null;
      return;
    }
    yield* tree.items;
  }
}

const BEFORE_MARK = /[\s,[{:]/;

/** Whether there may be an anchor (`&`) or an alias (`*`): either begins behind a space or an indicator. */
function hasMark(text: string, mark: '&' | '*'): boolean {
  for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) {
    if (at === 0 || BEFORE_MARK.test(text[at - 1]!)) return true;
  }
  return false;
}

/** One line after the other, by what they begin with. */
class Lines {
  readonly text: string;
  /** Offset of the present line, and of the next one. */
  start = 0;
  next = 0;
  indent = 0;
  /** Of the first character behind the indentation; -1: the line is blank or a comment. */
  first = -1;

  constructor(text: string) {
    this.text = text;
  }

  /** @returns false at the end of the text */
  step(): boolean {
    const { text } = this;
    if (this.next >= text.length) return false;
    this.start = this.next;
    let at = this.start;
    while (text.charCodeAt(at) === 0x20) at++;
    this.indent = at - this.start;
    const code = text.charCodeAt(at);
    this.first = Number.isNaN(code) || code === 0x0a || code === 0x0d || code === 0x23 ? -1 : code;
    const end = text.indexOf('\n', at);
    this.next = end < 0 ? text.length : end + 1;
    return true;
  }

  get contentAt(): number {
    return this.start + this.indent;
  }

  /** Whether the line is an item's first one. */
  get isItem(): boolean {
    const behind = this.text.charCodeAt(this.contentAt + 1);
    return this.first === 0x2d && (Number.isNaN(behind) || behind === 0x20 || behind === 0x0a || behind === 0x0d);
  }
}

const TAB = 0x09;
const PERCENT = 0x25;

function findList(text: string, path: readonly string[]): FoundList | null {
  const lines = new Lines(text);
  let keyIndent = -1;
  let keyAt = 0;
  for (const name of path) {
    const at = findKey(lines, name, keyIndent);
    if (at < 0) return null;
    keyIndent = lines.indent;
    keyAt = at;
  }
  while (lines.step()) if (lines.first >= 0) break;
  if (lines.first < 0 || !lines.isItem || lines.indent < keyIndent) return null;
  const itemIndent = lines.indent;
  const { start } = lines;
  const groups: Group[] = [];
  let groupStart = start;
  let items = 1;
  let end = text.length;
  while (lines.step()) {
    if (lines.first < 0 || lines.indent > itemIndent) {
      if (lines.first === TAB) return null;
      continue;
    }
    if (lines.indent < itemIndent || !lines.isItem) {
      end = lines.start;
      break;
    }
    if (lines.start - groupStart >= GROUP_CHARS) {
      groups.push({ start: groupStart, end: lines.start, items });
      groupStart = lines.start;
      items = 0;
    }
    items++;
  }
  groups.push({ start: groupStart, end, items });
  return { keyAt, start, end, groups };
}

/** Steps to the line that holds nothing but the key, among those right below the present one. @returns its place; -1: there is no such line */
function findKey(lines: Lines, name: string, parentIndent: number): number {
  let indent = parentIndent < 0 ? 0 : -1;
  while (lines.step()) {
    const { first } = lines;
    if (first < 0) continue;
    if (first === TAB || first === PERCENT || lines.indent <= parentIndent) return -1;
    if (indent < 0) indent = lines.indent;
    if (lines.indent < indent) return -1;
    if (lines.indent > indent || !lines.text.startsWith(name, lines.contentAt)) continue;
    const behind = lines.text.slice(lines.contentAt + name.length, lines.next);
    if (/^:[ ]*(?:#.*)?\r?\n?$/.test(behind)) return lines.contentAt;
    // Another key that begins alike, or the key in a form that is not known here.
    if (/^["']?\s*:/.test(behind)) return -1;
  }
  return -1;
}
