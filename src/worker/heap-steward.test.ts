import { expect, test } from 'bun:test';
import { ManualClock } from '../base/clock.ts';
import { SeededRandom } from '../base/random.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import { BURST_CONNECTIONS, HeapSteward, MOST_HEAP_BYTES, QUIET_MS, QUIET_TURNS } from './heap-steward.ts';

function scene(usedBytes: number) {
  const clock = new ManualClock();
  const dispatcher = new Dispatcher(clock, new SeededRandom(1), true);
  const heap = { collections: 0, usedBytes: () => usedBytes, collect: () => heap.collections++ };
  const steward = new HeapSteward(dispatcher, heap);
  return {
    heap,
    change(count: number) {
      for (let i = 0; i < count; i++) steward.onConnectionChange();
    },
    /** Time in which the loop turns `turns` times. */
    pass(ms: number, turns: number) {
      for (let i = 0; i < turns; i++) {
        dispatcher.enter();
        dispatcher.leave();
      }
      clock.advance(ms);
      dispatcher.timers.advance();
    },
  };
}

test('collects once behind a burst, when the thread is quiet', () => {
  const { heap, change, pass } = scene(MOST_HEAP_BYTES);
  change(BURST_CONNECTIONS);
  pass(QUIET_MS - 1, 0);
  expect(heap.collections).toBe(0);
  pass(1, QUIET_TURNS);
  expect(heap.collections).toBe(1);
  pass(QUIET_MS * 10, 0);
  expect(heap.collections).toBe(1);
});

test('waits for as long as there is work', () => {
  const { heap, change, pass } = scene(MOST_HEAP_BYTES);
  change(BURST_CONNECTIONS);
  for (let i = 0; i < 20; i++) pass(QUIET_MS, QUIET_TURNS + 1);
  expect(heap.collections).toBe(0);
  pass(QUIET_MS, QUIET_TURNS);
  expect(heap.collections).toBe(1);
});

test('a few connections are not worth it; they add up to a burst', () => {
  const { heap, change, pass } = scene(MOST_HEAP_BYTES);
  change(BURST_CONNECTIONS - 1);
  pass(QUIET_MS * 10, 0);
  expect(heap.collections).toBe(0);
  change(1);
  pass(QUIET_MS, 0);
  expect(heap.collections).toBe(1);
  change(BURST_CONNECTIONS);
  pass(QUIET_MS, 0);
  expect(heap.collections).toBe(2);
});

test('leaves a large heap, whose collection would take long, to the runtime', () => {
  const { heap, change, pass } = scene(MOST_HEAP_BYTES + 1);
  change(BURST_CONNECTIONS);
  pass(QUIET_MS, 0);
  expect(heap.collections).toBe(0);
});
