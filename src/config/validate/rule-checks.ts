/**
 * `validate.rules` (protoc-gen-validate) of one field, compiled to checks. The rules are read by reflection from the
 * API's own options; no constraint of any message is written here.
 */
import type { DescField, Message } from '@bufbuild/protobuf';
import { assert } from '../../base/assert.ts';

/** @returns what is wrong, as the end of "the value ...", or undefined. */
export type Check = (value: unknown) => string | undefined;

type Rules = Record<string, unknown> & { readonly $typeName: string };
interface Span {
  readonly seconds: bigint;
  readonly nanos: number;
}

/** The strings of protoc-gen-validate's well_known_regex, by its enum's numbers; 1: header name, 2: header value. */
const HEADER_NAME_STRICT = /^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const HEADER_VALUE_STRICT = /^[^\u0000-\u0008\u000A-\u001F\u007F]*$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const HEADER_LENIENT = /^[^\u0000\u000A\u000D]*$/;

const NUMBERS = new Set([
  'float',
  'double',
  'int32',
  'int64',
  'uint32',
  'uint64',
  'sint32',
  'sint64',
  'fixed32',
  'fixed64',
  'sfixed32',
  'sfixed64',
]);

export interface FieldChecks {
  /** The field must be set. */
  readonly required: boolean;
  /** Messages inside are not validated. */
  readonly skip: boolean;
  /** On the value; for lists and maps on the whole. */
  readonly value: Check | undefined;
  readonly key: Check | undefined;
  /** On items of a list, values of a map. */
  readonly item: Check | undefined;
  readonly skipItems: boolean;
}

/** Compiles `validate.FieldRules`. Asserts on a rule that this file does not know: a new API needs new code. */
export function compileRules(rules: Rules, field: DescField): FieldChecks {
  const message = rules.message as Rules | undefined;
  const type = rules.type as { case: string | undefined; value: Rules };
  let required = message !== undefined && own(message, 'required') === true;
  const skip = message !== undefined && own(message, 'skip') === true;
  if (type.case === 'duration' || type.case === 'any' || type.case === 'timestamp') {
    if (own(type.value, 'required') === true) required = true;
  }
  if (type.case === 'repeated' && field.fieldKind === 'list') {
    const items = type.value.items as Rules | undefined;
    const item = items === undefined ? undefined : compileRules(items, field);
    return {
      required,
      skip,
      value: listCheck(type.value),
      key: undefined,
      item: item?.value,
      skipItems: item?.skip ?? false,
    };
  }
  if (type.case === 'map' && field.fieldKind === 'map') {
    const keys = type.value.keys as Rules | undefined;
    const values = type.value.values as Rules | undefined;
    const item = values === undefined ? undefined : compileRules(values, field);
    return {
      required,
      skip,
      value: mapCheck(type.value),
      key: keys === undefined ? undefined : compileRules(keys, field).value,
      item: item?.value,
      skipItems: item?.skip ?? false,
    };
  }
  return {
    required,
    skip,
    value: scalarCheck(type.case, type.value, field),
    key: undefined,
    item: undefined,
    skipItems: false,
  };
}

function scalarCheck(kind: string | undefined, rules: Rules, field: DescField): Check | undefined {
  if (kind === undefined) return undefined;
  if (NUMBERS.has(kind)) return numberCheck(rules);
  switch (kind) {
    case 'bool': {
      const wanted = own(rules, 'const');
      return wanted === undefined ? undefined : (value) => (value === wanted ? undefined : `must be ${wanted}`);
    }
    case 'string':
      return stringCheck(rules);
    case 'bytes':
      return bytesCheck(rules);
    case 'enum':
      return enumCheck(rules, field);
    case 'duration':
      return durationCheck(rules);
    case 'any':
      return anyCheck(rules);
    default:
      assert(false, `validate.rules of kind ${kind} are not known (${field.toString()})`);
  }
}

/** The value of a rule that is set; proto2 defaults stand on the prototype. */
function own(rules: Rules, name: string): unknown {
  return Object.hasOwn(rules, name) ? rules[name] : undefined;
}

