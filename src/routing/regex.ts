import { RE2JS, RE2JSException } from 're2js';
import { err, ok, type Result } from '../base/result.ts';
import { translateSafe } from './regex-translation.ts';

/** Printable ASCII and tabs: what the patterns of the engine are proved for. All sound header values and paths are. */
const PLAIN = /^[\t -~]*$/;

/**
 * A regular expression with RE2's syntax and its promise: time linear in the text, whatever the pattern. JavaScript's own
 * engine runs only patterns for which that is proved (see regex-translation.ts), re2js the rest. Subjects are latin1
 * strings that hold bytes; those beyond ASCII are read as UTF-8, as RE2 does.
 */
export class Regex {
  readonly pattern: string;
  readonly groupCount: number;
  readonly #linear: RE2JS;
  /** Null: not proved. */
  readonly #wholeMatch: RegExp | null;
  readonly #search: RegExp | null;

  private constructor(pattern: string, linear: RE2JS) {
    const safe = translateSafe(pattern);
    this.pattern = pattern;
    this.groupCount = linear.groupCount();
    this.#linear = linear;
    this.#wholeMatch = safe.wholeMatch;
    this.#search = safe.search;
  }

  /** @returns the compiled pattern, or why RE2 would refuse it */
  static compile(pattern: string): Result<Regex, string> {
    if (hasByteEscape(pattern)) return err('\\C (match one byte) is not supported: use . or a class');
    try {
      return ok(new Regex(pattern, RE2JS.compile(pattern)));
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
    return this.#wholeMatch !== null;
  }

  /** RE2::FullMatch: the whole text must match. */
  test(text: string): boolean {
    if (PLAIN.test(text)) {
      return this.#wholeMatch !== null ? this.#wholeMatch.test(text) : this.#linear.testExact(text);
    }
    return this.#linear.testExact(Buffer.from(text, 'latin1'));
  }

  /**
   * RE2::GlobalReplace: every match is replaced; `\1`-`\9` stand for groups, `\0` for the match, `\\` for a backslash. An
   * empty match right behind another is skipped. A substitution that names a group which is not there changes nothing.
   */
  replaceAll(text: string, substitution: string): string {
    if (highestReference(substitution) > this.groupCount) return text;
    if (PLAIN.test(text)) return this.#replacePlain(text, substitution);
    const decoded = Buffer.from(text, 'latin1').toString('utf8');
    return Buffer.from(this.#replaceLinear(decoded, substitution), 'utf8').toString('latin1');
  }

  #replacePlain(text: string, substitution: string): string {
    const search = this.#search;
    if (search === null) return this.#replaceLinear(text, substitution);
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
    const matcher = this.#linear.matcher(text);
    let out = '';
    let position = 0;
    let lastEnd = -1;
    let count = 0;
    while (position <= text.length && matcher.find(position)) {
      const start = matcher.start();
      const end = matcher.end();
      out += text.slice(position, start);
      if (start === end && start === lastEnd) {
        const step = text.codePointAt(start)! > 0xffff ? 2 : 1;
        out += text.slice(start, start + step);
        position = start + step;
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

/** Why a substitution is not one, or null. Source: RE2::CheckRewriteString. */
export function substitutionError(substitution: string, groupCount: number): string | null {
  for (let i = 0; i < substitution.length; i++) {
    if (substitution[i] !== '\\') continue;
    const next = substitution[++i];
    if (next === undefined) return "rewrite schema error: '\\' not allowed at end";
    if (next !== '\\' && (next < '0' || next > '9')) {
      return "rewrite schema error: '\\' must be followed by a digit or '\\'";
    }
  }
  const highest = highestReference(substitution);
  return highest > groupCount
    ? `rewrite schema requests ${highest} matches, but the regexp only has ${groupCount} parenthesized subexpressions`
    : null;
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

function hasByteEscape(pattern: string): boolean {
  for (let i = 0; i < pattern.length - 1; i++) {
    if (pattern[i] !== '\\') continue;
    if (pattern[i + 1] === 'C') return true;
    if (pattern[i + 1] === 'Q') {
      const end = pattern.indexOf('\\E', i);
      if (end < 0) return false;
      i = end + 1;
      continue;
    }
    i++;
  }
  return false;
}
