import type { Regex } from './regex.ts';

const StringMatchKind = { Exact: 0, Prefix: 1, Suffix: 2, Contains: 3, Regex: 4 } as const;
export type StringMatchKind = (typeof StringMatchKind)[keyof typeof StringMatchKind];

/** Lower case of A-Z only, as Envoy folds: bytes beyond ASCII stay what they are. */
export function asciiLowerCase(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 65 && code <= 90) return foldFrom(text, i);
    if (code >= 128) return foldFrom(text, i);
  }
  return text;
}

function foldFrom(text: string, start: number): string {
  for (let i = start; i < text.length; i++) {
    if (text.charCodeAt(i) >= 128) return text.replace(/[A-Z]+/g, (run) => run.toLowerCase());
  }
  return text.toLowerCase();
}

/** Source: envoy.type.matcher.v3.StringMatcher. */
export class StringMatcher {
  readonly kind: StringMatchKind;
  readonly ignoreCase: boolean;
  /** What is looked for; empty for a regular expression. */
  readonly value: string;
  readonly #folded: string;
  readonly #regex: Regex | null;

  private constructor(kind: StringMatchKind, value: string, ignoreCase: boolean, regex: Regex | null) {
    this.kind = kind;
    this.value = value;
    this.ignoreCase = ignoreCase;
    this.#folded = ignoreCase ? asciiLowerCase(value) : value;
    this.#regex = regex;
  }

  static exact(value: string, ignoreCase = false): StringMatcher {
    return new StringMatcher(StringMatchKind.Exact, value, ignoreCase, null);
  }

  static prefix(value: string, ignoreCase = false): StringMatcher {
    return new StringMatcher(StringMatchKind.Prefix, value, ignoreCase, null);
  }

  static suffix(value: string, ignoreCase = false): StringMatcher {
    return new StringMatcher(StringMatchKind.Suffix, value, ignoreCase, null);
  }

  static contains(value: string, ignoreCase = false): StringMatcher {
    return new StringMatcher(StringMatchKind.Contains, value, ignoreCase, null);
  }

  static regex(regex: Regex): StringMatcher {
    return new StringMatcher(StringMatchKind.Regex, '', false, regex);
  }

  matches(text: string): boolean {
    if (this.kind === StringMatchKind.Regex) return this.#regex!.test(text);
    const subject = this.ignoreCase ? asciiLowerCase(text) : text;
    switch (this.kind) {
      case StringMatchKind.Exact:
        return subject === this.#folded;
      case StringMatchKind.Prefix:
        return subject.startsWith(this.#folded);
      case StringMatchKind.Suffix:
        return subject.endsWith(this.#folded);
      default:
        return subject.includes(this.#folded);
    }
  }
}
