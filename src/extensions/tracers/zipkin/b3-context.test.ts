import { expect, test } from 'bun:test';
import { SeededRandom } from '../../../base/random.ts';
import { RequestHeaders } from '../../../http/header-map.ts';
import { type B3Context, contextIn, injectContext, sampledIn, UNREADABLE } from './b3-context.ts';

const HIGH = '80f198ee56343ba8';
const LOW = '64fe8b2a57d3eff7';
const SPAN = 'e457b5a2e4d86bd1';
const PARENT = '05e3ac9a4f6e3b90';

function headers(...list: string[]): RequestHeaders {
  const made = new RequestHeaders();
  for (let i = 0; i < list.length; i += 2) made.add(list[i]!, list[i + 1]!);
  return made;
}

test('one header or several say the same', () => {
  const wanted: B3Context = { traceIdHigh: HIGH, traceIdLow: LOW, spanId: SPAN, parentId: PARENT, sampled: true };
  expect(contextIn(headers('b3', `${HIGH}${LOW}-${SPAN}-1-${PARENT}`), true, false)).toEqual(wanted);
  const several = headers('x-b3-traceid', HIGH + LOW, 'x-b3-spanid', SPAN, 'x-b3-parentspanid', PARENT);
  expect(contextIn(several, true, false)).toEqual(wanted);
  expect(contextIn(headers(), true, false)).toBe(null);
});

test('ids are numbers of 64 bits', () => {
  const read = (id: string): unknown => {
    const found = contextIn(headers('x-b3-traceid', id, 'x-b3-spanid', SPAN), true, false);
    return found === null || found === UNREADABLE ? found : found.traceIdHigh + found.traceIdLow;
  };
  expect(read('abc')).toBe('0000000000000abc');
  expect(read('0xABC')).toBe('0000000000000abc');
  expect(read('0'.repeat(16) + LOW)).toBe(LOW);
  expect(read(HIGH + LOW)).toBe(HIGH + LOW);
  for (const id of ['', 'xyz', '0x', '1'.repeat(17), `${LOW} `, '-1']) expect(read(id)).toBe(UNREADABLE);
});

test('what the caller decided', () => {
  const said = (...list: string[]): boolean | null => sampledIn(headers(...list), true);
  expect(said('b3', '1')).toBe(true);
  expect(said('b3', 'd')).toBe(true);
  expect(said('b3', `${LOW}-${SPAN}-0`)).toBe(false);
  expect(said('b3', `${LOW}-${SPAN}`, 'x-b3-sampled', '0')).toBe(null);
  expect(said('x-b3-sampled', 'true')).toBe(true);
  expect(said('traceparent', `00-${HIGH}${LOW}-${SPAN}-00`)).toBe(false);
  expect(sampledIn(headers('traceparent', `00-${HIGH}${LOW}-${SPAN}-00`), false)).toBe(null);
});

test('what is sent on is read as it was', () => {
  const random = new SeededRandom(7);
  const digits = (): string =>
    (random.uint32().toString(16) + random.uint32().toString(16)).padStart(16, '1').slice(0, 16);
  for (let i = 0; i < 500; i++) {
    const context: B3Context = {
      traceIdHigh: i % 2 === 0 ? '' : digits(),
      traceIdLow: digits(),
      spanId: digits(),
      parentId: i % 3 === 0 ? '' : digits(),
      sampled: i % 5 !== 0,
    };
    const carried = i % 7 === 0 ? headers('b3', '1') : headers('x-other', '1');
    injectContext(carried, context, i % 2 === 0);
    expect(sampledIn(carried, false)).toBe(context.sampled);
    expect(contextIn(carried, context.sampled, false)).toEqual(context);
  }
});

test('rubbish is refused or means nothing, and never throws', () => {
  const random = new SeededRandom(11);
  const letters = '0123456789abcdefABCDEF-xd \0\u00ff';
  for (let i = 0; i < 20_000; i++) {
    let text = i % 3 === 0 ? `${HIGH}${LOW}-${SPAN}-1-${PARENT}` : '';
    const length = random.below(70);
    for (let k = 0; k < length; k++) text += letters[random.below(letters.length)];
    if (i % 3 === 0) text = text.slice(random.below(40), 40 + random.below(60));
    const found = contextIn(headers('b3', text), true, true);
    sampledIn(headers('b3', text), true);
    if (found === null || found === UNREADABLE) continue;
    expect(found.traceIdLow).toMatch(/^[0-9a-f]{16}$/);
    expect(found.spanId).toMatch(/^[0-9a-f]{16}$/);
  }
});
