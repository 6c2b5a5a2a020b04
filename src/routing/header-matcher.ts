import type { HeaderMap } from '../http/header-map.ts';
import { isRequestListHeader } from './list-headers.ts';
import type { StringMatcher } from './string-matcher.ts';

/** What is asked of a header's value. */
export type HeaderCondition =
  | { readonly kind: 'present'; readonly present: boolean }
  | { readonly kind: 'string'; readonly matcher: StringMatcher }
  /** Half-open: start <= value < end. 64-bit bounds. */
  | { readonly kind: 'range'; readonly start: bigint; readonly end: bigint };

/** Source: envoy.config.route.v3.HeaderMatcher. */
export class HeaderMatcher {
  /** Lower case; pseudo-headers with their colon. */
  readonly name: string;
  readonly condition: HeaderCondition;
  readonly invert: boolean;
  readonly treatMissingAsEmpty: boolean;

  constructor(name: string, condition: HeaderCondition, invert: boolean, treatMissingAsEmpty: boolean) {
    this.name = name;
    this.condition = condition;
    this.invert = invert;
    this.treatMissingAsEmpty = treatMissingAsEmpty;
  }

  /**
   * Of several values one that meets the condition is enough, and with `invert` none may; headers that Envoy holds as a list
   * are one value joined by `,`. (So does Envoy 1.40; older ones joined every header.)
   */
  matches(headers: HeaderMap): boolean {
    const condition = this.condition;
    const name = this.name;
    if (condition.kind === 'present') {
      const present = this.treatMissingAsEmpty || headers.lookup(name) !== null;
      return (present === condition.present) !== this.invert;
    }
    if (name.charCodeAt(0) === 58 || name === 'host' || isRequestListHeader(name)) {
      const value = headers.lookupJoined(name);
      if (value === null) return this.#matchesMissing();
      return meets(condition, value) !== this.invert;
    }
    const list = headers.list;
    let seen = false;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== name) continue;
      if (meets(condition, list[i + 1]!)) return !this.invert;
      seen = true;
    }
    return seen ? this.invert : this.#matchesMissing();
  }

  /** A condition on the value of a header that is not there fails, inverted or not. */
  #matchesMissing(): boolean {
    return this.treatMissingAsEmpty && meets(this.condition, '') !== this.invert;
  }
}

function meets(condition: HeaderCondition, value: string): boolean {
  if (condition.kind === 'string') return condition.matcher.matches(value);
  return condition.kind === 'range' && inRange(value, condition.start, condition.end);
}

/** True when every matcher holds. */
export function matchesAllHeaders(headers: HeaderMap, matchers: readonly HeaderMatcher[]): boolean {
  for (let i = 0; i < matchers.length; i++) {
    if (!matchers[i]!.matches(headers)) return false;
  }
  return true;
}

const INTEGER = /^[+-]?[0-9]{1,30}$/;

function inRange(text: string, start: bigint, end: bigint): boolean {
  const trimmed = text.trim();
  if (!INTEGER.test(trimmed)) return false;
  const value = BigInt(trimmed.charCodeAt(0) === 43 ? trimmed.slice(1) : trimmed);
  return value >= -(2n ** 63n) && value < 2n ** 63n && value >= start && value < end;
}