function onlyKnown(rules: Rules, known: readonly string[]): void {
  for (const name of Object.keys(rules)) {
    if (name.startsWith('$') || known.includes(name)) continue;
    const value = rules[name];
    if (Array.isArray(value) && value.length === 0) continue;
    if (typeof value === 'object' && value !== null && 'case' in value && value.case === undefined) continue;
    assert(false, `the rule ${name} of ${rules.$typeName} is not known`);
  }
}

/** The first complaint of several checks. */
function all(checks: readonly Check[]): Check | undefined {
  if (checks.length < 2) return checks[0];
  return (value) => {
    for (const check of checks) {
      const complaint = check(value);
      if (complaint !== undefined) return complaint;
    }
    return undefined;
  };
}

function membership(rules: Rules, show: (value: unknown) => string): Check[] {
  const checks: Check[] = [];
  const within = rules.in as unknown[];
  const outside = rules.notIn as unknown[];
  if (within.length > 0) {
    const text = within.map(show).join(', ');
    checks.push((value) => (within.includes(value) ? undefined : `must be one of ${text}`));
  }
  if (outside.length > 0) {
    const text = outside.map(show).join(', ');
    checks.push((value) => (outside.includes(value) ? `must not be one of ${text}` : undefined));
  }
  const wanted = own(rules, 'const');
  if (wanted !== undefined) checks.push((value) => (value === wanted ? undefined : `must be ${show(wanted)}`));
  return checks;
}

/** Bounds; an upper bound below the lower one means "outside of", as protoc-gen-validate has it. */
function range<T>(
  rules: Rules,
  convert: (bound: unknown) => T,
  compare: (a: T, b: T) => number,
  show: (bound: T) => string,
): Check | undefined {
  const gt = own(rules, 'gt');
  const gte = own(rules, 'gte');
  const lt = own(rules, 'lt');
  const lte = own(rules, 'lte');
  const lower = gt ?? gte;
  const upper = lt ?? lte;
  const low = lower === undefined ? undefined : convert(lower);
  const high = upper === undefined ? undefined : convert(upper);
  const aboveLow = (value: T): boolean => low !== undefined && compare(value, low) >= (gt === undefined ? 0 : 1);
  const belowHigh = (value: T): boolean => high !== undefined && compare(value, high) <= (lt === undefined ? 0 : -1);
  const lowText = low === undefined ? '' : `${gt === undefined ? 'at least' : 'greater than'} ${show(low)}`;
  const highText = high === undefined ? '' : `${lt === undefined ? 'at most' : 'less than'} ${show(high)}`;
  if (low !== undefined && high !== undefined) {
    if (compare(low, high) > 0) {
      return (value) =>
        aboveLow(value as T) || belowHigh(value as T) ? undefined : `must be ${lowText} or ${highText}`;
    }
    return (value) =>
      aboveLow(value as T) && belowHigh(value as T) ? undefined : `must be ${lowText} and ${highText}`;
  }
  if (low !== undefined) return (value) => (aboveLow(value as T) ? undefined : `must be ${lowText}`);
  if (high !== undefined) return (value) => (belowHigh(value as T) ? undefined : `must be ${highText}`);
  return undefined;
}

type Numeric = number | bigint;

function numberCheck(rules: Rules): Check | undefined {
  onlyKnown(rules, ['const', 'lt', 'lte', 'gt', 'gte', 'in', 'notIn', 'ignoreEmpty']);
  const checks = membership(rules, String);
  const bounds = range<Numeric>(
    rules,
    (bound) => bound as Numeric,
    // NaN passes, as in C++: the generated code asks for the violation.
    (a, b) => (a < b ? -1 : a > b ? 1 : 0),
    String,
  );
  if (bounds !== undefined) checks.push(bounds);
  return ignoringEmpty(rules, all(checks), (value) => value === 0 || value === 0n);
}

