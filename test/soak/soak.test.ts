/** Twenty seconds of the soak; `npm run soak` runs ten minutes. */
import { expect, test } from 'bun:test';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { soak } from './soak.ts';

const SECONDS = 20;
/**
 * What the resident set may grow by over the second half of so short a run, in bytes: the heap is still finding its size. A leak
 * of one buffer or stream per round of each kind would pass it; whether memory is flat is for the long run to say.
 */
const MAX_GROWTH = 128 << 20;

test('mixed load leaves no error, holds nothing afterwards, and memory stays within bounds', async () => {
  const result = await soak({ name: 'nuncio', command: nuncioCommand() }, SECONDS);
  console.log(JSON.stringify(result));
  expect(result.errors).toEqual([]);
  expect(result.held).toEqual([]);
  for (const [kind, rounds] of Object.entries(result.done)) expect([kind, rounds > 2]).toEqual([kind, true]);
  expect(result.growth).toBeLessThan(MAX_GROWTH);
}, 90_000);
