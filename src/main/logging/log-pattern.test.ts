import { describe, expect, test } from 'bun:test';
import { compileLogPattern, type LogRecord } from './log-pattern.ts';

const record: LogRecord = {
  time: new Date(2026, 0, 2, 15, 4, 5, 6),
  level: 'warning',
  logger: 'http',
  message: 'one\n"two"',
  elapsedMs: 1.5,
};
const format = (pattern: string, escaped = false): string => compileLogPattern(pattern, escaped)(record);

describe('compileLogPattern', () => {
  test.each([
    ['[%Y-%m-%d %T.%e][%l][%n] ', '[2026-01-02 15:04:05.006][warning][http] '],
    ['%H:%M:%S %I%p %r %R %X', '15:04:05 03PM 03:04:05 PM 15:04 15:04:05'],
    ['%a %A %b %B %C %D %x', 'Fri Friday Jan January 26 01/02/26 01/02/26'],
    ['%f %F %L %%', '006000 006000000 W %'],
    ['%o %i %u %O', '2 1500 1500000 0'],
    ['%P=%t', `${process.pid}=${process.pid}`],
    ['|%8n|%-8n|%=8n|%3!n|', '|    http|http    |  http  |htt|'],
    ['%g:%#%@%s%!', ':'],
    ['%^%l%$', 'warning'],
    ['%q 100%', '%q 100%'],
  ])('%p', (pattern, expected) => {
    expect(format(pattern)).toBe(expected);
  });

  test('messages are written plain, escaped or for JSON', () => {
    expect(format('%v')).toBe('one\n"two"');
    expect(format('%v', true)).toBe('one\\n\\"two\\"');
    expect(format('%_')).toBe('one\\n\\"two\\"');
    expect(JSON.parse(format('{"message":"%j"}'))).toEqual({ message: 'one\n"two"' });
  });
});
