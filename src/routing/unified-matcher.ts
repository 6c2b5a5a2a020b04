/**
 * Envoy's unified matcher (xds.type.matcher.v3.Matcher), compiled: a tree of decisions over inputs of `Data` that ends in an
 * `Action`. The engine knows neither: filter chains, routes and access control bring their own inputs and actions.
 *
 * An answer is the action, null when nothing matches, and undefined as long as an input that decides is not there yet (the body
 * or trailers of a message): ask again then. Source: Envoy, source/common/matcher, and its documentation of the matching API.
 */
export type Matched<Action> = Action | null | undefined;

/** Hears of actions that were passed over by `keep_matching`. */
export type SkippedAction<Action> = (action: Action) => void;

/** Reads what is matched on. */
export interface MatchInput<Data> {
  /** What kind of value it gives: text, unless a matcher of its own is needed. */
  readonly type: 'text' | 'metadata' | 'attributes';
  /** @returns null: there is none; undefined: it cannot be known yet */
  get(data: Data): unknown;
}

/** Judges an input's value, which is null where there is none. */
export interface ValueTest {
  matches(value: unknown): boolean;
}

/** What follows from a match: another tree, or the end. */
export interface OnMatch<Data, Action extends object> {
  readonly tree: MatchTree<Data, Action> | null;
  /** Null where `tree` says. */
  readonly action: Action | null;
  /** The match is only reported, and matching goes on as if there were none. */
  readonly keepMatching: boolean;
}

function follow<Data, Action extends object>(
  onMatch: OnMatch<Data, Action> | null,
  data: Data,
  skipped: SkippedAction<Action> | null,
): Matched<Action> {
  if (onMatch === null) return null;
  const result = onMatch.tree === null ? onMatch.action : onMatch.tree.match(data, skipped);
  if (!onMatch.keepMatching || result === null || result === undefined) return result;
  skipped?.(result);
  return null;
}

export abstract class MatchTree<Data, Action extends object> {
  protected readonly onNoMatch: OnMatch<Data, Action> | null;

  /** Without a search of its own it is the tree that matches nothing but by `onNoMatch`. */
  constructor(onNoMatch: OnMatch<Data, Action> | null) {
    this.onNoMatch = onNoMatch;
  }

  match(data: Data, skipped: SkippedAction<Action> | null = null): Matched<Action> {
    const result = this.search(data, skipped);
    return result === null ? follow(this.onNoMatch, data, skipped) : result;
  }

  protected abstract search(data: Data, skipped: SkippedAction<Action> | null): Matched<Action>;
}

/** A matcher that has neither a list nor a tree. */
export class AnyTree<Data, Action extends object> extends MatchTree<Data, Action> {
  protected search(): Matched<Action> {
    return null;
  }
}

// --- predicates and lists ---

/** A condition; undefined: it cannot be told yet. */
export interface Predicate<Data> {
  holds(data: Data): boolean | undefined;
}

export class InputPredicate<Data> implements Predicate<Data> {
  readonly #input: MatchInput<Data>;
  readonly #test: ValueTest;

  constructor(input: MatchInput<Data>, test: ValueTest) {
    this.#input = input;
    this.#test = test;
  }

  holds(data: Data): boolean | undefined {
    const value = this.#input.get(data);
    return value === undefined ? undefined : this.#test.matches(value);
  }
}

export class AllPredicate<Data> implements Predicate<Data> {
  readonly #parts: readonly Predicate<Data>[];

  constructor(parts: readonly Predicate<Data>[]) {
    this.#parts = parts;
  }

  holds(data: Data): boolean | undefined {
    for (const part of this.#parts) {
      const holds = part.holds(data);
      if (holds !== true) return holds;
    }
    return true;
  }
}

export class SomePredicate<Data> implements Predicate<Data> {
  readonly #parts: readonly Predicate<Data>[];

  constructor(parts: readonly Predicate<Data>[]) {
    this.#parts = parts;
  }

  holds(data: Data): boolean | undefined {
    let result: boolean | undefined = false;
    for (const part of this.#parts) {
      const holds = part.holds(data);
      if (holds === true) return true;
      if (holds === undefined) result = undefined;
    }
    return result;
  }
}

export class NotPredicate<Data> implements Predicate<Data> {
  readonly #part: Predicate<Data>;

  constructor(part: Predicate<Data>) {
    this.#part = part;
  }

  holds(data: Data): boolean | undefined {
    const holds = this.#part.holds(data);
    return holds === undefined ? undefined : !holds;
  }
}

export interface ListEntry<Data, Action extends object> {
  readonly predicate: Predicate<Data>;
  readonly onMatch: OnMatch<Data, Action>;
}

/** The first entry that holds and leads to an action. */
export class ListTree<Data, Action extends object> extends MatchTree<Data, Action> {
  readonly #entries: readonly ListEntry<Data, Action>[];

  constructor(entries: readonly ListEntry<Data, Action>[], onNoMatch: OnMatch<Data, Action> | null) {
    super(onNoMatch);
    this.#entries = entries;
  }

  protected search(data: Data, skipped: SkippedAction<Action> | null): Matched<Action> {
    for (const { predicate, onMatch } of this.#entries) {
      const holds = predicate.holds(data);
      if (holds === undefined) return undefined;
      if (!holds) continue;
      const result = follow(onMatch, data, skipped);
      if (result !== null) return result;
    }
    return null;
  }
}

// --- trees over one input ---

/** Finds by the text of one input: what fits best first, and on as long as what was found leads nowhere. */
abstract class TextTree<Data, Action extends object> extends MatchTree<Data, Action> {
  readonly #input: MatchInput<Data>;

