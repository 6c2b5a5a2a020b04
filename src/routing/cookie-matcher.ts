import type { HeaderMap } from '../http/header-map.ts';
import type { StringMatcher } from './string-matcher.ts';

/** First value of a cookie of the request, quotes removed; null when absent. Source: RFC 6265 section 4.2. */
export function cookieValue(headers: HeaderMap, name: string): string | null {
  const list = headers.list;
  for (let i = 0; i < list.length; i += 2) {
    if (list[i] !== 'cookie') continue;
    for (const pair of list[i + 1]!.split(';')) {
      const text = pair.trim();
      const equal = text.indexOf('=');
      if (equal < 0 || text.slice(0, equal) !== name) continue;
      const value = text.slice(equal + 1);
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
  }
  return null;
}

/** Source: envoy.config.route.v3.CookieMatcher. */
export class CookieMatcher {
  readonly name: string;
  readonly matcher: StringMatcher;
  readonly invert: boolean;

  constructor(name: string, matcher: StringMatcher, invert: boolean) {
    this.name = name;
    this.matcher = matcher;
    this.invert = invert;
  }

  matches(headers: HeaderMap): boolean {
    const value = cookieValue(headers, this.name);
    const matched = value !== null && this.matcher.matches(value);
    return matched !== this.invert;
  }
}
