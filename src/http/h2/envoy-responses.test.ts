import { describe, expect, test } from 'bun:test';
import { RESET_REASON_TEXT } from '../codec.ts';
import recorded from './envoy-responses.json';
import { ClientSide, requestHeaders, TestTimers } from './test-peers.ts';

const SETTINGS = Buffer.from('000000040000000000', 'hex');

function run(hex: string, step: number): string {
  const side = new ClientSide(new TestTimers());
  const { stream } = side.request(requestHeaders(), true);
  const wire = Buffer.concat([SETTINGS, Buffer.from(hex, 'hex')]);
  for (let at = 0; at < wire.length; at += step) side.feed(wire.subarray(at, at + step));
  if (stream.resetReason !== null) return RESET_REASON_TEXT[stream.resetReason];
  return stream.ended ? `answered ${stream.response.status}` : 'nothing';
}

describe('responses as recorded from Envoy 1.40', () => {
  for (const { name, hex, fate } of recorded.responses) {
    test(name, () => {
      expect(run(hex, hex.length)).toBe(fate);
      expect(run(hex, 1)).toBe(fate);
    });
  }
});
