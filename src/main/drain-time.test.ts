import { expect, test } from 'bun:test';
import { drainTimeMs, patienceMs } from './drain-time.ts';
import { DEFAULT_FLAGS } from './server-flags.ts';

test('a drain time of a year is no drain time of a moment', async () => {
  const flags = { ...DEFAULT_FLAGS, drainTimeS: 365 * 24 * 3600 };
  let over = false;
  const timers = [patienceMs(flags), drainTimeMs(flags)].map((ms) => setTimeout(() => (over = true), ms));
  await Bun.sleep(10);
  for (const timer of timers) clearTimeout(timer);
  expect(over).toBe(false);
  expect(patienceMs({ ...flags, drainTimeS: 600 })).toBe(600_000);
  expect(drainTimeMs({ ...flags, drainStrategy: 'immediate' })).toBe(0);
});
