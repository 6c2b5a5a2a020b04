/** 256 bits: the characters (bytes) that one place of a pattern accepts. */
export type CharSet = Uint8Array;

/** The part of RE2's syntax that is understood here; everything else is left to re2js. */
export type RegexNode =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'assert'; readonly source: string }
  | { readonly kind: 'concat'; readonly items: readonly RegexNode[] }
  | { readonly kind: 'alternate'; readonly items: readonly RegexNode[] }
  | {
      readonly kind: 'repeat';
      readonly item: RegexNode;
      readonly min: number;
      readonly max: number;
      readonly lazy: boolean;
    }
  | { readonly kind: 'group'; readonly item: RegexNode };

export interface ParsedRegex {
  /** Its sets hold both cases of a letter where case is ignored. */
  readonly root: RegexNode;
  readonly ignoreCase: boolean;
}

const MAX_REPEAT = 1000;

function emptySet(): CharSet {
  return new Uint8Array(256);
}

/** Sets of one character, shared. */
const SINGLE_SETS: readonly CharSet[] = Array.from({ length: 256 }, (_, code) => {
  const set = new Uint8Array(256);
  set[code] = 1;
  return set;
});

function addRange(set: CharSet, from: number, to: number): void {
  set.fill(1, from, to + 1);
}

function classOf(letter: string): CharSet | null {
  const set = emptySet();
  switch (letter.toLowerCase()) {
    case 'd':
      addRange(set, 48, 57);
      break;
    case 'w':
      addRange(set, 48, 57);
      addRange(set, 65, 90);
      addRange(set, 97, 122);
      set[95] = 1;
      break;
    case 's':
      for (const code of [9, 10, 12, 13, 32]) set[code] = 1;
      break;
    default:
      return null;
  }
  return letter >= 'A' && letter <= 'Z' ? inverted(set) : set;
}

function inverted(set: CharSet): CharSet {
  return set.map((bit) => 1 - bit);
}

/** Adds the other case of every ASCII letter: RE2 with Latin-1 folds no others. */
function withBothCases(set: CharSet): CharSet {
  const folded = set.slice();
  for (let code = 65; code <= 90; code++) {
    if (set[code] === 0 && set[code + 32] === 0) continue;
    folded[code] = 1;
    folded[code + 32] = 1;
  }
  return folded;
}

const CONTROL: Record<string, number> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

/** Not understood: the caller falls back to re2js, which also reports what is wrong. */
class NotUnderstood extends Error {}

class Parser {
  readonly #text: string;
  #at = 0;
  #ignoreCase = false;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): ParsedRegex {
    const ignoreCase = this.#text.startsWith('(?i)');
    this.#ignoreCase = ignoreCase;
    if (ignoreCase) this.#at = 4;
    const root = this.#alternation();
    if (this.#at < this.#text.length) throw new NotUnderstood();
    return { root, ignoreCase };
  }

