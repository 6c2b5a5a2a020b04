/**
 * Protobuf text format to a tree: `name { field: value }`, repeated fields by repetition or `[a, b]`, an Any as
 * `[type.googleapis.com/x.Y] { ... }`. A field written more than once becomes a sequence; whether it may be is for the
 * message builder to say.
 */
import { type ConfigError, configError } from '../diagnostics/config-error.ts';
import type { SourceFile } from '../diagnostics/source-file.ts';
import { MAX_DEPTH, TreeEntry, TreeMapping, type TreeNode, TreeScalar, TreeSequence } from './tree.ts';
import type { ParsedTree } from './yaml-tree.ts';

const SPACE = /(?:[ \t\r\n\f\v]+|#[^\n]*)+/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const EXTENSION = /\[\s*([A-Za-z0-9_.\-/%~!$&()*+,;=]+)\s*\]/y;
const NUMBER = /(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![A-Za-z0-9_.])/y;

export function parseTextProto(source: SourceFile): ParsedTree {
  const reader = new TextProtoReader(source);
  const tree = reader.message(0, undefined, 0);
  return reader.fault === undefined
    ? { tree, errors: [], warnings: [] }
    : { tree: undefined, errors: [reader.fault], warnings: [] };
}

class TextProtoReader {
  fault: ConfigError | undefined = undefined;
  readonly #source: SourceFile;
  readonly #text: string;
  #at = 0;

  constructor(source: SourceFile) {
    this.#source = source;
    this.#text = source.text;
  }

  #fail(reason: string, at: number = this.#at): TreeScalar {
    this.fault ??= configError('error', '', `not valid protobuf text: ${reason}`, undefined, {
      source: this.#source,
      start: at,
      end: at + 1,
    });
    this.#at = this.#text.length;
    return new TreeScalar('null', '', this.#source, at, at);
  }

  #space(): void {
    this.#match(SPACE);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match !== null) this.#at += match[0].length;
    return match;
  }

  #take(character: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  /** Fields up to the closing bracket, or to the end of the text when there is none. */
  message(start: number, closing: string | undefined, level: number): TreeMapping {
    const fields = new Map<string, TreeEntry>();
    const lists = new Set<string>();
    for (;;) {
      this.#space();
      if (closing === undefined ? this.#at >= this.#text.length : this.#take(closing)) break;
      if (this.#at >= this.#text.length) {
        this.#fail(`the ${closing} that closes this message is missing`, start);
        break;
      }
      const keyStart = this.#at;
      const type = this.#match(EXTENSION)?.[1];
      const name = type === undefined ? this.#match(NAME)?.[0] : '@type';
      if (name === undefined) {
        this.#fail('a field name is due here', keyStart);
        break;
      }
      const keyEnd = this.#at;
      const colon = this.#take(':');
      this.#space();
      if (type !== undefined) {
        this.#expandedAny(type, keyStart, keyEnd, fields, level);
      } else {
        if (!colon && !/[{<[]/.test(this.#text[this.#at] ?? '')) this.#fail('a colon is due here');
        const value = this.#value(level);
        this.#add(fields, lists, new TreeEntry(name, value, this.#source, keyStart, keyEnd));
      }
      if (this.fault !== undefined) break;
      if (!this.#take(',')) this.#take(';');
    }
    return new TreeMapping([...fields.values()], this.#source, start, this.#at);
  }

  #add(fields: Map<string, TreeEntry>, lists: Set<string>, entry: TreeEntry): void {
    const before = fields.get(entry.key);
    if (before === undefined) {
      fields.set(entry.key, entry);
      return;
    }
    let list = before.value;
    if (!lists.has(entry.key) || list.kind !== 'sequence') {
      list = new TreeSequence(list.kind === 'sequence' ? [...list.items] : [list], this.#source, list.start, list.end);
      fields.set(entry.key, new TreeEntry(before.key, list, before.source, before.keyStart, before.keyEnd));
      lists.add(entry.key);
    }
    if (entry.value.kind === 'sequence') for (const item of entry.value.items) list.items.push(item);
    else list.items.push(entry.value);
  }

  #expandedAny(type: string, keyStart: number, keyEnd: number, fields: Map<string, TreeEntry>, level: number): void {
    const inner = this.#value(level);
    if (inner.kind !== 'mapping') {
      this.#fail('a message is due after a type URL in brackets', keyStart);
      return;
    }
    if (fields.size > 0) this.#fail('a type URL in brackets must stand alone in its message', keyStart);
    const url = new TreeScalar('string', type, this.#source, keyStart, keyEnd);
    fields.set('@type', new TreeEntry('@type', url, this.#source, keyStart, keyEnd));
    for (const entry of inner.entries) fields.set(entry.key, entry);
  }

  #value(level: number): TreeNode {
    this.#space();
    const start = this.#at;
    const open = this.#text[start];
    if (open === '{' || open === '<' || open === '[') {
      if (level >= MAX_DEPTH) return this.#fail(`nested more than ${MAX_DEPTH} levels deep`);
      this.#at++;
      if (open === '[') return this.#list(start, level + 1);
      return this.message(start, open === '{' ? '}' : '>', level + 1);
    }
    if (open === '"' || open === "'") {
      let bytes = '';
      // Adjacent literals are one.
      while (this.#text[this.#at] === '"' || this.#text[this.#at] === "'") {
        bytes += this.#string();
        this.#space();
      }
      return new TreeScalar('string', bytes, this.#source, start, this.#at);
    }
    const negative = this.#take('-');
    this.#space();
    const number = this.#match(NUMBER)?.[0];
    if (number !== undefined) {
      return new TreeScalar('number', (negative ? '-' : '') + plainNumber(number), this.#source, start, this.#at);
    }
    const word = this.#match(NAME)?.[0];
    if (word !== undefined && (!negative || /^(?:inf(?:inity)?|nan)$/i.test(word))) {
      return new TreeScalar('identifier', (negative ? '-' : '') + word, this.#source, start, this.#at);
    }
    return this.#fail('a value is due here', start);
  }

  #list(start: number, level: number): TreeNode {
    const items: TreeNode[] = [];
    if (this.#take(']')) return new TreeSequence(items, this.#source, start, this.#at);
    for (;;) {
      items.push(this.#value(level));
      if (this.fault !== undefined || this.#take(']')) break;
      if (!this.#take(',')) {
        this.#fail('a comma or a closing bracket is due here');
        break;
      }
    }
    return new TreeSequence(items, this.#source, start, this.#at);
  }

  /** Escapes name bytes, which together are UTF-8. */
  #string(): string {
    const text = this.#text;
    const quote = text[this.#at];
    const start = this.#at++;
    let made = '';
    let escapedBytes = false;
    while (this.#at < text.length) {
      const character = text[this.#at++]!;
      if (character === quote) return escapedBytes ? latin1ToUtf8(made) : made;
      if (character === '\n') break;
      if (character !== '\\') {
        made += character;
        continue;
      }
      const match = this.#match(
        /(?:[xX]([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\'"?]))/y,
      );
      if (match === null) {
        this.#fail('not an escape');
        return '';
      }
      if (match[5] !== undefined) made += SIMPLE[match[5]] ?? match[5];
      else if (match[3] !== undefined || match[4] !== undefined) {
        const point = Number.parseInt(match[3] ?? match[4] ?? '', 16);
        if (point > 0x10ffff) {
          this.#fail('not a character');
          return '';
        }
        made += String.fromCodePoint(point);
      } else {
        const byte = match[1] !== undefined ? Number.parseInt(match[1], 16) : Number.parseInt(match[2] ?? '0', 8);
        if (byte > 0x7f) escapedBytes = true;
        made += String.fromCharCode(byte & 0xff);
      }
    }
    this.#fail('the text has no closing quote', start);
    return '';
  }
}

const SIMPLE: Record<string, string> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

function latin1ToUtf8(text: string): string {
  const bytes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code <= 0xff) bytes.push(code);
    else bytes.push(...Buffer.from(character, 'utf8'));
  }
  const decoded = Buffer.from(bytes).toString('utf8');
  // A bytes field may hold anything: what is not UTF-8 stays one character per byte.
  return decoded.includes('\ufffd') ? text : decoded;
}

function plainNumber(text: string): string {
  if (/^0[xX]/.test(text)) return BigInt(text).toString();
  if (/^0[0-7]+$/.test(text)) return BigInt(`0o${text.slice(1)}`).toString();
  return text.replace(/[fF]$/, '');
}
