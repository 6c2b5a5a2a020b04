import { expect, test } from 'bun:test';
import { SystemClock } from '../base/clock.ts';
import { SystemRandom } from '../base/random.ts';
import { Dispatcher, type TurnTask } from './dispatcher.ts';

class Noting implements TurnTask {
  readonly #done: number[];
  readonly #number: number;

  constructor(done: number[], number: number) {
    this.#done = done;
    this.#number = number;
  }

  onTurnEnd(): void {
    this.#done.push(this.#number);
  }
}

const nextPoll = () => new Promise((resolve) => setImmediate(resolve));

test('what is put off to the end of the poll is done behind the turns of all ready sockets, in order', async () => {
  const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  const done: number[] = [];
  for (const number of [1, 2]) {
    dispatcher.enter();
    dispatcher.deferToPollEnd(new Noting(done, number));
    dispatcher.leave();
  }
  expect(done).toEqual([]);
  await nextPoll();
  expect(done).toEqual([1, 2]);
});

test('many do not wait for the last of the ready sockets', async () => {
  const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  const done: number[] = [];
  for (let number = 0; number < 130; number++) {
    dispatcher.enter();
    dispatcher.deferToPollEnd(new Noting(done, number));
    dispatcher.leave();
  }
  expect(done.length).toBe(128);
  await nextPoll();
  expect(done).toEqual(Array.from({ length: 130 }, (_, number) => number));
});
