/** One pattern on a whole stat name; `safeRegex` must match all of the name, as in Envoy's StringMatcher. */
export type StatPattern =
  | { readonly exact: string; readonly ignoreCase?: boolean }
  | { readonly prefix: string; readonly ignoreCase?: boolean }
  | { readonly suffix: string; readonly ignoreCase?: boolean }
  | { readonly contains: string; readonly ignoreCase?: boolean }
  | { readonly safeRegex: StatRegex };

/** What is asked of a compiled regular expression: JavaScript's `RegExp` fits. */
export interface StatRegex {
  exec(text: string): { readonly 0: string; readonly index: number } | null;
}

export type StatsMatcherOptions =
  | { readonly rejectAll: boolean }
  | { readonly inclusionList: readonly StatPattern[] }
  | { readonly exclusionList: readonly StatPattern[] };

type Predicate = (name: string) => boolean;

/** Compiles one pattern to a predicate. */
export function compileStatPattern(pattern: StatPattern): Predicate {
  if ('safeRegex' in pattern) {
    const regex = pattern.safeRegex;
    return (name) => {
      const match = regex.exec(name);
      return match !== null && match.index === 0 && match[0].length === name.length;
    };
  }
  const fold = pattern.ignoreCase ? (text: string) => text.toLowerCase() : (text: string) => text;
  if ('exact' in pattern) {
    const wanted = fold(pattern.exact);
    return (name) => fold(name) === wanted;
  }
  if ('prefix' in pattern) {
    const wanted = fold(pattern.prefix);
    return (name) => fold(name).startsWith(wanted);
  }
  if ('suffix' in pattern) {
    const wanted = fold(pattern.suffix);
    return (name) => fold(name).endsWith(wanted);
  }
  const wanted = fold(pattern.contains);
  return (name) => fold(name).includes(wanted);
}

/** Decides which stats exist (envoy.config.metrics.v3.StatsMatcher). Without options all do. */
export class StatsMatcher {
  private readonly patterns: readonly Predicate[];
  private readonly whenMatched: boolean;

  constructor(options?: StatsMatcherOptions) {
    if (options === undefined) {
      this.patterns = [];
      this.whenMatched = false;
    } else if ('rejectAll' in options) {
      this.patterns = [];
      this.whenMatched = options.rejectAll;
    } else if ('inclusionList' in options) {
      this.patterns = options.inclusionList.map(compileStatPattern);
      this.whenMatched = true;
    } else {
      this.patterns = options.exclusionList.map(compileStatPattern);
      this.whenMatched = false;
    }
  }

  accepts(name: string): boolean {
    for (const matches of this.patterns) if (matches(name)) return this.whenMatched;
    return !this.whenMatched;
  }
}
