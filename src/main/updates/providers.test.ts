import { expect, test } from 'bun:test';
import { InitTargets } from './init-targets.ts';
import { FirstAnswer, Providers } from './providers.ts';

function provider(name: string) {
  return {
    name,
    first: new FirstAnswer(),
    users: 0,
    stops: 0,
    stop() {
      this.stops++;
    },
  };
}

test('what many need is followed once, until the last of them is gone', () => {
  const providers = new Providers<ReturnType<typeof provider>>();
  const made = providers.acquire('k', () => provider('a'));
  expect(providers.acquire('k', () => provider('b'))).toBe(made);
  expect([...providers.values()]).toEqual([made]);
  expect([providers.release('k'), made.stops]).toEqual([false, 0]);
  expect([providers.release('k'), made.stops]).toEqual([true, 1]);
  expect([providers.release('k'), made.stops]).toEqual([false, 1]);
  expect(providers.get('k')).toBeUndefined();
});

test('those whose last answer was refused are told', () => {
  const providers = new Providers<ReturnType<typeof provider>>();
  providers.acquire('k', () => provider('a')).first.refused('no');
  const other = providers.acquire('l', () => provider('b')).first;
  other.refused('not yet');
  other.lastRefusal = '';
  expect(providers.refusals()).toEqual([{ name: 'a', details: 'no' }]);
});

test('whoever waits goes on with the first answer, and knows why it is not there', () => {
  const targets = new InitTargets('all');
  const first = new FirstAnswer();
  const [early, late, after] = ['early', 'late', 'after'].map((name) => targets.add(name));
  first.await(early!);
  first.refused('no');
  first.await(late!);
  expect([early!.lastRefusal, late!.lastRefusal]).toEqual(['no', 'no']);
  first.came();
  expect(targets.unready).toEqual([after!]);
  first.await(after!);
  expect(targets.isReady).toBe(true);
});