function ignoringEmpty(
  rules: Rules,
  check: Check | undefined,
  isEmpty: (value: unknown) => boolean,
): Check | undefined {
  if (check === undefined || own(rules, 'ignoreEmpty') !== true) return check;
  return (value) => (isEmpty(value) ? undefined : check(value));
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function count(n: bigint, one: string): string {
  return `${n} ${one}${n === 1n ? '' : 's'}`;
}

function stringCheck(rules: Rules): Check | undefined {
  onlyKnown(rules, [
    'const',
    'len',
    'minLen',
    'maxLen',
    'lenBytes',
    'minBytes',
    'maxBytes',
    'pattern',
    'prefix',
    'suffix',
    'contains',
    'notContains',
    'in',
    'notIn',
    'wellKnown',
    'strict',
    'ignoreEmpty',
  ]);
  const checks = membership(rules, (value) => JSON.stringify(value));
  const sized = (
    name: string,
    test: (size: bigint, bound: bigint) => boolean,
    words: string,
    unit: string,
    size: (text: string) => number,
  ): void => {
    const bound = own(rules, name) as bigint | undefined;
    if (bound === undefined) return;
    checks.push((value) => {
      if (test(BigInt(size(value as string)), bound)) return undefined;
      return bound === 1n && words === 'at least' ? 'must not be empty' : `must have ${words} ${count(bound, unit)}`;
    });
  };
  const bytes = (text: string): number => Buffer.byteLength(text);
  sized('len', (size, bound) => size === bound, 'exactly', 'character', codePoints);
  sized('minLen', (size, bound) => size >= bound, 'at least', 'character', codePoints);
  sized('maxLen', (size, bound) => size <= bound, 'at most', 'character', codePoints);
  sized('lenBytes', (size, bound) => size === bound, 'exactly', 'byte', bytes);
  sized('minBytes', (size, bound) => size >= bound, 'at least', 'byte', bytes);
  sized('maxBytes', (size, bound) => size <= bound, 'at most', 'byte', bytes);
  const affix = (name: string, test: (text: string, part: string) => boolean, words: string): void => {
    const part = own(rules, name) as string | undefined;
    if (part !== undefined)
      checks.push((value) => (test(value as string, part) ? undefined : `must ${words} ${JSON.stringify(part)}`));
  };
  affix('prefix', (text, part) => text.startsWith(part), 'begin with');
  affix('suffix', (text, part) => text.endsWith(part), 'end with');
  affix('contains', (text, part) => text.includes(part), 'contain');
  affix('notContains', (text, part) => !text.includes(part), 'not contain');
  const pattern = own(rules, 'pattern') as string | undefined;
  if (pattern !== undefined) {
    const regex = new RegExp(pattern);
    checks.push((value) => (regex.test(value as string) ? undefined : `must match ${pattern}`));
  }
  const wellKnown = rules.wellKnown as { case: string | undefined; value: unknown };
  if (wellKnown.case !== undefined) checks.push(wellKnownCheck(wellKnown, own(rules, 'strict') !== false));
  return ignoringEmpty(rules, all(checks), (value) => value === '');
}

function wellKnownCheck(rule: { case: string | undefined; value: unknown }, strict: boolean): Check {
  assert(rule.case === 'wellKnownRegex', `the string rule ${rule.case} is not known`);
  const isName = rule.value === 1;
  const regex = strict ? (isName ? HEADER_NAME_STRICT : HEADER_VALUE_STRICT) : HEADER_LENIENT;
  const what = strict
    ? isName
      ? "must be a header name (letters, digits and ! # $ % & ' * + , - . ^ _ | ~ `)"
      : 'must be a header value (no control characters)'
    : 'must not hold NUL, CR or LF';
  return (value) => (regex.test(value as string) ? undefined : what);
}

function bytesCheck(rules: Rules): Check | undefined {
  onlyKnown(rules, ['len', 'minLen', 'maxLen', 'ignoreEmpty']);
  const checks: Check[] = [];
  const minimum = own(rules, 'minLen') as bigint | undefined;
  const maximum = own(rules, 'maxLen') as bigint | undefined;
  const exact = own(rules, 'len') as bigint | undefined;
  const size = (value: unknown): bigint => BigInt((value as Uint8Array).length);
  if (exact !== undefined)
    checks.push((value) => (size(value) === exact ? undefined : `must have exactly ${count(exact, 'byte')}`));
  if (minimum !== undefined) {
    checks.push((value) => {
      if (size(value) >= minimum) return undefined;
      return minimum === 1n ? 'must not be empty' : `must have at least ${count(minimum, 'byte')}`;
    });
  }
  if (maximum !== undefined)
    checks.push((value) => (size(value) <= maximum ? undefined : `must have at most ${count(maximum, 'byte')}`));
  return ignoringEmpty(rules, all(checks), (value) => (value as Uint8Array).length === 0);
}

function enumCheck(rules: Rules, field: DescField): Check | undefined {
  onlyKnown(rules, ['const', 'definedOnly', 'in', 'notIn']);
  const desc = field.enum;
  const show = (value: unknown): string => desc?.value[value as number]?.name ?? String(value);
  const checks = membership(rules, show);
  if (own(rules, 'definedOnly') === true && desc !== undefined) {
    checks.unshift((value) =>
      desc.value[value as number] === undefined ? `must be a value of ${desc.typeName}, ${value} is none` : undefined,
    );
  }
  return all(checks);
}

function durationCheck(rules: Rules): Check | undefined {
  onlyKnown(rules, ['required', 'const', 'lt', 'lte', 'gt', 'gte', 'in', 'notIn']);
  assert(
    (rules.in as unknown[]).length === 0 && (rules.notIn as unknown[]).length === 0,
    'duration in/not_in are not known',
  );
  assert(own(rules, 'const') === undefined, 'duration const is not known');
  return range<Span>(
    rules,
    (bound) => bound as Span,
    (a, b) =>
      a.seconds < b.seconds ? -1 : a.seconds > b.seconds ? 1 : a.nanos - b.nanos < 0 ? -1 : a.nanos === b.nanos ? 0 : 1,
    showDuration,
  );
}

/** Such as `0.001s`. */
export function showDuration(span: Span): string {
  const negative = span.seconds < 0n || span.nanos < 0;
  const seconds = span.seconds < 0n ? -span.seconds : span.seconds;
  const fraction = String(Math.abs(span.nanos)).padStart(9, '0').replace(/0+$/, '');
  return `${negative ? '-' : ''}${seconds}${fraction === '' ? '' : `.${fraction}`}s`;
}

function anyCheck(rules: Rules): Check | undefined {
  onlyKnown(rules, ['required', 'in', 'notIn']);
  const checks = membership(rules, (value) => JSON.stringify(value));
  const check = all(checks);
  return check === undefined ? undefined : (value) => check((value as Message & { readonly typeUrl: string }).typeUrl);
}

function listCheck(rules: Rules): Check | undefined {
  onlyKnown(rules, ['minItems', 'maxItems', 'unique', 'items', 'ignoreEmpty']);
  const checks: Check[] = [];
  const minimum = own(rules, 'minItems') as bigint | undefined;
  const maximum = own(rules, 'maxItems') as bigint | undefined;
  if (minimum !== undefined && minimum > 0n) {
    checks.push((value) =>
      (value as unknown[]).length >= Number(minimum) ? undefined : `must have at least ${count(minimum, 'item')}`,
    );
  }
  if (maximum !== undefined) {
    checks.push((value) =>
      (value as unknown[]).length <= Number(maximum) ? undefined : `must have at most ${count(maximum, 'item')}`,
    );
  }
  if (own(rules, 'unique') === true) {
    checks.push((value) =>
      new Set(value as unknown[]).size === (value as unknown[]).length
        ? undefined
        : 'must not hold the same item twice',
    );
  }
  return ignoringEmpty(rules, all(checks), (value) => (value as unknown[]).length === 0);
}

function mapCheck(rules: Rules): Check | undefined {
  onlyKnown(rules, ['minPairs', 'maxPairs', 'keys', 'values', 'ignoreEmpty']);
  const checks: Check[] = [];
  const minimum = own(rules, 'minPairs') as bigint | undefined;
  const maximum = own(rules, 'maxPairs') as bigint | undefined;
  const size = (value: unknown): number => Object.keys(value as object).length;
  if (minimum !== undefined)
    checks.push((value) =>
      size(value) >= Number(minimum)
        ? undefined
        : `must have at least ${count(minimum, 'entry').replace('entrys', 'entries')}`,
    );
  if (maximum !== undefined)
    checks.push((value) =>
      size(value) <= Number(maximum)
        ? undefined
        : `must have at most ${count(maximum, 'entry').replace('entrys', 'entries')}`,
    );
  return ignoringEmpty(rules, all(checks), (value) => size(value) === 0);
}
