import { expect, test } from 'bun:test';
import { FakeUpstream } from '../../../test/support/fake-upstream.ts';
import { ResetReason } from '../../http/codec.ts';
import { RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import {
  ResetHeader,
  ResetHeaderFormat,
  RetryOn,
  RetryPolicy,
  type RetryPolicyFields,
} from '../../routing/retry-policy.ts';
import { EMPTY_RUNTIME } from '../../routing/runtime-fraction.ts';
import { DEFAULT_THRESHOLDS } from '../../upstream/circuit-breaker.ts';
import { presentEnvoyHeaders } from './envoy-headers.ts';
import { createRetryState, type RetryState, RetryVerdict } from './retry-state.ts';

/** A retry state on a fake clock; counts how often its timer asked for the next attempt. */
class Bench {
  readonly upstream = new FakeUpstream();
  readonly cluster;
  readonly headers = new RequestHeaders();
  readonly state: RetryState | null;
  retries = 0;

  constructor(policy: Partial<RetryPolicyFields>, headers: Record<string, string> = {}, maxRetries = 3) {
    const limits = { ...DEFAULT_THRESHOLDS, maxRetries };
    this.cluster = this.upstream.cluster({ thresholds: [limits, limits] });
    for (const [name, value] of Object.entries(headers)) this.headers.add(name, value);
    this.state = createRetryState(
      new RetryPolicy({ ...RetryPolicy.DEFAULTS, ...policy }),
      this.headers,
      presentEnvoyHeaders(this.headers),
      this.cluster,
      0,
      this.upstream.loop.dispatcher,
      EMPTY_RUNTIME,
      {
        virtualCluster: null,
        routeGroup: null,
        onTimer: () => {
          this.retries++;
        },
      },
    );
  }

  answer(status: number, headers: Record<string, string> = {}): RetryVerdict {
    const response = ResponseHeaders.of(status);
    for (const [name, value] of Object.entries(headers)) response.add(name, value);
    return this.state!.onResponse(response);
  }
}

const { No, Yes, Overflow, LimitExceeded } = RetryVerdict;

test('no policy and no header: nothing is made; headers make one and are taken away', () => {
  expect(new Bench({}).state).toBeNull();
  const bench = new Bench({}, { 'x-envoy-retry-on': '5xx', 'x-envoy-max-retries': '2', accept: 'x' });
  expect(bench.headers.list).toEqual(['accept', 'x']);
  expect([bench.answer(500), bench.answer(500), bench.answer(500)]).toEqual([Yes, Yes, LimitExceeded]);
});

test('each condition retries what it names and nothing else', () => {
  const statuses = [200, 404, 409, 429, 500, 502, 503, 504];
  const retried = (policy: Partial<RetryPolicyFields>): number[] =>
    statuses.filter((status) => new Bench(policy).answer(status) === Yes);
  expect(retried({ retryOn: RetryOn.FiveXx })).toEqual([500, 502, 503, 504]);
  expect(retried({ retryOn: RetryOn.GatewayError })).toEqual([502, 503, 504]);
  expect(retried({ retryOn: RetryOn.Retriable4xx })).toEqual([409]);
  expect(retried({ retryOn: RetryOn.RetriableStatusCodes, retriableStatusCodes: [404, 200] })).toEqual([200, 404]);
  expect(retried({ retryOn: RetryOn.ConnectFailure | RetryOn.Reset })).toEqual([]);
});

test('resets by their reason, and by whether the request had begun', () => {
  const verdict = (retryOn: number, reason: ResetReason, started = true): RetryVerdict =>
    new Bench({ retryOn }).state!.onReset(reason, started);
  expect(verdict(RetryOn.ConnectFailure, ResetReason.RemoteConnectionFailure)).toBe(Yes);
  expect(verdict(RetryOn.ConnectFailure, ResetReason.ConnectionTimeout)).toBe(Yes);
  expect(verdict(RetryOn.ConnectFailure, ResetReason.ConnectionTermination)).toBe(No);
  expect(verdict(RetryOn.RefusedStream, ResetReason.RemoteRefusedStreamReset)).toBe(Yes);
  expect(verdict(RetryOn.RefusedStream, ResetReason.RemoteReset)).toBe(No);
  expect(verdict(RetryOn.ResetBeforeRequest, ResetReason.ConnectionTermination, false)).toBe(Yes);
  expect(verdict(RetryOn.ResetBeforeRequest, ResetReason.ConnectionTermination, true)).toBe(No);
  expect(verdict(RetryOn.FiveXx | RetryOn.Reset, ResetReason.Overflow)).toBe(No);
});

test('the back-off is drawn below an interval that doubles up to its maximum', () => {
  const bench = new Bench({ retryOn: RetryOn.FiveXx, numRetries: 5, baseIntervalMs: 10, maxIntervalMs: 30 });
  for (const limit of [10, 20, 30, 30, 30]) {
    const before = bench.retries;
    expect(bench.answer(500)).toBe(Yes);
    bench.upstream.loop.advance(limit);
    expect(bench.retries).toBe(before + 1);
  }
  expect(bench.cluster.stats.upstream_rq_retry_backoff_exponential.value).toBe(5);
});

test('a rate limit that says when it lifts is waited for, unless that takes too long', () => {
  const policy = {
    retryOn: RetryOn.RetriableStatusCodes,
    retriableStatusCodes: [429],
    numRetries: 2,
    rateLimitedResetHeaders: [new ResetHeader('retry-after', ResetHeaderFormat.Seconds)],
    rateLimitedMaxIntervalMs: 5000,
  };
  const bench = new Bench(policy);
  expect(bench.answer(429, { 'retry-after': '2' })).toBe(Yes);
  bench.upstream.loop.advance(1999);
  expect(bench.retries).toBe(0);
  bench.upstream.loop.advance(1001);
  expect(bench.retries).toBe(1);
  expect(bench.answer(429, { 'retry-after': '6' })).toBe(Yes);
  bench.upstream.loop.advance(50);
  expect(bench.retries).toBe(2);
  expect(bench.cluster.stats.upstream_rq_retry_backoff_ratelimited.value).toBe(1);
});

test('the breaker holds retries back, and every place in it is given back', () => {
  const bench = new Bench({ retryOn: RetryOn.FiveXx, numRetries: 3 }, {}, 1);
  const { retries } = bench.cluster.resources(0);
  expect(bench.answer(500)).toBe(Yes);
  expect(retries.count).toBe(1);
  const other = new Bench({ retryOn: RetryOn.FiveXx }, {}, 0);
  expect(other.answer(500)).toBe(Overflow);
  expect(other.cluster.stats.upstream_rq_retry_overflow.value).toBe(1);
  expect(bench.answer(200)).toBe(No);
  expect(retries.count).toBe(0);
  expect(bench.cluster.stats.upstream_rq_retry_success.value).toBe(1);
  expect(bench.answer(500)).toBe(Yes);
  bench.state!.dispose();
  expect(retries.count).toBe(0);
  bench.upstream.loop.advance(1000);
  expect(bench.retries).toBe(0);
});

test('requests that no matcher names are not retried, nor kept', () => {
  const bench = new Bench(
    { retryOn: RetryOn.FiveXx },
    { 'x-envoy-retriable-header-names': 'x-a', 'x-envoy-retry-on': 'retriable-headers' },
  );
  expect(bench.state!.enabled).toBe(true);
  expect(bench.answer(200, { 'x-a': '1' })).toBe(Yes);
});
