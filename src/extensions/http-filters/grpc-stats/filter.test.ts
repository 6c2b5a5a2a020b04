import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FakeUpstream } from '../../../../test/support/fake-upstream.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { framePrefix } from '../../../grpc/framing.ts';
import { UpstreamInfo } from '../../../pipeline/stream-info.ts';
import type { Route } from '../../../routing/route.ts';
import { grpcStatsFilter } from './factory.ts';

let up: FakeUpstream;

function harness(config: string): FilterHarness {
  const on = new TestBuild();
  const builder = grpcStatsFilter.build(on.message(grpcStatsFilter.configType, config), on.context);
  expect(on.errors).toEqual([]);
  up = new FakeUpstream();
  const cluster = up.cluster();
  const stream = new FilterHarness({
    isTerminal: false,
    createFilter: (context) => {
      const clusters = { get: (name: string) => (name === 'up' ? cluster : null) };
      const environment = { ...context.environment, clusters } as unknown as typeof context.environment;
      return builder!.createFilter({ ...context, environment });
    },
  });
  stream.route = { cluster: 'up' } as unknown as Route;
  return stream;
}

function frames(...texts: readonly string[]): string {
  return texts.map((text) => framePrefix(text.length).toString('latin1') + text).join('');
}

const GRPC = { ':path': '/a.B/C', 'content-type': 'application/grpc' };

function call(stream: FilterHarness, status = '0'): void {
  stream.sendHeaders(GRPC, false);
  stream.sendData(frames('a', 'bc'));
  stream.answerHeaders(200, { 'content-type': 'application/grpc' }, false);
  stream.answerData(frames('d'), false);
  stream.answerTrailers({ 'grpc-status': status });
}

function stat(name: string): number | undefined {
  return up.store.valueOf(`cluster.up.grpc.${name}`);
}

describe('grpc_stats', () => {
  test('by method', () => {
    call(harness('{ stats_for_all_methods: true }'), '7');
    expect(['7', 'success', 'failure', 'total'].map((name) => stat(`a.B.C.${name}`))).toEqual([1, undefined, 1, 1]);
    expect(stat('a.B.C.request_message_count')).toBe(2);
    expect(stat('a.B.C.response_message_count')).toBe(1);
  });

  test('without methods, and with those that are listed', () => {
    call(harness('{}'));
    expect(stat('success')).toBe(1);
    const some = '{ individual_method_stats_allowlist: { services: [{ name: a.B, method_names: [C] }] } }';
    call(harness(some));
    expect(stat('a.B.C.success')).toBe(1);
    expect(stat('success')).toBe(undefined);
  });

  test('filter state tells the messages', () => {
    const stream = harness('{ emit_filter_state: true }');
    call(stream);
    const state = stream.info.filterState('envoy.filters.http.grpc_stats')!;
    expect(state.serialize()).toBe('2,1');
    expect(state.struct!()).toEqual({ requestMessageCount: '2', responseMessageCount: '1' });
  });

  test('the time of the upstream', () => {
    const stream = harness('{ enable_upstream_stats: true, stats_for_all_methods: true }');
    const upstream = new UpstreamInfo();
    upstream.lastByteSentMs = 10;
    upstream.lastByteReceivedMs = 25.9;
    stream.info.upstream = upstream;
    call(stream);
    const delta = up.store.takeDelta();
    expect(JSON.stringify(delta)).toContain('grpc.a.B.C.upstream_rq_time');
  });

  test('what is not gRPC is not counted', () => {
    const stream = harness('{}');
    stream.sendHeaders({ ':path': '/a.B/C', 'content-type': 'text/plain' }, false);
    stream.sendData(frames('a'));
    stream.answerHeaders(200, { 'grpc-status': '0' });
    expect(stat('total')).toBe(undefined);
    expect(stat('request_message_count')).toBe(undefined);
  });
});
