/**
 * YAML to a tree, with the scalars that Envoy's reader (yaml-cpp, then its own conversion) sees rather than those of
 * YAML 1.2: `yes` is a bool, `0x10` and `010` are integers, `1.5` stays text until a field wants a number. Only the
 * first document counts. Merge keys (`<<`) are not merged, as in Envoy.
 */
import { Composer, type Document, isAlias, isMap, isPair, isScalar, isSeq, type Node, Parser, type Scalar } from 'yaml';
import { type ConfigError, configError } from '../diagnostics/config-error.ts';
import type { SourceFile } from '../diagnostics/source-file.ts';
import { MAX_DEPTH, TreeEntry, TreeMapping, type TreeNode, TreeScalar, TreeSequence } from './tree.ts';

export interface ParsedTree {
  /** Absent when there are errors. */
  readonly tree: TreeNode | undefined;
  readonly errors: ConfigError[];
  readonly warnings: ConfigError[];
}

const TRUE_WORDS = new Set(['y', 'yes', 'true', 'on']);
const FALSE_WORDS = new Set(['n', 'no', 'false', 'off']);
const NULL_WORDS = new Set(['', '~', 'null', 'Null', 'NULL']);
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

export function parseYaml(source: SourceFile): ParsedTree {
  const reader = new YamlReader(source);
  let tree: TreeNode | undefined;
  try {
    const deep = openCollections(source.text);
    if (deep >= 0) reader.error(`nested more than ${MAX_DEPTH} levels deep`, deep, deep + 1);
    else tree = reader.read();
  } catch (thrown) {
    // The parser recurses: an input that gets past the check above may still exhaust the stack.
    reader.error(`cannot be parsed: ${thrown instanceof Error ? thrown.message : String(thrown)}`, 0, 0);
  }
  return { tree: reader.errors.length > 0 ? undefined : tree, errors: reader.errors, warnings: reader.warnings };
}

class YamlReader {
  readonly errors: ConfigError[] = [];
  readonly warnings: ConfigError[] = [];
  readonly #source: SourceFile;
  readonly #anchors = new Map<string, TreeNode | null>();

  constructor(source: SourceFile) {
    this.#source = source;
  }

  read(): TreeNode | undefined {
    const document = firstDocument(this.#source.text);
    for (const fault of document?.errors ?? []) {
      this.error(`not valid YAML: ${fault.message}`, fault.pos[0], fault.pos[1], yamlHint(fault.code));
    }
    if (this.errors.length > 0) return undefined;
    const contents = document?.contents ?? null;
    return contents === null ? undefined : this.#node(contents, 0);
  }

  error(reason: string, start: number, end: number, hint?: string): void {
    this.errors.push(configError('error', '', reason, hint, { source: this.#source, start, end }));
  }

  #node(node: Node, level: number): TreeNode {
    const start = node.range?.[0] ?? 0;
    const end = node.range?.[1] ?? start;
    const source = this.#source;
    if (level > MAX_DEPTH) {
      this.error(`nested more than ${MAX_DEPTH} levels deep`, start, end);
      return new TreeScalar('null', '', source, start, end);
    }
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target !== undefined && target !== null) return target;
      const reason =
        target === null
          ? `the alias *${node.source} stands inside its own anchor`
          : `no anchor &${node.source} stands before this alias`;
      this.error(reason, start, end);
      return new TreeScalar('null', '', source, start, end);
    }
    const anchor = 'anchor' in node && typeof node.anchor === 'string' ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, null);
    const made = this.#value(node, level, start, end);
    if (anchor !== undefined) this.#anchors.set(anchor, made);
    return made;
  }

  #value(node: Node, level: number, start: number, end: number): TreeNode {
    const source = this.#source;
    if (isScalar(node)) return scalar(node, source, start, end);
    if (isSeq(node)) {
      const items: TreeNode[] = [];
      for (const item of node.items) {
        // `[a: b]` holds a pair where an item is due: a mapping of one entry.
        if (isPair(item)) items.push(this.#mapping([item], level + 1, start, end));
        else items.push(this.#node(item as Node, level + 1));
      }
      return new TreeSequence(items, source, start, end);
    }
    if (isMap(node)) return this.#mapping(node.items, level, start, end);
    this.error('not a value', start, end);
    return new TreeScalar('null', '', source, start, end);
  }

  #mapping(
    pairs: readonly { readonly key: unknown; readonly value: unknown }[],
    level: number,
    start: number,
    end: number,
  ): TreeMapping {
    const source = this.#source;
    const entries: TreeEntry[] = [];
    const places = new Map<string, number>();
    for (const pair of pairs) {
      const keyNode = pair.key as Node | null;
      const keyStart = keyNode?.range?.[0] ?? start;
      const keyEnd = keyNode?.range?.[1] ?? keyStart;
      let key: string;
      if (keyNode === null) key = 'null';
      else if (isScalar(keyNode)) key = keyText(keyNode);
      else if (isAlias(keyNode)) {
        const target = this.#node(keyNode, level + 1);
        if (target.kind !== 'scalar') this.error('a key must be a single value', keyStart, keyEnd);
        key = target.kind === 'scalar' ? target.text : '';
      } else {
        this.error('a key must be a single value', keyStart, keyEnd);
        continue;
      }
      if (keyNode !== null && 'anchor' in keyNode && typeof keyNode.anchor === 'string') {
        this.#anchors.set(keyNode.anchor, new TreeScalar('string', key, source, keyStart, keyEnd));
      }
      const value =
        pair.value === null || pair.value === undefined
          ? new TreeScalar('null', '', source, keyStart, keyEnd)
          : this.#node(pair.value as Node, level + 1);
      // Envoy's marker for parts that exist only to be anchored.
      if (keyNode !== null && isScalar(keyNode) && keyNode.tag === '!ignore') continue;
      const entry = new TreeEntry(key, value, source, keyStart, keyEnd);
      const before = places.get(key);
      if (before === undefined) {
        places.set(key, entries.length);
        entries.push(entry);
      } else {
        const first = entries[before]!;
        this.warnings.push(
          configError(
            'warning',
            '',
            `the key "${key}" is written twice; the value at line ${source.position(first.keyStart).line} is ignored`,
            undefined,
            { source, start: keyStart, end: keyEnd },
          ),
        );
        entries[before] = entry;
      }
    }
    return new TreeMapping(entries, source, start, end);
  }
}

