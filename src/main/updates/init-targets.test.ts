import { expect, test } from 'bun:test';
import { InitTargets } from './init-targets.ts';

test('whoever waits goes on when the last target is ready, once', () => {
  const targets = new InitTargets('x');
  let went = 0;
  targets.whenReady(() => went++);
  expect(went).toBe(1);
  const a = targets.add('a');
  const b = targets.add('b');
  targets.whenReady(() => went++);
  a.ready();
  a.ready();
  expect([went, targets.isReady, targets.unready.map(({ name }) => name)]).toEqual([1, false, ['b']]);
  b.ready();
  expect([went, targets.isReady]).toEqual([2, true]);
});
