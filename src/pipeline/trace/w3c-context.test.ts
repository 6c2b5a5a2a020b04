import { expect, test } from 'bun:test';
import { SeededRandom } from '../../base/random.ts';
import { RequestHeaders } from '../../http/header-map.ts';
import { formatTraceparent, parseTraceparent, replaceHeader } from './w3c-context.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';

test('a parent', () => {
  expect(parseTraceparent(`00-${TRACE}-${SPAN}-01`)).toEqual({ traceId: TRACE, parentId: SPAN, sampled: true });
  expect(parseTraceparent(`01-${TRACE.toUpperCase()}-${SPAN}-02`)?.sampled).toBe(false);
  expect(parseTraceparent(formatTraceparent(TRACE, SPAN, true))?.traceId).toBe(TRACE);
  const zeros = '0'.repeat(32);
  for (const text of [
    '',
    `00-${TRACE}-${SPAN}-01-x`,
    `00-${zeros}-${SPAN}-01`,
    `00-${TRACE}-${zeros.slice(16)}-01`,
    `00-${TRACE}-${SPAN}-1`,
    `0g-${TRACE}-${SPAN}-01`,
    `00_${TRACE}-${SPAN}-01`,
  ]) {
    expect(parseTraceparent(text)).toBe(null);
  }
});

test('one byte changed: read or not, never wrong', () => {
  const random = new SeededRandom(3);
  const whole = `00-${TRACE}-${SPAN}-01`;
  for (let i = 0; i < 5_000; i++) {
    const at = random.below(whole.length);
    const text = whole.slice(0, at) + String.fromCharCode(random.below(256)) + whole.slice(at + 1);
    const found = parseTraceparent(text);
    if (found !== null) expect(formatTraceparent(found.traceId, found.parentId, false).length).toBe(55);
  }
});

test('headers of traces stand behind the others', () => {
  const headers = new RequestHeaders();
  headers.add('traceparent', 'old');
  headers.add('a', '1');
  replaceHeader(headers, 'traceparent', 'new');
  expect(headers.list).toEqual(['a', '1', 'traceparent', 'new']);
});
