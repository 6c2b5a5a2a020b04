import { RE2JS, RE2JSException } from 're2js';
import { err, ok, type Result } from '../base/result.ts';
import { searchEngine, wholeMatchEngine } from './regex-translation.ts';
import { wireText } from './wire-text.ts';

/**
 * A regular expression with RE2's syntax and its promise: time linear in the text, whatever the pattern. JavaScript's own
 * engine runs only patterns for which that is proved (see regex-translation.ts), re2js the rest. Patterns and subjects are
 * bytes, one per character: Envoy compiles RE2 with Latin-1, so that `.` is one byte of UTF-8.
 */
export class Regex {
  /** As configured, in wire text. */
  readonly pattern: string;
  readonly groupCount: number;
  /** What re2js takes for the pattern. */
  readonly #prepared: string;
  // Machines are made when first used: a table may hold ten thousand patterns of which a request meets one.
  #linear: RE2JS | null = null;
  #translated = false;
  /** Null: not proved linear. */
  #wholeMatch: RegExp | null = null;
  #searchTranslated = false;
  #search: RegExp | null = null;

  private constructor(pattern: string, prepared: string, groupCount: number) {
    this.pattern = pattern;
    this.#prepared = prepared;
    this.groupCount = groupCount;
  }

  /** @returns the compiled pattern, or why RE2 would refuse it */
  static compile(pattern: string): Result<Regex, string> {
    const bytes = wireText(pattern);
    const prepared = prepare(bytes);
    if (!prepared.ok) return prepared;
    try {
      return ok(new Regex(bytes, prepared.value, RE2JS.compile(prepared.value).groupCount()));
    } catch (error) {
      if (error instanceof RE2JSException) return err(error.message.replace(/^error parsing regexp: /, ''));
      throw error;
    }
  }

  /** For patterns of the program itself. Throws on a bad one. */
  static of(pattern: string): Regex {
    const result = Regex.compile(pattern);
    if (!result.ok) throw new Error(`bad regular expression ${pattern}: ${result.error}`);
    return result.value;
  }

  /** True when JavaScript's engine may run whole matches. For tests and diagnostics. */
  get usesEngine(): boolean {
    return this.#engine() !== null;
  }

  #engine(): RegExp | null {
    if (!this.#translated) {
      this.#translated = true;
      this.#wholeMatch = wholeMatchEngine(this.pattern);
    }
    return this.#wholeMatch;
  }

  #machine(): RE2JS {
    this.#linear ??= RE2JS.compile(this.#prepared);
    return this.#linear;
  }

  /** RE2::FullMatch: the whole text must match. */
  test(text: string): boolean {
    const engine = this.#translated ? this.#wholeMatch : this.#engine();
    if (engine === null || text.includes('\n')) return this.#machine().testExact(text);
    return engine.test(text);
  }

  /**
   * RE2::GlobalReplace: every match is replaced; `\1`-`\9` stand for groups, `\0` for the match, `\\` for a backslash. An
   * empty match right behind another is skipped. A substitution that names a group which is not there changes nothing.
   */
  replaceAll(text: string, substitution: string): string {
    if (highestReference(substitution) > this.groupCount) return text;
    if (!this.#searchTranslated) {
      this.#searchTranslated = true;
      this.#search = searchEngine(this.pattern);
    }
    return this.#search === null
      ? this.#replaceLinear(text, substitution)
      : this.#replaceByEngine(this.#search, text, substitution);
  }

  #replaceByEngine(search: RegExp, text: string, substitution: string): string {
    let out = '';
    let position = 0;
    let lastEnd = -1;
    let count = 0;
    while (position <= text.length) {
      search.lastIndex = position;
      const match = search.exec(text);
      if (match === null) break;
      const start = match.index;
      const end = start + match[0].length;
      out += text.slice(position, start);
      if (start === end && start === lastEnd) {
        out += text.slice(start, start + 1);
        position = start + 1;
        continue;
      }
      out += rewrite(substitution, match);
      position = end;
      lastEnd = end;
      count++;
    }
    return count === 0 ? text : out + text.slice(position);
  }

  #replaceLinear(text: string, substitution: string): string {
    const matcher = this.#machine().matcher(text);
    let out = '';
    let position = 0;
    let lastEnd = -1;
    let count = 0;
    while (position <= text.length && matcher.find(position)) {
      const start = matcher.start();
      const end = matcher.end();
      out += text.slice(position, start);
      if (start === end && start === lastEnd) {
        out += text.slice(start, start + 1);
        position = start + 1;
        continue;
      }
      const groups: (string | undefined)[] = [];
      for (let i = 0; i <= this.groupCount; i++) groups.push(matcher.group(i) ?? undefined);
      out += rewrite(substitution, groups);
      position = end;
      lastEnd = end;
      count++;
    }
    return count === 0 ? text : out + text.slice(position);
  }
}

