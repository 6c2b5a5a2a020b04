import { expect, test } from 'bun:test';
import { EMPTY_RUNTIME } from '../routing/runtime-fraction.ts';
import { PrematureResets } from './premature-resets.ts';
import { StreamInfo } from './stream-info.ts';

function ended(responseCode: number, lifetimeMs: number): StreamInfo {
  const info = new StreamInfo(null, 0, 0, 0);
  info.responseCode = responseCode;
  info.endMs = lifetimeMs;
  return info;
}

function endsAt(streams: (n: number) => StreamInfo, most: number): number {
  const resets = new PrematureResets();
  for (let n = 1; n <= most; n++) if (resets.onStreamEnd(streams(n), EMPTY_RUNTIME)) return n;
  return 0;
}

test('resets alone: at the 250th', () => {
  expect(endsAt(() => ended(0, 1), 1000)).toBe(250);
});

test('every other stream: once there were 500', () => {
  expect(endsAt((n) => ended(n % 2 === 0 ? 0 : 200, 1), 1000)).toBe(500);
});

test('one in three is no attack; nor are answered streams, or long ones', () => {
  expect(endsAt((n) => ended(n % 3 === 0 ? 0 : 200, 1), 3000)).toBe(0);
  expect(endsAt(() => ended(200, 1), 3000)).toBe(0);
  expect(endsAt(() => ended(0, 2000), 3000)).toBe(0);
  expect(endsAt(() => ended(0, 1999), 3000)).toBe(250);
});
