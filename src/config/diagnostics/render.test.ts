import { describe, expect, test } from 'bun:test';
import { type ConfigError, configError } from './config-error.ts';
import { nearest } from './nearest.ts';
import { errorLine, renderErrors, renderErrorsAsJson } from './render.ts';
import { SourceFile } from './source-file.ts';

const source = new SourceFile('envoy.yaml', 'a: 1\r\nb:\tfive\n\nlast');

function at(start: number, end: number, reason: string, path = 'p', hint?: string): ConfigError {
  return configError('error', path, reason, hint, { source, start, end });
}

describe('SourceFile', () => {
  test('positions and lines', () => {
    expect(source.position(0, 1)).toEqual({ file: 'envoy.yaml', line: 1, column: 1, endColumn: 2 });
    expect(source.position(9, 13)).toEqual({ file: 'envoy.yaml', line: 2, column: 4, endColumn: 8 });
    expect(source.position(9, 100)).toEqual({ file: 'envoy.yaml', line: 2, column: 4, endColumn: 8 });
    expect(source.position(14)).toEqual({ file: 'envoy.yaml', line: 3, column: 1 });
    expect(source.position(15, 19)).toEqual({ file: 'envoy.yaml', line: 4, column: 1, endColumn: 5 });
    expect([1, 2, 3, 4, 5].map((line) => source.line(line))).toEqual(['a: 1', 'b:\tfive', '', 'last', '']);
  });
});

describe('renderErrors', () => {
  test('line, caret, path, hint; sorted by position, warnings last', () => {
    const warning = configError('warning', '', 'careful', undefined, { source, start: 0, end: 1 });
    expect(
      renderErrors([warning, at(15, 19, 'late'), at(9, 13, 'expected a number', 'x.b', 'did you mean 5?')], {
        colours: false,
      }),
    ).toBe(
      `envoy.yaml:2:4: error: expected a number
    2 | b:\tfive
      |   \t^^^^
  at x.b
  hint: did you mean 5?
envoy.yaml:4:1: error: late
    4 | last
      | ^^^^
  at p
envoy.yaml:1:1: warning: careful
    1 | a: 1
      | ^
2 errors, 1 warning
`,
    );
  });

  test('is capped with a count', () => {
    const many = Array.from({ length: 60 }, (_, i) => at(0, 1, `number ${i}`));
    const text = renderErrors(many, { colours: false, limit: 10 });
    expect(text.match(/ error: number/g)).toHaveLength(10);
    expect(text).toContain('... and 50 more');
    expect(text).toContain('60 errors');
  });

  test('a long line is cut around the place', () => {
    const long = new SourceFile('x', `${'a'.repeat(5000)}HERE${'b'.repeat(5000)}`);
    const text = renderErrors([configError('error', '', 'r', undefined, { source: long, start: 5000, end: 5004 })], {
      colours: false,
    });
    expect(text.length).toBeLessThan(600);
    expect(text).toContain('x:1:5001: error');
    const lines = text.split('\n');
    const caret = lines[2]!.indexOf('^');
    expect(lines[1]!.slice(caret, caret + 4)).toBe('HERE');
  });

  test('control characters do not reach the terminal', () => {
    const evil = new SourceFile('x', 'a: \x1b[31m');
    const text = renderErrors(
      [configError('error', 'a\x1b', 'found \x1b]0;\x07', undefined, { source: evil, start: 3, end: 4 })],
      { colours: false },
    );
    expect(text).not.toContain('\x1b');
    expect(errorLine(configError('error', 'p', 'a\nb'))).toBe('p: a\\x0ab');
  });

  test('JSON', () => {
    expect(JSON.parse(renderErrorsAsJson([at(9, 13, 'r', 'x.b', 'h')]))).toEqual([
      { severity: 'error', file: 'envoy.yaml', line: 2, column: 4, endColumn: 8, path: 'x.b', reason: 'r', hint: 'h' },
    ]);
  });
});

test('nearest', () => {
  const names = ['connect_timeout', 'name', 'type', 'lb_policy'];
  expect(nearest('conect_timeout', names)).toBe('connect_timeout');
  expect(nearest('nmae', names)).toBe('name');
  expect(nearest('TYPE', names)).toBe('type');
  expect(nearest('zzz', names)).toBeUndefined();
  expect(nearest('', names)).toBeUndefined();
});