function firstDocument(text: string): Document.Parsed | undefined {
  const document = composed(text, new Parser());
  if (document?.errors.some(({ code }) => code === 'BAD_INDENT') !== true) return document;
  const lenient = composed(text, lenientParser());
  return lenient?.errors.length === 0 ? lenient : document;
}

function composed(text: string, parser: Parser): Document.Parsed | undefined {
  const composer = new Composer({ schema: 'failsafe', uniqueKeys: false, resolveKnownTags: false, stringKeys: false });
  for (const document of composer.compose(parser.parse(text), true, text.length)) return document;
  return undefined;
}

/** The parts of a lexer that know of indentation. The package offers no setting for it. */
interface FlowLexer {
  indentNext: number;
  parseFlowCollection(): Generator<string, unknown>;
}

/**
 * Between brackets, lines may begin at any column: YAML wants them deeper than the key that the bracket belongs to, yaml-cpp and
 * so Envoy do not.
 */
function lenientParser(): Parser {
  const parser = new Parser();
  const { lexer } = parser as unknown as { readonly lexer: FlowLexer };
  const strict = lexer.parseFlowCollection.bind(lexer);
  lexer.parseFlowCollection = function* () {
    const { indentNext } = lexer;
    lexer.indentNext = 0;
    try {
      return yield* strict();
    } finally {
      lexer.indentNext = indentNext;
    }
  };
  return parser;
}

function isPlain(node: Scalar): boolean {
  return (node.type === undefined || node.type === 'PLAIN') && node.tag !== '!';
}

/** yaml-cpp looks into quoted text too when a tag such as `!!int` stands before it. */
function isTagged(node: Scalar): boolean {
  return node.tag !== undefined && node.tag !== '!' && node.tag !== 'tag:yaml.org,2002:str';
}

function keyText(node: Scalar): string {
  const text = String(node.value ?? '');
  return isPlain(node) && NULL_WORDS.has(text) ? 'null' : text;
}

function scalar(node: Scalar, source: SourceFile, start: number, end: number): TreeScalar {
  const text = node.value === null || node.value === undefined ? '' : String(node.value);
  if (!isPlain(node) && !isTagged(node)) return new TreeScalar('string', text, source, start, end);
  if (isPlain(node) && NULL_WORDS.has(text)) return new TreeScalar('null', '', source, start, end);
  const bool = boolWord(text);
  if (bool !== undefined) return new TreeScalar('bool', bool ? 'true' : 'false', source, start, end);
  const integer = yamlInteger(text);
  if (integer !== undefined) {
    // Envoy hands larger integers on as text, which matters inside a Struct.
    const small = integer >= -2147483648n && integer <= 2147483647n;
    return new TreeScalar(small ? 'number' : 'string', integer.toString(), source, start, end);
  }
  return new TreeScalar('string', text, source, start, end);
}

/** yaml-cpp's words, each in lower case, capitalised or in upper case. */
function boolWord(text: string): boolean | undefined {
  if (text.length > 5 || text.length === 0) return undefined;
  const lower = text.toLowerCase();
  if (text !== lower && text !== text.toUpperCase() && text !== (lower[0] ?? '').toUpperCase() + lower.slice(1)) {
    return undefined;
  }
  if (TRUE_WORDS.has(lower)) return true;
  return FALSE_WORDS.has(lower) ? false : undefined;
}

/** What C++'s stream extraction with automatic base reads: decimal, `0x` hexadecimal, leading-zero octal. */
function yamlInteger(text: string): bigint | undefined {
  const match = /^([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))$/.exec(text);
  if (match === null) return undefined;
  let value: bigint;
  if (match[2] !== undefined) value = BigInt(`0x${match[2]}`);
  else if (match[3] !== undefined) value = match[3] === '0' ? 0n : BigInt(`0o${match[3]}`);
  else value = BigInt(match[4] ?? '0');
  if (match[1] === '-') value = -value;
  return value > INT64_MAX || value < INT64_MIN ? undefined : value;
}

function yamlHint(code: string): string | undefined {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'indent with spaces';
    case 'BAD_SCALAR_START':
      return 'put the value in quotes';
    case 'BAD_ALIAS':
      return 'a * begins an alias: put the value in quotes';
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'BAD_INDENT':
      return 'is the indentation right? what belongs to a key stands deeper than it';
    default:
      return undefined;
  }
}

/**
 * The offset of the bracket that opens one level too many, or -1: the parser recurses once per level. Brackets in quoted
 * or plain text count too, so the limit is ten times that of the tree.
 */
function openCollections(text: string): number {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5b || code === 0x7b) {
      if (++depth > MAX_DEPTH * 10) return i;
    } else if ((code === 0x5d || code === 0x7d) && depth > 0) depth--;
  }
  return -1;
}