  #alternation(): RegexNode {
    const items = [this.#concatenation()];
    while (this.#text[this.#at] === '|') {
      this.#at++;
      items.push(this.#concatenation());
    }
    return items.length === 1 ? items[0]! : { kind: 'alternate', items };
  }

  #concatenation(): RegexNode {
    const items: RegexNode[] = [];
    while (this.#at < this.#text.length && this.#text[this.#at] !== '|' && this.#text[this.#at] !== ')') {
      items.push(this.#repetition(this.#atom()));
    }
    return items.length === 1 ? items[0]! : { kind: 'concat', items };
  }

  #repetition(item: RegexNode): RegexNode {
    const start = this.#text[this.#at];
    let min = 0;
    let max = -1;
    if (start === '*') {
      this.#at++;
    } else if (start === '+') {
      this.#at++;
      min = 1;
    } else if (start === '?') {
      this.#at++;
      max = 1;
    } else if (start === '{') {
      const bounds = /^\{([0-9]{1,4})(,([0-9]{1,4})?)?\}/.exec(this.#text.slice(this.#at, this.#at + 16));
      if (bounds === null) throw new NotUnderstood();
      this.#at += bounds[0].length;
      min = Number(bounds[1]);
      max = bounds[2] === undefined ? min : bounds[3] === undefined ? -1 : Number(bounds[3]);
      if (min > MAX_REPEAT || max > MAX_REPEAT) throw new NotUnderstood();
    } else {
      return item;
    }
    if (item.kind === 'assert') throw new NotUnderstood();
    const lazy = this.#text[this.#at] === '?';
    if (lazy) this.#at++;
    const next = this.#text[this.#at];
    if (next === '*' || next === '+' || next === '?' || next === '{') throw new NotUnderstood();
    return { kind: 'repeat', item, min, max, lazy };
  }

  #atom(): RegexNode {
    const char = this.#text[this.#at++]!;
    switch (char) {
      case '(':
        return this.#group();
      case '[':
        return { kind: 'set', set: this.#class() };
      case '.': {
        const set = emptySet().fill(1);
        set[10] = 0;
        return { kind: 'set', set };
      }
      case '^':
      case '$':
        return { kind: 'assert', source: char };
      case '\\':
        return this.#escape();
      case '*':
      case '+':
      case '?':
      case '{':
        throw new NotUnderstood();
      default:
        return { kind: 'set', set: this.#single(char.charCodeAt(0)) };
    }
  }

  #group(): RegexNode {
    let captures = true;
    if (this.#text[this.#at] === '?') {
      if (this.#text[this.#at + 1] !== ':') throw new NotUnderstood();
      captures = false;
      this.#at += 2;
    }
    const item = this.#alternation();
    if (this.#text[this.#at] !== ')') throw new NotUnderstood();
    this.#at++;
    return captures ? { kind: 'group', item } : item;
  }

  #single(code: number): CharSet {
    if (code > 255) throw new NotUnderstood();
    const set = SINGLE_SETS[code]!;
    return this.#ignoreCase ? withBothCases(set) : set;
  }

  #folded(set: CharSet): CharSet {
    return this.#ignoreCase ? withBothCases(set) : set;
  }

  #escape(): RegexNode {
    const char = this.#text[this.#at++];
    if (char === undefined) throw new NotUnderstood();
    if (char === 'A') return { kind: 'assert', source: '^' };
    if (char === 'z') return { kind: 'assert', source: '$' };
    if (char === 'b' || char === 'B') return { kind: 'assert', source: `\\${char}` };
    const set = classOf(char);
    return { kind: 'set', set: set ?? this.#single(this.#escapedCode(char)) };
  }

  /** The code of an escaped character; `char` is what follows the backslash. */
  #escapedCode(char: string): number {
    const control = Object.hasOwn(CONTROL, char) ? CONTROL[char] : undefined;
    if (control !== undefined) return control;
    if (char === 'x') {
      const hex = /^([0-9A-Fa-f]{2})/.exec(this.#text.slice(this.#at, this.#at + 2));
      if (hex === null) throw new NotUnderstood();
      this.#at += 2;
      return Number.parseInt(hex[1]!, 16);
    }
    // RE2 takes an escaped punctuation character for itself; letters and digits have meanings of their own.
    if (/[0-9A-Za-z]/.test(char)) throw new NotUnderstood();
    return char.charCodeAt(0);
  }

  #class(): CharSet {
    const set = emptySet();
    const negated = this.#text[this.#at] === '^';
    if (negated) this.#at++;
    let first = true;
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined) throw new NotUnderstood();
      if (char === ']' && !first) break;
      first = false;
      if (char === '[' && this.#text[this.#at + 1] === ':') throw new NotUnderstood();
      const low = this.#classItem(set);
      if (low < 0) continue;
      if (this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']' && this.#text[this.#at + 1] !== undefined) {
        this.#at++;
        const high = this.#classItem(null);
        if (high < low) throw new NotUnderstood();
        addRange(set, low, high);
      } else {
        set[low] = 1;
      }
    }
    this.#at++;
    const members = this.#folded(set);
    return negated ? inverted(members) : members;
  }

  /** One character's code, or -1 when a whole class was added to `set`. */
  #classItem(set: CharSet | null): number {
    const char = this.#text[this.#at++]!;
    if (char !== '\\') {
      const code = char.charCodeAt(0);
      if (code > 255) throw new NotUnderstood();
      return code;
    }
    const escaped = this.#text[this.#at++];
    if (escaped === undefined) throw new NotUnderstood();
    const whole = classOf(escaped);
    if (whole === null) return this.#escapedCode(escaped);
    if (set === null) throw new NotUnderstood();
    for (let i = 0; i < 256; i++) set[i] = set[i]! | whole[i]!;
    return -1;
  }
}

/** @param pattern in wire text. Null: beyond what is understood here. */
export function parseRegex(pattern: string): ParsedRegex | null {
  try {
    return new Parser(pattern).parse();
  } catch (error) {
    if (error instanceof NotUnderstood) return null;
    throw error;
  }
}

function hex(code: number): string {
  return `\\x${code.toString(16).padStart(2, '0')}`;
}

function setSource(set: CharSet): string {
  const first = set.indexOf(1);
  if (first >= 0 && set === SINGLE_SETS[first]) return hex(first);
  let out = '';
  let count = 0;
  for (let code = 0; code < 256; code++) {
    if (set[code] === 0) continue;
    let end = code;
    while (end < 255 && set[end + 1] === 1) end++;
    count += end - code + 1;
    out += end === code ? hex(code) : `${hex(code)}-${hex(end)}`;
    code = end;
  }
  return count === 1 ? out : `[${out}]`;
}

/** The same pattern for JavaScript's engine (no `u`, `s` or `m` flag). @param captures keep capturing groups */
export function engineSource(node: RegexNode, captures: boolean): string {
  switch (node.kind) {
    case 'set':
      return setSource(node.set);
    case 'assert':
      return node.source;
    case 'concat':
      return node.items.map((item) => wrapped(item, captures)).join('');
    case 'alternate':
      return node.items.map((item) => engineSource(item, captures)).join('|');
    case 'group':
      return captures ? `(${engineSource(node.item, true)})` : `(?:${engineSource(node.item, false)})`;
    case 'repeat': {
      const source = engineSource(node.item, captures);
      const body = node.item.kind === 'set' || node.item.kind === 'group' ? source : `(?:${source})`;
      return `${body}${quantifier(node.min, node.max)}${node.lazy ? '?' : ''}`;
    }
  }
}

function quantifier(min: number, max: number): string {
  if (max < 0 && min < 2) return min === 0 ? '*' : '+';
  return min === 0 && max === 1 ? '?' : `{${min},${max < 0 ? '' : max}}`;
}

function wrapped(node: RegexNode, captures: boolean): string {
  const source = engineSource(node, captures);
  return node.kind === 'alternate' ? `(?:${source})` : source;
}
