/** Twenty seconds of the soak; `npm run soak` runs ten minutes. */
import { expect, test } from 'bun:test';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { isFlat, soak } from './soak.ts';

const SECONDS = 20;

test('mixed load leaves no error, holds nothing afterwards, and does not grow', async () => {
  const result = await soak({ name: 'nuncio', command: nuncioCommand() }, SECONDS);
  console.log(JSON.stringify(result));
  expect(result.errors).toEqual([]);
  expect(result.held).toEqual([]);
  for (const [kind, rounds] of Object.entries(result.done)) expect([kind, rounds > 2]).toEqual([kind, true]);
  expect(isFlat(result, SECONDS)).toBe(true);
}, 90_000);
