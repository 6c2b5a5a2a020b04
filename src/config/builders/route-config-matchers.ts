import type { RuntimeFractionalPercent } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  CookieMatcher as CookieMatcherMessage,
  HeaderMatcher as HeaderMatcherMessage,
  QueryParameterMatcher as QueryParameterMatcherMessage,
} from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { FilterStateMatcher as FilterStateMatcherMessage } from '../../api/gen/envoy/type/matcher/v3/filter_state_pb.d.ts';
import type { MetadataMatcher as MetadataMatcherMessage } from '../../api/gen/envoy/type/matcher/v3/metadata_pb.d.ts';
import type { RegexMatchAndSubstitute, RegexMatcher } from '../../api/gen/envoy/type/matcher/v3/regex_pb.d.ts';
import type { StringMatcher as StringMatcherMessage } from '../../api/gen/envoy/type/matcher/v3/string_pb.d.ts';
import type { ValueMatcher as ValueMatcherMessage } from '../../api/gen/envoy/type/matcher/v3/value_pb.d.ts';
import type { FractionalPercent as FractionalPercentMessage } from '../../api/gen/envoy/type/v3/percent_pb.d.ts';
import { CookieMatcher } from '../../routing/cookie-matcher.ts';
import { type HeaderCondition, HeaderMatcher } from '../../routing/header-matcher.ts';
import { QueryParameterMatcher } from '../../routing/query-parameter-matcher.ts';
import { Regex } from '../../routing/regex.ts';
import { RegexSubstitution } from '../../routing/route-policies.ts';
import { FractionalPercent, RuntimeFraction } from '../../routing/runtime-fraction.ts';
import { StringMatcher } from '../../routing/string-matcher.ts';
import { FilterStateMatcher, MetadataMatcher, type ValueMatcher } from '../../routing/value-matcher.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildCidrMatcher } from './cidr-ranges.ts';

/** What the builders of this file obey. */
export const MATCHER_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.RuntimeFractionalPercent', fields: '*' },
  { message: 'envoy.type.v3.FractionalPercent', fields: '*' },
  { message: 'envoy.type.v3.Int64Range', fields: '*' },
  { message: 'envoy.type.v3.DoubleRange', fields: '*' },
  { message: 'envoy.type.matcher.v3.StringMatcher', fields: 'exact prefix suffix safe_regex contains ignore_case' },
  { message: 'envoy.type.matcher.v3.RegexMatcher', fields: 'regex', inert: 'google_re2' },
  // The program size is Envoy's own measure; time is linear in any case.
  { message: 'envoy.type.matcher.v3.RegexMatcher.GoogleRE2', fields: '', inert: 'max_program_size' },
  { message: 'envoy.type.matcher.v3.RegexMatchAndSubstitute', fields: '*' },
  { message: 'envoy.type.matcher.v3.ValueMatcher', fields: '*' },
  { message: 'envoy.type.matcher.v3.ValueMatcher.NullMatch', fields: '*' },
  { message: 'envoy.type.matcher.v3.DoubleMatcher', fields: '*' },
  { message: 'envoy.type.matcher.v3.ListMatcher', fields: '*' },
  { message: 'envoy.type.matcher.v3.OrMatcher', fields: '*' },
  { message: 'envoy.type.matcher.v3.MetadataMatcher', fields: '*' },
  { message: 'envoy.type.matcher.v3.MetadataMatcher.PathSegment', fields: '*' },
  { message: 'envoy.type.matcher.v3.FilterStateMatcher', fields: '*' },
  { message: 'envoy.type.matcher.v3.AddressMatcher', fields: '*' },
  { message: 'xds.core.v3.CidrRange', fields: '*' },
  { message: 'envoy.config.route.v3.HeaderMatcher', fields: '*' },
  { message: 'envoy.config.route.v3.QueryParameterMatcher', fields: '*' },
  { message: 'envoy.config.route.v3.CookieMatcher', fields: '*' },
];

