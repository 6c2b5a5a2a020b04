import { expect, test } from 'bun:test';
import { SystemClock } from '../../base/clock.ts';
import { SystemRandom } from '../../base/random.ts';
import { Dispatcher } from '../dispatcher.ts';
import { ListenerEars } from './listener-ears.ts';

class FakeListener {
  hears = true;
  reloads = 0;

  reload({ socket }: { readonly socket: object }): void {
    this.reloads++;
    this.hears = 'data' in socket;
    expect('open' in socket).toBe(true);
  }
}

function setUp() {
  const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  const ears = new ListenerEars(dispatcher, { open() {}, data() {} } as { readonly data: unknown });
  const listener = new FakeListener();
  ears.attach(listener);
  const turn = (...steps: ('add' | 'remove')[]): boolean => {
    dispatcher.enter();
    for (const step of steps) ears[step]();
    dispatcher.leave();
    return listener.hears;
  };
  return { dispatcher, ears, listener, turn };
}

test('a listener hears as long as one of its sockets is raw', () => {
  const { listener, turn } = setUp();
  expect(turn('add')).toBe(true);
  expect(turn('add')).toBe(true);
  expect(turn('remove')).toBe(true);
  expect(turn('remove')).toBe(false);
  expect(turn('add')).toBe(true);
  expect(turn('remove')).toBe(false);
  expect(listener.reloads).toBe(3);
});

test('it hears at once, and turns deaf at the end of the turn alone', () => {
  const { dispatcher, ears, listener, turn } = setUp();
  dispatcher.enter();
  ears.add();
  ears.remove();
  expect(listener.hears).toBe(true);
  ears.add();
  dispatcher.leave();
  expect(listener.hears).toBe(true);
  expect(turn('remove')).toBe(false);
  dispatcher.enter();
  ears.add();
  expect(listener.hears).toBe(true);
  dispatcher.leave();
});

test('a listener that is closed is left as it is', () => {
  const { ears, listener, turn } = setUp();
  turn('add');
  ears.detach();
  expect(turn('remove')).toBe(true);
  expect(listener.reloads).toBe(0);
});
