import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { SharedCell } from '../../../base/shared-table.ts';
import { type AcceptedSocket, PeekStatus } from '../../../net/filter.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { listenerLocalRateLimitFilter } from './factory.ts';

const TYPE = 'envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit';
const socket = {} as AcceptedSocket;

function worker(dispatcher: { nowMs: number }, cell: SharedCell): WorkerEnvironment {
  return { dispatcher, shared: { cell: () => cell }, sharedClockOffsetMs: 1000 } as unknown as WorkerEnvironment;
}

test('all workers together accept what the bucket holds', () => {
  const on = new TestBuild([listenerLocalRateLimitFilter]);
  const yaml = 'stat_prefix: s\ntoken_bucket: { max_tokens: 2, tokens_per_fill: 1, fill_interval: 1s }';
  const maker = listenerLocalRateLimitFilter.build(on.message(TYPE, yaml), on.context)!;
  const cell = SharedCell.private();
  const clock = { nowMs: 5000 };
  const first = maker(worker(clock, cell));
  const second = maker(worker(clock, cell));
  expect(first.createFilter().onAccept(socket)).toBe(PeekStatus.Continue);
  expect(second.createFilter().onAccept(socket)).toBe(PeekStatus.Continue);
  expect(first.createFilter().onAccept(socket)).toBe(PeekStatus.Close);
  expect(second.createFilter().onAccept(socket)).toBe(PeekStatus.Close);
  clock.nowMs += 1000;
  expect(second.createFilter().onAccept(socket)).toBe(PeekStatus.Continue);
  expect(first.createFilter().onAccept(socket)).toBe(PeekStatus.Close);
  expect(on.shared.stats.counter('listener_local_ratelimit.s.rate_limited').value).toBe(3);
});

test('off', () => {
  const on = new TestBuild([listenerLocalRateLimitFilter]);
  const yaml =
    'stat_prefix: s\ntoken_bucket: { max_tokens: 1, fill_interval: 1s }\nruntime_enabled: { default_value: false, runtime_key: k }';
  const maker = listenerLocalRateLimitFilter.build(on.message(TYPE, yaml), on.context)!;
  const filter = maker(worker({ nowMs: 0 }, SharedCell.private())).createFilter();
  for (let i = 0; i < 3; i++) expect(filter.onAccept(socket)).toBe(PeekStatus.Continue);
});

test('an interval that is too short is refused', () => {
  const on = new TestBuild([listenerLocalRateLimitFilter]);
  const yaml = 'stat_prefix: s\ntoken_bucket: { max_tokens: 1, fill_interval: 0.049s }';
  expect(listenerLocalRateLimitFilter.build(on.message(TYPE, yaml), on.context)).toBeNull();
  expect(on.errors.length).toBe(1);
});
