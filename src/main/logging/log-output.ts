import { closeSync, openSync, writeSync } from 'node:fs';
import type { LogLevel, LogSink } from '../../base/log.ts';
import { DEFAULT_LOG_FORMAT } from '../server-flags.ts';
import { compileLogPattern, type LogRecord } from './log-pattern.ts';

/** Envoy's default without the source location, which does not exist here. */
const PLAIN_FORMAT = '[%Y-%m-%d %T.%e][%t][%l][%n] %v';

/** A sink that may have to open its file anew. */
export interface LogDestination extends LogSink {
  reopen(): void;
}

/** Where application-log records of all threads end: standard error or a file, in the pattern that was asked for. */
export class LogOutput implements LogDestination {
  readonly #path: string;
  #format: (record: LogRecord) => string;
  #fd: number;
  #last = performance.now();

  /** @throws Error with `code` when the file cannot be opened */
  constructor(path: string, pattern: string, escaped: boolean) {
    this.#path = path;
    this.#format = compile(pattern, escaped);
    this.#fd = path === '' ? 2 : openSync(path, 'a', 0o644);
  }

  setPattern(pattern: string, escaped: boolean): void {
    this.#format = compile(pattern, escaped);
  }

  write(level: LogLevel, logger: string, message: string): void {
    const now = performance.now();
    const text = this.#format({ time: new Date(), level, logger, message, elapsedMs: now - this.#last });
    this.#last = now;
    try {
      writeSync(this.#fd, `${text}\n`);
    } catch {
      // Nowhere is left to complain: a full pipe or disk must not stop the proxy.
    }
  }

  /** After the file was moved away (SIGUSR1). Keeps the old one when the path cannot be opened. */
  reopen(): void {
    if (this.#path === '') return;
    try {
      const fd = openSync(this.#path, 'a', 0o644);
      closeSync(this.#fd);
      this.#fd = fd;
    } catch (error) {
      this.write('error', 'main', `unable to reopen log file '${this.#path}': ${(error as Error).message}`);
    }
  }
}

function compile(pattern: string, escaped: boolean): (record: LogRecord) => string {
  return compileLogPattern(pattern === DEFAULT_LOG_FORMAT ? PLAIN_FORMAT : pattern, escaped);
}
