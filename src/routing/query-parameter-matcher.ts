import type { StringMatcher } from './string-matcher.ts';

/** The parameters of a query as they stand: Envoy does not decode percent signs here. */
export class QueryParameters {
  readonly #names: string[] = [];
  readonly #values: string[] = [];

  /** @param path path with query; a fragment ends the query */
  constructor(path: string) {
    const start = path.indexOf('?');
    if (start < 0) return;
    const hash = path.indexOf('#', start);
    const query = hash < 0 ? path.slice(start + 1) : path.slice(start + 1, hash);
    for (const part of query.split('&')) {
      const equal = part.indexOf('=');
      this.#names.push(equal < 0 ? part : part.slice(0, equal));
      this.#values.push(equal < 0 ? '' : part.slice(equal + 1));
    }
  }

  /** First value, or null. */
  get(name: string): string | null {
    const index = this.#names.indexOf(name);
    return index < 0 ? null : this.#values[index]!;
  }
}

/** Source: envoy.config.route.v3.QueryParameterMatcher. */
export class QueryParameterMatcher {
  readonly name: string;
  /** Null: only presence counts. */
  readonly matcher: StringMatcher | null;
  /** Asked when `matcher` is null. */
  readonly present: boolean;

  constructor(name: string, matcher: StringMatcher | null, present: boolean) {
    this.name = name;
    this.matcher = matcher;
    this.present = present;
  }

  matches(parameters: QueryParameters): boolean {
    const value = parameters.get(this.name);
    if (this.matcher === null) return (value !== null) === this.present;
    return value !== null && this.matcher.matches(value);
  }
}
