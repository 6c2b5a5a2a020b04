import type { ValueFormatter } from '../routing/stream-view.ts';
import type { AccessLogger, LogContext, LogFile } from './access-logger.ts';

/** Writes each entry as text to a file (or standard output or error). */
export class FormattedLogger implements AccessLogger {
  readonly #format: ValueFormatter;
  readonly #file: LogFile;

  constructor(format: ValueFormatter, file: LogFile) {
    this.#format = format;
    this.#file = file;
  }

  log(context: LogContext): void {
    this.#file.write(this.#format.format(context));
  }
}
