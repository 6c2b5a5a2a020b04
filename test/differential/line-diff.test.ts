import { expect, test } from 'bun:test';
import { diffLines } from './line-diff.ts';
import { normalise } from './normalise.ts';

test('equal texts have no difference', () => {
  expect(diffLines('a\nb', 'a\nb')).toBe('');
});

test('what differs is shown with its neighbours', () => {
  const left = ['1', '2', '3', '4', '5', 'x', '6', '7', '8', '9'].join('\n');
  const right = ['1', '2', '3', '4', '5', 'y', '6', '7', '8', '9', '10'].join('\n');
  expect(diffLines(left, right, 1)).toBe(['  ...', '  5', '- x', '+ y', '  6', '  ...', '  9', '+ 10'].join('\n'));
});

test('what may differ is normalised, and nothing else', () => {
  const surroundings = { ports: new Map([[8080, 'port:a']]), tmp: '/tmp/x' };
  const text = 'date: today\nx-a: 127.0.0.1:8080 127.0.0.1:9 127.0.0.1:50000 /tmp/x/f\nx-b: 8080';
  expect(normalise(text, surroundings)).toBe(
    'date: <date>\nx-a: 127.0.0.1:<port:a> 127.0.0.1:<9> 127.0.0.1:<ephemeral> <tmp>/f\nx-b: 8080',
  );
});
