import { LOG_LEVELS, LOGGER_NAMES, type LogLevel } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';

export type { LogLevel } from '../base/log.ts';

/** A level by its name, `warn` included; null: there is none. */
export function parseLogLevel(text: string): LogLevel | null {
  const name = text === 'warn' ? 'warning' : text;
  return (LOG_LEVELS as readonly string[]).includes(name) ? (name as LogLevel) : null;
}

/** `--component-log-level`: `name:level,name:level`. @returns Envoy's words for what is wrong */
export function parseComponentLevels(text: string): Result<readonly (readonly [string, LogLevel])[], string> {
  const levels: [string, LogLevel][] = [];
  if (text === '') return ok(levels);
  for (const pair of text.split(',')) {
    const [name, levelText, ...more] = pair.split(':');
    if (name === undefined || levelText === undefined || more.length > 0) {
      return err(`error: component log level not correctly specified '${pair}'`);
    }
    const level = parseLogLevel(levelText);
    if (level === null) return err(`error: invalid log level specified '${levelText}'`);
    if (!(LOGGER_NAMES as readonly string[]).includes(name)) return err(`error: invalid component specified '${name}'`);
    levels.push([name, level]);
  }
  return ok(levels);
}