  constructor(input: MatchInput<Data>, onNoMatch: OnMatch<Data, Action> | null) {
    super(onNoMatch);
    this.#input = input;
  }

  protected search(data: Data, skipped: SkippedAction<Action> | null): Matched<Action> {
    const value = this.#input.get(data);
    if (value === undefined) return undefined;
    return typeof value === 'string' ? this.find(value, data, skipped) : null;
  }

  protected abstract find(text: string, data: Data, skipped: SkippedAction<Action> | null): Matched<Action>;
}

export class ExactTree<Data, Action extends object> extends TextTree<Data, Action> {
  readonly #entries: ReadonlyMap<string, OnMatch<Data, Action>>;

  constructor(
    input: MatchInput<Data>,
    entries: ReadonlyMap<string, OnMatch<Data, Action>>,
    onNoMatch: OnMatch<Data, Action> | null,
  ) {
    super(input, onNoMatch);
    this.#entries = entries;
  }

  protected find(text: string, data: Data, skipped: SkippedAction<Action> | null): Matched<Action> {
    return follow(this.#entries.get(text) ?? null, data, skipped);
  }
}

/** The longest prefix first. */
export class PrefixTree<Data, Action extends object> extends TextTree<Data, Action> {
  readonly #entries: ReadonlyMap<string, OnMatch<Data, Action>>;
  /** Of the prefixes, longest first: so many look-ups at most, however many entries there are. */
  readonly #lengths: readonly number[];

  constructor(
    input: MatchInput<Data>,
    entries: ReadonlyMap<string, OnMatch<Data, Action>>,
    onNoMatch: OnMatch<Data, Action> | null,
  ) {
    super(input, onNoMatch);
    this.#entries = entries;
    this.#lengths = [...new Set([...entries.keys()].map((key) => key.length))].sort((a, b) => b - a);
  }

  protected find(text: string, data: Data, skipped: SkippedAction<Action> | null): Matched<Action> {
    for (const length of this.#lengths) {
      if (length > text.length) continue;
      const found = this.#entries.get(length === text.length ? text : text.slice(0, length));
      if (found === undefined) continue;
      const result = follow(found, data, skipped);
      if (result !== null) return result;
    }
    return null;
  }
}

/**
 * Host names: the exact one, then wildcards from the longest suffix to the shortest, then `*`. Case counts, as in Envoy (what
 * listener filters found of a ClientHello is in lower case already). Source: xds.type.matcher.v3.ServerNameMatcher.
 */
export class ServerNameTree<Data, Action extends object> extends TextTree<Data, Action> {
  readonly #exact = new Map<string, OnMatch<Data, Action>>();
  /** By what follows `*.`. */
  readonly #suffixes = new Map<string, OnMatch<Data, Action>>();
  readonly #any: OnMatch<Data, Action> | null;
  #longestSuffix = 0;

  /** @param domains `a.example`, `*.example`, `*` */
  constructor(
    input: MatchInput<Data>,
    domains: ReadonlyMap<string, OnMatch<Data, Action>>,
    onNoMatch: OnMatch<Data, Action> | null,
  ) {
    super(input, onNoMatch);
    this.#any = domains.get('*') ?? null;
    for (const [domain, onMatch] of domains) {
      if (domain === '*') continue;
      if (!domain.startsWith('*.')) {
        this.#exact.set(domain, onMatch);
        continue;
      }
      const suffix = domain.slice(2);
      this.#suffixes.set(suffix, onMatch);
      this.#longestSuffix = Math.max(this.#longestSuffix, suffix.length);
    }
  }

  protected find(text: string, data: Data, skipped: SkippedAction<Action> | null): Matched<Action> {
    if (text === '') return null;
    const exact = this.#exact.get(text);
    let result = exact === undefined ? null : follow(exact, data, skipped);
    if (result !== null) return result;
    if (this.#longestSuffix > 0) {
      // Longer suffixes need no look-up, which bounds the work that a hostile name can cause.
      let dot = text.indexOf('.', Math.max(0, text.length - this.#longestSuffix - 1));
      while (dot >= 0) {
        const found = this.#suffixes.get(text.slice(dot + 1));
        if (found !== undefined) {
          result = follow(found, data, skipped);
          if (result !== null) return result;
        }
        dot = text.indexOf('.', dot + 1);
      }
    }
    return follow(this.#any, data, skipped);
  }
}

/** An entry of a range tree. */
export interface RangeEntry<Data, Action extends object> {
  /** It counts only where no narrower range holds the address. */
  readonly exclusive: boolean;
  readonly onMatch: OnMatch<Data, Action>;
}

/** Which ranges hold an address: the narrowest first, those of the same width in their order; empty for what is no address. */
export type RangeLookup<Data, Action extends object> = (text: string) => readonly RangeEntry<Data, Action>[];

/** IP ranges. Source: xds.type.matcher.v3.IPMatcher. */
export class RangeTree<Data, Action extends object> extends TextTree<Data, Action> {
  readonly #lookup: RangeLookup<Data, Action>;

  constructor(input: MatchInput<Data>, lookup: RangeLookup<Data, Action>, onNoMatch: OnMatch<Data, Action> | null) {
    super(input, onNoMatch);
    this.#lookup = lookup;
  }

  protected find(text: string, data: Data, skipped: SkippedAction<Action> | null): Matched<Action> {
    const entries = this.#lookup(text);
    for (let i = 0; i < entries.length; i++) {
      const { exclusive, onMatch } = entries[i]!;
      if (exclusive && i > 0) continue;
      const result = follow(onMatch, data, skipped);
      if (result !== null) return result;
    }
    return null;
  }
}
