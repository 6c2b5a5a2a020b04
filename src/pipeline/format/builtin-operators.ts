import { type CommandParser, OperatorProblem } from './format-parser.ts';
import { CoalesceSegment, HEADER_OPERATORS } from './header-operators.ts';
import { METADATA_OPERATORS } from './metadata-operators.ts';
import { type OperatorTable, TableParser, unsupported, withArgument } from './operator-table.ts';
import type { Segment } from './segment.ts';
import { STREAM_OPERATORS } from './stream-operators.ts';

const COMPOSED_OPERATORS: OperatorTable = {
  COALESCE: withArgument('required', true, coalesce),
  CEL: unsupported('CEL expressions'),
  DYNAMIC_MODULE: unsupported('dynamic modules'),
};

/** The operators that every format string may use. */
export const BUILTIN_OPERATORS: CommandParser = new TableParser(
  STREAM_OPERATORS,
  HEADER_OPERATORS,
  METADATA_OPERATORS,
  COMPOSED_OPERATORS,
);

/** `{"operators": ["NAME" | {"command", "param", "max_length"}, ...]}`. */
function coalesce(argument: string, maxLength: number): Segment | OperatorProblem {
  let config: unknown;
  try {
    config = JSON.parse(argument);
  } catch (error) {
    return new OperatorProblem(`COALESCE: failed to parse JSON configuration: ${(error as Error).message}`);
  }
  if (config === null || typeof config !== 'object' || !('operators' in config)) {
    return new OperatorProblem("COALESCE: JSON configuration must contain 'operators' array");
  }
  const entries = config.operators;
  if (!Array.isArray(entries)) return new OperatorProblem("COALESCE: 'operators' must be an array");
  if (entries.length === 0) return new OperatorProblem("COALESCE: 'operators' array must not be empty");
  const choices: Segment[] = [];
  for (const [index, entry] of entries.entries()) {
    const made = coalesceChoice(entry);
    if (made instanceof OperatorProblem) {
      return new OperatorProblem(`COALESCE: failed to parse operator at index ${index}: ${made.reason}`, made.hint);
    }
    choices.push(made);
  }
  return new CoalesceSegment(choices, maxLength);
}

function coalesceChoice(entry: unknown): Segment | OperatorProblem {
  if (typeof entry === 'string') return lookUp(entry, '', null);
  if (entry === null || typeof entry !== 'object' || Array.isArray(entry)) {
    return new OperatorProblem(
      "operator entry must be either a string (command name) or an object with 'command' field",
    );
  }
  const { command, param, max_length: length } = entry as { command?: unknown; param?: unknown; max_length?: unknown };
  if (typeof command !== 'string') return new OperatorProblem("operator object must have 'command' field");
  if (param !== undefined && typeof param !== 'string') return new OperatorProblem("'param' must be a string");
  if (length !== undefined && (typeof length !== 'number' || !Number.isInteger(length) || length < 0)) {
    return new OperatorProblem("'max_length' must be a non-negative integer");
  }
  return lookUp(command, param ?? '', length ?? null);
}

function lookUp(command: string, argument: string, maxLength: number | null): Segment | OperatorProblem {
  return BUILTIN_OPERATORS.parse(command, argument, maxLength) ?? new OperatorProblem(`unknown command: '${command}'`);
}