function highestReference(substitution: string): number {
  let highest = 0;
  for (let i = 0; i < substitution.length; i++) {
    if (substitution.charCodeAt(i) !== 92) continue;
    const digit = substitution.charCodeAt(++i) - 48;
    if (digit >= 0 && digit <= 9 && digit > highest) highest = digit;
  }
  return highest;
}

function rewrite(substitution: string, groups: readonly (string | undefined)[]): string {
  if (!substitution.includes('\\')) return substitution;
  let out = '';
  for (let i = 0; i < substitution.length; i++) {
    const char = substitution[i]!;
    if (char !== '\\') {
      out += char;
      continue;
    }
    const next = substitution[++i];
    if (next === '\\') out += '\\';
    else if (next !== undefined && next >= '0' && next <= '9') out += groups[next.charCodeAt(0) - 48] ?? '';
    // RE2 stops at an escape that it does not know and keeps what it wrote so far.
    else return out;
  }
  return out;
}

/**
 * What RE2 takes and re2js does not: `\C` (any byte, which is any character here), and a group name used twice (Envoy's RE2
 * does not mind). What re2js takes and RE2 with Latin-1 does not: characters beyond a byte.
 */
function prepare(pattern: string): Result<string, string> {
  let out = '';
  let inClass = false;
  const folds = pattern.includes('(?i');
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === '\\') {
      const next = pattern[i + 1];
      if (next === 'Q') {
        const end = pattern.indexOf('\\E', i);
        const stop = end < 0 ? pattern.length : end + 2;
        out += pattern.slice(i, stop);
        i = stop - 1;
        continue;
      }
      if (next === 'C' && !inClass) {
        out += '(?s:.)';
      } else {
        const wide = /^\\x\{([0-9A-Fa-f]+)\}/.exec(pattern.slice(i, i + 16));
        if (wide !== null && Number.parseInt(wide[1]!, 16) > 255) return err(`invalid escape sequence: ${wide[0]}`);
        if (next === 'u' || next === 'E') return err(`invalid escape sequence: \\${next}`);
        out += char + (next ?? '');
      }
      i++;
      continue;
    }
    if (inClass) {
      if (char === ']') inClass = false;
    } else if (char === '[') {
      inClass = true;
      // A bracket that comes first is a member: `[]a]`, `[^]a]`.
      const first = pattern[i + 1] === '^' ? i + 2 : i + 1;
      if (pattern[first] === ']') {
        out += pattern.slice(i, first + 1);
        i = first;
        continue;
      }
    } else if (char === '(') {
      const name = /^\(\?P?<\w+>/.exec(pattern.slice(i, i + 300));
      if (name !== null) {
        out += '(';
        i += name[0].length - 1;
        continue;
      }
    }
    // re2js folds all of Unicode under (?i), RE2 with Latin-1 only ASCII.
    out += folds && !inClass && char > '\x7f' ? `(?-i:${char})` : char;
  }
  return ok(out);
}
