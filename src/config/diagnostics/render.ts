/** Configuration errors for people (source line, caret, hint) and for machines (JSON). */
import type { ConfigError } from './config-error.ts';

export interface RenderOptions {
  /** ANSI colours: only for a terminal. */
  readonly colours: boolean;
  /** How many are shown in full; the rest is counted. Default 50. */
  readonly limit?: number;
}

const RED = '\x1b[1;31m';
const YELLOW = '\x1b[1;33m';
const BLUE = '\x1b[34m';
const BOLD = '\x1b[1m';
const RESET = '\x1b[0m';
const DEFAULT_LIMIT = 50;

/** The longest part of a source line that is shown: a one-line JSON file stays readable. */
const MAX_LINE = 160;

/** Errors first, then by file, line and column; what has no position comes first among its kind. The order is stable. */
function sortErrors(errors: readonly ConfigError[]): ConfigError[] {
  return [...errors].sort((a, b) => {
    if (a.severity !== b.severity) return a.severity === 'error' ? -1 : 1;
    const p = a.position;
    const q = b.position;
    if (p === undefined || q === undefined) return p === q ? 0 : p === undefined ? -1 : 1;
    if (p.file !== q.file) return p.file < q.file ? -1 : 1;
    return p.line - q.line || p.column - q.column;
  });
}

/**
 * Text for a terminal:
 *
 *     envoy.yaml:12:7: error: expected a duration, found "5m"
 *        12 |       timeout: 5m
 *           |                ^^
 *       at static_resources.clusters[0].timeout
 *       hint: did you mean 300s?
 */
export function renderErrors(errors: readonly ConfigError[], options: RenderOptions): string {
  const sorted = sortErrors(errors);
  const limit = options.limit ?? DEFAULT_LIMIT;
  const blocks = sorted.slice(0, limit).map((error) => renderError(error, options.colours));
  const errorCount = sorted.filter((error) => error.severity === 'error').length;
  const warningCount = sorted.length - errorCount;
  if (sorted.length > limit) blocks.push(`... and ${sorted.length - limit} more\n`);
  const counts = [];
  if (errorCount > 0) counts.push(`${errorCount} error${errorCount === 1 ? '' : 's'}`);
  if (warningCount > 0) counts.push(`${warningCount} warning${warningCount === 1 ? '' : 's'}`);
  if (counts.length > 0) blocks.push(`${counts.join(', ')}\n`);
  return blocks.join('');
}

function renderError(error: ConfigError, colours: boolean): string {
  const paint = (text: string, colour: string): string => (colours ? colour + text + RESET : text);
  const { position } = error;
  const where = position === undefined ? '' : `${position.file}:${position.line}:${position.column}: `;
  const severity = paint(`${error.severity}:`, error.severity === 'error' ? RED : YELLOW);
  let text = `${paint(where, BOLD)}${severity} ${printable(error.reason)}\n`;
  if (position !== undefined && error.source !== undefined) {
    const number = String(position.line);
    const gutter = `${number.padStart(5)} | `;
    const empty = `${' '.repeat(Math.max(number.length, 5))} | `;
    const full = error.source.line(position.line);
    // A long line is cut so that the place stays in sight.
    const begin = position.column > MAX_LINE - 40 ? position.column - 40 : 0;
    const line = full.slice(begin, begin + MAX_LINE);
    const start = position.column - 1 - begin;
    const end = Math.min((position.endColumn ?? position.column + 1) - 1 - begin, line.length);
    const indent = line.slice(0, start).replace(/[^\t]/g, ' ');
    const caret = paint('^'.repeat(Math.max(1, end - start)), error.severity === 'error' ? RED : YELLOW);
    text += `${paint(gutter, BLUE)}${printable(line, true)}\n${paint(empty, BLUE)}${indent}${caret}\n`;
  }
  if (error.path !== '') text += `  at ${printable(error.path)}\n`;
  if (error.hint !== undefined) text += `  hint: ${printable(error.hint)}\n`;
  return text;
}

/** A JSON array of objects `{severity, file, line, column, endColumn, path, reason, hint}`; what is not known is left out. */
export function renderErrorsAsJson(errors: readonly ConfigError[]): string {
  const objects = sortErrors(errors).map((error) => ({
    severity: error.severity,
    ...(error.position === undefined ? {} : error.position),
    path: error.path,
    reason: error.reason,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  }));
  return `${JSON.stringify(objects, null, 2)}\n`;
}

/** One line, as a NACK carries it. */
export function errorLine(error: ConfigError): string {
  const { position } = error;
  const where = position === undefined ? '' : `${position.file}:${position.line}:${position.column}: `;
  const path = error.path === '' ? '' : `${error.path}: `;
  return printable(`${where}${path}${error.reason}${error.hint === undefined ? '' : ` (${error.hint})`}`);
}

/** A configuration's text must not steer the terminal. */
function printable(text: string, keepTabs = false): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => {
    if (keepTabs && character === '\t') return character;
    return keepTabs ? '\u00b7' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}
