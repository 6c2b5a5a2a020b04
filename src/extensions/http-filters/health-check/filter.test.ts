import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import type { HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import { ResponseFlag } from '../../../pipeline/response-flag.ts';
import { healthCheckFilter as factory } from './factory.ts';

const CHECK = "headers: [{ name: ':path', string_match: { exact: /hc } }]";

function build(yaml: string): HttpFilterBuilder {
  const on = new TestBuild();
  const built = factory.build(on.message(factory.configType, `${yaml}\n${CHECK}`), on.context);
  expect(on.errors).toEqual([]);
  return built!;
}

test('answers once the request is complete; its body is dropped', () => {
  const stream = new FilterHarness(build('pass_through_mode: false'));
  stream.sendHeaders({ ':path': '/hc' }, false);
  expect(stream.reply).toBeNull();
  stream.sendData('x'.repeat(100), false);
  expect(stream.request.held!.length).toBe(0);
  stream.sendData('y', true);
  expect(stream.reply).toMatchObject({ status: 200, body: '', details: 'health_check_ok' });
  expect(stream.info.healthCheck).toBe(true);
  expect(stream.responseHeaders!.get('x-envoy-upstream-healthchecked-cluster')).toBe('cluster');
});

test('fails after /healthcheck/fail; other responses say so', () => {
  const builder = build('pass_through_mode: true');
  const check = new FilterHarness(builder);
  check.health.failed = true;
  check.sendHeaders({ ':path': '/hc' });
  expect(check.reply).toMatchObject({ status: 503, details: 'health_check_failed' });
  expect(check.info.hasFlag(ResponseFlag.FailedLocalHealthCheck)).toBe(true);
  const other = new FilterHarness(builder);
  other.health.failed = true;
  other.sendHeaders({ ':path': '/' });
  other.answerHeaders(200);
  expect(other.responseHeaders!.get('x-envoy-immediate-health-check-fail')).toBe('true');
});

test('an answer is cached for its time', () => {
  const builder = build('pass_through_mode: true\ncache_time: 10s');
  const stream = new FilterHarness(builder);
  const ask = (): FilterHarness => {
    const next = new FilterHarness(builder);
    next.loop.clock.advance(stream.dispatcher.nowMs - next.dispatcher.nowMs);
    next.sendHeaders({ ':path': '/hc' });
    return next;
  };
  const first = ask();
  expect(first.request.passed).toBe('H$');
  first.answerHeaders(503, { 'x-envoy-degraded': '' });
  const second = ask();
  expect(second.reply).toMatchObject({ status: 503, details: 'health_check_cached' });
  expect(second.responseHeaders!.has('x-envoy-degraded')).toBe(true);
  stream.loop.advance(10_000);
  expect(ask().reply).toBeNull();
});

test('a cluster that is not there fails the check', () => {
  const stream = new FilterHarness(
    build('pass_through_mode: false\ncluster_min_healthy_percentages: { gone: { value: 0 } }'),
  );
  stream.sendHeaders({ ':path': '/hc' });
  expect(stream.reply).toMatchObject({ status: 503, details: 'health_check_failed_no_cluster_found' });
});
