import { type CommandParser, OperatorProblem } from './format-parser.ts';
import type { Segment } from './segment.ts';

/** An operator: how it may be written, and how it is made. */
export interface Operator {
  readonly argument: 'none' | 'optional' | 'required';
  /** `:Z` may follow. */
  readonly length: boolean;
  /** @param maxLength bytes; infinite when not limited */
  make(argument: string, maxLength: number): Segment | OperatorProblem;
}

export type OperatorTable = Readonly<Record<string, Operator>>;

/** An operator without argument or length. */
export function plain(make: () => Segment): Operator {
  return { argument: 'none', length: false, make };
}

export function withArgument(
  argument: 'optional' | 'required',
  length: boolean,
  make: (argument: string, maxLength: number) => Segment | OperatorProblem,
): Operator {
  return { argument, length, make };
}

/** Known by Envoy, not carried out here. */
export function unsupported(why: string): Operator {
  return { argument: 'optional', length: true, make: () => new OperatorProblem(`not supported yet: ${why}`) };
}

/** Operators by name, with Envoy's checks of their syntax (CommandSyntaxChecker). */
export class TableParser implements CommandParser {
  readonly #operators: ReadonlyMap<string, Operator>;

  constructor(...tables: readonly OperatorTable[]) {
    this.#operators = new Map(tables.flatMap((table) => Object.entries(table)));
  }

  get names(): Iterable<string> {
    return this.#operators.keys();
  }

  parse(command: string, argument: string, maxLength: number | null): Segment | OperatorProblem | null {
    const operator = this.#operators.get(command);
    if (operator === undefined) return null;
    if (operator.argument === 'none' && (argument !== '' || maxLength !== null)) {
      return new OperatorProblem(`${command} does not take any parameters or length`, `write %${command}%`);
    }
    if (operator.argument === 'required' && argument === '') {
      return new OperatorProblem(`${command} requires parameters`, `write %${command}(...)%`);
    }
    if (!operator.length && maxLength !== null) {
      return new OperatorProblem(`${command} does not allow length to be specified.`);
    }
    return operator.make(argument, maxLength ?? Number.POSITIVE_INFINITY);
  }
}
