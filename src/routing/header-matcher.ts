import type { HeaderMap } from '../http/header-map.ts';
import type { StringMatcher } from './string-matcher.ts';

/** What is asked of a header's value (several values are joined by `,`). */
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

  matches(headers: HeaderMap): boolean {
    const condition = this.condition;
    if (condition.kind === 'present') {
      return (headers.lookup(this.name) !== null) === condition.present ? !this.invert : this.invert;
    }
    let value = headers.lookupJoined(this.name);
    if (value === null) {
      // A condition on the value of a header that is not there fails, inverted or not.
      if (!this.treatMissingAsEmpty) return false;
      value = '';
    }
    const matched =
      condition.kind === 'string' ? condition.matcher.matches(value) : inRange(value, condition.start, condition.end);
    return matched !== this.invert;
  }
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