/** @returns null when it was refused at `field` */
export function buildRegex(context: BuildContext, field: string, message: RegexMatcher): Regex | null {
  const compiled = Regex.compile(message.regex);
  if (compiled.ok) return compiled.value;
  const lookAround = /\(\?<?[=!]/.test(message.regex) ? ', which has no look-around' : '';
  context.refuse(
    `${field}.regex`,
    `bad regular expression: ${compiled.error}`,
    `the syntax is that of RE2${lookAround}`,
  );
  return null;
}

/** @returns null when it was refused at `field` */
export function buildSubstitution(
  context: BuildContext,
  field: string,
  message: RegexMatchAndSubstitute,
): RegexSubstitution | null {
  if (message.pattern === undefined) {
    context.refuse(`${field}.pattern`, 'a pattern is missing');
    return null;
  }
  const pattern = buildRegex(context, `${field}.pattern`, message.pattern);
  return pattern === null ? null : new RegexSubstitution(pattern, wireText(message.substitution));
}

/** @returns null when it was refused at `field` */
export function buildStringMatcher(
  context: BuildContext,
  field: string,
  message: StringMatcherMessage,
): StringMatcher | null {
  const { matchPattern: pattern, ignoreCase } = message;
  switch (pattern.case) {
    case 'exact':
      return StringMatcher.exact(wireText(pattern.value), ignoreCase);
    case 'prefix':
      return StringMatcher.prefix(wireText(pattern.value), ignoreCase);
    case 'suffix':
      return StringMatcher.suffix(wireText(pattern.value), ignoreCase);
    case 'contains':
      return StringMatcher.contains(wireText(pattern.value), ignoreCase);
    case 'safeRegex': {
      if (ignoreCase) {
        context.refuse(
          `${field}.ignore_case`,
          'ignore_case has no effect for safe_regex',
          'begin the pattern with (?i) instead',
        );
        return null;
      }
      const regex = buildRegex(context, `${field}.safe_regex`, pattern.value);
      return regex === null ? null : StringMatcher.regex(regex);
    }
    case 'custom':
      return null;
    default:
      context.refuse(field, 'a match pattern is missing', 'set exact, prefix, suffix, contains or safe_regex');
      return null;
  }
}

/** Null: refused. */
function headerCondition(context: BuildContext, message: HeaderMatcherMessage): HeaderCondition | null {
  const specifier = message.headerMatchSpecifier;
  const text = (matcher: StringMatcher): HeaderCondition => ({ kind: 'string', matcher });
  switch (specifier.case) {
    case undefined:
      return { kind: 'present', present: true };
    case 'presentMatch':
      return { kind: 'present', present: specifier.value };
    case 'exactMatch':
      // An empty exact_match (deprecated) asks only that the header is there.
      return text(specifier.value === '' ? StringMatcher.prefix('') : StringMatcher.exact(wireText(specifier.value)));
    case 'prefixMatch':
      return text(StringMatcher.prefix(wireText(specifier.value)));
    case 'suffixMatch':
      return text(StringMatcher.suffix(wireText(specifier.value)));
    case 'containsMatch':
      return text(StringMatcher.contains(wireText(specifier.value)));
    case 'safeRegexMatch': {
      const regex = buildRegex(context, 'safe_regex_match', specifier.value);
      return regex === null ? null : text(StringMatcher.regex(regex));
    }
    case 'stringMatch': {
      const matcher = buildStringMatcher(context, 'string_match', specifier.value);
      return matcher === null ? null : text(matcher);
    }
    case 'rangeMatch':
      return { kind: 'range', start: specifier.value.start, end: specifier.value.end };
  }
}

/** Those that are good; the others are reported at `field[i]`. */
export function buildHeaderMatchers(
  context: BuildContext,
  field: string,
  messages: readonly HeaderMatcherMessage[],
): HeaderMatcher[] {
  const out: HeaderMatcher[] = [];
  messages.forEach((message, i) => {
    const matcher = buildHeaderMatcher(context, `${field}[${i}]`, message);
    if (matcher !== null) out.push(matcher);
  });
  return out;
}

/** @returns null when it was refused at `field` */
export function buildHeaderMatcher(
  context: BuildContext,
  field: string,
  message: HeaderMatcherMessage,
): HeaderMatcher | null {
  const condition = headerCondition(context.at(field), message);
  if (condition === null) return null;
  const name = wireText(message.name).toLowerCase();
  return new HeaderMatcher(name, condition, message.invertMatch, message.treatMissingHeaderAsEmpty);
}

export function buildQueryParameterMatchers(
  context: BuildContext,
  field: string,
  messages: readonly QueryParameterMatcherMessage[],
): QueryParameterMatcher[] {
  const out: QueryParameterMatcher[] = [];
  messages.forEach((message, i) => {
    const specifier = message.queryParameterMatchSpecifier;
    const name = wireText(message.name);
    if (specifier.case === 'stringMatch') {
      const matcher = buildStringMatcher(context, `${field}[${i}].string_match`, specifier.value);
      if (matcher !== null) out.push(new QueryParameterMatcher(name, matcher, true));
    } else {
      out.push(new QueryParameterMatcher(name, null, specifier.case === undefined || specifier.value));
    }
  });
  return out;
}

export function buildCookieMatchers(
  context: BuildContext,
  field: string,
  messages: readonly CookieMatcherMessage[],
): CookieMatcher[] {
  const out: CookieMatcher[] = [];
  messages.forEach((message, i) => {
    if (message.stringMatch === undefined) {
      context.refuse(`${field}[${i}].string_match`, 'a string matcher is missing');
      return;
    }
    const matcher = buildStringMatcher(context, `${field}[${i}].string_match`, message.stringMatch);
    if (matcher !== null) out.push(new CookieMatcher(wireText(message.name), matcher, message.invertMatch));
  });
  return out;
}

const DENOMINATORS = [100, 10_000, 1_000_000];

export function buildFractionalPercent(message: FractionalPercentMessage | undefined): FractionalPercent {
  if (message === undefined) return FractionalPercent.NEVER;
  return new FractionalPercent(message.numerator, DENOMINATORS[message.denominator] ?? 100);
}

/** A share that the runtime may override; read when it is asked. */
export function buildRuntimeFraction(context: BuildContext, message: RuntimeFractionalPercent): RuntimeFraction {
  return new RuntimeFraction(buildFractionalPercent(message.defaultValue), message.runtimeKey, context.shared.runtime);
}

/** @returns null when it was refused at `field` */
export function buildValueMatcher(
  context: BuildContext,
  field: string,
  message: ValueMatcherMessage,
): ValueMatcher | null {
  const pattern = message.matchPattern;
  switch (pattern.case) {
    case 'nullMatch':
      return { kind: 'null' };
    case 'doubleMatch': {
      const number = pattern.value.matchPattern;
      if (number.case === 'range') {
        return { kind: 'number', exact: null, start: number.value.start, end: number.value.end };
      }
      return { kind: 'number', exact: number.case === 'exact' ? number.value : 0, start: 0, end: 0 };
    }
    case 'stringMatch': {
      const matcher = buildStringMatcher(context, `${field}.string_match`, pattern.value);
      return matcher === null ? null : { kind: 'string', matcher };
    }
    case 'boolMatch':
      return { kind: 'bool', value: pattern.value };
    case 'presentMatch':
      return { kind: 'present', present: pattern.value };
    case 'listMatch': {
      const oneOf = pattern.value.matchPattern.value;
      if (oneOf === undefined) break;
      const matcher = buildValueMatcher(context, `${field}.list_match.one_of`, oneOf);
      return matcher === null ? null : { kind: 'list', oneOf: matcher };
    }
    case 'orMatch': {
      const matchers = pattern.value.valueMatchers.map((each, i) =>
        buildValueMatcher(context, `${field}.or_match.value_matchers[${i}]`, each),
      );
      return matchers.includes(null) ? null : { kind: 'or', matchers: matchers as ValueMatcher[] };
    }
    default:
      break;
  }
  context.refuse(field, 'a match pattern is missing');
  return null;
}

export function buildMetadataMatcher(
  context: BuildContext,
  field: string,
  message: MetadataMatcherMessage,
): MetadataMatcher | null {
  if (message.value === undefined) {
    context.refuse(`${field}.value`, 'a value matcher is missing');
    return null;
  }
  const value = buildValueMatcher(context, `${field}.value`, message.value);
  if (value === null) return null;
  const path = message.path.map((each) => each.segment.value ?? '');
  return new MetadataMatcher(message.filter, path, value, message.invert);
}

export function buildFilterStateMatcher(
  context: BuildContext,
  field: string,
  message: FilterStateMatcherMessage,
): FilterStateMatcher | null {
  const matcher = message.matcher;
  if (matcher.case === 'stringMatch') {
    const text = buildStringMatcher(context, `${field}.string_match`, matcher.value);
    return text === null ? null : new FilterStateMatcher(message.key, text, null);
  }
  if (matcher.case === 'addressMatch') {
    const contains = buildCidrMatcher(context, `${field}.address_match.ranges`, matcher.value.ranges);
    const invert = matcher.value.invertMatch;
    return new FilterStateMatcher(message.key, null, { contains: (address) => contains(address) !== invert });
  }
  context.refuse(field, 'a matcher is missing', 'set string_match or address_match');
  return null;
}
