/**
 * JSON to a tree. As lenient as the reader inside Envoy: names without quotes, single quotes, a comma before the
 * closing bracket and control characters inside text are accepted; comments are not.
 */
import { type ConfigError, configError } from '../diagnostics/config-error.ts';
import type { SourceFile } from '../diagnostics/source-file.ts';
import type { SplitTree } from './split-yaml.ts';
import { MAX_DEPTH, MAX_NODES, TreeEntry, TreeMapping, type TreeNode, TreeScalar, TreeSequence } from './tree.ts';
import type { ParsedTree } from './yaml-tree.ts';

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /[A-Za-z_$][A-Za-z0-9_$]*/y;

export function parseJson(source: SourceFile): ParsedTree {
  const reader = new JsonReader(source);
  const tree = reader.document();
  return reader.fault === undefined
    ? { tree, errors: [], warnings: [] }
    : { tree: undefined, errors: [reader.fault], warnings: [] };
}

/** A text without the items of one list, and those. Null: the list cannot be split off, or there is something to say about the text. */
export function splitJson(source: SourceFile, path: readonly string[]): SplitTree | null {
  // Each value takes two characters at least.
  if (source.text.length / 2 > MAX_NODES) return null;
  const list = new ListToSplit(path);
  const reader = new JsonReader(source, list);
  const rest = reader.document();
  if (reader.fault !== undefined || rest.kind !== 'mapping' || list.places.length === 0) return null;
  return { rest, items: () => itemsOf(source, list.places, path.length + 1) };
}

function* itemsOf(source: SourceFile, places: readonly number[], level: number): Generator<TreeNode | null> {
  for (let i = 0; i < places.length; i += 2) {
    const item = new JsonReader(source).item(places[i]!, places[i + 1]!, level);
    yield item;
    if (item === null) return;
  }
}

/** Takes down where the items of a list stand, while the rest of the text is read. */
class ListToSplit {
  readonly #path: readonly string[];
  /** How many of the names lead to the place that is read. */
  #matched = 0;
  /** Start and end of each item, one behind the other. */
  readonly places: number[] = [];

  constructor(path: readonly string[]) {
    this.#path = path;
  }

