import { expect, test } from 'bun:test';
import type { ResourceUpdate, ResourceWatcher } from './resource-source.ts';
import { ENDPOINT_TYPE } from './resource-type.ts';
import { canonicalName, withCanonicalNames } from './xdstp-names.ts';

test('context parameters are put in order, all else stays', () => {
  const cases: [string, string][] = [
    ['plain?b=1&a=2', 'plain?b=1&a=2'],
    ['xdstp://a/t/n', 'xdstp://a/t/n'],
    ['xdstp://a/t/n?b=1&a=2', 'xdstp://a/t/n?a=2&b=1'],
    ['xdstp://a/t/n?b=1&a=2#entry', 'xdstp://a/t/n?a=2&b=1#entry'],
    ['xdstp:///t/n?', 'xdstp:///t/n?'],
  ];
  for (const [name, canonical] of cases) expect(canonicalName(name)).toBe(canonical);
});

test('a watcher hears of its resources under the names that it knows', async () => {
  const heard: string[] = [];
  const messages: unknown[] = [];
  const watcher: ResourceWatcher = {
    onUpdate: (update) => {
      heard.push(...update.changed.map(({ name }) => name), ...update.removed);
      messages.push(...update.changed.map(({ message }) => message));
      return Promise.resolve([]);
    },
    onFailure: (reason) => void heard.push(reason),
  };
  const plain = { type: ENDPOINT_TYPE, names: ['xdstp://a/t/n?a=1', 'n'] };
  expect(withCanonicalNames(plain, watcher)).toEqual({ interest: plain, watcher });
  const odd = withCanonicalNames({ type: ENDPOINT_TYPE, names: ['xdstp://a/t/n?b=1&a=2'] }, watcher);
  expect(odd.interest.names).toEqual(['xdstp://a/t/n?a=2&b=1']);
  class Lazy {
    readonly name = 'other';
    get message() {
      return 'made when asked for';
    }
  }
  const changed = [{ name: 'xdstp://a/t/n?a=2&b=1' }, new Lazy()] as unknown as ResourceUpdate['changed'];
  await odd.watcher.onUpdate({ changed, removed: ['xdstp://a/t/n?a=2&b=1'], version: '' });
  odd.watcher.onFailure('timeout', '');
  expect(heard).toEqual(['xdstp://a/t/n?b=1&a=2', 'other', 'xdstp://a/t/n?b=1&a=2', 'timeout']);
  expect(messages).toEqual([undefined, 'made when asked for']);
});
