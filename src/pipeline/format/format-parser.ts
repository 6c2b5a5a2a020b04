import { wireText } from '../../routing/wire-text.ts';
import { LiteralSegment, type Segment } from './segment.ts';

/** Why a format string is refused. */
export interface FormatProblem {
  /** In Envoy's words. */
  readonly reason: string;
  /** Index in the format string (UTF-16 units) of the operator at fault. */
  readonly position: number;
  /** What to do about it; empty: nothing known. */
  readonly hint: string;
}

/** A set of operators. */
export interface CommandParser {
  /** Names that `parse` knows, for "did you mean". */
  readonly names: Iterable<string>;
  /**
   * @param argument what stands in the parentheses; empty when there are none
   * @param maxLength bytes; null when no `:Z` is given
   * @returns null when the operator is not one of this set
   */
  parse(command: string, argument: string, maxLength: number | null): Segment | OperatorProblem | null;
}

/** Why an operator refuses its argument; the parser adds where it stands. */
export class OperatorProblem {
  readonly reason: string;
  readonly hint: string;

  constructor(reason: string, hint = '') {
    this.reason = reason;
    this.hint = hint;
  }
}

export type ParsedFormat =
  | { readonly ok: true; readonly segments: readonly Segment[] }
  | { readonly ok: false; readonly problems: readonly FormatProblem[] };

/**
 * Compiles a format string: text, `%%`, and operators `%NAME(argument):maxLength%`. An argument ends at the first `)` that
 * `%` or `:digits%` follows, so that it may contain parentheses and percent signs itself.
 *
 * Source: Envoy, SubstitutionFormatParser::parse; access log documentation, "Format rules".
 */
export function parseFormat(
  format: string,
  parsers: readonly CommandParser[],
  suggest: (name: string, known: Iterable<string>) => string | undefined,
): ParsedFormat {
  const segments: Segment[] = [];
  const problems: FormatProblem[] = [];
  let literal = '';
  let at = 0;
  while (at < format.length) {
    const percent = format.indexOf('%', at);
    if (percent < 0) {
      literal += format.substring(at);
      break;
    }
    literal += format.substring(at, percent);
    if (format[percent + 1] === '%') {
      literal += '%';
      at = percent + 2;
      continue;
    }
    const token = readToken(format, percent);
    if (token === null) {
      const reason = `Incorrect configuration: ${format}. Couldn't find valid command at position ${percent}`;
      problems.push({ position: percent, reason, hint: hintForBadToken(format, percent) });
      break;
    }
    if (literal !== '') segments.push(new LiteralSegment(wireText(literal)));
    literal = '';
    let segment: Segment | OperatorProblem | null = null;
    for (const parser of parsers) {
      segment = parser.parse(token.command, token.argument, token.maxLength);
      if (segment !== null) break;
    }
    at = token.end;
    if (segment === null) {
      const reason = `Not supported field in StreamInfo: ${token.command}`;
      problems.push({ position: percent, reason, hint: hintForUnknown(token.command, parsers, suggest) });
    } else if (segment instanceof OperatorProblem) {
      problems.push({ position: percent, reason: segment.reason, hint: segment.hint });
    } else {
      segments.push(segment);
    }
  }
  if (problems.length > 0) return { ok: false, problems };
  if (literal !== '' || segments.length === 0) segments.push(new LiteralSegment(wireText(literal)));
  return { ok: true, segments };
}

interface Token {
  readonly command: string;
  readonly argument: string;
  readonly maxLength: number | null;
  /** Behind the closing `%`. */
  readonly end: number;
}

/** Reads `%NAME`, `(argument)`, `:digits`, `%`, the middle two optional. */
function readToken(format: string, percent: number): Token | null {
  let at = percent + 1;
  while (at < format.length && isNameChar(format.charCodeAt(at))) at++;
  if (at === percent + 1) return null;
  const command = format.substring(percent + 1, at);
  if (format[at] === '(') {
    const newline = format.indexOf('\n', at);
    const limit = newline < 0 ? format.length : newline;
    for (let close = format.indexOf(')', at + 1); close >= 0 && close < limit; close = format.indexOf(')', close + 1)) {
      const tail = readTail(format, close + 1);
      if (tail === null) continue;
      return { command, argument: format.substring(at + 1, close), maxLength: tail.maxLength, end: tail.end };
    }
    return null;
  }
  const tail = readTail(format, at);
  return tail === null ? null : { command, argument: '', maxLength: tail.maxLength, end: tail.end };
}

function readTail(format: string, at: number): { maxLength: number | null; end: number } | null {
  if (format[at] === '%') return { maxLength: null, end: at + 1 };
  if (format[at] !== ':') return null;
  let end = at + 1;
  while (end < format.length && isDigit(format.charCodeAt(end))) end++;
  if (end === at + 1 || end - at > 19 || format[end] !== '%') return null;
  return { maxLength: Number(format.substring(at + 1, end)), end: end + 1 };
}

function isNameChar(code: number): boolean {
  return (code >= 65 && code <= 90) || isDigit(code) || code === 95;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function hintForBadToken(format: string, percent: number): string {
  const rest = format.substring(percent + 1);
  const name = /^[A-Za-z0-9_]*/.exec(rest)![0];
  if (name === '') return 'a percent sign that is meant literally is written %%';
  if (name !== name.toUpperCase()) return `operators are written in capitals: %${name.toUpperCase()}...%`;
  if (rest[name.length] === '(' && !rest.includes(')')) return 'the closing ) is missing';
  return 'an operator is written %NAME%, %NAME(argument)% or %NAME(argument):length%; a literal percent sign is %%';
}

function hintForUnknown(
  command: string,
  parsers: readonly CommandParser[],
  suggest: (name: string, known: Iterable<string>) => string | undefined,
): string {
  if (command === 'REQ_WITHOUT_QUERY') return 'add envoy.formatter.req_without_query to `formatters`';
  const names: string[] = [];
  for (const parser of parsers) names.push(...parser.names);
  const close = suggest(command, names);
  return close === undefined ? '' : `did you mean ${close}?`;
}
