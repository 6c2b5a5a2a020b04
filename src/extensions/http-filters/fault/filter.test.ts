import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { SharedTable } from '../../../base/shared-table.ts';
import { Flow } from '../../../pipeline/http-filter.ts';
import { ResponseFlag } from '../../../pipeline/response-flag.ts';
import { faultFilter } from './factory.ts';

function harness(yaml: string, shared?: SharedTable): { stream: FilterHarness; stat: (name: string) => number } {
  const on = new TestBuild();
  const builder = faultFilter.build(on.message(faultFilter.configType, yaml), on.context)!;
  const stream = new FilterHarness(builder, shared);
  return { stream, stat: (name) => on.shared.stats.store.valueOf(`fault.${name}`) ?? 0 };
}

test('a delay holds the request for its time', () => {
  const { stream, stat } = harness('delay: { fixed_delay: 2s, percentage: { numerator: 100 } }');
  expect(stream.sendHeaders({}, false)).toBe(Flow.Pause);
  stream.sendData('abc', true);
  stream.loop.advance(1999);
  expect(stream.request.passed).toBe('');
  expect(stat('active_faults')).toBe(1);
  stream.loop.advance(2);
  expect(stream.request.passed).toBe('Habc$');
  expect(stat('active_faults')).toBe(0);
  expect(stat('delays_injected')).toBe(1);
  expect(stream.info.hasFlag(ResponseFlag.DelayInjected)).toBe(true);
});

test('a stream that ends during its delay leaves nothing behind', () => {
  const { stream, stat } = harness('delay: { fixed_delay: 2s, percentage: { numerator: 100 } }');
  stream.sendHeaders({}, true);
  stream.destroy();
  expect(stat('active_faults')).toBe(0);
  stream.loop.advance(5000);
  expect(stream.request.passed).toBe('');
});

test('an abort answers, after the delay where there is one', () => {
  const { stream, stat } = harness(
    'delay: { fixed_delay: 1s, percentage: { numerator: 100 } }\nabort: { http_status: 503, percentage: { numerator: 100 } }',
  );
  stream.sendHeaders({}, true);
  expect(stream.reply).toBeNull();
  stream.loop.advance(1001);
  expect(stream.reply).toMatchObject({ status: 503, body: 'fault filter abort', details: 'fault_filter_abort' });
  expect(stat('aborts_injected')).toBe(1);
});

test('percentages are drawn', () => {
  let aborted = 0;
  for (let i = 0; i < 300; i++) {
    const { stream } = harness('abort: { http_status: 503, percentage: { numerator: 30 } }');
    for (let skip = 0; skip < i; skip++) stream.dispatcher.random.uint32();
    stream.sendHeaders({}, true);
    if (stream.reply !== null) aborted++;
  }
  expect(aborted).toBeGreaterThan(50);
  expect(aborted).toBeLessThan(140);
});

test('the number of active faults is bounded over all workers', () => {
  const shared = SharedTable.allocate();
  const yaml = 'delay: { fixed_delay: 2s, percentage: { numerator: 100 } }\nmax_active_faults: 1';
  const first = harness(yaml, new SharedTable(shared));
  const second = harness(yaml, new SharedTable(shared));
  first.stream.sendHeaders({}, true);
  second.stream.sendHeaders({}, true);
  expect(second.stream.request.passed).toBe('H$');
  expect(second.stat('faults_overflow')).toBe(1);
});

test('a slow response comes in parts, all of it, with its trailers', () => {
  const { stream, stat } = harness(
    'response_rate_limit: { fixed_limit: { limit_kbps: 1 }, percentage: { numerator: 100 } }',
  );
  stream.sendHeaders({}, true);
  stream.answerHeaders(200, {}, false);
  stream.answerData('x'.repeat(300), false);
  stream.answerTrailers({ t: '1' });
  stream.loop.advance(1);
  const first = stream.response.passed.length;
  expect(first).toBeGreaterThan(40);
  expect(first).toBeLessThan(70);
  stream.loop.advance(50);
  expect(stream.response.passed.length).toBeGreaterThan(first);
  for (let i = 0; i < 10; i++) stream.loop.advance(50);
  expect(stream.response.passed).toBe(`H${'x'.repeat(300)}T$`);
  expect(stat('active_faults')).toBe(1);
  stream.destroy();
  expect(stat('active_faults')).toBe(0);
});

test('headers control delay, abort and share', () => {
  const yaml = 'abort: { header_abort: {}, percentage: { numerator: 100 } }';
  const asked = harness(yaml).stream;
  asked.sendHeaders({ 'x-envoy-fault-abort-request': '429' });
  expect(asked.reply?.status).toBe(429);
  for (const value of ['42', '600', 'x', '-200', '']) {
    const { stream } = harness(yaml);
    stream.sendHeaders({ 'x-envoy-fault-abort-request': value });
    expect(stream.reply).toBeNull();
  }
  const lowered = harness(yaml).stream;
  lowered.sendHeaders({ 'x-envoy-fault-abort-request': '429', 'x-envoy-fault-abort-request-percentage': '0' });
  expect(lowered.reply).toBeNull();
});