  /** A value begins. @returns whether it is the list */
  enter(key: string, level: number): boolean {
    if (this.#matched !== level || key !== this.#path[level]) return false;
    this.#matched++;
    return this.#matched === this.#path.length;
  }

  /** A value of a mapping at this level has ended. */
  leave(level: number): void {
    if (this.#matched > level) this.#matched = level;
  }
}

class JsonReader {
  fault: ConfigError | undefined = undefined;
  readonly #source: SourceFile;
  readonly #text: string;
  readonly #split: ListToSplit | null;
  #at = 0;

  constructor(source: SourceFile, split: ListToSplit | null = null) {
    this.#source = source;
    this.#text = source.text;
    this.#split = split;
  }

  /** The value between two places; null: it is faulty. */
  item(start: number, end: number, level: number): TreeNode | null {
    this.#at = start;
    const value = this.#value(level);
    return this.fault === undefined && this.#at === end ? value : null;
  }

  document(): TreeNode {
    const value = this.#value(0);
    if (this.fault === undefined) {
      this.#space();
      if (this.#at < this.#text.length) this.#fail('text after the end of the JSON value');
    }
    return value;
  }

  #fail(reason: string, at: number = this.#at): TreeScalar {
    // Only the first: what follows is guesswork. The reader runs to the end of the text to stop.
    this.fault ??= configError('error', '', `not valid JSON: ${reason}`, undefined, {
      source: this.#source,
      start: at,
      end: at + 1,
    });
    this.#at = this.#text.length;
    return new TreeScalar('null', '', this.#source, at, at);
  }

  #space(): void {
    const text = this.#text;
    let at = this.#at;
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break;
    }
    this.#at = at;
  }

  #value(level: number): TreeNode {
    this.#space();
    const start = this.#at;
    const text = this.#text;
    if (start >= text.length) return this.#fail('it ends too early');
    const code = text.charCodeAt(start);
    switch (code) {
      case 0x7b:
        return this.#object(level);
      case 0x5b:
        return this.#array(level);
      case 0x22:
      case 0x27:
        return new TreeScalar('string', this.#string(code), this.#source, start, this.#at);
      default: {
        NUMBER.lastIndex = start;
        const number = NUMBER.exec(text)?.[0];
        if (number !== undefined) {
          this.#at = start + number.length;
          if (/[0-9A-Za-z_.]/.test(text[this.#at] ?? '')) return this.#fail('not a number', start);
          return new TreeScalar('number', number, this.#source, start, this.#at);
        }
        const word = this.#word();
        if (word === 'true' || word === 'false') return new TreeScalar('bool', word, this.#source, start, this.#at);
        if (word === 'null') return new TreeScalar('null', '', this.#source, start, this.#at);
        return this.#fail(
          word === undefined ? `unexpected character ${JSON.stringify(text[start])}` : `unexpected word ${word}`,
          start,
        );
      }
    }
  }

  #word(): string | undefined {
    WORD.lastIndex = this.#at;
    const word = WORD.exec(this.#text)?.[0];
    if (word !== undefined) this.#at += word.length;
    return word;
  }

  #object(level: number): TreeNode {
    const start = this.#at;
    if (level >= MAX_DEPTH) return this.#fail(`nested more than ${MAX_DEPTH} levels deep`);
    this.#at++;
    const entries: TreeEntry[] = [];
    for (;;) {
      this.#space();
      const keyStart = this.#at;
      const code = this.#text.charCodeAt(keyStart);
      if (code === 0x7d) {
        this.#at++;
        return new TreeMapping(entries, this.#source, start, this.#at);
      }
      const key = code === 0x22 || code === 0x27 ? this.#string(code) : this.#word();
      if (key === undefined)
        return this.#fail(keyStart >= this.#text.length ? 'it ends too early' : 'a name is due here');
      const keyEnd = this.#at;
      this.#space();
      if (this.#text.charCodeAt(this.#at) !== 0x3a) return this.#fail('a colon is due here');
      this.#at++;
      const isList = this.#split?.enter(key, level) === true;
      entries.push(
        new TreeEntry(
          key,
          isList ? this.#skippedArray(level + 1) : this.#value(level + 1),
          this.#source,
          keyStart,
          keyEnd,
        ),
      );
      this.#split?.leave(level);
      if (this.fault !== undefined || !this.#separator(0x7d)) {
        return new TreeMapping(entries, this.#source, start, this.#at);
      }
    }
  }

  #array(level: number): TreeNode {
    const start = this.#at;
    if (level >= MAX_DEPTH) return this.#fail(`nested more than ${MAX_DEPTH} levels deep`);
    this.#at++;
    const items: TreeNode[] = [];
    for (;;) {
      this.#space();
      if (this.#text.charCodeAt(this.#at) === 0x5d) {
        this.#at++;
        return new TreeSequence(items, this.#source, start, this.#at);
      }
      items.push(this.#value(level + 1));
      if (this.fault !== undefined || !this.#separator(0x5d)) {
        return new TreeSequence(items, this.#source, start, this.#at);
      }
    }
  }

  /** An array of objects without them: where they stand is taken down. */
  #skippedArray(level: number): TreeNode {
    this.#space();
    const text = this.#text;
    const start = this.#at;
    if (text.charCodeAt(start) !== 0x5b) return this.#value(level);
    this.#at++;
    for (;;) {
      this.#space();
      const itemStart = this.#at;
      if (text.charCodeAt(itemStart) === 0x5d) {
        this.#at++;
        return new TreeSequence([], this.#source, start, this.#at);
      }
      if (text.charCodeAt(itemStart) !== 0x7b) return this.#fail('an object is due here');
      this.#at = endOfObject(text, itemStart);
      this.#split?.places.push(itemStart, this.#at);
      if (!this.#separator(0x5d)) return new TreeSequence([], this.#source, start, this.#at);
    }
  }

  /** Steps over a comma, and leaves a closing bracket for the caller; false when neither is there. */
  #separator(closing: number): boolean {
    this.#space();
    const code = this.#text.charCodeAt(this.#at);
    if (code === 0x2c) {
      this.#at++;
      return true;
    }
    if (code === closing) return true;
    this.#fail(this.#at >= this.#text.length ? 'it ends too early' : 'a comma is due here');
    return false;
  }

  #string(quote: number): string {
    const text = this.#text;
    const start = ++this.#at;
    let at = start;
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === quote) {
        this.#at = at + 1;
        return text.slice(start, at);
      }
      if (code === 0x5c) return this.#escaped(quote, start, at);
    }
    this.#fail('the text has no closing quote', start - 1);
    return '';
  }

  #escaped(quote: number, start: number, from: number): string {
    const text = this.#text;
    let made = text.slice(start, from);
    let at = from;
    while (at < text.length) {
      const code = text.charCodeAt(at);
      if (code === quote) {
        this.#at = at + 1;
        return made;
      }
      if (code !== 0x5c) {
        made += text[at++];
        continue;
      }
      const letter = text[at + 1] ?? '';
      const plain = ESCAPES[letter];
      if (plain !== undefined) {
        made += plain;
        at += 2;
      } else if (letter === 'u' && /^[0-9a-fA-F]{4}$/.test(text.slice(at + 2, at + 6))) {
        const unit = Number.parseInt(text.slice(at + 2, at + 6), 16);
        at += 6;
        if (unit >= 0xd800 && unit < 0xdc00) {
          const low = /^\\u([dD][c-fC-F][0-9a-fA-F]{2})/.exec(text.slice(at, at + 6))?.[1];
          if (low === undefined) {
            this.#fail('half of a surrogate pair', at - 6);
            return '';
          }
          made += String.fromCharCode(unit, Number.parseInt(low, 16));
          at += 6;
        } else if (unit >= 0xdc00 && unit < 0xe000) {
          this.#fail('half of a surrogate pair', at - 6);
          return '';
        } else made += String.fromCharCode(unit);
      } else {
        this.#fail(`\\${letter} is not an escape`, at);
        return '';
      }
    }
    this.#fail('the text has no closing quote', start - 1);
    return '';
  }
}

/** Behind the bracket that closes the one at `start`, wherever it stands as long as that is not in a text. */
function endOfObject(text: string, start: number): number {
  let depth = 0;
  let quote = 0;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (quote !== 0) {
      if (code === 0x5c) at++;
      else if (code === quote) quote = 0;
    } else if (code === 0x22 || code === 0x27) quote = code;
    else if (code === 0x7b || code === 0x5b) depth++;
    else if ((code === 0x7d || code === 0x5d) && --depth === 0) return at + 1;
  }
  return text.length;
}

const ESCAPES: Record<string, string> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
